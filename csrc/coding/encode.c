/* SPDX-License-Identifier: Apache-2.0 */
/* The encoder, which turns the model's inputs into the first spikes. */
#include "coding/coding.h"
#include "run/view.h"

#include <string.h>

/* The encoder that an op computes: its bits, or the sums before them; or NULL. */
static struct bnn_layer *encoder_of(const struct bnn_events *e, uint32_t op)
{
    for (uint32_t k = 0; k < e->layer_count; k++)
        if (e->layers[k].kind == BNN_LAYER_ENCODER && (e->layers[k].op == op || e->layers[k].sums == op))
            return &e->layers[k];
    return NULL;
}

/* On one axis: the outputs, from *first to *end - 1, whose window of `kernel` has an input from `from` to `to`. */
static void windows(uint32_t from, uint32_t to, int32_t pad, uint32_t kernel, int32_t stride, uint32_t outputs,
                    uint32_t *first, uint32_t *end)
{
    const uint32_t begin = from + (uint32_t)pad, last = to + (uint32_t)pad, step = (uint32_t)stride;
    *first = begin < kernel ? 0 : (begin - kernel) / step + 1; /* beyond the last output, if no window has any */
    *end = last / step + 1 < outputs ? last / step + 1 : outputs;
}

/* Narrows a part, all of an op of an encoder, to the rows that changed pixels reach; and to columns, if the pixels lie in
 * one row and the op is a convolution to bits.  Zero: that is more than one piece of work. */
static int narrow(const struct bnn_events *e, const struct bnn_layer *l, uint32_t op, struct bnn_part *part)
{
    static const struct bnn_conv_attrs plain = {.stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1};
    const struct bnn_model *m = e->model;
    const struct bnn_op *source = &m->ops[l->sums != BNN_NONE ? l->sums : l->op];
    const struct bnn_conv_attrs *a = l->sums != BNN_NONE ? source->attrs : &plain;
    const struct bnn_tensor *x = bnn_op_input(m, source, 0), *y = &m->tensors[source->output];
    const uint32_t kernel_h = l->sums != BNN_NONE ? bnn_op_input(m, source, 1)->h : 1;
    const uint32_t kernel_w = l->sums != BNN_NONE ? bnn_op_input(m, source, 1)->w : 1;
    const struct bnn_pixels *in = &e->inputs[l->reads];
    const size_t width = (size_t)x->w * x->c;
    uint32_t first = (uint32_t)(in->first / width), last = (uint32_t)((in->end - 1) / width), begin, end; /* rows */
    if (in->first == in->end) {
        part->end[BNN_ROWS] = 0;
        return 1;
    }
    windows(first, last, a->pad_top, (kernel_h - 1) * (uint32_t)a->dilation_h + 1, a->stride_h, y->h, &begin, &end);
    part->begin[BNN_ROWS] = begin < end ? begin : end;
    part->end[BNN_ROWS] = end;
    if (first == last && l->sums == l->op) {
        first = (uint32_t)(in->first % width / x->c), last = (uint32_t)((in->end - 1) % width / x->c);
        windows(first, last, a->pad_left, (kernel_w - 1) * (uint32_t)a->dilation_w + 1, a->stride_w, y->w, &begin,
                &end);
        part->begin[BNN_COLUMNS] = begin < end ? begin : end;
        part->end[BNN_COLUMNS] = end;
    }
    return bnn_times(bnn_load(m, op), part->end[BNN_ROWS] - part->begin[BNN_ROWS]) / y->h <= BNN_PIECE;
}

/* Runs the ops before the first bits on e->inputs; convolutions and quantizers that depend on nothing else only where
 * pixels changed.  Other ops run as a whole, because the context's memory does not keep what they gave. */
