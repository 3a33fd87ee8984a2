/* SPDX-License-Identifier: Apache-2.0 */
/* Results: sums and the ops after them, on demand; states. */
#include "coding/coding.h"
#include "epilogue.h"
#include "run/view.h"

#include <math.h>
#include <string.h>

/* No sum of bits is larger; one of populations that someone made may be. */
static int32_t of_bits(float sum)
{
    return sum > -16777216.0f && sum < 16777216.0f ? (int32_t)sum : 0;
}

static void read_out(struct bnn_events *e, const struct bnn_layer *l)
{
    const struct bnn_changes *c = l->changes;
    const struct bnn_op *op = &e->model->ops[l->op];
    const struct bnn_epilogue finish = bnn_op_epilogue(e->model, op);
    const struct bnn_requantizer q =
        bnn_op_requantizer(e->model, op); /* to bytes or int16, which are floats here, too */
    const uint32_t bias = bnn_slot_input(op, BNN_SLOT_BIAS);
    const int32_t *biases = bias != 0 ? bnn_op_input(e->model, op, bias)->data : NULL;
    float *out = e->values[l->tensor];
    const float *residual = NULL;
    size_t at = 0;
    if (l->residual != BNN_NONE) {
        const struct bnn_tensor *t = &e->model->tensors[l->residual];
        residual = t->storage == BNN_CONSTANT ? t->data
                   : t->storage == BNN_INPUT  ? e->inputs[t->offset].values
                                              : e->values[l->residual];
    }
    for (size_t i = 0; i < c->pixels && !bnn_events_pause(e, UINT64_C(8) * c->p->c); i++, at += c->p->c)
        for (uint32_t o = 0; o < c->p->c; o++) {
            const float sum = bnn_event_value(c, at + o);
            if (biases == NULL)
                out[at + o] = bnn_finish(sum, &finish, o, residual != NULL ? residual + at : NULL);
            else
                out[at + o] = (float)bnn_requantize_number(of_bits(sum) * BNN_BIT_STEPS + biases[o], q.multiplier[o],
                                                           q.shift[o], &q);
        }
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
        if (tensor->dtype == BNN_B1)
            bnn_events_poke(e, t, BNN_NOW);
        else
            bnn_poke(e->context, t, tensor->storage == BNN_INPUT ? e->inputs[tensor->offset].values : e->values[t], 1);
    }
    if (bnn_events_step(e, number, NULL))
        return;
    bnn_peek(e->context, op->output, e->values[op->output], 1);
}

/* The layer of sums whose values a tensor has, or NULL. */
static const struct bnn_layer *sums_of(const struct bnn_events *e, uint32_t tensor)
{
    const uint32_t population = e->population_of[tensor];
    return population == BNN_NONE ? NULL : &e->layers[e->layer_of[population]];
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
    for (uint32_t k = 0; k <= last && !e->state->stopped; k++) {
        if (!e->wanted[m->ops[k].output])
            continue;
        const struct bnn_layer *l = sums_of(e, m->ops[k].output);
        if (l != NULL && !l->merged)
            read_out(e, l);
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
    if (e->state->stopped)
        return BNN_ERROR_STOPPED;
    const struct bnn_tensor *t = &e->model->tensors[tensor];
    if (t->dtype == BNN_B1 && t->storage != BNN_CONSTANT) {
        const struct bnn_changes *c = bnn_events_changes(e, tensor);
        if (bnn_event_levels(c)) {
            bnn_events_poke(e, tensor, BNN_NOW);
            return bnn_peek(e->context, tensor, values, 1);
        }
        for (size_t i = 0; i < c->pixels; i++)
            bnn_unpack_pixel(values + i * c->p->c, c->bits + i * c->words, c->p->c);
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
