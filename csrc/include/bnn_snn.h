/* SPDX-License-Identifier: Apache-2.0 */
/* bnn_snn: run networks of spiking neurons step by step.
 *
 * A .snn file holds populations of neurons, which share an update rule, and projections, the weights between them.  It
 * states what simulators disagree about: the rule, the comparison, the reset and its moment.  In a step, populations
 * settle in their order: currents are the bias and the weights of the sources that sent something, in the order of
 * docs/spikes/rules.md; then every neuron updates its state and fires or not.  All results are defined to the last bit.
 *
 *     size_t bytes;
 *     bnn_snn_size(file, size, kernels, &bytes, &problem);
 *     bnn_snn_open(file, size, kernels, memory, bytes, &net, &problem);
 *     bnn_snn_state_size(net, &bytes);
 *     bnn_snn_state_create(net, more, bytes, &state);
 *     bnn_snn_record(state, population, BNN_SNN_SENT, spikes, steps);
 *     bnn_snn_run(state, inputs, steps);
 *
 * Nothing is allocated and no library function but memcpy and memset is called.  The file and the memory of networks and
 * states must lie at multiples of BNN_ALIGNMENT; other arrays need the alignment of their elements.  The file is used in
 * place: it must not change, and must outlive the network, which must outlive its states.  Nothing needs to be closed.
 * An opened network is only read and can be shared by threads; a state belongs to one thread at a time.
 *
 * Small programs name their kernels, &bnn_kernels_scalar_spikes of bnn_ops.h, because bnn_kernels_select names every
 * family, which a linker then keeps; bnn.h explains this and the macros BNN_SMALL and BNN_NO_MESSAGES.  BNN_NO_EVENTS,
 * defined when compiling all of it, leaves out event populations. */
#ifndef BNN_SNN_H
#define BNN_SNN_H

#include "bnn.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bnn_snn bnn_snn;
typedef struct bnn_snn_state bnn_snn_state;

/* Bytes of the opened network.  kernels as for bnn_model_open.  problem may be NULL. */
bnn_status bnn_snn_size(const void *file, size_t size, const bnn_kernels *kernels, size_t *bytes, bnn_problem *problem);
bnn_status bnn_snn_open(const void *file, size_t size, const bnn_kernels *kernels, void *memory, size_t memory_size,
                        bnn_snn **net, bnn_problem *problem);

typedef enum bnn_snn_emits {
    BNN_SNN_SPIKES = 0, /* one bit per neuron: neuron i is bit i % 32 of word i / 32; other bits are zero */
    BNN_SNN_COUNTS = 1, /* a float32 per neuron: the number of spikes */
    BNN_SNN_VALUES = 2, /* a float32 per neuron */
    BNN_SNN_CHANGES = 3 /* a float32 per neuron: a whole number from -2^24 to 2^24 */
} bnn_snn_emits;

typedef struct bnn_snn_population_info {
    uint32_t rule;  /* 0: an input; otherwise the opcode, see docs/spikes/rules.md */
    uint32_t reset; /* likewise */
    bnn_snn_emits emits;
    int output, at_least, floored, winner;
    uint32_t rank, dims[3]; /* (h, w, c), (w, c) or (c), in dims[0] to dims[rank - 1] */
    size_t neurons;         /* numbered with channels fastest: (y * w + x) * c + channel */
    uint32_t origin;        /* of an event population: the op of a .bnn that it stands for, plus one */
    size_t frame;           /* bytes of what it sends in a step: words or floats */
    const char *name;       /* name_length bytes, not zero-terminated */
    size_t name_length;
} bnn_snn_population_info;

typedef enum bnn_snn_kind {
    BNN_SNN_DENSE = 0,
    BNN_SNN_CONV = 1,
    BNN_SNN_DIAGONAL = 2,
    BNN_SNN_WINDOW = 3, /* each target looks at its window of the sources, channel by channel */
    BNN_SNN_WIRES = 4   /* each source is passed on to some targets */
} bnn_snn_kind;

