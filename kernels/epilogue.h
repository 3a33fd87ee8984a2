/* SPDX-License-Identifier: Apache-2.0 */
/* An epilogue for one value at a time; other families do the same with vectors. */
#ifndef BNN_KERNELS_EPILOGUE_H
#define BNN_KERNELS_EPILOGUE_H

#include "kernels.h"

static inline float bnn_clamp(float v, float lo, float hi)
{
    v = v < lo ? lo : v; /* NaN stays */
    return v > hi ? hi : v;
}

/* 1.5 * 2^23: floats from 2^23 to 2^24 are the integers, so adding it rounds, ties to even. */
#define BNN_ROUNDS 12582912.0f

static inline uint8_t bnn_quantize(float v, const struct bnn_quantizer *q)
{
    const float least = (float)-q->zero, most = (float)(255 - q->zero);
    v = v * q->scale;
    v = v + q->offset;
    v = v > least ? v : least; /* also NaN */
    v = v < most ? v : most;
    v = v + BNN_ROUNDS;
    return (uint8_t)((int32_t)(v - BNN_ROUNDS) + q->zero);
}

static inline uint8_t bnn_limited(int32_t v, const struct bnn_requantizer *q)
{
    return (uint8_t)(v < q->low - q->zero ? q->low : v > q->high - q->zero ? q->high : v + q->zero);
}

/* v / 2^bits, rounded down. */
static inline int32_t bnn_shifted(int32_t v, uint32_t bits)
{
    return v < 0 ? ~(~v >> bits) : v >> bits;
}

/* A byte of a sum, in whole numbers: halves of the quotient by 2^31 are rounded up, those by 2^right away from zero; or
 * once, halves of the quotient by both, up: then the first is rounded down. */
static inline uint8_t bnn_requantize(int32_t sum, int32_t multiplier, int32_t shift, const struct bnn_requantizer *q)
{
    const uint32_t left = shift > 0 ? (uint32_t)shift : 0, right = shift > 0 ? 0 : (uint32_t)-shift;
    const int down = q->once && right > 0;
    const int64_t product = (int64_t)(int32_t)((uint32_t)sum << left) * multiplier + (down ? 0 : INT64_C(1) << 30);
    const int32_t high = (int32_t)(product < 0 ? ~(~product >> 31) : product >> 31);
    if (down)
        return bnn_limited(bnn_shifted(bnn_shifted(high, right - 1) + 1, 1), q);
    const uint32_t size = high < 0 ? (uint32_t)-high : (uint32_t)high; /* at most 2^31 - 1, as half is 2^30 */
    const int32_t rounded = (int32_t)((size + (right > 0 ? UINT32_C(1) << (right - 1) : 0)) >> right);
    return bnn_limited(high < 0 ? -rounded : rounded, q);
}

/* The quantizer's number, or the one beside it. */
static inline uint8_t bnn_number(float v, const struct bnn_quantizer *q, const struct bnn_thresholds *t)
{
    uint32_t guess = bnn_quantize(v, q), number = guess < t->count ? guess : t->count;
    if (number > 0 && !(v >= t->first[number - 1]))
        return (uint8_t)(number - 1);
    return (uint8_t)(number + (number < t->count && v >= t->first[number]));
}

/* Bits of one pixel, v > BNN_BIT_ABOVE, tail bits zero; nonzero: there was a NaN. */
static inline int bnn_binarize(uint32_t *bits, const float *values, size_t count)
{
    int nan = 0;
    for (size_t first = 0; first < count; first += 32) {
        size_t left = count - first < 32 ? count - first : 32;
        uint32_t word = 0;
        for (size_t i = 0; i < left; i++) {
            float v = values[first + i];
            word |= (uint32_t)(v > BNN_BIT_ABOVE) << i;
            nan |= v != v;
        }
        bits[first / 32] = word;
    }
    return nan;
}

/* residual: of the pixel's channels, or NULL */
static inline float bnn_finish(float v, const struct bnn_epilogue *e, size_t channel, const float *residual)
{
    if (e->pre_mul)
        v = v * e->pre_mul[channel];
    if (e->pre_add)
        v = v + e->pre_add[channel];
    if (e->clamp0)
        v = bnn_clamp(v, e->lo0, e->hi0);
    if (e->sub)
        v = v - e->sub[channel];
    if (e->mul)
        v = v * e->mul[channel];
    if (e->add)
        v = v + e->add[channel];
    if (residual)
        v = v + residual[channel];
    return e->clamp1 ? bnn_clamp(v, e->lo1, e->hi1) : v;
}

/* Channels first to first + channels (first a multiple of 32, channels at most 32) of one pixel, from their sums.
 * bits, values, residual: of the pixel's channels, or NULL.  Nonzero: a bit's value was NaN. */
static inline int bnn_store(const float *sum, const struct bnn_epilogue *e, size_t first, size_t channels,
                            uint32_t *bits, float *values, const float *residual)
{
    uint32_t word = 0;
    int nan = 0;
    for (size_t lane = 0; lane < channels; lane++) {
        float v = bnn_finish(sum[lane], e, first + lane, residual);
        word |= (uint32_t)(v > BNN_BIT_ABOVE) << lane;
        nan |= v != v;
        if (values)
            values[first + lane] = v;
    }
    if (bits)
        bits[first / 32] = word;
    return bits && nan;
}

#endif
