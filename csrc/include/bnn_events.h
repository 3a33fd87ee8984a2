/* SPDX-License-Identifier: Apache-2.0 */
/* bnn_events: run a compiled model event by event.
 *
 * A network with binary activations is a spiking network run for one time step.  Here every neuron keeps an integer
 * membrane; a spike that arrives adds a column of weights to the membranes of its targets, and a neuron whose membrane
 * crosses its threshold upward fires +1, downward -1 (it takes its spike back).  Additions commute: so once no spike is
 * under way every layer equals what bnn_run computes, bit for bit, in whatever order the spikes travelled.  Between two
 * inputs only what changed costs anything.
 *
 *     size_t bytes;
 *     bnn_events_size(model, &bytes, &problem);
 *     bnn_events_create(model, memory, bytes, &engine, &problem);   // names the layer it cannot run
 *     bnn_events_frame(engine, inputs);                             // or, pixel by pixel, bnn_events_pixel
 *     bnn_events_run(engine);                                       // until no spike is under way
 *     bnn_events_output(engine, 0, values);
 *
 * What runs: bconv2d and max_pool of bits, and whatever moves bits (concat, slice, reshape, pad, copy, gather); bconv2d
 * with real outputs (a readout: membranes follow events, values are computed when asked for, through whatever follows).
 * What precedes the first bits (the encoder) runs synchronously on whole frames, or pixel by pixel where that is exact;
 * inputs of bytes are given as floats, whole numbers from 0 to 255, and encoded as whole frames.
 * Real values between two binary layers (a shortcut of real values) are no spikes: such models are refused, and so are
 * numbers of several bits, binary layers of a constant, and whatever mixes the images of a batch.  An engine that was
 * created runs within its memory: everything that it will look up was checked before.
 *
 * Memory, alignment and threads are as in bnn.h: nothing is allocated, the model is only read and must outlive the
 * engine, an engine belongs to one thread at a time. */
#ifndef BNN_EVENTS_H
#define BNN_EVENTS_H

#include "bnn.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bnn_events bnn_events;

/* BNN_ERROR_LIMIT: 2^32 - 1 neurons or more, or more bytes than a size_t counts. */
bnn_status bnn_events_size(const bnn_model *model, size_t *bytes, bnn_problem *problem);
/* The engine is at rest on inputs of zeros.  BNN_ERROR_OPCODE: a layer it cannot run, named in problem. */
bnn_status bnn_events_create(const bnn_model *model, void *memory, size_t memory_size, bnn_events **engine,
                             bnn_problem *problem);
/* The same with a poll (see below) from the start on: creating runs the network once.  BNN_ERROR_STOPPED: there is no
 * engine. */
bnn_status bnn_events_create_polled(const bnn_model *model, void *memory, size_t memory_size, bnn_poll *poll,
                                    void *argument, bnn_events **engine, bnn_problem *problem);

/* Called now and then by the thread that called a function of the engine, with the argument: nonzero stops the
 * function, which then returns BNN_ERROR_STOPPED.  What the engine holds is undefined from then on: until a
 * bnn_events_reset succeeds, every function that returns a status gives BNN_ERROR_STOPPED, except bnn_events_reset and
 * bnn_events_get_layer.  The order, the trace and the limits stay as they were set.
 *
 * Between two calls no more is done than about twice BNN_POLL_WORK, unless one word of 32 neurons or one pixel of a
 * layer is more than that, or copying the inputs.  The poll must not use the engine.  NULL, as in a new engine: nobody
 * is asked. */
void bnn_events_set_poll(bnn_events *engine, bnn_poll *poll, void *argument);

/* Who goes first among the spikes under way.  LAYERS: all of a layer, then all of the next; the fastest, and no neuron
 * fires twice (a spike that is taken back before it was delivered is none).  FIFO: the oldest.  RANDOM: any, by the
 * seed.  The last two check a neuron after every single spike, so it may fire and take it back several times.  Allowed
 * only at rest. */
typedef enum bnn_order { BNN_ORDER_LAYERS = 0, BNN_ORDER_FIFO = 1, BNN_ORDER_RANDOM = 2 } bnn_order;
bnn_status bnn_events_set_order(bnn_events *engine, bnn_order order, uint64_t seed);

