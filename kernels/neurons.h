/* SPDX-License-Identifier: Apache-2.0 */
/* Neurons that settle: what the engine of spikes over time gives to a family. */
#ifndef BNN_KERNELS_NEURONS_H
#define BNN_KERNELS_NEURONS_H

#include "rules.gen.h"

#include <stddef.h>
#include <stdint.h>

enum {
    BNN_SNN_LANES = 32,     /* neurons that settle together: a word of spikes */
    BNN_SNN_PARAMETERS = 8, /* of a population; the first three are common */
    BNN_SNN_VARIABLES = 7,  /* bnn_snn_variable */
    BNN_SNN_MOST = 1 << 24, /* the largest number of spikes, change or level: whole numbers below it are floats */
};
enum { THRESHOLD, RESET, INITIAL, OWN, SIGN = OWN, EVERY = OWN, LOWEST };

#define BNN_RULE(name, opcode, ...) RULE_##name = (opcode),
enum bnn_snn_rule { RULE_INPUT, BNN_SNN_RULE_LIST(BNN_RULE) RULE_COUNT };
#undef BNN_RULE
enum bnn_snn_reset {
    RESET_NONE,
    RESET_VALUE,
    RESET_SUBTRACT,
    RESET_LATE_ZERO,
    RESET_LATE_SUBTRACT,
    RESET_LATE_DISCARD,
    RESET_CORRECTED_SUBTRACT,
    RESET_LATE_ALL,
    RESET_COUNT
};

/* A float per 1, c or all neurons.  In the file its first BNN_SNN_LANES - 1 elements follow again after the last, so the
 * values of any 32 neurons in a row are contiguous: see bnn_per_neuron_walk. */
struct bnn_per_neuron {
    const float *data; /* NULL: none */
    uint32_t period;
};

/* Goes through the neurons, BNN_SNN_LANES at a time: their values are at data + at.  Dividing at each would take long. */
struct bnn_per_neuron_walk {
    const float *data;
    uint32_t period, step, at;
};

/* From a neuron on whose number is a multiple of BNN_SNN_LANES. */
static inline struct bnn_per_neuron_walk bnn_per_neuron_from(const struct bnn_per_neuron *a, uint32_t first)
{
    const uint32_t step = a->data == NULL ? 0 : BNN_SNN_LANES % a->period;
    return (struct bnn_per_neuron_walk){a->data, a->period, step, step == 0 || first == 0 ? 0 : first % a->period};
}

static inline void bnn_per_neuron_next(struct bnn_per_neuron_walk *w)
{
    w->at += w->step;
    w->at -= w->at >= w->period ? w->period : 0;
}

/* What neurons send: bnn_snn_emits. */
enum bnn_neurons_send { SEND_SPIKES, SEND_COUNTS, SEND_VALUES, SEND_CHANGES };

/* Neurons of a population in one step, from `first`, a multiple of BNN_SNN_LANES, to `end` - 1: the rule, variables
 * (bnn_snn_variable; NULL: none), which hold whole blocks of BNN_SNN_LANES, currents, and where it writes what they
 * send: words of bits, or values.  Arrays are the whole population's. */
struct bnn_neurons {
    uint8_t rule, reset, sends, at_least, floored, winner, learning;
    uint32_t first, end;
    const struct bnn_per_neuron *parameters;
    float *const *variables;
    const float *current, *own; /* own: of recurrent rules */
    uint32_t *words;
    float *values;
};

#endif
