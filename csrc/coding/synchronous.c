/* SPDX-License-Identifier: Apache-2.0 */
/* Layers by their synchronous kernels, in the context's memory: bits are copied there and back. */
#include "coding/coding.h"
#include "run/view.h"

#include <string.h>

static const struct bnn_buffers own = {NULL, NULL, 0};

/* Bit c of plane k of a pixel's numbers is bit k of channel c's. */
static void poke_levels(const struct bnn_view *v, const struct bnn_changes *c, const uint8_t *levels)
{
    for (size_t y = 0; y < c->p->h; y++) {
        uint32_t *pixel = bnn_row_words(v, 0, y);
        memset(pixel, 0, (size_t)c->p->w * v->tensor->words * sizeof *pixel);
        for (size_t x = 0; x < c->p->w; x++, pixel += v->tensor->words, levels += c->p->c)
            for (uint32_t i = 0; i < c->p->c; i++)
                for (uint32_t k = 0; levels[i] >> k != 0; k++)
                    pixel[k * c->words + i / 32] |= (levels[i] >> k & UINT32_C(1)) << i % 32;
    }
}

void bnn_events_poke(const struct bnn_events *e, uint32_t tensor, enum bnn_moment moment)
{
    const struct bnn_changes *c = bnn_events_changes(e, tensor);
    struct bnn_view v = bnn_context_view(e->context, tensor, 0, &own);
    const size_t width = (size_t)c->p->w * c->words;
    if (bnn_event_levels(c))
        poke_levels(&v, c, moment == BNN_NOW ? c->levels : c->levels_seen);
    for (size_t y = 0; !bnn_event_levels(c) && y < c->p->h; y++)
        memcpy(bnn_row_words(&v, 0, y), (moment == BNN_NOW ? c->bits : c->seen) + y * width, width * sizeof *c->bits);
    bnn_zero_halo(&v, 1, 0, c->p->h);
}

/* The differences between a population and its tensor in the context's memory, in a part of all columns or some. */
static void take_bits(struct bnn_events *e, struct bnn_changes *c, uint32_t tensor, const struct bnn_part *part)
{
    struct bnn_view v = bnn_context_view(e->context, tensor, 0, &own);
    const struct bnn_op *op = &e->model->ops[v.tensor->written];
    const size_t width = (size_t)c->p->w * c->words, begin = part->begin[BNN_COLUMNS] * c->words;
    const size_t end = part->end[BNN_COLUMNS] < op->columns ? part->end[BNN_COLUMNS] * c->words : width;
    for (size_t y = part->begin[BNN_ROWS]; y < part->end[BNN_ROWS]; y++) {
        const uint32_t *row = bnn_row_words(&v, 0, y), *bits = c->bits + y * width;
        for (size_t i = begin; i < end; i++)
            if (row[i] != bits[i])
                bnn_event_turn(e->state, c, y * c->p->w + i / c->words, (uint32_t)(i % c->words), row[i] ^ bits[i]);
    }
}

static void take_levels(struct bnn_events *e, struct bnn_changes *c, uint32_t tensor, size_t first, size_t end)
{
    struct bnn_view v = bnn_context_view(e->context, tensor, 0, &own);
    uint32_t neuron = (uint32_t)first * c->p->w * c->p->c;
    const uint32_t planes = v.tensor->words / c->words;
    for (size_t y = first; y < end; y++) {
        const uint32_t *pixel = bnn_row_words(&v, 0, y);
        for (size_t x = 0; x < c->p->w; x++, pixel += v.tensor->words)
            for (uint32_t i = 0; i < c->p->c; i++) {
                uint32_t level = 0;
                for (uint32_t k = 0; k < planes; k++)
                    level |= (pixel[k * c->words + i / 32] >> i % 32 & 1) << k;
                bnn_event_set_level(e->state, c, neuron++, level < c->p->steps ? level : c->p->steps);
            }
    }
}

int bnn_events_switchable(const struct bnn_layer *l)
{
    return l->kind == BNN_LAYER_ENCODER ? l->input != BNN_NONE && l->sums != BNN_NONE : bnn_events_sums_spikes(l);
}

int bnn_events_step(struct bnn_events *e, uint32_t op, float *values)
{
    const bnn_status status = values != NULL ? bnn_step_raw(e->context, op, values, 1) : bnn_step(e->context, op, 1);
    e->state->stopped |= status == BNN_ERROR_STOPPED;
    return e->state->stopped;
}

int bnn_events_step_part(struct bnn_events *e, uint32_t op, const struct bnn_part *part)
{
    bnn_context_run_part(e->context, op, 1, &own, part, NULL);
    return bnn_events_pause(e, bnn_load(e->model, op) * (part->end[BNN_ROWS] - part->begin[BNN_ROWS]) /
                                   e->model->tensors[e->model->ops[op].output].h);
}

/* The constant that is added to the sums of a layer, or NULL. */
static const float *added_to(const struct bnn_events *e, const struct bnn_layer *l)
{
    const uint32_t last = l->changes->paths[l->changes->path_count - 1].projection->origin - 1;
    const struct bnn_op *op = &e->model->ops[last];
    const uint32_t residual = bnn_slot_input(op, BNN_SLOT_RESIDUAL);
    const struct bnn_tensor *t = residual == 0 ? NULL : bnn_op_input(e->model, op, residual);
    return t != NULL && l->merged && t->storage == BNN_CONSTANT ? t->data : NULL;
}

