/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of floats, and the kernel that computes them, one step after another. */
#ifndef BNN_ELEMENTS_ROW_H
#define BNN_ELEMENTS_ROW_H

#include "ops/check.h"

/* Some pixels of r's output, which begin at `out`; at most BNN_MOST_STEPS steps. */
void bnn_compute(const struct bnn_run *r, float *out, size_t pixels, const struct bnn_step *steps, size_t count);

/* Fills the steps of row y of an image, which lead through the rows after it where its tensors do, and returns how many
 * they are. */
typedef size_t bnn_steps(const struct bnn_run *r, size_t image, size_t y, struct bnn_step *steps);
/* All that a run asks for. */
void bnn_compute_run(const struct bnn_run *r, bnn_steps *make);

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
