/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of bits: a window is gathered, and then compared with one filter after the other. */
#include "mcu/conv.h"
#include "mcu/gather.h"

#include "flash/count.h"

/* Of taps of 16 bits, two in a word. */
static const uint32_t *gather_halves(const struct bnn_mcu_shape *shape, const uint32_t *x, uint32_t *window)
{
    uint32_t *to = window, low = 0;
    int second = 0;
    for (size_t row = 0; row < shape->rows; row++, x += shape->window_row) {
        const uint32_t *run = x;
        for (size_t left = shape->taps; left > 0; left--, run += shape->tap, second = !second)
            if (second)
                *to++ = low | *run << 16;
            else
                low = *run;
    }
    if (second)
        *to = low;
    return window;
}

/* The window of an output pixel without gaps between taps of `bits` bits. */
static const uint32_t *gather_shared(const struct bnn_mcu_conv *layer, const uint32_t *x, uint32_t *window)
{
    const struct bnn_mcu_shape *shape = &layer->shape;
    uint32_t *to = window, word = 0, used = 0;
    if (layer->bits == 16)
        return gather_halves(shape, x, window);
    for (size_t row = 0; row < shape->rows; row++, x += shape->window_row) {
        const uint32_t *run = x;
        for (size_t tap = 0; tap < shape->taps; tap++, run += shape->tap)
            for (uint32_t k = 0; k * 32 < layer->bits; k++) {
                uint32_t left = layer->bits - k * 32, count = left < 32 ? left : 32;
                word |= run[k] << used;
                used += count;
                if (used < 32)
                    continue;
                *to++ = word;
                used -= 32;
                word = used > 0 ? run[k] >> (count - used) : 0;
            }
    }
    if (used > 0)
        *to = word;
    return window;
}

static size_t shared_words(const struct bnn_mcu_conv *layer)
{
    return ((size_t)layer->shape.rows * layer->shape.taps * layer->bits + 31) / 32;
}

/* The first element of a pixel's row of the table. */
static size_t table_start(const struct bnn_mcu_conv *layer, size_t row, size_t column)
{
    return bnn_mcu_class(layer->classes, layer->height, row, column) * layer->shape.outputs;
}

/* `any`: n is not constant. */
BNN_INLINE uint32_t differing(const uint32_t *window, const uint32_t *weights, size_t n, int any)
{
    return any ? bnn_differing_any(window, weights, n) : bnn_differing(window, weights, n);
}

/* Bits of one pixel, from its window of n words. */
BNN_INLINE void pixel_bits(const struct bnn_mcu_conv *layer, const uint32_t *window, const int16_t *limit,
                           uint32_t *out, size_t n, int any)
{
    const uint32_t *weights = layer->weights;
    for (size_t left = layer->shape.outputs; left > 0;) {
        size_t count = left < 32 ? left : 32;
        uint32_t word = 0;
        for (size_t i = count; i > 0; i--, weights += n) {
            uint32_t most = (uint32_t)*limit++, above = differing(window, weights, n, any) - most;
            word = word >> 1 | (above & 0x80000000u); /* the highest bit: it is negative */
        }
        *out++ = word >> (32 - count);
        left -= count;
    }
}

BNN_INLINE void pixel_sums(const struct bnn_mcu_conv *layer, const uint32_t *window, const int16_t *correction,
                           int32_t *out, size_t n, int any)
{
    const uint32_t *weights = layer->weights;
    for (size_t left = layer->shape.outputs; left > 0; left--, weights += n)
        *out++ = *correction++ - 2 * (int32_t)differing(window, weights, n, any);
}

/* `shared`: taps share words. */
BNN_INLINE const uint32_t *gather(const struct bnn_mcu_conv *layer, const uint32_t *x, uint32_t *window, int shared)
{
    return shared ? gather_shared(layer, x, window) : bnn_mcu_gather(&layer->shape, x, window);
}

BNN_INLINE void row_of_bits(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                            uint32_t *window, size_t n, int any, int shared)
{
    x += row * layer->shape.row;
    for (size_t column = 0; column < layer->shape.width; column++) {
        const uint32_t *a = gather(layer, x, window, shared);
        pixel_bits(layer, a, layer->table + table_start(layer, row, column), out, n, any);
        x += layer->shape.pixel;
        out += layer->shape.out_pixel;
    }
}

BNN_INLINE void row_of_sums(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                            uint32_t *window, size_t n, int any, int shared)
{
    x += row * layer->shape.row;
    for (size_t column = 0; column < layer->shape.width; column++) {
        const uint32_t *a = gather(layer, x, window, shared);
        pixel_sums(layer, a, layer->table + table_start(layer, row, column), out, n, any);
        x += layer->shape.pixel;
        out += layer->shape.out_pixel;
    }
}

void bnn_mcu_conv_bits(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out, uint32_t *window)
{
    row_of_bits(layer, row, x, out, window, bnn_mcu_window(&layer->shape), 1, 0);
}

void bnn_mcu_conv_bits_2(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                         uint32_t *window)
{
    row_of_bits(layer, row, x, out, window, 2, 0, 0);
}

