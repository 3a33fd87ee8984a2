/* SPDX-License-Identifier: Apache-2.0 */
/* Steps of event populations; what their inputs send, and what is recorded. */
#include "snn/events.h"

#include <string.h>

void bnn_event_step(struct bnn_snn_state *s, struct bnn_changes *c)
{
    if (s->decides != NULL && s->decides(s->decider, c->number))
        return;
    for (uint32_t i = 0; i < c->path_count && !s->stopped; i++) {
        struct bnn_changes *from = c->paths[i].from;
        if (from->waiting_count != 0 || from->list_count != 0)
            bnn_event_deliver(s, &c->paths[i]);
    }
    for (uint32_t i = 0; c->p->rule == RULE_WIRE && c->bits != NULL && c->list_count != 0 && i < c->p->n; i++)
        if (bnn_of(&c->p->parameters[INITIAL], i) != 0) /* constants, in the first step */
            bnn_event_turn_one(s, c, i);
    if (c->p->rule != RULE_SUM && c->p->rule != RULE_WIRE)
        bnn_event_settle(s, c);
}

void bnn_event_end(struct bnn_snn_state *s)
{
    for (uint32_t k = 0; k < s->net->population_count && !s->stopped; k++) {
        struct bnn_changes *c = s->neurons[k].changes;
        if (c == NULL)
            continue;
        if (c->p->rule == RULE_SUM || c->p->rule == RULE_WIRE)
            bnn_event_forget(c);
        for (size_t i = 0; i < c->waiting_count; i++) {
            const uint32_t unit = c->waiting[i];
            c->pending[unit] = 0;
            if (bnn_event_levels(c))
                c->levels_seen[unit] = c->levels[unit];
            else
                c->seen[unit] = c->bits[unit];
        }
        c->waiting_count = 0;
    }
}

void bnn_event_all_seen(struct bnn_snn_state *s)
{
    for (uint32_t k = 0; k < s->net->population_count; k++) {
        struct bnn_changes *c = s->neurons[k].changes;
        const size_t units = c->pending == NULL ? 0 : bnn_event_units(c);
        bnn_event_forget(c);
        if (c->levels != NULL)
            memcpy(c->levels_seen, c->levels, units);
        else if (c->bits != NULL)
            memcpy(c->seen, c->bits, units * sizeof *c->seen);
        if (units != 0)
            memset(c->pending, 0, units);
        c->waiting_count = 0;
    }
}

/* Paths out of an input of real values add at once: sums need no order. */
static void send_value(struct bnn_snn_state *s, struct bnn_changes *c, uint32_t neuron, float delta)
{
    c->values[neuron] += delta;
    for (uint32_t j = 0; j < s->net->projection_count; j++) {
        const struct bnn_snn_projection *q = &s->net->projections[j];
        struct bnn_changes *to = s->neurons[q->target].changes;
        if (q->source == c->number)
            bnn_event_add_value(s, &to->paths[j - to->p->first], neuron, delta);
    }
}

int bnn_event_send(struct bnn_snn_state *s, struct bnn_changes *c, uint32_t neuron, float value)
{
    if (c->values != NULL) {
        if (!(value - value == 0))
            return 0;
        send_value(s, c, neuron, value);
        c->up += value != 0;
        return 1;
    }
    const float now = bnn_event_levels(c) ? c->levels[neuron] : (float)bnn_event_bit(c, neuron);
    const float level = now + value;
    if (!(level >= 0 && level <= (float)c->p->steps) || (float)(uint32_t)level != level)
        return 0;
    if (bnn_event_levels(c))
        bnn_event_set_level(s, c, neuron, (uint32_t)level);
    else if (value != 0)
        bnn_event_turn_one(s, c, neuron);
    return 1;
}

void bnn_event_record(const struct bnn_changes *c, float *to)
{
    memset(to, 0, c->p->n * sizeof *to);
    for (uint32_t i = 0; c->p->emits == BNN_SNN_VALUES && i < c->p->n; i++)
        to[i] = c->values != NULL ? c->values[i] : bnn_event_value(c, i);
    for (size_t k = 0; k < c->waiting_count; k++) {
        const uint32_t unit = c->waiting[k];
        if (bnn_event_levels(c)) {
            to[unit] = (float)c->levels[unit] - (float)c->levels_seen[unit];
            continue;
        }
        const uint32_t first = unit / c->words * c->p->c + unit % c->words * 32;
        for (uint32_t rest = c->seen[unit] ^ c->bits[unit]; rest != 0; rest &= rest - 1)
            to[first + bnn_lowest_bit(rest)] = c->bits[unit] >> bnn_lowest_bit(rest) & 1 ? 1.0f : -1.0f;
    }
}

int bnn_event_get(const struct bnn_changes *c, bnn_snn_variable variable, float *values)
{
    const int levels = variable == BNN_SNN_LEVEL && c->pending != NULL;
    for (uint32_t i = 0; i < c->p->n; i++)
        if (levels && bnn_event_levels(c))
            values[i] = c->levels[i];
        else if (levels)
            values[i] = (float)bnn_event_bit(c, i);
        else if (variable == BNN_SNN_V && c->membranes != NULL && c->limits == NULL)
            values[i] = bnn_event_value(c, i);
        else
            return 0;
    return 1;
}

void bnn_snn_set_trace(bnn_snn_state *s, bnn_snn_change *changes, size_t capacity)
{
    s->trace = changes;
    s->trace_capacity = changes != NULL ? capacity : 0;
    s->traced = 0;
}

size_t bnn_snn_traced(const bnn_snn_state *s)
{
    return s->traced;
}
