/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of floats, and the kernel that computes them, one step after another. */
#ifndef BNN_ELEMENTS_ROW_H
#define BNN_ELEMENTS_ROW_H

#include "ops/check.h"

/* Some pixels of r's output, which begin at `out`; at most BNN_MOST_STEPS steps. */
void bnn_compute(const struct bnn_run *r, float *out, size_t pixels, const struct bnn_step *steps, size_t count);

/* The `run` of arithmetic, for its own steps and those of the ops before it that run in its call. */
void bnn_compute_run(const struct bnn_run *r);
uint32_t bnn_arithmetic_before(const struct bnn_model *m, uint32_t k); /* struct bnn_pass has it */

/* By the row of a tensor of the output's shape; by a number per channel, from an operand; by one number. */
static inline struct bnn_step bnn_by_row(enum bnn_arithmetic op, const struct bnn_view *v, size_t image, size_t y)
{
    return (struct bnn_step){op, 0, bnn_row_floats(v, image, y), v->tensor->c};
}

static inline struct bnn_step bnn_by_channel(enum bnn_arithmetic op, const struct bnn_view *v)
{
    return (struct bnn_step){op, v->tensor->c == 1, v->data, 0};
}

static inline struct bnn_step bnn_by(enum bnn_arithmetic op, const float *number)
{
    return (struct bnn_step){op, 1, number, 0};
}

#endif
