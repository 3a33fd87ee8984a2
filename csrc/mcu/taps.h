/* SPDX-License-Identifier: Apache-2.0 */
/* Windows of pools, for firmware. */
#ifndef BNN_MCU_TAPS_H
#define BNN_MCU_TAPS_H

#include <stddef.h>

/* The taps of a window along an axis that lie inside the image: from begin up to, but without, end. */
struct bnn_mcu_taps {
    size_t begin, end;
};

/* `pad`: taps before the image, fewer than the kernel has. */
static inline struct bnn_mcu_taps bnn_mcu_taps_inside(size_t position, size_t stride, size_t kernel, size_t pad,
                                                      size_t size)
{
    size_t start = position * stride, end = start + kernel - pad;
    struct bnn_mcu_taps taps;
    taps.begin = start > pad ? start - pad : 0;
    taps.end = end < size ? end : size;
    return taps;
}

#endif
