/* SPDX-License-Identifier: Apache-2.0 */
/* The special needs of byte convolutions; see conv.h. */
#include "ops/conv/conv.h"

void bnn_conv_pack_bytes(struct bnn_prepare *p, struct bnn_conv *conv)
{
    const struct bnn_conv_shape *s = &conv->shape;
    const struct bnn_kernels *kernels = &p->model->kernels;
    size_t segments = s->w->h * conv->row_segments, taps = kernels->bytes.taps;
    size_t segment_words = (conv->length + taps - 1) / taps * conv->lanes;
    conv->row_weights = conv->row_segments * segment_words;
    conv->block_weights = s->w->h * conv->row_weights;
    conv->group_weights = bnn_conv_product(p, conv->block_weights, conv->padded / conv->lanes);
    uint32_t *dst = bnn_reserve(p, conv->group_weights, sizeof *dst);
    conv->weights.words = dst;
    const struct bnn_byte_filters filters = {.signs = s->w->data,
                                             .channels = s->outputs,
                                             .segments = segments,
                                             .pixels = conv->length / s->x->c,
                                             .bytes = s->x->c,
                                             .planes = s->sign_planes};
    if (dst != NULL)
        kernels->bytes.pack(dst, &filters);
}

/* A tap's contribution to the correction: its weights times the channels' zeros. */
static double zeros_of_tap(const struct bnn_conv_shape *s, const float *zeros, const uint32_t *signs)
{
    double sum = 0.0; /* for two planes, twice the tap's contribution, which a float may not hold */
    for (uint32_t i = 0; i < s->w->c; i++)
        sum += signs[i / 32] >> i % 32 & 1 ? zeros[i % s->x->c] : -zeros[i % s->x->c];
    return sum / s->sign_planes;
}

/* The contributions of a filter's taps, summed from the first: sums[y * (kernel width + 1) + x] over rows < y and
 * columns < x.  They are exact, like the sums of products. */
static void sum_zeros(const struct bnn_conv_shape *s, const float *zeros, uint32_t filter, double *sums)
{
    const struct bnn_tensor *w = s->w;
    const uint32_t *signs = (const uint32_t *)w->data + (size_t)filter * w->image;
    size_t width = (size_t)w->w + 1;
    for (size_t x = 0; x < width; x++)
        sums[x] = 0.0;
    for (size_t y = 1; y <= w->h; y++) {
        double row = 0.0;
        sums[y * width] = 0.0;
        for (size_t x = 1; x < width; x++, signs += w->words) {
            row += zeros_of_tap(s, zeros, signs);
            sums[y * width + x] = sums[(y - 1) * width + x] + row;
        }
    }
}

void bnn_conv_correct_bytes(const struct bnn_conv *conv, const float *zeros, const struct bnn_conv_range *columns,
                            float *corrections, double *sums)
{
    const struct bnn_conv_shape *s = &conv->shape;
    size_t width = (size_t)s->w->w + 1;
    for (uint32_t o = 0; o < s->w->o; o++) {
        float *correction = corrections + o;
        sum_zeros(s, zeros, o, sums);
        for (size_t rc = 0; rc < conv->row_classes; rc++) {
            const double *above = sums + conv->rows[rc].begin * width, *below = sums + conv->rows[rc].end * width;
            for (size_t cc = 0; cc < conv->column_classes; cc++, correction += conv->padded) {
                struct bnn_conv_range c = columns[cc];
                *correction = (float)(above[c.end] - above[c.begin] - (below[c.end] - below[c.begin]));
            }
        }
    }
}

/* A number that no sum reaches; 2^24 if the sums are not whole numbers below it. */
static int32_t out_of_reach(const struct bnn_conv_shape *s, const float *zeros)
{
    double sum = 0.0;
    for (uint32_t c = 0; c < s->x->c; c++)
        sum += zeros[c] > 127.5f ? zeros[c] : 255.0f - zeros[c];
    sum = sum * s->w->h * s->w->w + 1.0;
    return sum < (1 << 24) ? (int32_t)sum : 1 << 24; /* also if a zero is NaN */
}

void bnn_conv_margins(struct bnn_prepare *p, const struct bnn_op *op, struct bnn_conv *conv, size_t count)
{
    const struct bnn_conv_shape *s = &conv->shape;
    if (!((uint32_t)s->attrs->slots & BNN_SLOT_THRESHOLD))
        return;
    const int32_t *thresholds = bnn_op_input(p->model, op, 3)->data; /* after the zeros */
    int32_t farthest = out_of_reach(s, bnn_op_input(p->model, op, 2)->data);
    float *margins = bnn_reserve(p, count, sizeof *margins);
    conv->margins = margins;
    for (size_t i = 0; margins != NULL && i < count; i++) {
        size_t c = i % conv->padded;
        int32_t t = c < s->outputs ? thresholds[c] : farthest;
        t = t > farthest ? farthest : t < -farthest ? -farthest : t;
        margins[i] = conv->corrections[i] - (float)t;
    }
}
