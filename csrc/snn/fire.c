/* SPDX-License-Identifier: Apache-2.0 */
/* Event populations settle: from membranes, or what neurons look at, to bits and levels. */
#include "snn/events.h"

#include <math.h>

static void record(struct bnn_snn_state *s, const struct bnn_changes *c, uint32_t neuron, int up)
{
    if (s->traced < s->trace_capacity)
        s->trace[s->traced] = (bnn_snn_change){s->time + 1, c->number, neuron, up ? 1 : -1};
    s->traced++;
}

void bnn_event_turn(struct bnn_snn_state *s, struct bnn_changes *c, size_t pixel, uint32_t k, uint32_t changed)
{
    const size_t at = pixel * c->words + k;
    const uint32_t first = (uint32_t)pixel * c->p->c + 32 * k, now = c->bits[at] ^= changed;
    if (s->silent || changed == 0)
        return;
    c->up += bnn_popcount(changed & now);
    c->down += bnn_popcount(changed & ~now);
    for (uint32_t rest = changed; s->trace != NULL && rest != 0; rest &= rest - 1)
        record(s, c, first + bnn_lowest_bit(rest), (now >> bnn_lowest_bit(rest) & 1) != 0);
    if (c->pending[at])
        return;
    c->pending[at] = 1;
    c->waiting[c->waiting_count++] = (uint32_t)at;
}

void bnn_event_turn_one(struct bnn_snn_state *s, struct bnn_changes *c, uint32_t neuron)
{
    const uint32_t channel = neuron % c->p->c;
    bnn_event_turn(s, c, neuron / c->p->c, channel / 32, UINT32_C(1) << channel % 32);
}

/* The sums, negated if the level falls with them, at which a neuron keeps its level. */
static void bound(struct bnn_changes *c, uint32_t neuron)
{
    const uint32_t level = c->levels[neuron];
    const float *cuts = c->p->cuts + (size_t)(neuron % c->p->c) * c->p->steps;
    c->floors[neuron] = level > 0 ? cuts[level - 1] : -INFINITY;
    c->ceilings[neuron] = level < c->p->steps ? cuts[level] : INFINITY;
}

void bnn_event_bound_all(struct bnn_changes *c)
{
    for (uint32_t k = 0; c->floors != NULL && k < c->p->n; k++)
        bound(c, k);
}

void bnn_event_set_level(struct bnn_snn_state *s, struct bnn_changes *c, uint32_t neuron, uint32_t level)
{
    const uint32_t old = c->levels[neuron];
    if (old == level)
        return;
    c->levels[neuron] = (uint8_t)level;
    if (c->floors != NULL)
        bound(c, neuron);
    if (s->silent)
        return;
    c->up += level > old ? level - old : 0;
    c->down += level < old ? old - level : 0;
    for (uint32_t k = level > old ? level - old : old - level; s->trace != NULL && k > 0; k--)
        record(s, c, neuron, level > old);
    if (c->pending[neuron])
        return;
    c->pending[neuron] = 1;
    c->waiting[c->waiting_count++] = neuron;
}

float bnn_event_value(const struct bnn_changes *c, size_t neuron)
{
    if (!c->p->lanes)
        return ((const float *)c->membranes)[neuron];
    return bnn_of(&c->p->parameters[INITIAL], neuron) + 2.0f * (float)((const int16_t *)c->membranes)[neuron];
}

enum { WORDS = 64, CHANNELS = 64 }; /* looked at together */

/* The values of `count` channels of a pixel of sums. */
static void see(const struct bnn_changes *c, size_t pixel, size_t first, size_t count, float *restrict sums)
{
    for (size_t i = 0, at = pixel * c->p->c + first; i < count; i++)
        sums[i] = bnn_event_value(c, at + i);
}

struct taps {
    size_t begin, end;
};

