/* SPDX-License-Identifier: Apache-2.0 */
/* Pixels, rows and bits of tensors in memory, and loops over them, for all ops. */
#ifndef BNN_VIEW_H
#define BNN_VIEW_H

#include "model/internal.h"

/* Row y of image i of a view: the first word of its first pixel inside the halo. */
static inline uint32_t *bnn_row_words(const struct bnn_view *v, size_t i, size_t y)
{
    return (uint32_t *)v->data + i * v->image + (y - v->first) * v->tensor->row;
}

static inline float *bnn_row_floats(const struct bnn_view *v, size_t i, size_t y)
{
    return (float *)v->data + i * v->image + (y - v->first) * v->tensor->row;
}

/* The same for any type. */
static inline unsigned char *bnn_row_bytes(const struct bnn_view *v, size_t i, size_t y)
{
    return (unsigned char *)v->data + (i * v->image + (y - v->first) * v->tensor->row) * v->tensor->element;
}

static inline int16_t *bnn_row_shorts(const struct bnn_view *v, size_t i, size_t y)
{
    return (int16_t *)(void *)bnn_row_bytes(v, i, y);
}

/* Bits that a number takes: 0 of 0, 3 of 4 to 7. */
static inline uint32_t bnn_bit_length(uint32_t n)
{
    uint32_t bits = 0;
    for (; n > 0; n >>= 1)
        bits++;
    return bits;
}

/* Bytes, signed or not. */
static inline int bnn_are_bytes(const struct bnn_tensor *t)
{
    return t->dtype == BNN_U8 || t->dtype == BNN_I8;
}

/* One pixel of c channels to bits (x >= 0, tail bits zero) and back (+1 and -1). */
void bnn_pack_pixel(uint32_t *bits, const float *values, size_t c);
void bnn_unpack_pixel(float *values, const uint32_t *bits, size_t c);

/* Whether a tensor can hold the values: bytes are whole numbers from 0 to 255, or -128 to 127; int16 likewise. */
int bnn_hold(const struct bnn_tensor *t, const float *values, size_t count);

/* for (size_t i = 0; i < n; i++) { ... }, in blocks of 16 first: gcc vectorizes loops at -O2 only if the number of steps
 * is a constant.  The pointer that is written must be a restrict parameter of the function: gcc ignores restrict on local
 * variables here. */
#define BNN_FOR_BLOCKS(i, n, ...)                         \
    do {                                                  \
        size_t block_ = 0;                                \
        for (; (n) - block_ >= 16; block_ += 16) {        \
            for (size_t lane_ = 0; lane_ < 16; lane_++) { \
                size_t i = block_ + lane_;                \
                __VA_ARGS__                               \
            }                                             \
        }                                                 \
        for (; block_ < (n); block_++) {                  \
            size_t i = block_;                            \
            __VA_ARGS__                                   \
        }                                                 \
    } while (0)

#endif
