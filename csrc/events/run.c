/* SPDX-License-Identifier: Apache-2.0 */
/* Running: which spike is delivered next. */
#include "events/events.h"

#include <string.h>

/* Whether delivering spikes costs more than the synchronous kernel. */
static int too_many(const struct bnn_delivery *d, const struct bnn_layer *l)
{
    size_t spikes = 0, pixels = 0;
    uint32_t last = BNN_NONE;
    if (l->count.limit == SIZE_MAX)
        return 0;
    for (size_t i = 0; i < d->count; i++) {
        uint32_t word = d->words[i], pixel = word / (d->lower != NULL ? d->from->c : d->from->words);
        spikes += d->lower != NULL ? d->lower[word] != d->upper[word] : bnn_popcount(d->before[word] ^ d->after[word]);
        pixels += pixel != last;
        last = pixel;
    }
    double cost = (double)spikes + l->pixel_cost * (double)pixels;
    return cost > (double)l->count.limit * (l->stale ? 0.5 : 1.0); /* switching back costs a run, too */
}

static void deliver_to(struct bnn_events *e, const struct bnn_delivery *d, const struct bnn_link *link)
{
    struct bnn_layer *l = &e->layers[link->layer];
    if (l->kind == BNN_LAYER_RELAY) {
        bnn_events_relay(e, l, link->first, d);
        return;
    }
    if (e->order == BNN_ORDER_LAYERS && too_many(d, l)) {
        bnn_events_synchronous(e, l);
        return;
    }
    if (l->stale)
        bnn_events_refresh(e, l);
    if (e->stopped)
        return;
    bnn_events_add(e, l, d);
    if (l->kind == BNN_LAYER_READOUT)
        bnn_events_show(e, l);
    else
        bnn_events_settle(e, l);
}

/* To every layer that reads the population. */
static void deliver(struct bnn_events *e, const struct bnn_delivery *d)
{
    for (uint32_t k = d->from->consumers; k != BNN_NONE && !e->stopped; k = e->links[k].next)
        deliver_to(e, d, &e->links[k]);
}

/* All pending spikes of a population. */
static void deliver_waiting(struct bnn_events *e, struct bnn_population *p)
{
    struct bnn_delivery d = {p, p->seen, p->bits, e->queue + p->first, p->waiting, p->levels_seen, p->levels};
    if (d.count == 0)
        return;
    deliver(e, &d);
    for (size_t i = 0; i < d.count; i++) {
        if (d.lower != NULL)
            p->levels_seen[d.words[i]] = p->levels[d.words[i]];
        else
            p->seen[d.words[i]] = p->bits[d.words[i]];
        p->pending[d.words[i]] = 0;
    }
    e->queued -= p->waiting;
    p->waiting = 0;
}

static struct bnn_population *population_at(struct bnn_events *e, uint32_t number)
{
    uint32_t low = 0, high = e->population_count; /* the last that begins at or before number */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (e->populations[middle].first <= number)
            low = middle;
        else
            high = middle;
    }
    return &e->populations[low];
}

static size_t draw(struct bnn_events *e, size_t below)
{
    e->random ^= e->random << 13; /* xorshift64 */
    e->random ^= e->random >> 7;
    e->random ^= e->random << 17;
    return (size_t)((e->random >> 11) % below);
}

enum { ALONE = 256 }; /* work of finding a spike and its targets far from those of the last one */

static void put_last(struct bnn_events *e, uint32_t number)
{
    size_t end = e->head + e->queued++;
    e->queue[end < e->neurons ? end : end - e->neurons] = number;
}

/* A step of a neuron toward its level, if it is still on the way. */
static void deliver_step(struct bnn_events *e, struct bnn_population *p, uint32_t neuron)
{
    uint8_t *told = &p->levels_told[neuron], level = p->levels[neuron];
    p->pending[neuron] = 0;
    if (*told == level)
        return;
    *told = (uint8_t)(*told < level ? *told + 1 : *told - 1);
    if (*told != level) {
        p->pending[neuron] = 1;
        put_last(e, (uint32_t)(p->first + neuron));
    }
    deliver(e, &(struct bnn_delivery){p, NULL, NULL, &neuron, 1, p->levels_seen, p->levels_told});
    p->levels_seen[neuron] = *told;
}

/* One spike to all of its targets. */
static void deliver_one(struct bnn_events *e)
{
    if (e->order == BNN_ORDER_RANDOM) { /* the queue begins at 0 and its order does not matter */
        size_t i = draw(e, e->queued), last = e->queued - 1;
        uint32_t number = e->queue[i];
        e->queue[i] = e->queue[last];
        e->queue[last] = number;
    }
    size_t at = e->order == BNN_ORDER_RANDOM ? e->queued - 1 : e->head;
    uint32_t number = e->queue[at];
    struct bnn_population *p = population_at(e, number);
    uint32_t neuron = (uint32_t)(number - p->first), channel = neuron % p->c;
    uint32_t word = neuron / p->c * p->words + channel / 32;

    e->queued--;
    if (e->order == BNN_ORDER_FIFO)
        e->head = at + 1 < e->neurons ? at + 1 : 0;
    (void)bnn_events_pause(e, ALONE);
    if (p->steps > 1) {
        deliver_step(e, p, neuron);
        return;
    }
    if (--p->pending[neuron] > 0) /* the rest of its spikes wait at the end */
        put_last(e, number);
    p->told[word] ^= UINT32_C(1) << channel % 32;
    deliver(e, &(struct bnn_delivery){p, p->seen, p->told, &word, 1, NULL, NULL});
    p->seen[word] = p->told[word];
}

bnn_status bnn_events_run(bnn_events *e)
{
    if (e == NULL)
        return BNN_ERROR_ARGUMENT;
    if (e->order == BNN_ORDER_LAYERS) {
        for (uint32_t i = 0; i < e->population_count && !e->stopped; i++) /* spikes go to later populations only */
            deliver_waiting(e, &e->populations[i]);
        return bnn_events_status(e);
    }
    while (e->queued > 0 && !e->stopped)
        deliver_one(e);
    e->head = 0;
    return bnn_events_status(e);
}

bnn_status bnn_events_set_order(bnn_events *e, bnn_order order, uint64_t seed)
{
    if (e == NULL || (order != BNN_ORDER_LAYERS && order != BNN_ORDER_FIFO && order != BNN_ORDER_RANDOM))
        return BNN_ERROR_ARGUMENT;
    if (e->stopped)
        return BNN_ERROR_STOPPED;
    if (e->queued != 0)
        return BNN_ERROR_ARGUMENT;
    bnn_events_all_seen(e);
    e->order = order;
    e->random = seed * 2862933555777941757u + 3037000493u; /* so that similar seeds give different numbers */
    e->random += e->random == 0;
    return BNN_OK;
}

void bnn_events_all_seen(struct bnn_events *e)
{
    for (uint32_t i = 0; i < e->population_count; i++) {
        struct bnn_population *p = &e->populations[i];
        size_t bytes = (size_t)p->h * p->w * p->words * sizeof *p->seen;
        if (p->steps > 1) {
            memcpy(p->levels_seen, p->levels, p->neurons);
            memcpy(p->levels_told, p->levels, p->neurons);
            continue;
        }
        memcpy(p->seen, p->bits, bytes);
        memcpy(p->told, p->bits, bytes);
    }
}
