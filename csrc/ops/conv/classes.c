/* SPDX-License-Identifier: Apache-2.0 */
/* Border classes (output rows and columns with the same taps inside the image), and the places of pixels. */
#include "bits.h"
#include "ops/conv/conv.h"

/* Taps k of an axis with 0 <= position * stride + k * dilation - before < size: always a range; [0, 0) if empty. */
static struct bnn_conv_range inside(uint32_t position, uint32_t size, uint32_t kernel, int32_t stride, int32_t dilation,
                                    int32_t before)
{
    int64_t start = (int64_t)position * stride - before, room = (int64_t)size - start;
    int64_t begin = start < 0 ? (-start + dilation - 1) / dilation : 0, end = kernel;
    if (room <= ((int64_t)kernel - 1) * dilation) /* the last tap is outside */
        end = room > 0 ? (room + dilation - 1) / dilation : 0;
    if (begin >= end)
        return (struct bnn_conv_range){0, 0};
    return (struct bnn_conv_range){(uint32_t)begin, (uint32_t)end};
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
        struct bnn_conv_range r = inside(i, axis->size, axis->kernel, axis->stride, axis->dilation, axis->before);
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

/* Set bits of a filter's taps, summed from the first: sums[y * (kernel width + 1) + x] over rows < y, columns < x. */
static void sum_taps(const struct bnn_tensor *w, uint32_t filter, int32_t *sums)
{
    size_t width = (size_t)w->w + 1;
    const uint32_t *word = (const uint32_t *)w->data + (size_t)filter * w->h * w->w * w->words;
    for (size_t x = 0; x < width; x++)
        sums[x] = 0;
    for (size_t y = 1; y <= w->h; y++) {
        int32_t row = 0;
        sums[y * width] = 0;
        for (size_t x = 1; x < width; x++) {
            for (uint32_t i = 0; i < w->words; i++)
                row += (int32_t)bnn_popcount(*word++);
            sums[y * width + x] = sums[(y - 1) * width + x] + row;
        }
    }
}

static int32_t set_bits(const int32_t *sums, size_t width, struct bnn_conv_range rows, struct bnn_conv_range columns)
{
    return sums[rows.end * width + columns.end] - sums[rows.begin * width + columns.end] -
           sums[rows.end * width + columns.begin] + sums[rows.begin * width + columns.begin];
}

/* See conv.h.  sums: memory for (kernel height + 1) * (kernel width + 1). */
static void correct_bits(const struct bnn_conv *conv, const struct bnn_conv_range *columns, float *corrections,
                         int32_t *sums)
{
    const struct bnn_conv_shape *s = &conv->shape;
    const struct bnn_conv_range all_rows = {0, s->w->h}, all_columns = {0, s->w->w};
    int32_t channels = (int32_t)s->w->c, products = (int32_t)(s->w->h * s->w->w) * channels;
    size_t width = (size_t)s->w->w + 1;
    for (uint32_t o = 0; o < s->w->o; o++) {
        float *correction = corrections + o / s->outputs * conv->padded + o % s->outputs;
        sum_taps(s->w, o, sums);
        int32_t all = set_bits(sums, width, all_rows, all_columns);
        for (size_t rc = 0; rc < conv->row_classes; rc++) {
            struct bnn_conv_range rows = conv->rows[rc];
            int32_t read = set_bits(sums, width, rows, all_columns);
            for (size_t cc = 0; cc < conv->column_classes; cc++, correction += s->groups * conv->padded) {
                int32_t inside = set_bits(sums, width, rows, columns[cc]);
                int32_t inside_products =
                    (int32_t)((rows.end - rows.begin) * (columns[cc].end - columns[cc].begin)) * channels;
                int32_t outside = 2 * (all - inside) - (products - inside_products);
                *correction = (float)(inside_products + 2 * (read - inside) + s->attrs->pad_value * outside);
            }
        }
    }
}

/* The smallest p with correction - 2 p < threshold, by floor division; 0: even with no differing bits the sum is too
 * low. */
static int64_t limit(int32_t correction, int32_t threshold)
{
    int64_t twice = (int64_t)correction - threshold;
    return (twice < 0 ? -((1 - twice) / 2) : twice / 2) + 1;
}

static void fill_limits(const struct bnn_conv *conv, const int32_t *thresholds, int32_t *limits, size_t classes)
{
    const struct bnn_conv_shape *s = &conv->shape;
    const float *correction = conv->corrections;
    /* Limits are below 2^30 + 2^23, as corrections are below 2^24.  With several planes, the sum of the planes above
     * the last is added at run time: it is below 2^24, and may raise a limit from below 0 to above 0. */
    const int64_t least = s->planes > 1 ? INT32_MIN : 0;
    for (size_t class = 0; class < classes; class ++)
        for (size_t g = 0; g < s->groups; g++)
            for (size_t c = 0; c < conv->padded; c++, correction++) {
                int64_t value = c < s->outputs ? limit((int32_t)*correction, thresholds[g * s->outputs + c]) : 0;
                *limits++ = (int32_t)(value < least ? least : value);
            }
}

/* Rows to pass to a kernel at once: together at most MAX_PIXELS pixels, in as few tiles as possible.  If a row does not
 * fill its tiles, the rest takes about two smaller ones. */
static size_t choose_rows(size_t width, size_t height, size_t tile)
{
    enum { MAX_PIXELS = 256 };
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
    void *sums = bnn_reserve(p, ((size_t)s->w->h + 1) * ((size_t)s->w->w + 1),
                             s->bytes ? sizeof(double) : sizeof(int32_t)); /* of a filter's taps */
    size_t classes = bnn_conv_product(p, conv->row_classes, conv->column_classes);
    size_t count = bnn_conv_product(p, classes, bnn_conv_product(p, s->groups, conv->padded));
    float *corrections = bnn_reserve(p, count, sizeof *corrections);
    conv->corrections = corrections;
    if (columns != NULL && sums != NULL && corrections != NULL) {
        classify(&horizontal, NULL, columns);
        for (size_t i = 0; i < count; i++)
            corrections[i] = 0.0f;
        if (s->bytes)
            bnn_conv_correct_bytes(conv, bnn_op_input(p->model, op, 2)->data, columns, corrections, sums);
        else
            correct_bits(conv, columns, corrections, sums);
    }
    if (s->bytes) {
        bnn_conv_margins(p, op, conv, count);
    } else if ((uint32_t)a->slots & BNN_SLOT_THRESHOLD) {
        int32_t *limits = bnn_reserve(p, count, sizeof *limits);
        conv->limits = limits;
        if (limits != NULL)
            fill_limits(conv, bnn_op_input(p->model, op, 2)->data, limits, classes);
    }
}
