/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions for firmware: plain functions over const descriptors, which, like weights and tables, may lie in flash
 * and are used in place.  A dense layer is a convolution with a window of one row and an image of one pixel.
 *
 * A call computes one output row of one image.  Nothing is allocated, no state is kept: threads may call these at
 * once. Arrays do not overlap, except as stated; words, sums and floats are aligned to 4 bytes.  The instructions that
 * a call takes depend on its descriptor alone, never on data, weights or tables (floats: where the processor has an
 * FPU).
 *
 * Images and padding.  An image has a rim of zeros wherever windows reach beyond it: every element of every window is
 * read.  So `x`, the first element of the window of output pixel (0, 0), may lie in the rim.  Padding of other values,
 * and what the zeros of the rim add, is in the tables, by border class.
 *
 * Border classes.  Output pixels whose windows have the same taps inside the image form a class, with a row of the
 * table. classes[row] + classes[height + column] is the number of a pixel's class, for `height` output rows: the first
 * `height` numbers are multiples of the number of column classes.  `classes` is NULL if all classes agree; then the
 * table has one row.
 *
 * Groups are separate calls, with pointers to the first channels of each.  Those of bits need whole words: in groups
 * that begin within a word, take sums.
 *
 * Bits.  Channel c of a pixel is bit c % 32 of word c / 32; a set bit is +1, a clear one -1; bits beyond the channels
 * are zero in images and weights, and in what these functions write.  Of the taps of a window, `differing` have other
 * bits than the weights. */
#ifndef BNN_MCU_CONV_H
#define BNN_MCU_CONV_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The geometry of a layer.  Distances are in elements of the image: words, bytes or floats.  Every number is at least
 * 1, except distances that are not used. */
struct bnn_mcu_shape {
    uint16_t width;              /* pixels of an output row */
    uint16_t outputs;            /* channels of an output pixel, of one group */
    uint16_t rows, taps, length; /* the window: in every row, `taps` runs of `length` elements */
    uint16_t out_pixel;          /* from an output pixel to the next, in elements of the output */
    uint32_t row;                /* from the window of one output row to that of the next */
    uint32_t pixel;              /* from the window of one output pixel to that of the next */
    uint32_t window_row;         /* from a row of the window to the next: dilation times the image's row */
    uint32_t tap; /* from a run to the next; in a window without dilation, groups or planes, a row is one run */
};

/* Bits by bits. */
struct bnn_mcu_conv {
    /* [output][window], a window as rows * taps * length words, in this order: the layout of .bnn files */
    const uint32_t *weights;
    /* [class][output]: limits for bits, corrections for sums */
    const int16_t *table;
    const uint8_t *classes;
    uint16_t height; /* of `classes` */
    uint16_t bits;   /* of a tap, for functions called `shared`; others ignore it */
    struct bnn_mcu_shape shape;
};

/* Bits: a channel's bit is (differing < limit).  `out` is the first word of the output row; each pixel gets
 * (outputs + 31) / 32 words.  Sums: correction - 2 * differing.  `out` is the first sum of the output row.
 *
 * `window`: memory for one window, rows * taps * length words; if rows and taps are 1, it is not used and may be NULL.
 * x, of type uint32_t, is as above, for row 0 whatever `row` is.
 *
 * The functions whose names end in a number are for windows of that many words, in all: they take fewer
 * instructions. */
void bnn_mcu_conv_bits(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                       uint32_t *window);
void bnn_mcu_conv_bits_2(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                         uint32_t *window);
void bnn_mcu_conv_bits_4(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                         uint32_t *window);
void bnn_mcu_conv_bits_9(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                         uint32_t *window);
void bnn_mcu_conv_bits_18(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                          uint32_t *window);
void bnn_mcu_conv_bits_36(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                          uint32_t *window);
void bnn_mcu_conv_sums(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out, uint32_t *window);
void bnn_mcu_conv_sums_2(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                         uint32_t *window);
void bnn_mcu_conv_sums_4(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                         uint32_t *window);
void bnn_mcu_conv_sums_9(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                         uint32_t *window);
void bnn_mcu_conv_sums_18(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                          uint32_t *window);
void bnn_mcu_conv_sums_36(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                          uint32_t *window);

/* The same for taps whose `bits` channels do not fill their `length` = (bits + 31) / 32 words (each tap is a run):
 * they follow each other without gaps.  In the weights, bit i of tap t is bit (t * bits + i) % 32 of word (t * bits +
 * i) / 32; a filter has rows * taps * bits bits, rounded up to whole words, with zeros at the end.  `window` has as
 * many words.  With 5 words: 3 x 3 taps of 16 channels. */
void bnn_mcu_conv_bits_shared(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                              uint32_t *window);
void bnn_mcu_conv_bits_shared_5(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                                uint32_t *window);
void bnn_mcu_conv_sums_shared(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                              uint32_t *window);
void bnn_mcu_conv_sums_shared_5(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                                uint32_t *window);

/* The same with the weights of four filters interleaved, for processors whose vectors have four lanes (Armv8.1-M with
 * MVE; elsewhere these are slow): [output / 4][word of the window][4].  Weights and the table's rows are padded with
 * zeros to a multiple of four outputs; what is written is not. */
void bnn_mcu_conv_bits_quads(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                             uint32_t *window);
void bnn_mcu_conv_bits_quads_9(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                               uint32_t *window);
void bnn_mcu_conv_bits_quads_18(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                                uint32_t *window);
void bnn_mcu_conv_bits_quads_36(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, uint32_t *out,
                                uint32_t *window);
