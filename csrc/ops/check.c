/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/check.h"

bnn_status bnn_check_inputs(struct bnn_prepare *p, const struct bnn_op *op, uint32_t least, uint32_t most,
                            uint32_t activations)
{
    BNN_CHECK(op->input_count >= least, "number of inputs", op->input_count, least);
    BNN_CHECK(op->input_count <= most, "number of inputs", op->input_count, most);
    for (uint32_t i = 0; i < activations && i < op->input_count; i++)
        BNN_CHECK(bnn_op_input(p->model, op, i)->storage != BNN_CONSTANT, "storage of an input that cannot be constant",
                  BNN_CONSTANT, BNN_ARENA);
    return BNN_OK;
}

bnn_status(bnn_check_dtype)(struct bnn_prepare *p, const struct bnn_op *op, const struct bnn_tensor *t, bnn_dtype dtype,
                            const char *what)
{
    return t->dtype == dtype ? BNN_OK : bnn_fail(p, op, BNN_ERROR_FORMAT, what, t->dtype, dtype);
}

bnn_status bnn_check_types(struct bnn_prepare *p, const struct bnn_op *op, uint32_t count, bnn_dtype from, bnn_dtype to)
{
    BNN_TRY(bnn_check_inputs(p, op, count, count, 1));
    BNN_TRY(bnn_check_dtype(p, op, bnn_op_input(p->model, op, 0), from, "dtype of the input"));
    return bnn_check_dtype(p, op, bnn_op_output(p->model, op), to, "dtype of the output");
}

bnn_status(bnn_check_operand)(struct bnn_prepare *p, const struct bnn_op *op, const struct bnn_tensor *t,
                              bnn_dtype dtype, uint32_t count, const char *what)
{
    BNN_TRY(bnn_check_dtype(p, op, t, dtype, "dtype of an operand"));
    BNN_CHECK(t->storage == BNN_CONSTANT, "storage of an operand (3: constant)", t->storage, BNN_CONSTANT);
    BNN_CHECK(t->rank == 1, "rank of an operand", t->rank, 1);
    BNN_CHECK(t->c == count, what, t->c, count);
    return BNN_OK;
}

bnn_status bnn_check_output(struct bnn_prepare *p, const struct bnn_op *op, uint32_t rank, uint64_t h, uint64_t w,
                            uint64_t c)
{
    const struct bnn_tensor *out = bnn_op_output(p->model, op);
    BNN_CHECK(out->rank == rank, "rank of the output", out->rank, rank);
    BNN_CHECK(out->h == h, "height of the output", out->h, h);
    BNN_CHECK(out->w == w, "width of the output", out->w, w);
    BNN_CHECK(out->c == c, "channels of the output", out->c, c);
    return BNN_OK;
}

bnn_status bnn_check_same_shape(struct bnn_prepare *p, const struct bnn_op *op)
{
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    return bnn_check_output(p, op, in->rank, in->h, in->w, in->c);
}

bnn_status bnn_check_unary(struct bnn_prepare *p, const struct bnn_op *op, bnn_dtype from, bnn_dtype to)
{
    BNN_TRY(bnn_check_types(p, op, 1, from, to));
    return bnn_check_same_shape(p, op);
}

bnn_status bnn_check_scale(struct bnn_prepare *p, const struct bnn_op *op, int32_t multiplier, int32_t shift)
{
    BNN_CHECK(multiplier >= 0, "multiplier (at least)", multiplier, 0);
    BNN_CHECK(shift >= -31 && shift <= 30, "shift (from -31 to)", shift, 30);
    return BNN_OK;
}

bnn_status bnn_check_range(struct bnn_prepare *p, const struct bnn_op *op, int32_t zero, int32_t low, int32_t high)
{
    const int shorts = bnn_op_output(p->model, op)->dtype == BNN_I16;
    const int32_t least = shorts ? INT16_MIN : 0, most = shorts ? INT16_MAX : 255, zeros = shorts ? 0 : 255;
    BNN_CHECK(zero >= 0 && zero <= zeros, "zero (from 0 to)", zero, zeros);
    BNN_CHECK(low >= least && low <= high, "lowest number (at most the highest)", low, high);
    BNN_CHECK(high <= most, "highest number (at most)", high, most);
    return BNN_OK;
}

bnn_status bnn_check_requantizer(struct bnn_prepare *p, const struct bnn_op *op, const int32_t *biases,
                                 const struct bnn_requantizer *q)
{
    const struct bnn_tensor *y = bnn_op_output(p->model, op);
    const int32_t most = 1 << 30, bytes = y->dtype != BNN_I16;
    for (uint32_t c = 0; c < y->c; c++) {
        BNN_CHECK(biases[c] >= -most && biases[c] <= most, "size of a bias (at most)", biases[c], most);
        BNN_TRY(bnn_check_scale(p, op, q->multiplier[c], q->shift[c]));
    }
    BNN_CHECK(q->once == 0 || q->once == bytes, "once (0 or)", q->once, bytes);
    return bnn_check_range(p, op, q->zero, q->low, q->high);
}
