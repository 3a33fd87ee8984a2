/* SPDX-License-Identifier: Apache-2.0 */
/* Running: which spike travels next. */
#include "events/events.h"

#include <string.h>

/* Spikes under way in a population, as a wire passes them on. */
static void relay_waiting(struct bnn_events *e, const struct bnn_population *p, struct bnn_layer *l)
{
    for (size_t i = 0; i < p->waiting; i++) {
        uint32_t word = e->queue[p->first + i], first = word / p->words * p->c + word % p->words * 32;
        for (uint32_t c = p->bits[word] ^ p->seen[word]; c != 0 && !e->stopped; c &= c - 1)
            bnn_events_relay(e, l, (uint32_t)(p - e->populations), first + bnn_lowest_bit(c));
    }
}

/* Whether delivering a population's spikes costs more than the synchronous kernel. */
static int too_many(const struct bnn_events *e, const struct bnn_population *p, const struct bnn_layer *l)
{
    size_t spikes = 0, pixels = 0;
    uint32_t last = BNN_NONE;
    if (l->count.limit == SIZE_MAX)
        return 0;
    for (size_t i = 0; i < p->waiting; i++) {
        uint32_t word = e->queue[p->first + i];
        spikes += bnn_popcount(p->bits[word] ^ p->seen[word]);
        pixels += word / p->words != last;
        last = word / p->words;
    }
    double cost = (double)spikes + l->pixel_cost * (double)pixels;
    return cost > (double)l->count.limit * (l->stale ? 0.5 : 1.0); /* back again costs a run, too */
}

/* All spikes under way in a population, to one layer that reads it. */
static void deliver_to(struct bnn_events *e, const struct bnn_population *p, struct bnn_layer *l)
{
    if (l->kind == BNN_LAYER_RELAY) {
        relay_waiting(e, p, l);
        return;
    }
    if (too_many(e, p, l)) {
        bnn_events_synchronous(e, l);
        return;
    }
    bnn_events_refresh(e, l);
    if (e->stopped)
        return;
    bnn_events_add_waiting(e, l, p);
    bnn_events_settle(e, l);
}

