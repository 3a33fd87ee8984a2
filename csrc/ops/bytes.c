/* SPDX-License-Identifier: Apache-2.0 */
/* Ops on bytes: cast and excess_128. */
#include "ops/check.h"
#include "run/view.h"

#include <string.h>

enum { VALUES = 256 };

/* cast: bytes as floats; with a table, the table's entry at each byte. */
static bnn_status prepare_cast(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_types(p, op, op->input_count == 1 ? 1 : 2, BNN_U8, BNN_F32));
    if (op->input_count == 2)
        BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, 1), BNN_F32, VALUES, "values of the table"));
    return bnn_check_same_shape(p, op);
}

static void cast_row(const struct bnn_run *r, size_t image, size_t y)
{
    const float *table = r->op->input_count == 2 ? r->inputs[1].data : NULL;
    size_t width = (size_t)r->output.tensor->w * r->output.tensor->c;
    const unsigned char *restrict in = bnn_row_bytes(&r->inputs[0], image, y);
    float *restrict out = bnn_row_floats(&r->output, image, y);
    for (size_t k = 0; table != NULL && k < width; k++)
        out[k] = table[in[k]];
    for (size_t k = 0; table == NULL && k < width; k++)
        out[k] = in[k];
}

const struct bnn_op_row bnn_op_row_cast = {
    BNN_ROW(cast),
    .prepare = prepare_cast,
    .row = cast_row,
};

/* excess_128: signed bytes as unsigned ones, each plus 128. */
static bnn_status prepare_excess(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_check_unary(p, op, BNN_I8, BNN_U8);
}

static void excess_row(const struct bnn_run *r, size_t image, size_t y)
{
    const unsigned char *restrict in = bnn_row_bytes(&r->inputs[0], image, y);
    unsigned char *restrict out = bnn_row_bytes(&r->output, image, y);
    size_t width = (size_t)r->output.tensor->w * r->output.tensor->c, k = 0;
    for (uint64_t word; k + sizeof word <= width; k += sizeof word) {
        memcpy(&word, in + k, sizeof word);
        word ^= UINT64_C(0x8080808080808080);
        memcpy(out + k, &word, sizeof word);
    }
    for (; k < width; k++)
        out[k] = in[k] ^ 0x80; /* in two's complement */
}

const struct bnn_op_row bnn_op_row_excess_128 = {
    BNN_ROW(excess_128),
    .prepare = prepare_excess,
    .row = excess_row,
};
