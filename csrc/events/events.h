/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the event engine's files.
 *
 * State.  A population is the bits of one tensor: the current output of its neurons.  Pending spikes are the difference
 * between `bits` and what its targets have `seen`, word by word; a spike and its retraction cancel if both are pending.
 * A run delivers all of a population, then all of the next: spikes go to later populations only.
 *
 * Membranes.  They start from the sums of the synchronous kernels.  An input that turns +1 adds 2 w to an accumulator;
 * membranes count in twos, m = floor((accumulator - threshold) / 2), so that a spike adds w in {+1, -1}, and a neuron
 * fires while m >= 0: its bit is its membrane's sign bit, inverted.  An unreachable threshold is moved to the edge of
 * the reach of K products, so that m stays within -K - 1 and K.  For real outputs there is no threshold: accumulator =
 * 2 m + parity, with a parity per output pixel.  A pooling neuron has no membrane: it reads the bits of its window.
 *
 * Counters.  A neuron of several levels keeps its level: each step up or down is a spike, +1 or -1, that adds its row of
 * weights to its targets once, or takes it back once.  Of spikes that are pending only the difference counts: it is
 * delivered at once, as a multiple of the row.  What reads levels sums in floats, which are exact there (bnn_model_open
 * checked that sums are below 2^24): `membranes` are then the accumulators themselves.  A counter has no sums of its own:
 * it looks at those of a layer of real values, through a chain of monotone functions and perhaps the window of a
 * max-pool, and compares them with its `cuts`, where the level changes.
 *
 * Other neuron models (leak, reset, several time steps) would differ in `settle` and keep the rest. */
#ifndef BNN_EVENTS_INTERNAL_H
#define BNN_EVENTS_INTERNAL_H

#include "bits.h"
#include "bnn_events.h"
#include "run/context.h"

#define BNN_NONE UINT32_MAX

/* One of the layers that read a population. */
struct bnn_link {
    uint32_t layer, next; /* the next link, or BNN_NONE */
    uint32_t first;       /* relay: the number of the population's first neuron among its inputs */
};

struct bnn_population {
    uint32_t tensor, h, w, c, words;
    uint32_t steps;                /* the highest level of a neuron; bits: 1 */
    size_t neurons, first;         /* number of its first neuron in the engine's own numbering */
    uint32_t *bits, *seen;         /* packed as in bnn.h, without halo */
    uint8_t *levels, *levels_seen; /* of several levels: per neuron, instead of these */
    uint8_t *pending;   /* per word of bits, or neuron of several levels: whether it is in queue[first ...] */
    size_t waiting;     /* how many are */
    uint32_t consumers; /* the first of them in `links`, or BNN_NONE */
    uint32_t producer;  /* layer */
};

