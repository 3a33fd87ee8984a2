/* SPDX-License-Identifier: Apache-2.0 */
#include "mcu/values.h"
#include "mcu/taps.h"

#include <float.h>
#include <string.h>

void bnn_mcu_finish(float *out, const float *in, const struct bnn_epilogue *epilogue, const float *residual,
                    size_t pixels, size_t channels)
{
    for (size_t i = 0; i < pixels; i++, in += channels, out += channels) {
        for (size_t c = 0; c < channels; c++)
            out[c] = bnn_finish(in[c], epilogue, c, residual);
        residual = residual == NULL ? NULL : residual + channels;
    }
}

void bnn_mcu_finish_sums(float *out, const int32_t *in, const struct bnn_epilogue *epilogue, const float *residual,
                         size_t pixels, size_t channels)
{
    const unsigned char *sums = (const unsigned char *)in; /* of any type: out may be the same memory */
    for (size_t i = 0; i < pixels; i++, out += channels) {
        for (size_t c = 0; c < channels; c++, sums += sizeof(int32_t)) {
            int32_t sum;
            memcpy(&sum, sums, sizeof sum);
            out[c] = bnn_finish((float)sum, epilogue, c, residual);
        }
        residual = residual == NULL ? NULL : residual + channels;
    }
}

void bnn_mcu_correct(float *values, const float *corrections, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int32_t sum;
        memcpy(&sum, values + i, sizeof sum);
        values[i] = (float)sum + corrections[i]; /* exact */
    }
}

int bnn_mcu_signs(uint32_t *out, const float *in, size_t pixels, size_t channels)
{
    int nan = 0;
    for (size_t i = 0; i < pixels; i++, in += channels, out += (channels + 31) / 32)
        nan |= bnn_binarize(out, in, channels);
    return nan;
}

int bnn_mcu_signs_at(uint32_t *out, const float *in, const float *thresholds, const uint32_t *flips, size_t pixels,
                     size_t channels)
{
    int nan = 0;
    for (size_t i = 0; i < pixels; i++, in += channels)
        for (size_t first = 0; first < channels; first += 32) {
            size_t left = channels - first < 32 ? channels - first : 32;
            uint32_t word = 0, flip = flips[first / 32];
            for (size_t k = 0; k < left; k++, flip >>= 1) {
                float v = in[first + k], threshold = thresholds[first + k];
                word |= ((uint32_t)(v >= threshold) ^ (flip & 1)) << k;
                /* A threshold that is NaN stood behind a multiplication by zero, whose product with infinity is NaN. */
                nan |= v != v || (threshold != threshold && (v > FLT_MAX || v < -FLT_MAX));
            }
            *out++ = word;
        }
    return nan;
}

int bnn_mcu_levels(uint32_t *out, const float *in, const float *thresholds, size_t planes, size_t pixels,
                   size_t channels)
{
    size_t words = (channels + 31) / 32;
    int nan = 0;
    for (size_t x = 0; x < pixels; x++, in += channels, out += planes * words)
        for (size_t k = 0; k < words; k++) {
            uint32_t plane[8] = {0};
            size_t left = channels - k * 32, count = left < 32 ? left : 32;
            for (size_t i = 0; i < count; i++) {
                float v = in[k * 32 + i];
                size_t number = 0; /* from its highest bit to its lowest */
                nan |= v != v;
                for (size_t b = planes; b-- > 0;) {
                    uint32_t bit = v >= thresholds[number + ((size_t)1 << b) - 1];
                    number |= (size_t)bit << b;
                    plane[b] |= bit << i;
                }
            }
            for (size_t b = 0; b < planes; b++)
                out[b * words + k] = plane[b];
        }
    return nan;
}

void bnn_mcu_quantize(uint8_t *out, const float *in, size_t count, const struct bnn_quantizer *quantizer)
{
    for (size_t i = 0; i < count; i++)
        out[i] = bnn_quantize(in[i], quantizer);
}

void bnn_mcu_quantize_at(uint8_t *out, const float *in, size_t count, const uint32_t *keys, size_t bits)
{
    for (size_t i = 0; i < count; i++) {
        const uint32_t *at = keys;
        uint32_t key;
        memcpy(&key, &in[i], sizeof key);
        const uint32_t is_number = 0u - (uint32_t)(key << 1 <= 0xff000000u);
        key = (key ^ ((0u - (key >> 31)) | 0x80000000u)) & is_number;
        for (size_t b = bits; b-- > 0;)
            at += (size_t)(key >= at[((size_t)1 << b) - 1]) << b;
        out[i] = (uint8_t)(at - keys);
    }
}

