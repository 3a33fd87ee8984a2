/* SPDX-License-Identifier: Apache-2.0 */
/* Counters: neurons of several levels, each of whose steps is a spike; and neurons of any kind that look at the sums of
 * another layer. */
#include "events/events.h"
#include "run/view.h"
#include "run/window.h"

#include <math.h>
#include <string.h>

/* The sums, negated if the level falls with them, at which a neuron keeps its level. */
static void bound(struct bnn_layer *l, uint32_t neuron, uint32_t level)
{
    const float *cuts = l->cuts + (size_t)(neuron % l->out_c) * l->steps;
    l->floors[neuron] = level > 0 ? cuts[level - 1] : -INFINITY;
    l->ceilings[neuron] = level < l->steps ? cuts[level] : INFINITY;
}

void bnn_events_bound_all(struct bnn_events *e, struct bnn_layer *l)
{
    const struct bnn_population *p = &e->populations[l->out];
    for (uint32_t k = 0; k < p->neurons; k++)
        bound(l, k, p->levels[k]);
    (void)bnn_events_pause(e, p->neurons);
}

void bnn_events_set_level(struct bnn_events *e, struct bnn_population *p, uint32_t neuron, uint32_t level)
{
    bnn_events_layer *count = &e->layers[p->producer].count;
    uint32_t old = p->levels[neuron];
    p->levels[neuron] = (uint8_t)level;
    if (e->layers[p->producer].cuts != NULL)
        bound(&e->layers[p->producer], neuron, level);
    if (e->silent || old == level)
        return;
    count->up += level > old ? level - old : 0;
    count->down += level < old ? old - level : 0;
    for (uint32_t k = level > old ? level - old : old - level; e->trace != NULL && k > 0; k--)
        bnn_events_record(e, p, neuron, level > old);
    if (p->pending[neuron])
        return;
    p->pending[neuron] = 1;
    e->queue[p->first + p->waiting++] = neuron;
    e->queued++;
}

