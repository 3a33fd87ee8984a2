/* SPDX-License-Identifier: Apache-2.0 */
/* One function of every float: elu, erf, erfc, exp, log1p, pow, round, rsqrt, sigmoid, sign, sqrt, tanh. */
#include "ops/check.h"
#include "run/view.h"

#include <float.h>
#include <math.h>

enum { LIBRARY = 32 }; /* work of a C library call for one float */

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_check_unary(p, op, BNN_F32, BNN_F32);
}

/* The row of the op NAME: its value for the float x, in a function of r, and the cost of computing it. */
#define FUNCTION(NAME, COST, PREPARE, VALUE)                                \
    static void NAME##_row(const struct bnn_run *r, size_t image, size_t y) \
    {                                                                       \
        size_t n = (size_t)r->output.tensor->w * r->output.tensor->c;       \
        const float *restrict in = bnn_row_floats(&r->inputs[0], image, y); \
        float *restrict out = bnn_row_floats(&r->output, image, y);         \
        for (size_t k = 0; k < n; k++) {                                    \
            float x = in[k];                                                \
            out[k] = VALUE;                                                 \
        }                                                                   \
    }                                                                       \
    const struct bnn_op_row bnn_op_row_##NAME = {                           \
        BNN_ROW_##NAME,                                                     \
        .cost = COST,                                                       \
        .prepare = PREPARE,                                                 \
        .row = NAME##_row,                                                  \
    }

/* Denormals as zeros of their sign. */
static inline float flushed(float x)
{
    return fabsf(x) < FLT_MIN ? copysignf(0.0f, x) : x;
}

static inline float power_of(const struct bnn_run *r)
{
    return ((const struct bnn_pow_attrs *)r->op->attrs)->exponent;
}

FUNCTION(elu, LIBRARY, prepare, x < 0.0f ? expf(x) - 1.0f : x); /* as TensorFlow computes it: 0 just below 0 */
FUNCTION(erf, LIBRARY, prepare, erff(x));
FUNCTION(erfc, LIBRARY, prepare, erfcf(x));
FUNCTION(exp, LIBRARY, prepare, expf(x));
FUNCTION(log1p, LIBRARY, prepare, log1pf(x));
FUNCTION(pow, LIBRARY, prepare, powf(flushed(x), power_of(r)));
FUNCTION(rsqrt, LIBRARY, prepare, 1.0f / sqrtf(flushed(x)));
FUNCTION(sigmoid, LIBRARY, prepare, 1.0f / (1.0f + expf(-x)));
FUNCTION(sqrt, LIBRARY, prepare, sqrtf(flushed(x)));
FUNCTION(tanh, LIBRARY, prepare, tanhf(x));

/* -1, 0 or +1 (0 for zeros of either sign, and for denormals); NaN stays. */
FUNCTION(sign, 2, prepare, x != x ? x : (float)(x >= FLT_MIN) - (float)(x <= -FLT_MIN));

static bnn_status prepare_round(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_round_attrs *a = op->attrs;
    BNN_CHECK(a->direction >= -1 && a->direction <= 1, "direction (-1, 0 or 1)", a->direction, 0);
    return prepare(p, op);
}

/* To the nearest integer, halves to even.  Floats from 2^23 on are integers, and adding 2^23 to a smaller one leaves no
 * bits for a fraction: the addition rounds. */
static float nearest(float v)
{
    const float integers = 8388608.0f;
    float magnitude = fabsf(v);
    if (!(magnitude < integers))
        return v;
    volatile float shifted = magnitude + integers;
    return copysignf(shifted - integers, v);
}

/* To the nearest integer, or the next one in a direction: down (-1) or up (1); denormals count as zero. */
static float rounded(float v, int32_t direction)
{
    float whole = nearest(v);
    if (direction != 0 && fabsf(v) >= FLT_MIN) {
        float past = direction < 0 ? whole - v : v - whole;
        whole -= past > 0.0f ? (float)-direction : 0.0f;
    }
    return copysignf(whole, v);
}

FUNCTION(round, 4, prepare_round, rounded(x, ((const struct bnn_round_attrs *)r->op->attrs)->direction));