struct bnn_layer {
    bnn_layer_kind kind;
    uint32_t op;
    uint32_t sums;    /* op whose accumulators the membranes are (a quantizer's: the convolution before), or BNN_NONE */
    uint32_t in, out; /* populations, or BNN_NONE; a concat's `in` is its first */
    uint32_t reads;   /* encoder: the only model input on which it depends, element by element; or BNN_NONE */
    uint32_t input;   /* the same, if it reads that itself */
    /* geometry of taps: output * stride + tap * dilation - pad = input */
    uint32_t in_h, in_w, in_c, out_h, out_w, out_c;
    uint32_t kernel_h, kernel_w, groups, group_in, group_out;
    int32_t stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    uint32_t steps;    /* the highest level of its neurons; bits: 1 */
    uint32_t reach;    /* the largest magnitude of a sum of spikes */
    uint32_t source;   /* counter: the layer with its sums; such a layer: one whose sums are added; or BNN_NONE */
    uint32_t watchers; /* of these sums: the first layer with them as its source, or BNN_NONE */
    uint32_t next;     /* the next one with the same source, or BNN_NONE */
    uint64_t taps;     /* of a pool's window inside the image */
    int whole_rows;    /* the outputs that an input pixel reaches in a row are adjacent, and so are their weights */
    int wide;          /* membranes are int32_t */
    int floats;        /* membranes are float: sums of pixels, or of levels */
    int fires;         /* bits by m >= 0; otherwise by the epilogue */
    void *membranes;   /* [pixel][out_c]: int16_t, int32_t or float */
    const void *rows;  /* [group][in channel][tap row][tap column from the last][out channel]: int8_t or float */
    size_t row_length; /* taps * group_out */
    const int32_t *thresholds; /* per channel, within reach; zeros if there are none */
    uint8_t *parity;           /* per output pixel */
    struct bnn_epilogue finish;
    const struct bnn_epilogue *chain; /* counter: the functions between its sums and its thresholds */
    uint32_t chained, pooled;         /* how many; how many of them before the window */
    const float *limits; /* binarize, per channel: bit = (v >= limit) != flip; NULL: v >= 0; of several levels: each
                            level's */
    const uint32_t *flips;
    const uint32_t *mask; /* pool: the channels that are ANDed, or NULL */
    uint32_t *first_wire,
        *wires;          /* relay: input i leads to outputs wires[first_wire[i]] .. wires[first_wire[i + 1] - 1] */
    uint64_t spike_work; /* of delivering one spike, at most; units as in bnn_model_work */
    uint64_t word_work;  /* of deciding one word of neurons */
    size_t slice;        /* words of input that are delivered without a pause */
    uint32_t residual;   /* tensor, or BNN_NONE */
    const float *added;  /* a constant residual */
    float *cuts;         /* [channel][steps]: bit = (sum >= cut) != turned, for the sums that there may be; of several
                            levels: how many cuts are <= sum * sign */
    uint32_t *turned;
    float *signs;             /* of several levels, per channel: -1 if the level falls with the sum */
    float *floors, *ceilings; /* of several levels, per neuron: floor <= sum * sign < ceiling as long as it stays */
    uint32_t *lowest;         /* counter: the channels that look for the lowest sum of a window, not the highest */
    float row_step, row_sum;  /* encoder: all weights are multiples of row_step; the largest sum of magnitudes */
    uint8_t *touched;         /* per output pixel */
    uint32_t *list;           /* those touched since the last settle */
    size_t list_count;
    int whole;         /* encoder: this frame runs synchronously instead of pixel by pixel */
    int stale;         /* it ran synchronously: its bits are right, its membranes are old */
    double pixel_cost; /* the cost of a pixel besides its spikes, in spikes; see limit in bnn_events.h */
    bnn_events_layer count;
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
    struct bnn_population *populations;
    uint32_t population_count;
    struct bnn_layer *layers;
    uint32_t layer_count;
    struct bnn_link *links;
    uint8_t *classes;        /* by tensor */
    uint8_t *wanted;         /* by tensor: whether it is to be computed now */
    uint32_t *population_of; /* by tensor, or BNN_NONE */
    uint32_t *layer_of;      /* by op, or BNN_NONE */
    float **values;          /* by tensor: real values kept, or NULL */
    struct bnn_pixels *inputs;
    float *accumulators; /* of one synchronous layer */
    uint32_t *queue;     /* a list per population */
    size_t neurons, queued;
    int local;         /* encoders can run where inputs changed */
    int simple;        /* pixels can be updated one by one */
    float step, bound; /* the promise for pixels; step 0: none */
    int invalid;       /* the encoder met NaN, or has not run since the reset */
    int silent;        /* nothing is counted, traced or sent */
    int stopped;       /* by the poll, which belongs to the context: the engine's state is undefined until a reset */
    uint64_t now;
    bnn_spike *trace;
    size_t trace_capacity, traced;
};

/* Spikes being delivered: words of a population, whose bits were `before` and are `after`; or neurons of several levels,
 * which were at `lower` and are at `upper`. */
struct bnn_delivery {
    const struct bnn_population *from;
    const uint32_t *before, *after, *words;
    size_t count;
    const uint8_t *lower, *upper; /* NULL: bits */
};

/* Counts the work done, and polls when there is enough.  Nonzero: the call must end with BNN_ERROR_STOPPED. */
static inline int bnn_events_pause(struct bnn_events *e, uint64_t work)
{
    if (e->context->poll != NULL && !e->stopped)
        e->stopped = bnn_context_stopped_after(e->context, work);
    return e->stopped;
}

static inline bnn_status bnn_events_status(const struct bnn_events *e)
{
    return e->stopped ? BNN_ERROR_STOPPED : BNN_OK;
}

/* The pixels of a layer's output. */
static inline size_t bnn_events_pixels(const struct bnn_layer *layer)
{
    return (size_t)layer->out_h * layer->out_w;
}

