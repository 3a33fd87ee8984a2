/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of bits and bytes for little memory, one output pixel after the other: what the family `flash` has
 * instead of tiles.  conv.h says what is computed.
 *
 * Nothing is prepared by border class, and no place is listed.  The taps of a window that count are gathered, so that a
 * sum needs no correction: it is compared with the file's threshold.  What bits and bytes have in common is in flash.c;
 * each has a file of its own, so that a program has what it selects. */
#ifndef BNN_CONV_FLASH_H
#define BNN_CONV_FLASH_H

#include "ops/conv/conv.h"

enum { BNN_FLASH_BLOCK = 32 /* output channels at once: a word of bits */ };

/* An opened layer. */
struct bnn_flash {
    struct bnn_conv_shape shape;
    /* Bytes: see flash_bytes.c.  Sums are in units of 2^-shift. */
    const uint32_t *signs;
    const int32_t *zeros;
    uint32_t shift;
};

/* One output pixel at a time. */
struct bnn_flash_job {
    const struct bnn_run *run;
    const struct bnn_flash *layer;
    struct bnn_conv_range rows, columns; /* taps inside the image */
    const unsigned char *x;              /* the window, which may begin in the rim */
    const uint32_t *window;              /* gathered; of bits, the first plane's, */
    size_t plane;                        /* and words from one plane's to the next's */
    size_t filled;                       /* bytes: the value where the tables in memory begin */
};

/* What the two kinds do: gather the window of a group, and sum from output channel `first` on, all of that group. */
struct bnn_flash_kind {
    void (*gather)(struct bnn_flash_job *job, size_t group);
    void (*sum)(struct bnn_flash_job *job, size_t first, size_t channels, int32_t *sums);
};

/* The rest of a row's prepare; words: of the scratch memory. */
void bnn_flash_prepare(struct bnn_prepare *p, struct bnn_op *op, const struct bnn_flash *layer, size_t words);
void bnn_flash_run(const struct bnn_run *r, const struct bnn_flash_kind *kind);

/* Words of a window, or its values; below 2^24. */
static inline size_t bnn_flash_window(const struct bnn_conv_shape *s)
{
    return (size_t)s->w->h * s->w->w * (s->bytes ? s->x->c : s->w->words);
}

static inline uint32_t bnn_flash_length(struct bnn_conv_range range)
{
    return range.end - range.begin;
}

static inline uint32_t bnn_flash_bit(const uint32_t *words, size_t i)
{
    return words[i / 32] >> i % 32 & 1;
}

/* Whether a tap is inside the image. */
static inline int bnn_flash_inside(const struct bnn_flash_job *j, uint32_t y, uint32_t x)
{
    return y - j->rows.begin < bnn_flash_length(j->rows) && x - j->columns.begin < bnn_flash_length(j->columns);
}

#endif
