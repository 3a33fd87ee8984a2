/* SPDX-License-Identifier: Apache-2.0 */
/* The encoder, which turns the model's inputs into the first spikes. */
#include "events/events.h"
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

/* Narrows a part, all of an op of an encoder, to the rows that changed pixels reach; and to columns, if the pixels lie in
 * one row and the op is a convolution to bits.  Zero: that is more than one piece of work. */
static int narrow(const struct bnn_events *e, const struct bnn_layer *l, uint32_t op, struct bnn_part *part)
{
    const struct bnn_pixels *in = &e->inputs[l->reads];
    const size_t width = (size_t)l->in_w * l->in_c;
    uint32_t first = (uint32_t)(in->first / width), last = (uint32_t)((in->end - 1) / width), begin, end; /* rows */
    if (in->first == in->end) {
        part->end[BNN_ROWS] = 0;
        return 1;
    }
    bnn_events_windows(first, last, l->pad_top, (l->kernel_h - 1) * (uint32_t)l->dilation_h + 1, l->stride_h, l->out_h,
                       &begin, &end);
    part->begin[BNN_ROWS] = begin < end ? begin : end;
    part->end[BNN_ROWS] = end;
    if (first == last && l->sums == l->op) {
        first = (uint32_t)(in->first % width / l->in_c), last = (uint32_t)((in->end - 1) % width / l->in_c);
        bnn_events_windows(first, last, l->pad_left, (l->kernel_w - 1) * (uint32_t)l->dilation_w + 1, l->stride_w,
                           l->out_w, &begin, &end);
        part->begin[BNN_COLUMNS] = begin < end ? begin : end;
        part->end[BNN_COLUMNS] = end;
    }
    return bnn_times(bnn_load(e->model, op), part->end[BNN_ROWS] - part->begin[BNN_ROWS]) / l->out_h <= BNN_PIECE;
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
    for (uint32_t k = 0; k < m->op_count && !e->stopped; k++) {
        const struct bnn_op *op = &m->ops[k];
        struct bnn_layer *l = encoder_of(e, k);
        struct bnn_part part = bnn_whole(m, k, 1);
        const int bits = l != NULL && l->op == k, some = partly && l != NULL && narrow(e, l, k, &part);
        if (e->classes[op->output] != BNN_ANALOG && !bits)
            continue;
        if (some && part.begin[BNN_ROWS] >= part.end[BNN_ROWS])
            continue;
        if (bits)
            bnn_events_step_bits(e, l, some ? &part : NULL);
        else if (some ? bnn_events_step_part(e, k, &part) : bnn_events_step(e, k, NULL))
            return;
        else if (!e->local)
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
    e->invalid = 1; /* the encoder must run as a whole */
    e->step = 0.0f;
    for (uint32_t k = 0; k < e->layer_count; k++) {
        bnn_events_forget(&e->layers[k]);
        e->layers[k].stale = e->layers[k].whole = 0;
    }
    for (uint32_t i = 0; i < e->population_count; i++) {
        struct bnn_population *p = &e->populations[i];
        memset(p->pending, 0, p->steps == 1 ? (size_t)p->h * p->w * p->words : p->neurons);
        p->waiting = 0;
    }
    e->queued = 0;
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
        bnn_events_step_bits(e, l, NULL);
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
            take(&e->inputs[i], inputs[i]);
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