typedef struct bnn_snn_projection_info {
    bnn_snn_kind kind;
    int whole;  /* weights are int8 */
    int learns; /* weights, float32, change while the state learns */
    uint32_t source, target, delay;
    uint32_t origin; /* as a population's */
    float scale;     /* of all int8 weights */
    uint32_t scales; /* their number: above 1, one per channel or neuron of the target, instead of `scale` */
    size_t weights;  /* their number */
    uint32_t kernel[2], stride[2], padding[2], dilation[2]; /* of a convolution: rows, columns */
    uint32_t groups;                                        /* likewise */
    int biased;                                             /* it adds a bias from step `delay` on */
    const uint32_t *mask;                                   /* the sources that take part, one bit each; NULL: all */
    const char *name;
    size_t name_length;
} bnn_snn_projection_info;

uint32_t bnn_snn_population_count(const bnn_snn *net);
uint32_t bnn_snn_projection_count(const bnn_snn *net);
bnn_status bnn_snn_get_population(const bnn_snn *net, uint32_t population, bnn_snn_population_info *info);
bnn_status bnn_snn_get_projection(const bnn_snn *net, uint32_t projection, bnn_snn_projection_info *info);
float bnn_snn_dt(const bnn_snn *net);           /* seconds of a step; 0: nobody said */
int bnn_snn_channels_first(const bnn_snn *net); /* of the source; here they come last */
const char *bnn_snn_simulator(const bnn_snn *net, size_t *length);

/* Bytes of the neurons and all that a run needs. */
bnn_status bnn_snn_state_size(const bnn_snn *net, size_t *bytes);
/* As before the first step: not learning, without records and poll. */
bnn_status bnn_snn_state_create(const bnn_snn *net, void *memory, size_t memory_size, bnn_snn_state **state);
/* As before the first step, but learned weights, adapted thresholds, records, the poll and whether it learns stay as
 * they are.  What bnn_snn_send gave for the next step is dropped. */
bnn_status bnn_snn_reset(bnn_snn_state *state);

/* The next `steps` steps are written to `to`, step after step; another call with the same population and `what` replaces
 * the record, NULL stops it.  SENT: frames, as the population's info describes them; CURRENT, MEMBRANE: float32 per
 * neuron (a population without a membrane has none: BNN_ERROR_ARGUMENT). */
typedef enum bnn_snn_what { BNN_SNN_SENT = 0, BNN_SNN_CURRENT = 1, BNN_SNN_MEMBRANE = 2 } bnn_snn_what;
bnn_status bnn_snn_record(bnn_snn_state *state, uint32_t population, bnn_snn_what what, void *to, size_t steps);

/* Lets a neuron of an input population send in the next step: a spike, whatever `value` is and however often it is
 * called, or `value` more (counts, values, changes).  BNN_ERROR_ARGUMENT: no such neuron, or it cannot send the sum. */
bnn_status bnn_snn_send(bnn_snn_state *state, uint32_t population, uint32_t neuron, float value);

/* Frames of a population of spikes from `steps` times its neurons' values, `stride` floats from one step to the next.
 * BNN_ERROR_ARGUMENT: no such population, or a value that is neither 0 nor 1. */
bnn_status bnn_snn_pack(const bnn_snn *net, uint32_t population, const float *values, ptrdiff_t stride, size_t steps,
                        uint32_t *frames);

/* Runs steps.  inputs[i]: the frames of the i-th input population (in their order), step after step, instead of what
 * bnn_snn_send gave; NULL: what bnn_snn_send gave for the first step, nothing later.  inputs itself may be NULL.
 * BNN_ERROR_ARGUMENT: an input that is not aligned, has a value that is not finite or, of counts and changes, not a
 * whole number from 0 (changes: -2^24) to 2^24, or a bit beyond the last neuron; no step is run.  BNN_ERROR_STOPPED: the
 * poll stopped it.  BNN_ERROR_RANGE: a new membrane is not finite, before what a spike does to it: the last step of
 * bnn_snn_steps, in the population of bnn_snn_overflowed.  After both, until bnn_snn_reset, the state cannot be used. */
