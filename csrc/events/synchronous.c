/* SPDX-License-Identifier: Apache-2.0 */
/* Layers by their synchronous kernels, in the context's memory: bits are copied there and back. */
#include "events/events.h"
#include "run/view.h"

#include <string.h>

void bnn_events_poke(const struct bnn_events *e, const struct bnn_population *p, enum bnn_moment moment)
{
    const uint32_t *bits = moment == BNN_NOW ? p->bits : p->seen;
    if (p->steps > 1) {
        bnn_events_poke_levels(e, p, moment == BNN_NOW ? p->levels : p->levels_seen);
        return;
    }
    static const struct bnn_buffers own = {NULL, NULL, 0};
    struct bnn_view v = bnn_context_view(e->context, p->tensor, 0, &own);
    size_t width = (size_t)p->w * p->words;
    for (size_t y = 0; y < p->h; y++)
        memcpy(bnn_row_words(&v, 0, y), bits + y * width, width * sizeof *bits);
    bnn_zero_halo(&v, 1, 0, p->h);
}

/* Emits the differences between a population and its tensor in the context's memory, in a part of all columns or some. */
static void take_bits(struct bnn_events *e, struct bnn_population *p, const struct bnn_part *part)
{
    static const struct bnn_buffers own = {NULL, NULL, 0};
    struct bnn_view v = bnn_context_view(e->context, p->tensor, 0, &own);
    const struct bnn_op *op = &e->model->ops[v.tensor->written];
    size_t width = (size_t)p->w * p->words, begin = part->begin[BNN_COLUMNS] * p->words;
    size_t end = part->end[BNN_COLUMNS] < op->columns ? part->end[BNN_COLUMNS] * p->words : width;
    for (size_t y = part->begin[BNN_ROWS]; y < part->end[BNN_ROWS]; y++) {
        const uint32_t *row = bnn_row_words(&v, 0, y);
        const uint32_t *bits = p->bits + y * width;
        for (size_t i = begin; i < end; i++)
            if (row[i] != bits[i])
                bnn_events_emit_word(e, p, y * p->w + i / p->words, (uint32_t)(i % p->words), row[i] ^ bits[i]);
    }
}

int bnn_events_switchable(const struct bnn_layer *l)
{
    return l->kind == BNN_LAYER_ENCODER ? l->rows != NULL : bnn_events_sums_spikes(l);
}

int bnn_events_step(struct bnn_events *e, uint32_t op, float *values)
{
    bnn_status status = values != NULL ? bnn_step_raw(e->context, op, values, 1) : bnn_step(e->context, op, 1);
    e->stopped |= status == BNN_ERROR_STOPPED;
    return e->stopped;
}

int bnn_events_step_part(struct bnn_events *e, uint32_t op, const struct bnn_part *part)
{
    static const struct bnn_buffers own = {NULL, NULL, 0};
    bnn_context_run_part(e->context, op, 1, &own, part, NULL);
    return bnn_events_pause(e, bnn_load(e->model, op) * (part->end[BNN_ROWS] - part->begin[BNN_ROWS]) /
                                   e->model->tensors[e->model->ops[op].output].h);
}

/* Membranes from the accumulators of the layer's synchronous run on its inputs of that moment. */
static void take_sums(struct bnn_events *e, struct bnn_layer *l, enum bnn_moment moment)
{
    const bnn_kernels *kernels = e->model->kernels;
    size_t at = 0;
    bnn_events_poke(e, &e->populations[l->in], moment);
    if (bnn_events_step(e, l->op, l->floats ? l->membranes : e->accumulators) || l->floats)
        return;
    for (size_t i = 0; i < bnn_events_pixels(l); i++, at += l->out_c) {
        if (l->parity != NULL)
            l->parity[i] = (uint8_t)((int32_t)e->accumulators[at] & 1); /* the same for all channels */
        if (!l->wide) { /* the next pixel overwrites what is written beyond this one */
            kernels->halve((int16_t *)l->membranes + at, e->accumulators + at, l->thresholds, l->out_c);
            continue;
        }
        for (uint32_t o = 0; o < l->out_c; o++) {
            int32_t twice = (int32_t)e->accumulators[at + o] - l->thresholds[o];
            ((int32_t *)l->membranes)[at + o] = (twice - (twice & 1)) / 2;
        }
    }
    (void)bnn_events_pause(e, l->count.neurons);
}

void bnn_events_step_bits(struct bnn_events *e, struct bnn_layer *l, const struct bnn_part *part)
{
    const struct bnn_part whole = bnn_whole(e->model, l->op, 1), *p = part != NULL ? part : &whole;
    const size_t rows = p->end[BNN_ROWS] - p->begin[BNN_ROWS], columns = p->end[BNN_COLUMNS] - p->begin[BNN_COLUMNS];
    if (part != NULL ? bnn_events_step_part(e, l->op, part) : bnn_events_step(e, l->op, NULL))
        return;
    if (l->steps > 1)
        bnn_events_take_levels(e, &e->populations[l->out], p->begin[BNN_ROWS], p->end[BNN_ROWS]);
    else
        take_bits(e, &e->populations[l->out], p);
    l->count.synchronous++;
    l->count.synops += l->count.dense * rows / whole.end[BNN_ROWS] * columns / whole.end[BNN_COLUMNS];
}

void bnn_events_synchronous(struct bnn_events *e, struct bnn_layer *l)
{
    const struct bnn_op *op = &e->model->ops[l->op];
    if (l->kind == BNN_LAYER_READOUT) {
        take_sums(e, l, BNN_NOW);
        l->count.synchronous++;
        l->count.synops += l->count.dense;
        bnn_events_show_all(e, l);
        return;
    }
    for (uint32_t i = 0; i < bnn_events_operands(op); i++)
        bnn_events_poke(e, &e->populations[e->population_of[op->inputs[i]]], BNN_NOW);
    bnn_events_step_bits(e, l, NULL);
    l->stale = l->kind == BNN_LAYER_SYNAPSES;
}

void bnn_events_refresh(struct bnn_events *e, struct bnn_layer *l)
{
    take_sums(e, l, BNN_SEEN);
    l->stale = 0;
}