void bnn_mcu_conv_sums_quads(const struct bnn_mcu_conv *layer, size_t row, const uint32_t *x, int32_t *out,
                             uint32_t *window);

/* Binary numbers by bits: plane p of the image, of weight 2^p, is `plane` words after plane p - 1.  `differing` is the
 * sum over planes of 2^p times those of the plane.  The table is `wide` instead of conv.table. */
struct bnn_mcu_planes {
    struct bnn_mcu_conv conv;
    const int32_t *wide; /* [class][output] */
    uint32_t plane;
    uint16_t planes;
};

/* `window`: as above, for each plane. */
void bnn_mcu_planes_bits(const struct bnn_mcu_planes *layer, size_t row, const uint32_t *x, uint32_t *out,
                         uint32_t *window);
void bnn_mcu_planes_sums(const struct bnn_mcu_planes *layer, size_t row, const uint32_t *x, int32_t *out,
                         uint32_t *window);

/* Every channel by itself: `length` words of channels, whose taps are each a run.  A channel's bit is (differing <
 * limit).  Limits are binary numbers of `planes` digits, as many as taps + 1 has (at most 16). */
struct bnn_mcu_depthwise {
    const uint32_t *weights; /* [word][row][tap] */
    const uint32_t *table;   /* [class][word][plane]: bit c of plane p is digit p of the limit of channel c of the word;
                                limits of bits beyond the channels are 0 */
    const uint8_t *classes;
    uint16_t height;
    uint16_t planes;
    struct bnn_mcu_shape shape;
};

/* `out`: as above.  For limits of four digits (7 to 14 taps; 3 x 3) there is a function that takes fewer
 * instructions. */
void bnn_mcu_depthwise_bits(const struct bnn_mcu_depthwise *layer, size_t row, const uint32_t *x, uint32_t *out);
void bnn_mcu_depthwise_bits_4(const struct bnn_mcu_depthwise *layer, size_t row, const uint32_t *x, uint32_t *out);

/* Bytes (0 to 255) by signs, or by means of two signs: -1, 0 and +1.  With the sum s of products, a bit is (s >= limit)
 * and a sum s + correction, or s if `table` is NULL; |s| and limits are at most 2^30 / planes. */
struct bnn_mcu_bytes {
    /* [word][plane][output], a word for every 32 bytes of a window: bit i of word k is the sign of byte 32 k + i, set
     * for +1; zeros at the end */
    const uint32_t *weights;
    const int32_t *table; /* [class][output] */
    const uint8_t *classes;
    uint16_t height;
    uint16_t planes; /* of signs: 1 or 2; a weight is the mean of its signs */
    struct bnn_mcu_shape shape;
};

/* `sums`: memory for the sums of one pixel, `outputs` of them.  On the stack are tables of 300 bytes.  The functions
 * whose names end in a number are for windows of that many bytes: they take fewer instructions. */
void bnn_mcu_bytes_bits(const struct bnn_mcu_bytes *layer, size_t row, const uint8_t *x, uint32_t *out, int32_t *sums);
void bnn_mcu_bytes_bits_9(const struct bnn_mcu_bytes *layer, size_t row, const uint8_t *x, uint32_t *out,
                          int32_t *sums);
void bnn_mcu_bytes_bits_27(const struct bnn_mcu_bytes *layer, size_t row, const uint8_t *x, uint32_t *out,
                           int32_t *sums);
void bnn_mcu_bytes_sums(const struct bnn_mcu_bytes *layer, size_t row, const uint8_t *x, int32_t *out);

/* Bytes by int8 weights: sums of products, and the table's numbers added.  All are below 2^31. */
struct bnn_mcu_int8 {
    const int8_t *weights; /* [output][window], each with zeros up to a multiple of four */
    const int32_t *table;  /* [class][output] */
    const uint8_t *classes;
    uint16_t height;
    struct bnn_mcu_shape shape;
};

void bnn_mcu_int8_sums(const struct bnn_mcu_int8 *layer, size_t row, const uint8_t *x, int32_t *out);
/* The same by two pixels at a time, which takes fewer instructions.  `window`: memory for the windows of both, each
 * rounded up to 16 bytes. */
void bnn_mcu_int8_pairs(const struct bnn_mcu_int8 *layer, size_t row, const uint8_t *x, int32_t *out, uint8_t *window);
/* Every channel by itself, as below; weights are [row][tap][output]. */
void bnn_mcu_depthwise_int8(const struct bnn_mcu_int8 *layer, size_t row, const uint8_t *x, int32_t *out);

/* Floats.  A sum begins with zero, and products are added in the window's order, each rounded once: the bytes of the
 * runtime's portable kernels, if the compiler does not contract (see functions.h). */
struct bnn_mcu_floats {
    const float *weights; /* [output][window]; depthwise: [row][tap][output] */
    struct bnn_mcu_shape shape;
};

void bnn_mcu_conv_floats(const struct bnn_mcu_floats *layer, size_t row, const float *x, float *out);
/* Every channel by itself: sum c is that of element c of the runs, whose length is `outputs` (`length` is ignored;
 * every tap is a run). */
void bnn_mcu_depthwise_floats(const struct bnn_mcu_floats *layer, size_t row, const float *x, float *out);

#ifdef __cplusplus
}
#endif

#endif
