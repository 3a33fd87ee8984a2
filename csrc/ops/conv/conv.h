/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of bits, of bytes and of floats: one driver for all, over the kernels' tiles.  (flash.c has another one,
 * for little memory.)
 *
 * Bits.  With tail bits zero in both operands and padding read from the halo as zero bits (-1), the tile counts the
 * differing bits p of every tap it reads.  For an output pixel, I are the taps inside the image, R the taps that are
 * read (whole kernel rows, those with a row of the image: I is in R), and |w| the set bits of a tap of filter o:
 *
 *     the sum over I is   C |I| - 2 (p - sum of |w| over R without I)          C channels; the halo differs where w is 1
 *     a tap outside adds  pad_value * (2 |w| - C)
 *     accumulator = correction - 2 p,
 *     correction  = C |I| + 2 sum over R without I of |w| + pad_value * sum outside I of (2 |w| - C)
 *
 * The correction depends on o and on which taps are inside, so only on a row class and a column class of the pixel.
 * Padding of any value needs nothing else.  A threshold t becomes a limit on p:
 *
 *     accumulator >= t  <=>  p < floor((correction - t) / 2) + 1.
 *
 * Bytes.  Weights are signs, or the means of two (-1, 0, +1).  Padding is z, the zero of a channel, and halos are zero
 * bytes.  With the sum s of byte times weight over the taps that are read,
 *
 *     accumulator = s + correction,   correction = -sum of z times weights over I,
 *
 * and with a threshold t the bit is s + (correction - t) >= 0.  All of these are exact as floats: integers below 2^24,
 * or, if z is not an integer, multiples of a fraction, below 2^24 times the fraction.  With int8 weights they are
 * integers of 32 bits, and their sum is rounded to a float; or requantized, with the bias in the correction.
 *
 * Bits that become bytes have no epilogue: BNN_BIT_STEPS times the accumulator, plus a bias, is an integer below 2^31,
 * and the correction with the bias is a table of integers.
 *
 * Several planes.  If the data are binary numbers, the accumulator is the sum over planes i of 2^i times the
 * accumulator of plane i.  A kernel runs once per plane, from the highest to the lowest, over the same weights.  With T
 * the sum of the planes above, in multiples of half the current plane's weight, it gets the correction 2 T + correction
 * instead.  The last plane's run has the epilogue, or the limits T + floor((correction - t) / 2) + 1.
 *
 * Memory.  The taps of a kernel row are contiguous (one segment) unless it is dilated or there are groups or planes;
 * then every tap is a segment.  Channels of a group are padded to whole blocks of the kernels' lanes in weights, tables
 * and operands. */
#ifndef BNN_CONV_H
#define BNN_CONV_H

#include "ops/check.h"

/* The shape from the file, checked. */
struct bnn_conv_shape {
    const struct bnn_tensor *x, *w, *y;
    const struct bnn_conv_attrs *attrs;
    int binary, bytes, depthwise;
    uint32_t sign_planes;       /* planes of signs in byte filters, 1 or 2 */
    size_t groups;              /* 1 for depthwise: its channels are lanes */
    size_t outputs;             /* channels of a group */
    size_t group_words;         /* elements of a group's channels in an input pixel */
    size_t planes, plane_words; /* planes of bits, and the words of one in an input pixel */
};

/* Whether bytes are summed by int8 weights, not by signs. */
static inline int bnn_conv_is_quantized(const struct bnn_conv_shape *s)
{
    return s->w->dtype == BNN_I8;
}

struct bnn_conv_range {
    uint32_t begin, end;
};

/* Offsets of pixels in the input, the tables, the output and the residual, in elements. */
struct bnn_conv_places {
    const ptrdiff_t *in, *table, *out, *residual;
};

struct bnn_conv {
    struct bnn_conv_shape shape;
    const struct bnn_byte_kernels *packed; /* of a dense layer of bytes whose weights stay packed; otherwise NULL */
    size_t pixels;                         /* height of the kernels' tiles */
    size_t lanes, padded;                  /* block width; a group's outputs, rounded up to whole blocks */
    size_t chunk_rows;                     /* rows of an image passed to a kernel at once; the places cover them */
    struct bnn_conv_places at;             /* of their pixels, relative to the first of these rows */
    size_t row_segments, length;           /* segments of a kernel row, words of a segment */
    const ptrdiff_t *segments;             /* of all kernel rows */
    const uint32_t *weights; /* words, or floats: [group][block][tap word][lane]; depthwise: [tap][channel] */
    size_t row_weights;      /* elements of a kernel row in a block */
    size_t block_weights, group_weights;
    size_t row_classes, column_classes;
    const uint32_t *row_class; /* by output row */
    /* Kernel rows inside the image, by row class; for bits and bytes the columns, by column class. */
    const struct bnn_conv_range *rows, *columns;
    union {
        const float *corrections; /* [row class][column class][group][padded] */
        const int32_t *raw_whole; /* by int8 weights: without a threshold */
    };
    const int32_t *limits; /* the same, if there is a threshold */
    union {
        const float *margins; /* likewise, for bytes: corrections minus thresholds */
        const int32_t *whole; /* by int8 weights: corrections minus thresholds, or plus biases; of bits: the latter */
    };
    struct bnn_epilogue epilogue, raw_epilogue;
    struct bnn_requantizer requantizer; /* of bytes */
    const uint8_t *least;               /* of a comparison of bytes; otherwise NULL */
    const uint32_t *flips;              /* which channels have the opposite bit */
    int residual, raw_residual;         /* input number, or 0 */
};

