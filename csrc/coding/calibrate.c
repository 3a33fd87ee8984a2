/* SPDX-License-Identifier: Apache-2.0 */
/* The break-even of layers: where their synchronous kernels take less time than what arrives. */
#include "coding/coding.h"

#include <string.h>

/* No spike is pending. */
static int at_rest(const struct bnn_events *e)
{
    size_t waiting = 0;
    for (uint32_t k = 0; k < e->state->net->population_count; k++)
        waiting += e->state->neurons[k].changes->waiting_count;
    return waiting == 0;
}

bnn_status bnn_events_set_limit(bnn_events *e, uint32_t layer, size_t limit)
{
    if (e == NULL || layer >= e->layer_count || (limit != SIZE_MAX && !bnn_events_switchable(&e->layers[layer])))
        return BNN_ERROR_ARGUMENT;
    if (e->state->stopped)
        return BNN_ERROR_STOPPED;
    if (!at_rest(e))
        return BNN_ERROR_ARGUMENT;
    e->layers[layer].limit = limit;
    e->layers[layer].pixel_cost = 0;
    return BNN_OK;
}

/* Timing both ways: spikes of at most this number of input pixels, there and back. */
static const uint32_t probes = 32, repeats = 8;
static const size_t rounds = 5;

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Pretends that the neurons of a pixel in the bits of `mask` of every word turned; those of levels, by a step. */
static void mark(struct bnn_changes *c, uint32_t pixel, uint32_t mask)
{
    for (uint32_t k = 0; k < c->words && !bnn_event_levels(c); k++) {
        const uint32_t last = k + 1 == c->words && c->p->c % 32 != 0 ? (UINT32_C(1) << c->p->c % 32) - 1 : UINT32_MAX;
        const uint32_t word = c->waiting[c->waiting_count++] = pixel * c->words + k;
        c->seen[word] ^= mask & last;
    }
    for (uint32_t i = 0; i < c->p->c && bnn_event_levels(c); i++)
        if (mask >> i % 32 & 1) {
            const uint32_t neuron = c->waiting[c->waiting_count++] = pixel * c->p->c + i;
            c->levels_seen[neuron] ^= 1;
        }
}

/* Now and before change places. */
static void exchange(struct bnn_changes *c)
{
    uint32_t *bits = c->bits;
    uint8_t *levels = c->levels;
    c->bits = c->seen;
    c->seen = bits;
    c->levels = c->levels_seen;
    c->levels_seen = levels;
}

/* Nanoseconds for spikes of `pixels` input pixels in the bits of `mask` of every word: there and back, several
 * times. */
static uint64_t time_spikes(struct bnn_events *e, struct bnn_layer *l, bnn_clock *clock, uint32_t pixels, uint32_t mask)
{
    struct bnn_path *path = &l->changes->paths[0];
    struct bnn_changes *from = path->from;
    for (uint32_t i = 0; i < pixels; i++)
        mark(from, (uint32_t)((uint64_t)i * from->pixels / pixels), mask);
    const uint64_t start = clock();
    for (uint32_t i = 0; i < repeats && !e->state->stopped; i++) {
        bnn_event_deliver(e->state, path);
        exchange(from);
        bnn_event_deliver(e->state, path);
        exchange(from);
        if (l->kind == BNN_LAYER_SYNAPSES)
            bnn_event_settle(e->state, l->changes); /* nothing changed: only the time to find that out */
        else
            bnn_event_forget(l->changes);
    }
    const uint64_t took = clock() - start;
    for (; from->waiting_count > 0; from->waiting_count--) {
        const uint32_t unit = from->waiting[from->waiting_count - 1];
        if (bnn_event_levels(from))
            from->levels_seen[unit] = from->levels[unit];
        else
            from->seen[unit] = from->bits[unit];
    }
    return took;
}

