/* SPDX-License-Identifier: Apache-2.0 */
/* Opening with every op and every family of kernels: only these functions name them all, so that a program that calls
 * none of them has no more than its selection. */
#include "model/validate.h"

/* The first row of an op counts.  The first LEAN rows are for families for little memory: see take_differing. */
#define BNN_ROW_OF(opcode, name, ...) &bnn_op_row_##name,
static const struct bnn_op_row *const all[] = {&bnn_op_row_bconv2d_flash, &bnn_op_row_iconv2d_flash,
                                               BNN_OP_LIST(BNN_ROW_OF)};
#undef BNN_ROW_OF

enum { LEAN = 2, ROWS = sizeof all / sizeof *all - LEAN };

static const struct bnn_op_row *const *const rows = all + LEAN;

const bnn_op_row *bnn_op_list(size_t index)
{
    return index < ROWS ? rows[index] : NULL;
}

/* kernels: NULL, or completed in `complete`. */
static struct bnn_source every_op(const void *file, size_t size, const bnn_kernels *kernels, const bnn_limits *limits,
                                  bnn_problem *problem, struct bnn_kernels *complete)
{
    size_t lean = kernels != NULL && kernels->take_differing != NULL && kernels->binary.values == NULL ? LEAN : 0;
    if (kernels != NULL)
        bnn_kernels_complete(kernels, complete);
    return (struct bnn_source){
        .file = file,
        .size = size,
        .rows = rows - lean,
        .row_count = ROWS + lean,
        .kernels = kernels != NULL ? complete : NULL,
        .limits = limits,
        .problem = problem,
    };
}

bnn_status bnn_model_size_within(const void *file, size_t size, const bnn_kernels *kernels, const bnn_limits *limits,
                                 size_t *bytes, bnn_problem *problem)
{
    struct bnn_kernels complete;
    struct bnn_source source = every_op(file, size, kernels, limits, problem, &complete);
    return bnn_measure_model(&source, bytes);
}

bnn_status bnn_model_size(const void *file, size_t size, const bnn_kernels *kernels, size_t *bytes,
                          bnn_problem *problem)
{
    return bnn_model_size_within(file, size, kernels, NULL, bytes, problem);
}

bnn_status bnn_model_open_within(const void *file, size_t size, const bnn_kernels *kernels, const bnn_limits *limits,
                                 void *memory, size_t memory_size, bnn_model **model, bnn_problem *problem)
{
    struct bnn_kernels complete;
    struct bnn_source source = every_op(file, size, kernels, limits, problem, &complete);
    return bnn_open_model(&source, memory, memory_size, model);
}

bnn_status bnn_model_open(const void *file, size_t size, const bnn_kernels *kernels, void *memory, size_t memory_size,
                          bnn_model **model, bnn_problem *problem)
{
    return bnn_model_open_within(file, size, kernels, NULL, memory, memory_size, model, problem);
}
