/* SPDX-License-Identifier: Apache-2.0 */
/* Depthwise convolutions of bits.  Differing taps of 32 channels are counted at once, as binary numbers: word p has digit
 * p of each channel's. */
#include "mcu/conv.h"
#include "mcu/gather.h"

#include "flash/count.h"

enum { MOST_PLANES = 16 };

/* Adds 1 to the numbers of some channels. */
static void count_taps(uint32_t *digits, size_t planes, uint32_t channels)
{
    for (size_t p = 0; p < planes; p++) {
        const uint32_t carry = digits[p] & channels;
        digits[p] ^= channels;
        channels = carry;
    }
}

/* A step of a subtraction: which channels borrow from the next digit. */
BNN_INLINE uint32_t borrowed(uint32_t digit, uint32_t limit, uint32_t borrow)
{
    const uint32_t differ = digit ^ limit;
    return (differ & limit) | (borrow & ~differ);
}

/* 32 channels of a pixel: a channel's bit is whether `differing - limit` is negative. */
static uint32_t word_of_channels(const struct bnn_mcu_shape *shape, const uint32_t *x, const uint32_t *weights,
                                 const uint32_t *limit, size_t planes)
{
    uint32_t digits[MOST_PLANES] = {0}, borrow = 0;
    for (size_t row = 0; row < shape->rows; row++, x += shape->window_row) {
        const uint32_t *run = x;
        for (size_t left = shape->taps; left > 0; left--, run += shape->tap)
            count_taps(digits, planes, *run ^ *weights++);
    }
    for (size_t p = 0; p < planes; p++)
        borrow = borrowed(digits[p], limit[p], borrow);
    return borrow;
}

/* The same with four digits, in registers.  Taps are added by threes, as full adders do. */
BNN_INLINE uint32_t word_of_four_digits(const struct bnn_mcu_shape *shape, const uint32_t *x, const uint32_t *weights,
                                        const uint32_t *limit)
{
    uint32_t ones = 0, twos = 0, fours = 0, eights = 0;
    for (size_t row = 0; row < shape->rows; row++, x += shape->window_row) {
        const uint32_t *run = x;
        size_t left = shape->taps;
        for (; left >= 3; left -= 3, run += shape->tap) {
            const uint32_t a = *run ^ weights[0], b = *(run += shape->tap) ^ weights[1];
            const uint32_t c = *(run += shape->tap) ^ weights[2], low = bnn_low(a, b, c), high = bnn_high(a, b, c);
            const uint32_t two = ones & low, four = bnn_high(twos, high, two);
            weights += 3;
            ones ^= low;
            twos = bnn_low(twos, high, two);
            eights |= fours & four;
            fours ^= four;
        }
        for (; left > 0; left--, run += shape->tap) {
            const uint32_t one = *run ^ *weights++, two = ones & one, four = twos & two;
            ones ^= one;
            twos ^= two;
            eights |= fours & four;
            fours ^= four;
        }
    }
    const uint32_t of_twos = borrowed(twos, limit[1], borrowed(ones, limit[0], 0));
    return borrowed(eights, limit[3], borrowed(fours, limit[2], of_twos));
}

/* `four`: planes is 4. */
BNN_INLINE void row_of_channels(const struct bnn_mcu_depthwise *layer, size_t row, const uint32_t *x, uint32_t *out,
                                size_t planes, int four)
{
    const struct bnn_mcu_shape *shape = &layer->shape;
    const size_t size = shape->length * planes, window = (size_t)shape->rows * shape->taps;
    x += row * shape->row;
    for (size_t column = 0; column < shape->width; column++, x += shape->pixel, out += shape->out_pixel) {
        const uint32_t *limit = layer->table + bnn_mcu_class(layer->classes, layer->height, row, column) * size;
        const uint32_t *weights = layer->weights;
        for (size_t k = 0; k < shape->length; k++, weights += window, limit += planes)
            out[k] = four ? word_of_four_digits(shape, x + k, weights, limit)
                          : word_of_channels(shape, x + k, weights, limit, planes);
    }
}

void bnn_mcu_depthwise_bits(const struct bnn_mcu_depthwise *layer, size_t row, const uint32_t *x, uint32_t *out)
{
    row_of_channels(layer, row, x, out, layer->planes, 0);
}

void bnn_mcu_depthwise_bits_4(const struct bnn_mcu_depthwise *layer, size_t row, const uint32_t *x, uint32_t *out)
{
    row_of_channels(layer, row, x, out, 4, 1);
}
