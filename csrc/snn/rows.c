/* SPDX-License-Identifier: Apache-2.0 */
/* Delivery between event populations: what a change does to the membranes of its targets. */
#include "snn/events.h"

/* Approximate additions from what is sent by a slice: a millisecond; tests set it to few. */
#ifndef BNN_SNN_SLICE
#define BNN_SNN_SLICE (UINT64_C(1) << 24)
#endif

size_t bnn_event_slice(const struct bnn_path *path)
{
    const struct bnn_snn_projection *q = path->projection;
    const uint64_t additions = q->kind == BNN_SNN_CONV ? path->row_length + UINT64_C(16) * q->kernel[0] * q->kernel[1]
                                                       : 16 * (1 + (uint64_t)path->taps);
    return 1 + (size_t)(BNN_SNN_SLICE / (32 * additions));
}

/* Walks over the targets of a source pixel: runs of `pixels` neighbouring target pixels whose weights are adjacent at
 * `offset` of a row. */
struct spans {
    const struct bnn_path *path;
    uint32_t y, x; /* the source pixel */
    uint32_t ky, kx;
    struct bnn_snn_reach column;   /* of runs */
    size_t target, offset, pixels; /* the current run: its first target pixel */
};

/* The target that a tap of the source reaches on one axis, or -1. */
static int64_t reached(uint32_t at, uint32_t tap, const struct bnn_snn_projection *q, int axis, uint32_t targets)
{
    int64_t t = (int64_t)at + q->padding[axis] - (int64_t)tap * q->dilation[axis];
    if (t < 0 || (q->stride[axis] != 1 && t % q->stride[axis] != 0))
        return -1;
    t /= q->stride[axis];
    return t < targets ? t : -1;
}

static inline struct spans begin(const struct bnn_path *path, uint32_t pixel)
{
    const uint32_t width = path->from->p->w;
    struct spans s = {.path = path, .y = pixel / width, .x = pixel % width, .pixels = 1};
    if (path->runs) {
        s.column = path->reach[s.x];
        s.pixels = s.column.count;
        if (s.pixels == 0)
            s.ky = path->projection->kernel[0]; /* no row reaches a target */
    }
    return s;
}

static int next(struct spans *s)
{
    const struct bnn_snn_projection *q = s->path->projection;
    const struct bnn_snn_population *to = s->path->to->p;
    for (; s->ky < q->kernel[0]; s->ky++) {
        const int64_t y = reached(s->y, s->ky, q, 0, to->h);
        if (y < 0)
            continue;
        if (s->path->runs) {
            s->target = (size_t)y * to->w + s->column.target + 1 - s->column.count;
            s->offset = ((size_t)s->ky++ * q->kernel[1] + s->column.place) * s->path->group_out;
            return 1;
        }
        while (s->kx < q->kernel[1]) {
            const uint32_t kx = s->kx++;
            const int64_t x = reached(s->x, kx, q, 1, to->w);
            if (x >= 0) {
                s->target = (size_t)y * to->w + (size_t)x;
                s->offset = ((size_t)s->ky * q->kernel[1] + (q->kernel[1] - 1 - kx)) * s->path->group_out;
                return 1;
            }
        }
        s->kx = 0;
    }
    return 0;
}

void bnn_event_touch(struct bnn_changes *c, size_t first, size_t pixels)
{
    for (size_t i = first; i < first + pixels; i++)
        if (!c->touched[i]) {
            c->touched[i] = 1;
            c->list[c->list_count++] = (uint32_t)i;
        }
}

void bnn_event_forget(struct bnn_changes *c)
{
    for (size_t i = 0; i < c->list_count; i++)
        c->touched[c->list[i]] = 0;
    c->list_count = 0;
}

/* Adds rows of one source pixel and group to all targets; none are left afterwards. */
static void add_rows(struct bnn_snn_state *s, struct bnn_path *path, uint32_t pixel, size_t group,
                     struct bnn_rows *rows)
{
    const size_t count = rows->plus + rows->minus;
    struct bnn_changes *to = path->to;
    uint64_t added = 0;
    if (count == 0)
        return;
    for (struct spans at = begin(path, pixel); next(&at);) {
        const size_t first = at.target * to->p->c + group * path->group_out, length = at.pixels * path->group_out;
        s->net->events->add_rows((int16_t *)to->membranes + first, rows, at.offset, length);
        if (to->watched)
            bnn_event_touch(to, at.target, at.pixels);
        added += length;
    }
    s->synops[path->projection - s->net->projections] += count * added;
    path->events += count;
    rows->plus = rows->minus = 0;
}

