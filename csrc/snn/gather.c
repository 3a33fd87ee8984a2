/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions whose targets gather from their windows: of all sources, where most of them sent something, what they
 * would add, in their order, and zeros, which change nothing; or of a list of those that did.  And windows whose highest
 * value counts. */
#include "snn/snn.h"

#include <string.h>

/* Windows and channels must fill vectors: with less, sources are as fast even if all of them sent something. */
int bnn_snn_gathers(const struct bnn_snn *net, const struct bnn_snn_projection *p, size_t sent)
{
    const struct bnn_snn_population *from = &net->populations[p->source];
    return !p->whole && p->groups == 1 && p->dilation[0] == 1 && p->dilation[1] == 1 && p->mask == NULL &&
           p->kernel[1] <= from->w && sent > from->n / 2 &&
           (net->populations[p->target].c >= 16 || (size_t)p->kernel[1] * from->c >= 8);
}

/* What all sources sent. */
static const float *all_values(struct bnn_snn_state *s, const struct bnn_snn_projection *p, size_t sent)
{
    const struct bnn_snn_population *from = &s->net->populations[p->source];
    float *values = (float *)(void *)s->values;
    if (from->emits != BNN_SNN_SPIKES)
        return (const float *)(const void *)bnn_snn_frame(s, p->source, s->time + from->depth - p->delay);
    memset(values, 0, from->n * sizeof *values);
    for (size_t k = 0; k < sent; k++)
        values[s->index[k]] = 1;
    return values;
}

/* The weight rows of one kernel row, in the order of its sources. */
static void list_rows(const struct bnn_snn_projection *p, uint32_t row, uint32_t channels, uint32_t *index)
{
    for (uint32_t column = 0; column < p->kernel[1]; column++) {
        const uint32_t place = bnn_snn_tap_place(p->kernel[1], p->stride[1], column);
        for (uint32_t c = 0; c < channels; c++)
            *index++ = (c * p->kernel[0] + row) * p->kernel[1] + place;
    }
}

/* The taps of a target's window that lie within the sources, along one axis, and the first one's coordinate. */
struct window {
    size_t first, end, at;
};

static struct window window_of(const struct bnn_snn_projection *p, int axis, uint32_t target, size_t size)
{
    const size_t corner = (size_t)target * p->stride[axis], padding = p->padding[axis], kernel = p->kernel[axis];
    const size_t first = corner < padding ? padding - corner : 0, room = size + padding;
    const size_t end = room <= corner ? 0 : room - corner < kernel ? room - corner : kernel;
    return first < end ? (struct window){first, end, corner + first - padding} : (struct window){0, 0, 0};
}

/* The targets of one row: what a kernel row brings them from a line of the sources.  `first` to `end`: those whose
 * windows lie within it. */
static void gather_line(struct bnn_snn_state *s, const struct bnn_snn_projection *p, const float *line, float *sums,
                        uint32_t first, uint32_t end)
{
    const struct bnn_snn_population *from = &s->net->populations[p->source], *to = &s->net->populations[p->target];
    const size_t c = from->c, width = to->c;
    for (uint32_t ox = 0, columns; ox < to->w; ox += columns) {
        const struct window right = window_of(p, 1, ox, from->w);
        columns = ox == first && first < end ? end - first : 1;
        s->net->kernels->sum_windows(sums + ox * width, columns, p->weights, width, s->index + right.first * c,
                                     line + right.at * c, p->stride[1] * c, (right.end - right.first) * c);
    }
}

void bnn_snn_gather(struct bnn_snn_state *s, const struct bnn_snn_projection *p, size_t sent, float *sums)
{
    const struct bnn_snn_population *from = &s->net->populations[p->source], *to = &s->net->populations[p->target];
    const float *values = all_values(s, p, sent);
    const size_t line = (size_t)from->w * from->c, row = (size_t)to->w * to->c;
    uint32_t first = (p->padding[1] + p->stride[1] - 1) / p->stride[1];
    uint32_t end = (from->w + p->padding[1] - p->kernel[1]) / p->stride[1] + 1;
    end = end < to->w ? end : to->w;
    for (uint32_t ky = 0; ky < p->kernel[0]; ky++) {
        list_rows(p, ky, from->c, s->index);
        for (uint32_t oy = 0; oy < to->h; oy++) {
            const struct window down = window_of(p, 0, oy, from->h);
            if (ky < down.first || ky >= down.end)
                continue;
            if (bnn_snn_pause(s, row * p->kernel[1] * from->c))
                return;
            gather_line(s, p, values + (down.at + ky - down.first) * line, sums + oy * row, first, end);
        }
    }
}

/* Where columns are strided, what one source reaches varies with its column, and branches on that are mispredicted at
 * every source; those of a target are so once, which is less where each has several sources. */
int bnn_snn_lists(const struct bnn_snn *net, const struct bnn_snn_projection *p, size_t sent)
{
    const struct bnn_snn_population *from = &net->populations[p->source], *to = &net->populations[p->target];
    return p->groups == 1 && p->dilation[0] == 1 && p->dilation[1] == 1 && p->stride[1] > 1 &&
           from->emits == BNN_SNN_SPIKES && to->c >= 16 && sent > (size_t)3 * to->h * to->w;
}

void bnn_snn_find_rows(const struct bnn_snn_projection *p, const struct bnn_snn_population *from,
                       const struct bnn_snn_reach *columns, uint32_t *rows)
{
    const uint32_t taps = p->kernel[0] * p->kernel[1];
    for (uint32_t source = 0; source < from->n; source++) {
        const struct bnn_snn_reach *column = &columns[source / from->c % from->w];
        rows[source] = source % from->c * taps + column->place - (column->target + 1 - column->count);
    }
}