void bnn_mcu_conv_bits_4(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                         uint32_t *window)
{
    row_of_bits(layer, row, x, out, window, 4, 0, 0);
}

void bnn_mcu_conv_bits_9(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                         uint32_t *window)
{
    row_of_bits(layer, row, x, out, window, 9, 0, 0);
}

void bnn_mcu_conv_bits_18(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                          uint32_t *window)
{
    row_of_bits(layer, row, x, out, window, 18, 0, 0);
}

void bnn_mcu_conv_bits_36(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                          uint32_t *window)
{
    row_of_bits(layer, row, x, out, window, 36, 0, 0);
}

void bnn_mcu_conv_sums(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out, uint32_t *window)
{
    row_of_sums(layer, row, x, out, window, bnn_mcu_window(&layer->shape), 1, 0);
}

void bnn_mcu_conv_sums_2(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                         uint32_t *window)
{
    row_of_sums(layer, row, x, out, window, 2, 0, 0);
}

void bnn_mcu_conv_sums_4(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                         uint32_t *window)
{
    row_of_sums(layer, row, x, out, window, 4, 0, 0);
}

void bnn_mcu_conv_sums_9(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                         uint32_t *window)
{
    row_of_sums(layer, row, x, out, window, 9, 0, 0);
}

void bnn_mcu_conv_sums_18(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                          uint32_t *window)
{
    row_of_sums(layer, row, x, out, window, 18, 0, 0);
}

void bnn_mcu_conv_sums_36(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                          uint32_t *window)
{
    row_of_sums(layer, row, x, out, window, 36, 0, 0);
}

void bnn_mcu_conv_bits_shared(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                              uint32_t *window)
{
    row_of_bits(layer, row, x, out, window, shared_words(layer), 1, 1);
}

void bnn_mcu_conv_bits_shared_5(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                                uint32_t *window)
{
    row_of_bits(layer, row, x, out, window, 5, 0, 1);
}

void bnn_mcu_conv_sums_shared(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                              uint32_t *window)
{
    row_of_sums(layer, row, x, out, window, shared_words(layer), 1, 1);
}

void bnn_mcu_conv_sums_shared_5(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                                uint32_t *window)
{
    row_of_sums(layer, row, x, out, window, 5, 0, 1);
}

/* All planes: `plane` words from the data of one to those of the next. */
static const uint32_t *gather_planes(const struct bnn_mcu_planes *layer, const uint32_t *x, uint32_t *window, size_t n)
{
    const struct bnn_mcu_shape *shape = &layer->conv.shape;
    if (shape->rows == 1 && shape->taps == 1)
        return x;
    for (size_t plane = 0; plane < layer->planes; plane++)
        bnn_mcu_gather(shape, x + plane * layer->plane, window + plane * n);
    return window;
}

/* Differing bits of n words of every plane, which are `distance` apart. */
static uint32_t differing_planes(const uint32_t *window, size_t planes, size_t distance, const uint32_t *weights,
                                 size_t n)
{
    uint32_t sum = 0;
    while (planes > 0) {
        planes--;
        sum = 2 * sum + bnn_differing_any(window + planes * distance, weights, n);
    }
    return sum;
}

void bnn_mcu_planes_bits(const struct bnn_mcu_planes *layer, size_t row, const uint32_t *x, uint32_t *out,
                         uint32_t *window)
{
    const struct bnn_mcu_shape *shape = &layer->conv.shape;
    const size_t n = bnn_mcu_window(shape), distance = shape->rows == 1 && shape->taps == 1 ? layer->plane : n;
    x += row * shape->row;
    for (size_t column = 0; column < shape->width; column++, x += shape->pixel, out += shape->out_pixel) {
        const uint32_t *a = gather_planes(layer, x, window, n), *weights = layer->conv.weights;
        const int32_t *limit = layer->wide + table_start(&layer->conv, row, column);
        uint32_t *to = out;
        for (size_t left = shape->outputs; left > 0;) {
            size_t count = left < 32 ? left : 32;
            uint32_t word = 0;
            for (size_t i = count; i > 0; i--, weights += n) {
                uint32_t most = (uint32_t)*limit++;
                uint32_t above = differing_planes(a, layer->planes, distance, weights, n) - most;
                word = word >> 1 | (above & 0x80000000u);
            }
            *to++ = word >> (32 - count);
            left -= count;
        }
    }
}

void bnn_mcu_planes_sums(const struct bnn_mcu_planes *layer, size_t row, const uint32_t *x, int32_t *out,
                         uint32_t *window)
{
    const struct bnn_mcu_shape *shape = &layer->conv.shape;
    const size_t n = bnn_mcu_window(shape), distance = shape->rows == 1 && shape->taps == 1 ? layer->plane : n;
    x += row * shape->row;
    for (size_t column = 0; column < shape->width; column++, x += shape->pixel, out += shape->out_pixel) {
        const uint32_t *a = gather_planes(layer, x, window, n), *weights = layer->conv.weights;
        const int32_t *correction = layer->wide + table_start(&layer->conv, row, column);
        for (size_t o = 0; o < shape->outputs; o++, weights += n)
            out[o] = correction[o] - 2 * (int32_t)differing_planes(a, layer->planes, distance, weights, n);
    }
}
