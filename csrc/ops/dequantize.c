/* SPDX-License-Identifier: Apache-2.0 */
/* dequantize: table[number of set bits] over the planes of every channel; plane p holds channels p * c to (p + 1) * c - 1.
 * With a number of channels, table[number whose bit p is plane p's]; planes then begin on words. */
#include "ops/check.h"
#include "run/view.h"

static uint32_t bits_of(uint32_t n)
{
    uint32_t bits = 0;
    for (; n > 0; n >>= 1)
        bits++;
    return bits;
}

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    bnn_status status = bnn_check_inputs(p, op, 2, 2, 1);
    if (status != BNN_OK) {
        return status;
    }
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0), *table = bnn_op_input(p->model, op, 1);
    status = bnn_check_dtype(p, op, in, BNN_B1, "dtype of the input");
    if (status == BNN_OK) {
        status = bnn_check_operand(p, op, table, BNN_F32, table->c, ""); /* of any count */
    }
    if (status == BNN_OK) {
        status = bnn_check_dtype(p, op, bnn_op_output(p->model, op), BNN_F32, "dtype of the output");
    }
    if (status != BNN_OK) {
        return status;
    }
    if (table->c < 2) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "values of the table (at least)", table->c, 2);
    }
    const struct bnn_dequantize_attrs *a = op->attrs;
    if (a->channels != 0) {
        uint32_t planes = bits_of(table->c - 1);
        uint64_t wanted = planes * (((uint64_t)(uint32_t)a->channels + 31) / 32 * 32);
        if (a->channels < 0)
            return bnn_fail(p, op, BNN_ERROR_FORMAT, "channels", a->channels, 1);
        if (planes < 2 || planes > BNN_MOST_PLANES)
            return bnn_fail(p, op, BNN_ERROR_FORMAT, "values of the table, 3 to 256", table->c, 3);
        if (in->c != wanted)
            return bnn_fail(p, op, BNN_ERROR_FORMAT, "channels of the planes", in->c, (int64_t)wanted);
        return bnn_check_output(p, op, in->rank, in->h, in->w, (uint32_t)a->channels);
    }
    uint32_t planes = table->c - 1;
    if (in->c % planes != 0) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "channels left over when divided into planes", in->c % planes, 0);
    }
    return bnn_check_output(p, op, in->rank, in->h, in->w, in->c / planes);
}

static uint64_t work(const struct bnn_model *m, const struct bnn_op *op)
{
    return bnn_times(bnn_elements(bnn_op_input(m, op, 0)), 4); /* every bit of every plane */
}

static void run(const struct bnn_run *r)
{
    const struct bnn_tensor *t = r->output.tensor, *from = r->inputs[0].tensor;
    const float *table = r->inputs[1].data;
    const struct bnn_dequantize_attrs *a = r->op->attrs;
    uint32_t last = r->inputs[1].tensor->c - 1;
    int binary = a->channels != 0;
    size_t planes = binary ? bits_of(last) : last, apart = binary ? (t->c + 31) / 32 * 32 : t->c;
    for (size_t i = 0; i < r->images; i++) {
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            const uint32_t *in = bnn_row_words(&r->inputs[0], i, y);
            float *out = bnn_row_floats(&r->output, i, y);
            for (size_t x = 0; x < t->w; x++, in += from->words, out += t->c) {
                for (size_t k = 0; k < t->c; k++) {
                    uint32_t number = 0;
                    for (size_t plane = 0, bit = k; plane < planes; plane++, bit += apart) {
                        number += (in[bit / 32] >> bit % 32 & 1) << (binary ? plane : 0);
                    }
                    out[k] = table[number < last ? number : last];
                }
            }
        }
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

const struct bnn_op_row bnn_op_row_dequantize = {
    BNN_ROW_dequantize,
    .work = work,
    .prepare = prepare,
    .run = run,
};
