/* SPDX-License-Identifier: Apache-2.0 */
/* Products of bytes and int8 weights, BNN_GROUP of them at a time. */
#ifndef BNN_KERNELS_FLASH_PRODUCTS_H
#define BNN_KERNELS_FLASH_PRODUCTS_H

#include "count.h"

#if defined(__ARM_FEATURE_MVE) && defined(__GNUC__)
#include <arm_mve.h>

/* A group; only `left` of it, if these are fewer.  Vectors multiply bytes of the same kind: x - 128 and w. */
BNN_INLINE int32_t bnn_add_group(int32_t sum, const uint8_t *bytes, const int8_t *weights, size_t left)
{
    const mve_pred16_t some = vctp8q((uint32_t)left);
    const int8x16_t w = vldrbq_z_s8(weights, some);
    const uint8x16_t x = veorq_u8(vldrbq_z_u8(bytes, some), vdupq_n_u8(0x80));
    return vmladavaq_s8(sum, vreinterpretq_s8_u8(x), w) + 128 * vaddvq_s8(w);
}

/* Eight channels of a depthwise layer: `rows` rows of taps, whose weights are `channels` apart. */
BNN_INLINE void bnn_depthwise_channels(int32_t *sums, const int32_t *add, const uint8_t *x, const int8_t *weights,
                                       size_t channels, size_t rows, size_t next_row, size_t taps, size_t next_tap)
{
    int32x4x2_t both = vld2q_s32(add); /* of even channels, and of odd ones */
    for (; rows > 0; rows--, x += next_row) {
        const uint8_t *run = x;
        for (size_t left = taps; left > 0; left--, run += next_tap, weights += channels) {
            const int16x8_t eight = vreinterpretq_s16_u16(vldrbq_u16(run)), w = vldrbq_s16(weights);
            both.val[0] = vaddq_s32(both.val[0], vmullbq_int_s16(eight, w));
            both.val[1] = vaddq_s32(both.val[1], vmulltq_int_s16(eight, w));
            BNN_OPAQUE(weights);
        }
    }
    vst2q_s32(sums, both);
}

BNN_INLINE void bnn_copy_group(uint8_t *to, const uint8_t *from)
{
    vst1q_u8(to, vld1q_u8(from));
}

#define BNN_CHANNELS 8
enum { BNN_GROUP = 16, BNN_FILTERS = 2 };
#elif defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
#include <arm_acle.h>
#include <string.h>

/* Bytes 1 and 3 as numbers of 16 bits: compilers shift first. */
BNN_INLINE uint16x2_t bnn_odd_bytes(uint32_t x)
{
    uint32_t odd;
    __asm__("uxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(x));
    return odd;
}

BNN_INLINE int16x2_t bnn_odd_weights(uint32_t w)
{
    int32_t odd;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(w));
    return odd;
}

BNN_INLINE uint32_t bnn_word(const void *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

/* Two at a time; `left` is not less than a group. */
BNN_INLINE int32_t bnn_add_group(int32_t sum, const uint8_t *bytes, const int8_t *weights, size_t left)
{
    const uint32_t x = bnn_word(bytes), w = bnn_word(weights);
    (void)left;
    sum = __smlad((int16x2_t)__uxtb16(x), __sxtb16((int8x4_t)w), sum);
    return __smlad((int16x2_t)bnn_odd_bytes(x), bnn_odd_weights(w), sum);
}

/* Four channels of a depthwise layer: `rows` rows of taps, whose weights are `channels` apart. */
BNN_INLINE void bnn_depthwise_channels(int32_t *sums, const int32_t *add, const uint8_t *x, const int8_t *weights,
                                       size_t channels, size_t rows, size_t next_row, size_t taps, size_t next_tap)
{
    int32_t first = add[0], second = add[1], third = add[2], fourth = add[3];
    for (; rows > 0; rows--, x += next_row) {
        const uint8_t *run = x;
        for (size_t left = taps; left > 0; left--, run += next_tap, weights += channels) {
            const uint32_t four = bnn_word(run), w = bnn_word(weights);
            const int16x2_t even = (int16x2_t)__uxtb16(four), odd = (int16x2_t)bnn_odd_bytes(four);
            const int16x2_t even_weights = __sxtb16((int8x4_t)w), odd_weights = bnn_odd_weights(w);
            first = __smlabb(even, even_weights, first);
            second = __smlabb(odd, odd_weights, second);
            third = __smlatt(even, even_weights, third);
            fourth = __smlatt(odd, odd_weights, fourth);
            BNN_OPAQUE(weights);
        }
    }
    sums[0] = first;
    sums[1] = second;
    sums[2] = third;
    sums[3] = fourth;
}

BNN_INLINE void bnn_copy_group(uint8_t *to, const uint8_t *from)
{
    memcpy(to, from, 4);
}

#define BNN_CHANNELS 4
enum { BNN_GROUP = 4, BNN_FILTERS = 2 }; /* filters whose sums, with two pixels, fit the registers */
#else
BNN_INLINE int32_t bnn_add_group(int32_t sum, const uint8_t *bytes, const int8_t *weights, size_t left)
{
    (void)left;
    sum += bytes[0] * weights[0];
    sum += bytes[1] * weights[1];
    sum += bytes[2] * weights[2];
    return sum + bytes[3] * weights[3];
}

BNN_INLINE void bnn_copy_group(uint8_t *to, const uint8_t *from)
{
    for (size_t i = 0; i < 4; i++)
        to[i] = from[i];
}

enum { BNN_GROUP = 4, BNN_FILTERS = 1 };
#endif

#endif
