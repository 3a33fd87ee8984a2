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

BNN_INLINE int32_t bnn_limited(int32_t v, const struct bnn_requantizer *q)
{
    return v < q->low - q->zero ? q->low : v > q->high - q->zero ? q->high : v + q->zero;
}

/* v / 2^bits, rounded down. */
BNN_INLINE int32_t bnn_shifted(int32_t v, uint32_t bits)
{
    return v < 0 ? ~(~v >> bits) : v >> bits;
}

/* (a * b + half) / 2^31, rounded down; b is not negative, and half 2^30 or 0. */
BNN_INLINE int32_t bnn_multiply_high(int32_t a, int32_t b, int32_t half)
{
    const int64_t product = (int64_t)a * b + half;
    return (int32_t)(product < 0 ? ~(~product >> 31) : product >> 31);
}

/* The same by products of 16 bits, for processors without longer ones. */
BNN_INLINE int32_t bnn_multiply_high_by_halves(int32_t a, int32_t b, int32_t half)
{
    const uint32_t a_low = (uint32_t)a & 0xffff, b_low = (uint32_t)b & 0xffff, b_high = (uint32_t)b >> 16;
    const uint32_t first = a_low * b_high, lowest = a_low * b_low >> 16; /* `first` is below 2^31 */
    const int32_t a_high = bnn_shifted(a, 16), second = a_high * (int32_t)b_low;
    const uint32_t rest = (first & 0x7fff) + ((uint32_t)second & 0x7fff) + lowest + ((uint32_t)half >> 16);
    return 2 * a_high * (int32_t)b_high + (int32_t)(first >> 15) + bnn_shifted(second, 15) + (int32_t)(rest >> 15);
}

#if defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
#define BNN_MULTIPLY_HIGH(a, b, half) bnn_multiply_high_by_halves(a, b, half)
#else
#define BNN_MULTIPLY_HIGH(a, b, half) bnn_multiply_high(a, b, half)
#endif

/* A byte, or an int16, of a sum, in whole numbers: halves of the quotient by 2^31 are rounded up, those by 2^right away
 * from zero; or once, halves of the quotient by both, up: then the first is rounded down. */
BNN_INLINE int32_t bnn_requantize_number(int32_t sum, int32_t multiplier, int32_t shift,
                                         const struct bnn_requantizer *q)
{
    const int right = shift < 0, once = right && q->once;
    int32_t v = right ? sum : (int32_t)((uint32_t)sum << shift);
    v = BNN_MULTIPLY_HIGH(v, multiplier, once ? 0 : 1 << 30);
    if (right) {
        v -= !once && v < 0;
        v = bnn_shifted(bnn_shifted(v, (uint32_t)-shift - 1) + 1, 1);
    }
    return bnn_limited(v, q);
}

BNN_INLINE uint8_t bnn_requantize(int32_t sum, int32_t multiplier, int32_t shift, const struct bnn_requantizer *q)
{
    return (uint8_t)bnn_requantize_number(sum, multiplier, shift, q);
}

/* A pixel of struct bnn_short_rows. */
static inline void bnn_requantize_shorts(const struct bnn_short_rows *r, size_t pixel)
{
    const struct bnn_requantizer *q = r->requantizer;
    for (size_t c = 0, i = pixel * r->channels; c < r->channels; c++, i++) {
        const int32_t v =
            bnn_requantize_number(r->src[i] * BNN_BIT_STEPS + r->biases[c], q->multiplier[c], q->shift[c], q);
        if (r->bytes != NULL)
            r->bytes[i] = (uint8_t)v;
        else
            r->shorts[i] = (int16_t)v;
    }
}

BNN_INLINE int16_t bnn_add_shorts(int16_t x, int16_t y, int32_t low, int32_t high)
{
    const int32_t sum = x + y;
    return (int16_t)(sum < low ? low : sum > high ? high : sum);
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
