/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers per channel: affine and prelu.  NaN stays. */
#include "ops/elements.h"

#include <math.h>

/* affine: min(max((x - sub[c]) * mul[c] + add[c], lo), hi), each step one operation. */
static bnn_status prepare_affine(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_clamp_attrs *a = op->attrs;
    BNN_CHECK_KERNELS(p->model->kernels->compute != NULL);
    BNN_TRY(bnn_check_types(p, op, 4, BNN_F32, BNN_F32));
    BNN_CHECK(a->lo <= a->hi, "limits in order (1: yes)", 0, 1); /* false for NaN */
    uint32_t channels = bnn_op_input(p->model, op, 0)->c;
    for (uint32_t i = 1; i < op->input_count; i++)
        BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, i), BNN_F32, channels, "channels of an operand"));
    return bnn_check_same_shape(p, op);
}

static size_t affine_steps(const struct bnn_run *r, size_t image, size_t y, struct bnn_step *steps)
{
    const struct bnn_clamp_attrs *a = r->op->attrs;
    steps[0] = bnn_by_row(BNN_STEP_set, &r->inputs[0], image, y);
    steps[1] = bnn_by_channel(BNN_STEP_sub, &r->inputs[1]);
    steps[2] = bnn_by_channel(BNN_STEP_mul, &r->inputs[2]);
    steps[3] = bnn_by_channel(BNN_STEP_add, &r->inputs[3]);
    steps[4] = bnn_by(BNN_STEP_raise, &a->lo);
    steps[5] = bnn_by(BNN_STEP_lower, &a->hi);
    return a->lo != -INFINITY || a->hi != INFINITY ? 6 : 4;
}

static const struct bnn_pass affine_pass = {affine_steps, 6, 0, bnn_arithmetic_before};

const struct bnn_op_row bnn_op_row_affine = {
    BNN_ROW(affine), .in_place = 1, .cost = 3, .prepare = prepare_affine, .run = bnn_compute_run, .pass = &affine_pass,
};

/* prelu: x where x >= 0, else x * slope[c]. */
static bnn_status prepare_prelu(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_CHECK_KERNELS(p->model->kernels->compute != NULL);
    BNN_TRY(bnn_check_types(p, op, 2, BNN_F32, BNN_F32));
    uint32_t channels = bnn_op_input(p->model, op, 0)->c;
    BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, 1), BNN_F32, channels, "number of slopes"));
    return bnn_check_same_shape(p, op);
}

static size_t prelu_steps(const struct bnn_run *r, size_t image, size_t y, struct bnn_step *steps)
{
    steps[0] = bnn_by_row(BNN_STEP_set, &r->inputs[0], image, y);
    steps[1] = bnn_by_channel(BNN_STEP_prelu, &r->inputs[1]);
    return 2;
}

static const struct bnn_pass prelu_pass = {prelu_steps, 2, 0, bnn_arithmetic_before};

const struct bnn_op_row bnn_op_row_prelu = {
    BNN_ROW(prelu), .cost = 2, .prepare = prepare_prelu, .run = bnn_compute_run, .pass = &prelu_pass,
};
