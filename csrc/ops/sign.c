/* SPDX-License-Identifier: Apache-2.0 */
/* sign: -1, 0 or +1 (0 for zeros of either sign, and for denormals); what is not a number stays. */
#include "ops/check.h"
#include "run/view.h"

#include <float.h>

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_check_unary(p, op, BNN_F32, BNN_F32);
}

static void run(const struct bnn_run *r)
{
    const struct bnn_tensor *t = r->output.tensor;
    size_t n = (size_t)t->w * t->c;
    for (size_t i = 0; i < r->images; i++) {
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            const float *restrict in = bnn_row_floats(&r->inputs[0], i, y);
            float *restrict out = bnn_row_floats(&r->output, i, y);
            for (size_t k = 0; k < n; k++) {
                float v = in[k];
                out[k] = v != v ? v : (float)(v >= FLT_MIN) - (float)(v <= -FLT_MIN);
            }
        }
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

const struct bnn_op_row bnn_op_row_sign = {
    BNN_ROW_sign,
    .cost = 2,
    .prepare = prepare,
    .run = run,
};
