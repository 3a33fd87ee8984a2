/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of bytes by signs.  Of every four bytes of a window, the sums under all sixteen patterns of signs are a
 * table, which all filters look up: a filter's word of 32 signs takes eight additions. */
#include "mcu/conv.h"
#include "mcu/gather.h"

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

/* tables[pattern of four signs, bit i set for +1] of each four bytes. */
static void fill(int16_t *tables, const uint8_t *bytes, size_t fours)
{
    for (; fours > 0; fours--, bytes += 4, tables += PATTERNS) {
        tables[0] = (int16_t)(-bytes[0] - bytes[1] - bytes[2] - bytes[3]);
        for (size_t i = 0; i < 4; i++)
            for (size_t pattern = 0; pattern < (size_t)1 << i; pattern++)
                tables[((size_t)1 << i) + pattern] = (int16_t)(tables[pattern] + 2 * bytes[i]);
    }
}

/* The sum of all bytes, with the signs of a word. */
static int32_t look_up(const int16_t *table, size_t fours, uint32_t signs)
{
    int32_t sum = 0;
    for (; fours > 0; fours--, table += PATTERNS, signs >>= 4)
        sum += table[signs & 15];
    return sum;
}

/* sums[output] of one pixel: products with the first signs, plus those with the second. */
static void sum_pixel(const struct bnn_mcu_bytes *layer, const uint8_t *x, int32_t *sums)
{
    const struct bnn_mcu_shape *shape = &layer->shape;
    const uint32_t *signs = layer->weights;
    struct place at = {x, x, 0, 0};
    size_t left = bnn_mcu_window(shape);
    for (size_t o = 0; o < shape->outputs; o++)
        sums[o] = 0;
    while (left > 0) {
        size_t count = left < CHUNK ? left : (size_t)CHUNK, fours = (count + 3) / 4;
        uint8_t bytes[CHUNK];
        int16_t tables[FOURS * PATTERNS];
        for (size_t i = count; i % 4 != 0; i++)
            bytes[i] = 0;
        take(shape, &at, bytes, count);
        fill(tables, bytes, fours);
        if (layer->planes == 1)
            for (size_t o = 0; o < shape->outputs; o++)
                sums[o] += look_up(tables, fours, *signs++);
        else
            for (size_t o = 0; o < shape->outputs; o++, signs += 2)
                sums[o] += (look_up(tables, fours, signs[0]) + look_up(tables, fours, signs[1])) / 2; /* even */
        left -= count;
    }
}

/* A pixel's row of the table. */
static const int32_t *table_of(const struct bnn_mcu_bytes *layer, size_t row, size_t column)
{
    return layer->table + bnn_mcu_class(layer->classes, layer->height, row, column) * layer->shape.outputs;
}

void bnn_mcu_bytes_bits(const struct bnn_mcu_bytes *layer, size_t row, const uint8_t *x, uint32_t *out, int32_t *sums)
{
    const struct bnn_mcu_shape *shape = &layer->shape;
    x += row * shape->row;
    for (size_t column = 0; column < shape->width; column++, x += shape->pixel, out += shape->out_pixel) {
        const int32_t *limit = table_of(layer, row, column), *sum = sums;
        uint32_t *to = out;
        sum_pixel(layer, x, sums);
        for (size_t left = shape->outputs; left > 0;) {
            size_t count = left < 32 ? left : 32;
            uint32_t word = 0;
            for (size_t i = count; i > 0; i--)
                word = word >> 1 | (uint32_t)(*sum++ >= *limit++) << 31;
            *to++ = word >> (32 - count);
            left -= count;
        }
    }
}

void bnn_mcu_bytes_sums(const struct bnn_mcu_bytes *layer, size_t row, const uint8_t *x, int32_t *out)
{
    const struct bnn_mcu_shape *shape = &layer->shape;
    x += row * shape->row;
    for (size_t column = 0; column < shape->width; column++, x += shape->pixel, out += shape->out_pixel) {
        sum_pixel(layer, x, out);
        if (layer->table != NULL) {
            const int32_t *correction = table_of(layer, row, column);
            for (size_t o = 0; o < shape->outputs; o++)
                out[o] += correction[o];
        }
    }
}
