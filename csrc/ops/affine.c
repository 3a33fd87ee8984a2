/* SPDX-License-Identifier: Apache-2.0 */
/* affine: min(max((x - sub[c]) * mul[c] + add[c], lo), hi), each step one operation; what is not a number stays. */
#include "run/blocks.h"
#include "ops/check.h"
#include "run/view.h"

#include <math.h>

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_clamp_attrs *a = op->attrs;
    bnn_status status = bnn_check_inputs(p, op, 4, 4, 1);
    if (status != BNN_OK) {
        return status;
    }
    if (!(a->lo <= a->hi)) { /* true for what is not a number */
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "limits in order (1: yes)", 0, 1);
    }
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    status = bnn_check_dtype(p, op, in, BNN_F32, "dtype of the input");
    if (status == BNN_OK) {
        status = bnn_check_dtype(p, op, bnn_op_output(p->model, op), BNN_F32, "dtype of the output");
    }
    for (uint32_t i = 1; i < op->input_count && status == BNN_OK; i++) {
        status = bnn_check_operand(p, op, bnn_op_input(p->model, op, i), BNN_F32, in->c, "channels of an operand");
    }
    return status != BNN_OK ? status : bnn_check_output(p, op, in->rank, in->h, in->w, in->c);
}

struct operands {
    const float *sub, *mul, *add;
    float lo, hi;
    int clamped;
};

static void pixel(float *restrict out, const float *restrict in, const struct operands *o, size_t c)
{
    const float *restrict sub = o->sub, *restrict mul = o->mul, *restrict add = o->add;
    float lo = o->lo, hi = o->hi;
    if (!o->clamped) {
        BNN_FOR_BLOCKS(k, c, out[k] = (in[k] - sub[k]) * mul[k] + add[k];);
        return;
    }
    BNN_FOR_BLOCKS(k, c, {
        float v = (in[k] - sub[k]) * mul[k] + add[k];
        v = v < lo ? lo : v;
        out[k] = v > hi ? hi : v;
    });
}

static void run(const struct bnn_run *r)
{
    const struct bnn_clamp_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor;
    struct operands o = {
        r->inputs[1].data, r->inputs[2].data, r->inputs[3].data, a->lo, a->hi, a->lo > -INFINITY || a->hi < INFINITY};
    for (size_t i = 0; i < r->images; i++) {
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            const float *in = bnn_row_floats(&r->inputs[0], i, y);
            float *out = bnn_row_floats(&r->output, i, y);
            for (size_t x = 0; x < t->w; x++, in += t->c, out += t->c) {
                pixel(out, in, &o, t->c);
            }
        }
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

const struct bnn_op_row bnn_op_row_affine = {
    BNN_ROW_affine,
    .cost = 3,
    .prepare = prepare,
    .run = run,
};
