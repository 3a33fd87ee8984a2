/* SPDX-License-Identifier: Apache-2.0 */
/* softmax over the channels of each pixel, shifted by their maximum so that no exponential overflows. */
#include "run/blocks.h"
#include "ops/check.h"
#include "run/view.h"

#include <math.h>

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_check_unary(p, op, BNN_F32, BNN_F32);
}

/* NaN in one channel makes all channels NaN through the sum, whatever the maximum is. */
static void softmax(float *restrict out, const float *restrict in, size_t c)
{
    float most = in[0], sum = 0.0f;
    for (size_t k = 1; k < c; k++)
        most = in[k] > most ? in[k] : most;
    for (size_t k = 0; k < c; k++) {
        out[k] = expf(in[k] - most);
        sum += out[k];
    }
    BNN_FOR_BLOCKS(k, c, out[k] /= sum;);
}

static void row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor;
    const float *in = bnn_row_floats(&r->inputs[0], image, y);
    float *out = bnn_row_floats(&r->output, image, y);
    for (size_t x = 0; x < t->w; x++, in += t->c, out += t->c)
        softmax(out, in, t->c);
}

const struct bnn_op_row bnn_op_row_softmax = {
    BNN_ROW(softmax),
    .cost = 40,
    .prepare = prepare,
    .row = row,
};