/* The sources of a window along one axis; at least one, as bnn_snn_open checked. */
static struct taps taps_of(const struct bnn_snn_projection *q, int axis, size_t target, size_t size)
{
    const size_t start = target * q->stride[axis], before = q->padding[axis], end = start + q->kernel[axis] - before;
    return (struct taps){start > before ? start - before : 0, end < size ? end : size};
}

/* The highest sums in the window of a pixel, or the lowest; `count` channels. */
static void look(const struct bnn_changes *c, size_t pixel, size_t first, size_t count, float *restrict sums)
{
    const struct bnn_changes *from = c->paths[0].from;
    const struct bnn_snn_projection *q = c->paths[0].projection;
    const struct taps ys = taps_of(q, 0, pixel / c->p->w, from->p->h), xs = taps_of(q, 1, pixel % c->p->w, from->p->w);
    float tap[CHANNELS];
    see(from, ys.begin * from->p->w + xs.begin, first, count, sums);
    for (size_t y = ys.begin; c->paths[0].taps > 1 && y < ys.end; y++)
        for (size_t x = xs.begin; x < xs.end; x++) {
            see(from, y * from->p->w + x, first, count, tap);
            for (size_t i = 0; i < count; i++)
                sums[i] = (tap[i] > sums[i]) != c->lowest[first + i] ? tap[i] : sums[i];
        }
}

/* Sums of a pixel; those of floats alone are read where they are. */
static const float *sums_of(const struct bnn_changes *c, size_t pixel, size_t first, size_t count, float *sums)
{
    const int looks = c->membranes == NULL;
    const struct bnn_changes *from = looks ? c->paths[0].from : c;
    if (!from->p->lanes && (!looks || (c->paths[0].taps == 1 && c->pixels == from->pixels)))
        return (const float *)from->membranes + pixel * c->p->c + first;
    look(c, pixel, first, count, sums);
    return sums;
}

/* The bits that neurons of a pixel should have from those of their window, or from all of it. */
static void look_at_bits(const struct bnn_changes *c, size_t pixel, uint32_t first, uint32_t words, uint32_t *fire)
{
    const struct bnn_changes *from = c->paths[0].from;
    const struct bnn_snn_projection *q = c->paths[0].projection;
    const struct taps ys = taps_of(q, 0, pixel / c->p->w, from->p->h), xs = taps_of(q, 1, pixel % c->p->w, from->p->w);
    for (uint32_t k = 0; k < words; k++) {
        uint32_t any = 0, all = UINT32_MAX, mask = c->every[first + k];
        for (size_t y = ys.begin; y < ys.end; y++) {
            const uint32_t *word = from->bits + (y * from->p->w + xs.begin) * from->words + first + k;
            for (size_t x = xs.begin; x < xs.end; x++, word += from->words) {
                any |= *word;
                all &= *word;
            }
        }
        fire[k] = (any & ~mask) | (all & mask);
    }
}

/* Bits of up to 32 channels by their cuts. */
static uint32_t decide(const struct bnn_changes *c, size_t pixel, uint32_t channel)
{
    const uint32_t left = c->p->c - channel, count = left < 32 ? left : 32;
    float seen[CHANNELS];
    const float *sums = sums_of(c, pixel, channel, count, seen);
    uint32_t word = 0;
    for (uint32_t i = 0; i < count; i++)
        word |= (uint32_t)(sums[i] * c->signs[channel + i] >= c->p->cuts[channel + i]) << i;
    return word;
}

/* changed[k]: the neurons of word first + k of a pixel that have another bit than they should; returns a bit for each
 * word that has any.  Neurons that do not exist may seem to. */