static void deliver_layer(struct bnn_events *e, struct bnn_population *p)
{
    for (uint32_t k = 0; k < p->consumer_count && p->waiting != 0 && !e->stopped; k++)
        deliver_to(e, p, &e->layers[p->consumers[k]]);
    for (size_t i = 0; i < p->waiting; i++) {
        uint32_t word = e->queue[p->first + i];
        p->seen[word] = p->bits[word];
        p->pending[word] = 0;
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

enum { ALONE = 256 }; /* work of finding a spike and its targets far from where the last one was */

/* One spike to all of its targets. */
static void deliver_one(struct bnn_events *e)
{
    if (e->order == BNN_ORDER_RANDOM) { /* the queue begins at 0 and its order means nothing */
        size_t i = draw(e, e->queued), last = e->queued - 1;
        uint32_t number = e->queue[i];
        e->queue[i] = e->queue[last];
        e->queue[last] = number;
    }
    size_t at = e->order == BNN_ORDER_RANDOM ? e->queued - 1 : e->head;
    uint32_t number = e->queue[at];
    struct bnn_population *p = population_at(e, number);
    uint32_t neuron = (uint32_t)(number - p->first);
    int seen = bnn_events_bit(p, neuron) ^ (int)(p->pending[neuron] & 1);
    struct bnn_arrival arrival = {neuron, seen ? -1 : 1};

    e->queued--;
    if (e->order == BNN_ORDER_FIFO)
        e->head = at + 1 < e->neurons ? at + 1 : 0;
    if (--p->pending[neuron] > 0) { /* the rest of its spikes wait at the end */
        size_t end = e->head + e->queued++;
        e->queue[end < e->neurons ? end : end - e->neurons] = number;
    }
    (void)bnn_events_pause(e, ALONE);
    for (uint32_t k = 0; k < p->consumer_count && !e->stopped; k++) {
        struct bnn_layer *l = &e->layers[p->consumers[k]];
        if (l->kind == BNN_LAYER_RELAY) {
            bnn_events_relay(e, l, (uint32_t)(p - e->populations), neuron);
        } else {
            bnn_events_add(e, l, arrival);
            bnn_events_settle(e, l);
        }
    }
}

bnn_status bnn_events_run(bnn_events *e)
{
    if (e == NULL)
        return BNN_ERROR_ARGUMENT;
    if (e->order == BNN_ORDER_LAYERS) {
        for (uint32_t i = 0; i < e->population_count && !e->stopped; i++) /* spikes go to later populations only */
            deliver_layer(e, &e->populations[i]);
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
    if (order == BNN_ORDER_LAYERS) {
        bnn_events_all_seen(e);
    } else {
        for (uint32_t k = 0; k < e->layer_count && !e->stopped; k++) {
            if (e->layers[k].kind == BNN_LAYER_POOL)
                bnn_events_rebuild(e, &e->layers[k]);
            if (e->layers[k].kind == BNN_LAYER_SYNAPSES)
                bnn_events_refresh(e, &e->layers[k]);
        }
    }
    if (e->stopped)
        return BNN_ERROR_STOPPED;
    e->order = order;
    e->random = seed * 2862933555777941757u + 3037000493u; /* so that near seeds give far numbers */
    e->random += e->random == 0;
    return BNN_OK;
}

void bnn_events_all_seen(struct bnn_events *e)
{
    for (uint32_t i = 0; i < e->population_count; i++) {
        struct bnn_population *p = &e->populations[i];
        memcpy(p->seen, p->bits, (size_t)p->h * p->w * p->words * sizeof *p->seen);
    }
}

/* Every neuron that fires, as a spike of each consumer's; only into `l`.  Nothing is under way. */
static void deliver_fired(struct bnn_events *e, struct bnn_layer *l, uint32_t from)
{
    struct bnn_population *p = &e->populations[from];
    size_t words = (size_t)p->h * p->w * p->words;
    if (l->kind == BNN_LAYER_SYNAPSES || l->kind == BNN_LAYER_READOUT) {
        for (size_t i = 0; i < words; i++)
            e->queue[p->first + i] = (uint32_t)i;
        memset(p->seen, 0, words * sizeof *p->seen);
        p->waiting = words;
        bnn_events_add_waiting(e, l, p);
        p->waiting = 0;
        memcpy(p->seen, p->bits, words * sizeof *p->seen);
        return;
    }
    for (size_t i = 0; i < words; i++)
        for (uint32_t c = p->bits[i]; c != 0 && !e->stopped; c &= c - 1) {
            uint32_t neuron = (uint32_t)(i / p->words * p->c + i % p->words * 32) + bnn_lowest_bit(c);
            if (l->kind == BNN_LAYER_RELAY)
                bnn_events_relay(e, l, from, neuron);
            else
                bnn_events_add(e, l, (struct bnn_arrival){neuron, 1});
        }
}

/* A wire's output while its inputs are silent: what an op pads with +1 fires all the time. */
static void silence_relay(struct bnn_events *e, const struct bnn_layer *l)
{
    const struct bnn_op *op = &e->model->ops[l->op];
    struct bnn_population *out = &e->populations[l->out];
    memset(out->bits, 0, (size_t)out->h * out->w * out->words * sizeof *out->bits);
    if (op->row->opcode != BNN_OP_PAD || !(((const struct bnn_pad_attrs *)op->attrs)->value > 0.0f))
        return;
    const struct bnn_pad_attrs *a = op->attrs;
    uint32_t top = (uint32_t)a->pad_top, left = (uint32_t)a->pad_left;
    for (uint32_t y = 0; y < out->h && !bnn_events_pause(e, UINT64_C(4) * out->w * out->c); y++)
        for (uint32_t x = 0; x < out->w; x++)
            for (uint32_t c = 0; c < out->c; c++)
                if (y < top || y >= top + l->in_h || x < left || x >= left + l->in_w)
                    bnn_events_emit(e, out, (y * out->w + x) * out->c + c);
}

void bnn_events_rebuild(struct bnn_events *e, struct bnn_layer *l)
{
    const struct bnn_op *op = &e->model->ops[l->op];
    bnn_events_layer count = l->count;
    int silent = e->silent;
    e->silent = 1;
    if (l->kind == BNN_LAYER_RELAY) {
        silence_relay(e, l);
        for (uint32_t i = 0; i < bnn_events_operands(op); i++) {
            uint32_t from = e->population_of[op->inputs[i]], repeated = 0;
            for (uint32_t j = 0; j < i; j++)
                repeated |= op->inputs[j] == op->inputs[i];
            if (!repeated)
                deliver_fired(e, l, from);
        }
    } else {
        size_t size = l->wide ? sizeof(int32_t) : sizeof(int16_t);
        memcpy(l->membranes, l->initial, bnn_events_pixels(l) * l->out_c * size);
        (void)bnn_events_pause(e, l->count.neurons / 4);
        deliver_fired(e, l, l->in);
        bnn_events_settle_all(e, l);
    }
    e->silent = silent;
    l->count = count;
    l->stale = 0;
}
