/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of bytes by int8 weights. */
#include "mcu/conv.h"
#include "mcu/gather.h"

#include "flash/products.h"

#include <string.h>

/* With the zeros at its end. */
static size_t filter_size(const struct bnn_mcu_shape *shape)
{
    return (bnn_mcu_window(shape) + 3) / 4 * 4;
}

/* A window with one filter, or with two; `filters` is a constant. */
BNN_INLINE void sum_filters(const struct bnn_mcu_shape *shape, const uint8_t *x, const int8_t *weights, int32_t *sums,
                            size_t filters)
{
    const size_t length = shape->length, grouped = BNN_GROUP == 4 ? length / 4 * 4 : length;
    const size_t next = filter_size(shape);
    int32_t first = sums[0], second = sums[filters - 1];
    for (size_t row = 0; row < shape->rows; row++, x += shape->window_row) {
        const uint8_t *run = x;
        for (size_t tap = 0; tap < shape->taps; tap++, run += shape->tap, weights += length) {
            size_t k = 0;
            for (; k < grouped; k += BNN_GROUP) {
                first = bnn_add_group(first, run + k, weights + k, grouped - k);
                if (filters == 2)
                    second = bnn_add_group(second, run + k, weights + next + k, grouped - k);
            }
            for (; k < length; k++) {
                first += run[k] * weights[k];
                if (filters == 2)
                    second += run[k] * weights[next + k];
            }
        }
    }
    sums[0] = first;
    if (filters == 2)
        sums[1] = second;
}

/* The windows of two pixels, a group of each in turn; zeros at the end. */
static void gather_two(const struct bnn_mcu_shape *shape, const uint8_t *first, const uint8_t *second, uint8_t *window)
{
    size_t used = 0; /* of a group */
    for (size_t row = 0; row < shape->rows; row++) {
        for (size_t tap = 0; tap < shape->taps; tap++) {
            const size_t at = row * shape->window_row + tap * shape->tap;
            const uint8_t *x = first + at, *y = second + at;
            size_t left = shape->length;
            for (; used == 0 && left >= BNN_GROUP; left -= BNN_GROUP, x += BNN_GROUP, y += BNN_GROUP) {
                bnn_copy_group(window, x);
                bnn_copy_group(window + BNN_GROUP, y);
                window += 2 * BNN_GROUP;
            }
            for (; left > 0; left--) {
                window[0] = *x++;
                window[BNN_GROUP] = *y++;
                window += used < BNN_GROUP - 1 ? 1 : 1 + BNN_GROUP;
                used = (used + 1) % BNN_GROUP;
            }
        }
    }
    for (; used > 0 && used < BNN_GROUP; used++, window++)
        window[0] = window[BNN_GROUP] = 0;
}

/* Two windows with one filter of `taps` weights, a multiple of four. */
static void sum_two(const uint8_t *window, const int8_t *weights, size_t taps, int32_t *sums)
{
    int32_t first = sums[0], second = sums[1];
    size_t left = taps;
    for (size_t n = (taps + BNN_GROUP - 1) / BNN_GROUP; n > 0; n--, window += 2 * BNN_GROUP, weights += BNN_GROUP) {
        first = bnn_add_group(first, window, weights, left);
        second = bnn_add_group(second, window + BNN_GROUP, weights, left);
        left -= BNN_GROUP;
    }
    sums[0] = first;
    sums[1] = second;
}

/* With two filters. */
static void sum_two_filters(const uint8_t *window, const int8_t *weights, size_t taps, int32_t *sums)
{
    int32_t first = sums[0], second = sums[1], third = sums[2], fourth = sums[3];
    size_t left = taps;
    for (size_t n = (taps + BNN_GROUP - 1) / BNN_GROUP; n > 0; n--, window += 2 * BNN_GROUP, weights += BNN_GROUP) {
        third = bnn_add_group(third, window, weights + taps, left);
        fourth = bnn_add_group(fourth, window + BNN_GROUP, weights + taps, left);
        first = bnn_add_group(first, window, weights, left);
        second = bnn_add_group(second, window + BNN_GROUP, weights, left);
        left -= BNN_GROUP;
    }
    sums[0] = first;
    sums[1] = second;
    sums[2] = third;
    sums[3] = fourth;
}

static const int32_t *added(const struct bnn_mcu_int8 *layer, size_t row, size_t column)
{
    return layer->table + bnn_mcu_class(layer->classes, layer->height, row, column) * layer->shape.outputs;
}

