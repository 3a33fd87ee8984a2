/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/elementwise.h"

/* NumPy's rule for one dimension; 0 where it does not broadcast. */
static uint32_t broadcast(uint32_t a, uint32_t b)
{
    return a == b || b == 1 ? a : a == 1 ? b : 0;
}

bnn_status bnn_prepare_elementwise(struct bnn_prepare *p, struct bnn_op *op)
{
    bnn_status status = bnn_check_inputs(p, op, 2, 2, 0);
    if (status != BNN_OK) {
        return status;
    }
    const struct bnn_tensor *a = bnn_op_input(p->model, op, 0), *b = bnn_op_input(p->model, op, 1);
    status = bnn_check_dtype(p, op, a, BNN_F32, "dtype of the first operand");
    if (status == BNN_OK) {
        status = bnn_check_dtype(p, op, b, BNN_F32, "dtype of the second operand");
    }
    if (status == BNN_OK) {
        status = bnn_check_dtype(p, op, bnn_op_output(p->model, op), BNN_F32, "dtype of the output");
    }
    if (status != BNN_OK) {
        return status;
    }
    if (a->storage == BNN_CONSTANT && b->storage == BNN_CONSTANT) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "constant operands (at most)", 2, 1);
    }
    if (a->o != 1 || b->o != 1) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "first of a constant's four dimensions", a->o != 1 ? a->o : b->o, 1);
    }
    uint32_t h = broadcast(a->h, b->h), w = broadcast(a->w, b->w), c = broadcast(a->c, b->c);
    if (h == 0) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "height of the second operand", b->h, a->h);
    }
    if (w == 0) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "width of the second operand", b->w, a->w);
    }
    if (c == 0) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "channels of the second operand", b->c, a->c);
    }
    return bnn_check_output(p, op, a->rank > b->rank ? a->rank : b->rank, h, w, c);
}
