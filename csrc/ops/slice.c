/* SPDX-License-Identifier: Apache-2.0 */
/* slice: channels begin to end of every pixel.  Bits are shifted to the first word. */
#include "ops/check.h"
#include "run/view.h"

#include <string.h>

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_slice_attrs *a = op->attrs;
    BNN_TRY(bnn_check_inputs(p, op, 1, 1, 1));
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    BNN_TRY(bnn_check_dtype(p, op, bnn_op_output(p->model, op), in->dtype, "dtype of the output"));
    BNN_CHECK(a->begin >= 0 && a->end > a->begin, "end of the channels (above their begin)", a->end, a->begin);
    BNN_CHECK((uint32_t)a->end <= in->c, "end of the channels (at most)", a->end, in->c);
    return bnn_check_output(p, op, in->rank, in->h, in->w, (uint64_t)(a->end - a->begin));
}

static void row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_slice_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor, *from = r->inputs[0].tensor;
    size_t begin = (size_t)a->begin;
    const uint32_t *in = bnn_row_words(&r->inputs[0], image, y);
    uint32_t *out = bnn_row_words(&r->output, image, y);
    for (size_t x = 0; x < t->w; x++, in += from->words, out += t->words) {
        if (t->dtype == BNN_B1) {
            memset(out, 0, t->words * sizeof *out);
            bnn_or_bits(out, 0, in, begin, t->c);
        } else {
            memcpy(out, in + begin, t->words * sizeof *out);
        }
    }
}

const struct bnn_op_row bnn_op_row_slice = {
    BNN_ROW(slice),
    .prepare = prepare,
    .row = row,
};
