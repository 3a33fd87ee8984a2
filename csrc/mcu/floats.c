/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of floats: see conv.h for the order of their sums. */
#include "mcu/conv.h"

/* No fused multiply-adds.  gcc warns that it does not know this pragma; it has -ffp-contract=off. */
#if defined __clang__ || !defined __GNUC__
#pragma STDC FP_CONTRACT OFF
#endif

/* The window's products with one filter. */
static float sum_window(const struct bnn_mcu_shape *shape, const float *x, const float *weights)
{
    float sum = 0.0f;
    for (size_t row = 0; row < shape->rows; row++, x += shape->window_row) {
        const float *run = x;
        for (size_t tap = 0; tap < shape->taps; tap++, run += shape->tap)
            for (size_t k = 0; k < shape->length; k++)
                sum += run[k] * *weights++;
    }
    return sum;
}

/* With four filters, each of `taps` weights: an element is loaded once. */
static void sum_window_by_four(const struct bnn_mcu_shape *shape, const float *x, const float *weights, size_t taps,
                               float *out)
{
    const float *w0 = weights, *w1 = w0 + taps, *w2 = w1 + taps, *w3 = w2 + taps;
    float sum0 = 0.0f, sum1 = 0.0f, sum2 = 0.0f, sum3 = 0.0f;
    for (size_t row = 0; row < shape->rows; row++, x += shape->window_row) {
        const float *run = x;
        for (size_t tap = 0; tap < shape->taps; tap++, run += shape->tap)
            for (size_t k = 0; k < shape->length; k++) {
                float v = run[k];
                sum0 += v * *w0++;
                sum1 += v * *w1++;
                sum2 += v * *w2++;
                sum3 += v * *w3++;
            }
    }
    out[0] = sum0;
    out[1] = sum1;
    out[2] = sum2;
    out[3] = sum3;
}

void bnn_mcu_conv_floats(const struct bnn_mcu_floats *layer, size_t row, const float *x, float *out)
{
    const struct bnn_mcu_shape *shape = &layer->shape;
    const size_t taps = (size_t)shape->rows * shape->taps * shape->length;
    x += row * shape->row;
    for (size_t column = 0; column < shape->width; column++, x += shape->pixel, out += shape->out_pixel) {
        const float *weights = layer->weights;
        size_t o = 0;
        for (; o + 4 <= shape->outputs; o += 4, weights += 4 * taps)
            sum_window_by_four(shape, x, weights, taps, out + o);
        for (; o < shape->outputs; o++, weights += taps)
            out[o] = sum_window(shape, x, weights);
    }
}

void bnn_mcu_depthwise_floats(const struct bnn_mcu_floats *layer, size_t row, const float *x, float *out)
{
    const struct bnn_mcu_shape *shape = &layer->shape;
    const size_t outputs = shape->outputs;
    x += row * shape->row;
    for (size_t column = 0; column < shape->width; column++, x += shape->pixel, out += shape->out_pixel) {
        const float *at = x, *weights = layer->weights;
        for (size_t c = 0; c < outputs; c++)
            out[c] = 0.0f;
        for (size_t r = 0; r < shape->rows; r++, at += shape->window_row) {
            const float *run = at;
            for (size_t tap = 0; tap < shape->taps; tap++, run += shape->tap, weights += outputs)
                for (size_t c = 0; c < outputs; c++)
                    out[c] += run[c] * weights[c];
        }
    }
}
