/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/check.h"

bnn_status bnn_check_inputs(struct bnn_prepare *p, const struct bnn_op *op, uint32_t least, uint32_t most,
                            uint32_t activations)
{
    if (op->input_count < least || op->input_count > most) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "number of inputs", op->input_count,
                        op->input_count < least ? least : most);
    }
    for (uint32_t i = 0; i < activations && i < op->input_count; i++) {
        if (bnn_op_input(p->model, op, i)->storage == BNN_CONSTANT) {
            return bnn_fail(p, op, BNN_ERROR_FORMAT, "storage of an input that cannot be constant", BNN_CONSTANT,
                            BNN_ARENA);
        }
    }
    return BNN_OK;
}

bnn_status bnn_check_dtype(struct bnn_prepare *p, const struct bnn_op *op, const struct bnn_tensor *t, bnn_dtype dtype,
                           const char *what)
{
    return t->dtype == dtype ? BNN_OK : bnn_fail(p, op, BNN_ERROR_FORMAT, what, t->dtype, dtype);
}

bnn_status bnn_check_operand(struct bnn_prepare *p, const struct bnn_op *op, const struct bnn_tensor *t,
                             bnn_dtype dtype, uint32_t count, const char *what)
{
    bnn_status status = bnn_check_dtype(p, op, t, dtype, "dtype of an operand");
    if (status != BNN_OK) {
        return status;
    }
    if (t->storage != BNN_CONSTANT) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "storage of an operand (3: constant)", t->storage, BNN_CONSTANT);
    }
    if (t->rank != 1) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "rank of an operand", t->rank, 1);
    }
    return t->c == count ? BNN_OK : bnn_fail(p, op, BNN_ERROR_FORMAT, what, t->c, count);
}

bnn_status bnn_check_output(struct bnn_prepare *p, const struct bnn_op *op, uint32_t rank, uint64_t h, uint64_t w,
                            uint64_t c)
{
    const struct bnn_tensor *out = bnn_op_output(p->model, op);
    if (out->rank != rank) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "rank of the output", out->rank, rank);
    }
    if (out->h != h) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "height of the output", out->h, (int64_t)h);
    }
    if (out->w != w) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "width of the output", out->w, (int64_t)w);
    }
    if (out->c != c) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "channels of the output", out->c, (int64_t)c);
    }
    return BNN_OK;
}

bnn_status bnn_check_types(struct bnn_prepare *p, const struct bnn_op *op, bnn_dtype from, bnn_dtype to)
{
    bnn_status status = bnn_check_inputs(p, op, 1, 1, 1);
    if (status == BNN_OK) {
        status = bnn_check_dtype(p, op, bnn_op_input(p->model, op, 0), from, "dtype of the input");
    }
    return status != BNN_OK ? status : bnn_check_dtype(p, op, bnn_op_output(p->model, op), to, "dtype of the output");
}

bnn_status bnn_check_unary(struct bnn_prepare *p, const struct bnn_op *op, bnn_dtype from, bnn_dtype to)
{
    bnn_status status = bnn_check_types(p, op, from, to);
    if (status != BNN_OK) {
        return status;
    }
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    return bnn_check_output(p, op, in->rank, in->h, in->w, in->c);
}
