/* SPDX-License-Identifier: Apache-2.0 */
/* Four sums at a time that become bytes, as bnn_requantize gives them, where vectors have four lanes (MVE). */
#ifndef BNN_KERNELS_FLASH_REQUANTIZE_H
#define BNN_KERNELS_FLASH_REQUANTIZE_H

#include "../epilogue.h"

#if defined(__ARM_FEATURE_MVE) && defined(__GNUC__)
#include <arm_mve.h>

#define BNN_REQUANTIZE_FOUR bnn_requantize_four

BNN_INLINE void bnn_requantize_four(uint8_t *out, const int32_t *sums, const int32_t *multiplier, const int32_t *shift,
                                    const struct bnn_requantizer *q)
{
    const int32x4_t zeros = vdupq_n_s32(0), by = vld1q_s32(shift), factor = vld1q_s32(multiplier);
    const int32x4_t left = vmaxq_s32(by, zeros), right = vminq_s32(by, zeros);
    const int32x4_t x = vshlq_s32(vld1q_s32(sums), left);
    int32x4_t v = vqrdmulhq_s32(x, factor);
    if (q->once)
        v = vpselq_s32(vqdmulhq_s32(x, factor), v, vcmpltq_n_s32(by, 0));
    else
        v = vaddq_s32(v, vandq_s32(vshrq_n_s32(v, 31), vshrq_n_s32(by, 31)));
    v = vrshlq_s32(v, right);
    v = vminq_s32(vmaxq_s32(v, vdupq_n_s32(q->low - q->zero)), vdupq_n_s32(q->high - q->zero));
    vstrbq_s32((int8_t *)out, vaddq_n_s32(v, q->zero));
}
#endif

#endif
