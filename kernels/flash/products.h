/* SPDX-License-Identifier: Apache-2.0 */
/* Products of four bytes and four int8 weights. */
#ifndef BNN_KERNELS_FLASH_PRODUCTS_H
#define BNN_KERNELS_FLASH_PRODUCTS_H

#include "count.h"

#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
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

/* Two at a time. */
BNN_INLINE int32_t bnn_add_four(int32_t sum, const uint8_t *bytes, const int8_t *weights)
{
    uint32_t x, w;
    memcpy(&x, bytes, sizeof x);
    memcpy(&w, weights, sizeof w);
    sum = __smlad((int16x2_t)__uxtb16(x), __sxtb16((int8x4_t)w), sum);
    return __smlad((int16x2_t)bnn_odd_bytes(x), bnn_odd_weights(w), sum);
}
#else
BNN_INLINE int32_t bnn_add_four(int32_t sum, const uint8_t *bytes, const int8_t *weights)
{
    for (size_t i = 0; i < 4; i++)
        sum += bytes[i] * weights[i];
    return sum;
}
#endif

#endif
