/* SPDX-License-Identifier: Apache-2.0 */
/* binarize_levels: the number of thresholds that are <= x, in binary, bit p of it in plane p; planes begin on words.
 * NaN is reported for its image.
 *
 * Bit p of a number n is the parity of the multiples of 2^p up to n: the exclusive or of the comparisons with every
 * 2^p-th threshold.  With few thresholds, kernels compare a row at a time; with many, each pixel is searched. */
#include "ops/check.h"
#include "run/view.h"

#include <math.h>
#include <string.h>

enum { FEW_PLANES = 4 };

struct levels {
    uint32_t steps, planes;
    const float *thresholds; /* few: [steps][channels]; otherwise [2^planes - 1], NaN (never reached) after the last */
    const uint32_t *flips;   /* few: none */
};

static bnn_status check_thresholds(struct bnn_prepare *p, const struct bnn_op *op, const struct bnn_tensor *t)
{
    BNN_TRY(bnn_check_operand(p, op, t, BNN_F32, t->c, "")); /* of any count */
    BNN_CHECK(t->c >= 2 && t->c < 1u << BNN_MOST_PLANES, "thresholds, 2 to 255", t->c, 2);
    const float *value = t->data;
    for (uint32_t i = 0; i < t->c; i++)
        BNN_CHECK(value[i] >= value[i > 0 ? i - 1 : 0], "thresholds that are numbers and rise, from the first on", i,
                  t->c);
    return BNN_OK;
}

static void lay_thresholds(struct bnn_prepare *p, struct levels *l, const float *thresholds, size_t channels)
{
    size_t copies = l->planes <= FEW_PLANES ? channels : 1, numbers = (size_t)1 << l->planes;
    float *all = bnn_reserve(p, l->planes <= FEW_PLANES ? l->steps * copies : numbers, sizeof *all);
    l->thresholds = all;
    if (l->planes <= FEW_PLANES) {
        uint32_t *flips = bnn_reserve(p, (channels + 31) / 32, sizeof *flips);
        l->flips = flips;
        if (flips != NULL)
            memset(flips, 0, (channels + 31) / 32 * sizeof *flips);
    }
    if (all == NULL)
        return;
    for (size_t i = 0; i < l->steps; i++)
        for (size_t c = 0; c < copies; c++)
            *all++ = thresholds[i];
    for (size_t i = l->steps; copies == 1 && i < numbers; i++)
        *all++ = NAN;
}

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_types(p, op, 2, BNN_F32, BNN_B1));
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0), *thresholds = bnn_op_input(p->model, op, 1);
    BNN_TRY(check_thresholds(p, op, thresholds));
    size_t words = (in->c + 31u) / 32;
    struct levels l = {.steps = thresholds->c, .planes = bnn_bit_length(thresholds->c)};
    BNN_TRY(bnn_check_output(p, op, in->rank, in->h, in->w, (uint64_t)l.planes * words * 32));
    struct levels *kept = bnn_reserve(p, 1, sizeof *kept);
    lay_thresholds(p, &l, thresholds->data, in->c);
    op->scratch = in->w * words * sizeof(uint32_t); /* a row of one comparison's bits, no larger than the output's */
    if (kept != NULL) {
        *kept = l;
        op->prepared = kept;
    }
    return BNN_OK;
}

/* Compares a row with every threshold. */
static int compare(const struct bnn_run *r, const struct levels *l, uint32_t *out, const float *in)
{
    const struct bnn_tensor *from = r->inputs[0].tensor;
    size_t words = (from->c + 31u) / 32;
    uint32_t *bits = r->scratch;
    int nan = 0;
    memset(out, 0, from->w * words * l->planes * sizeof *out);
    for (uint32_t i = 1; i <= l->steps; i++) {
        const float *thresholds = l->thresholds + (i - 1) * (size_t)from->c;
        nan |= r->model->kernels.binarize_at(bits, in, thresholds, l->flips, from->c, from->w);
        for (uint32_t plane = 0; plane < l->planes && i % (1u << plane) == 0; plane++)
            for (size_t x = 0; x < from->w; x++)
                for (size_t k = 0; k < words; k++)
                    out[(x * l->planes + plane) * words + k] ^= bits[x * words + k];
    }
    return nan;
}

/* Searches the number of a pixel, from its highest bit to its lowest. */
static int search(const struct levels *l, uint32_t *out, const float *in, size_t channels)
{
    size_t words = (channels + 31) / 32;
    int nan = 0;
    for (size_t k = 0; k < words; k++) {
        uint32_t plane[BNN_MOST_PLANES] = {0};
        size_t left = channels - k * 32, count = left < 32 ? left : 32;
        for (size_t i = 0; i < count; i++) {
            float v = in[k * 32 + i];
            uint32_t number = 0;
            nan |= v != v;
            for (uint32_t b = l->planes; b-- > 0;) {
                uint32_t bit = v >= l->thresholds[number + (1u << b) - 1];
                number |= bit << b;
                plane[b] |= bit << i;
            }
        }
        for (uint32_t b = 0; b < l->planes; b++)
            out[b * words + k] = plane[b];
    }
    return nan;
}

static uint64_t work(const struct bnn_model *m, const struct bnn_op *op)
{
    uint32_t steps = bnn_op_input(m, op, 1)->c, planes = bnn_bit_length(steps);
    return bnn_times(bnn_elements(bnn_op_input(m, op, 0)), planes <= FEW_PLANES ? steps : planes * 8);
}

static void row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct levels *l = r->op->prepared;
    const struct bnn_tensor *from = r->inputs[0].tensor, *to = r->output.tensor;
    const float *in = bnn_row_floats(&r->inputs[0], image, y);
    uint32_t *out = bnn_row_words(&r->output, image, y);
    int nan = 0;
    if (l->planes <= FEW_PLANES)
        nan = compare(r, l, out, in);
    else
        for (size_t x = 0; x < from->w; x++)
            nan |= search(l, out + x * to->words, in + x * from->words, from->c);
    if (nan != 0)
        r->nan[image] = 1;
}

const struct bnn_op_row bnn_op_row_binarize_levels = {
    BNN_ROW(binarize_levels),
    .work = work,
    .prepare = prepare,
    .row = row,
};
