/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of ops share: the views and loops of run/view.h, and checks for prepare functions.  Each check fails with
 * the found and the expected value. */
#ifndef BNN_CHECK_H
#define BNN_CHECK_H

#include "run/view.h"

/* In a function with p and op: fail unless the condition holds. */
#define BNN_CHECK(condition, what, found, expected)                                                \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return bnn_fail(p, op, BNN_ERROR_FORMAT, what, (int64_t)(found), (int64_t)(expected)); \
    } while (0)

/* The same unless the model has the kernels that the op needs. */
#define BNN_CHECK_KERNELS(found)                                                                              \
    do {                                                                                                      \
        if (!(found))                                                                                         \
            return bnn_fail(p, op, BNN_ERROR_KERNELS, "kernels for it in the families given (1: yes)", 0, 1); \
    } while (0)

static inline const struct bnn_tensor *bnn_op_output(const struct bnn_model *m, const struct bnn_op *op)
{
    return &m->tensors[op->output];
}

/* `least` to `most` inputs; the first `activations` of them are not constants. */
bnn_status bnn_check_inputs(struct bnn_prepare *p, const struct bnn_op *op, uint32_t least, uint32_t most,
                            uint32_t activations);
bnn_status bnn_check_dtype(struct bnn_prepare *p, const struct bnn_op *op, const struct bnn_tensor *t, bnn_dtype dtype,
                           const char *what);
/* `count` inputs, the first an activation; its type, and the output's. */
bnn_status bnn_check_types(struct bnn_prepare *p, const struct bnn_op *op, uint32_t count, bnn_dtype from,
                           bnn_dtype to);
/* A constant with one dimension of the given size; `what` names the size. */
bnn_status bnn_check_operand(struct bnn_prepare *p, const struct bnn_op *op, const struct bnn_tensor *t,
                             bnn_dtype dtype, uint32_t count, const char *what);
/* The output's rank and dimensions. */
bnn_status bnn_check_output(struct bnn_prepare *p, const struct bnn_op *op, uint32_t rank, uint64_t h, uint64_t w,
                            uint64_t c);
/* They equal the first input's. */
bnn_status bnn_check_same_shape(struct bnn_prepare *p, const struct bnn_op *op);
/* A multiplier and a shift; the bytes, or int16, of a requantization; and all of it, per channel of the output: see struct
 * bnn_requantizer. */
bnn_status bnn_check_scale(struct bnn_prepare *p, const struct bnn_op *op, int32_t multiplier, int32_t shift);
bnn_status bnn_check_range(struct bnn_prepare *p, const struct bnn_op *op, int32_t zero, int32_t low, int32_t high);
bnn_status bnn_check_requantizer(struct bnn_prepare *p, const struct bnn_op *op, const int32_t *biases,
                                 const struct bnn_requantizer *q);
#ifdef BNN_NO_MESSAGES
#define bnn_check_dtype(p, op, t, dtype, what) (bnn_check_dtype)(p, op, t, dtype, BNN_TEXT(what))
#define bnn_check_operand(p, op, t, dtype, count, what) (bnn_check_operand)(p, op, t, dtype, count, BNN_TEXT(what))
#endif
/* One activation in, one tensor of the same shape out, of these types. */
bnn_status bnn_check_unary(struct bnn_prepare *p, const struct bnn_op *op, bnn_dtype from, bnn_dtype to);

#endif