static void encode(struct bnn_events *e)
{
    const struct bnn_model *m = e->model;
    const int partly = e->local && !e->invalid;
    e->context->nan[0] = 0;
    for (uint32_t i = 0; i < m->input_count; i++)
        bnn_poke(e->context, m->input_tensors[i], e->inputs[i].values, 1);
    for (uint32_t k = 0; k < m->op_count && !e->state->stopped; k++) {
        const struct bnn_op *op = &m->ops[k];
        struct bnn_layer *l = encoder_of(e, k);
        struct bnn_part part = bnn_whole(m, k, 1);
        const int bits = l != NULL && l->op == k, some = partly && l != NULL && narrow(e, l, k, &part);
        if (e->classes[op->output] != BNN_ANALOG && !bits)
            continue;
        if (some && part.begin[BNN_ROWS] >= part.end[BNN_ROWS])
            continue;
        if (bits) {
            bnn_events_step_bits(e, l, some ? &part : NULL);
            l->changes->stale = 1;
        } else if (some ? bnn_events_step_part(e, k, &part) : bnn_events_step(e, k, NULL)) {
            return;
        } else if (!e->local) {
            bnn_peek(e->context, op->output, e->values[op->output], 1);
        }
        (void)bnn_events_pause(e, bnn_elements(&m->tensors[op->output]));
    }
    e->invalid = e->context->nan[0] != 0;
}

/* Whether every input is given, with values that its tensor can hold. */
static int all_there(const struct bnn_events *e, const float *const *inputs)
{
    const struct bnn_model *m = e->model;
    for (uint32_t i = 0; i < m->input_count; i++)
        if (inputs[i] == NULL || !bnn_hold(&m->tensors[m->input_tensors[i]], inputs[i], e->inputs[i].count))
            return 0;
    return 1;
}

/* Neurons in the shape of their readers have the levels of their sources. */
static void pass_on(struct bnn_events *e, struct bnn_changes *c)
{
    const struct bnn_changes *from = c->paths[0].from;
    const uint32_t *first = c->paths[0].projection->weights, *wires = first + from->p->n + 1;
    for (uint32_t i = 0; i < from->p->n; i++)
        for (uint32_t k = first[i]; k < first[i + 1]; k++)
            if (bnn_event_levels(c))
                bnn_event_set_level(e->state, c, wires[k], from->levels[i]);
            else if (bnn_event_bit(c, wires[k]) != bnn_event_bit(from, i))
                bnn_event_turn_one(e->state, c, wires[k]);
}

/* A population's bits and sums from those of its sources, all at once. */
static void set_up(struct bnn_events *e, uint32_t population)
{
    struct bnn_changes *c = e->state->neurons[population].changes;
    struct bnn_layer *l = e->layer_of[population] == BNN_NONE ? NULL : &e->layers[e->layer_of[population]];
    if (l == NULL && c->p->rule == RULE_WIRE)
        pass_on(e, c);
    else if (l != NULL && l->kind == BNN_LAYER_COUNTER)
        bnn_event_settle(e->state, c);
    else if (l != NULL && l->kind != BNN_LAYER_ENCODER && l->kind != BNN_LAYER_READOUT)
        bnn_events_synchronous(e, l);
}

bnn_status bnn_events_reset(bnn_events *e, const float *const *inputs)
{
    if (e == NULL || (inputs != NULL && !all_there(e, inputs)))
        return BNN_ERROR_ARGUMENT;
    for (uint32_t i = 0; i < e->model->input_count; i++) {
        const size_t bytes = e->inputs[i].count * sizeof(float);
        if (inputs != NULL)
            memcpy(e->inputs[i].values, inputs[i], bytes);
        else
            memset(e->inputs[i].values, 0, bytes);
    }
    const uint32_t populations = e->state->net->population_count;
    e->invalid = 1; /* the encoder must run as a whole */
    e->step = 0.0f;
    e->state->silent = 1;
    (void)bnn_snn_reset(e->state);
    for (uint32_t k = 0; k < e->layer_count; k++)
        e->layers[k].whole = 0;
    encode(e);
    for (uint32_t k = 0; k < populations && !e->state->stopped; k++)
        set_up(e, k);
    bnn_event_all_seen(e->state);
    for (uint32_t k = 0; k < e->layer_count && !e->state->stopped; k++)
        if (bnn_events_sums_spikes(&e->layers[k]))
            bnn_events_refresh(e, &e->layers[k]);
    e->state->silent = 0;
    bnn_events_clear_counts(e);
    return bnn_events_status(e);
}

/* Whether a value is a multiple of step and at most bound in magnitude. */
static int promised(float value, float step, float bound)
{
    float magnitude = value < 0.0f ? -value : value;
    if (!(magnitude <= bound))
        return 0;
    float steps = magnitude / step; /* exact: step is a power of two, and below 2^24 */
    return (float)(int32_t)steps == steps;
}

static int power_of_two(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return v > 0.0f && (bits & 0x7fffffu) == 0 && bits >> 23 != 0 && bits >> 23 != 0xffu;
}

