/* SPDX-License-Identifier: Apache-2.0 */
/* What the prepare functions of most ops check.  Each helper fails with what it found and expected. */
#ifndef BNN_CHECK_H
#define BNN_CHECK_H

#include "model/internal.h"

static inline const struct bnn_tensor *bnn_op_output(const struct bnn_model *m, const struct bnn_op *op)
{
    return &m->tensors[op->output];
}

/* `least` to `most` inputs; those below `activations` are not constants. */
bnn_status bnn_check_inputs(struct bnn_prepare *p, const struct bnn_op *op, uint32_t least, uint32_t most,
                            uint32_t activations);
bnn_status bnn_check_dtype(struct bnn_prepare *p, const struct bnn_op *op, const struct bnn_tensor *t, bnn_dtype dtype,
                           const char *what);
/* A constant of one dimension, of so many numbers; `what` names their count. */
bnn_status bnn_check_operand(struct bnn_prepare *p, const struct bnn_op *op, const struct bnn_tensor *t,
                             bnn_dtype dtype, uint32_t count, const char *what);
/* The output's rank and dimensions. */
bnn_status bnn_check_output(struct bnn_prepare *p, const struct bnn_op *op, uint32_t rank, uint64_t h, uint64_t w,
                            uint64_t c);
/* One activation in, one tensor out, of these types. */
bnn_status bnn_check_types(struct bnn_prepare *p, const struct bnn_op *op, bnn_dtype from, bnn_dtype to);
/* The same, and of the same shape. */
bnn_status bnn_check_unary(struct bnn_prepare *p, const struct bnn_op *op, bnn_dtype from, bnn_dtype to);

#endif
