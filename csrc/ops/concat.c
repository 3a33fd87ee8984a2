/* SPDX-License-Identifier: Apache-2.0 */
/* concat: the channels of all inputs, one after another.  Bits are shifted to their places. */
#include "ops/check.h"
#include "model/validate.h"
#include "run/view.h"

#include <string.h>

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_inputs(p, op, 1, BNN_MAX_INPUTS, BNN_MAX_INPUTS));
    const struct bnn_tensor *out = bnn_op_output(p->model, op), *first = bnn_op_input(p->model, op, 0);
    uint64_t channels = 0;
    for (uint32_t i = 0; i < op->input_count; i++) {
        const struct bnn_tensor *t = bnn_op_input(p->model, op, i);
        BNN_TRY(bnn_check_dtype(p, op, t, out->dtype, "dtype of an input"));
        BNN_CHECK(t->rank == first->rank, "rank of an input", t->rank, first->rank);
        BNN_CHECK(t->h == first->h, "height of an input", t->h, first->h);
        BNN_CHECK(t->w == first->w, "width of an input", t->w, first->w);
        channels += t->c;
    }
    return bnn_check_output(p, op, first->rank, first->h, first->w, channels);
}

/* One row of one input into the output's channels from `at` on. */
static void place(const struct bnn_tensor *to, uint32_t *out, const struct bnn_tensor *from, const uint32_t *in,
                  size_t at)
{
    for (size_t x = 0; x < to->w; x++, out += to->words, in += from->words)
        if (to->dtype != BNN_B1)
            memcpy(out + at, in, from->words * sizeof *in);
        else
            bnn_or_bits(out, at, in, 0, from->c);
}

static void row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor;
    uint32_t *out = bnn_row_words(&r->output, image, y);
    if (t->dtype == BNN_B1)
        memset(out, 0, (size_t)t->w * t->words * sizeof *out);
    size_t at = 0;
    for (uint32_t k = 0; k < r->op->input_count; k++) {
        const struct bnn_tensor *from = r->inputs[k].tensor;
        place(t, out, from, bnn_row_words(&r->inputs[k], image, y), at);
        at += from->c;
    }
}

const struct bnn_op_row bnn_op_row_concat = {
    BNN_ROW(concat),
    .prepare = prepare,
    .row = row,
};