static uint64_t find_changes(const struct bnn_snn_state *s, const struct bnn_changes *c, size_t pixel, uint32_t first,
                             uint32_t words, uint32_t *changed)
{
    const uint32_t *bits = c->bits + pixel * c->words + first;
    uint64_t differ = 0;
    if (c->limits != NULL)
        return s->net->events->crossed((const int16_t *)c->membranes + pixel * c->p->c + 32 * first, bits, changed,
                                       words);
    if (c->p->rule == RULE_ANY)
        look_at_bits(c, pixel, first, words, changed);
    else if (c->flips != NULL)
        (void)s->net->events->binarize_at(changed, (const float *)c->membranes + pixel * c->p->c + 32 * first,
                                          c->cuts + 32 * first, c->flips + first,
                                          c->p->c - 32 * first < 32 * WORDS ? c->p->c - 32 * first : 32 * WORDS, 1);
    else
        for (uint32_t k = 0; k < words; k++)
            changed[k] = decide(c, pixel, 32 * (first + k));
    for (uint32_t k = 0; k < words; k++) {
        changed[k] ^= bits[k];
        differ |= (uint64_t)(changed[k] != 0) << k;
    }
    return differ;
}

static void settle_bits(struct bnn_snn_state *s, struct bnn_changes *c, size_t pixel)
{
    const uint32_t channels = c->p->c, last = channels % 32 == 0 ? UINT32_MAX : (UINT32_C(1) << channels % 32) - 1;
    uint32_t changed[WORDS];
    for (uint32_t first = 0; first < c->words; first += WORDS) {
        const uint32_t words = c->words - first < WORDS ? c->words - first : WORDS;
        uint64_t differ = find_changes(s, c, pixel, first, words, changed);
        if (first + words == c->words)
            changed[words - 1] &= last;
        for (; differ != 0; differ &= differ - 1) { /* no branch per word: each would be unpredictable */
            const uint32_t k = bnn_lowest_bit(differ);
            bnn_event_turn(s, c, pixel, first + k, changed[k]);
        }
        (void)bnn_snn_pause(s, words * c->word_work);
    }
}

/* Which levels do not fit their sums any more; nonzero: any. */
static int find_changed(uint8_t *restrict changed, const float *restrict sums, const float *restrict signs,
                        const float *restrict floors, const float *restrict ceilings, size_t count)
{
    uint8_t any = 0;
    for (size_t i = 0; i < count; i++)
        changed[i] = (uint8_t)((sums[i] * signs[i] < floors[i]) | (sums[i] * signs[i] >= ceilings[i]));
    for (size_t i = 0; i < count; i++)
        any |= changed[i];
    return any;
}

/* The level at a sum: from the current one, because most change little. */
static uint32_t count_cuts(const struct bnn_changes *c, float v, size_t channel, uint32_t level)
{
    const float *cuts = c->p->cuts + channel * c->p->steps;
    while (level < c->p->steps && v >= cuts[level])
        level++;
    while (level > 0 && v < cuts[level - 1])
        level--;
    return level;
}

static void settle_levels(struct bnn_snn_state *s, struct bnn_changes *c, size_t pixel)
{
    float seen[CHANNELS];
    uint8_t changed[CHANNELS];
    for (size_t first = 0; first < c->p->c; first += CHANNELS) {
        const size_t count = c->p->c - first < CHANNELS ? c->p->c - first : CHANNELS;
        const size_t neuron = pixel * c->p->c + first;
        const float *sums = sums_of(c, pixel, first, count, seen);
        if (find_changed(changed, sums, c->signs + first, c->floors + neuron, c->ceilings + neuron, count))
            for (size_t i = 0; i < count; i++)
                if (changed[i])
                    bnn_event_set_level(s, c, (uint32_t)(neuron + i),
                                        count_cuts(c, sums[i] * c->signs[first + i], first + i, c->levels[neuron + i]));
        (void)bnn_snn_pause(s, 2 * c->word_work);
    }
}

void bnn_event_settle(struct bnn_snn_state *s, struct bnn_changes *c)
{
    for (size_t i = 0; i < c->list_count && !s->stopped; i++) {
        c->touched[c->list[i]] = 0;
        if (bnn_event_levels(c))
            settle_levels(s, c, c->list[i]);
        else
            settle_bits(s, c, c->list[i]);
    }
    if (!s->stopped)
        c->list_count = 0;
}
