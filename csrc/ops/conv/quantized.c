/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of bytes by int8 weights: what differs from those by signs is how weights are packed, and that what
 * corrects sums is a number of 32 bits.  See conv.h. */
#include <string.h>

#include "ops/conv/conv.h"

/* [tap][channel], missing channels zero. */
static void pack_depthwise(struct bnn_prepare *p, struct bnn_conv *conv)
{
    const struct bnn_tensor *w = conv->shape.w;
    const size_t taps = (size_t)w->h * w->w;
    const int8_t *weights = w->data;
    int32_t *dst = bnn_conv_reserve_weights(p, conv, taps);
    for (size_t tap = 0; dst != NULL && tap < taps; tap++)
        for (size_t c = 0; c < conv->padded; c++)
            *dst++ = c < w->o ? weights[c * taps + tap] : 0;
}

static void pack(struct bnn_prepare *p, struct bnn_conv *conv)
{
    if (conv->shape.depthwise) {
        pack_depthwise(p, conv);
        return;
    }
    const struct bnn_conv_shape *s = &conv->shape;
    const struct bnn_byte_kernels *kernels = p->model->kernels->wide;
    size_t segments = s->w->h * conv->row_segments;
    size_t words = segments * ((conv->length + kernels->taps - 1) / kernels->taps);
    uint32_t *dst = bnn_conv_reserve_weights(p, conv, words);
    for (size_t g = 0; dst != NULL && g < s->groups; g++) {
        const struct bnn_byte_filters filters = {.weights = (const int8_t *)s->w->data + g * s->outputs * s->w->image,
                                                 .channels = s->outputs,
                                                 .segments = segments,
                                                 .pixels = conv->length / s->group_words,
                                                 .bytes = s->group_words};
        kernels->pack(dst + g * conv->group_weights, &filters);
    }
}

/* The zeros times a filter's weights, summed from the first tap: sums[y * (kernel width + 1) + x] over rows < y and
 * columns < x. */
static void sum_taps(const struct bnn_conv_shape *s, const float *zeros, const int8_t *weights, int32_t *sums)
{
    size_t width = (size_t)s->w->w + 1;
    for (size_t x = 0; x < width; x++)
        sums[x] = 0;
    for (size_t y = 1; y <= s->w->h; y++) {
        int32_t row = 0;
        sums[y * width] = 0;
        for (size_t x = 1; x < width; x++) {
            for (size_t c = 0; c < s->group_words; c++)
                row += *weights++ * (int32_t)zeros[c];
            sums[y * width + x] = sums[(y - 1) * width + x] + row;
        }
    }
}

/* What is added to the sums: [row class][column class][group][padded].  `thresholds` and `biases` may be NULL.  Sums are
 * below 2^30, so a threshold that none reaches may become 2^30. */
static void fill_whole(const struct bnn_conv *conv, const float *zeros, const int32_t *thresholds,
                       const int32_t *biases, int32_t *whole, int32_t *sums)
{
    const struct bnn_conv_shape *s = &conv->shape;
    const int32_t most = 1 << 30;
    const size_t step = s->groups * conv->padded, width = (size_t)s->w->w + 1;
    for (size_t i = 0; i < conv->row_classes * conv->column_classes * step; i++)
        whole[i] = 0; /* also of lanes without a filter */
    for (uint32_t o = 0; o < s->w->o; o++) {
        size_t group = o / s->outputs, i = group * conv->padded + o % s->outputs;
        int32_t threshold = thresholds != NULL ? thresholds[o] : 0;
        threshold = threshold > most ? most : threshold < -most ? -most : threshold;
        int32_t added = biases != NULL ? biases[o] : -threshold;
        sum_taps(s, zeros + (s->depthwise ? o : group * s->group_words), (const int8_t *)s->w->data + o * s->w->image,
                 sums);
        for (size_t rc = 0; rc < conv->row_classes; rc++)
            for (size_t cc = 0; cc < conv->column_classes; cc++, i += step) {
                const struct bnn_conv_range rows = conv->rows[rc], columns = conv->columns[cc];
                const int32_t *above = sums + rows.begin * width, *below = sums + rows.end * width;
                int32_t inside =
                    below[columns.end] - below[columns.begin] - (above[columns.end] - above[columns.begin]);
                whole[i] = added - inside;
            }
    }
}

static void correct(struct bnn_prepare *p, const struct bnn_op *op, struct bnn_conv *conv)
{
    const struct bnn_tensor *w = conv->shape.w;
    const float *zeros = bnn_op_input(p->model, op, bnn_slot_input(op, BNN_SLOT_ZEROS))->data;
    uint32_t threshold = bnn_slot_input(op, BNN_SLOT_THRESHOLD); /* the number of its input */
    const int32_t *thresholds = threshold != 0 ? bnn_op_input(p->model, op, threshold)->data : NULL;
    uint32_t bias = bnn_slot_input(op, BNN_SLOT_BIAS);
    const int32_t *biases = bias != 0 ? bnn_op_input(p->model, op, bias)->data : NULL;
    int plain = thresholds == NULL && biases == NULL;
    size_t count = bnn_conv_table(p, conv);
    int32_t *sums = bnn_reserve(p, ((size_t)w->h + 1) * ((size_t)w->w + 1), sizeof *sums);
    int32_t *whole = bnn_reserve(p, count, sizeof *whole);
    int32_t *raw = plain ? whole : bnn_reserve(p, count, sizeof *raw);
    conv->whole = whole;
    conv->raw_whole = raw;
    if (sums == NULL || whole == NULL || raw == NULL || conv->rows == NULL || conv->columns == NULL)
        return;
    fill_whole(conv, zeros, thresholds, biases, whole, sums);
    if (raw != whole)
        fill_whole(conv, zeros, NULL, NULL, raw, sums);
}

