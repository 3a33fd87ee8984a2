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
    if (too_many(d, l)) {
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

bnn_status bnn_events_run(bnn_events *e)
{
    if (e == NULL)
        return BNN_ERROR_ARGUMENT;
    for (uint32_t i = 0; i < e->population_count && !e->stopped; i++) /* spikes go to later populations only */
        deliver_waiting(e, &e->populations[i]);
    return bnn_events_status(e);
}

void bnn_events_all_seen(struct bnn_events *e)
{
    for (uint32_t i = 0; i < e->population_count; i++) {
        struct bnn_population *p = &e->populations[i];
        if (p->steps > 1) {
            memcpy(p->levels_seen, p->levels, p->neurons);
            continue;
        }
        memcpy(p->seen, p->bits, (size_t)p->h * p->w * p->words * sizeof *p->seen);
    }
}
