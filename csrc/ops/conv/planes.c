/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of binary numbers: one kernel run per plane of bits.  See conv.h. */
#include "ops/conv/conv.h"

#include <string.h>

enum {
    PIXELS = 32, /* at once: the data between two runs stay in the nearest cache */
    LANES = 64   /* the widest block of any family */
};

struct between {
    ptrdiff_t at[PIXELS];
    float twos[LANES];
    float sums[2][PIXELS * LANES]; /* written and read alternately */
    int32_t limits[PIXELS * LANES];
};

size_t bnn_conv_planes_scratch(const struct bnn_conv *conv)
{
    return conv->shape.planes > 1 ? sizeof(struct between) : 0;
}

/* The part of a tile from a pixel on. */
static struct bnn_tile part(const struct bnn_tile *tile, size_t pixel)
{
    struct bnn_tile t = *tile;
    size_t left = tile->pixels - pixel;
    t.pixels = left < PIXELS ? left : PIXELS;
    t.at.a += pixel;
    t.at.table += pixel;
    if (t.bits != NULL)
        t.at.bits += pixel;
    if (t.values != NULL)
        t.at.values += pixel;
    if (t.residual != NULL)
        t.at.residual += pixel;
    return t;
}

/* Runs all planes except the last; all sums are below 2^24.  The result is for the last plane: its corrections, 2 T +
 * its own, which are a residual to a doubled value; or, for limits, T. */
static const float *sum_planes(const struct bnn_kernels *kernels, const struct bnn_conv *conv,
                               const struct bnn_tile *tile, int limits, struct between *b)
{
    const struct bnn_epilogue none = {.pre_mul = NULL}, doubled = {.pre_mul = b->twos};
    const float *own = tile->corrections + tile->first;
    struct bnn_tile t = {.segment = tile->segment,
                         .segments = tile->segments,
                         .length = tile->length,
                         .pixels = tile->pixels,
                         .weights = tile->weights,
                         .corrections = own,
                         .channels = tile->channels,
                         .at = {.a = tile->at.a, .table = tile->at.table, .values = b->at}};
    for (size_t plane = conv->shape.planes - 1; plane > 0; plane--) {
        int last = limits && plane == 1;
        t.a = (const uint32_t *)tile->a + plane * conv->shape.plane_words;
        t.values = b->sums[plane % 2];
        t.epilogue = last ? &none : &doubled;
        t.residual = last ? NULL : own;
        t.at.residual = tile->at.table;
        kernels->binary.values(&t);
        t.corrections = t.values;
        t.at.table = b->at;
    }
    return t.values;
}

static void add_limits(const struct bnn_tile *tile, const float *sums, int32_t *limits)
{
    for (size_t i = 0; i < tile->pixels; i++, sums += LANES, limits += LANES) {
        const int32_t *own = tile->limits + tile->first + tile->at.table[i];
        for (size_t lane = 0; lane < tile->channels; lane++)
            limits[lane] = (int32_t)sums[lane] + own[lane];
    }
}

/* Arrays begin at the tile's first channel, because the intermediate table has no other channels. */
static void begin_at_first(struct bnn_tile *t)
{
    if (t->bits != NULL)
        t->bits += t->first / 32;
    if (t->values != NULL)
        t->values += t->first;
    if (t->residual != NULL)
        t->residual += t->first;
    t->first = 0;
}

int bnn_conv_planes(const struct bnn_kernels *kernels, const struct bnn_conv *conv, const struct bnn_tile *tile,
                    int limits, void *scratch)
{
    struct bnn_epilogue epilogue = *tile->epilogue;
    bnn_conv_move_epilogue(&epilogue, tile->first);
    struct between *b = scratch;
    int nan = 0;
    /* Vectors of sums are loaded whole: lanes that no channel has are 0.  Portable kernels load none. */
#ifndef BNN_SMALL
    if (tile->channels < conv->lanes)
        memset(b->sums, 0, sizeof b->sums);
#endif
    for (size_t i = 0; i < PIXELS; i++)
        b->at[i] = (ptrdiff_t)(i * LANES);
    for (size_t i = 0; i < LANES; i++)
        b->twos[i] = 2.0f;
    for (size_t pixel = 0; pixel < tile->pixels; pixel += PIXELS) {
        struct bnn_tile t = part(tile, pixel);
        const float *sums = sum_planes(kernels, conv, &t, limits, b);
        if (limits)
            add_limits(&t, sums, b->limits);
        begin_at_first(&t);
        t.epilogue = &epilogue;
        t.limits = b->limits;
        t.corrections = sums;
        t.at.table = b->at;
        nan |= limits ? kernels->binary.bits(&t) : kernels->binary.values(&t);
    }
    return nan;
}
