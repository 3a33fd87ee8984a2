/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that are one function of every float: what they check, and how they run. */
#ifndef BNN_FUNCTIONS_H
#define BNN_FUNCTIONS_H

#include "ops/check.h"
#include "run/view.h"

#include <float.h>
#include <math.h>

/* Work of a call of the C library for a float. */
#define BNN_FUNCTION_COST 32

/* Denormals as zeros of their sign. */
static inline float bnn_flushed(float x)
{
    return fabsf(x) < FLT_MIN ? copysignf(0.0f, x) : x;
}

static inline bnn_status bnn_prepare_function(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_check_unary(p, op, BNN_F32, BNN_F32);
}

/* Inline, so that the function is, too. */
static inline void bnn_run_function(const struct bnn_run *r, float (*f)(float, const void *))
{
    const struct bnn_tensor *t = r->output.tensor;
    size_t n = (size_t)t->w * t->c;
    for (size_t i = 0; i < r->images; i++) {
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            const float *in = bnn_row_floats(&r->inputs[0], i, y);
            float *out = bnn_row_floats(&r->output, i, y);
            for (size_t k = 0; k < n; k++) {
                out[k] = f(in[k], r->op->attrs);
            }
        }
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

/* The row of such an op: NAME, and its value VALUE of the float x and its attributes. */
#define BNN_FUNCTION(NAME, VALUE)                  \
    static float value(float x, const void *attrs) \
    {                                              \
        (void)attrs;                               \
        return VALUE;                              \
    }                                              \
    static void run(const struct bnn_run *r)       \
    {                                              \
        bnn_run_function(r, value);                \
    }                                              \
    const struct bnn_op_row bnn_op_row_##NAME = {  \
        BNN_ROW_##NAME,                            \
        .cost = BNN_FUNCTION_COST,                 \
        .prepare = bnn_prepare_function,           \
        .run = run,                                \
    }

#endif
