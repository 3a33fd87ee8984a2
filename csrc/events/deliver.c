/* SPDX-License-Identifier: Apache-2.0 */
/* Delivery: what a spike does to the membranes of its targets. */
#include "events/events.h"

/* Walks over the outputs that an input pixel reaches: runs of `pixels` neighbouring output pixels whose weights are
 * adjacent at `offset` of a row. */
struct spans {
    const struct bnn_layer *layer;
    int32_t y, x; /* the input pixel */
    uint32_t ky, kx;
    size_t column;                 /* of whole rows: where each begins in the output; its taps begin at kx */
    size_t target, offset, pixels; /* the current run: its first output pixel */
};

/* The output position that a tap of the input reaches on one axis, or -1. */
static int32_t reached(int32_t at, uint32_t tap, int32_t stride, int32_t dilation, int32_t pad, uint32_t outputs)
{
    int64_t t = (int64_t)at + pad - (int64_t)tap * dilation;
    if (t < 0)
        return -1;
    if (stride != 1) {
        if (t % stride != 0)
            return -1;
        t /= stride;
    }
    return t < outputs ? (int32_t)t : -1;
}

static inline struct spans begin(const struct bnn_layer *l, uint32_t pixel)
{
    struct spans s = {.layer = l, .y = (int32_t)(pixel / l->in_w), .x = (int32_t)(pixel % l->in_w), .pixels = 1};
    if (l->whole_rows) {
        int64_t first = (int64_t)s.x + l->pad_left - (int64_t)(l->kernel_w - 1); /* output of the last tap */
        int64_t skip = first < 0 ? -first : 0, end = (int64_t)l->out_w - first;
        end = end < l->kernel_w ? end : l->kernel_w;
        s.kx = (uint32_t)skip;
        s.column = (size_t)(first + skip);
        s.pixels = (size_t)(end - skip);
        if (skip >= end)
            s.ky = l->kernel_h; /* no row reaches an output */
    }
    return s;
}

static int next(struct spans *s)
{
    const struct bnn_layer *l = s->layer;
    for (; s->ky < l->kernel_h; s->ky++) {
        int32_t y = reached(s->y, s->ky, l->stride_h, l->dilation_h, l->pad_top, l->out_h);
        if (y < 0)
            continue;
        if (l->whole_rows) {
            s->target = (size_t)y * l->out_w + s->column;
            s->offset = ((size_t)s->ky++ * l->kernel_w + s->kx) * l->group_out;
            return 1;
        }
        while (s->kx < l->kernel_w) {
            uint32_t kx = s->kx++;
            int32_t x = reached(s->x, kx, l->stride_w, l->dilation_w, l->pad_left, l->out_w);
            if (x >= 0) {
                s->target = (size_t)y * l->out_w + (size_t)x;
                s->offset = ((size_t)s->ky * l->kernel_w + (l->kernel_w - 1 - kx)) * l->group_out;
                return 1;
            }
        }
        s->kx = 0;
    }
    return 0;
}

static void touch(struct bnn_layer *l, size_t first, size_t pixels)
{
    if (l->kind == BNN_LAYER_READOUT && l->watchers == BNN_NONE)
        return;
    for (size_t i = first; i < first + pixels; i++)
        if (!l->touched[i]) {
            l->touched[i] = 1;
            l->list[l->list_count++] = (uint32_t)i;
        }
}

static void add_wide(int32_t *m, const struct bnn_rows *rows, size_t offset, size_t count)
{
    for (size_t k = 0; k < rows->plus; k++)
        for (size_t i = 0; i < count; i++)
            m[i] += rows->added[k][offset + i];
    for (size_t k = 0; k < rows->minus; k++)
        for (size_t i = 0; i < count; i++)
            m[i] -= rows->taken[k][offset + i];
}

void bnn_events_windows(uint32_t from, uint32_t to, int32_t pad, uint32_t kernel, int32_t stride, uint32_t outputs,
                        uint32_t *first, uint32_t *end)
{
    uint32_t begin = from + (uint32_t)pad, last = to + (uint32_t)pad, step = (uint32_t)stride;
    *first = begin < kernel ? 0 : (begin - kernel) / step + 1; /* beyond the last output, if no window has any */
    *end = last / step + 1 < outputs ? last / step + 1 : outputs;
}

