/* SPDX-License-Identifier: Apache-2.0 */
/* int16 values, which are the sums of shortcuts: add16, binarize16 and requantize16. */
#include "ops/check.h"

static const struct bnn_short_loops *loops_of(const struct bnn_model *m)
{
    return m->kernels->wide != NULL ? m->kernels->wide->short_loops : NULL;
}

static bnn_status prepare_add(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_limits_attrs *a = op->attrs;
    BNN_TRY(bnn_check_types(p, op, 2, BNN_I16, BNN_I16));
    BNN_CHECK_KERNELS(loops_of(p->model) != NULL);
    const struct bnn_tensor *x = bnn_op_input(p->model, op, 0), *y = bnn_op_input(p->model, op, 1);
    BNN_TRY(bnn_check_dtype(p, op, y, BNN_I16, "dtype of the second operand"));
    BNN_CHECK(y->storage != BNN_CONSTANT, "storage of an input that cannot be constant", BNN_CONSTANT, BNN_ARENA);
    BNN_CHECK(y->rank == x->rank, "rank of the second operand", y->rank, x->rank);
    BNN_CHECK(y->h == x->h, "height of the second operand", y->h, x->h);
    BNN_CHECK(y->w == x->w, "width of the second operand", y->w, x->w);
    BNN_CHECK(y->c == x->c, "channels of the second operand", y->c, x->c);
    BNN_TRY(bnn_check_range(p, op, 0, a->low, a->high));
    return bnn_check_same_shape(p, op);
}

static void add_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_limits_attrs *a = r->op->attrs;
    loops_of(r->model)->add(bnn_row_shorts(&r->output, image, y), bnn_row_shorts(&r->inputs[0], image, y),
                            bnn_row_shorts(&r->inputs[1], image, y), (size_t)r->output.tensor->w * r->output.tensor->c,
                            a->low, a->high);
}

const struct bnn_op_row bnn_op_row_add16 = {BNN_ROW(add16), .in_place = 1, .prepare = prepare_add, .row = add_row};

static bnn_status prepare_binarize(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_types(p, op, 3, BNN_I16, BNN_B1));
    BNN_CHECK_KERNELS(loops_of(p->model) != NULL);
    const uint32_t channels = bnn_op_input(p->model, op, 0)->c;
    BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, 1), BNN_I16, channels, "thresholds"));
    BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, 2), BNN_B1, channels, "flips"));
    return bnn_check_same_shape(p, op);
}

static void binarize_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor;
    loops_of(r->model)->binarize_at(bnn_row_words(&r->output, image, y), bnn_row_shorts(&r->inputs[0], image, y),
                                    r->inputs[1].data, r->inputs[2].data, t->c, t->w);
}

const struct bnn_op_row bnn_op_row_binarize16 = {
    BNN_ROW(binarize16),
    .prepare = prepare_binarize,
    .row = binarize_row,
};

/* requantize16: another scale per channel, and another width. */
static struct bnn_requantizer requantizer_of(const struct bnn_model *m, const struct bnn_op *op)
{
    const int32_t *range = bnn_op_input(m, op, 4)->data;
    return (struct bnn_requantizer){
        bnn_op_input(m, op, 2)->data, bnn_op_input(m, op, 3)->data, range[0], range[1], range[2], range[3]};
}

static bnn_status prepare_requantize(struct bnn_prepare *p, struct bnn_op *op)
{
    const int bytes = bnn_op_output(p->model, op)->dtype == BNN_U8;
    const uint32_t channels = bnn_op_input(p->model, op, 0)->c;
    BNN_TRY(bnn_check_types(p, op, 5, BNN_I16, bytes ? BNN_U8 : BNN_I16));
    BNN_CHECK_KERNELS(loops_of(p->model) != NULL);
    BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, 1), BNN_I32, channels, "biases"));
    BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, 2), BNN_I32, channels, "multipliers"));
    BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, 3), BNN_I32, channels, "shifts"));
    BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, 4), BNN_I32, 4, "numbers of the range"));
    const struct bnn_requantizer q = requantizer_of(p->model, op);
    BNN_TRY(bnn_check_requantizer(p, op, bnn_op_input(p->model, op, 1)->data, &q));
    return bnn_check_same_shape(p, op);
}

static void requantize_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor;
    const struct bnn_requantizer q = requantizer_of(r->model, r->op);
    const struct bnn_short_rows rows = {
        .bytes = t->dtype == BNN_U8 ? bnn_row_bytes(&r->output, image, y) : NULL,
        .shorts = bnn_row_shorts(&r->output, image, y),
        .src = bnn_row_shorts(&r->inputs[0], image, y),
        .biases = r->inputs[1].data,
        .requantizer = &q,
        .channels = t->c,
        .pixels = t->w,
    };
    loops_of(r->model)->requantize(&rows);
}

const struct bnn_op_row bnn_op_row_requantize16 = {
    BNN_ROW(requantize16),
    .cost = 2,
    .prepare = prepare_requantize,
    .row = requantize_row,
};