/* The bits begin to end - 1 of a pixel, of word k. */
static uint32_t part(uint32_t k, uint32_t begin, uint32_t end)
{
    const uint32_t low = begin > 32 * k ? begin - 32 * k : 0, high = end - 32 * k;
    return UINT32_MAX << low & (high < 32 ? (UINT32_C(1) << high) - 1 : UINT32_MAX);
}

/* Rows for the bits `changed` of a word of a population; there is room for 32.  One loop without a branch on their
 * sign, which is practically random: a misprediction takes as long as adding a row. */
static void collect(struct bnn_rows *rows, const int8_t *base, size_t row_length, uint32_t changed, uint32_t now)
{
    size_t plus = rows->plus, minus = rows->minus;
    for (uint32_t c = changed; c != 0; c &= c - 1) {
        const uint32_t bit = bnn_lowest_bit(c), up = now >> bit & 1;
        rows->added[plus] = rows->taken[minus] = base + bit * row_length;
        plus += up;
        minus += up ^ 1;
    }
    rows->plus = plus;
    rows->minus = minus;
}

/* The bits of `count` words.  Words of one pixel often follow each other: their rows are added together. */
static void add_words(struct bnn_snn_state *s, struct bnn_path *path, const uint32_t *words, size_t count)
{
    const struct bnn_changes *from = path->from;
    const uint32_t groups = path->projection->groups;
    uint32_t pixel = words[0] / from->words, first = pixel * from->words, group = 0;
    struct bnn_rows rows;
    rows.plus = rows.minus = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t word = words[i];
        uint32_t changed = from->seen[word] ^ from->bits[word];
        if (word - first >= from->words) { /* unsigned: before it, too */
            add_rows(s, path, pixel, group, &rows);
            pixel = word / from->words;
            first = pixel * from->words;
        }
        const uint32_t k = word - first;
        /* rows of group and channel follow each other in the order of channels */
        const int8_t *base = (const int8_t *)path->projection->weights + (size_t)32 * k * path->row_length;
        for (uint32_t g = groups == 1 ? 0 : 32 * k / path->group_in; changed != 0; g++) {
            const uint32_t mine =
                groups == 1 ? changed : changed & part(k, g * path->group_in, (g + 1) * path->group_in);
            if (g != group || rows.plus + rows.minus + 32 > BNN_BATCH)
                add_rows(s, path, pixel, group, &rows);
            group = g;
            collect(&rows, base, path->row_length, mine, from->bits[word]);
            changed &= ~mine;
        }
    }
    add_rows(s, path, pixel, group, &rows);
}

/* Adds to membranes of floats for a source that changed by delta; returns the number of additions. */
static uint64_t add_floats(const struct bnn_snn_state *s, const struct bnn_path *path, uint32_t neuron, float delta)
{
    const uint32_t channels = path->from->p->c, channel = neuron % channels;
    const float *row = (const float *)path->projection->weights + channel * path->row_length;
    const size_t group = channel / path->group_in;
    uint64_t added = 0;
    for (struct spans at = begin(path, neuron / channels); next(&at);) {
        const size_t first = at.target * path->to->p->c + group * path->group_out;
        s->net->events->add_floats((float *)path->to->membranes + first, row + at.offset, delta,
                                   at.pixels * path->group_out);
        if (path->to->watched)
            bnn_event_touch(path->to, at.target, at.pixels);
        added += at.pixels * path->group_out;
    }
    return added;
}

void bnn_event_add_value(struct bnn_snn_state *s, struct bnn_path *path, uint32_t neuron, float delta)
{
    const uint64_t added = add_floats(s, path, neuron, delta);
    s->synops[path->projection - s->net->projections] += added;
    path->events++;
    (void)bnn_snn_pause(s, added + 1);
}

static void add_changes(struct bnn_snn_state *s, struct bnn_path *path, uint32_t neuron, int32_t change)
{
    const uint64_t spikes = (uint64_t)(change < 0 ? -change : change);
    if (change == 0)
        return;
    s->synops[path->projection - s->net->projections] += spikes * add_floats(s, path, neuron, (float)change);
    path->events += spikes;
}

/* Steps of levels, or bits into membranes of floats. */
static void add_levels(struct bnn_snn_state *s, struct bnn_path *path, const uint32_t *units, size_t count)
{
    const struct bnn_changes *from = path->from;
    for (size_t i = 0; i < count; i++) {
        const uint32_t unit = units[i];
        if (bnn_event_levels(from)) {
            add_changes(s, path, unit, (int32_t)from->levels[unit] - from->levels_seen[unit]);
            continue;
        }
        const uint32_t first = unit / from->words * from->p->c + unit % from->words * 32;
        for (uint32_t c = from->seen[unit] ^ from->bits[unit]; c != 0; c &= c - 1) {
            const uint32_t bit = bnn_lowest_bit(c);
            add_changes(s, path, first + bit, from->bits[unit] >> bit & 1 ? 1 : -1);
        }
    }
}

