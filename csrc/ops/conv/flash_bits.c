/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions of bits for little memory: weights are read where the file has them.
 *
 * With padding of zeros, taps outside the image do not count: they are left out of the window, and out of the filters.
 * Other padding counts; that of -1 is what the rim holds.  A sum is products - 2 * differing bits. */
#include "ops/conv/flash.h"

/* Rows or columns of the kernel that count. */
static struct bnn_conv_range counted(const struct bnn_flash_job *j, struct bnn_conv_range inside, uint32_t kernel)
{
    const struct bnn_conv_range all = {0, kernel};
    return j->layer->shape.attrs->pad_value != 0 ? all : inside;
}

/* Taps outside the image are +1. */
static void set_outside(const struct bnn_flash_job *j, uint32_t *window)
{
    const struct bnn_tensor *w = j->layer->shape.w;
    for (uint32_t y = 0; y < w->h; y++)
        for (uint32_t x = 0; x < w->w; x++, window += w->words) {
            if (bnn_flash_inside(j, y, x))
                continue;
            for (uint32_t k = 0; k < w->words; k++)
                window[k] = UINT32_MAX;
            if (w->c % 32 != 0)
                window[w->words - 1] = UINT32_MAX >> (32 - w->c % 32);
        }
}

static void gather(struct bnn_flash_job *j, size_t group)
{
    const struct bnn_conv_shape *s = &j->layer->shape;
    const struct bnn_conv_attrs *a = s->attrs;
    const struct bnn_conv_range rows = counted(j, j->rows, s->w->h), columns = counted(j, j->columns, s->w->w);
    size_t across = bnn_flash_length(columns), run = s->w->words, n = bnn_flash_length(rows) * across * run;
    size_t tap = (size_t)a->dilation_w * s->x->words, row = (size_t)a->dilation_h * s->x->row;
    const uint32_t *x = (const uint32_t *)(const void *)j->x;
    x += group * s->group_words + rows.begin * row + columns.begin * tap;
    if (run == tap) { /* those of a row are one run */
        run *= across;
        across = 1;
    }
    j->window = x;
    j->plane = s->plane_words;
    if (n == run && a->pad_value <= 0)
        return;
    uint32_t *to = j->run->scratch;
    j->window = to;
    j->plane = n;
    for (size_t plane = 0; plane < s->planes; plane++, x += s->plane_words) {
        const uint32_t *from = x;
        for (uint32_t y = rows.begin; y < rows.end; y++, from += row)
            for (size_t i = 0; i < across; i++)
                for (size_t k = 0; k < run; k++)
                    *to++ = from[i * tap + k];
        if (a->pad_value > 0)
            set_outside(j, to - n);
    }
}

static void sum(struct bnn_flash_job *j, size_t first, size_t channels, int32_t *sums)
{
    const struct bnn_conv_shape *s = &j->layer->shape;
    const struct bnn_tensor *w = s->w;
    const struct bnn_conv_range rows = counted(j, j->rows, w->h), columns = counted(j, j->columns, w->w);
    const size_t row = (size_t)w->w * w->words, across = bnn_flash_length(columns) * (size_t)w->words;
    const size_t n = bnn_flash_length(rows) * across;
    const size_t run = across == row ? n : across; /* rows without a gap are counted at once */
    const uint32_t *weights = (const uint32_t *)w->data + first * w->image;
    const int32_t products =
        (int32_t)((size_t)bnn_flash_length(rows) * bnn_flash_length(columns) * w->c * (((size_t)1 << s->planes) - 1));
    weights += rows.begin * row + columns.begin * (size_t)w->words;
    for (size_t i = 0; i < channels; i++)
        sums[i] = products;
    for (size_t plane = 0; plane < s->planes; plane++) {
        const uint32_t *from = weights;
        for (size_t k = 0; k < n; k += run, from += row)
            j->run->model->kernels->take_differing(sums, j->window + plane * j->plane + k, from, run, w->image,
                                                   channels, (int32_t)2 << plane);
    }
}

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    struct bnn_flash layer = {.shift = 0};
    BNN_TRY(bnn_conv_check(p, op, &layer.shape));
    BNN_CHECK_KERNELS(p->model->kernels->take_differing != NULL);
    bnn_flash_prepare(p, op, &layer, layer.shape.planes * bnn_flash_window(&layer.shape));
    return BNN_OK;
}

static void run(const struct bnn_run *r)
{
    static const struct bnn_flash_kind kind = {gather, sum};
    bnn_flash_run(r, &kind);
}

const struct bnn_op_row bnn_op_row_bconv2d_flash = {
    BNN_ROW(bconv2d),
    .prepare = prepare,
    .run = run,
};
