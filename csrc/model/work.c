/* SPDX-License-Identifier: Apache-2.0 */
/* The cost of ops in the units of bnn.h, for threads, limits and polls. */
#include "model/internal.h"

enum {
    FLOATS = 8, /* products for one unit */
    BYTES = 16,
    BITS = 128
};

struct bnn_products bnn_op_products(const struct bnn_model *m, const struct bnn_op *op)
{
    struct bnn_products products = {0, 0, 0};
    if (bnn_is_conv(op)) {
        int signs = op->row->opcode == BNN_OP_iconv2d, bytes = signs || op->row->opcode == BNN_OP_qconv2d;
        const struct bnn_conv_attrs *a = op->attrs;
        const struct bnn_tensor *filters = bnn_op_input(m, op, 1);
        uint64_t channels = signs ? bnn_op_input(m, op, 0)->c : filters->c; /* of two planes, the signs of one */
        uint64_t products_of_one = (uint64_t)filters->h * filters->w * channels * (uint64_t)a->planes; /* below 2^24 */
        *(bytes                               ? &products.byte
          : op->row->opcode == BNN_OP_bconv2d ? &products.binary
                                              : &products.floating) =
            bnn_times(products_of_one, bnn_elements(&m->tensors[op->output]));
    }
    return products;
}

uint64_t bnn_op_work(const struct bnn_model *m, const struct bnn_op *op)
{
    if (op->row->work != NULL)
        return op->row->work(m, op);
    uint64_t elements = bnn_elements(&m->tensors[op->output]);
    if (bnn_is_conv(op)) {
        struct bnn_products products = bnn_op_products(m, op);
        return bnn_plus(elements, products.binary / BITS + products.byte / BYTES + products.floating / FLOATS);
    }
    return bnn_times(elements, op->row->cost != 0 ? op->row->cost : 1);
}

/* Pieces that an op can be cut into, and the work that the largest has beside its share. */
struct pieces {
    uint64_t count, beside;
};

static struct pieces pieces_of(const struct bnn_model *m, const struct bnn_op *op)
{
    const struct bnn_tensor *t = &m->tensors[op->output];
    /* The halo rows above and below belong to the first and the last row of the image. */
    struct pieces pieces = {.count = t->h, .beside = (uint64_t)(t->top + t->bottom) * t->row};
    if (bnn_is_conv(op)) {
        uint64_t groups = (uint64_t)((const struct bnn_conv_attrs *)op->attrs)->groups;
        int depthwise = groups > 1 && bnn_op_input(m, op, 1)->c == 1;
        /* A block of channels of a pixel is far below any limit: 64 sums, each of fewer than 2^24 products. */
        pieces.count = bnn_times(pieces.count * t->w, depthwise ? 1 : groups > 1 ? groups : t->c);
    }
    return pieces;
}

int bnn_op_fits(const struct bnn_model *m, const struct bnn_op *op, uint64_t most)
{
    struct pieces pieces = pieces_of(m, op);
    return pieces.beside <= most && bnn_op_work(m, op) <= bnn_times(most - pieces.beside, pieces.count);
}

uint64_t bnn_op_piece(const struct bnn_model *m, const struct bnn_op *op)
{
    struct pieces pieces = pieces_of(m, op);
    return bnn_plus(bnn_parts(bnn_op_work(m, op), pieces.count), pieces.beside);
}

enum { ENOUGH = 2048 }; /* bytes of a band that need not be small: each costs a call of the convolution */

struct bnn_band bnn_band_of(const struct bnn_model *m, const struct bnn_op *taker)
{
    const struct bnn_pool_attrs *a = taker->attrs;
    const struct bnn_tensor *t = bnn_op_input(m, taker, 0);
    int windows = taker->row->opcode == BNN_OP_max_pool;
    size_t kernel = windows ? (size_t)a->kernel_h : 1, stride = windows ? (size_t)a->stride_h : 1;
    size_t row = t->row * t->element;
    size_t most = (size_t)ENOUGH / row, more = most > kernel ? (most - kernel) / stride : 0;
    size_t rows = more * stride + kernel;
    rows = rows < t->h ? rows : t->h; /* so that their bytes are part of a tensor's, whose size was checked */
    return (struct bnn_band){.outputs = more + 1, .rows = rows, .bytes = (size_t)bnn_lines(rows * row)};
}