/* Every partial sum, and twice the largest of one change, is a multiple of step * row_step below 2^24 of them; and cuts
 * hold for twice the largest sum, which is more than any on the way from one to another. */
static int exact(const struct bnn_layer *l, float step, float bound)
{
    const double unit = (double)step * (double)l->row_step, most = 2.0 * (double)bound * (double)l->row_sum;
    return unit >= 1e-30 && most <= 16777216.0 * unit && most <= (double)l->changes->p->parameters[THRESHOLD].data[0];
}

/* Sums of the inputs that are there. */
static void sum_up(struct bnn_events *e, struct bnn_layer *l)
{
    const struct bnn_pixels *in = &e->inputs[l->input];
    const struct bnn_layer kept = *l;
    const uint64_t events = l->changes->paths[0].events;
    uint64_t *synops = &e->state->synops[l->changes->paths[0].projection - e->state->net->projections];
    const uint64_t additions = *synops;
    memset(l->changes->membranes, 0, l->changes->p->n * sizeof(float));
    for (size_t j = 0; j < in->count && !e->state->stopped; j++)
        if (in->values[j] != 0.0f)
            bnn_events_add_pixel(e, l, j, in->values[j]);
    *l = kept;
    l->changes->stale = 0;
    l->changes->paths[0].events = events;
    *synops = additions;
    bnn_event_forget(l->changes); /* its bits are right already */
}

bnn_status bnn_events_expect(bnn_events *e, float step, float bound)
{
    if (e == NULL || !power_of_two(step) || !(bound >= 0.0f))
        return BNN_ERROR_ARGUMENT;
    if (e->state->stopped)
        return BNN_ERROR_STOPPED;
    if (!e->simple)
        return BNN_ERROR_OPCODE;
    if (!((double)bound <= 8388608.0 * (double)step))
        return BNN_ERROR_LIMIT;
    for (uint32_t k = 0; k < e->layer_count; k++)
        if (e->layers[k].kind == BNN_LAYER_ENCODER && !exact(&e->layers[k], step, bound))
            return BNN_ERROR_LIMIT;
    for (uint32_t i = 0; i < e->model->input_count; i++)
        for (size_t j = 0; j < e->inputs[i].count; j++)
            if (!promised(e->inputs[i].values[j], step, bound))
                return BNN_ERROR_LIMIT;
    for (uint32_t k = 0; k < e->layer_count && !e->state->stopped; k++)
        if (e->layers[k].kind == BNN_LAYER_ENCODER)
            sum_up(e, &e->layers[k]);
    e->step = step;
    e->bound = bound;
    return bnn_events_status(e);
}

void bnn_events_add_pixel(struct bnn_events *e, struct bnn_layer *l, size_t index, float delta)
{
    bnn_event_add_value(e->state, &l->changes->paths[0], (uint32_t)index, delta);
}

/* A pixel's new value, into every encoder that reads it; they are left to be settled. */
static void change(struct bnn_events *e, uint32_t input, size_t index, float value)
{
    const float delta = value - e->inputs[input].values[index];
    e->inputs[input].values[index] = value;
    (void)bnn_events_pause(e, e->layer_count);
    for (uint32_t k = 0; k < e->layer_count && delta != 0.0f; k++)
        if (e->layers[k].kind == BNN_LAYER_ENCODER && e->layers[k].input == input && !e->layers[k].whole)
            bnn_events_add_pixel(e, &e->layers[k], index, delta);
}

/* Marks the encoders with too many changed pixels. */
static int mark_whole(struct bnn_events *e, const float *const *inputs)
{
    int any = 0;
    for (uint32_t k = 0; k < e->layer_count; k++) {
        struct bnn_layer *l = &e->layers[k];
        if (l->kind != BNN_LAYER_ENCODER || l->limit == SIZE_MAX)
            continue;
        const struct bnn_pixels *in = &e->inputs[l->input];
        size_t changed = 0;
        for (size_t j = 0; j < in->count; j++)
            changed += inputs[l->input][j] != in->values[j];
        l->whole = changed > (l->changes->stale ? l->limit / 2 : l->limit); /* switching back costs a run, too */
        any |= l->whole;
    }
    return any;
}

/* The only input of an encoder, in the context's memory; no computing op lies between it and the model's input. */
static void poke_input(struct bnn_events *e, const struct bnn_layer *l)
{
    bnn_poke(e->context, e->model->ops[l->sums].inputs[0], e->inputs[l->input].values, 1);
}

