/* SPDX-License-Identifier: Apache-2.0 */
/* Small portable pieces that the families share. */
#ifndef BNN_KERNELS_BITS_H
#define BNN_KERNELS_BITS_H

#include <stddef.h>
#include <stdint.h>

static inline uint32_t bnn_popcount(uint32_t x)
{
    x -= (x >> 1) & 0x55555555u;
    x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0fu;
    return (x * 0x01010101u) >> 24;
}

/* Its number; the word is not 0. */
static inline uint32_t bnn_lowest_bit(uint64_t word)
{
#ifdef __GNUC__
    return (uint32_t)__builtin_ctzll(word);
#else
    uint32_t n = 0;
    while (!(word >> n & 1))
        n++;
    return n;
#endif
}

/* Defines a function that packs src [channels][count] into dst [block][count][lane], with missing lanes zero; for words
 * and floats. */
#define BNN_PACK(function, type)                                                                  \
    static void function(type *dst, const type *src, size_t channels, size_t count, size_t lanes) \
    {                                                                                             \
        for (size_t first = 0; first < channels; first += lanes)                                  \
            for (size_t k = 0; k < count; k++)                                                    \
                for (size_t lane = 0; lane < lanes; lane++) {                                     \
                    size_t channel = first + lane;                                                \
                    *dst++ = channel < channels ? src[channel * count + k] : 0;                   \
                }                                                                                 \
    }

#endif
