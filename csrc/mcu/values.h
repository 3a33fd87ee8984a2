/* SPDX-License-Identifier: Apache-2.0 */
/* Floats: from sums to values, from values to bits and back, pools and resizing, for firmware.  Arrays do not overlap,
 * except as stated.  Floats of a pixel follow each other, and so do the pixels of a row; bits of a pixel begin on a
 * word. */
#ifndef BNN_MCU_VALUES_H
#define BNN_MCU_VALUES_H

#include <stddef.h>
#include <stdint.h>

#include "epilogue.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out[pixel][channel] = the epilogue of in[pixel][channel]; out and in may be the same memory.  residual: as out, or
 * NULL; it may be the memory of out. */
void bnn_mcu_finish(float *out, const float *in, const struct bnn_epilogue *epilogue, const float *residual,
                    size_t pixels, size_t channels);
/* The same of integer sums. */
void bnn_mcu_finish_sums(float *out, const int32_t *in, const struct bnn_epilogue *epilogue, const float *residual,
                         size_t pixels, size_t channels);
/* values[i] = (values[i] + corrections[i]) of integer sums in the same memory: sums of bytes whose zero is a fraction */
void bnn_mcu_correct(float *values, const float *corrections, size_t count);

/* Bits of floats.  The result is nonzero if there was a NaN, whose bit has no meaning.
 * signs: x >= 0, with negative denormals as zeros.
 * signs_at: (x >= thresholds[channel]) != flips bit; flips has the words of a pixel. */
int bnn_mcu_signs(uint32_t *out, const float *in, size_t pixels, size_t channels);
int bnn_mcu_signs_at(uint32_t *out, const float *in, const float *thresholds, const uint32_t *flips, size_t pixels,
                     size_t channels);
/* How many thresholds are <= x, for every x, as a binary number: bit p in plane p.  Planes, at most 8, begin on words.
 * There are 2^planes - 1 thresholds, which rise; those at the end that are NaN are never reached. */
int bnn_mcu_levels(uint32_t *out, const float *in, const float *thresholds, size_t planes, size_t pixels,
                   size_t channels);

/* Bytes of floats: see struct bnn_quantizer. */
void bnn_mcu_quantize(uint8_t *out, const float *in, size_t count, const struct bnn_quantizer *quantizer);

/* How many thresholds are <= each float, 0 for NaN, without an operation on floats.  keys: of the 2^bits - 1 rising
 * thresholds, those that there are not being UINT32_MAX.  The key of a negative float has the float's bits inverted, that
 * of another one its highest bit set, so that keys rise with floats; that of a zero is 2^31 - 1. */
void bnn_mcu_quantize_at(uint8_t *out, const float *in, size_t count, const uint32_t *keys, size_t bits);

/* Bits to +1 and -1. */
void bnn_mcu_unpack(float *out, const uint32_t *in, size_t pixels, size_t channels);
/* Bits to the bytes 2 and 0. */
void bnn_mcu_unpack_bytes(uint8_t *out, const uint32_t *in, size_t pixels, size_t channels);

/* table[n] for the numbers n of bits: bit c of every plane belongs to channel c.  binary: n is a binary number, planes
 * begin on words, and the last value of the table stands for all n past it; otherwise n counts the planes' set bits, and
 * planes follow each other. */
struct bnn_mcu_numbers {
    const float *table;
    uint32_t last; /* index of the last value */
    uint32_t planes;
    int binary;
};
void bnn_mcu_dequantize(float *out, const uint32_t *in, const struct bnn_mcu_numbers *numbers, size_t pixels,
                        size_t channels);

/* Windows of floats; taps outside the image do not count, and each window has one inside.  max: starts at the lowest
 * finite float and skips NaN; sum: row by row.  One output row; x: the image's first float. */
struct bnn_mcu_windows {
    uint16_t height, width, channels; /* of the image */
    uint16_t out_width;
    uint16_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left;
    uint32_t row; /* floats from a row of the image to the next */
};
void bnn_mcu_max_floats(const struct bnn_mcu_windows *windows, size_t row, const float *x, float *out);
void bnn_mcu_sum_floats(const struct bnn_mcu_windows *windows, size_t row, const float *x, float *out);
/* The sum divided by the number of taps inside. */
void bnn_mcu_mean_floats(const struct bnn_mcu_windows *windows, size_t row, const float *x, float *out);

/* Between the pixels low and high of an axis, `distance` from low. */
struct bnn_mcu_place {
    uint16_t low, high;
    float distance;
};
/* A row of a resized image: first along the rows, then between them. */
void bnn_mcu_resize(float *out, const float *in, size_t row, const struct bnn_mcu_place *down,
                    const struct bnn_mcu_place *along, size_t pixels, size_t channels);

#ifdef __cplusplus
}
#endif

#endif
