/* SPDX-License-Identifier: Apache-2.0 */
/* What borders and padding add to sums of bits and bytes, by border class and filter; thresholds or biases with it.  See
 * conv.h. */
#include "bits.h"
#include "ops/conv/conv.h"

static int32_t sign(const uint32_t *words, size_t i)
{
    return (words[i / 32] >> i % 32 & 1) != 0 ? 1 : -1;
}

/* What a tap adds to a correction.  Bits: its set bits.  Bytes: its weights times the channels' zeros. */
static float sum_tap(const struct bnn_conv_shape *s, const float *zeros, const uint32_t *words)
{
    if (!s->bytes) {
        uint32_t set = 0;
        for (uint32_t i = 0; i < s->w->words; i++)
            set += bnn_popcount(words[i]);
        return (float)set;
    }
    size_t channels = s->x->c;
    float sum = 0.0f;
    for (size_t i = 0; i < channels; i++) {
        int32_t weight = sign(words, i);
        if (s->sign_planes == 2)
            weight = (weight + sign(words, i + channels)) / 2;
        sum += (float)weight * zeros[i];
    }
    return sum;
}

/* A filter's taps, summed from the first: sums[y * (kernel width + 1) + x] over rows < y and columns < x.  They are
 * exact, like the sums of products. */
static void sum_taps(const struct bnn_conv_shape *s, const float *zeros, uint32_t filter, float *sums)
{
    const struct bnn_tensor *w = s->w;
    const uint32_t *words = (const uint32_t *)w->data + (size_t)filter * w->image;
    size_t width = (size_t)w->w + 1;
    for (size_t x = 0; x < width; x++)
        sums[x] = 0.0f;
    for (size_t y = 1; y <= w->h; y++) {
        float row = 0.0f;
        sums[y * width] = 0.0f;
        for (size_t x = 1; x < width; x++, words += w->words) {
            row += sum_tap(s, zeros, words);
            sums[y * width + x] = sums[(y - 1) * width + x] + row;
        }
    }
}

/* The sum of some rows and columns of taps. */
static float part(const struct bnn_conv_shape *s, const float *sums, struct bnn_conv_range rows,
                  struct bnn_conv_range columns)
{
    size_t width = (size_t)s->w->w + 1;
    const float *above = sums + rows.begin * width, *below = sums + rows.end * width;
    return below[columns.end] - below[columns.begin] - (above[columns.end] - above[columns.begin]);
}

/* What corrects the sum of a filter where these taps are inside the image. */
static float correction(const struct bnn_conv_shape *s, const float *sums, struct bnn_conv_range rows,
                        struct bnn_conv_range columns)
{
    const struct bnn_conv_range all_rows = {0, s->w->h}, all_columns = {0, s->w->w};
    float inside_sum = part(s, sums, rows, columns);
    if (s->bytes)
        return 0.0f - inside_sum;
    /* Numbers of bits, below 2^24. */
    int32_t inside = (int32_t)inside_sum, all = (int32_t)part(s, sums, all_rows, all_columns);
    int32_t read = (int32_t)part(s, sums, rows, all_columns);
    int32_t products = (int32_t)(s->w->h * s->w->w * s->w->c);
    int32_t inside_products = (int32_t)((rows.end - rows.begin) * (columns.end - columns.begin) * s->w->c);
    int32_t outside = 2 * (all - inside) - (products - inside_products);
    return (float)(inside_products + 2 * (read - inside) + s->attrs->pad_value * outside);
}

/* The smallest p with correction - 2 p < threshold, by floor division; 0: even with no differing bits the sum is too
 * low. */
static int64_t limit(int32_t correction, int32_t threshold)
{
    int64_t twice = (int64_t)correction - threshold;
    return (twice < 0 ? -((1 - twice) / 2) : twice / 2) + 1;
}

/* Limits are below 2^30 + 2^23, as corrections are below 2^24.  With several planes, the sum of the planes above the
 * last is added at run time: it is below 2^24, and may raise a limit from below 0 to above 0. */
static int32_t clamped_limit(const struct bnn_conv_shape *s, int32_t correction, int32_t threshold)
{
    const int64_t least = s->planes > 1 ? INT32_MIN : 0;
    int64_t value = limit(correction, threshold);
    return (int32_t)(value < least ? least : value);
}

/* A number that no sum of bytes reaches; 2^24 if the sums are not whole numbers below it. */
static int32_t out_of_reach(const struct bnn_conv_shape *s, const float *zeros)
{
    const int32_t most = 1 << 24;
    float sum = 0.0f;
    for (uint32_t c = 0; c < s->x->c; c++)
        sum += zeros[c] > 127.5f ? zeros[c] : 255.0f - zeros[c];
    sum *= (float)(s->w->h * s->w->w);
    return sum < (float)(most - 1) ? (int32_t)sum + 1 : most; /* also if a zero is NaN */
}

/* [row class][column class][group][padded] */
struct tables {
    float *corrections;
    int32_t *limits;           /* or NULL */
    float *margins;            /* likewise */
    int32_t *whole;            /* likewise: of bits that become bytes, in steps of a bias */
    const int32_t *thresholds; /* for limits and margins */
    const int32_t *biases;     /* for whole */
    int32_t farthest;          /* for margins: out_of_reach */
};

