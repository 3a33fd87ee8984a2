/* SPDX-License-Identifier: Apache-2.0 */
/* A microcontroller's program: a model in read-only memory, opened with the ops and kernels that it needs and no others.
 *
 * test_selected.py adds the model, an image, and the answer.  The status: 0 if the program gives the same, 1 if it gives
 * another one, otherwise 10 more than the status of the call that failed.  With EVERY_OP it opens the model with every
 * op of the runtime. */
#include "bnn_ops.h"

#include <string.h>

extern const unsigned char model_file[];
extern const size_t model_size;
extern const float image[];
extern const float answer[];

enum { CLASSES = 10 };

static _Alignas(BNN_ALIGNMENT) unsigned char model_memory[80 << 10], context_memory[48 << 10];

#ifndef EVERY_OP
static const bnn_op_row *const ops[] = {
    &bnn_op_row_copy,     &bnn_op_row_conv2d,  &bnn_op_row_bconv2d,
    &bnn_op_row_max_pool, &bnn_op_row_reshape, &bnn_op_row_softmax,
};
static const bnn_kernels *const kernels[] = {&bnn_kernels_scalar_binary, &bnn_kernels_scalar_floats};
static const bnn_selection selection = {
    .ops = ops,
    .op_count = sizeof ops / sizeof *ops,
    .kernels = kernels,
    .kernel_count = sizeof kernels / sizeof *kernels,
};
#endif

static bnn_status open(bnn_model **model)
{
#ifdef EVERY_OP
    const bnn_kernels *all = bnn_kernels_select("scalar");
    return bnn_model_open(model_file, model_size, all, model_memory, sizeof model_memory, model, NULL);
#else
    bnn_selection less = selection;
    bnn_problem problem = {"old", 1, 2};
    less.op_count--; /* softmax */
    bnn_status status = bnn_model_open_selected(model_file, model_size, &less, NULL, model_memory, sizeof model_memory,
                                                model, &problem);
#ifdef BNN_NO_MESSAGES
    static const bnn_problem expected = {"", 0, 0};
#else
    static const bnn_problem expected = {"op 8 (probabilities): table of ops without softmax", 0, 15};
#endif
    if (status != BNN_ERROR_OPCODE || strcmp(problem.what, expected.what) != 0 || problem.found != expected.found ||
        problem.expected != expected.expected)
        return BNN_ERROR_ARGUMENT;
    return bnn_model_open_selected(model_file, model_size, &selection, NULL, model_memory, sizeof model_memory, model,
                                   NULL);
#endif
}

int main(void)
{
    float result[CLASSES];
    const void *inputs[] = {image};
    float *outputs[] = {result};
    bnn_model *model;
    bnn_context *context = NULL;
    bnn_status status = open(&model);
    if (status == BNN_OK)
        status = bnn_context_create(model, 1, 1, context_memory, sizeof context_memory, &context);
    if (status == BNN_OK)
        status = bnn_run(context, inputs, outputs, 1);
    if (status != BNN_OK)
        return 10 + (int)status;
    return memcmp(result, answer, sizeof result) != 0;
}