bnn_status bnn_snn_run(bnn_snn_state *state, const void *const *inputs, size_t steps);
/* Runs at most as many steps: it ends after the first in which a neuron of an output population fires, so that its
 * bnn_snn_sent rises.  Records have the steps that were run, and bnn_snn_steps counts them. */
bnn_status bnn_snn_run_until_spike(bnn_snn_state *state, const void *const *inputs, size_t steps);
/* As for contexts of bnn.h, but a stopped state must be reset.  Work is counted over calls: about BNN_POLL_WORK additions
 * of a weight lie between two polls, which can be many steps. */
void bnn_snn_set_poll(bnn_snn_state *state, bnn_poll *poll, void *argument);

/* Whether a membrane that is not finite ended a run since the last reset; *population (which may be NULL): whose. */
int bnn_snn_overflowed(const bnn_snn_state *state, uint32_t *population);

/* A change of an event population (counters, sums, windows, wires, and their inputs): the step, counted from 1, and the
 * neuron; `change` is 1 or -1, one entry for each level. */
typedef struct bnn_snn_change {
    uint64_t step;
    uint32_t population, neuron;
    int32_t change;
} bnn_snn_change;

/* From now on the first `capacity` changes are written here; NULL stops it. */
void bnn_snn_set_trace(bnn_snn_state *state, bnn_snn_change *changes, size_t capacity);
/* The number of changes since then; those beyond the capacity were not written. */
size_t bnn_snn_traced(const bnn_snn_state *state);

/* One population alone, for verification: it settles on the given currents (float32, step after step), with its
 * records; nothing else changes. */
bnn_status bnn_snn_settle(bnn_snn_state *state, uint32_t population, const float *currents, size_t steps);

/* A population's state variables, float32 per neuron, to keep or to restore.  They are not all of a state: spikes on
 * their way, in projections with a delay, and traces of learning are not included.  BNN_ERROR_ARGUMENT: the population
 * does not have this variable, or it cannot have these values. */
typedef enum bnn_snn_variable {
    BNN_SNN_V = 0,
    BNN_SNN_I = 1,
    BNN_SNN_REFRACTORY = 2,
    BNN_SNN_ADAPTED = 3,
    BNN_SNN_LEVEL = 4, /* whole numbers from 0 to 2^24 */
    BNN_SNN_INHIBITION = 5,
    BNN_SNN_B = 6 /* the threshold that moves, of LSNN */
} bnn_snn_variable;
/* Those of event populations (the level; v of a sum, or of a counter with weights) can be read, and not be set. */
bnn_status bnn_snn_get(const bnn_snn_state *state, uint32_t population, bnn_snn_variable variable, float *values);
bnn_status bnn_snn_set(bnn_snn_state *state, uint32_t population, bnn_snn_variable variable, const float *values);

/* Local learning.  A state has weights of its own where a projection learns; the file stays as it is.  From now on, while
 * learning: after each step the spikes sent in it, or the values of a population that tells each target its part of an
 * error, change these weights, and thresholds adapt.  Otherwise weights, thresholds and the traces of spikes stand
 * still. */
void bnn_snn_set_learning(bnn_snn_state *state, int learning);
/* Scales the weights of each target, where a projection has a norm; usually after each sample. */
bnn_status bnn_snn_normalize(bnn_snn_state *state);
/* float32 [sources][targets].  BNN_ERROR_ARGUMENT: the projection does not learn, or a value is not finite.  Values
 * beyond the projection's bounds are clipped to them in the next step that learns. */
bnn_status bnn_snn_get_weights(const bnn_snn_state *state, uint32_t projection, float *values);
bnn_status bnn_snn_set_weights(bnn_snn_state *state, uint32_t projection, const float *values);

/* Since the last reset: steps; spikes (values that are not 0) that a population sent; additions of a weight that a
 * projection made. */
uint64_t bnn_snn_steps(const bnn_snn_state *state);
uint64_t bnn_snn_sent(const bnn_snn_state *state, uint32_t population);
uint64_t bnn_snn_synops(const bnn_snn_state *state, uint32_t projection);

#ifdef __cplusplus
}
#endif
#endif