uint32_t bnn_events_level(const struct bnn_layer *l, float v, size_t channel)
{
    uint32_t low = 0, high = l->steps; /* as many thresholds are <= v, at least and at most */
    if (l->steps == 1)
        return (uint32_t)bnn_events_decide(l, v, channel);
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (v >= l->limits[middle])
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* What a counter sees of channels of a pixel: accumulators, and what is added to them, which comes first. */
static void see(const struct bnn_events *e, const struct bnn_layer *l, size_t pixel, size_t first, size_t count,
                float *restrict sums)
{
    size_t at = pixel * l->out_c + first;
    if (l->source != BNN_NONE)
        see(e, &e->layers[l->source], pixel, first, count, sums);
    for (size_t i = 0; i < count; i++) {
        float own = bnn_events_accumulator(l, pixel, first + i);
        sums[i] = l->added != NULL ? own + l->added[at + i] : l->source != BNN_NONE ? own + sums[i] : own;
    }
}

float bnn_events_most(const struct bnn_events *e, const struct bnn_layer *l)
{
    float most = 0.0f;
    for (size_t i = 0; l->added != NULL && i < bnn_events_pixels(l) * l->out_c; i++) {
        float added = l->added[i] < 0.0f ? -l->added[i] : l->added[i];
        most = !(added <= most) ? added : most; /* also for NaN */
    }
    return (float)l->reach + (l->source != BNN_NONE ? bnn_events_most(e, &e->layers[l->source]) : most);
}

enum { CHANNELS = 64 }; /* looked at together */

/* The highest sums in the window of a pixel, or the lowest; `count` channels. */
static void look(const struct bnn_events *e, const struct bnn_layer *l, size_t pixel, size_t first, size_t count,
                 float *restrict sums)
{
    const struct bnn_layer *from = &e->layers[l->source];
    struct bnn_taps ys = bnn_pool_taps(pixel / l->out_w, l->stride_h, (int32_t)l->kernel_h, l->pad_top, l->in_h);
    struct bnn_taps xs = bnn_pool_taps(pixel % l->out_w, l->stride_w, (int32_t)l->kernel_w, l->pad_left, l->in_w);
    float tap[CHANNELS];
    see(e, from, ys.begin * l->in_w + xs.begin, first, count, sums);
    for (size_t y = ys.begin; l->taps > 1 && y < ys.end; y++)
        for (size_t x = xs.begin; x < xs.end; x++) {
            see(e, from, y * l->in_w + x, first, count, tap);
            for (size_t i = 0; i < count; i++) {
                int lowest = (int)(l->lowest[(first + i) / 32] >> (first + i) % 32 & 1);
                sums[i] = (tap[i] > sums[i]) != lowest ? tap[i] : sums[i];
            }
        }
}

/* Sums as a counter sees them: those of floats alone are read where they are, unless a max-pool, of one element too,
 * leaves some of them out. */
static const float *sums_of(const struct bnn_events *e, const struct bnn_layer *l, size_t pixel, size_t first,
                            size_t count, float *sums)
{
    const struct bnn_layer *from = l->kind == BNN_LAYER_COUNTER ? &e->layers[l->source] : l;
    const int all = from == l || (l->in_h == l->out_h && l->in_w == l->out_w);
    if (from->floats && l->taps == 1 && all && from->added == NULL && from->source == BNN_NONE)
        return (const float *)from->membranes + pixel * l->out_c + first;
    look(e, l, pixel, first, count, sums);
    return sums;
}

/* Which levels do not fit their sums any more; nonzero: any. */
static int find_changed(uint8_t *restrict changed, const float *restrict sums, const float *restrict signs,
                        const float *restrict floors, const float *restrict ceilings, size_t count)
{
    uint8_t any = 0;
    BNN_FOR_BLOCKS(i, count,
                   changed[i] = (uint8_t)((sums[i] * signs[i] < floors[i]) | (sums[i] * signs[i] >= ceilings[i])););
    for (size_t i = 0; i < count; i++)
        any |= changed[i];
    return any;
}

/* The level at a sum: from the current one, because most change little. */
static uint32_t count_cuts(const struct bnn_layer *l, float sum, size_t channel, uint32_t level)
{
    const float *cuts = l->cuts + channel * l->steps;
    float v = sum * l->signs[channel];
    while (level < l->steps && v >= cuts[level])
        level++;
    while (level > 0 && v < cuts[level - 1])
        level--;
    return level;
}

static void settle_levels(struct bnn_events *e, const struct bnn_layer *l, const float *sums, size_t neuron,
                          size_t first, size_t count)
{
    struct bnn_population *out = &e->populations[l->out];
    uint8_t changed[CHANNELS];
    if (!find_changed(changed, sums, l->signs + first, l->floors + neuron, l->ceilings + neuron, count))
        return;
    for (size_t i = 0; i < count; i++)
        if (changed[i])
            bnn_events_set_level(e, out, (uint32_t)(neuron + i),
                                 count_cuts(l, sums[i], first + i, out->levels[neuron + i]));
}

static void settle_counters(struct bnn_events *e, const struct bnn_layer *l, size_t pixel)
{
    struct bnn_population *out = &e->populations[l->out];
    float seen[CHANNELS];
    for (size_t first = 0; first < l->out_c && !e->stopped; first += CHANNELS) {
        size_t count = l->out_c - first < CHANNELS ? l->out_c - first : CHANNELS, neuron = pixel * l->out_c + first;
        const float *sums = sums_of(e, l, pixel, first, count, seen);
        if (l->steps > 1)
            settle_levels(e, l, sums, neuron, first, count);
        for (size_t i = 0; i < count && l->steps == 1; i++)
            if (((sums[i] >= l->cuts[first + i]) != bnn_events_turned(l, first + i)) !=
                bnn_events_bit(out, (uint32_t)(neuron + i)))
                bnn_events_emit(e, out, (uint32_t)(neuron + i));
        (void)bnn_events_pause(e, 2 * l->word_work);
    }
}

void bnn_events_settle(struct bnn_events *e, struct bnn_layer *l)
{
    for (size_t i = 0; i < l->list_count && !e->stopped; i++) {
        l->touched[l->list[i]] = 0;
        if (l->kind == BNN_LAYER_COUNTER || l->steps > 1)
            settle_counters(e, l, l->list[i]);
        else
            bnn_events_settle_pixel(e, l, l->list[i]);
    }
    if (!e->stopped)
        l->list_count = 0;
}

/* Bit c of plane k of a pixel's numbers is bit k of channel c's. */
void bnn_events_poke_levels(const struct bnn_events *e, const struct bnn_population *p, const uint8_t *levels)
{
    static const struct bnn_buffers own = {NULL, NULL, 0};
    struct bnn_view v = bnn_context_view(e->context, p->tensor, 0, &own);
    for (size_t y = 0; y < p->h; y++) {
        uint32_t *pixel = bnn_row_words(&v, 0, y);
        memset(pixel, 0, (size_t)p->w * v.tensor->words * sizeof *pixel);
        for (size_t x = 0; x < p->w; x++, pixel += v.tensor->words, levels += p->c)
            for (uint32_t c = 0; c < p->c; c++)
                for (uint32_t k = 0; levels[c] >> k != 0; k++)
                    pixel[k * p->words + c / 32] |= (levels[c] >> k & UINT32_C(1)) << c % 32;
    }
    bnn_zero_halo(&v, 1, 0, p->h);
}

void bnn_events_take_levels(struct bnn_events *e, struct bnn_population *p, size_t first, size_t end)
{
    static const struct bnn_buffers own = {NULL, NULL, 0};
    struct bnn_view v = bnn_context_view(e->context, p->tensor, 0, &own);
    uint32_t neuron = (uint32_t)first * p->w * p->c, planes = v.tensor->words / p->words;
    for (size_t y = first; y < end; y++) {
        const uint32_t *pixel = bnn_row_words(&v, 0, y);
        for (size_t x = 0; x < p->w; x++, pixel += v.tensor->words)
            for (uint32_t c = 0; c < p->c; c++) {
                uint32_t level = 0;
                for (uint32_t k = 0; k < planes; k++)
                    level |= (pixel[k * p->words + c / 32] >> c % 32 & 1) << k;
                bnn_events_set_level(e, p, neuron++, level);
            }
    }
}