/* Adds rows of one input pixel and group to all targets; none are left afterwards. */
static void add_rows(const bnn_kernels *kernels, struct bnn_layer *l, uint32_t pixel, size_t group,
                     struct bnn_rows *rows)
{
    size_t count = rows->plus + rows->minus;
    if (count == 0)
        return;
    for (struct spans s = begin(l, pixel); next(&s);) {
        size_t at = s.target * l->out_c + group * l->group_out, length = s.pixels * l->group_out;
        if (l->wide)
            add_wide((int32_t *)l->membranes + at, rows, s.offset, length);
        else
            kernels->add_rows((int16_t *)l->membranes + at, rows, s.offset, length);
        touch(l, s.target, s.pixels);
        l->count.synops += count * length;
    }
    l->count.events += count;
    rows->plus = rows->minus = 0;
}

/* The bits begin to end - 1 of a pixel, of word k. */
static uint32_t part(uint32_t k, uint32_t begin, uint32_t end)
{
    uint32_t low = begin > 32 * k ? begin - 32 * k : 0, high = end - 32 * k;
    return UINT32_MAX << low & (high < 32 ? (UINT32_C(1) << high) - 1 : UINT32_MAX);
}

/* Rows for the spikes `changed` of a word of a population; there is room for 32.  One loop without a branch on their
 * sign, which is practically random: a misprediction takes as long as adding a row. */
static void collect(struct bnn_rows *rows, const int8_t *base, size_t row_length, uint32_t changed, uint32_t fired)
{
    size_t plus = rows->plus, minus = rows->minus;
    for (uint32_t c = changed; c != 0; c &= c - 1) {
        uint32_t bit = bnn_lowest_bit(c), up = fired >> bit & 1;
        rows->added[plus] = rows->taken[minus] = base + bit * row_length;
        plus += up;
        minus += up ^ 1;
    }
    rows->plus = plus;
    rows->minus = minus;
}

/* The spikes of `count` words.  Words of one pixel often follow each other: their rows are added together. */
static void add_words(const struct bnn_events *e, struct bnn_layer *l, const struct bnn_delivery *d,
                      const uint32_t *words, size_t count)
{
    const bnn_kernels *kernels = e->model->kernels;
    const struct bnn_population *p = d->from;
    uint32_t pixel = words[0] / p->words, first = pixel * p->words, group = 0;
    struct bnn_rows rows;
    rows.plus = rows.minus = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t word = words[i], changed = d->before[word] ^ d->after[word];
        if (word - first >= p->words) { /* unsigned: before it, too */
            add_rows(kernels, l, pixel, group, &rows);
            pixel = word / p->words;
            first = pixel * p->words;
        }
        uint32_t k = word - first;
        /* rows of group and channel follow each other in the order of channels */
        const int8_t *base = (const int8_t *)l->rows + (size_t)32 * k * l->row_length;
        for (uint32_t g = l->groups == 1 ? 0 : 32 * k / l->group_in; changed != 0; g++) {
            uint32_t mine = l->groups == 1 ? changed : changed & part(k, g * l->group_in, (g + 1) * l->group_in);
            if (g != group || rows.plus + rows.minus + 32 > BNN_BATCH)
                add_rows(kernels, l, pixel, group, &rows);
            group = g;
            collect(&rows, base, l->row_length, mine, d->after[word]);
            changed &= ~mine;
        }
    }
    add_rows(kernels, l, pixel, group, &rows);
}

/* Adds to sums of floats for an input whose value changed by delta; returns the number of additions. */
static uint64_t add_floats(const bnn_kernels *kernels, struct bnn_layer *l, size_t index, float delta)
{
    uint32_t channel = (uint32_t)(index % l->in_c);
    const float *row = (const float *)l->rows + channel * l->row_length;
    size_t group = channel / l->group_in;
    uint64_t added = 0;
    for (struct spans s = begin(l, (uint32_t)(index / l->in_c)); next(&s);) {
        size_t at = s.target * l->out_c + group * l->group_out, length = s.pixels * l->group_out;
        kernels->add_floats((float *)l->membranes + at, row + s.offset, delta, length);
        touch(l, s.target, s.pixels);
        added += length;
    }
    return added;
}

