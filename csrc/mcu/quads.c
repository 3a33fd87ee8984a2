/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of bits whose filters are interleaved by fours. */
#include "mcu/conv.h"
#include "mcu/gather.h"

#include "flash/quads.h"

static size_t padded_outputs(const struct bnn_mcu_conv *layer)
{
    return (layer->shape.outputs + 3u) / 4 * 4;
}

/* Bits of one pixel, from its window of n words. */
BNN_INLINE void pixel_bits_of_quads(const struct bnn_mcu_conv *layer, const uint32_t *window, const int16_t *limit,
                                    uint32_t *out, size_t n)
{
    const uint32_t *weights = layer->weights;
    for (size_t left = layer->shape.outputs; left > 0;) {
        size_t count = left < 32 ? left : 32;
        uint32_t word = 0;
        for (size_t i = 0; i < count; i += 4, weights += 4 * n, limit += 4)
            word |= bnn_quad_bits(window, weights, n, limit) << i;
        *out++ = word & UINT32_MAX >> (32 - count);
        left -= count;
    }
}

static void pixel_sums_of_quads(const struct bnn_mcu_conv *layer, const uint32_t *window, const int16_t *correction,
                                int32_t *out, size_t n)
{
    const uint32_t *weights = layer->weights;
    size_t left = layer->shape.outputs;
    int32_t last[4];
    for (; left >= 4; left -= 4, weights += 4 * n, correction += 4, out += 4)
        bnn_quad_sums(window, weights, n, correction, out);
    if (left == 0)
        return;
    bnn_quad_sums(window, weights, n, correction, last);
    for (size_t i = 0; i < left; i++)
        out[i] = last[i];
}

BNN_INLINE void row_of_bits_of_quads(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                                     uint32_t *window, size_t n)
{
    const size_t columns = padded_outputs(layer);
    x += row * layer->shape.row;
    for (size_t column = 0; column < layer->shape.width; column++) {
        const uint32_t *a = bnn_mcu_gather(&layer->shape, x, window);
        pixel_bits_of_quads(layer, a,
                            layer->table + bnn_mcu_class(layer->classes, layer->height, row, column) * columns, out, n);
        x += layer->shape.pixel;
        out += layer->shape.out_pixel;
    }
}

void bnn_mcu_conv_bits_quads(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                             uint32_t *window)
{
    row_of_bits_of_quads(layer, row, x, out, window, bnn_mcu_window(&layer->shape));
}

void bnn_mcu_conv_bits_quads_9(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                               uint32_t *window)
{
    row_of_bits_of_quads(layer, row, x, out, window, 9);
}

void bnn_mcu_conv_bits_quads_18(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                                uint32_t *window)
{
    row_of_bits_of_quads(layer, row, x, out, window, 18);
}

void bnn_mcu_conv_bits_quads_36(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                                uint32_t *window)
{
    row_of_bits_of_quads(layer, row, x, out, window, 36);
}

void bnn_mcu_conv_sums_quads(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                             uint32_t *window)
{
    const size_t n = bnn_mcu_window(&layer->shape), columns = padded_outputs(layer);
    x += row * layer->shape.row;
    for (size_t column = 0; column < layer->shape.width; column++) {
        const uint32_t *a = bnn_mcu_gather(&layer->shape, x, window);
        pixel_sums_of_quads(layer, a,
                            layer->table + bnn_mcu_class(layer->classes, layer->height, row, column) * columns, out, n);
        x += layer->shape.pixel;
        out += layer->shape.out_pixel;
    }
}
