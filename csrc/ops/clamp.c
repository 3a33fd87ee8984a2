/* SPDX-License-Identifier: Apache-2.0 */
/* clamp: min(max(x, lo), hi); what is not a number stays. */
#include "run/blocks.h"
#include "ops/check.h"
#include "run/view.h"

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_clamp_attrs *a = op->attrs;
    if (a->lo != a->lo || a->hi != a->hi) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "limits that are not numbers", 1, 0);
    }
    return bnn_check_unary(p, op, BNN_F32, BNN_F32);
}

static void clamp(float *restrict out, const float *restrict in, size_t n, float lo, float hi)
{
    BNN_FOR_BLOCKS(k, n, {
        float v = in[k];
        v = v < lo ? lo : v;
        out[k] = v > hi ? hi : v;
    });
}

static void run(const struct bnn_run *r)
{
    const struct bnn_clamp_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor;
    for (size_t i = 0; i < r->images; i++) {
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            clamp(bnn_row_floats(&r->output, i, y), bnn_row_floats(&r->inputs[0], i, y), (size_t)t->w * t->c, a->lo,
                  a->hi);
        }
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

const struct bnn_op_row bnn_op_row_clamp = {
    BNN_ROW_clamp,
    .prepare = prepare,
    .run = run,
};