/* Sets the limit of a layer of spikes. */
static void calibrate_spikes(struct bnn_events *e, struct bnn_layer *l, bnn_clock *clock)
{
    const struct bnn_changes *from = l->changes->paths[0].from;
    uint64_t few = UINT64_MAX, many = UINT64_MAX, whole = UINT64_MAX;
    const uint32_t pixels = from->pixels < probes ? from->pixels : probes, channels = from->p->c;
    const int stale = l->changes->stale;
    for (size_t round = 0; round < rounds && !e->state->stopped; round++) {
        const uint64_t start = clock();
        bnn_events_synchronous(e, l);
        whole = least(whole, clock() - start);
        bnn_event_forget(l->changes);
        few = least(few, time_spikes(e, l, clock, pixels, 1));
        many = least(many, time_spikes(e, l, clock, pixels, UINT32_MAX));
    }
    /* a pixel and its spikes: few = pixel + words * spike, many = pixel + all channels * spike */
    const double passes = 2.0 * repeats * pixels, more = (double)(channels - from->words), each = (double)few / passes;
    double spike = more > 0 && many > few ? (double)(many - few) / passes / more : each / from->words;
    spike = spike > 0.01 ? spike : 0.01; /* a clock that is too coarse */
    l->pixel_cost = each > spike * from->words ? each / spike - from->words : 0;
    l->limit = (size_t)((double)whole / spike);
    l->changes->stale = stale;
}

/* Sets the limit of an encoder, in pixels. */
static void calibrate_encoder(struct bnn_events *e, struct bnn_layer *l, bnn_clock *clock)
{
    uint64_t few = UINT64_MAX, whole = UINT64_MAX;
    const int stale = l->changes->stale;
    const size_t count = e->inputs[l->input].count, pixels = count < 4 * probes ? count : 4 * probes,
                 first = (count - pixels) / 2;
    for (size_t round = 0; round < rounds && !e->state->stopped; round++) {
        uint64_t start = clock();
        l->whole = 1;
        bnn_events_encode_whole(e);
        whole = least(whole, clock() - start);
        start = clock();
        for (size_t i = 0; i < pixels && !e->state->stopped; i++)
            bnn_events_add_pixel(e, l, first + i, 0.0f);
        bnn_event_settle(e->state, l->changes);
        few = least(few, clock() - start);
    }
    l->limit = (size_t)((double)whole * (double)pixels / ((double)few + 1.0));
    l->changes->stale = stale;
}

/* The timed runs may have left other bits, which the next layer must not see: membranes of an encoder without a promise
 * are meaningless. */
static void restore(struct bnn_events *e, struct bnn_changes *c)
{
    for (uint32_t k = 0; c->levels != NULL && k < c->p->n; k++)
        bnn_event_set_level(e->state, c, k, c->levels_seen[k]);
    if (c->bits != NULL)
        memcpy(c->bits, c->seen, bnn_event_units(c) * sizeof *c->bits);
}

bnn_status bnn_events_calibrate(bnn_events *e, bnn_clock *clock)
{
    if (e == NULL || clock == NULL)
        return BNN_ERROR_ARGUMENT;
    if (e->state->stopped)
        return BNN_ERROR_STOPPED;
    if (!at_rest(e))
        return BNN_ERROR_ARGUMENT;
    e->state->silent = 1;
    for (uint32_t k = 0; k < e->layer_count && !e->state->stopped; k++) {
        struct bnn_layer *l = &e->layers[k], kept = *l;
        const struct bnn_path *paths = l->changes->paths;
        if (!bnn_events_switchable(l) || (l->kind == BNN_LAYER_ENCODER && !e->simple))
            continue;
        bnn_events_layer before, after;
        (void)bnn_events_get_layer(e, k, &before);
        if (l->kind == BNN_LAYER_ENCODER)
            calibrate_encoder(e, l, clock);
        else
            calibrate_spikes(e, l, clock);
        if (e->state->stopped) {
            l->limit = kept.limit;
            break;
        }
        kept.limit = l->limit;
        kept.pixel_cost = l->pixel_cost;
        *l = kept;
        (void)bnn_events_get_layer(e, k, &after);
        l->changes->paths[0].events -= after.events - before.events;
        e->state->synops[paths[0].projection - e->state->net->projections] -= after.synops - before.synops;
        restore(e, l->changes);
    }
    e->state->silent = 0;
    return bnn_events_status(e);
}
