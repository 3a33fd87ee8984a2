/* The encoder: what turns the model's inputs into the first spikes. */
#include "events.h"
#include "view.h"

#include <string.h>

void bnn_events_poke_bits(const struct bnn_events *e, const struct bnn_population *p)
{
    static const struct bnn_buffers own = {NULL, NULL, 0};
    struct bnn_view v = bnn_context_view(e->context, p->tensor, 0, &own);
    size_t width = (size_t)p->w * p->words;
    for (size_t y = 0; y < p->h; y++)
        memcpy(bnn_row_words(&v, 0, y), p->bits + y * width, width * sizeof *p->bits);
    bnn_zero_halo(&v, 1, 0, p->h);
}

/* Emits whatever differs between a population and its tensor in the context's memory. */
static void take_bits(struct bnn_events *e, struct bnn_population *p)
{
    static const struct bnn_buffers own = {NULL, NULL, 0};
    struct bnn_view v = bnn_context_view(e->context, p->tensor, 0, &own);
    size_t width = (size_t)p->w * p->words;
    for (size_t y = 0; y < p->h; y++) {
        const uint32_t *row = bnn_row_words(&v, 0, y);
        for (size_t i = 0; i < width; i++) {
            uint32_t changed = row[i] ^ p->bits[y * width + i];
            size_t first = (y * p->w + i / p->words) * p->c + i % p->words * 32;
            for (uint32_t bit = 0; changed >> bit != 0; bit++) {
                if (changed >> bit & 1)
                    bnn_events_emit(e, p, (uint32_t)(first + bit));
                if (bit == 31)
                    break;
            }
        }
    }
}

/* Runs what precedes the first bits on e->inputs. */
static void encode(struct bnn_events *e)
{
    const struct bnn_model *m = e->model;
    e->context->nan[0] = 0;
    for (uint32_t i = 0; i < m->input_count; i++)
        bnn_poke(e->context, m->input_tensors[i], e->inputs[i].values, 1);
    for (uint32_t k = 0; k < m->op_count; k++) {
        const struct bnn_op *op = &m->ops[k];
        int encoder = e->layer_of[k] != BNN_NONE && e->layers[e->layer_of[k]].kind == BNN_LAYER_ENCODER;
        if (e->classes[op->output] != BNN_ANALOG && !encoder)
            continue;
        bnn_step(e->context, k, 1);
        if (encoder) {
            struct bnn_layer *l = &e->layers[e->layer_of[k]];
            take_bits(e, &e->populations[l->out]);
            if (!e->silent) {
                l->count.synchronous++;
                l->count.synops += l->count.dense;
            }
        } else if (!e->simple) {
            bnn_peek(e->context, op->output, e->values[op->output], 1);
        }
    }
    e->invalid = e->context->nan[0] != 0;
}

/* Whether every input is there, and holds what its tensor can. */
static int all_there(const struct bnn_events *e, const float *const *inputs)
{
    const struct bnn_model *m = e->model;
    for (uint32_t i = 0; i < m->input_count; i++) {
        int bytes = m->tensors[m->input_tensors[i]].dtype == BNN_U8;
        if (inputs[i] == NULL || (bytes && !bnn_are_bytes(inputs[i], e->inputs[i].count)))
            return 0;
    }
    return 1;
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
    for (uint32_t i = 0; i < e->population_count; i++) {
        struct bnn_population *p = &e->populations[i];
        memset(p->pending, 0, p->neurons * sizeof *p->pending);
        p->waiting = 0;
    }
    e->head = e->queued = 0;
    e->silent = 1;
    encode(e);
    for (uint32_t k = 0; k < e->layer_count; k++)
        if (e->layers[k].kind != BNN_LAYER_ENCODER)
            bnn_events_rebuild(e, &e->layers[k]);
    e->silent = 0;
    bnn_events_clear_counts(e);
    return BNN_OK;
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
    if (!e->simple)
        return BNN_ERROR_OPCODE;
    if (!((double)bound <= 8388608.0 * (double)step))
        return BNN_ERROR_LIMIT;
    for (uint32_t k = 0; k < e->layer_count; k++)
        if (e->layers[k].rows != NULL && e->layers[k].kind == BNN_LAYER_ENCODER && !exact(&e->layers[k], step, bound))
            return BNN_ERROR_LIMIT;
    for (uint32_t i = 0; i < e->model->input_count; i++)
        for (size_t j = 0; j < e->inputs[i].count; j++)
            if (!promised(e->inputs[i].values[j], step, bound))
                return BNN_ERROR_LIMIT;
    for (uint32_t k = 0; k < e->layer_count; k++) {
        struct bnn_layer *l = &e->layers[k];
        if (l->kind != BNN_LAYER_ENCODER || l->rows == NULL)
            continue;
        const struct bnn_pixels *in = &e->inputs[l->input];
        bnn_events_layer count = l->count;
        memset(l->membranes, 0, bnn_events_pixels(l) * l->out_c * sizeof(float));
        for (size_t j = 0; j < in->count; j++)
            if (in->values[j] != 0.0f)
                bnn_events_add_pixel(e, l, j, in->values[j]);
        l->count = count;
        for (size_t j = 0; j < l->list_count; j++) /* its bits are right already */
            l->touched[l->list[j]] = 0;
        l->list_count = 0;
    }
    e->step = step;
    e->bound = bound;
    return BNN_OK;
}

/* A pixel's new value, into every encoder that reads it; convolutions are left to be settled. */
static void change(struct bnn_events *e, uint32_t input, size_t index, float value)
{
    float delta = value - e->inputs[input].values[index];
    e->inputs[input].values[index] = value;
    for (uint32_t k = 0; k < e->layer_count && delta != 0.0f; k++) {
        struct bnn_layer *l = &e->layers[k];
        if (l->kind != BNN_LAYER_ENCODER || l->input != input)
            continue;
        if (l->rows != NULL) {
            bnn_events_add_pixel(e, l, index, delta);
            continue;
        }
        struct bnn_population *out = &e->populations[l->out]; /* binarize */
        l->count.events++;
        l->count.synops++;
        if (bnn_events_decide(l, value, index % l->out_c) != bnn_events_bit(out, (uint32_t)index))
            bnn_events_emit(e, out, (uint32_t)index);
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
    if (e == NULL || input >= e->model->input_count || index >= e->inputs[input].count || e->step == 0.0f)
        return BNN_ERROR_ARGUMENT;
    if (!promised(value, e->step, e->bound))
        return BNN_ERROR_LIMIT;
    change(e, input, index, value);
    settle_encoders(e);
    return BNN_OK;
}

bnn_status bnn_events_frame(bnn_events *e, const float *const *inputs)
{
    if (e == NULL || inputs == NULL || !all_there(e, inputs))
        return BNN_ERROR_ARGUMENT;
    for (uint32_t i = 0; i < e->model->input_count && e->step != 0.0f; i++)
        for (size_t j = 0; j < e->inputs[i].count; j++)
            if (!promised(inputs[i][j], e->step, e->bound))
                return BNN_ERROR_LIMIT;
    for (uint32_t i = 0; i < e->model->input_count; i++) {
        if (e->step == 0.0f) {
            memcpy(e->inputs[i].values, inputs[i], e->inputs[i].count * sizeof(float));
            continue;
        }
        for (size_t j = 0; j < e->inputs[i].count; j++)
            if (inputs[i][j] != e->inputs[i].values[j])
                change(e, i, j, inputs[i][j]);
    }
    if (e->step == 0.0f)
        encode(e);
    else
        settle_encoders(e);
    return BNN_OK;
}
