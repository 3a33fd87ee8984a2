/* SPDX-License-Identifier: Apache-2.0 */
/* Small portable pieces that the families share. */
#ifndef BNN_KERNELS_BITS_H
#define BNN_KERNELS_BITS_H

#include "kernels.h"

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

/* The numbers of the bits that are set, rising, and how many: see bnn_kernels.  A few of a word's bits are always looked
 * for, because branches on their number would be mispredicted at every word. */
static inline size_t bnn_find_bits(uint32_t *index, const uint32_t *words, size_t count)
{
    size_t found = 0;
    for (size_t k = 0; k < count; k++) {
        uint32_t word = words[k], *to = index + found;
        const uint32_t first = (uint32_t)(32 * k);
        found += bnn_popcount(word);
        for (int some = 0; some < 4; some++, word &= word - 1)
            *to++ = first + bnn_lowest_bit(word | UINT32_C(1) << 31);
        for (; word != 0; word &= word - 1)
            *to++ = first + bnn_lowest_bit(word);
    }
    return found;
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

/* Weight i of a pixel: -1, 0 or +1. */
static inline int32_t bnn_byte_weight(const struct bnn_byte_filters *f, const uint32_t *pixel, size_t i)
{
    int32_t sum = 0;
    for (size_t plane = 0; plane < f->planes; plane++, i += f->bytes)
        sum += (pixel[i / 32] >> i % 32 & 1) != 0 ? 1 : -1;
    return sum / (int32_t)f->planes;
}

/* Defines a function that packs weights as dst: [block][segment][word][lane], `taps` of them per word, the first lowest.
 * The last word of a segment holds its last `taps` weights, if it has that many, with zeros for those that the previous
 * word has.  `weight`: that of a channel's number i in segment s. */
#define BNN_PACK_TAPS(function, weight)                                                                               \
    static inline void function(uint32_t *dst, const struct bnn_byte_filters *f, size_t lanes, size_t taps)           \
    {                                                                                                                 \
        const size_t length = f->pixels * f->bytes;                                                                   \
        for (size_t first = 0; first < f->channels; first += lanes)                                                   \
            for (size_t s = 0; s < f->segments; s++)                                                                  \
                for (size_t k = 0; k < length; k += taps)                                                             \
                    for (size_t channel = first; channel < first + lanes; channel++) {                                \
                        size_t start = length < taps || k + taps <= length ? k : length - taps;                       \
                        uint32_t word = 0;                                                                            \
                        for (size_t i = k; channel < f->channels && i < start + taps && i < length; i++)              \
                            word |= (uint32_t)(weight) << (32 - 32 / taps) >> (taps - 1 - (i - start)) * (32 / taps); \
                        *dst++ = word;                                                                                \
                    }                                                                                                 \
    }

/* The words of a pixel's signs. */
#define BNN_SIGN_WORDS(f) (((f)->bytes * (f)->planes + 31) / 32)
BNN_PACK_TAPS(bnn_pack_bytes,
              bnn_byte_weight(f,
                              f->signs + ((channel * f->segments + s) * f->pixels + i / f->bytes) * BNN_SIGN_WORDS(f),
                              i % f->bytes))
BNN_PACK_TAPS(bnn_pack_wide, f->weights[(channel * f->segments + s) * length + i])

/* Packs for packed.inc: [block][segment][word][lane].  Segments have at least the taps of a word; the last word of a segment
 * holds its last taps, and the code 0 for those that the previous word has. */
static inline void bnn_pack_codes(uint32_t *dst, const struct bnn_byte_filters *f, size_t lanes)
{
    const size_t length = f->pixels * f->bytes, taps = 32 / f->planes;
    for (size_t first = 0; first < f->channels; first += lanes)
        for (size_t s = 0; s < f->segments; s++)
            for (size_t k = 0; k < length; k += taps)
                for (size_t channel = first; channel < first + lanes; channel++) {
                    const size_t start = k + taps <= length ? k : length - taps;
                    uint32_t word = 0;
                    for (size_t i = k; channel < f->channels && i < start + taps; i++) {
                        const uint32_t *pixel =
                            f->signs + ((channel * f->segments + s) * f->pixels + i / f->bytes) * BNN_SIGN_WORDS(f);
                        const uint32_t code =
                            (uint32_t)(bnn_byte_weight(f, pixel, i % f->bytes) + 1) >> (2 - f->planes);
                        word |= code << ((i - start) % 4 * 8 + (i - start) / 4 * f->planes);
                    }
                    *dst++ = word;
                }
}
#undef BNN_SIGN_WORDS
#undef BNN_PACK_TAPS

#endif