/* Whether bits of bytes are a comparison with a number for each channel: of windows of one pixel, by weights of +-1. */
static int is_comparison(const struct bnn_op *op, const struct bnn_conv_shape *s)
{
    const struct bnn_conv_attrs *a = s->attrs;
    if (!s->depthwise || s->y->dtype != BNN_B1 || bnn_slot_input(op, BNN_SLOT_THRESHOLD) == 0)
        return 0;
    const int8_t *weights = s->w->data;
    for (size_t c = 0; c < s->w->o; c++)
        if (weights[c] != 1 && weights[c] != -1)
            return 0;
    return s->w->h == 1 && s->w->w == 1 && a->stride_h == 1 && a->stride_w == 1 && s->y->h == s->x->h &&
           s->y->w == s->x->w;
}

/* x - zero >= threshold, or zero - x >= threshold, as x >= least or its opposite. */
static void reserve_comparison(struct bnn_prepare *p, const struct bnn_op *op, const struct bnn_conv_shape *s)
{
    struct bnn_conv *conv = op->prepared;
    const float *zeros = bnn_op_input(p->model, op, bnn_slot_input(op, BNN_SLOT_ZEROS))->data;
    const int32_t *thresholds = bnn_op_input(p->model, op, bnn_slot_input(op, BNN_SLOT_THRESHOLD))->data;
    const int8_t *weights = s->w->data;
    const size_t words = (s->w->o + 31) / 32;
    uint8_t *least = bnn_reserve(p, s->w->o, sizeof *least);
    uint32_t *flips = bnn_reserve(p, words, sizeof *flips);
    if (least == NULL || flips == NULL)
        return;
    memset(flips, 0, words * sizeof *flips);
    for (size_t c = 0; c < s->w->o; c++) {
        const int64_t zero = (int64_t)zeros[c], threshold = thresholds[c];
        const int64_t first = weights[c] > 0 ? zero + threshold : zero - threshold + 1;
        const int never = first > 255;
        least[c] = (uint8_t)(first < 0 || never ? 0 : first);
        flips[c / 32] |= (uint32_t)(never != (weights[c] < 0)) << c % 32;
    }
    conv->least = least;
    conv->flips = flips;
}

static void compare(const struct bnn_run *r, const struct bnn_conv *conv)
{
    const struct bnn_tensor *x = conv->shape.x, *y = conv->shape.y;
    const size_t first = r->column_begin, pixels = r->column_end - first;
    for (size_t image = 0; image < r->images; image++)
        for (size_t row = r->row_begin; row < r->row_end; row++)
            r->model->kernels->wide->loops->binarize_at(bnn_row_words(&r->output, image, row) + first * y->words,
                                                        bnn_row_bytes(&r->inputs[0], image, row) + first * x->c,
                                                        conv->least, conv->flips, x->c, pixels);
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

static void run(const struct bnn_run *r)
{
    const struct bnn_conv *conv = r->op->prepared;
    if (conv->least != NULL && !r->raw)
        compare(r, conv);
    else
        bnn_conv_run(r);
}

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_byte_kernels *k = p->model->kernels->wide;
    BNN_CHECK_KERNELS(k != NULL);
    BNN_TRY(bnn_conv_prepare(p, op, &(struct bnn_conv_kernels){k->values, k->pixels, k->lanes, pack, correct, NULL}));
    /* Before they are used: the first time, when this is checked, there is no memory for corrections. */
    const struct bnn_tensor *x = bnn_op_input(p->model, op, 0);
    const float *zeros = bnn_op_input(p->model, op, bnn_slot_input(op, BNN_SLOT_ZEROS))->data;
    for (uint32_t c = 0; c < x->c; c++) {
        int byte = zeros[c] >= 0.0f && zeros[c] <= 255.0f && zeros[c] == (float)(uint8_t)zeros[c];
        BNN_CHECK(byte, "zero of a channel, a whole number from 0 to 255 (1: yes)", byte, 1);
    }
    struct bnn_conv_shape shape;
    BNN_TRY(bnn_conv_check(p, op, &shape));
    if (is_comparison(op, &shape))
        reserve_comparison(p, op, &shape);
    return BNN_OK;
}

/* Convolutions of bytes by int8 filters, any groups. */
const struct bnn_op_row bnn_op_row_qconv2d = {
    BNN_ROW(qconv2d),
    .prepare = prepare,
    .run = run,
};
