/* SPDX-License-Identifier: Apache-2.0 */
/* excess_128: signed bytes as unsigned ones, each 128 greater. */
#include "ops/check.h"
#include "run/view.h"

#include <string.h>

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_check_unary(p, op, BNN_I8, BNN_U8);
}

static void run(const struct bnn_run *r)
{
    const struct bnn_tensor *t = r->output.tensor;
    for (size_t i = 0; i < r->images; i++) {
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            const unsigned char *restrict in = bnn_row_bytes(&r->inputs[0], i, y);
            unsigned char *restrict out = bnn_row_bytes(&r->output, i, y);
            size_t width = (size_t)t->w * t->c, k = 0;
            for (uint64_t word; k + sizeof word <= width; k += sizeof word) {
                memcpy(&word, in + k, sizeof word);
                word ^= UINT64_C(0x8080808080808080);
                memcpy(out + k, &word, sizeof word);
            }
            for (; k < width; k++) {
                out[k] = in[k] ^ 0x80; /* in two's complement */
            }
        }
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

const struct bnn_op_row bnn_op_row_excess_128 = {
    BNN_ROW_excess_128,
    .prepare = prepare,
    .run = run,
};
