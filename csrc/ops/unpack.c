/* SPDX-License-Identifier: Apache-2.0 */
/* unpack: bits to +1 and -1. */
#include "ops/check.h"
#include "run/view.h"

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_check_unary(p, op, BNN_B1, BNN_F32);
}

static void run(const struct bnn_run *r)
{
    const struct bnn_tensor *t = r->output.tensor;
    for (size_t i = 0; i < r->images; i++) {
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            const uint32_t *in = bnn_row_words(&r->inputs[0], i, y);
            float *out = bnn_row_floats(&r->output, i, y);
            for (size_t x = 0; x < t->w; x++, in += r->inputs[0].tensor->words, out += t->c) {
                bnn_unpack_pixel(out, in, t->c);
            }
        }
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

const struct bnn_op_row bnn_op_row_unpack = {
    BNN_ROW_unpack,
    .prepare = prepare,
    .run = run,
};
