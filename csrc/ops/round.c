/* SPDX-License-Identifier: Apache-2.0 */
/* round: to the nearest integer, halves to even; or down, or up. */
#include "ops/functions.h"

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_round_attrs *a = op->attrs;
    if (a->direction < -1 || a->direction > 1) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "direction (-1, 0 or 1)", a->direction, 0);
    }
    return bnn_prepare_function(p, op);
}

/* Floats from 2^23 on are integers, and adding 2^23
 * to a smaller one leaves no bits for a fraction: the addition rounds to nearest even. */
static float nearest(float v)
{
    const float integers = 8388608.0f;
    float magnitude = fabsf(v);
    if (!(magnitude < integers)) {
        return v;
    }
    volatile float shifted = magnitude + integers;
    return copysignf(shifted - integers, v);
}

/* The next integer in a direction; denormals count as zero. */
static float rounded(float v, int32_t direction)
{
    float whole = nearest(v);
    if (direction != 0 && fabsf(v) >= FLT_MIN) {
        float past = direction < 0 ? whole - v : v - whole;
        whole -= past > 0.0f ? (float)-direction : 0.0f;
    }
    return copysignf(whole, v);
}

static float value(float v, const void *attrs)
{
    return rounded(v, ((const struct bnn_round_attrs *)attrs)->direction);
}

static void run(const struct bnn_run *r)
{
    bnn_run_function(r, value);
}

const struct bnn_op_row bnn_op_row_round = {
    BNN_ROW_round,
    .cost = 4,
    .prepare = prepare,
    .run = run,
};
