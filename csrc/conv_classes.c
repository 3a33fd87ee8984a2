/* Border classes: output rows and columns that have the same taps inside the image. */
#include "../kernels/bits.h"
#include "conv.h"

/* Taps k of an axis with 0 <= position * stride + k * dilation - before < size: always a range; [0, 0) when empty. */
static struct bnn_conv_range inside(uint32_t position, uint32_t size, uint32_t kernel, int32_t stride, int32_t dilation,
                                    int32_t before)
{
    int64_t start = (int64_t)position * stride - before;
    int64_t begin = start < 0 ? (-start + dilation - 1) / dilation : 0;
    int64_t end = start < size ? ((int64_t)size - start + dilation - 1) / dilation : 0;
    if (end > kernel)
        end = kernel;
    if (begin >= end)
        return (struct bnn_conv_range){0, 0};
    return (struct bnn_conv_range){(uint32_t)begin, (uint32_t)end};
}

struct axis {
    uint32_t outputs, size, kernel;
    int32_t stride, dilation, before;
};

/* Numbers the distinct ranges of an axis (equal ones are neighbours: both ends only fall).  Writes the class of every
 * output position and the range of every class where there is memory; returns the number of classes. */
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

static size_t make_axis(struct bnn_prepare *p, const struct axis *axis, const uint32_t **class_of,
                        const struct bnn_conv_range **ranges)
{
    size_t classes = classify(axis, NULL, NULL);
    uint32_t *numbers = bnn_reserve(p, axis->outputs, sizeof *numbers);
    struct bnn_conv_range *kept = bnn_reserve(p, classes, sizeof *kept);
    if (numbers != NULL && kept != NULL)
        classify(axis, numbers, kept);
    *class_of = numbers;
    *ranges = kept;
    return classes;
}

/* Adds one tap of one filter to the corrections of every class. */
static void correct(const struct bnn_conv *conv, const struct bnn_conv_range *columns, int32_t *correction,
                    uint32_t ky, uint32_t kx, int32_t set_bits)
{
    const struct bnn_conv_shape *s = &conv->shape;
    int32_t channels = (int32_t)s->w->c, outside = s->attrs->pad_value * (2 * set_bits - channels);
    size_t stride = s->groups * conv->padded;
    for (size_t rc = 0; rc < conv->row_classes; rc++) {
        int row_inside = ky >= conv->rows[rc].begin && ky < conv->rows[rc].end;
        for (size_t cc = 0; cc < conv->column_classes; cc++, correction += stride) {
            int column_inside = kx >= columns[cc].begin && kx < columns[cc].end;
            if (row_inside && column_inside)
                *correction += channels;
            else
                *correction += outside + (row_inside ? 2 * set_bits : 0);
        }
    }
}

static void fill_corrections(const struct bnn_conv *conv, const struct bnn_conv_range *columns, int32_t *corrections,
                             size_t count)
{
    const struct bnn_conv_shape *s = &conv->shape;
    const uint32_t *word = s->w->data;
    for (size_t i = 0; i < count; i++)
        corrections[i] = 0;
    for (uint32_t o = 0; o < s->w->o; o++) {
        int32_t *correction = corrections + o / s->outputs * conv->padded + o % s->outputs;
        for (uint32_t ky = 0; ky < s->w->h; ky++)
            for (uint32_t kx = 0; kx < s->w->w; kx++) {
                uint32_t set_bits = 0;
                for (uint32_t i = 0; i < s->w->words; i++)
                    set_bits += bnn_popcount(*word++);
                correct(conv, columns, correction, ky, kx, (int32_t)set_bits);
            }
    }
}

/* The greatest p with correction - 2 p >= threshold, by floor division; -1: none. */
static int32_t limit(int32_t correction, int32_t threshold)
{
    int64_t twice = (int64_t)correction - threshold;
    if (twice < 0)
        return -1;
    return twice / 2 > INT32_MAX ? INT32_MAX : (int32_t)(twice / 2);
}

static void fill_limits(const struct bnn_conv *conv, const int32_t *thresholds, int32_t *limits, size_t classes)
{
    const struct bnn_conv_shape *s = &conv->shape;
    const int32_t *correction = conv->corrections;
    for (size_t class = 0; class < classes; class++)
        for (size_t g = 0; g < s->groups; g++)
            for (size_t c = 0; c < conv->padded; c++, correction++)
                *limits++ = c < s->outputs ? limit(*correction, thresholds[g * s->outputs + c]) : -1;
}

void bnn_conv_classes(struct bnn_prepare *p, const struct bnn_op *op, struct bnn_conv *conv)
{
    const struct bnn_conv_shape *s = &conv->shape;
    const struct bnn_conv_attrs *a = s->attrs;
    struct axis vertical = {s->y->h, s->x->h, s->w->h, a->stride_h, a->dilation_h, a->pad_top};
    struct axis horizontal = {s->y->w, s->x->w, s->w->w, a->stride_w, a->dilation_w, a->pad_left};
    const struct bnn_conv_range *columns;
    conv->row_classes = make_axis(p, &vertical, &conv->row_class, &conv->rows);
    if (!s->binary)
        return; /* zeros outside need no correction */
    conv->column_classes = make_axis(p, &horizontal, &conv->column_class, &columns);
    size_t classes = bnn_conv_product(p, conv->row_classes, conv->column_classes);
    size_t count = bnn_conv_product(p, classes, bnn_conv_product(p, s->groups, conv->padded));
    int32_t *corrections = bnn_reserve(p, count, sizeof *corrections);
    conv->corrections = corrections;
    if (corrections != NULL)
        fill_corrections(conv, columns, corrections, count);
    if ((uint32_t)a->slots & BNN_SLOT_THRESHOLD) {
        int32_t *limits = bnn_reserve(p, count, sizeof *limits);
        conv->limits = limits;
        if (limits != NULL)
            fill_limits(conv, bnn_op_input(p->model, op, 2)->data, limits, classes);
    }
}
