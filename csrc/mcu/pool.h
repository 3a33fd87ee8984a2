/* SPDX-License-Identifier: Apache-2.0 */
/* Max-pool of bits, and argmax, for firmware; see conv.h. */
#ifndef BNN_MCU_POOL_H
#define BNN_MCU_POOL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Windows may reach beyond the image; taps there do not count.  Each window has a tap inside. */
struct bnn_mcu_pool {
    /* NULL, or the words of a pixel: channels whose bit is set take the minimum (AND) instead of the maximum (OR) */
    const uint32_t *mask;
    uint16_t height, width; /* of the image */
    uint16_t out_width;     /* pixels of an output row */
    uint16_t words;         /* of a pixel */
    uint16_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left;
    uint32_t row; /* words from a row of the image to the next */
};

/* One output row.  x: the first word of the image, without its rim.  out: the first word of the output row. */
void bnn_mcu_max_pool_bits(const struct bnn_mcu_pool *pool, size_t row, const uint32_t *x, uint32_t *out);

/* The index of the first of the largest of n >= 1 values; of the first NaN, if there is one, as in NumPy. */
size_t bnn_mcu_argmax(const float *values, size_t n);

#ifdef __cplusplus
}
#endif

#endif
