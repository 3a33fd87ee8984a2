/* SPDX-License-Identifier: Apache-2.0 */
/* Differing bits of a run of words and four others, which are interleaved, [word][4]: the other side of count.h, for
 * vectors of four lanes, which are those of Armv8.1-M (MVE). */
#ifndef BNN_KERNELS_FLASH_QUADS_H
#define BNN_KERNELS_FLASH_QUADS_H

#include "count.h"

#if defined(__ARM_FEATURE_MVE) && defined(__GNUC__)
#include <arm_mve.h>

typedef uint32x4_t bnn_quad;

BNN_INLINE bnn_quad bnn_quad_differ(const uint32_t *a, const uint32_t *w, size_t i)
{
    return veorq_u32(vld1q_u32(w + 4 * i), vdupq_n_u32(a[i]));
}

/* A barrier for loads: without it, compilers issue all of them first and run out of registers. */
BNN_INLINE void bnn_in_order(void)
{
    __asm__ volatile("" ::: "memory");
}

BNN_INLINE bnn_quad bnn_quad_low(bnn_quad a, bnn_quad b, bnn_quad c)
{
    return veorq_u32(veorq_u32(a, b), c);
}

BNN_INLINE bnn_quad bnn_quad_high(bnn_quad a, bnn_quad b, bnn_quad c)
{
    bnn_quad differ = veorq_u32(a, b);
    return vorrq_u32(vbicq_u32(a, differ), vandq_u32(c, differ));
}

BNN_INLINE bnn_quad bnn_quad_nibbles(bnn_quad x)
{
    const bnn_quad fives = vdupq_n_u32(0x55555555u), threes = vdupq_n_u32(0x33333333u);
    x = vsubq_u32(x, vandq_u32(vshrq_n_u32(x, 1), fives));
    return vaddq_u32(vandq_u32(x, threes), vandq_u32(vshrq_n_u32(x, 2), threes));
}

BNN_INLINE bnn_quad bnn_quad_bytes(bnn_quad nibbles)
{
    const bnn_quad mask = vdupq_n_u32(0x0f0f0f0fu);
    return vaddq_u32(vandq_u32(nibbles, mask), vandq_u32(vshrq_n_u32(nibbles, 4), mask));
}

BNN_INLINE bnn_quad bnn_quad_sum_bytes(bnn_quad bytes)
{
    const bnn_quad mask = vdupq_n_u32(0x00ff00ffu);
    bnn_quad halves = vaddq_u32(vandq_u32(bytes, mask), vandq_u32(vshrq_n_u32(bytes, 8), mask));
    return vshrq_n_u32(vmulq_n_u32(halves, 0x00010001u), 16);
}

/* ones + 2 * twos + 4 * fours: bytes of each. */
BNN_INLINE bnn_quad bnn_quad_weigh(bnn_quad ones, bnn_quad twos, bnn_quad fours)
{
    return vaddq_u32(vaddq_u32(ones, vshlq_n_u32(twos, 1)), vshlq_n_u32(fours, 2));
}

BNN_INLINE bnn_quad bnn_quad_differing_9(const uint32_t *a, const uint32_t *w)
{
    bnn_in_order();
    bnn_quad d0 = bnn_quad_differ(a, w, 0), d1 = bnn_quad_differ(a, w, 1), d2 = bnn_quad_differ(a, w, 2);
    bnn_quad one0 = bnn_quad_low(d0, d1, d2), two0 = bnn_quad_high(d0, d1, d2);
    bnn_in_order();
    d0 = bnn_quad_differ(a, w, 3), d1 = bnn_quad_differ(a, w, 4), d2 = bnn_quad_differ(a, w, 5);
    bnn_quad one1 = bnn_quad_low(d0, d1, d2), two1 = bnn_quad_high(d0, d1, d2);
    bnn_in_order();
    d0 = bnn_quad_differ(a, w, 6), d1 = bnn_quad_differ(a, w, 7), d2 = bnn_quad_differ(a, w, 8);
    bnn_quad one2 = bnn_quad_low(d0, d1, d2), two2 = bnn_quad_high(d0, d1, d2);
    bnn_quad one = bnn_quad_low(one0, one1, one2), two3 = bnn_quad_high(one0, one1, one2);
    bnn_quad two = bnn_quad_low(two0, two1, two2), four = bnn_quad_high(two0, two1, two2);
    return bnn_quad_weigh(bnn_quad_bytes(bnn_quad_nibbles(one)),
                          bnn_quad_bytes(vaddq_u32(bnn_quad_nibbles(two), bnn_quad_nibbles(two3))),
                          bnn_quad_bytes(bnn_quad_nibbles(four)));
}