/* Whether a layer sums spikes in membranes. */
static inline int bnn_events_sums_spikes(const struct bnn_layer *layer)
{
    return layer->kind == BNN_LAYER_SYNAPSES || layer->kind == BNN_LAYER_READOUT;
}

/* The number of an op's first operands that are bits that it passes on or computes with. */
static inline uint32_t bnn_events_operands(const struct bnn_op *op)
{
    return op->row->opcode == BNN_OP_concat ? op->input_count : 1;
}

static inline int bnn_events_is_bits(const struct bnn_tensor *t)
{
    return t->dtype == BNN_B1;
}

/* The highest level of what an op gives. */
static inline uint32_t bnn_events_steps(const struct bnn_model *m, const struct bnn_op *op)
{
    return op->row->opcode == BNN_OP_binarize_levels ? bnn_op_input(m, op, 1)->c : 1;
}

/* A tensor of the shape of an op's neurons: several bits of its output may be one. */
static inline const struct bnn_tensor *bnn_events_neurons(const struct bnn_model *m, const struct bnn_op *op)
{
    return op->row->opcode == BNN_OP_binarize_levels ? bnn_op_input(m, op, 0) : &m->tensors[op->output];
}

/* Layers that give bits, and layers that read them into sums. */
static inline int bnn_events_is_layer(const struct bnn_model *m, const struct bnn_op *op)
{
    return bnn_events_is_bits(&m->tensors[op->output]) || op->row->opcode == BNN_OP_bconv2d;
}

/* counter_ops.c */
/* What a counter looks at: the op with its sums, perhaps a max-pool of them, and functions of a channel between. */
struct bnn_counter_ops {
    uint32_t sums, pool; /* BNN_NONE: no pool */
    uint32_t functions;
};
/* Whether an op's bits depend on the sums of one layer of spikes in this way, element by element. */
int bnn_events_find_counter_ops(const struct bnn_model *m, const struct bnn_op *op, struct bnn_counter_ops *ops);
/* The members of a counter that follow from it. */
void bnn_events_describe_counter(const struct bnn_model *m, const struct bnn_op *op, struct bnn_layer *layer);
/* Memory for what neurons of several levels compare sums with. */
void bnn_events_reserve_bounds(struct bnn_prepare *p, struct bnn_layer *layer);
/* The functions of a counter, in their order. */
void bnn_events_reserve_counter(struct bnn_prepare *p, const struct bnn_op *op, struct bnn_layer *layer);

/* check.c */
/* The kind of a layer; 0 if the op is not a layer. */
int bnn_events_find_kind(const struct bnn_model *m, const struct bnn_op *op, bnn_layer_kind *kind);
/* Refuses what no engine can run.  Afterwards every layer is of a known kind and reads spikes only from populations: an
 * earlier op writes all bits that are not constant, as bnn_model_open checked, and every op that writes bits is a
 * layer.  Planes of numbers come from binarize_levels, and only convolutions read them, as numbers of the same channels.
 * All neurons together are fewer than BNN_NONE, so that each has a number. */
bnn_status bnn_events_check_ops(struct bnn_prepare *p);
/* The role of each tensor; refuses what the engine cannot run. */
bnn_status bnn_events_classify(struct bnn_prepare *p, struct bnn_events *e);

/* tables.c: weights. */
void bnn_events_make_conv(struct bnn_prepare *p, struct bnn_events *e, const struct bnn_op *op,
                          struct bnn_layer *layer);

/* wires.c */
void bnn_events_reserve_wires(struct bnn_prepare *p, struct bnn_layer *layer);
/* The target of each bit that an op moves: no wire leads beyond its output, whatever the op does. */
void bnn_events_find_wires(struct bnn_events *e, struct bnn_layer *layer);
/* Passes spikes on; first: the number of their population's first neuron among the inputs. */
void bnn_events_relay(struct bnn_events *e, struct bnn_layer *layer, uint32_t first, const struct bnn_delivery *spikes);

/* deliver.c */
/* Adds spikes to the membranes, slice by slice; for a pool, marks the neurons whose window has any. */
void bnn_events_add(struct bnn_events *e, struct bnn_layer *layer, const struct bnn_delivery *spikes);
/* On one axis: the outputs, from *first to *end - 1, whose window of `kernel` has an input from `from` to `to`. */
void bnn_events_windows(uint32_t from, uint32_t to, int32_t pad, uint32_t kernel, int32_t stride, uint32_t outputs,
                        uint32_t *first, uint32_t *end);
