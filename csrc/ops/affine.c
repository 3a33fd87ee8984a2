/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers per channel: affine and prelu.  NaN stays. */
#include "epilogue.h"
#include "mcu/elements.h"
#include "ops/check.h"

/* affine: min(max((x - sub[c]) * mul[c] + add[c], lo), hi), each step one operation. */
static bnn_status prepare_affine(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_clamp_attrs *a = op->attrs;
    BNN_TRY(bnn_check_types(p, op, 4, BNN_F32, BNN_F32));
    BNN_CHECK(a->lo <= a->hi, "limits in order (1: yes)", 0, 1); /* false for NaN */
    uint32_t channels = bnn_op_input(p->model, op, 0)->c;
    for (uint32_t i = 1; i < op->input_count; i++)
        BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, i), BNN_F32, channels, "channels of an operand"));
    return bnn_check_same_shape(p, op);
}

struct operands {
    const float *sub, *mul, *add;
    float lo, hi;
};

/* c numbers; in NULL: in place, where a restrict pointer must be the only one. */
static void affine(float *restrict out, const float *restrict in, const struct operands *o, size_t c)
{
    const float *restrict sub = o->sub, *restrict mul = o->mul, *restrict add = o->add;
    float lo = o->lo, hi = o->hi;
    int clamps = lo != -INFINITY || hi != INFINITY;
    if (in == NULL && clamps)
        BNN_FOR_BLOCKS(k, c, out[k] = bnn_clamp((out[k] - sub[k]) * mul[k] + add[k], lo, hi););
    else if (in == NULL)
        BNN_FOR_BLOCKS(k, c, out[k] = (out[k] - sub[k]) * mul[k] + add[k];);
    else if (clamps)
        BNN_FOR_BLOCKS(k, c, out[k] = bnn_clamp((in[k] - sub[k]) * mul[k] + add[k], lo, hi););
    else
        BNN_FOR_BLOCKS(k, c, out[k] = (in[k] - sub[k]) * mul[k] + add[k];);
}

static void affine_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_clamp_attrs *a = r->op->attrs;
    const struct operands o = {r->inputs[1].data, r->inputs[2].data, r->inputs[3].data, a->lo, a->hi};
    const float *in = bnn_row_floats(&r->inputs[0], image, y);
    float *out = bnn_row_floats(&r->output, image, y);
    size_t c = r->output.tensor->c;
    for (size_t x = 0; x < r->output.tensor->w; x++, in += c, out += c)
        affine(out, in != out ? in : NULL, &o, c);
}

const struct bnn_op_row bnn_op_row_affine = {
    BNN_ROW(affine), .in_place = 1, .cost = 3, .prepare = prepare_affine, .row = affine_row,
};

/* prelu: x where x >= 0, else x * slope[c]. */
static bnn_status prepare_prelu(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_types(p, op, 2, BNN_F32, BNN_F32));
    uint32_t channels = bnn_op_input(p->model, op, 0)->c;
    BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, 1), BNN_F32, channels, "number of slopes"));
    return bnn_check_same_shape(p, op);
}

static void prelu(float *restrict out, const float *restrict in, const float *restrict slope, size_t c)
{
    BNN_FOR_BLOCKS(k, c, out[k] = bnn_prelu(in[k], slope[k]););
}

static void prelu_row(const struct bnn_run *r, size_t image, size_t y)
{
    const float *in = bnn_row_floats(&r->inputs[0], image, y);
    float *out = bnn_row_floats(&r->output, image, y);
    size_t c = r->output.tensor->c;
    for (size_t x = 0; x < r->output.tensor->w; x++, in += c, out += c)
        prelu(out, in, r->inputs[1].data, c);
}

const struct bnn_op_row bnn_op_row_prelu = {
    BNN_ROW(prelu),
    .cost = 2,
    .prepare = prepare_prelu,
    .row = prelu_row,
};
