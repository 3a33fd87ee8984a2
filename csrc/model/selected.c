/* SPDX-License-Identifier: Apache-2.0 */
/* Opening with the ops and kernels that a program names. */
#include "model/validate.h"

/* Its kernels are joined in `kernels`. */
static struct bnn_source selected(const void *file, size_t size, const bnn_selection *selection,
                                  const bnn_limits *limits, bnn_problem *problem, struct bnn_kernels *kernels)
{
    bnn_kernels_join(selection->kernels, selection->kernel_count, kernels);
    return (struct bnn_source){
        .file = file,
        .size = size,
        .rows = selection->ops,
        .row_count = selection->op_count,
        .kernels = kernels,
        .limits = limits,
        .problem = problem,
    };
}

bnn_status bnn_model_size_selected(const void *file, size_t size, const bnn_selection *selection,
                                   const bnn_limits *limits, size_t *bytes, bnn_problem *problem)
{
    struct bnn_kernels kernels;
    if (selection == NULL)
        return bnn_missing(problem, BNN_ERROR_ARGUMENT, "selection");
    struct bnn_source source = selected(file, size, selection, limits, problem, &kernels);
    return bnn_measure_model(&source, bytes);
}

bnn_status bnn_model_open_selected(const void *file, size_t size, const bnn_selection *selection,
                                   const bnn_limits *limits, void *memory, size_t memory_size, bnn_model **model,
                                   bnn_problem *problem)
{
    struct bnn_kernels kernels;
    if (model != NULL)
        *model = NULL;
    if (selection == NULL)
        return bnn_missing(problem, BNN_ERROR_ARGUMENT, "selection");
    struct bnn_source source = selected(file, size, selection, limits, problem, &kernels);
    return bnn_open_model(&source, memory, memory_size, model);
}
