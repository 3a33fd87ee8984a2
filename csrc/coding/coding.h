/* SPDX-License-Identifier: Apache-2.0 */
/* A compiled model around its event populations: the encoder before them, the values after them, and layers that run by
 * their synchronous kernels, all in a context. */
#ifndef BNN_CODING_H
#define BNN_CODING_H

#include "bnn_events.h"
#include "run/context.h"
#include "snn/events.h"

/* An op that gives bits, levels or sums, and its population. */
struct bnn_layer {
    bnn_layer_kind kind;
    uint32_t op, tensor;
    struct bnn_changes *changes;
    uint32_t sums;           /* encoder: the convolution with its sums, or BNN_NONE */
    uint32_t reads;          /* encoder: the only model input on which it depends, element by element; or BNN_NONE */
    uint32_t input;          /* the same, if its population follows the elements of that input themselves */
    float row_step, row_sum; /* then: all weights are multiples of row_step; the largest sum of magnitudes */
    uint32_t residual;       /* of sums: a tensor, or BNN_NONE */
    int merged;              /* several ops' sums, or a constant, are one */
    int whole;               /* encoder: this frame runs synchronously instead of pixel by pixel */
    uint64_t dense, synops, synchronous; /* additions of synchronous runs alone */
    size_t limit;
    double pixel_cost; /* the cost of a pixel besides its spikes, in spikes; see limit in bnn_events.h */
};

struct bnn_pixels { /* one of the model's inputs */
    float *values;
    size_t count;
    size_t first, end; /* those before and after are as when the encoder last ran */
};

enum bnn_class { BNN_ANALOG = 1, BNN_SPIKES = 2, BNN_REAL = 3 }; /* REAL: real values that depend on spikes */

struct bnn_events {
    const struct bnn_model *model;
    bnn_context *context;
    struct bnn_snn_state *state;
    struct bnn_layer *layers; /* in the order of their ops */
    uint32_t layer_count;
    uint32_t *layer_of;      /* by population, or BNN_NONE */
    uint32_t *population_of; /* by tensor: the population with its bits or sums, or BNN_NONE */
    uint8_t *classes;        /* by tensor */
    uint8_t *wanted;         /* by tensor: whether it is to be computed now */
    float **values;          /* by tensor: real values kept, or NULL */
    struct bnn_pixels *inputs;
    float *accumulators, *totals; /* of one synchronous layer */
    int local;                    /* encoders can run where inputs changed */
    int simple;                   /* pixels can be updated one by one */
    float step, bound;            /* the promise for pixels; step 0: none */
    int invalid;                  /* the encoder met NaN, or has not run since the reset */
};

/* Nonzero: the call must end with BNN_ERROR_STOPPED. */
static inline int bnn_events_pause(struct bnn_events *e, uint64_t work)
{
    return bnn_snn_pause(e->state, work);
}

static inline bnn_status bnn_events_status(const struct bnn_events *e)
{
    return e->state->stopped ? BNN_ERROR_STOPPED : BNN_OK;
}

static inline struct bnn_changes *bnn_events_changes(const struct bnn_events *e, uint32_t tensor)
{
    const uint32_t population = e->population_of[tensor];
    return population == BNN_NONE ? NULL : e->state->neurons[population].changes;
}

/* Whether a layer sums spikes in membranes. */
static inline int bnn_events_sums_spikes(const struct bnn_layer *l)
{
    return l->kind == BNN_LAYER_SYNAPSES || l->kind == BNN_LAYER_READOUT || l->kind == BNN_LAYER_SUMS;
}

/* The number of an op's first operands that are bits that it passes on or computes with. */
static inline uint32_t bnn_events_operands(const struct bnn_op *op)
{
    return op->row->opcode == BNN_OP_concat ? op->input_count : 1;
}

/* describe.c: the layers of a model, from its event populations. */
bnn_status bnn_events_describe(struct bnn_events *e, bnn_problem *problem);

/* synchronous.c */
/* A population's current output in the context's memory, as the input of an op; or what its targets have seen. */
enum bnn_moment { BNN_NOW, BNN_SEEN };
void bnn_events_poke(const struct bnn_events *e, uint32_t tensor, enum bnn_moment moment);
/* A part of a layer's bits by its synchronous kernel, from what is in the context's memory: those that differ turn.
 * NULL: all. */
void bnn_events_step_bits(struct bnn_events *e, struct bnn_layer *layer, const struct bnn_part *part);
/* The result of a layer that reads spikes, from the bits of its inputs. */
void bnn_events_synchronous(struct bnn_events *e, struct bnn_layer *layer);
/* One op by its synchronous kernel; values: NULL, or the place for a convolution's bare accumulators.  Nonzero:
 * stopped. */
int bnn_events_step(struct bnn_events *e, uint32_t op, float *values);
/* The same of a part of its output that is one piece of work. */
int bnn_events_step_part(struct bnn_events *e, uint32_t op, const struct bnn_part *part);
/* Membranes of a layer that ran synchronously, from the input bits that they have seen. */
void bnn_events_refresh(struct bnn_events *e, struct bnn_layer *layer);
int bnn_events_switchable(const struct bnn_layer *layer);
/* Whether a layer is decided by its synchronous kernel in this step. */
int bnn_events_decides(void *engine, uint32_t population);

/* encode.c */
/* The bits of the encoders that are marked `whole`, by their synchronous kernels. */
void bnn_events_encode_whole(struct bnn_events *e);
/* Sets the sums of encoders that ran synchronously to those of the current inputs. */
void bnn_events_refresh_encoders(struct bnn_events *e);
/* Adds an input's change to the sums of an encoder. */
void bnn_events_add_pixel(struct bnn_events *e, struct bnn_layer *layer, size_t index, float delta);

#endif