/* The accumulators of all ops that are one sum, on their inputs of that moment; NULL: stopped. */
static const float *total(struct bnn_events *e, struct bnn_layer *l, enum bnn_moment moment)
{
    const struct bnn_changes *c = l->changes;
    const float *added = added_to(e, l);
    for (uint32_t i = 0; i < c->path_count; i++) {
        const uint32_t op = c->paths[i].projection->origin - 1;
        bnn_events_poke(e, e->model->ops[op].inputs[0], moment);
        if (bnn_events_step(e, op, e->accumulators))
            return NULL;
        if (c->path_count == 1 && added == NULL)
            return e->accumulators;
        for (size_t k = 0; k < c->p->n; k++)
            e->totals[k] = e->accumulators[k] + (i > 0 ? e->totals[k] : added != NULL ? added[k] : 0.0f);
    }
    return e->totals;
}

static void take_sums(struct bnn_events *e, struct bnn_layer *l, enum bnn_moment moment)
{
    const struct bnn_changes *c = l->changes;
    const float *sums = total(e, l, moment);
    int16_t *m = c->membranes;
    if (sums == NULL)
        return;
    if (!c->p->lanes)
        memcpy(c->membranes, sums, c->p->n * sizeof *sums);
    for (size_t i = 0; c->limits != NULL && i < c->pixels; i++) /* the next pixel overwrites what is written beyond */
        e->model->kernels->events->halve(m + i * c->p->c, sums + i * c->p->c, c->limits, c->p->c);
    for (size_t i = 0; c->p->lanes && c->limits == NULL && i < c->p->n; i++)
        m[i] = (int16_t)((int32_t)(sums[i] - bnn_of(&c->p->parameters[INITIAL], i)) / 2);
    (void)bnn_events_pause(e, c->p->n);
}

void bnn_events_step_bits(struct bnn_events *e, struct bnn_layer *l, const struct bnn_part *part)
{
    const struct bnn_part whole = bnn_whole(e->model, l->op, 1), *p = part != NULL ? part : &whole;
    const size_t rows = p->end[BNN_ROWS] - p->begin[BNN_ROWS], columns = p->end[BNN_COLUMNS] - p->begin[BNN_COLUMNS];
    struct bnn_changes *c = bnn_events_changes(e, l->tensor);
    if (part != NULL ? bnn_events_step_part(e, l->op, part) : bnn_events_step(e, l->op, NULL))
        return;
    if (bnn_event_levels(c))
        take_levels(e, c, l->tensor, p->begin[BNN_ROWS], p->end[BNN_ROWS]);
    else
        take_bits(e, c, l->tensor, p);
    l->synchronous++;
    l->synops += l->dense * rows / whole.end[BNN_ROWS] * columns / whole.end[BNN_COLUMNS];
}

void bnn_events_synchronous(struct bnn_events *e, struct bnn_layer *l)
{
    const struct bnn_op *op = &e->model->ops[l->op];
    struct bnn_changes *c = l->changes;
    if (c->p->rule == RULE_SUM) {
        take_sums(e, l, BNN_NOW);
        l->synchronous++;
        l->synops += l->dense;
        bnn_event_forget(c);
        if (c->watched)
            bnn_event_touch(c, 0, c->pixels);
        return;
    }
    for (uint32_t i = 0; i < bnn_events_operands(op); i++)
        bnn_events_poke(e, op->inputs[i], BNN_NOW);
    bnn_events_step_bits(e, l, NULL);
    c->stale = l->kind == BNN_LAYER_SYNAPSES;
}

void bnn_events_refresh(struct bnn_events *e, struct bnn_layer *l)
{
    take_sums(e, l, BNN_SEEN);
    l->changes->stale = 0;
}

/* Whether delivering spikes costs more than the synchronous kernel. */
static int too_many(const struct bnn_layer *l)
{
    size_t spikes = 0, pixels = 0;
    if (l->limit == SIZE_MAX)
        return 0;
    for (uint32_t k = 0; k < l->changes->path_count; k++) {
        const struct bnn_changes *from = l->changes->paths[k].from;
        uint32_t last = BNN_NONE;
        for (size_t i = 0; i < from->waiting_count; i++) {
            const uint32_t unit = from->waiting[i];
            const uint32_t pixel = unit / (bnn_event_levels(from) ? from->p->c : from->words);
            spikes += bnn_event_levels(from) ? from->levels_seen[unit] != from->levels[unit]
                                             : bnn_popcount(from->seen[unit] ^ from->bits[unit]);
            pixels += pixel != last;
            last = pixel;
        }
    }
    const double cost = (double)spikes + l->pixel_cost * (double)pixels;
    return cost > (double)l->limit * (l->changes->stale ? 0.5 : 1.0); /* switching back costs a run, too */
}

int bnn_events_decides(void *engine, uint32_t population)
{
    struct bnn_events *e = engine;
    struct bnn_layer *l = e->layer_of[population] == BNN_NONE ? NULL : &e->layers[e->layer_of[population]];
    if (l == NULL || !bnn_events_sums_spikes(l))
        return 0;
    int arrives = 0;
    for (uint32_t k = 0; k < l->changes->path_count; k++)
        arrives |= l->changes->paths[k].from->waiting_count != 0;
    if (!arrives)
        return 0;
    if (too_many(l)) {
        bnn_events_synchronous(e, l);
        return 1;
    }
    if (l->changes->stale)
        bnn_events_refresh(e, l);
    return e->state->stopped;
}