BNN_INLINE bnn_quad bnn_quad_differing_18(const uint32_t *a, const uint32_t *w)
{
    bnn_in_order();
    bnn_quad d0 = bnn_quad_differ(a, w, 0), d1 = bnn_quad_differ(a, w, 1), d2 = bnn_quad_differ(a, w, 2);
    bnn_quad one0 = bnn_quad_low(d0, d1, d2), two0 = bnn_quad_high(d0, d1, d2);
    bnn_in_order();
    d0 = bnn_quad_differ(a, w, 3), d1 = bnn_quad_differ(a, w, 4), d2 = bnn_quad_differ(a, w, 5);
    bnn_quad one1 = bnn_quad_low(d0, d1, d2), two1 = bnn_quad_high(d0, d1, d2);
    bnn_in_order();
    d0 = bnn_quad_differ(a, w, 6), d1 = bnn_quad_differ(a, w, 7), d2 = bnn_quad_differ(a, w, 8);
    bnn_quad one2 = bnn_quad_low(d0, d1, d2), two2 = bnn_quad_high(d0, d1, d2);
    bnn_quad one = bnn_quad_low(one0, one1, one2), two3 = bnn_quad_high(one0, one1, one2);
    bnn_quad two = bnn_quad_low(two0, two1, two2), four0 = bnn_quad_high(two0, two1, two2);
    bnn_in_order();
    d0 = bnn_quad_differ(a, w, 9), d1 = bnn_quad_differ(a, w, 10), d2 = bnn_quad_differ(a, w, 11);
    one0 = bnn_quad_low(d0, d1, d2), two0 = bnn_quad_high(d0, d1, d2);
    bnn_in_order();
    d0 = bnn_quad_differ(a, w, 12), d1 = bnn_quad_differ(a, w, 13), d2 = bnn_quad_differ(a, w, 14);
    one1 = bnn_quad_low(d0, d1, d2), two1 = bnn_quad_high(d0, d1, d2);
    two2 = bnn_quad_high(one, one0, one1), one = bnn_quad_low(one, one0, one1);
    bnn_quad four1 = bnn_quad_high(two, two3, two0);
    two = bnn_quad_low(two, two3, two0);
    bnn_quad four2 = bnn_quad_high(two, two1, two2);
    two = bnn_quad_low(two, two1, two2);
    bnn_in_order();
    d0 = bnn_quad_differ(a, w, 15), d1 = bnn_quad_differ(a, w, 16), d2 = bnn_quad_differ(a, w, 17);
    one0 = bnn_quad_low(d0, d1, d2), two0 = bnn_quad_high(d0, d1, d2);
    bnn_quad four = bnn_quad_low(four0, four1, four2), eight = bnn_quad_high(four0, four1, four2);
    bnn_quad fours = vaddq_u32(bnn_quad_nibbles(four), vshlq_n_u32(bnn_quad_nibbles(eight), 1));
    return bnn_quad_weigh(bnn_quad_bytes(vaddq_u32(bnn_quad_nibbles(one), bnn_quad_nibbles(one0))),
                          bnn_quad_bytes(vaddq_u32(bnn_quad_nibbles(two), bnn_quad_nibbles(two0))),
                          bnn_quad_bytes(fours));
}

/* Differing bits of n words: as in count.h. */
BNN_INLINE bnn_quad bnn_quad_differing(const uint32_t *a, const uint32_t *w, size_t n)
{
    bnn_quad sum = vdupq_n_u32(0);
    for (; n >= 18; n -= 18, a += 18, w += 4 * 18)
        sum = vaddq_u32(sum, bnn_quad_sum_bytes(bnn_quad_differing_18(a, w)));
    if (n >= 9) {
        sum = vaddq_u32(sum, bnn_quad_sum_bytes(bnn_quad_differing_9(a, w)));
        n -= 9, a += 9, w += 4 * 9;
    }
    if (n == 0)
        return sum;
    bnn_quad bytes = vdupq_n_u32(0); /* at most 8 * 8 */
    for (; n > 0; n--, a++, w += 4)
        bytes = vaddq_u32(bytes, bnn_quad_bytes(bnn_quad_nibbles(bnn_quad_differ(a, w, 0))));
    return vaddq_u32(sum, bnn_quad_sum_bytes(bytes));
}

/* Bit i: (differing bits of run i < limits[i]). */
BNN_INLINE uint32_t bnn_quad_bits(const uint32_t *a, const uint32_t *w, size_t n, const int16_t *limits)
{
    const int32x4_t places = {0, 1, 2, 3};
    bnn_quad above = vsubq_u32(bnn_quad_differing(a, w, n), vreinterpretq_u32_s32(vldrhq_s32(limits)));
    return vaddvq_u32(vshlq_u32(vshrq_n_u32(above, 31), places));
}

/* sums[i] = corrections[i] - 2 * differing bits of run i */
BNN_INLINE void bnn_quad_sums(const uint32_t *a, const uint32_t *w, size_t n, const int16_t *corrections, int32_t *sums)
{
    int32x4_t twice = vreinterpretq_s32_u32(vshlq_n_u32(bnn_quad_differing(a, w, n), 1));
    vst1q_s32(sums, vsubq_s32(vldrhq_s32(corrections), twice));
}
#else
BNN_INLINE void bnn_quad_sums(const uint32_t *a, const uint32_t *w, size_t n, const int16_t *corrections, int32_t *sums)
{
    for (size_t i = 0; i < 4; i++) {
        uint32_t differing = 0;
        for (size_t k = 0; k < n; k++)
            differing = bnn_sum_bytes(bnn_bytes(bnn_nibbles(a[k] ^ w[4 * k + i])), differing);
        sums[i] = corrections[i] - 2 * (int32_t)differing;
    }
}

BNN_INLINE uint32_t bnn_quad_bits(const uint32_t *a, const uint32_t *w, size_t n, const int16_t *limits)
{
    const int16_t zeros[4] = {0, 0, 0, 0};
    int32_t sums[4];
    uint32_t bits = 0;
    bnn_quad_sums(a, w, n, zeros, sums);
    for (size_t i = 0; i < 4; i++)
        bits |= (uint32_t)(-2 * limits[i] - sums[i]) >> 31 << i; /* the highest bit: it is negative */
    return bits;
}
#endif

#endif
