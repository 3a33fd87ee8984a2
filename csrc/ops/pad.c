/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that put one value around the data: pad and pad_channels. */
#include "run/blocks.h"
#include "ops/check.h"
#include "run/view.h"

#include <string.h>

static void fill(float *out, float value, size_t count)
{
    BNN_FOR_BLOCKS(k, count, out[k] = value;);
}

/* pad: pixels of one value around the image (bits: +1 or -1). */
static bnn_status prepare_pixels(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_pad_attrs *a = op->attrs;
    BNN_TRY(bnn_check_inputs(p, op, 1, 1, 1));
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0), *out = bnn_op_output(p->model, op);
    const int32_t pads[4] = {a->pad_top, a->pad_left, a->pad_bottom, a->pad_right};
    for (int i = 0; i < 4; i++)
        BNN_CHECK(pads[i] >= 0, "padding (at least)", pads[i], 0);
    BNN_CHECK(in->rank == 3, "rank of the input", in->rank, 3);
    BNN_TRY(bnn_check_dtype(p, op, in, out->dtype, "dtype of the input"));
    BNN_CHECK(in->dtype != BNN_B1 || a->value == 1.0f || a->value == -1.0f, "padding of bits is +1 or -1 (1: yes)", 0,
              1);
    return bnn_check_output(p, op, 3, (uint64_t)in->h + (uint64_t)pads[0] + (uint64_t)pads[2],
                            (uint64_t)in->w + (uint64_t)pads[1] + (uint64_t)pads[3], in->c);
}

/* The padding of one row. */
static void fill_pixels(const struct bnn_tensor *t, uint32_t *out, size_t pixels, float value)
{
    if (t->dtype != BNN_B1) {
        fill((float *)(void *)out, value, pixels * t->c);
        return;
    }
    uint32_t word = value > 0.0f ? UINT32_MAX : 0, last = word >> (31 - (t->c - 1) % 32);
    for (size_t x = 0; x < pixels; x++, out += t->words) {
        for (size_t k = 0; k + 1 < t->words; k++)
            out[k] = word;
        out[t->words - 1] = last;
    }
}

static void pad_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_pad_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor, *in = r->inputs[0].tensor;
    size_t top = (size_t)a->pad_top, left = (size_t)a->pad_left, right = (size_t)a->pad_right;
    uint32_t *out = bnn_row_words(&r->output, image, y);
    if (y < top || y - top >= in->h) {
        fill_pixels(t, out, t->w, a->value);
        return;
    }
    fill_pixels(t, out, left, a->value);
    memcpy(out + left * t->words, bnn_row_words(&r->inputs[0], image, y - top),
           (size_t)in->w * in->words * sizeof *out);
    fill_pixels(t, out + (left + in->w) * t->words, right, a->value);
}

const struct bnn_op_row bnn_op_row_pad = {
    BNN_ROW(pad),
    .prepare = prepare_pixels,
    .row = pad_row,
};

/* pad_channels: channels of one value before and after those of every pixel. */
static bnn_status prepare_channels(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_pad_channels_attrs *a = op->attrs;
    BNN_TRY(bnn_check_types(p, op, 1, BNN_F32, BNN_F32));
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    BNN_CHECK(a->before >= 0, "channels of padding (at least)", a->before, 0);
    BNN_CHECK(a->after >= 0, "channels of padding (at least)", a->after, 0);
    return bnn_check_output(p, op, in->rank, in->h, in->w, (uint64_t)in->c + (uint64_t)a->before + (uint64_t)a->after);
}

static void pad_channels_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_pad_channels_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor, *from = r->inputs[0].tensor;
    size_t before = (size_t)a->before, inside = before + from->c;
    const float *in = bnn_row_floats(&r->inputs[0], image, y);
    float *out = bnn_row_floats(&r->output, image, y);
    for (size_t x = 0; x < t->w; x++, in += from->c, out += t->c) {
        fill(out, a->value, before);
        memcpy(out + before, in, from->c * sizeof *out);
        fill(out + inside, a->value, t->c - inside);
    }
}

const struct bnn_op_row bnn_op_row_pad_channels = {
    BNN_ROW(pad_channels),
    .prepare = prepare_channels,
    .row = pad_channels_row,
};
