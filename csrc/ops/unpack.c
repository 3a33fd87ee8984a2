/* SPDX-License-Identifier: Apache-2.0 */
/* Bits as floats: unpack and dequantize. */
#include "ops/check.h"
#include "run/view.h"

/* unpack: bits to +1 and -1. */
static bnn_status prepare_unpack(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_check_unary(p, op, BNN_B1, BNN_F32);
}

static void unpack_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor;
    const uint32_t *in = bnn_row_words(&r->inputs[0], image, y);
    float *out = bnn_row_floats(&r->output, image, y);
    for (size_t x = 0; x < t->w; x++, in += r->inputs[0].tensor->words, out += t->c)
        bnn_unpack_pixel(out, in, t->c);
}

const struct bnn_op_row bnn_op_row_unpack = {
    BNN_ROW(unpack),
    .prepare = prepare_unpack,
    .row = unpack_row,
};

/* dequantize: table[number of set bits] over the planes of every channel; plane p holds channels p * c to (p + 1) * c -
 * 1.  With a number of channels, table[n], where bit p of n comes from plane p; planes then begin on words. */
static uint32_t padded(uint32_t channels)
{
    return (channels + 31) / 32 * 32;
}

static bnn_status prepare_dequantize(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_types(p, op, 2, BNN_B1, BNN_F32));
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0), *table = bnn_op_input(p->model, op, 1);
    BNN_TRY(bnn_check_operand(p, op, table, BNN_F32, table->c, "")); /* of any count */
    BNN_CHECK(table->c >= 2, "values of the table (at least)", table->c, 2);
    const struct bnn_dequantize_attrs *a = op->attrs;
    uint32_t planes = table->c - 1, channels = (uint32_t)a->channels;
    if (channels == 0) {
        BNN_CHECK(in->c % planes == 0, "channels left over when divided into planes", in->c % planes, 0);
        return bnn_check_output(p, op, in->rank, in->h, in->w, in->c / planes);
    }
    planes = bnn_bit_length(planes);
    BNN_CHECK(a->channels > 0, "channels", a->channels, 1);
    BNN_CHECK(planes >= 2 && planes <= BNN_MOST_PLANES, "values of the table, 3 to 256", table->c, 3);
    BNN_CHECK(in->c == (uint64_t)planes * padded(channels), "channels of the planes", in->c,
              (uint64_t)planes * padded(channels));
    return bnn_check_output(p, op, in->rank, in->h, in->w, channels);
}

static uint64_t dequantize_work(const struct bnn_model *m, const struct bnn_op *op)
{
    return bnn_times(bnn_elements(bnn_op_input(m, op, 0)), 4); /* every bit of every plane */
}

static void dequantize_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor, *from = r->inputs[0].tensor;
    const float *table = r->inputs[1].data;
    const struct bnn_dequantize_attrs *a = r->op->attrs;
    uint32_t last = r->inputs[1].tensor->c - 1;
    int binary = a->channels != 0;
    size_t planes = binary ? bnn_bit_length(last) : last, apart = binary ? padded(t->c) : t->c;
    const uint32_t *in = bnn_row_words(&r->inputs[0], image, y);
    float *out = bnn_row_floats(&r->output, image, y);
    for (size_t x = 0; x < t->w; x++, in += from->words, out += t->c)
        for (size_t k = 0; k < t->c; k++) {
            uint32_t number = 0;
            for (size_t plane = 0, bit = k; plane < planes; plane++, bit += apart)
                number += (in[bit / 32] >> bit % 32 & 1) << (binary ? plane : 0);
            out[k] = table[number < last ? number : last];
        }
}

const struct bnn_op_row bnn_op_row_dequantize = {
    BNN_ROW(dequantize),
    .work = dequantize_work,
    .prepare = prepare_dequantize,
    .row = dequantize_row,
};
