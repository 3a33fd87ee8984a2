/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of bytes, by tables: lookup, qadd, qmul and qsoftmax. */
#include <string.h>

#include "mcu/requantize.h"
#include "ops/check.h"

enum { VALUES = 256 };

/* lookup: the table's byte at each byte. */
static bnn_status prepare_lookup(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_byte_kernels *k = p->model->kernels->wide;
    BNN_TRY(bnn_check_types(p, op, 2, BNN_U8, BNN_U8));
    BNN_CHECK_KERNELS(k != NULL && k->loops != NULL);
    BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, 1), BNN_U8, VALUES, "values of the table"));
    return bnn_check_same_shape(p, op);
}

static void lookup_row(const struct bnn_run *r, size_t image, size_t y)
{
    r->model->kernels->wide->loops->look_up(bnn_row_bytes(&r->output, image, y), bnn_row_bytes(&r->inputs[0], image, y),
                                            r->inputs[1].data, (size_t)r->output.tensor->w * r->output.tensor->c);
}

const struct bnn_op_row bnn_op_row_lookup = {
    BNN_ROW(lookup),
    .in_place = 1,
    .prepare = prepare_lookup,
    .row = lookup_row,
};

/* qadd, qmul: the table's numbers of two bytes, added or multiplied, and requantized.  The second data have the shape of
 * the first, or are a pixel for all pixels, or one number for all. */
static bnn_status check_table(struct bnn_prepare *p, const struct bnn_op *op, uint32_t input)
{
    const int32_t most = op->row->opcode == BNN_OP_qmul ? 1 << 15 : (1 << 30) - 1;
    const struct bnn_tensor *table = bnn_op_input(p->model, op, input);
    BNN_TRY(bnn_check_operand(p, op, table, BNN_I32, VALUES, "values of the table"));
    const int32_t *values = table->data;
    for (size_t i = 0; i < VALUES; i++)
        BNN_CHECK(values[i] >= -most && values[i] <= most, "size of a table's number (at most)", values[i], most);
    return BNN_OK;
}

static int is_repeated(const struct bnn_tensor *x, const struct bnn_tensor *y)
{
    return y->h != x->h || y->w != x->w || y->c != x->c;
}

/* The terms of `pair` in struct bnn_byte_loops, if each table's numbers are as far apart, those of products by 1, and
 * factors are of 16 bits; otherwise 0. */
static int find_terms(const int32_t *const tables[2], int multiplies, int32_t *terms)
{
    for (size_t k = 0; k < 2; k++) {
        const int32_t *table = tables[k], step = table[1] - table[0];
        const int32_t least = multiplies ? table[0] : step, most = multiplies ? table[VALUES - 1] : step;
        if (least != (int16_t)least || most != (int16_t)most || (multiplies && step != 1))
            return 0;
        for (size_t i = 1; i < VALUES; i++)
            if (table[i] - table[i - 1] != step)
                return 0;
        terms[k] = multiplies ? tables[1 - k][0] : step;
    }
    terms[2] = multiplies ? tables[0][0] * tables[1][0] : tables[0][0] + tables[1][0];
    terms[3] = -multiplies;
    return 1;
}

static bnn_status prepare_pair(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_requantize_attrs *a = op->attrs;
    const struct bnn_byte_kernels *k = p->model->kernels->wide;
    BNN_TRY(bnn_check_types(p, op, 4, BNN_U8, BNN_U8));
    BNN_CHECK_KERNELS(k != NULL && k->loops != NULL);
    const struct bnn_tensor *x = bnn_op_input(p->model, op, 0), *y = bnn_op_input(p->model, op, 1);
    BNN_TRY(bnn_check_dtype(p, op, y, BNN_U8, "dtype of the second operand"));
    BNN_CHECK(y->rank == x->rank || (y->rank == 1 && y->storage == BNN_CONSTANT), "rank of the second operand", y->rank,
              x->rank);
    if (is_repeated(x, y)) {
        BNN_CHECK(y->h == 1, "height of a second operand that is repeated", y->h, 1);
        BNN_CHECK(y->w == 1, "width of a second operand that is repeated", y->w, 1);
        BNN_CHECK(y->c == 1 || y->c == x->c, "channels of a second operand that is repeated", y->c, x->c);
    }
    BNN_TRY(check_table(p, op, 2));
    BNN_TRY(check_table(p, op, 3));
    BNN_TRY(bnn_check_scale(p, op, a->multiplier, a->shift));
    BNN_TRY(bnn_check_range(p, op, a->zero, a->low, a->high));
    const int32_t *const tables[2] = {bnn_op_input(p->model, op, 2)->data, bnn_op_input(p->model, op, 3)->data};
    int32_t terms[4];
    if (y->c == x->c && find_terms(tables, op->row->opcode == BNN_OP_qmul, terms)) {
        int32_t *kept = bnn_reserve(p, 4, sizeof *kept);
        if (kept != NULL)
            memcpy(kept, terms, sizeof terms);
        op->prepared = kept;
    }
    return bnn_check_same_shape(p, op);
}

