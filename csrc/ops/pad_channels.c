/* SPDX-License-Identifier: Apache-2.0 */
/* pad_channels: channels of one value before and after those of every pixel. */
#include "run/blocks.h"
#include "ops/check.h"
#include "run/view.h"

#include <string.h>

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_pad_channels_attrs *a = op->attrs;
    bnn_status status = bnn_check_types(p, op, BNN_F32, BNN_F32);
    if (status != BNN_OK) {
        return status;
    }
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    if (a->before < 0 || a->after < 0) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "channels of padding (at least)", a->before < 0 ? a->before : a->after,
                        0);
    }
    return bnn_check_output(p, op, in->rank, in->h, in->w, (uint64_t)in->c + (uint64_t)a->before + (uint64_t)a->after);
}

static void fill(float *out, float value, size_t count)
{
    BNN_FOR_BLOCKS(k, count, out[k] = value;);
}

static void run(const struct bnn_run *r)
{
    const struct bnn_pad_channels_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor, *from = r->inputs[0].tensor;
    size_t before = (size_t)a->before, inside = before + from->c;
    for (size_t i = 0; i < r->images; i++) {
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            const float *in = bnn_row_floats(&r->inputs[0], i, y);
            float *out = bnn_row_floats(&r->output, i, y);
            for (size_t x = 0; x < t->w; x++, in += from->c, out += t->c) {
                fill(out, a->value, before);
                memcpy(out + before, in, from->c * sizeof *out);
                fill(out + inside, a->value, t->c - inside);
            }
        }
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

const struct bnn_op_row bnn_op_row_pad_channels = {
    BNN_ROW_pad_channels,
    .prepare = prepare,
    .run = run,
};
