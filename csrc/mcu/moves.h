/* SPDX-License-Identifier: Apache-2.0 */
/* Moving values, for firmware. */
#ifndef BNN_MCU_MOVES_H
#define BNN_MCU_MOVES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* rows * pixels runs of `count` elements: bytes, or bits. */
struct bnn_mcu_runs {
    uint16_t rows, pixels;
    uint32_t count;
    uint32_t in_row, in_pixel, out_row, out_pixel; /* distances in elements */
};

void bnn_mcu_copy(void *out, const void *in, const struct bnn_mcu_runs *runs);
/* Each of `count` rows becomes the one behind it.  A function, because compilers copy a constant number of bytes one by one
 * where they do not see that rows are aligned. */
void bnn_mcu_move_up(void *rows, size_t size, size_t count);
/* Bit i of an array is bit i % 32 of word i / 32; runs begin at bits `to` and `from`.  Where out is zero, this copies:
 * bits are added (OR). */
void bnn_mcu_copy_bits(uint32_t *out, size_t to, const uint32_t *in, size_t from, const struct bnn_mcu_runs *runs);

/* The same of one run of `count` bits. */
void bnn_mcu_add_bits(uint32_t *out, size_t to, const uint32_t *in, size_t from, size_t count);

/* out[i] = in[from[i]] */
void bnn_mcu_gather_floats(float *out, const float *in, const uint32_t *from, size_t count);
void bnn_mcu_gather_bytes(uint8_t *out, const uint8_t *in, const uint32_t *from, size_t count);
/* Bits of pixels that begin on words; from: their bits in `in`. */
void bnn_mcu_gather_bits(uint32_t *out, const uint32_t *in, const uint32_t *from, size_t pixels, size_t channels);

/* `count` times the `words` words of a pixel. */
void bnn_mcu_fill(void *out, const uint32_t *pixel, size_t words, size_t count);

#ifdef __cplusplus
}
#endif

#endif
