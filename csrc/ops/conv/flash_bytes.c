/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of bytes by signs for little memory.
 *
 * A value of the window is a byte minus its channel's zero, and 0 outside the image; times a power of two, so that it is
 * a whole number.  Filters are packed as lists of signs without gaps: [output][plane][word].  Of every four values, the
 * sums under all sixteen patterns of signs are a table, which all filters look up. */
#include "ops/conv/flash.h"

#include <string.h>

enum {
    FOURS = 8, /* of values, in a word of signs */
    PATTERNS = 16,
    MAX_SHIFT = 16 /* a byte times 2^16 is just below 2^24, as all sums are */
};

/* The words of a list of signs. */
static size_t sign_words(const struct bnn_conv_shape *s)
{
    return (bnn_flash_window(s) + 31) / 32;
}

/* In the scratch memory, after the window: [four][pattern]. */
static uint32_t *tables_of(const struct bnn_flash_job *j)
{
    return (uint32_t *)j->run->scratch + (bnn_flash_window(&j->layer->shape) + 3) / 4 * 4;
}

static void gather(struct bnn_flash_job *j, size_t group)
{
    const struct bnn_conv_shape *s = &j->layer->shape;
    const struct bnn_conv_attrs *a = s->attrs;
    uint32_t *to = j->run->scratch;
    (void)group; /* there is one */
    j->window = to;
    j->filled = SIZE_MAX;
    for (uint32_t y = 0; y < s->w->h; y++)
        for (uint32_t x = 0; x < s->w->w; x++) {
            int inside = bnn_flash_inside(j, y, x);
            const unsigned char *from =
                j->x + y * (size_t)a->dilation_h * s->x->row + x * (size_t)a->dilation_w * s->x->c;
            for (uint32_t c = 0; c < s->x->c; c++)
                *to++ = inside ? ((uint32_t)from[c] << j->layer->shift) - (uint32_t)j->layer->zeros[c] : 0;
        }
    while ((to - j->window) % 4 != 0)
        *to++ = 0;
}

/* tables[pattern of four signs, bit i set for +] of each four values. */
static void fill_tables(uint32_t *tables, const uint32_t *values, size_t fours)
{
    for (; fours > 0; fours--, values += 4) {
        const uint32_t both = values[0] + values[1], first = values[0] - values[1];
        for (uint32_t i = 0; i < 4; i++, tables += 4) {
            uint32_t last = (i & 1 ? values[2] : 0 - values[2]) + (i & 2 ? values[3] : 0 - values[3]);
            tables[0] = last - both;
            tables[1] = last + first;
            tables[2] = last - first;
            tables[3] = last + both;
        }
    }
}

/* Adds what a table has for one four of each filter's signs. */
static void look_up(int32_t *sums, const uint32_t *table, const uint32_t *signs, size_t step, size_t shift,
                    size_t channels)
{
    for (size_t i = 0; i < channels; i++, signs += step)
        sums[i] = (int32_t)((uint32_t)sums[i] + table[*signs >> shift & (PATTERNS - 1)]);
}

static void sum(struct bnn_flash_job *j, size_t first, size_t channels, int32_t *sums)
{
    const struct bnn_conv_shape *s = &j->layer->shape;
    const size_t planes = s->sign_planes, words = sign_words(s), values = bnn_flash_window(s);
    uint32_t *tables = tables_of(j);
    for (size_t i = 0; i < channels; i++)
        sums[i] = 0;
    for (size_t k = 0; k < words; k++) {
        const uint32_t *signs = j->layer->signs + first * planes * words + k;
        size_t left = values - 32 * k, fours = left < 32 ? (left + 3) / 4 : FOURS;
        if (j->filled != k)
            fill_tables(tables, j->window + 32 * k, fours);
        j->filled = k;
        for (size_t i = 0; i < fours; i++) {
            look_up(sums, tables + i * PATTERNS, signs, planes * words, 4 * i, channels);
            if (planes == 2)
                look_up(sums, tables + i * PATTERNS, signs + words, planes * words, 4 * i, channels);
        }
    }
    for (size_t i = 0; i < channels && planes == 2; i++)
        sums[i] /= 2; /* even */
}

/* A zero times 2^shift, without what is not whole; 0 where that is no number below 2^24, as in no compiled model. */
static int32_t scaled(float zero, uint32_t shift)
{
    const float most = 16777216.0f;
    float v = zero * (float)(1u << shift);
    return v > -most && v < most ? (int32_t)v : 0;
}

/* By which all zeros are whole numbers. */
static uint32_t find_shift(const float *zeros, size_t count)
{
    uint32_t shift = 0;
    for (size_t c = 0; c < count; c++)
        while (shift < MAX_SHIFT && (float)scaled(zeros[c], shift) != zeros[c] * (float)(1u << shift))
            shift++;
    return shift;
}

/* The signs of all filters, without gaps. */
static void pack_signs(const struct bnn_conv_shape *s, uint32_t *dst)
{
    const uint32_t *tap = s->w->data;
    size_t taps = (size_t)s->w->h * s->w->w, channels = s->x->c, words = sign_words(s);
    memset(dst, 0, s->w->o * s->sign_planes * words * sizeof *dst);
    for (size_t o = 0; o < s->w->o; o++, dst += s->sign_planes * words)
        for (size_t t = 0; t < taps; t++, tap += s->w->words)
            for (size_t i = 0; i < channels * s->sign_planes; i++) {
                size_t k = t * channels + i % channels;
                dst[i / channels * words + k / 32] |= bnn_flash_bit(tap, i) << k % 32;
            }
}

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    struct bnn_flash layer = {.shift = 0};
    const struct bnn_conv_shape *s = &layer.shape;
    BNN_TRY(bnn_conv_check(p, op, &layer.shape));
    const float *given = bnn_op_input(p->model, op, bnn_slot_input(op, BNN_SLOT_ZEROS))->data;
    uint32_t *signs = bnn_reserve(p, bnn_conv_product(p, s->w->o, s->sign_planes * sign_words(s)), sizeof *signs);
    int32_t *zeros = bnn_reserve(p, s->x->c, sizeof *zeros);
    if (signs != NULL && zeros != NULL) {
        pack_signs(s, signs);
        layer.shift = find_shift(given, s->x->c);
        for (size_t c = 0; c < s->x->c; c++)
            zeros[c] = scaled(given[c], layer.shift);
    }
    layer.signs = signs;
    layer.zeros = zeros;
    bnn_flash_prepare(p, op, &layer, (bnn_flash_window(s) + 3) / 4 * 4 + (size_t)FOURS * PATTERNS);
    return BNN_OK;
}

static void run(const struct bnn_run *r)
{
    static const struct bnn_flash_kind kind = {gather, sum};
    bnn_flash_run(r, &kind);
}

const struct bnn_op_row bnn_op_row_iconv2d_flash = {
    BNN_ROW(iconv2d),
    .prepare = prepare,
    .run = run,
};
