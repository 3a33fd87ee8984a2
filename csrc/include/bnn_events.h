/* SPDX-License-Identifier: Apache-2.0 */
/* bnn_events: run a compiled model event by event.
 *
 * A network with binary activations is a spiking network run for one time step.  Its event populations, a .snn file that
 * `bnn compile -o net.snn` lowers from the model, keep an integer membrane for every neuron: a spike that arrives adds a
 * column of weights to the membranes of its targets, and a neuron whose membrane crosses its threshold upward fires +1,
 * downward -1 (it retracts its spike).  Additions commute, so once a run is done, every layer equals what bnn_run
 * computes, bit for bit, whatever the parts in which inputs arrive.  Only changes between two inputs cost anything.
 *
 *     size_t bytes;
 *     bnn_snn_open(file, size, kernels, memory, size, &network, &problem);
 *     bnn_events_size(model, network, &bytes);
 *     bnn_events_create(model, network, memory, bytes, NULL, NULL, &engine, &problem);
 *     bnn_events_frame(engine, inputs);                             // or, pixel by pixel, bnn_events_pixel
 *     bnn_events_run(engine);
 *     bnn_events_output(engine, 0, values);
 *
 * The encoder, everything before the first bits, runs synchronously on whole frames, or pixel by pixel if that is exact;
 * byte inputs are passed as floats, whole numbers from 0 to 255, and their sums computed anew.  Values after the last bits
 * are computed on demand.  bnn_snn.h alone runs the populations, too, on bits that the caller gives.
 *
 * A network that is not of the model is refused where its shapes differ; otherwise results are those of the network.  A
 * created engine stays within its memory.  Memory, alignment and threads are as in bnn.h: nothing is allocated, model and
 * network are only read and must outlive the engine, an engine belongs to one thread at a time. */
#ifndef BNN_EVENTS_H
#define BNN_EVENTS_H

#include "bnn_snn.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bnn_events bnn_events;

/* BNN_ERROR_LIMIT: more bytes than a size_t can count. */
bnn_status bnn_events_size(const bnn_model *model, const bnn_snn *network, size_t *bytes);
/* The new engine is at rest on inputs of zeros.  With a poll (see below; or NULL), because that runs the network once:
 * BNN_ERROR_STOPPED: no engine was created.  BNN_ERROR_FORMAT: problem names a population that is not of this model. */
bnn_status bnn_events_create(const bnn_model *model, const bnn_snn *network, void *memory, size_t memory_size,
                             bnn_poll *poll, void *argument, bnn_events **engine, bnn_problem *problem);
/* Its populations: for bnn_snn_set_trace, bnn_snn_traced, bnn_snn_get, bnn_snn_sent, bnn_snn_synops. */
bnn_snn_state *bnn_events_network(bnn_events *engine);

/* The thread that called a function of the engine calls poll(argument) now and then.  Nonzero stops the function, which
 * then returns BNN_ERROR_STOPPED.  The engine's state is then undefined: until a bnn_events_reset succeeds, every
 * function that returns a status returns BNN_ERROR_STOPPED, except bnn_events_reset and bnn_events_get_layer.  The
 * trace and the limits keep their settings.
 *
 * Between two polls the work is at most about twice BNN_POLL_WORK, unless one word of 32 neurons, one pixel of a
 * layer, or copying the inputs is more than that.  The poll must not use the engine.  With NULL there is none. */
void bnn_events_set_poll(bnn_events *engine, bnn_poll *poll, void *argument);

/* At rest on these inputs (dense float32 of one image; NULL: zeros), as if they had been there forever. */
bnn_status bnn_events_reset(bnn_events *engine, const float *const *inputs);

/* A whole frame of new inputs; the bits that changed become pending spikes.  The encoder runs synchronously, a convolution
 * or quantizer of the inputs, scaled or not, only where changes reach; or, after bnn_events_expect, for the pixels that
 * changed (BNN_ERROR_LIMIT, and nothing is done, if one breaks the promise). */