/* Steps of levels: a level of n is a number of 2 n - the highest, as the convolution reads it. */
static void add_levels(const struct bnn_events *e, struct bnn_layer *l, const struct bnn_delivery *d,
                       const uint32_t *neurons, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int32_t steps = (int32_t)d->upper[neurons[i]] - d->lower[neurons[i]];
        uint64_t spikes = (uint64_t)(steps < 0 ? -steps : steps);
        if (steps == 0)
            continue;
        l->count.synops += spikes * add_floats(e->model->kernels, l, neurons[i], (float)(2 * steps));
        l->count.events += spikes;
    }
}

/* The outputs whose window has an input pixel must check again; returns their number. */
static uint64_t touch_windows(struct bnn_layer *l, uint32_t pixel)
{
    uint32_t row = pixel / l->in_w, column = pixel % l->in_w, y, y_end, x_first, x_end;
    bnn_events_windows(row, row, l->pad_top, l->kernel_h, l->stride_h, l->out_h, &y, &y_end);
    bnn_events_windows(column, column, l->pad_left, l->kernel_w, l->stride_w, l->out_w, &x_first, &x_end);
    uint64_t rows = y < y_end ? y_end - y : 0, columns = x_first < x_end ? x_end - x_first : 0;
    for (; y < y_end && columns > 0; y++)
        touch(l, (size_t)y * l->out_w + x_first, (size_t)columns);
    return rows * columns;
}

/* Pooling neurons whose window has a spike must check again. */
static void touch_pools(struct bnn_layer *l, const struct bnn_delivery *d, const uint32_t *queue, size_t count)
{
    for (size_t i = 0; i < count;) {
        uint32_t words = d->from->words, pixel = queue[i] / words, spikes = 0;
        for (; i < count && queue[i] - pixel * words < words; i++)
            spikes += bnn_popcount(d->before[queue[i]] ^ d->after[queue[i]]);
        l->count.events += spikes;
        if (spikes != 0)
            l->count.synops += spikes * touch_windows(l, pixel);
    }
}

void bnn_events_add(struct bnn_events *e, struct bnn_layer *l, const struct bnn_delivery *spikes)
{
    const uint32_t *words = spikes->words;
    for (size_t left = spikes->count, count; left > 0; left -= count, words += count) {
        count = left < l->slice ? left : l->slice;
        if (l->kind == BNN_LAYER_POOL)
            touch_pools(l, spikes, words, count);
        else if (l->floats)
            add_levels(e, l, spikes, words, count);
        else
            add_words(e, l, spikes, words, count);
        if (bnn_events_pause(e, count * 32 * l->spike_work))
            return;
    }
}

void bnn_events_add_pixel(struct bnn_events *e, struct bnn_layer *l, size_t index, float delta)
{
    l->count.synops += add_floats(e->model->kernels, l, index, delta);
    l->count.events++;
    (void)bnn_events_pause(e, l->spike_work);
}

/* A counter checks what the touched pixels show it. */
static void check_counter(struct bnn_events *e, struct bnn_layer *l, const struct bnn_layer *sums)
{
    uint64_t looks = 0;
    for (size_t i = 0; i < sums->list_count; i++)
        looks += touch_windows(l, sums->list[i]);
    l->count.synops += l->taps > 1 ? looks * l->out_c : 0;
    bnn_events_settle(e, l);
}

void bnn_events_show(struct bnn_events *e, struct bnn_layer *l)
{
    for (uint32_t k = l->watchers; k != BNN_NONE && !e->stopped; k = e->layers[k].next) {
        struct bnn_layer *watcher = &e->layers[k];
        if (watcher->kind == BNN_LAYER_COUNTER) {
            check_counter(e, watcher, l);
            continue;
        }
        for (size_t i = 0; i < l->list_count; i++)
            touch(watcher, l->list[i], 1);
        if (watcher->in != l->in) /* otherwise the same spikes reach it next */
            bnn_events_show(e, watcher);
    }
    bnn_events_forget(l);
}

void bnn_events_show_all(struct bnn_events *e, struct bnn_layer *l)
{
    bnn_events_forget(l);
    if (l->watchers != BNN_NONE)
        touch(l, 0, bnn_events_pixels(l));
    bnn_events_show(e, l);
}
