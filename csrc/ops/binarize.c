/* SPDX-License-Identifier: Apache-2.0 */
/* binarize: the bit x >= 0, so that zeros of either sign give +1; or, with a threshold and a flip per channel, the bit
 * (x >= threshold) != flip.  NaN is reported for its image; so is infinity in channels whose threshold is NaN, which
 * had a multiplication by zero. */
#include "ops/check.h"
#include "run/view.h"

#include <math.h>

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    if (op->input_count == 1)
        return bnn_check_unary(p, op, BNN_F32, BNN_B1);
    BNN_TRY(bnn_check_types(p, op, 3, BNN_F32, BNN_B1));
    uint32_t channels = bnn_op_input(p->model, op, 0)->c;
    BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, 1), BNN_F32, channels, "number of thresholds"));
    BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, 2), BNN_B1, channels, "number of flips"));
    return bnn_check_same_shape(p, op);
}

/* Whether a channel with a NaN threshold has an infinite number in a row. */
static int infinite_times_zero(const float *restrict in, const float *restrict thresholds, size_t channels,
                               size_t pixels)
{
    int found = 0;
    for (size_t x = 0; x < pixels; x++, in += channels)
        for (size_t k = 0; k < channels; k++)
            found |= isnan(thresholds[k]) && isinf(in[k]);
    return found;
}

/* With a threshold and a flip per channel. */
static void run_thresholds(const struct bnn_run *r)
{
    const struct bnn_tensor *t = r->output.tensor;
    const float *thresholds = r->inputs[1].data;
    const uint32_t *flips = r->inputs[2].data;
    int zeros = 0;
    for (size_t k = 0; k < t->c; k++)
        zeros |= isnan(thresholds[k]);
    for (size_t i = 0; i < r->images; i++) {
        int nan = 0;
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            const float *in = bnn_row_floats(&r->inputs[0], i, y);
            uint32_t *out = bnn_row_words(&r->output, i, y);
            nan |= r->model->kernels.binarize_at(out, in, thresholds, flips, t->c, t->w);
            nan |= zeros && infinite_times_zero(in, thresholds, t->c, t->w);
        }
        if (nan != 0)
            r->nan[i] = 1;
    }
}

static void run_signs(const struct bnn_run *r)
{
    const struct bnn_tensor *t = r->output.tensor;
    int (*binarize)(uint32_t *, const float *, size_t) = r->model->kernels.binarize;
    size_t pixels = t->w, c = t->c;
    if (c % 32 == 0) { /* no tail bits: the whole row at once */
        c *= pixels;
        pixels = 1;
    }
    for (size_t i = 0; i < r->images; i++) {
        int nan = 0;
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            const float *in = bnn_row_floats(&r->inputs[0], i, y);
            uint32_t *out = bnn_row_words(&r->output, i, y);
            for (size_t x = 0; x < pixels; x++, in += c, out += t->words)
                nan |= binarize(out, in, c);
        }
        if (nan != 0)
            r->nan[i] = 1;
    }
}

static void run(const struct bnn_run *r)
{
    if (r->op->input_count == 1)
        run_signs(r);
    else
        run_thresholds(r);
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

const struct bnn_op_row bnn_op_row_binarize = {
    BNN_ROW(binarize),
    .prepare = prepare,
    .run = run,
};
