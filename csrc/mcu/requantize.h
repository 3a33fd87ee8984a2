/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes and int16 of integer sums, of bytes and of int16, without floats, for firmware.  Arrays do not overlap, except as stated. */
#ifndef BNN_MCU_REQUANTIZE_H
#define BNN_MCU_REQUANTIZE_H

#include <stddef.h>
#include <stdint.h>

#include "mcu/values.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out[pixel][channel] = the byte of sums[pixel][channel], by the channel's multiplier and shift. */
void bnn_mcu_requantize(uint8_t *out, const int32_t *sums, const struct bnn_requantizer *requantizer, size_t pixels,
                        size_t channels);

/* The same of sums of bits: of BNN_BIT_STEPS times a sum, plus the channel's bias. */
void bnn_mcu_requantize_bits(uint8_t *out, const int32_t *sums, const int32_t *biases,
                             const struct bnn_requantizer *requantizer, size_t pixels, size_t channels);

/* The same of int16, as of sums of bits; and what gives int16, whose zero and `once` are 0. */
void bnn_mcu_requantize_int16(uint8_t *out, const int16_t *in, const int32_t *biases,
                              const struct bnn_requantizer *requantizer, size_t pixels, size_t channels);
void bnn_mcu_requantize_shorts(int16_t *out, const int32_t *sums, const struct bnn_requantizer *requantizer,
                               size_t pixels, size_t channels);
void bnn_mcu_requantize_bits_shorts(int16_t *out, const int32_t *sums, const int32_t *biases,
                                    const struct bnn_requantizer *requantizer, size_t pixels, size_t channels);
void bnn_mcu_requantize_int16_shorts(int16_t *out, const int16_t *in, const int32_t *biases,
                                     const struct bnn_requantizer *requantizer, size_t pixels, size_t channels);

/* out[i] = x[i] + y[i], at least low and at most high; out may be the memory of x or y. */
void bnn_mcu_add_shorts(int16_t *out, const int16_t *x, const int16_t *y, int32_t low, int32_t high, size_t count);

/* Bits of sums[pixel][channel]: whether it reaches the channel's threshold, or 0 if `thresholds` is NULL.  Each pixel gets
 * (channels + 31) / 32 words. */
void bnn_mcu_sum_signs(uint32_t *out, const int32_t *sums, const int32_t *thresholds, size_t pixels, size_t channels);

/* Bits of bytes [pixel][channel]: whether one reaches least[channel], from 0 to 256, where the channel's bit of `rising`
 * is set; where it is clear, whether it does not.  rising has the words of a pixel, with zeros beyond the channels. */
void bnn_mcu_byte_signs(uint32_t *out, const uint8_t *in, const uint16_t *least, const uint32_t *rising, size_t pixels,
                        size_t channels);

/* The same of int16. */
void bnn_mcu_short_signs(uint32_t *out, const int16_t *in, const int16_t *least, const uint32_t *rising, size_t pixels,
                         size_t channels);

/* out[i] = table[in[i]] of 256 bytes; out and in may be the same memory. */
void bnn_mcu_lookup(uint8_t *out, const uint8_t *in, const uint8_t *table, size_t count);

enum { BNN_MCU_SUMS = 128 };

/* The numbers of two bytes, of tables of 256, which are added or multiplied.  `period`: how many of the second there are,
 * again and again. */
struct bnn_mcu_pair {
    const int32_t *first, *second;
    int multiplies;
    uint32_t period;
};

/* The sums or products of elements from `begin` on, which are bytes from x[begin] and y[begin % period] on. */
void bnn_mcu_pair_sums(int32_t *out, const uint8_t *x, const uint8_t *y, const struct bnn_mcu_pair *pair, size_t begin,
                       size_t count);
/* The bytes of all elements, by the first multiplier and shift; out may be the memory of x, or of y where it is not
 * repeated. */
void bnn_mcu_pair(uint8_t *out, const uint8_t *x, const uint8_t *y, const struct bnn_mcu_pair *pair,
                  const struct bnn_requantizer *requantizer, size_t count);

/* out[pixel][channel] = 256 times the share that the term table[largest byte of the pixel - byte] has in their sum, at
 * most 255; out and in may be the same memory.  Terms are fractions of 31 bits, not below 0, and table[0] is at least
 * BNN_MCU_LEAST_TERM; there are at most BNN_MCU_MOST_TERMS channels. */
enum { BNN_MCU_LEAST_TERM = 1 << 11, BNN_MCU_MOST_TERMS = (1 << 12) - 1 };
void bnn_mcu_softmax(uint8_t *out, const uint8_t *in, const int32_t *table, size_t pixels, size_t channels);

/* Windows of bytes or int16, as bnn_mcu_windows of floats has them; the rows of the image are `row` elements apart.  max:
 * the maximum; mean: rounded to the nearest, halves away from zero, which is byte 128. */
void bnn_mcu_max_bytes(const struct bnn_mcu_windows *windows, size_t row, const uint8_t *x, uint8_t *out);
void bnn_mcu_max_shorts(const struct bnn_mcu_windows *windows, size_t row, const int16_t *x, int16_t *out);
void bnn_mcu_mean_bytes(const struct bnn_mcu_windows *windows, size_t row, const uint8_t *x, uint8_t *out);
void bnn_mcu_mean_shorts(const struct bnn_mcu_windows *windows, size_t row, const int16_t *x, int16_t *out);

#ifdef __cplusplus
}
#endif

#endif
