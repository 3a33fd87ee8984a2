/* SPDX-License-Identifier: Apache-2.0 */
#include "mcu/pool.h"
#include "mcu/taps.h"

void bnn_mcu_max_pool_bits(const struct bnn_mcu_pool *pool, size_t row, const uint32_t *x, uint32_t *out)
{
    struct bnn_mcu_taps ys = bnn_mcu_taps_inside(row, pool->stride_h, pool->kernel_h, pool->pad_top, pool->height);
    for (size_t column = 0; column < pool->out_width; column++) {
        struct bnn_mcu_taps xs =
            bnn_mcu_taps_inside(column, pool->stride_w, pool->kernel_w, pool->pad_left, pool->width);
        for (size_t k = 0; k < pool->words; k++) {
            /* The minimum is the complement of the maximum of complements. */
            uint32_t mask = pool->mask != NULL ? pool->mask[k] : 0, any = 0;
            for (size_t y = ys.begin; y < ys.end; y++) {
                const uint32_t *tap = x + y * pool->row + xs.begin * pool->words + k;
                for (size_t i = xs.begin; i < xs.end; i++, tap += pool->words)
                    any |= *tap ^ mask;
            }
            *out++ = any ^ mask;
        }
    }
}

size_t bnn_mcu_argmax(const float *values, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (!(values[i] <= values[best]) && values[best] == values[best])
            best = i;
    return best;
}
