/* SPDX-License-Identifier: Apache-2.0 */
/* pad: pixels of one value around the image (bits: +1 or -1). */
#include "ops/check.h"
#include "run/view.h"

#include <string.h>

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_pad_attrs *a = op->attrs;
    bnn_status status = bnn_check_inputs(p, op, 1, 1, 1);
    if (status != BNN_OK) {
        return status;
    }
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0), *out = bnn_op_output(p->model, op);
    const int32_t pads[4] = {a->pad_top, a->pad_left, a->pad_bottom, a->pad_right};
    for (int i = 0; i < 4; i++) {
        if (pads[i] < 0) {
            return bnn_fail(p, op, BNN_ERROR_FORMAT, "padding (at least)", pads[i], 0);
        }
    }
    if (in->rank != 3) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "rank of the input", in->rank, 3);
    }
    status = bnn_check_dtype(p, op, in, out->dtype, "dtype of the input");
    if (status != BNN_OK) {
        return status;
    }
    if (in->dtype == BNN_B1 && a->value != 1.0f && a->value != -1.0f) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "padding of bits that is neither +1 nor -1", 1, 0);
    }
    return bnn_check_output(p, op, 3, (uint64_t)in->h + (uint64_t)pads[0] + (uint64_t)pads[2],
                            (uint64_t)in->w + (uint64_t)pads[1] + (uint64_t)pads[3], in->c);
}

/* The padding of one row. */
static void fill(const struct bnn_tensor *t, uint32_t *out, size_t pixels, float value)
{
    if (t->dtype != BNN_B1) {
        float *floats = (float *)(void *)out;
        for (size_t i = 0; i < pixels * t->c; i++) {
            floats[i] = value;
        }
        return;
    }
    uint32_t word = value > 0.0f ? UINT32_MAX : 0, last = word >> (31 - (t->c - 1) % 32);
    for (size_t x = 0; x < pixels; x++, out += t->words) {
        for (size_t k = 0; k + 1 < t->words; k++) {
            out[k] = word;
        }
        out[t->words - 1] = last;
    }
}

static void run(const struct bnn_run *r)
{
    const struct bnn_pad_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor, *in = r->inputs[0].tensor;
    size_t top = (size_t)a->pad_top, left = (size_t)a->pad_left, right = (size_t)a->pad_right;
    for (size_t i = 0; i < r->images; i++) {
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            uint32_t *out = bnn_row_words(&r->output, i, y);
            if (y < top || y - top >= in->h) {
                fill(t, out, t->w, a->value);
                continue;
            }
            fill(t, out, left, a->value);
            memcpy(out + left * t->words, bnn_row_words(&r->inputs[0], i, y - top),
                   (size_t)in->w * in->words * sizeof *out);
            fill(t, out + (left + in->w) * t->words, right, a->value);
        }
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

const struct bnn_op_row bnn_op_row_pad = {
    BNN_ROW_pad,
    .prepare = prepare,
    .run = run,
};
