/* SPDX-License-Identifier: Apache-2.0 */
/* Wires: what an op that moves bits does to a spike.  Each op is run on numbered bits when the engine is created,
 * whatever the op is. */
#include "events/events.h"

#include <string.h>

void bnn_events_reserve_wires(struct bnn_prepare *p, struct bnn_layer *l)
{
    const struct bnn_op *op = &p->model->ops[l->op];
    size_t inputs = 0; /* for a concat, as many as outputs */
    for (uint32_t i = 0; i < bnn_events_operands(op); i++)
        inputs += (size_t)bnn_elements(bnn_op_input(p->model, op, i));
    l->first_wire = bnn_reserve(p, inputs + 1, sizeof *l->first_wire);
    l->wires = bnn_reserve(p, l->count.neurons, sizeof *l->wires);
}

/* Runs the op on bit b of the numbers of its input neurons, counted from 1, and adds the result to the numbers of its
 * outputs; returns the number of inputs. */
static uint32_t send_bit(struct bnn_events *e, const struct bnn_layer *l, uint32_t b, uint32_t *numbers)
{
    const struct bnn_op *op = &e->model->ops[l->op];
    float *values = e->accumulators; /* room for any layer's output */
    uint32_t number = 0;
    for (uint32_t i = 0; i < bnn_events_operands(op); i++) {
        const struct bnn_population *p = &e->populations[e->population_of[op->inputs[i]]];
        for (size_t k = 0; k < p->neurons; k++)
            values[k] = ++number >> b & 1 ? 1.0f : -1.0f;
        bnn_poke(e->context, p->tensor, values, 1);
    }
    if (bnn_events_step(e, l->op, NULL))
        return number;
    bnn_peek(e->context, op->output, values, 1);
    for (size_t k = 0; k < l->count.neurons; k++)
        numbers[k] |= (uint32_t)(values[k] > 0.0f) << b;
    (void)bnn_events_pause(e, number + l->count.neurons);
    return number;
}

void bnn_events_find_wires(struct bnn_events *e, struct bnn_layer *l)
{
    uint32_t *numbers = e->queue + e->populations[l->out].first; /* nothing is queued yet */
    uint32_t *first = l->first_wire, b = 0, end = 0;
    uint64_t inputs;
    memset(numbers, 0, l->count.neurons * sizeof *numbers);
    do /* enough bits that an always set output has a number greater than any input's */
        inputs = send_bit(e, l, b, numbers);
    while ((inputs + 1) >> ++b != 0 && !e->stopped);
    memset(first, 0, (size_t)(inputs + 1) * sizeof *first);
    for (size_t i = 0; i < l->count.neurons; i++)
        if (numbers[i] - 1 < inputs) /* unsigned: an output that is never set comes from no input either */
            first[numbers[i] - 1]++;
    for (size_t i = 0; i <= inputs; i++)
        first[i] = end += first[i];
    for (size_t i = l->count.neurons; i-- > 0;)
        if (numbers[i] - 1 < inputs)
            l->wires[--first[numbers[i] - 1]] = (uint32_t)i;
}

void bnn_events_relay(struct bnn_events *e, struct bnn_layer *l, uint32_t first, const struct bnn_delivery *d)
{
    struct bnn_population *out = &e->populations[l->out];
    uint32_t words = d->from->words, channels = d->from->c;
    for (size_t i = 0; i < d->count; i++) {
        uint32_t word = d->words[i], neuron = first + word / words * channels + word % words * 32;
        for (uint32_t c = d->before[word] ^ d->after[word]; c != 0 && !e->stopped; c &= c - 1) {
            const uint32_t *range = l->first_wire + neuron + bnn_lowest_bit(c);
            for (uint32_t k = range[0]; k < range[1]; k++)
                bnn_events_emit(e, out, l->wires[k]);
            l->count.events++;
            (void)bnn_events_pause(e, UINT64_C(8) * (range[1] - range[0]) + 8);
        }
    }
}
