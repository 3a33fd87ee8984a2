/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of bytes by signs, by tables of every four bytes of a window. */
#include "mcu/conv.h"
#include "mcu/gather.h"

#include "flash/fours.h"

enum { CHUNK = 4 * BNN_FOURS };

/* Where the next byte of a window is. */
struct place {
    const uint8_t *row, *run;
    size_t tap, k;
};

/* The next `count` bytes of a window. */
static void take(const struct bnn_mcu_shape *shape, struct place *at, uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bytes[i] = at->run[at->k];
        if (++at->k < shape->length)
            continue;
        at->k = 0;
        at->run += shape->tap;
        if (++at->tap < shape->taps)
            continue;
        at->tap = 0;
        at->row += shape->window_row;
        at->run = at->row;
    }
}

/* The whole window, of at most CHUNK bytes. */
BNN_INLINE void take_all(const struct bnn_mcu_shape *shape, const uint8_t *x, uint8_t *bytes)
{
    for (size_t row = 0; row < shape->rows; row++, x += shape->window_row) {
        const uint8_t *run = x;
        for (size_t tap = 0; tap < shape->taps; tap++, run += shape->tap)
            for (size_t k = 0; k < shape->length; k++)
                *bytes++ = run[k];
    }
}

static void fill_tables(int16_t *tables, const uint8_t *bytes, size_t fours)
{
    for (; fours > 0; fours--, bytes += 4, tables += BNN_PATTERNS)
        bnn_fill_four(tables, bytes[0], bytes[1], bytes[2], bytes[3]);
}

/* The products of a chunk, added to the sums; for a constant number of fours. */
BNN_INLINE void add_chunk(const struct bnn_mcu_bytes *layer, const int16_t *tables, const uint32_t *signs,
                          int32_t *sums, size_t fours)
{
    const size_t outputs = layer->shape.outputs;
    bnn_add_fours(sums, tables, signs, outputs, fours);
    if (layer->planes == 2)
        bnn_add_fours(sums, tables, signs + outputs, outputs, fours);
}

/* Halves the sums where weights are means of two signs. */
static void halve(const struct bnn_mcu_bytes *layer, int32_t *sums)
{
    if (layer->planes == 2)
        for (size_t o = 0; o < layer->shape.outputs; o++)
            sums[o] /= 2; /* even */
}

/* sums[output] of one pixel. */
static void sum_bytes(const struct bnn_mcu_bytes *layer, const uint8_t *x, int32_t *sums)
{
    const struct bnn_mcu_shape *shape = &layer->shape;
    const uint32_t *signs = layer->weights;
    const size_t chunk_signs = (size_t)shape->outputs * layer->planes;
    struct place at = {x, x, 0, 0};
    size_t left = bnn_mcu_window(shape);
    uint8_t bytes[CHUNK];
    int16_t tables[BNN_FOURS * BNN_PATTERNS];
    for (size_t o = 0; o < shape->outputs; o++)
        sums[o] = 0;
    for (; left >= CHUNK; left -= CHUNK, signs += chunk_signs) {
        take(shape, &at, bytes, CHUNK);
        fill_tables(tables, bytes, BNN_FOURS);
        add_chunk(layer, tables, signs, sums, BNN_FOURS);
    }
    if (left > 0) {
        for (size_t i = left; i % 4 != 0; i++)
            bytes[i] = 0;
        take(shape, &at, bytes, left);
        fill_tables(tables, bytes, (left + 3) / 4);
        for (size_t plane = 0; plane < layer->planes; plane++, signs += shape->outputs)
            bnn_add_any_fours(sums, tables, signs, shape->outputs, (left + 3) / 4);
    }
    halve(layer, sums);
}

/* The same for a constant number of bytes, at most CHUNK. */
BNN_INLINE void sum_few_bytes(const struct bnn_mcu_bytes *layer, const uint8_t *x, int32_t *sums, size_t n)
{
    uint8_t bytes[CHUNK];
    int16_t tables[BNN_FOURS * BNN_PATTERNS];
    for (size_t o = 0; o < layer->shape.outputs; o++)
        sums[o] = 0;
    for (size_t i = n; i % 4 != 0; i++)
        bytes[i] = 0;
    take_all(&layer->shape, x, bytes);
    fill_tables(tables, bytes, (n + 3) / 4);
    add_chunk(layer, tables, layer->weights, sums, (n + 3) / 4);
    halve(layer, sums);
}

/* A pixel's row of the table. */
static const int32_t *table_of(const struct bnn_mcu_bytes *layer, size_t row, size_t column)
{
    return layer->table + bnn_mcu_class(layer->classes, layer->height, row, column) * layer->shape.outputs;
}

/* n: bytes of a window, or 0 for any number. */
BNN_INLINE void row_of_bytes(const struct bnn_mcu_bytes *layer, size_t row, const uint8_t *x, uint32_t *out,
                             int32_t *sums, size_t n)
{
    const struct bnn_mcu_shape *shape = &layer->shape;
    x += row * shape->row;
    for (size_t column = 0; column < shape->width; column++, x += shape->pixel, out += shape->out_pixel) {
        const int32_t *limit = table_of(layer, row, column), *next = sums;
        uint32_t *to = out;
        if (n == 0)
            sum_bytes(layer, x, sums);
        else
            sum_few_bytes(layer, x, sums, n);
        for (size_t left = shape->outputs; left > 0;) {
            size_t count = left < 32 ? left : 32;
            uint32_t word = 0;
            for (size_t i = count; i > 0; i--) {
                uint32_t below = (uint32_t)(*next++ - *limit++); /* its highest bit: it is negative */
                word = word >> 1 | (~below & 0x80000000u);
            }
            *to++ = word >> (32 - count);
            left -= count;
        }
    }
}

void bnn_mcu_bytes_bits(const struct bnn_mcu_bytes *layer, size_t row, const uint8_t *x, uint32_t *out, int32_t *sums)
{
    row_of_bytes(layer, row, x, out, sums, 0);
}

void bnn_mcu_bytes_bits_9(const struct bnn_mcu_bytes *layer, size_t row, const uint8_t *x, uint32_t *out, int32_t *sums)
{
    row_of_bytes(layer, row, x, out, sums, 9);
}

void bnn_mcu_bytes_bits_27(const struct bnn_mcu_bytes *layer, size_t row, const uint8_t *x, uint32_t *out,
                           int32_t *sums)
{
    row_of_bytes(layer, row, x, out, sums, 27);
}

void bnn_mcu_bytes_sums(const struct bnn_mcu_bytes *layer, size_t row, const uint8_t *x, int32_t *out)
{
    const struct bnn_mcu_shape *shape = &layer->shape;
    x += row * shape->row;
    for (size_t column = 0; column < shape->width; column++, x += shape->pixel, out += shape->out_pixel) {
        sum_bytes(layer, x, out);
        if (layer->table != NULL) {
            const int32_t *correction = table_of(layer, row, column);
            for (size_t o = 0; o < shape->outputs; o++)
                out[o] += correction[o];
        }
    }
}
