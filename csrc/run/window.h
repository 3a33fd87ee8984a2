/* SPDX-License-Identifier: Apache-2.0 */
/* Windows of convolutions and pools: how many there are, and how far they reach into an image. */
#ifndef BNN_WINDOW_H
#define BNN_WINDOW_H

#include "model/internal.h"

/* The output's length along an axis, or 0 if the window is larger than the padded image. */
static inline uint64_t bnn_window_count(uint32_t size, uint32_t kernel, int32_t stride, int32_t dilation,
                                        int32_t before, int32_t after)
{
    int64_t room = (int64_t)size + before + after - ((int64_t)kernel - 1) * dilation - 1;
    if (room < 0)
        return 0;
    /* room / stride, in halves of 32 bits: small processors have no larger division. */
    uint32_t half = (uint32_t)(room / 2), step = (uint32_t)stride;
    uint32_t rest = half % step * 2 + (uint32_t)(room % 2);
    return (uint64_t)(half / step) * 2 + rest / step + 1;
}

/* The taps of a window along one axis that lie inside the image: [begin, end), at least one. */
struct bnn_taps {
    size_t begin, end;
};

static inline struct bnn_taps bnn_pool_taps(size_t position, int32_t stride, int32_t kernel, int32_t pad, size_t size)
{
    size_t start = position * (size_t)stride, before = (size_t)pad;
    size_t end = start + (size_t)kernel - before; /* pool.c: a pad is smaller than the kernel */
    struct bnn_taps taps = {start > before ? start - before : 0, end < size ? end : size};
    return taps;
}

/* The rows of its first input that an op reads for row y of its output, if the op can take rows: those of a max-pool's
 * windows, or the same row. */
static inline struct bnn_taps bnn_rows_taken(const struct bnn_op *op, size_t y, size_t height)
{
    const struct bnn_pool_attrs *a = op->attrs;
    if (op->row->opcode == BNN_OP_max_pool)
        return bnn_pool_taps(y, a->stride_h, a->kernel_h, a->pad_top, height);
    return (struct bnn_taps){y, y + 1};
}

/* The largest number of taps of a window inside the image, along one axis and in total. */
static inline uint32_t bnn_pool_reach(int32_t kernel, uint32_t size)
{
    return (uint32_t)kernel < size ? (uint32_t)kernel : size;
}

static inline uint64_t bnn_pool_window(const struct bnn_pool_attrs *a, const struct bnn_tensor *in)
{
    return (uint64_t)bnn_pool_reach(a->kernel_h, in->h) * bnn_pool_reach(a->kernel_w, in->w);
}

#endif