bnn_status bnn_events_frame(bnn_events *engine, const float *const *inputs);

/* Pixel by pixel.  The encoder's sums are then updated instead of recomputed, which is right only if every sum is exact
 * in float32.  bnn_events_expect proves this or fails with BNN_ERROR_LIMIT.  The caller promises that all values,
 * current ones and those until the next reset, are multiples of step (a power of two) and at most bound in magnitude.
 * BNN_ERROR_OPCODE: the encoder is not suited (it must be convolutions to bits, or binarize, directly on the input).
 * bnn_events_pixel refuses a value that breaks the promise; `index` is row-major (h, w, c). */
bnn_status bnn_events_expect(bnn_events *engine, float step, float bound);
bnn_status bnn_events_pixel(bnn_events *engine, uint32_t input, size_t index, float value);

/* Runs until no spike is pending: all of a layer are delivered, then all of the next, so that no neuron fires twice, and a
 * spike that is retracted before delivery does not count. */
bnn_status bnn_events_run(bnn_events *engine);

/* The network's current output: dense float32.  NaN where bnn_run would return NaN. */
bnn_status bnn_events_output(bnn_events *engine, uint32_t output, float *values);
/* A layer's state: bits as +1 and -1, or a readout's real values, dense float32 as from bnn_peek. */
bnn_status bnn_events_state(bnn_events *engine, uint32_t tensor, float *values);

typedef enum bnn_layer_kind {
    BNN_LAYER_ENCODER = 0,  /* real values to bits */
    BNN_LAYER_SYNAPSES = 1, /* bconv2d to bits */
    BNN_LAYER_POOL = 2,     /* max_pool of bits: a neuron looks at the bits of its window */
    BNN_LAYER_RELAY = 3,    /* concat, slice, reshape, pad, copy, gather: wires */
    BNN_LAYER_READOUT = 4,  /* bconv2d to real values */
    BNN_LAYER_SUMS = 5,     /* the same, which counters look at: it has no neurons of its own */
    BNN_LAYER_COUNTER = 6   /* binarize, binarize_levels on a readout's values: neurons that look at its membranes */
} bnn_layer_kind;

/* Counts since the last bnn_events_clear_counts (or reset). */
typedef struct bnn_events_layer {
    bnn_layer_kind kind;
    uint32_t op, tensor; /* the op, and its output */
    uint32_t levels;     /* of a neuron: 2 of bits; 0 of a readout, which has no neurons that fire */
    size_t neurons;
    uint64_t dense;       /* operations of one synchronous run: products of a convolution, taps of a pooling */
    uint64_t events;      /* spikes (or pixels) that arrived */
    uint64_t synops;      /* additions to membranes that they caused; `dense` for every synchronous run */
    uint64_t up, down;    /* spikes that left */
    uint64_t synchronous; /* runs of the synchronous kernel */
    /* If more spikes (for an encoder: pixels) than this arrive at once, the synchronous kernel runs instead.
     * After calibrate, each input pixel with spikes adds its own cost to this count. */
    size_t limit;
} bnn_events_layer;

uint32_t bnn_events_layer_count(const bnn_events *engine);
bnn_status bnn_events_get_layer(const bnn_events *engine, uint32_t layer, bnn_events_layer *info);
void bnn_events_clear_counts(bnn_events *engine);
/* The limit at which synapses, readouts and encoders (in bnn_events_frame) switch to the synchronous kernel; SIZE_MAX,
 * the default, means never.  calibrate times both with the caller's clock and sets every layer's limit to the
 * break-even.  Allowed only at rest. */
bnn_status bnn_events_set_limit(bnn_events *engine, uint32_t layer, size_t limit);
bnn_status bnn_events_calibrate(bnn_events *engine, bnn_clock *clock);

#ifdef __cplusplus
}
#endif
#endif