/* A spike: when (the caller's clock, see set_time), which neuron of which tensor (row-major h, w, c), up or down. */
typedef struct bnn_spike {
    uint64_t time;
    uint32_t tensor, neuron;
    int32_t sign; /* +1 or -1 */
} bnn_spike;

void bnn_events_set_time(bnn_events *engine, uint64_t now);
/* Spikes are written here from now on, the first `capacity` of them; NULL stops it. */
void bnn_events_set_trace(bnn_events *engine, bnn_spike *spikes, size_t capacity);
/* How many there were since; more than the capacity: the rest was not written. */
size_t bnn_events_traced(const bnn_events *engine);

/* At rest on these inputs (dense float32 of one image; NULL: zeros), as if they had been there forever. */
bnn_status bnn_events_reset(bnn_events *engine, const float *const *inputs);

/* New inputs as a whole; the bits that changed become spikes under way.  The encoder runs synchronously, or, after
 * bnn_events_expect, for the pixels that changed (BNN_ERROR_LIMIT, and nothing done, where one breaks the promise). */
bnn_status bnn_events_frame(bnn_events *engine, const float *const *inputs);

/* Pixel by pixel.  The encoder's sums are then updated instead of computed anew, which is right only where every sum is
 * exact in float32.  bnn_events_expect proves it or fails with BNN_ERROR_LIMIT: all values, those of now and those to
 * come until the next reset, are multiples of step (a power of two) and at most bound in magnitude.  BNN_ERROR_OPCODE:
 * the encoder is not of the kind (convolutions to bits, or binarize, right on the input).  bnn_events_pixel refuses a
 * value that was not promised; `index` is row-major (h, w, c). */
bnn_status bnn_events_expect(bnn_events *engine, float step, float bound);
bnn_status bnn_events_pixel(bnn_events *engine, uint32_t input, size_t index, float value);

/* Until no spike is under way. */
bnn_status bnn_events_run(bnn_events *engine);

/* The network's output as it is now: dense float32.  Not a number where bnn_run would say so. */
bnn_status bnn_events_output(bnn_events *engine, uint32_t output, float *values);
/* A layer's state: bits as +1 and -1, or a readout's real values, dense float32 as bnn_peek gives them. */
bnn_status bnn_events_state(bnn_events *engine, uint32_t tensor, float *values);

typedef enum bnn_layer_kind {
    BNN_LAYER_ENCODER = 0,  /* real values to bits */
    BNN_LAYER_SYNAPSES = 1, /* bconv2d to bits */
    BNN_LAYER_POOL = 2,     /* max_pool of bits: a neuron counts the spikes in its window */
    BNN_LAYER_RELAY = 3,    /* concat, slice, reshape, pad, copy, gather: wires */
    BNN_LAYER_READOUT = 4   /* bconv2d to real values */
} bnn_layer_kind;

/* Counts since the last bnn_events_clear_counts (or reset). */
typedef struct bnn_events_layer {
    bnn_layer_kind kind;
    uint32_t op, tensor; /* the op, and its output */
    size_t neurons;
    uint64_t dense;       /* operations of one synchronous run: products of a convolution, taps of a pooling */
    uint64_t events;      /* spikes (or pixels) that arrived */
    uint64_t synops;      /* additions to a membrane that they caused; `dense` for every synchronous run */
    uint64_t up, down;    /* spikes that left */
    uint64_t synchronous; /* runs of the synchronous kernel */
    /* More spikes (of an encoder: pixels) than this at once: the synchronous kernel runs instead (order LAYERS).  After
     * calibrate an input pixel that has any counts more than its spikes, by what it costs. */
    size_t limit;
} bnn_events_layer;

uint32_t bnn_events_layer_count(const bnn_events *engine);
bnn_status bnn_events_get_layer(const bnn_events *engine, uint32_t layer, bnn_events_layer *info);
void bnn_events_clear_counts(bnn_events *engine);
/* Where synapses, readouts and encoders (in bnn_events_frame) switch to the synchronous kernel; SIZE_MAX, the default,
 * is never.  calibrate measures both ways with the caller's clock and sets every layer's limit to the break-even.
 * Allowed only at rest, and calibrate only in order LAYERS. */
bnn_status bnn_events_set_limit(bnn_events *engine, uint32_t layer, size_t limit);
bnn_status bnn_events_calibrate(bnn_events *engine, bnn_clock *clock);

#ifdef __cplusplus
}
#endif
#endif
