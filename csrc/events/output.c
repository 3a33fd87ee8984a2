/* SPDX-License-Identifier: Apache-2.0 */
/* Results: readouts and the ops after them, on demand; states, counts, the break-even. */
#include "epilogue.h"
#include "events/events.h"
#include "run/view.h"

#include <math.h>
#include <string.h>

static void read_out(struct bnn_events *e, const struct bnn_layer *l)
{
    float *out = e->values[l->count.tensor];
    const float *residual = NULL;
    size_t at = 0;
    if (l->residual != BNN_NONE) {
        const struct bnn_tensor *t = &e->model->tensors[l->residual];
        residual = t->storage == BNN_CONSTANT ? t->data
                   : t->storage == BNN_INPUT  ? e->inputs[t->offset].values
                                              : e->values[l->residual];
    }
    for (size_t i = 0; i < bnn_events_pixels(l) && !bnn_events_pause(e, UINT64_C(8) * l->out_c); i++, at += l->out_c)
        for (uint32_t o = 0; o < l->out_c; o++)
            out[at + o] =
                bnn_finish(bnn_events_accumulator(l, i, o), &l->finish, o, residual != NULL ? residual + at : NULL);
}

/* An op on real values, with the synchronous code. */
static void step(struct bnn_events *e, uint32_t number)
{
    const struct bnn_op *op = &e->model->ops[number];
    for (uint32_t i = 0; i < op->input_count; i++) {
        uint32_t t = op->inputs[i];
        const struct bnn_tensor *tensor = &e->model->tensors[t];
        if (tensor->storage == BNN_CONSTANT)
            continue;
        if (e->population_of[t] != BNN_NONE)
            bnn_events_poke(e, &e->populations[e->population_of[t]], BNN_NOW);
        else
            bnn_poke(e->context, t, tensor->storage == BNN_INPUT ? e->inputs[tensor->offset].values : e->values[t], 1);
    }
    if (bnn_events_step(e, number, NULL))
        return;
    bnn_peek(e->context, op->output, e->values[op->output], 1);
}

/* The value of a tensor that depends on spikes, and those that it is computed from: others, as what counters look at,
 * are left alone. */
static void compute_value(struct bnn_events *e, uint32_t tensor)
{
    const struct bnn_model *m = e->model;
    uint32_t last = m->tensors[tensor].written;
    memset(e->wanted, 0, m->tensor_count);
    e->wanted[tensor] = 1;
    for (uint32_t k = last + 1; k-- > 0;)
        for (uint32_t i = 0; i < m->ops[k].input_count && e->wanted[m->ops[k].output]; i++)
            e->wanted[m->ops[k].inputs[i]] |= e->classes[m->ops[k].inputs[i]] == BNN_REAL;
    for (uint32_t k = 0; k <= last && !e->stopped; k++) {
        if (!e->wanted[m->ops[k].output])
            continue;
        if (e->layer_of[k] != BNN_NONE)
            read_out(e, &e->layers[e->layer_of[k]]);
        else
            step(e, k);
    }
}

bnn_status bnn_events_output(bnn_events *e, uint32_t output, float *values)
{
    if (e == NULL || output >= e->model->output_count || values == NULL)
        return BNN_ERROR_ARGUMENT;
    bnn_status status = bnn_events_state(e, e->model->output_tensors[output], values);
    for (size_t i = 0; e->invalid && i < bnn_elements(&e->model->tensors[e->model->output_tensors[output]]); i++)
        values[i] = NAN;
    return status;
}

bnn_status bnn_events_state(bnn_events *e, uint32_t tensor, float *values)
{
    if (e == NULL || tensor >= e->model->tensor_count || values == NULL)
        return BNN_ERROR_ARGUMENT;
    if (e->stopped)
        return BNN_ERROR_STOPPED;
    const struct bnn_tensor *t = &e->model->tensors[tensor];
    if (e->population_of[tensor] != BNN_NONE) {
        const struct bnn_population *p = &e->populations[e->population_of[tensor]];
        if (p->steps > 1) {
            bnn_events_poke(e, p, BNN_NOW);
            return bnn_peek(e->context, tensor, values, 1);
        }
        for (size_t i = 0; i < (size_t)p->h * p->w; i++)
            bnn_unpack_pixel(values + i * p->c, p->bits + i * p->words, p->c);
        return BNN_OK;
    }
    if (t->storage == BNN_INPUT) {
        memcpy(values, e->inputs[t->offset].values, (size_t)bnn_elements(t) * sizeof *values);
        return BNN_OK;
    }
    if (e->values[tensor] == NULL || (e->classes[tensor] == BNN_ANALOG && e->local))
        return BNN_ERROR_ARGUMENT; /* a constant, or a value of the encoder that is not kept */
    if (e->classes[tensor] == BNN_REAL)
        compute_value(e, tensor);
    memcpy(values, e->values[tensor], (size_t)bnn_elements(t) * sizeof *values);
    return bnn_events_status(e);
}

