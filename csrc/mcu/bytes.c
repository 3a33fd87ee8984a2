/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of bytes by signs.  Of every four bytes of a window, the sums under all sixteen patterns of signs are a
 * table, which all filters look up: a filter's word of 32 signs takes eight additions. */
#include "mcu/conv.h"
#include "mcu/gather.h"

#include "flash/count.h"

enum { CHUNK = 32, FOURS = CHUNK / 4, PATTERNS = 16 };

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

/* tables[pattern of four signs, bit i set for +1] of each four bytes. */
static void fill_tables(int16_t *tables, const uint8_t *bytes, size_t fours)
{
    for (; fours > 0; fours--, bytes += 4) {
        int32_t both = bytes[0] + bytes[1], first = bytes[0] - bytes[1];
        int32_t last[4] = {-bytes[2] - bytes[3], bytes[2] - bytes[3], bytes[3] - bytes[2], bytes[2] + bytes[3]};
        for (size_t i = 0; i < 4; i++, tables += 4) {
            tables[0] = (int16_t)(last[i] - both);
            tables[1] = (int16_t)(last[i] + first);
            tables[2] = (int16_t)(last[i] - first);
            tables[3] = (int16_t)(last[i] + both);
        }
    }
}

/* The sum of all bytes with the signs of a word; for a constant number of fours. */
BNN_INLINE int32_t look_up(const int16_t *tables, uint32_t signs, size_t fours)
{
    int32_t total = tables[signs & 15];
    if (fours > 1)
        total += tables[PATTERNS + (signs >> 4 & 15)];
    if (fours > 2)
        total += tables[2 * PATTERNS + (signs >> 8 & 15)];
    if (fours > 3)
        total += tables[3 * PATTERNS + (signs >> 12 & 15)];
    if (fours > 4)
        total += tables[4 * PATTERNS + (signs >> 16 & 15)];
    if (fours > 5)
        total += tables[5 * PATTERNS + (signs >> 20 & 15)];
    if (fours > 6)
        total += tables[6 * PATTERNS + (signs >> 24 & 15)];
    if (fours > 7)
        total += tables[7 * PATTERNS + (signs >> 28)];
    return total;
}

/* Any number. */
static int32_t look_up_loop(const int16_t *tables, uint32_t signs, size_t fours)
{
    int32_t total = 0;
    for (; fours > 0; fours--, tables += PATTERNS, signs >>= 4)
        total += tables[signs & 15];
    return total;
}

/* The products of a chunk, added to the sums. */
BNN_INLINE void add_chunk(const struct bnn_mcu_bytes *layer, const int16_t *tables, const uint32_t *signs,
                          int32_t *sums, size_t fours)
{
    const size_t outputs = layer->shape.outputs;
    if (layer->planes == 1)
        for (size_t o = 0; o < outputs; o++)
            sums[o] += look_up(tables, signs[o], fours);
    else
        for (size_t o = 0; o < outputs; o++, signs += 2)
            sums[o] += (look_up(tables, signs[0], fours) + look_up(tables, signs[1], fours)) / 2; /* even */
}

static void add_last_chunk(const struct bnn_mcu_bytes *layer, const int16_t *tables, const uint32_t *signs,
                           int32_t *sums, size_t fours)
{
    for (size_t o = 0; o < layer->shape.outputs; o++, signs += layer->planes) {
        int32_t total = look_up_loop(tables, signs[0], fours);
        if (layer->planes == 2)
            total = (total + look_up_loop(tables, signs[1], fours)) / 2;
        sums[o] += total;
    }
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
    int16_t tables[FOURS * PATTERNS];
    for (size_t o = 0; o < shape->outputs; o++)
        sums[o] = 0;
    for (; left >= CHUNK; left -= CHUNK, signs += chunk_signs) {
        take(shape, &at, bytes, CHUNK);
        fill_tables(tables, bytes, FOURS);
        add_chunk(layer, tables, signs, sums, FOURS);
    }
    if (left == 0)
        return;
    for (size_t i = left; i % 4 != 0; i++)
        bytes[i] = 0;
    take(shape, &at, bytes, left);
    fill_tables(tables, bytes, (left + 3) / 4);
    add_last_chunk(layer, tables, signs, sums, (left + 3) / 4);
}

/* The same for a constant number of bytes, at most CHUNK. */
BNN_INLINE void sum_few_bytes(const struct bnn_mcu_bytes *layer, const uint8_t *x, int32_t *sums, size_t n)
{
    uint8_t bytes[CHUNK];
    int16_t tables[FOURS * PATTERNS];
    for (size_t o = 0; o < layer->shape.outputs; o++)
        sums[o] = 0;
    for (size_t i = n; i % 4 != 0; i++)
        bytes[i] = 0;
    take_all(&layer->shape, x, bytes);
    fill_tables(tables, bytes, (n + 3) / 4);
    add_chunk(layer, tables, layer->weights, sums, (n + 3) / 4);
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
