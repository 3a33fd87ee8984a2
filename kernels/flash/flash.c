/* SPDX-License-Identifier: Apache-2.0 */
/* Bits for processors without vectors, and with little memory: counted by carry-save adders, as the functions of
 * csrc/mcu do without a model. */
#include "../kernels.h"
#include "count.h"

/* n may be a constant. */
BNN_INLINE void take(int32_t *sums, const uint32_t *a, const uint32_t *w, size_t n, size_t stride, size_t filters,
                     int32_t weight)
{
    for (size_t i = 0; i < filters; i++, w += stride)
        sums[i] -= weight * (int32_t)bnn_differing(a, w, n);
}

static void take_differing(int32_t *sums, const uint32_t *a, const uint32_t *w, size_t n, size_t stride, size_t filters,
                           int32_t weight)
{
    if (n == 9)
        take(sums, a, w, 9, stride, filters, weight);
    else if (n == 18)
        take(sums, a, w, 18, stride, filters, weight);
    else
        take(sums, a, w, n, stride, filters, weight);
}

const struct bnn_kernels bnn_kernels_flash = {.name = "flash", .take_differing = take_differing};
