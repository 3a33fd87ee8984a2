/* SPDX-License-Identifier: Apache-2.0 */
/* Passed tensors: what a convolution gives to the max_pool, quantize or binarize_levels after it, a few rows at a time,
 * so that the whole never exists.  run/context.c runs the two together. */
#include "model/validate.h"

static int takes_rows(const struct bnn_op *op)
{
    uint32_t opcode = op->row->opcode;
    return opcode == BNN_OP_max_pool || opcode == BNN_OP_quantize || opcode == BNN_OP_binarize_levels;
}

/* Op k writes a passed tensor, which op k + 1 must take.  Each op's prepare has checked its own attributes before. */
static bnn_status check_pair(const struct bnn_model *m, uint32_t k, bnn_problem *problem)
{
    const struct bnn_op *op = &m->ops[k], *taker = op + 1;
    const struct bnn_tensor *t = &m->tensors[op->output];
    if (!bnn_is_conv(op))
        return bnn_op_error(problem, op, k, BNN_ERROR_FORMAT, "storage of its output", BNN_PASSED, BNN_ARENA);
    int reads = k + 1 < m->op_count && takes_rows(taker) && taker->inputs[0] == op->output;
    if (!reads || t->last_read != k + 1) {
        return bnn_op_error(problem, op, k, BNN_ERROR_FORMAT,
                            "op after it that takes rows, and no other, that reads its passed output", 0, 1);
    }
    const struct bnn_pool_attrs *a = taker->attrs;
    int windows = taker->row->opcode == BNN_OP_max_pool;
    if (windows && a->stride_h < a->kernel_h) { /* rows of two windows would be computed twice */
        return bnn_op_error(problem, taker, k + 1, BNN_ERROR_FORMAT, "stride of windows on a passed input (at least)",
                            (uint64_t)a->stride_h, (uint64_t)a->kernel_h);
    }
    uint64_t work = bnn_times(bnn_op_work(m, op), bnn_band_of(m, taker).rows); /* of a band, times the rows */
    if (work > (uint64_t)BNN_MAX_PIECE * t->h) {
        return bnn_op_error(problem, op, k, BNN_ERROR_LIMIT, "work of the rows that it passes at once (at most)",
                            bnn_parts(work, t->h), BNN_MAX_PIECE);
    }
    return BNN_OK;
}

bnn_status bnn_check_passed(const struct bnn_model *m, bnn_problem *problem)
{
    for (uint32_t k = 0; k < m->op_count; k++)
        if (bnn_passes(m, &m->ops[k]))
            BNN_TRY(check_pair(m, k, problem));
    return BNN_OK;
}
