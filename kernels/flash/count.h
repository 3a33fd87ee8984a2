/* SPDX-License-Identifier: Apache-2.0 */
/* Differing bits of two runs of words, for processors without vectors: carry-save adders, which sum the bits of three
 * words to two, and then few population counts.  Without branches on data.
 *
 * A count begins as four sums in the bytes of a word ("bytes"), because a last step sums them at once.  What is
 * always_inline below is small and has constant word counts after inlining, also under -Os. */
#ifndef BNN_KERNELS_FLASH_COUNT_H
#define BNN_KERNELS_FLASH_COUNT_H

#include "../kernels.h"

/* For each bit of a, b and c: the sum's low bit, and its high one. */
BNN_INLINE uint32_t bnn_low(uint32_t a, uint32_t b, uint32_t c)
{
    return a ^ b ^ c;
}

BNN_INLINE uint32_t bnn_high(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t differ = a ^ b;
    return (a & ~differ) | (c & differ);
}

/* The set bits of each group of four, of each group of eight from those of four, and of all from those of eight. */
BNN_INLINE uint32_t bnn_nibbles(uint32_t x)
{
    x -= (x >> 1) & 0x55555555u;
    return (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
}

BNN_INLINE uint32_t bnn_bytes(uint32_t nibbles)
{
    return (nibbles & 0x0f0f0f0fu) + ((nibbles >> 4) & 0x0f0f0f0fu);
}

#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__) && defined(__thumb__)
BNN_INLINE uint32_t bnn_sum_bytes(uint32_t bytes, uint32_t sum)
{
    uint32_t result;
    __asm__("usada8 %0, %1, %2, %3" : "=r"(result) : "r"(bytes), "r"(0), "r"(sum));
    return result;
}
#else
/* sum + the four bytes, each at most 255 */
BNN_INLINE uint32_t bnn_sum_bytes(uint32_t bytes, uint32_t sum)
{
    uint32_t halves = (bytes & 0x00ff00ffu) + ((bytes >> 8) & 0x00ff00ffu);
    return sum + ((halves + (halves >> 16)) & 0x3ffu);
}
#endif

/* Words i and i + 1 of two runs, compared.  Armv7-M loads two words at once, but compilers seldom do; i is a constant,
 * which an optimizing compiler sees. */
#if defined(__OPTIMIZE__) && defined(__GNUC__) && (defined(__ARM_ARCH_7EM__) || defined(__ARM_ARCH_7M__))
BNN_INLINE void bnn_differ(const uint32_t *a, const uint32_t *w, size_t i, uint32_t d[2])
{
    uint32_t a0, a1, w0, w1;
    /* The memory operands only say what is read: without an index, they need no registers of their own. */
    __asm__("ldrd %0, %1, [%2, %3]" : "=&r"(a0), "=&r"(a1) : "r"(a), "i"(4 * i), "m"(*(const uint32_t(*)[18])a));
    __asm__("ldrd %0, %1, [%2, %3]" : "=&r"(w0), "=&r"(w1) : "r"(w), "i"(4 * i), "m"(*(const uint32_t(*)[18])w));
    d[0] = a0 ^ w0;
    d[1] = a1 ^ w1;
}
#else
BNN_INLINE void bnn_differ(const uint32_t *a, const uint32_t *w, size_t i, uint32_t d[2])
{
    d[0] = a[i] ^ w[i];
    d[1] = a[i + 1] ^ w[i + 1];
}
#endif

/* Bytes of 3 words (at most 24). */
BNN_INLINE uint32_t bnn_differing_3(const uint32_t *a, const uint32_t *w)
{
    uint32_t d[2], e = a[2] ^ w[2];
    bnn_differ(a, w, 0, d);
    return bnn_bytes(bnn_nibbles(bnn_low(d[0], d[1], e))) + 2 * bnn_bytes(bnn_nibbles(bnn_high(d[0], d[1], e)));
}

/* Bytes of 5 words (at most 40). */
BNN_INLINE uint32_t bnn_differing_5(const uint32_t *a, const uint32_t *w)
{
    uint32_t d[2], e[2], f = a[4] ^ w[4];
    bnn_differ(a, w, 0, d);
    bnn_differ(a, w, 2, e);
    uint32_t one = bnn_low(d[0], d[1], e[0]), two0 = bnn_high(d[0], d[1], e[0]);
    uint32_t two1 = bnn_high(one, e[1], f);
    one = bnn_low(one, e[1], f);
    return bnn_bytes(bnn_nibbles(one)) + 2 * bnn_bytes(bnn_nibbles(two0) + bnn_nibbles(two1));
}

/* Bytes of 9 words (at most 72). */
BNN_INLINE uint32_t bnn_differing_9(const uint32_t *a, const uint32_t *w)
{
    uint32_t d[2], e[2], f = a[8] ^ w[8];
    bnn_differ(a, w, 0, d);
    bnn_differ(a, w, 2, e);
    uint32_t one0 = bnn_low(d[0], d[1], e[0]), two0 = bnn_high(d[0], d[1], e[0]);
    bnn_differ(a, w, 4, d);
    uint32_t one1 = bnn_low(e[1], d[0], d[1]), two1 = bnn_high(e[1], d[0], d[1]);
    bnn_differ(a, w, 6, d);
    uint32_t one2 = bnn_low(d[0], d[1], f), two2 = bnn_high(d[0], d[1], f);
    uint32_t one = bnn_low(one0, one1, one2), two3 = bnn_high(one0, one1, one2);
    uint32_t two = bnn_low(two0, two1, two2), four = bnn_high(two0, two1, two2);
    return bnn_bytes(bnn_nibbles(one)) + 2 * bnn_bytes(bnn_nibbles(two) + bnn_nibbles(two3)) +
           4 * bnn_bytes(bnn_nibbles(four));
}

/* Bytes of 18 words (at most 144). */
BNN_INLINE uint32_t bnn_differing_18(const uint32_t *a, const uint32_t *w)
{
    uint32_t d[2], e[2];
    bnn_differ(a, w, 0, d);
    bnn_differ(a, w, 2, e);
    uint32_t one0 = bnn_low(d[0], d[1], e[0]), two0 = bnn_high(d[0], d[1], e[0]);
    bnn_differ(a, w, 4, d);
    uint32_t one1 = bnn_low(e[1], d[0], d[1]), two1 = bnn_high(e[1], d[0], d[1]);
    bnn_differ(a, w, 6, d);
    bnn_differ(a, w, 8, e);
    uint32_t one2 = bnn_low(d[0], d[1], e[0]), two2 = bnn_high(d[0], d[1], e[0]), last = e[1];
    uint32_t one = bnn_low(one0, one1, one2), two3 = bnn_high(one0, one1, one2);
    uint32_t two = bnn_low(two0, two1, two2), four0 = bnn_high(two0, two1, two2);
    bnn_differ(a, w, 10, d);
    one0 = bnn_low(last, d[0], d[1]), two0 = bnn_high(last, d[0], d[1]);
    bnn_differ(a, w, 12, d);
    bnn_differ(a, w, 14, e);
    one1 = bnn_low(d[0], d[1], e[0]), two1 = bnn_high(d[0], d[1], e[0]), last = e[1];
    two2 = bnn_high(one, one0, one1), one = bnn_low(one, one0, one1);
    bnn_differ(a, w, 16, d);
    one0 = bnn_low(last, d[0], d[1]);
    uint32_t two4 = bnn_high(last, d[0], d[1]);
    uint32_t four1 = bnn_high(two, two3, two0);
    two = bnn_low(two, two3, two0);
    uint32_t four2 = bnn_high(two, two1, two2);
    two = bnn_low(two, two1, two2);
    uint32_t four = bnn_low(four0, four1, four2), eight = bnn_high(four0, four1, four2);
    return bnn_bytes(bnn_nibbles(one) + bnn_nibbles(one0)) + 2 * bnn_bytes(bnn_nibbles(two) + bnn_nibbles(two4)) +
           4 * bnn_bytes(bnn_nibbles(four) + 2 * bnn_nibbles(eight));
}

/* Differing bits of n words. */
#if (defined(__riscv_zbb) || defined(__wasm__)) && defined(__GNUC__)
BNN_INLINE uint32_t bnn_differing(const uint32_t *a, const uint32_t *w, size_t n)
{
    uint32_t sum = 0;
    for (; n >= 9; n -= 9, a += 9, w += 9) {
        sum += (uint32_t)__builtin_popcount(a[0] ^ w[0]) + (uint32_t)__builtin_popcount(a[1] ^ w[1]) +
               (uint32_t)__builtin_popcount(a[2] ^ w[2]) + (uint32_t)__builtin_popcount(a[3] ^ w[3]) +
               (uint32_t)__builtin_popcount(a[4] ^ w[4]) + (uint32_t)__builtin_popcount(a[5] ^ w[5]) +
               (uint32_t)__builtin_popcount(a[6] ^ w[6]) + (uint32_t)__builtin_popcount(a[7] ^ w[7]) +
               (uint32_t)__builtin_popcount(a[8] ^ w[8]);
    }
    for (; n > 0; n--)
        sum += (uint32_t)__builtin_popcount(*a++ ^ *w++);
    return sum;
}
#else
BNN_INLINE uint32_t bnn_differing(const uint32_t *a, const uint32_t *w, size_t n)
{
    uint32_t sum = 0;
    for (; n >= 18; n -= 18, a += 18, w += 18)
        sum = bnn_sum_bytes(bnn_differing_18(a, w), sum);
    if (n >= 9) {
        sum = bnn_sum_bytes(bnn_differing_9(a, w), sum);
        n -= 9, a += 9, w += 9;
    }
    if (n == 0)
        return sum;
    uint32_t bytes = 0; /* at most 8 * 8 */
    if (n >= 5) {
        bytes = bnn_differing_5(a, w);
        n -= 5, a += 5, w += 5;
    }
    if (n >= 3) {
        bytes += bnn_differing_3(a, w);
        n -= 3, a += 3, w += 3;
    }
    if (n >= 2) { /* a nibble counts eight */
        bytes += bnn_bytes(bnn_nibbles(a[0] ^ w[0]) + bnn_nibbles(a[1] ^ w[1]));
        n -= 2, a += 2, w += 2;
    }
    if (n > 0)
        bytes += bnn_bytes(bnn_nibbles(*a ^ *w));
    return bnn_sum_bytes(bytes, sum);
}
#endif

/* The same for a number that is not constant: a function of its own, as its call takes little beside its work. */
static inline uint32_t bnn_differing_any(const uint32_t *a, const uint32_t *w, size_t n)
{
    return bnn_differing(a, w, n);
}

#endif
