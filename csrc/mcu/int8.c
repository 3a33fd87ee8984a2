/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of bytes by int8 weights. */
#include "mcu/conv.h"
#include "mcu/gather.h"

#include "flash/products.h"

/* The window's products with one filter. */
static int32_t sum_filter(const struct bnn_mcu_shape *shape, const uint8_t *x, const int8_t *weights)
{
    int32_t sum = 0;
    for (size_t row = 0; row < shape->rows; row++, x += shape->window_row) {
        const uint8_t *run = x;
        for (size_t tap = 0; tap < shape->taps; tap++, run += shape->tap, weights += shape->length) {
            size_t k = 0;
            for (; k + 4 <= shape->length; k += 4)
                sum = bnn_add_four(sum, run + k, weights + k);
            for (; k < shape->length; k++)
                sum += run[k] * weights[k];
        }
    }
    return sum;
}

/* With two filters, each of `taps` weights: bytes are loaded once. */
static void sum_two_filters(const struct bnn_mcu_shape *shape, const uint8_t *x, const int8_t *weights, size_t taps,
                            int32_t *sums)
{
    int32_t sum0 = 0, sum1 = 0;
    for (size_t row = 0; row < shape->rows; row++, x += shape->window_row) {
        const uint8_t *run = x;
        for (size_t tap = 0; tap < shape->taps; tap++, run += shape->tap) {
            const uint8_t *next = run;
            size_t left = shape->length;
            for (; left >= 4; left -= 4, next += 4, weights += 4) {
                sum0 = bnn_add_four(sum0, next, weights);
                sum1 = bnn_add_four(sum1, next, weights + taps);
            }
            for (; left > 0; left--, next++, weights++) {
                sum0 += *next * weights[0];
                sum1 += *next * weights[taps];
            }
        }
    }
    sums[0] = sum0;
    sums[1] = sum1;
}

void bnn_mcu_int8_sums(const struct bnn_mcu_int8 *layer, size_t row, const uint8_t *x, int32_t *out)
{
    const struct bnn_mcu_shape *shape = &layer->shape;
    const size_t taps = bnn_mcu_window(shape);
    x += row * shape->row;
    for (size_t column = 0; column < shape->width; column++, x += shape->pixel, out += shape->out_pixel) {
        const int32_t *add = layer->table + bnn_mcu_class(layer->classes, layer->height, row, column) * shape->outputs;
        const int8_t *weights = layer->weights;
        size_t o = 0;
        for (; o + 2 <= shape->outputs; o += 2, weights += 2 * taps)
            sum_two_filters(shape, x, weights, taps, out + o);
        if (o < shape->outputs)
            out[o] = sum_filter(shape, x, weights);
        for (o = 0; o < shape->outputs; o++)
            out[o] += add[o];
    }
}

void bnn_mcu_depthwise_int8(const struct bnn_mcu_int8 *layer, size_t row, const uint8_t *x, int32_t *out)
{
    const struct bnn_mcu_shape *shape = &layer->shape;
    x += row * shape->row;
    for (size_t column = 0; column < shape->width; column++, x += shape->pixel, out += shape->out_pixel) {
        const int32_t *add = layer->table + bnn_mcu_class(layer->classes, layer->height, row, column) * shape->outputs;
        const int8_t *weights = layer->weights;
        const uint8_t *window = x;
        for (size_t o = 0; o < shape->outputs; o++)
            out[o] = add[o];
        for (size_t i = 0; i < shape->rows; i++, window += shape->window_row) {
            const uint8_t *run = window;
            for (size_t tap = 0; tap < shape->taps; tap++, run += shape->tap, weights += shape->outputs)
                for (size_t o = 0; o < shape->outputs; o++)
                    out[o] += run[o] * weights[o];
        }
    }
}