/* Adds to the sums of an encoder for an input pixel whose value changed by delta. */
void bnn_events_add_pixel(struct bnn_events *e, struct bnn_layer *layer, size_t index, float delta);
/* Settles what looks at the sums of a layer, in the touched pixels or in all. */
void bnn_events_show(struct bnn_events *e, struct bnn_layer *layer);
void bnn_events_show_all(struct bnn_events *e, struct bnn_layer *layer);

/* fire.c */
/* A spike of a neuron, for the trace. */
void bnn_events_record(struct bnn_events *e, const struct bnn_population *p, uint32_t neuron, int up);
/* No pixel was touched. */
void bnn_events_forget(struct bnn_layer *layer);
/* Fires the neurons of a pixel that crossed their thresholds. */
void bnn_events_settle_pixel(struct bnn_events *e, const struct bnn_layer *layer, size_t pixel);
/* The bit of a neuron changes, or those of one word of a pixel: count, trace, send. */
void bnn_events_emit(struct bnn_events *e, struct bnn_population *p, uint32_t neuron);
void bnn_events_emit_word(struct bnn_events *e, struct bnn_population *p, size_t pixel, uint32_t word,
                          uint32_t changed);
/* The bit of a real value. */
int bnn_events_decide(const struct bnn_layer *layer, float v, size_t channel);
/* The accumulator of a layer of spikes. */
float bnn_events_accumulator(const struct bnn_layer *layer, size_t pixel, size_t channel);

/* counters.c */
/* A neuron's new level: its steps are counted, traced, and sent. */
void bnn_events_set_level(struct bnn_events *e, struct bnn_population *p, uint32_t neuron, uint32_t level);
/* New cuts, or levels that were set in another way. */
void bnn_events_bound_all(struct bnn_events *e, struct bnn_layer *layer);
/* The largest magnitude that a counter may see of a layer; infinite or NaN if a constant that is added is. */
float bnn_events_most(const struct bnn_events *e, const struct bnn_layer *layer);
/* Fires the neurons of the touched pixels that crossed their thresholds, or whose level changed. */
void bnn_events_settle(struct bnn_events *e, struct bnn_layer *layer);
/* The level of a real value; of bits 0 or 1. */
uint32_t bnn_events_level(const struct bnn_layer *layer, float v, size_t channel);
/* Levels as planes of a tensor in the context's memory; and those of some rows that are there. */
void bnn_events_poke_levels(const struct bnn_events *e, const struct bnn_population *p, const uint8_t *levels);
void bnn_events_take_levels(struct bnn_events *e, struct bnn_population *p, size_t first, size_t end);

/* cuts.c */
/* Whether the functions of a layer never give NaN for sums from -most to most. */
int bnn_events_gives_numbers(const struct bnn_layer *layer, float most);
/* Cuts of a layer for sums from -most to most, which never give NaN. */
void bnn_events_find_cuts(struct bnn_events *e, struct bnn_layer *layer, float most);

/* synchronous.c */
/* A population's current output in the context's memory, as the input of an op; or what its targets have seen. */
enum bnn_moment { BNN_NOW, BNN_SEEN };
void bnn_events_poke(const struct bnn_events *e, const struct bnn_population *p, enum bnn_moment moment);
/* A part of a layer's bits by its synchronous kernel, from what is in the context's memory: emits those that differ.
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

/* run.c */
/* No spike is pending. */
void bnn_events_all_seen(struct bnn_events *e);

/* input.c */
/* The bits of the encoders that are marked `whole`, by their synchronous kernels. */
void bnn_events_encode_whole(struct bnn_events *e);
/* Sets the sums of encoders that ran synchronously to those of the current inputs. */
void bnn_events_refresh_encoders(struct bnn_events *e);

static inline int bnn_events_turned(const struct bnn_layer *layer, size_t channel)
{
    return (int)(layer->turned[channel / 32] >> channel % 32 & 1);
}

static inline int bnn_events_bit(const struct bnn_population *p, uint32_t neuron)
{
    uint32_t pixel = neuron / p->c, channel = neuron % p->c;
    return (int)(p->bits[(size_t)pixel * p->words + channel / 32] >> channel % 32 & 1);
}

#endif