/* On one axis: the targets, from *first to *end - 1, whose window has a source at `at`. */
static void windows(const struct bnn_snn_projection *q, int axis, uint32_t at, uint32_t targets, uint32_t *first,
                    uint32_t *end)
{
    const uint64_t place = (uint64_t)at + q->padding[axis], kernel = q->kernel[axis], step = q->stride[axis];
    const uint64_t last = place / step + 1, begin = place < kernel ? 0 : (place - kernel) / step + 1;
    *first = begin < targets ? (uint32_t)begin : targets;
    *end = last < targets ? (uint32_t)last : targets;
}

/* The targets whose window has a source pixel must look again; returns their number. */
static uint64_t touch_windows(struct bnn_path *path, uint32_t pixel)
{
    const struct bnn_snn_population *to = path->to->p;
    const uint32_t width = path->from->p->w;
    uint32_t y, y_end, x, x_end;
    windows(path->projection, 0, pixel / width, to->h, &y, &y_end);
    windows(path->projection, 1, pixel % width, to->w, &x, &x_end);
    const uint64_t rows = y < y_end ? y_end - y : 0, columns = x < x_end ? x_end - x : 0;
    for (; y < y_end && columns > 0; y++)
        bnn_event_touch(path->to, (size_t)y * to->w + x, (size_t)columns);
    return rows * columns;
}

/* Neurons whose window has a bit that changed must look again. */
static void touch_pools(struct bnn_snn_state *s, struct bnn_path *path, const uint32_t *units, size_t count)
{
    const struct bnn_changes *from = path->from;
    for (size_t i = 0; i < count;) {
        const uint32_t pixel = units[i] / from->words;
        uint64_t changed = 0;
        for (; i < count && units[i] - pixel * from->words < from->words; i++)
            changed += bnn_popcount(from->seen[units[i]] ^ from->bits[units[i]]);
        path->events += changed;
        if (changed != 0)
            s->synops[path->projection - s->net->projections] += changed * touch_windows(path, pixel);
    }
}

/* Counters look again where sums were touched. */
static void look_at_sums(struct bnn_snn_state *s, struct bnn_path *path)
{
    uint64_t looks = 0;
    for (size_t i = 0; i < path->from->list_count; i++)
        looks += touch_windows(path, path->from->list[i]);
    s->synops[path->projection - s->net->projections] += path->taps > 1 ? looks * path->to->p->c : 0;
    (void)bnn_snn_pause(s, looks + 1);
}

/* What arrives at a source is passed on. */
static void relay(struct bnn_snn_state *s, struct bnn_path *path, const uint32_t *units, size_t count)
{
    const struct bnn_changes *from = path->from;
    const uint32_t *first_wire = path->projection->weights, *wires = first_wire + from->p->n + 1;
    for (size_t i = 0; i < count && bnn_event_levels(from); i++)
        for (uint32_t k = first_wire[units[i]]; k < first_wire[units[i] + 1]; k++)
            bnn_event_set_level(s, path->to, wires[k], from->levels[units[i]]);
    for (size_t i = 0; i < count && !bnn_event_levels(from); i++) {
        const uint32_t neuron = units[i] / from->words * from->p->c + units[i] % from->words * 32;
        for (uint32_t c = from->seen[units[i]] ^ from->bits[units[i]]; c != 0; c &= c - 1) {
            const uint32_t *range = first_wire + neuron + bnn_lowest_bit(c);
            for (uint32_t k = range[0]; k < range[1]; k++)
                bnn_event_turn_one(s, path->to, wires[k]);
            path->events++;
            (void)bnn_snn_pause(s, UINT64_C(8) * (range[1] - range[0]) + 8);
        }
    }
}

void bnn_event_deliver(struct bnn_snn_state *s, struct bnn_path *path)
{
    const uint8_t kind = path->projection->kind;
    if (kind == BNN_SNN_WINDOW && path->from->p->rule == RULE_SUM) {
        look_at_sums(s, path);
        return;
    }
    const uint32_t *units = path->from->waiting;
    for (size_t left = path->from->waiting_count, count; left > 0 && !s->stopped; left -= count, units += count) {
        count = left < path->slice ? left : path->slice;
        if (kind == BNN_SNN_WINDOW)
            touch_pools(s, path, units, count);
        else if (kind == BNN_SNN_WIRES)
            relay(s, path, units, count);
        else if (path->to->p->lanes)
            add_words(s, path, units, count);
        else
            add_levels(s, path, units, count);
        (void)bnn_snn_pause(s, count * 32 * (1 + path->row_length / (path->to->p->lanes ? 4 : 1)));
    }
}