/* Replaces the sources in s->index by their rows of weights.  s->values[q]: where those of pixel q begin. */
static BNN_APART void find_rows(const struct bnn_snn_state *s, const struct bnn_snn_population *from,
                                const uint32_t *rows, size_t sent)
{
    const uint32_t channels = from->c, pixels = from->h * from->w;
    const uint32_t shift = (channels & (channels - 1)) == 0 ? bnn_lowest_bit(channels) : 32;
    uint32_t *restrict index = s->index, *restrict starts = s->values;
    memset(starts, 0, (pixels + 1) * sizeof *starts);
    for (size_t k = 0; k < sent; k++) { /* the last of a pixel stays: counting them would wait for each sum */
        const uint32_t source = index[k], pixel = shift < 32 ? source >> shift : source / channels;
        index[k] = rows[source];
        starts[pixel + 1] = (uint32_t)k + 1;
    }
    for (uint32_t q = 0, last = 0; q <= pixels; q++)
        starts[q] = last = starts[q] > last ? starts[q] : last;
}

enum { LISTED = 64, TOGETHER = 8 }; /* rows that are added, and copied, together: a fixed number needs no branches */

/* Appends rows of weights, `row` further on; those beyond the window are overwritten by the next. */
static inline void list_rows_of(uint32_t *list, const uint32_t *index, uint32_t row)
{
    uint32_t some[TOGETHER];
    memcpy(some, index, sizeof some);
    for (size_t i = 0; i < TOGETHER; i++)
        some[i] += row;
    memcpy(list, some, sizeof some);
}

static void add_listed(struct bnn_snn_state *s, const struct bnn_snn_projection *p, size_t target, const uint32_t *list,
                       size_t n, float *sums)
{
    const size_t width = s->net->populations[p->target].c, first = target * width;
    if (p->whole)
        s->net->kernels->sum_byte_rows(s->sums + first, p->weights, width, list, NULL, n, width);
    else
        s->net->kernels->sum_rows(sums + first, p->weights, width, list, NULL, n, width);
}

/* Adds to one target what its window brings; returns the number of rows. */
static size_t gather_listed(struct bnn_snn_state *s, const struct bnn_snn_projection *p, uint32_t oy, uint32_t ox,
                            float *sums)
{
    const struct bnn_snn_population *from = &s->net->populations[p->source], *to = &s->net->populations[p->target];
    const struct window down = window_of(p, 0, oy, from->h), right = window_of(p, 1, ox, from->w);
    const uint32_t *start = s->values + down.at * from->w + right.at;
    const size_t target = (size_t)oy * to->w + ox;
    uint32_t list[LISTED + TOGETHER];
    size_t n = 0, rows = 0;
    for (size_t ky = down.first; ky < down.end; ky++, start += from->w) {
        const size_t end = start[right.end - right.first];
        size_t k = start[0];
        do {
            list_rows_of(list + n, s->index + k, (uint32_t)(ky * p->kernel[1] + ox));
            const size_t some = end - k < TOGETHER ? end - k : TOGETHER;
            n += some;
            k += some;
            if (n > LISTED) {
                add_listed(s, p, target, list, n, sums);
                rows += n;
                n = 0;
            }
        } while (k < end);
    }
    if (n > 0)
        add_listed(s, p, target, list, n, sums);
    return rows + n;
}

uint64_t bnn_snn_gather_lists(struct bnn_snn_state *s, const struct bnn_snn_projection *p, const uint32_t *rows_of,
                              size_t sent, float *sums)
{
    const struct bnn_snn_population *to = &s->net->populations[p->target];
    uint64_t rows = 0, before = 0;
    find_rows(s, &s->net->populations[p->source], rows_of, sent);
    for (uint32_t oy = 0; oy < to->h && !bnn_snn_pause(s, (rows - before) * to->c + to->w * p->kernel[0]); oy++) {
        before = rows;
        for (uint32_t ox = 0; ox < to->w; ox++)
            rows += gather_listed(s, p, oy, ox, sums);
    }
    return rows * to->c;
}

void bnn_snn_gather_highest(struct bnn_snn_state *s, const struct bnn_snn_projection *p, float *sums)
{
    const struct bnn_snn_population *from = &s->net->populations[p->source], *to = &s->net->populations[p->target];
    const float *values = all_values(s, p, 0);
    float *restrict highest = (float *)(void *)s->values;
    const size_t c = from->c, window = (size_t)p->kernel[0] * p->kernel[1];
    for (uint32_t oy = 0; oy < to->h && !bnn_snn_pause(s, to->w * c * window); oy++) {
        const struct window down = window_of(p, 0, oy, from->h);
        for (uint32_t ox = 0; ox < to->w; ox++, sums += c) {
            const struct window right = window_of(p, 1, ox, from->w);
            memcpy(highest, values + (down.at * from->w + right.at) * c, c * sizeof *highest);
            for (size_t y = down.at; y < down.at + down.end - down.first; y++)
                for (size_t x = right.at; x < right.at + right.end - right.first; x++) {
                    const float *restrict value = values + (y * from->w + x) * c;
                    for (size_t k = 0; k < c; k++)
                        highest[k] = value[k] > highest[k] ? value[k] : highest[k];
                }
            for (size_t k = 0; k < c; k++)
                sums[k] += highest[k];
        }
    }
}
