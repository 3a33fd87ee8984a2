/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of bytes by signs for little memory.
 *
 * A value of the window is a byte minus its channel's zero, and 0 outside the image; times a power of two, so that it is
 * a whole number.  Filters are packed as lists of signs without gaps: [word][plane][output].  Sums are looked up as by
 * the functions for firmware (csrc/mcu/bytes.c). */
#include "ops/conv/flash.h"

/* Values with fractions are scaled, so their sums need more bits. */
#define BNN_SUM_OF_FOUR int32_t
#include "flash/fours.h"

#include <string.h>

enum { MAX_SHIFT = 16 /* a byte times 2^16 is just below 2^24, as all sums are */ };

/* The words of a list of signs. */
static size_t sign_words(const struct bnn_conv_shape *s)
{
    return (bnn_flash_window(s) + 31) / 32;
}

/* In the scratch memory, after the window: [four][pattern]. */
static int32_t *tables_of(const struct bnn_flash_job *j)
{
    return (int32_t *)j->run->scratch + (bnn_flash_window(&j->layer->shape) + 3) / 4 * 4;
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

static void sum(struct bnn_flash_job *j, size_t first, size_t channels, int32_t *sums)
{
    const struct bnn_conv_shape *s = &j->layer->shape;
    const size_t planes = s->sign_planes, values = bnn_flash_window(s);
    const uint32_t *signs = j->layer->signs + first;
    int32_t *tables = tables_of(j);
    for (size_t i = 0; i < channels; i++)
        sums[i] = 0;
    for (size_t k = 0; k < values; k += 32) {
        const int32_t *value = (const int32_t *)j->window + k;
        size_t fours = values - k < 32 ? (values - k + 3) / 4 : BNN_FOURS;
        for (size_t i = 0; j->filled != k && i < fours; i++, value += 4)
            bnn_fill_four(tables + i * BNN_PATTERNS, value[0], value[1], value[2], value[3]);
        j->filled = k;
        for (size_t plane = 0; plane < planes; plane++, signs += s->w->o)
            bnn_add_any_fours(sums, tables, signs, channels, fours);
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
    const size_t values = bnn_flash_window(s), channels = s->x->c, filters = s->w->o;
    memset(dst, 0, filters * s->sign_planes * sign_words(s) * sizeof *dst);
    for (size_t o = 0; o < filters; o++, dst++)
        for (size_t first = 0; first < values; first += channels, tap += s->w->words)
            for (size_t i = 0; i < channels * s->sign_planes; i++) {
                size_t k = first + i % channels;
                dst[(k / 32 * s->sign_planes + i / channels) * filters] |= bnn_flash_bit(tap, i) << k % 32;
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
    bnn_flash_prepare(p, op, &layer, (bnn_flash_window(s) + 3) / 4 * 4 + (size_t)BNN_FOURS * BNN_PATTERNS);
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
