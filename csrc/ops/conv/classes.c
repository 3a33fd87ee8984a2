/* SPDX-License-Identifier: Apache-2.0 */
/* Border classes (output rows and columns with the same taps inside the image), and the places of pixels. */
#include "ops/conv/conv.h"

struct bnn_conv_range bnn_conv_inside(uint32_t position, uint32_t size, uint32_t kernel, int32_t stride,
                                      int32_t dilation, int32_t before)
{
    /* What is divided fits in 32 bits: halos and images are smaller than 2^17 together. */
    int64_t start = (int64_t)position * stride - before, room = (int64_t)size - start;
    uint32_t step = (uint32_t)dilation, begin = start < 0 ? ((uint32_t)-start + step - 1) / step : 0, end = kernel;
    if (room <= ((int64_t)kernel - 1) * dilation) /* the last tap is outside */
        end = room > 0 ? ((uint32_t)room + step - 1) / step : 0;
    if (begin >= end)
        return (struct bnn_conv_range){0, 0};
    return (struct bnn_conv_range){begin, end};
}

struct axis {
    uint32_t outputs, size, kernel;
    int32_t stride, dilation, before;
};

/* The distinct ranges of an axis (equal ones are neighbours: both ends only fall).  Writes the class of every output
 * position and the range of every class, if memory is given.  Returns the number of classes. */
static size_t classify(const struct axis *axis, uint32_t *class_of, struct bnn_conv_range *ranges)
{
    struct bnn_conv_range last = {0, 0};
    size_t classes = 0;
    for (uint32_t i = 0; i < axis->outputs; i++) {
        struct bnn_conv_range r =
            bnn_conv_inside(i, axis->size, axis->kernel, axis->stride, axis->dilation, axis->before);
        if (i == 0 || r.begin != last.begin || r.end != last.end) {
            last = r;
            if (ranges != NULL)
                ranges[classes] = r;
            classes++;
        }
        if (class_of != NULL)
            class_of[i] = (uint32_t)classes - 1;
    }
    return classes;
}

/* Rows to pass to a kernel at once: together at most MAX_PIXELS pixels, in as few tiles as possible.  If a row does not
 * fill its tiles, the rest takes about two smaller ones.  Every row fills tiles of one pixel, and each row more takes
 * memory for its places. */
static size_t choose_rows(size_t width, size_t height, size_t tile)
{
    enum { MAX_PIXELS = 256 };
    if (tile == 1)
        return 1;
    size_t best = 1, best_tiles = width / tile + (width % tile ? 2 : 0);
    for (size_t rows = 2; rows <= height && rows * width <= MAX_PIXELS; rows++) {
        size_t tiles = rows * width / tile + (rows * width % tile ? 2 : 0);
        if (tiles * best <= best_tiles * rows) {
            best = rows;
            best_tiles = tiles;
        }
    }
    return best;
}

static ptrdiff_t *lay(struct bnn_prepare *p, const struct bnn_conv *conv, size_t row, size_t column)
{
    size_t width = conv->shape.y->w;
    ptrdiff_t *at = bnn_reserve(p, conv->chunk_rows * width, sizeof *at);
    for (size_t i = 0; at != NULL && i < conv->chunk_rows * width; i++)
        at[i] = (ptrdiff_t)(i / width * row + i % width * column); /* inside a tensor, whose size was checked */
    return at;
}

static void lay_places(struct bnn_prepare *p, const struct bnn_op *op, const struct axis *axis, struct bnn_conv *conv)
{
    const struct bnn_conv_shape *s = &conv->shape;
    const struct bnn_tensor *x = s->x, *y = s->y;
    conv->chunk_rows = choose_rows(y->w, y->h, conv->pixels);
    conv->at.in = lay(p, conv, (size_t)s->attrs->stride_h * x->row, (size_t)s->attrs->stride_w * x->words);
    conv->at.out = lay(p, conv, y->row, y->words);
    if (conv->residual)
        conv->at.residual = lay(p, conv, bnn_op_input(p->model, op, (uint32_t)conv->residual)->row, y->c);
    if (!s->binary && !s->bytes)
        return;
    ptrdiff_t *table = lay(p, conv, 0, 0);
    uint32_t *class_of = bnn_reserve(p, axis->outputs, sizeof *class_of);
    conv->at.table = table;
    if (class_of == NULL || table == NULL)
        return;
    classify(axis, class_of, NULL);
    for (size_t i = 0; i < conv->chunk_rows * y->w; i++)
        table[i] = (ptrdiff_t)(class_of[i % y->w] * s->groups * conv->padded);
}

void bnn_conv_classes(struct bnn_prepare *p, const struct bnn_op *op, struct bnn_conv *conv)
{
    const struct bnn_conv_shape *s = &conv->shape;
    const struct bnn_conv_attrs *a = s->attrs;
    struct axis vertical = {s->y->h, s->x->h, s->w->h, a->stride_h, a->dilation_h, a->pad_top};
    struct axis horizontal = {s->y->w, s->x->w, s->w->w, a->stride_w, a->dilation_w, a->pad_left};
    conv->row_classes = classify(&vertical, NULL, NULL);
    uint32_t *row_class = bnn_reserve(p, vertical.outputs, sizeof *row_class);
    struct bnn_conv_range *rows = bnn_reserve(p, conv->row_classes, sizeof *rows);
    conv->row_class = row_class;
    conv->rows = rows;
    if (row_class != NULL && rows != NULL)
        classify(&vertical, row_class, rows);
    lay_places(p, op, &horizontal, conv);
    if (!s->binary && !s->bytes)
        return; /* zeros outside need no correction */

    conv->column_classes = classify(&horizontal, NULL, NULL);
    struct bnn_conv_range *columns = bnn_reserve(p, conv->column_classes, sizeof *columns);
    conv->columns = columns;
    if (columns != NULL)
        classify(&horizontal, NULL, columns);
}