/* A pixel with all filters. */
static BNN_APART void sum_pixel(const struct bnn_mcu_int8 *layer, const uint8_t *x, const int32_t *add, int32_t *out)
{
    const struct bnn_mcu_shape *shape = &layer->shape;
    const size_t outputs = shape->outputs, filter = filter_size(shape);
    const int8_t *weights = layer->weights;
    memcpy(out, add, outputs * sizeof *out);
    size_t o = 0;
    for (; BNN_FILTERS == 2 && o + 2 <= outputs; o += 2, weights += 2 * filter)
        sum_filters(shape, x, weights, out + o, 2);
    for (; o < outputs; o++, weights += filter)
        sum_filters(shape, x, weights, out + o, 1);
}

void bnn_mcu_int8_sums(const struct bnn_mcu_int8 *layer, size_t row, const uint8_t *x, int32_t *out)
{
    const struct bnn_mcu_shape *shape = &layer->shape;
    x += row * shape->row;
    for (size_t column = 0; column < shape->width; column++, x += shape->pixel, out += shape->out_pixel)
        sum_pixel(layer, x, added(layer, row, column), out);
}

/* Both pixels of a window that was gathered, with all filters. */
static BNN_APART void sum_pair(const struct bnn_mcu_int8 *layer, const uint8_t *window, const int32_t *const add[2],
                               int32_t *const out[2])
{
    const size_t outputs = layer->shape.outputs, taps = filter_size(&layer->shape);
    const int8_t *weights = layer->weights;
    size_t o = 0;
    for (; BNN_FILTERS == 2 && o + 2 <= outputs; o += 2, weights += 2 * taps) {
        int32_t sums[] = {add[0][o], add[1][o], add[0][o + 1], add[1][o + 1]};
        sum_two_filters(window, weights, taps, sums);
        out[0][o] = sums[0];
        out[1][o] = sums[1];
        out[0][o + 1] = sums[2];
        out[1][o + 1] = sums[3];
    }
    for (; o < outputs; o++, weights += taps) {
        int32_t sums[] = {add[0][o], add[1][o]};
        sum_two(window, weights, taps, sums);
        out[0][o] = sums[0];
        out[1][o] = sums[1];
    }
}

void bnn_mcu_int8_pairs(const struct bnn_mcu_int8 *layer, size_t row, const uint8_t *x, int32_t *out, uint8_t *window)
{
    const struct bnn_mcu_shape *shape = &layer->shape;
    x += row * shape->row;
    size_t column = 0;
    for (; column + 2 <= shape->width; column += 2, x += 2 * shape->pixel, out += 2 * shape->out_pixel) {
        const int32_t *const add[] = {added(layer, row, column), added(layer, row, column + 1)};
        int32_t *const both[] = {out, out + shape->out_pixel};
        gather_two(shape, x, x + shape->pixel, window);
        sum_pair(layer, window, add, both);
    }
    if (column < shape->width)
        sum_pixel(layer, x, added(layer, row, column), out);
}

/* The products of a tap, each of another channel. */
static void add_tap(int32_t *sums, const uint8_t *x, const int8_t *weights, size_t channels)
{
    for (; channels >= 4; channels -= 4, sums += 4, x += 4, weights += 4) {
        sums[0] += x[0] * weights[0];
        sums[1] += x[1] * weights[1];
        sums[2] += x[2] * weights[2];
        sums[3] += x[3] * weights[3];
    }
    for (; channels > 0; channels--)
        *sums++ += *x++ * *weights++;
}

void bnn_mcu_depthwise_int8(const struct bnn_mcu_int8 *layer, size_t row, const uint8_t *x, int32_t *out)
{
    const struct bnn_mcu_shape *shape = &layer->shape;
    const size_t channels = shape->outputs;
    x += row * shape->row;
    for (size_t column = 0; column < shape->width; column++, x += shape->pixel, out += shape->out_pixel) {
        const int32_t *add = added(layer, row, column);
        size_t first = 0;
#ifdef BNN_CHANNELS
        for (; first + BNN_CHANNELS <= channels; first += BNN_CHANNELS)
            bnn_depthwise_channels(out + first, add + first, x + first, layer->weights + first, channels, shape->rows,
                                   shape->window_row, shape->taps, shape->tap);
#endif
        for (size_t o = first; o < channels; o++)
            out[o] = add[o];
        const int8_t *weights = layer->weights + first;
        const uint8_t *window = x + first;
        for (size_t i = 0; first < channels && i < shape->rows; i++, window += shape->window_row) {
            const uint8_t *run = window;
            for (size_t tap = 0; tap < shape->taps; tap++, run += shape->tap, weights += channels)
                add_tap(out + first, run, weights, channels - first);
        }
    }
}