uint32_t bnn_events_layer_count(const bnn_events *e)
{
    return e->layer_count;
}

bnn_status bnn_events_get_layer(const bnn_events *e, uint32_t layer, bnn_events_layer *info)
{
    if (e == NULL || layer >= e->layer_count || info == NULL)
        return BNN_ERROR_ARGUMENT;
    *info = e->layers[layer].count;
    return BNN_OK;
}

void bnn_events_set_poll(bnn_events *e, bnn_poll *poll, void *argument)
{
    bnn_context_set_poll(e->context, poll, argument);
}

void bnn_events_set_time(bnn_events *e, uint64_t now)
{
    e->now = now;
}

void bnn_events_set_trace(bnn_events *e, bnn_spike *spikes, size_t capacity)
{
    e->trace = spikes;
    e->trace_capacity = spikes != NULL ? capacity : 0;
    e->traced = 0;
}

size_t bnn_events_traced(const bnn_events *e)
{
    return e->traced;
}

bnn_status bnn_events_set_limit(bnn_events *e, uint32_t layer, size_t limit)
{
    if (e == NULL || layer >= e->layer_count || (limit != SIZE_MAX && !bnn_events_switchable(&e->layers[layer])))
        return BNN_ERROR_ARGUMENT;
    if (e->stopped)
        return BNN_ERROR_STOPPED;
    if (e->queued != 0)
        return BNN_ERROR_ARGUMENT;
    e->layers[layer].count.limit = limit;
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
static void mark(struct bnn_events *e, struct bnn_population *p, uint32_t pixel, uint32_t mask)
{
    uint32_t *queue = e->queue + p->first;
    for (uint32_t k = 0; k < p->words && p->steps == 1; k++) {
        uint32_t last = k + 1 == p->words && p->c % 32 != 0 ? (UINT32_C(1) << p->c % 32) - 1 : UINT32_MAX;
        uint32_t word = queue[p->waiting++] = pixel * p->words + k;
        p->seen[word] ^= mask & last;
    }
    for (uint32_t c = 0; c < p->c && p->steps > 1; c++)
        if (mask >> c % 32 & 1) {
            uint32_t neuron = queue[p->waiting++] = pixel * p->c + c;
            p->levels_seen[neuron] ^= 1;
        }
}

/* Nanoseconds for spikes of `pixels` input pixels in the bits of `mask` of every word: there and back, several
 * times. */
static uint64_t time_spikes(struct bnn_events *e, struct bnn_layer *l, bnn_clock *clock, uint32_t pixels, uint32_t mask)
{
    struct bnn_population *p = &e->populations[l->in];
    uint32_t all = p->h * p->w;
    for (uint32_t i = 0; i < pixels; i++)
        mark(e, p, (uint32_t)((uint64_t)i * all / pixels), mask);
    struct bnn_delivery there = {p, p->seen, p->bits, e->queue + p->first, p->waiting, p->levels_seen, p->levels};
    struct bnn_delivery back = {p, p->bits, p->seen, e->queue + p->first, p->waiting, p->levels, p->levels_seen};
    uint64_t start = clock();
    for (uint32_t i = 0; i < repeats && !e->stopped; i++) {
        bnn_events_add(e, l, &there);
        bnn_events_add(e, l, &back);
        if (l->kind != BNN_LAYER_READOUT)
            bnn_events_settle(e, l); /* nothing changed: only the time to find that out */
        else
            bnn_events_show(e, l);
    }
    uint64_t took = clock() - start;
    for (; p->waiting > 0; p->waiting--) {
        uint32_t word = e->queue[p->first + p->waiting - 1];
        if (p->steps > 1)
            p->levels_seen[word] = p->levels[word];
        else
            p->seen[word] = p->bits[word];
    }
    return took;
}

/* Sets the limit of a layer of spikes. */
static void calibrate_spikes(struct bnn_events *e, struct bnn_layer *l, bnn_clock *clock)
{
    const struct bnn_population *p = &e->populations[l->in];
    uint64_t few = UINT64_MAX, many = UINT64_MAX, whole = UINT64_MAX;
    uint32_t pixels = p->h * p->w < probes ? p->h * p->w : probes;
    int stale = l->stale;
    for (size_t round = 0; round < rounds && !e->stopped; round++) {
        uint64_t start = clock();
        bnn_events_synchronous(e, l);
        whole = least(whole, clock() - start);
        few = least(few, time_spikes(e, l, clock, pixels, 1));
        many = least(many, time_spikes(e, l, clock, pixels, UINT32_MAX));
    }
    /* a pixel and its spikes: few = pixel + words * spike, many = pixel + all channels * spike */
    double passes = 2.0 * repeats * pixels, more = (double)(p->c - p->words), each = (double)few / passes;
    double spike = more > 0 && many > few ? (double)(many - few) / passes / more : each / p->words;
    spike = spike > 0.01 ? spike : 0.01; /* a clock that is too coarse */
    l->pixel_cost = each > spike * p->words ? each / spike - p->words : 0;
    l->count.limit = (size_t)((double)whole / spike);
    l->stale = stale;
}

/* Sets the limit of an encoder, in pixels. */
static void calibrate_encoder(struct bnn_events *e, struct bnn_layer *l, bnn_clock *clock)
{
    uint64_t few = UINT64_MAX, whole = UINT64_MAX;
    int stale = l->stale;
    if (e->step == 0.0f)
        bnn_events_find_cuts(e, l, 1e6f); /* as after a promise */
    size_t count = e->inputs[l->input].count, pixels = count < 4 * probes ? count : 4 * probes,
           first = (count - pixels) / 2;
    for (size_t round = 0; round < rounds && !e->stopped; round++) {
        uint64_t start = clock();
        l->whole = 1;
        bnn_events_encode_whole(e);
        whole = least(whole, clock() - start);
        start = clock();
        for (size_t i = 0; i < pixels && !e->stopped; i++)
            bnn_events_add_pixel(e, l, first + i, 0.0f);
        bnn_events_settle(e, l);
        few = least(few, clock() - start);
    }
    l->count.limit = (size_t)((double)whole * (double)pixels / ((double)few + 1.0));
    l->stale = stale;
}

/* Levels as the targets have seen them. */
static void restore(struct bnn_events *e, struct bnn_population *p)
{
    for (uint32_t k = 0; k < p->neurons; k++)
        bnn_events_set_level(e, p, k, p->levels_seen[k]);
}

bnn_status bnn_events_calibrate(bnn_events *e, bnn_clock *clock)
{
    if (e == NULL || clock == NULL)
        return BNN_ERROR_ARGUMENT;
    if (e->stopped)
        return BNN_ERROR_STOPPED;
    if (e->queued != 0)
        return BNN_ERROR_ARGUMENT;
    e->silent = 1;
    for (uint32_t k = 0; k < e->layer_count; k++) {
        struct bnn_layer *l = &e->layers[k];
        bnn_events_layer count = l->count;
        if (!bnn_events_switchable(l) || (l->kind == BNN_LAYER_ENCODER && !e->simple))
            continue;
        if (l->kind == BNN_LAYER_ENCODER)
            calibrate_encoder(e, l, clock);
        else
            calibrate_spikes(e, l, clock);
        if (e->stopped) {
            l->count.limit = count.limit;
            break;
        }
        count.limit = l->count.limit;
        l->count = count;
        if (l->out == BNN_NONE)
            continue;
        /* The timed runs may have left other bits, which the next layer must not see: membranes of an encoder without a
         * promise are meaningless. */
        struct bnn_population *p = &e->populations[l->out];
        if (p->steps > 1)
            restore(e, p);
        else
            memcpy(p->bits, p->seen, (size_t)p->h * p->w * p->words * sizeof *p->bits);
    }
    e->silent = 0;
    return bnn_events_status(e);
}