void bnn_mcu_unpack(float *out, const uint32_t *in, size_t pixels, size_t channels)
{
    for (size_t i = 0; i < pixels; i++, in += (channels + 31) / 32)
        for (size_t c = 0; c < channels; c++)
            *out++ = (in[c / 32] >> c % 32 & 1) != 0 ? 1.0f : -1.0f;
}

void bnn_mcu_unpack_bytes(uint8_t *out, const uint32_t *in, size_t pixels, size_t channels)
{
    for (size_t i = 0; i < pixels; i++, in += (channels + 31) / 32)
        for (size_t first = 0; first < channels; first += 32) {
            uint32_t word = in[first / 32];
            for (size_t n = channels - first < 32 ? channels - first : 32; n > 0; n--, word >>= 1)
                *out++ = (uint8_t)(word << 1 & 2);
        }
}

void bnn_mcu_dequantize(float *out, const uint32_t *in, const struct bnn_mcu_numbers *numbers, size_t pixels,
                        size_t channels)
{
    size_t apart = numbers->binary ? (channels + 31) / 32 * 32 : channels;
    size_t words = (numbers->planes * apart + 31) / 32;
    for (size_t i = 0; i < pixels; i++, in += words)
        for (size_t c = 0; c < channels; c++) {
            uint32_t number = 0;
            for (size_t plane = 0, bit = c; plane < numbers->planes; plane++, bit += apart)
                number += (in[bit / 32] >> bit % 32 & 1) << (numbers->binary ? plane : 0);
            *out++ = numbers->table[number < numbers->last ? number : numbers->last];
        }
}

void bnn_mcu_max_floats(const struct bnn_mcu_windows *windows, size_t row, const float *x, float *out)
{
    struct bnn_mcu_taps ys =
        bnn_mcu_taps_inside(row, windows->stride_h, windows->kernel_h, windows->pad_top, windows->height);
    for (size_t column = 0; column < windows->out_width; column++, out += windows->channels) {
        struct bnn_mcu_taps xs =
            bnn_mcu_taps_inside(column, windows->stride_w, windows->kernel_w, windows->pad_left, windows->width);
        for (size_t c = 0; c < windows->channels; c++) {
            float most = -FLT_MAX; /* the first of equal numbers, column by column: zeros have signs */
            for (size_t k = xs.begin; k < xs.end; k++)
                for (size_t i = ys.begin; i < ys.end; i++) {
                    float v = x[i * windows->row + k * windows->channels + c];
                    most = v > most ? v : most;
                }
            out[c] = most;
        }
    }
}

static void sum_floats(const struct bnn_mcu_windows *windows, size_t row, const float *x, float *out, int divides)
{
    struct bnn_mcu_taps ys =
        bnn_mcu_taps_inside(row, windows->stride_h, windows->kernel_h, windows->pad_top, windows->height);
    for (size_t column = 0; column < windows->out_width; column++, out += windows->channels) {
        struct bnn_mcu_taps xs =
            bnn_mcu_taps_inside(column, windows->stride_w, windows->kernel_w, windows->pad_left, windows->width);
        float count = (float)((ys.end - ys.begin) * (xs.end - xs.begin));
        for (size_t c = 0; c < windows->channels; c++) {
            float sum = 0.0f;
            for (size_t i = ys.begin; i < ys.end; i++)
                for (size_t k = xs.begin; k < xs.end; k++)
                    sum += x[i * windows->row + k * windows->channels + c];
            out[c] = divides ? sum / count : sum;
        }
    }
}

void bnn_mcu_sum_floats(const struct bnn_mcu_windows *windows, size_t row, const float *x, float *out)
{
    sum_floats(windows, row, x, out, 0);
}

void bnn_mcu_mean_floats(const struct bnn_mcu_windows *windows, size_t row, const float *x, float *out)
{
    sum_floats(windows, row, x, out, 1);
}

void bnn_mcu_resize(float *out, const float *in, size_t row, const struct bnn_mcu_place *down,
                    const struct bnn_mcu_place *along, size_t pixels, size_t channels)
{
    const float *top = in + down->low * row, *bottom = in + down->high * row;
    for (size_t i = 0; i < pixels; i++, along++)
        for (size_t c = 0; c < channels; c++) {
            size_t low = along->low * channels + c, high = along->high * channels + c;
            float above = top[low] + (top[high] - top[low]) * along->distance;
            float below = bottom[low] + (bottom[high] - bottom[low]) * along->distance;
            *out++ = above + (below - above) * down->distance;
        }
}
