/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of one channel, or of four where vectors have four lanes (MVE), that become bytes or int16 as
 * bnn_requantize_number gives them.  `shorts`, a constant: they become int16.  And sums of int16. */
#ifndef BNN_KERNELS_FLASH_REQUANTIZE_H
#define BNN_KERNELS_FLASH_REQUANTIZE_H

#include "../epilogue.h"

/* Whether bnn_requantize_usual serves channels: bytes have no other limits than their size; and whether one of them: its
 * sums become far smaller. */
BNN_INLINE int bnn_are_usual(const struct bnn_requantizer *q)
{
    return q->low == 0 && q->high == 255;
}

BNN_INLINE int bnn_is_usual(int32_t multiplier, int32_t shift)
{
    return multiplier >= 1 << 30 && shift < -1;
}

/* (a * b + half) / 2^31, rounded down; b is at least 2^30, and `half`, a constant, is 2^30 or 0.  `small`, a constant: a
 * is often a number of 16 bits. */
BNN_INLINE int32_t bnn_multiply_high_usual(int32_t a, int32_t b, int32_t half, int small)
{
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
    int32_t high; /* of a * (2 b - 2^32) + a * 2^32, and 2^31 with a half */
    (void)small;
    if (half != 0)
        __asm__("smmlar %0, %1, %2, %1" : "=r"(high) : "r"(a), "r"((int32_t)((uint32_t)b << 1)));
    else
        __asm__("smmla %0, %1, %2, %1" : "=r"(high) : "r"(a), "r"((int32_t)((uint32_t)b << 1)));
    return high;
#elif defined(__ARM_ARCH_6M__) || defined(__ARM_ARCH_8M_BASE__)
    if (small && (uint32_t)a + 0x8000 < 0x10000) {
        const int32_t low = bnn_shifted(a * (int32_t)((uint32_t)b & 0xffff), 16);
        return bnn_shifted(a * (int32_t)((uint32_t)b >> 16) + low + (half >> 16), 15);
    }
    return bnn_multiply_high_by_halves(a, b, half);
#else
    (void)small;
    BNN_OPAQUE(b);
    return bnn_multiply_high(a, b, half);
#endif
}

/* v / 2, rounded down, from 0 to 255. */
BNN_INLINE uint8_t bnn_half_byte(int32_t v)
{
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
    uint32_t byte;
    __asm__("usat %0, #8, %1, asr #1" : "=r"(byte) : "r"(v));
    return (uint8_t)byte;
#else
    v = bnn_shifted(v, 1);
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
#endif
}

/* The same from -32768 to 32767. */
BNN_INLINE int32_t bnn_half_short(int32_t v)
{
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
    int32_t number;
    __asm__("ssat %0, #16, %1, asr #1" : "=r"(number) : "r"(v));
    return number;
#else
    v = bnn_shifted(v, 1);
    return v == (int16_t)v ? v : bnn_shifted(v, 31) ^ INT16_MAX;
#endif
}

/* `once`, of the requantizer, and `small` are constants. */
BNN_INLINE int32_t bnn_requantize_usual(int32_t sum, int32_t multiplier, int32_t shift, int32_t zero, int once,
                                        int small, int shorts)
{
    const int32_t high = bnn_multiply_high_usual(sum, multiplier, once ? 0 : 1 << 30, small);
    const int32_t twice = bnn_shifted(once ? high : high + bnn_shifted(high, 31), (uint32_t)-shift - 1);
    return shorts ? bnn_half_short(twice + 1) : bnn_half_byte(twice + (2 * zero + 1));
}

#if defined(__ARM_FEATURE_MVE) && defined(__GNUC__)
#include <arm_mve.h>

#define BNN_REQUANTIZE_FOURS bnn_requantize_fours

/* Pixels of four channels, each `next` after the one before, with `steps` times their sums and the biases.  Constants, so
 * that the loop has no branches: `steps`, with no biases if it is 1, whether sums are int16 (`of_shorts`), and `once`. */
BNN_INLINE void bnn_requantize_four(void *out, const void *sums, int32_t steps, const int32_t *biases,
                                    const struct bnn_requantizer *q, size_t first, size_t pixels, size_t next,
                                    int of_shorts, int shorts, int once)
{
    const int32x4_t zeros = vdupq_n_s32(0), by = vld1q_s32(q->shift + first);
    const int32x4_t factor = vld1q_s32(q->multiplier + first), bias = steps == 1 ? zeros : vld1q_s32(biases + first);
    const int32x4_t left = vmaxq_s32(by, zeros), right = vminq_s32(by, zeros);
    const int32x4_t sign = vsubq_s32(vdupq_n_s32(-32), vshrq_n_s32(by, 31)); /* to the last bit, or out of the word */
    const int32_t zero = q->zero;
    const int32x4_t low = vdupq_n_s32(q->low - zero), high = vdupq_n_s32(q->high - zero);
    const size_t from_size = of_shorts ? sizeof(int16_t) : sizeof(int32_t), to_size = shorts ? sizeof(int16_t) : 1;
    const uint8_t *from = (const uint8_t *)sums + first * from_size;
    uint8_t *to = (uint8_t *)out + first * to_size;
    for (; pixels > 0; pixels--, to += next * to_size, from += next * from_size) {
        int32x4_t x = of_shorts ? vldrhq_s32((const int16_t *)(const void *)from)
                                : vld1q_s32((const int32_t *)(const void *)from);
        if (steps != 1)
            x = vaddq_s32(vmulq_n_s32(x, steps), bias);
        x = vshlq_s32(x, left);
        int32x4_t v = vqrdmulhq_s32(x, factor);
        if (once)
            v = vpselq_s32(vqdmulhq_s32(x, factor), v, vcmpltq_n_s32(by, 0));
        else
            v = vsubq_s32(v, vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(v), sign)));
        v = vminq_s32(vmaxq_s32(vrshlq_s32(v, right), low), high);
        if (shorts)
            vstrhq_s32((int16_t *)(void *)to, v);
        else
            vstrbq_s32((int8_t *)to, vaddq_n_s32(v, zero));
    }
}

/* The same of all channels but those beyond the last four; their number. */
BNN_INLINE size_t bnn_requantize_fours(void *out, const void *sums, int32_t steps, const int32_t *biases,
                                       const struct bnn_requantizer *q, size_t pixels, size_t channels, int of_shorts,
                                       int shorts)
{
    size_t c = 0;
    for (; c + 4 <= channels; c += 4)
        if (!shorts && q->once)
            bnn_requantize_four(out, sums, steps, biases, q, c, pixels, channels, of_shorts, shorts, 1);
        else
            bnn_requantize_four(out, sums, steps, biases, q, c, pixels, channels, of_shorts, shorts, 0);
    return c;
}
#endif

#if defined(__ARM_FEATURE_SIMD32) && defined(__GNUC__)
#include <arm_acle.h>
#include <string.h>

#define BNN_ADD_PAIRS bnn_add_pairs

/* out = x + y, limited to int16, two at a time; how many. */
BNN_INLINE size_t bnn_add_pairs(int16_t *out, const int16_t *x, const int16_t *y, size_t count)
{
    for (size_t left = count / 2; left > 0; left--, out += 2, x += 2, y += 2) {
        int16x2_t a, b;
        memcpy(&a, x, sizeof a);
        memcpy(&b, y, sizeof b);
        a = __qadd16(a, b);
        memcpy(out, &a, sizeof a);
    }
    return count / 2 * 2;
}
#endif

#endif