/* Its operands begin at a later channel. */
static inline void bnn_conv_move_epilogue(struct bnn_epilogue *epilogue, size_t channel)
{
    const float **operands[] = BNN_EPILOGUE_OPERANDS(epilogue);
    for (size_t i = 0; i < sizeof operands / sizeof operands[0]; i++)
        if (*operands[i] != NULL)
            *operands[i] += channel;
}

/* Validates types, shapes, attributes and operands; fills the shape. */
bnn_status bnn_conv_check(struct bnn_prepare *p, const struct bnn_op *op, struct bnn_conv_shape *shape);
/* The slots of requantization, of a layer that has any or gives bytes. */
#define BNN_WHOLE_SLOTS (BNN_SLOT_BIAS | BNN_SLOT_MULTIPLIER | BNN_SLOT_SHIFT | BNN_SLOT_RANGE)
bnn_status bnn_conv_check_requantizer(struct bnn_prepare *p, const struct bnn_op *op,
                                      const struct bnn_conv_shape *shape);
/* Taps k of an axis with 0 <= position * stride + k * dilation - before < size: always a range; [0, 0) if empty. */
struct bnn_conv_range bnn_conv_inside(uint32_t position, uint32_t size, uint32_t kernel, int32_t stride,
                                      int32_t dilation, int32_t before);
/* Border classes and places.  Needs all the rest. */
void bnn_conv_classes(struct bnn_prepare *p, const struct bnn_op *op, struct bnn_conv *conv);
/* For bits and bytes: the corrections at each border class, and with a threshold the limits or margins. */
void bnn_conv_correct(struct bnn_prepare *p, const struct bnn_op *op, struct bnn_conv *conv);
/* Room for filters of `words` packed elements: [group][block][words][lane]; for depthwise, [words][channel]. */
void *bnn_conv_reserve_weights(struct bnn_prepare *p, struct bnn_conv *conv, size_t words);

/* What the kernels of a convolution need. */
struct bnn_conv_kernels {
    bnn_tile_kernel *values; /* NULL: there are none */
    size_t pixels, lanes;
    void (*pack)(struct bnn_prepare *p, struct bnn_conv *conv);
    void (*correct)(struct bnn_prepare *p, const struct bnn_op *op, struct bnn_conv *conv); /* NULL: nothing to do */
    const struct bnn_byte_kernels *packed;                                                  /* see struct bnn_conv */
};

/* What all rows' prepare does. */
bnn_status bnn_conv_prepare(struct bnn_prepare *p, struct bnn_op *op, const struct bnn_conv_kernels *kernels);
/* The number of parts into which the output channels can be divided, in order: blocks of the kernels' lanes, or groups
 * if the bits of groups share words. */
size_t bnn_conv_blocks(const struct bnn_conv *conv);

/* Bytes that a worker needs while a convolution runs. */
size_t bnn_conv_scratch(const struct bnn_conv *conv);

/* A convolution of several planes: one call's tile, with the a, table, corrections and limits of plane 0 alone.
 * `limits`: whether the output is bits by limits.  Returns like the kernels. */
int bnn_conv_planes(const struct bnn_kernels *kernels, const struct bnn_conv *conv, const struct bnn_tile *tile,
                    int limits, void *scratch);
size_t bnn_conv_planes_scratch(const struct bnn_conv *conv);

void bnn_conv_run(const struct bnn_run *r);

/* a * b; an overflow marks the preparation as failed and gives 0. */
static inline size_t bnn_conv_product(struct bnn_prepare *p, size_t a, size_t b)
{
    if (b != 0 && a > SIZE_MAX / b) {
        p->failed = 1;
        return 0;
    }
    return a * b;
}

/* Numbers in a table by border class and filter. */
static inline size_t bnn_conv_table(struct bnn_prepare *p, const struct bnn_conv *conv)
{
    size_t classes = bnn_conv_product(p, conv->row_classes, conv->column_classes);
    return bnn_conv_product(p, classes, bnn_conv_product(p, conv->shape.groups, conv->padded));
}

#endif
