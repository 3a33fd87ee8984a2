/* SPDX-License-Identifier: Apache-2.0 */
/* slice: channels begin to end of every pixel.  Bits are shifted to the first word. */
#include "ops/check.h"
#include "run/view.h"

#include <string.h>

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_slice_attrs *a = op->attrs;
    bnn_status status = bnn_check_inputs(p, op, 1, 1, 1);
    if (status != BNN_OK) {
        return status;
    }
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    status = bnn_check_dtype(p, op, bnn_op_output(p->model, op), in->dtype, "dtype of the output");
    if (status != BNN_OK) {
        return status;
    }
    if (a->begin < 0 || a->end <= a->begin) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "end of the channels (above their begin)", a->end, a->begin);
    }
    if ((uint32_t)a->end > in->c) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "end of the channels (at most)", a->end, in->c);
    }
    return bnn_check_output(p, op, in->rank, in->h, in->w, (uint64_t)(a->end - a->begin));
}

static void run(const struct bnn_run *r)
{
    const struct bnn_slice_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor, *from = r->inputs[0].tensor;
    size_t begin = (size_t)a->begin;
    for (size_t i = 0; i < r->images; i++) {
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            const uint32_t *in = bnn_row_words(&r->inputs[0], i, y);
            uint32_t *out = bnn_row_words(&r->output, i, y);
            for (size_t x = 0; x < t->w; x++, in += from->words, out += t->words) {
                if (t->dtype == BNN_B1) {
                    memset(out, 0, t->words * sizeof *out);
                    bnn_or_bits(out, 0, in, begin, t->c);
                } else {
                    memcpy(out, in + begin, t->words * sizeof *out);
                }
            }
        }
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

const struct bnn_op_row bnn_op_row_slice = {
    BNN_ROW_slice,
    .prepare = prepare,
    .run = run,
};
