/* SPDX-License-Identifier: Apache-2.0 */
/* The encoder, which turns the model's inputs into the first spikes. */
#include "events/events.h"
#include "run/view.h"

#include <string.h>

/* Runs the ops before the first bits on e->inputs. */
static void encode(struct bnn_events *e)
{
    const struct bnn_model *m = e->model;
    e->context->nan[0] = 0;
    for (uint32_t i = 0; i < m->input_count; i++)
        bnn_poke(e->context, m->input_tensors[i], e->inputs[i].values, 1);
    for (uint32_t k = 0; k < m->op_count && !e->stopped; k++) {
        const struct bnn_op *op = &m->ops[k];
        int encoder = e->layer_of[k] != BNN_NONE && e->layers[e->layer_of[k]].kind == BNN_LAYER_ENCODER;
        if (e->classes[op->output] != BNN_ANALOG && !encoder)
            continue;
        if (encoder)
            bnn_events_step_bits(e, &e->layers[e->layer_of[k]]);
        else if (bnn_events_step(e, k, NULL))
            return;
        else if (!e->simple)
            bnn_peek(e->context, op->output, e->values[op->output], 1);
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

/* Whether a synchronous run of a layer decides what others read: a counter's is that of its sums. */
static int decides_bits(const struct bnn_layer *l)
{
    return l->kind != BNN_LAYER_ENCODER && l->kind != BNN_LAYER_COUNTER &&
           (l->kind != BNN_LAYER_READOUT || l->watchers != BNN_NONE);
}

bnn_status bnn_events_reset(bnn_events *e, const float *const *inputs)
{
    if (e == NULL || (inputs != NULL && !all_there(e, inputs)))
        return BNN_ERROR_ARGUMENT;
    for (uint32_t i = 0; i < e->model->input_count; i++) {
        size_t bytes = e->inputs[i].count * sizeof(float);
        if (inputs != NULL)
            memcpy(e->inputs[i].values, inputs[i], bytes);
        else
            memset(e->inputs[i].values, 0, bytes);
    }
    e->step = 0.0f;
    for (uint32_t k = 0; k < e->layer_count; k++) {
        bnn_events_forget(&e->layers[k]);
        e->layers[k].stale = e->layers[k].whole = 0;
    }
    for (uint32_t i = 0; i < e->population_count; i++) {
        struct bnn_population *p = &e->populations[i];
        memset(p->pending, 0, p->neurons * sizeof *p->pending);
        p->waiting = 0;
    }
    e->head = e->queued = 0;
    e->stopped = 0;
    e->silent = 1;
    encode(e);
    for (uint32_t k = 0; k < e->layer_count && !e->stopped; k++)
        if (decides_bits(&e->layers[k]))
            bnn_events_synchronous(e, &e->layers[k]);
    bnn_events_all_seen(e);
    for (uint32_t k = 0; k < e->layer_count && !e->stopped; k++)
        if (bnn_events_sums_spikes(&e->layers[k]))
            bnn_events_refresh(e, &e->layers[k]);
    e->silent = 0;
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

/* Twice the largest sum: more than any sum on the way from one to another. */
static float reach(const struct bnn_layer *l, float bound)
{
    return 2.0f * bound * l->row_sum;
}

/* Every partial sum, and twice the largest of one change, is a multiple of step * row_step below 2^24 of them. */
static int exact(const struct bnn_layer *l, float step, float bound)
{
    double unit = (double)step * (double)l->row_step, most = 2.0 * (double)bound * (double)l->row_sum;
    return unit >= 1e-30 && most <= 16777216.0 * unit;
}

bnn_status bnn_events_expect(bnn_events *e, float step, float bound)
{
    if (e == NULL || !power_of_two(step) || !(bound >= 0.0f))
        return BNN_ERROR_ARGUMENT;
    if (e->stopped)
        return BNN_ERROR_STOPPED;
    if (!e->simple)
        return BNN_ERROR_OPCODE;
    if (!((double)bound <= 8388608.0 * (double)step))
        return BNN_ERROR_LIMIT;
    for (uint32_t k = 0; k < e->layer_count; k++) {
        const struct bnn_layer *l = &e->layers[k];
        if (l->rows != NULL && l->kind == BNN_LAYER_ENCODER &&
            !(exact(l, step, bound) && bnn_events_gives_numbers(l, reach(l, bound))))
            return BNN_ERROR_LIMIT; /* the synchronous encoder reports NaN */
    }
    for (uint32_t i = 0; i < e->model->input_count; i++)
        for (size_t j = 0; j < e->inputs[i].count; j++)
            if (!promised(e->inputs[i].values[j], step, bound))
                return BNN_ERROR_LIMIT;
    for (uint32_t k = 0; k < e->layer_count && !e->stopped; k++) {
        struct bnn_layer *l = &e->layers[k];
        if (l->kind != BNN_LAYER_ENCODER || l->rows == NULL)
            continue;
        const struct bnn_pixels *in = &e->inputs[l->input];
        bnn_events_layer count = l->count;
        l->stale = 0;
        bnn_events_find_cuts(e, l, reach(l, bound));
        memset(l->membranes, 0, bnn_events_pixels(l) * l->out_c * sizeof(float));
        for (size_t j = 0; j < in->count && !e->stopped; j++)
            if (in->values[j] != 0.0f)
                bnn_events_add_pixel(e, l, j, in->values[j]);
        l->count = count;
        bnn_events_forget(l); /* its bits are right already */
    }
    e->step = step;
    e->bound = bound;
    return bnn_events_status(e);
}

/* A pixel's new value, into every encoder that reads it; convolutions are left to be settled. */
static void change(struct bnn_events *e, uint32_t input, size_t index, float value)
{
    float delta = value - e->inputs[input].values[index];
    e->inputs[input].values[index] = value;
    (void)bnn_events_pause(e, e->layer_count);
    for (uint32_t k = 0; k < e->layer_count && delta != 0.0f; k++) {
        struct bnn_layer *l = &e->layers[k];
        if (l->kind != BNN_LAYER_ENCODER || l->input != input)
            continue;
        if (l->rows != NULL) {
            if (!l->whole)
                bnn_events_add_pixel(e, l, index, delta);
            continue;
        }
        struct bnn_population *out = &e->populations[l->out]; /* a quantizer */
        l->count.events++;
        l->count.synops++;
        if (l->steps > 1)
            bnn_events_set_level(e, out, (uint32_t)index, bnn_events_level(l, value, index % l->out_c));
        else if (bnn_events_decide(l, value, index % l->out_c) != bnn_events_bit(out, (uint32_t)index))
            bnn_events_emit(e, out, (uint32_t)index);
    }
}

/* Marks the encoders with too many changed pixels. */
static int mark_whole(struct bnn_events *e, const float *const *inputs)
{
    int any = 0;
    for (uint32_t k = 0; k < e->layer_count; k++) {
        struct bnn_layer *l = &e->layers[k];
        if (l->kind != BNN_LAYER_ENCODER || l->count.limit == SIZE_MAX)
            continue;
        const struct bnn_pixels *in = &e->inputs[l->input];
        size_t changed = 0;
        for (size_t j = 0; j < in->count; j++)
            changed += inputs[l->input][j] != in->values[j];
        l->whole = changed > (l->stale ? l->count.limit / 2 : l->count.limit); /* switching back costs a run, too */
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
    for (uint32_t k = 0; k < e->layer_count && !e->stopped; k++) {
        struct bnn_layer *l = &e->layers[k];
        if (!l->whole)
            continue;
        if (l->sums != computed || l->sums == l->op) {
            poke_input(e, l);
            if (l->sums != l->op && bnn_events_step(e, l->sums, NULL))
                return;
        }
        computed = l->sums;
        bnn_events_step_bits(e, l);
        l->whole = 0;
        l->stale = 1;
    }
}

void bnn_events_refresh_encoders(struct bnn_events *e)
{
    for (uint32_t k = 0; k < e->layer_count; k++) {
        struct bnn_layer *l = &e->layers[k];
        if (l->kind != BNN_LAYER_ENCODER || !l->stale || l->whole)
            continue;
        poke_input(e, l); /* a step may overwrite the results of others */
        if (bnn_events_step(e, l->sums, l->membranes))
            return;
        l->stale = 0;
    }
}

static void settle_encoders(struct bnn_events *e)
{
    for (uint32_t k = 0; k < e->layer_count; k++)
        if (e->layers[k].kind == BNN_LAYER_ENCODER && e->layers[k].rows != NULL)
            bnn_events_settle(e, &e->layers[k]);
}

bnn_status bnn_events_pixel(bnn_events *e, uint32_t input, size_t index, float value)
{
    if (e == NULL || input >= e->model->input_count || index >= e->inputs[input].count)
        return BNN_ERROR_ARGUMENT;
    if (e->stopped)
        return BNN_ERROR_STOPPED;
    if (e->step == 0.0f)
        return BNN_ERROR_ARGUMENT;
    if (!promised(value, e->step, e->bound))
        return BNN_ERROR_LIMIT;
    bnn_events_refresh_encoders(e);
    if (e->stopped)
        return BNN_ERROR_STOPPED;
    change(e, input, index, value);
    settle_encoders(e);
    return bnn_events_status(e);
}

bnn_status bnn_events_frame(bnn_events *e, const float *const *inputs)
{
    if (e == NULL || inputs == NULL || !all_there(e, inputs))
        return BNN_ERROR_ARGUMENT;
    if (e->stopped)
        return BNN_ERROR_STOPPED;
    for (uint32_t i = 0; i < e->model->input_count && e->step != 0.0f; i++)
        for (size_t j = 0; j < e->inputs[i].count; j++)
            if (!promised(inputs[i][j], e->step, e->bound))
                return BNN_ERROR_LIMIT;
    int whole = e->step != 0.0f && mark_whole(e, inputs);
    if (e->step != 0.0f)
        bnn_events_refresh_encoders(e);
    for (uint32_t i = 0; i < e->model->input_count; i++) {
        if (e->step == 0.0f) {
            memcpy(e->inputs[i].values, inputs[i], e->inputs[i].count * sizeof(float));
            continue;
        }
        for (size_t j = 0; j < e->inputs[i].count && !e->stopped; j++)
            if (inputs[i][j] != e->inputs[i].values[j])
                change(e, i, j, inputs[i][j]);
    }
    if (e->step == 0.0f) {
        encode(e);
        return bnn_events_status(e);
    }
    if (whole && !e->stopped)
        bnn_events_encode_whole(e);
    settle_encoders(e);
    return bnn_events_status(e);
}