static void pair_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_requantize_attrs *a = r->op->attrs;
    const struct bnn_tensor *x = r->inputs[0].tensor, *second = r->inputs[1].tensor;
    const struct bnn_requantizer requantizer = {&a->multiplier, &a->shift, a->zero, a->low, a->high, 0};
    const size_t width = (size_t)x->w * x->c;
    int repeated = is_repeated(x, second);
    struct bnn_mcu_pair pair = {.first = r->inputs[2].data,
                                .second = r->inputs[3].data,
                                .multiplies = r->op->row->opcode == BNN_OP_qmul,
                                .period = repeated ? second->c : (uint32_t)width};
    const uint8_t *from = bnn_row_bytes(&r->inputs[0], image, y);
    const uint8_t *with = bnn_row_bytes(&r->inputs[1], image, repeated ? 0 : y);
    uint8_t *out = bnn_row_bytes(&r->output, image, y);
    const struct bnn_byte_loops *loops = r->model->kernels->wide->loops;
    if (r->op->prepared != NULL) {
        for (size_t k = 0; k < width; k += pair.period)
            loops->pair(out + k, from + k, with, pair.period, r->op->prepared, &requantizer);
        return;
    }
    int32_t sums[BNN_MCU_SUMS];
    for (size_t k = 0; k < width; k += BNN_MCU_SUMS) {
        size_t count = width - k < BNN_MCU_SUMS ? width - k : BNN_MCU_SUMS;
        bnn_mcu_pair_sums(sums, from, with, &pair, k, count);
        loops->requantize(out + k, sums, count, &requantizer);
    }
}

const struct bnn_op_row bnn_op_row_qadd = {
    BNN_ROW(qadd), .in_place = 1, .cost = 4, .prepare = prepare_pair, .row = pair_row,
};

const struct bnn_op_row bnn_op_row_qmul = {
    BNN_ROW(qmul), .in_place = 1, .cost = 4, .prepare = prepare_pair, .row = pair_row,
};

/* qsoftmax: the table's terms of the differences from the largest byte of a pixel, divided by their sum. */
static bnn_status prepare_softmax(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_types(p, op, 2, BNN_U8, BNN_U8));
    const struct bnn_tensor *x = bnn_op_input(p->model, op, 0), *table = bnn_op_input(p->model, op, 1);
    BNN_TRY(bnn_check_operand(p, op, table, BNN_I32, VALUES, "values of the table"));
    const int32_t *terms = table->data;
    for (size_t i = 0; i < VALUES; i++)
        BNN_CHECK(terms[i] >= 0, "term of a softmax (at least)", terms[i], 0);
    BNN_CHECK(terms[0] >= BNN_MCU_LEAST_TERM, "first term of a softmax (at least)", terms[0], BNN_MCU_LEAST_TERM);
    BNN_CHECK(x->c <= BNN_MCU_MOST_TERMS, "terms of a softmax (at most)", x->c, BNN_MCU_MOST_TERMS);
    return bnn_check_same_shape(p, op);
}

static void softmax_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor;
    bnn_mcu_softmax(bnn_row_bytes(&r->output, image, y), bnn_row_bytes(&r->inputs[0], image, y), r->inputs[1].data,
                    t->w, t->c);
}

const struct bnn_op_row bnn_op_row_qsoftmax = {
    BNN_ROW(qsoftmax), .in_place = 1, .cost = 10, .prepare = prepare_softmax, .row = softmax_row,
};