/* What lanes without a filter have. */
static void clear(const struct tables *t, size_t count)
{
    for (size_t i = 0; i < count; i++)
        t->corrections[i] = 0.0f;
    for (size_t i = 0; t->limits != NULL && i < count; i++)
        t->limits[i] = 0;
    for (size_t i = 0; t->margins != NULL && i < count; i++)
        t->margins[i] = 0.0f - (float)t->farthest;
    for (size_t i = 0; t->whole != NULL && i < count; i++)
        t->whole[i] = 0;
}

/* sums: memory for sum_taps. */
static void fill(const struct bnn_conv *conv, const float *zeros, const struct tables *t, float *sums)
{
    const struct bnn_conv_shape *s = &conv->shape;
    size_t step = s->groups * conv->padded;
    clear(t, conv->row_classes * conv->column_classes * step); /* all of them were reserved */
    for (uint32_t o = 0; o < s->w->o; o++) {
        size_t i = o / s->outputs * conv->padded + o % s->outputs;
        int32_t threshold = t->thresholds != NULL ? t->thresholds[o] : 0, most = t->farthest;
        float reachable = (float)(threshold > most ? most : threshold < -most ? -most : threshold);
        sum_taps(s, zeros, o, sums);
        for (size_t rc = 0; rc < conv->row_classes; rc++)
            for (size_t cc = 0; cc < conv->column_classes; cc++, i += step) {
                float value = correction(s, sums, conv->rows[rc], conv->columns[cc]);
                t->corrections[i] = value;
                if (t->limits != NULL)
                    t->limits[i] = clamped_limit(s, (int32_t)value, threshold);
                if (t->margins != NULL)
                    t->margins[i] = value - reachable;
                if (t->whole != NULL)
                    t->whole[i] = (int32_t)((uint32_t)(int32_t)value * BNN_BIT_STEPS + (uint32_t)t->biases[o]);
            }
    }
}

/* Sums, which are below 2^30, and biases are together below 2^31.  Not in check.c, whose function would have more stack for
 * every layer. */
bnn_status bnn_conv_check_requantizer(struct bnn_prepare *p, const struct bnn_op *op,
                                      const struct bnn_conv_shape *shape)
{
    const uint32_t slots = (uint32_t)shape->attrs->slots;
    const uint32_t wanted = BNN_WHOLE_SLOTS | (shape->bytes ? BNN_SLOT_ZEROS : slots & BNN_SLOT_NEGATED);
    BNN_CHECK(slots == wanted, "slots of requantized sums", slots, wanted);
    BNN_CHECK(bnn_is_whole(shape->y), "output of requantized sums (3: u8)", shape->y->dtype, BNN_U8);
    BNN_CHECK(shape->attrs->planes == 1, "planes of requantized sums", shape->attrs->planes, 1);
    const struct bnn_requantizer q = bnn_op_requantizer(p->model, op);
    return bnn_check_requantizer(p, op, bnn_op_input(p->model, op, bnn_slot_input(op, BNN_SLOT_BIAS))->data, &q);
}

void bnn_conv_correct(struct bnn_prepare *p, const struct bnn_op *op, struct bnn_conv *conv)
{
    const struct bnn_conv_shape *s = &conv->shape;
    const float *zeros = s->bytes ? bnn_op_input(p->model, op, bnn_slot_input(op, BNN_SLOT_ZEROS))->data : NULL;
    uint32_t threshold = bnn_slot_input(op, BNN_SLOT_THRESHOLD); /* the number of its input */
    uint32_t bias = bnn_slot_input(op, BNN_SLOT_BIAS);
    float *sums = bnn_reserve(p, ((size_t)s->w->h + 1) * ((size_t)s->w->w + 1), sizeof *sums);
    size_t count = bnn_conv_table(p, conv);
    struct tables t = {.corrections = bnn_reserve(p, count, sizeof *t.corrections)};
    if (threshold != 0) {
        t.limits = s->binary ? bnn_reserve(p, count, sizeof *t.limits) : NULL;
        t.margins = s->bytes ? bnn_reserve(p, count, sizeof *t.margins) : NULL;
        t.thresholds = bnn_op_input(p->model, op, threshold)->data;
        t.farthest = s->bytes ? out_of_reach(s, zeros) : 0;
    }
    if (bias != 0) {
        t.whole = bnn_reserve(p, count, sizeof *t.whole);
        t.biases = bnn_op_input(p->model, op, bias)->data;
    }
    conv->corrections = t.corrections;
    conv->limits = t.limits;
    if (bias != 0)
        conv->whole = t.whole;
    else
        conv->margins = t.margins;
    int all = t.corrections != NULL && (threshold == 0 || t.limits != NULL || t.margins != NULL) &&
              (bias == 0 || t.whole != NULL);
    if (all && sums != NULL && conv->rows != NULL && conv->columns != NULL)
        fill(conv, zeros, &t, sums);
}