void bnn_events_encode_whole(struct bnn_events *e)
{
    uint32_t computed = BNN_NONE; /* sums that are still in the context's memory: several thresholds may read them */
    for (uint32_t k = 0; k < e->layer_count && !e->state->stopped; k++) {
        struct bnn_layer *l = &e->layers[k];
        if (!l->whole)
            continue;
        if (l->sums != computed || l->sums == l->op) {
            poke_input(e, l);
            if (l->sums != l->op && bnn_events_step(e, l->sums, NULL))
                return;
        }
        computed = l->sums;
        bnn_events_step_bits(e, l, NULL);
        l->whole = 0;
        l->changes->stale = 1;
    }
}

void bnn_events_refresh_encoders(struct bnn_events *e)
{
    for (uint32_t k = 0; k < e->layer_count; k++) {
        struct bnn_layer *l = &e->layers[k];
        if (l->kind != BNN_LAYER_ENCODER || !l->changes->stale || l->whole)
            continue;
        poke_input(e, l); /* a step may overwrite the results of others */
        if (bnn_events_step(e, l->sums, l->changes->membranes))
            return;
        l->changes->stale = 0;
    }
}

static void settle_encoders(struct bnn_events *e)
{
    for (uint32_t k = 0; k < e->layer_count; k++)
        if (e->layers[k].kind == BNN_LAYER_ENCODER)
            bnn_event_settle(e->state, e->layers[k].changes);
}

bnn_status bnn_events_pixel(bnn_events *e, uint32_t input, size_t index, float value)
{
    if (e == NULL || input >= e->model->input_count || index >= e->inputs[input].count)
        return BNN_ERROR_ARGUMENT;
    if (e->state->stopped)
        return BNN_ERROR_STOPPED;
    if (e->step == 0.0f)
        return BNN_ERROR_ARGUMENT;
    if (!promised(value, e->step, e->bound))
        return BNN_ERROR_LIMIT;
    bnn_events_refresh_encoders(e);
    if (e->state->stopped)
        return BNN_ERROR_STOPPED;
    change(e, input, index, value);
    settle_encoders(e);
    return bnn_events_status(e);
}

enum { SOME = 16 }; /* a constant, so that compilers make vectors of the loop */

static int differ(const float *a, const float *b)
{
    int found = 0;
    for (size_t l = 0; l < SOME; l++)
        found |= a[l] != b[l];
    return found;
}

/* New values, and where they differ. */
static void take(struct bnn_pixels *in, const float *values)
{
    size_t first = 0, end = in->count;
    while (end - first >= SOME && !differ(in->values + first, values + first))
        first += SOME;
    while (first < end && in->values[first] == values[first])
        first++;
    while (end - first >= SOME && !differ(in->values + end - SOME, values + end - SOME))
        end -= SOME;
    while (end > first && in->values[end - 1] == values[end - 1])
        end--;
    memcpy(in->values, values, in->count * sizeof *values);
    in->first = first;
    in->end = end;
}

bnn_status bnn_events_frame(bnn_events *e, const float *const *inputs)
{
    if (e == NULL || inputs == NULL || !all_there(e, inputs))
        return BNN_ERROR_ARGUMENT;
    if (e->state->stopped)
        return BNN_ERROR_STOPPED;
    for (uint32_t i = 0; i < e->model->input_count && e->step != 0.0f; i++)
        for (size_t j = 0; j < e->inputs[i].count; j++)
            if (!promised(inputs[i][j], e->step, e->bound))
                return BNN_ERROR_LIMIT;
    const int whole = e->step != 0.0f && mark_whole(e, inputs);
    if (e->step != 0.0f)
        bnn_events_refresh_encoders(e);
    for (uint32_t i = 0; i < e->model->input_count; i++) {
        if (e->step == 0.0f) {
            take(&e->inputs[i], inputs[i]);
            continue;
        }
        for (size_t j = 0; j < e->inputs[i].count && !e->state->stopped; j++)
            if (inputs[i][j] != e->inputs[i].values[j])
                change(e, i, j, inputs[i][j]);
    }
    if (e->step == 0.0f) {
        encode(e);
        return bnn_events_status(e);
    }
    if (whole && !e->state->stopped)
        bnn_events_encode_whole(e);
    settle_encoders(e);
    return bnn_events_status(e);
}
