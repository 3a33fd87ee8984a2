/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the engine for spikes over time. */
#ifndef BNN_SNN_INTERNAL_H
#define BNN_SNN_INTERNAL_H

#include "bnn_snn.h"
#include "model/internal.h"
#include "bits.h"
#include "neurons.h"

#include <string.h>

enum { BNN_SNN_MOST_DELAY = 65536, BNN_SNN_COUNTED = 8 };

struct bnn_snn_population {
    uint8_t rule, reset, emits, output, at_least, floored, winner, rank;
    uint32_t h, w, c, n;
    uint32_t depth; /* frames that are kept: the longest delay, and this step's */
    struct bnn_per_neuron bias, parameters[BNN_SNN_PARAMETERS];
    struct bnn_per_neuron adapted; /* what an adapting threshold starts with beyond the parameter */
    uint32_t first, end;           /* projections into it */
    uint8_t event, lanes, looks;   /* see events.h */
    uint32_t origin;               /* the op of a .bnn that it stands for, plus one; 0: none */
    uint32_t steps;                /* of an event population: the highest level; 1: bits */
    const float *cuts;             /* of a counter: [channel][steps] */
    uint8_t skips; /* blocks without input need no visit, unless they sent something in the step before */
    const char *name;
    uint32_t name_length;
};

/* bnn/snn/learning.py */
struct bnn_snn_learning {
    float nu_pre, nu_post, decay_pre, decay_post, low, high, norm;
    int added;
    int feedback;    /* learns by it: nu_post is the rate */
    float width;     /* by feedback */
    uint32_t signal; /* by feedback: the population */
};

struct bnn_snn_projection {
    uint8_t kind, whole, learns;
    uint32_t source, target, delay;
    float scale;                  /* of whole numbers */
    struct bnn_per_neuron scales; /* likewise, of each target, instead; or none */
    uint32_t kernel[2], stride[2], padding[2], dilation[2], groups;
    const void *weights;  /* dense: rows of `row` elements; conv: see scatter.c */
    uint32_t row;         /* diagonal: the period */
    uint64_t count;       /* weights */
    const uint32_t *mask; /* or NULL */
    uint32_t origin;      /* as a population's */
    struct bnn_per_neuron bias;
    struct bnn_snn_learning learning;
    const char *name;
    uint32_t name_length;
};

struct bnn_snn {
    const struct bnn_spike_kernels *kernels;
    const struct bnn_event_kernels *events;
    uint32_t population_count, projection_count;
    struct bnn_snn_population *populations;
    struct bnn_snn_projection *projections;
    float dt;
    int channels_first;
    const char *simulator;
    uint32_t simulator_length;
    uint32_t most; /* neurons of the largest population */
};

/* share.c: currents after the first projection of the steps before `end`, and how many sources send in each. */
struct bnn_snn_ahead {
    float *currents; /* [BNN_STEPS][row] */
    uint64_t sent[BNN_STEPS];
    uint64_t end;           /* 0: none */
    const uint32_t *coming; /* what the source sends from `begin` to before `last` */
    uint64_t begin, last;
};

/* A population's part of a state; arrays have BNN_SNN_LANES times a whole number of elements. */
struct bnn_snn_neurons {
    float *current;
    float *own;                          /* what a population of a recurrent rule sends to itself, or NULL */
    float *variables[BNN_SNN_VARIABLES]; /* bnn_snn_variable; NULL: none */
    unsigned char *frames;               /* depth of them, in a ring, with their marks */
    uint32_t *visits;                    /* the blocks that settle in this step; currents of others are 0 if it skips */
    unsigned char *records[3];
    size_t left[3]; /* steps that a record still takes */
    uint64_t sent;
    uint64_t still; /* an input's steps since it was given another frame */
    float *kept;    /* currents after the projections that come first and from inputs of values; NULL: there are none */
    struct bnn_snn_ahead *ahead; /* NULL: its steps share nothing */
    uint64_t kept_at;            /* the step that they are of, counted from 1; 0: none */
    const float *settles_on;     /* this step's currents: `current`, or `kept` if nothing else arrives */
    struct bnn_changes *changes; /* NULL: not an event population */
};

/* What a source reaches along one axis of a convolution: `count` taps, from `tap` on, a stride apart.  The first tap leads
 * to `target`, and each further tap to the target before.  `place` is where the last tap is in a row of the file. */
struct bnn_snn_reach {
    uint32_t tap, count, target, place;
};

/* What a state has of a projection that learns; the weights lie as in the file, traces are as long as rows at least. */
struct bnn_snn_plastic {
    float *weights; /* NULL: it does not learn */
    float *pre, *post;
    float *change; /* scratch, a row */
    int bounded;   /* no weight lies outside its bounds */
};

struct bnn_snn_state {
    const struct bnn_snn *net;
    uint64_t time; /* steps done */
    struct bnn_snn_neurons *neurons;
    uint64_t *synops;
    uint64_t *kept_synops;           /* those of the kept currents */
    struct bnn_snn_plastic *plastic; /* of each projection */
    struct bnn_snn_reach **reach;    /* likewise, of rows and then columns of the source; NULL: none */
    uint32_t *index;                 /* scratch: sources that sent something */
    uint32_t *values;                /* what they sent, floats or integers */
    uint32_t *bits;                  /* which sent a value that is not 0 */
    uint32_t *sums;                  /* zeros between projections */
    uint32_t *reached;               /* scratch: blocks */
    bnn_poll *poll;
    void *argument;
    uint64_t work; /* since the last poll */
    int stopped;
    uint32_t overflowed; /* the population whose membranes are not finite, plus 1; 0: none */
    int refused;         /* an event population's input was given what it cannot send */
    int learning;        /* thresholds adapt, weights change */
    int silent;          /* event populations count, trace and send nothing */
    int until_spike;     /* a run ends once outputs have sent more than `answered` */
    uint64_t answered;
    bnn_snn_change *trace;
    size_t trace_capacity, traced;
    /* Whether something else than what arrives decides an event population in this step; or NULL. */
    int (*decides)(void *argument, uint32_t population);
    void *decider;
};

/* Memory that is measured (at NULL) or handed out. */
struct bnn_supply {
    unsigned char *at;
    uint64_t used;
};

static inline void *bnn_supply_take(struct bnn_supply *m, uint64_t count, uint64_t size)
{
    void *memory = m->at == NULL ? NULL : m->at + m->used;
    m->used = bnn_plus(m->used, bnn_lines(bnn_times(count, size)));
    return memory;
}

/* Whether there is code for event populations. */
#ifdef BNN_NO_EVENTS
enum { BNN_SNN_EVENTS = 0 };
#else
enum { BNN_SNN_EVENTS = 1 };
#endif

/* Whether there is code, and memory, for what is fast on large processors alone: steps that share weights, targets that
 * list sources. */
#ifdef BNN_SMALL
enum { BNN_SNN_SHARES = 0 };
#else
enum { BNN_SNN_SHARES = 1 };
#endif

static inline int bnn_snn_is_event(const struct bnn_snn_population *p)
{
    return BNN_SNN_EVENTS && p->event;
}

static inline float bnn_of(const struct bnn_per_neuron *a, size_t neuron)
{
    return a->data[neuron % a->period];
}

static inline int bnn_snn_recurrent(const struct bnn_snn_population *p)
{
    return p->rule == RULE_DECAY_RECURRENT || p->rule == RULE_SYNAPTIC_RECURRENT ||
           p->rule == RULE_SYNAPTIC_JUMP_RECURRENT || p->rule == RULE_LSNN_RECURRENT;
}

static inline size_t bnn_snn_words(uint32_t n)
{
    return n / 32 + (n % 32 != 0);
}

static inline size_t bnn_snn_frame_bytes(const struct bnn_snn_population *p)
{
    return p->emits == BNN_SNN_SPIKES ? bnn_snn_words(p->n) * 4 : (size_t)p->n * 4;
}

/* Set bits of the words of n neurons. */
static inline uint64_t bnn_snn_set_bits(const uint32_t *words, uint32_t n)
{
    const size_t count = bnn_snn_words(n);
    uint64_t set = 0;
    size_t k = 0;
    for (; BNN_SNN_SHARES && k + BNN_SNN_COUNTED <= count; k += BNN_SNN_COUNTED) { /* compilers vectorize it */
        uint32_t sum = 0;
        for (size_t i = 0; i < BNN_SNN_COUNTED; i++) {
            uint32_t w = words[k + i];
            w -= w >> 1 & UINT32_C(0x55555555);
            w = (w & UINT32_C(0x33333333)) + (w >> 2 & UINT32_C(0x33333333));
            sum += (w + (w >> 4)) & UINT32_C(0x0f0f0f0f);
        }
        set += (sum & 0xff) + (sum >> 8 & 0xff) + (sum >> 16 & 0xff) + (sum >> 24);
    }
    for (; k < count; k++)
        set += bnn_popcount(words[k]);
    return set;
}

/* Where a tap of a kernel's row is in the weights: the taps of one phase (tap % stride) are together, the last first, so
 * that one source's targets are neighbours. */
static inline uint32_t bnn_snn_tap_place(uint32_t kernel, uint32_t stride, uint32_t tap)
{
    const uint32_t phase = tap % stride, each = kernel / stride, more = kernel % stride;
    const uint32_t end = (phase + 1) * each + (phase < more ? phase + 1 : more);
    return end - 1 - tap / stride;
}

/* Whether it is a whole number from least to BNN_SNN_MOST. */
static inline int bnn_snn_whole(float value, float least)
{
    return value >= least && value <= (float)BNN_SNN_MOST && (float)(int32_t)value == value;
}

/* Words of marks: a bit for each block of BNN_SNN_LANES neurons. */
static inline size_t bnn_snn_mark_words(uint32_t n)
{
    return bnn_snn_words((uint32_t)bnn_snn_words(n));
}

/* Bytes of a block of a frame. */
static inline size_t bnn_snn_block_bytes(const struct bnn_snn_population *p)
{
    return p->emits == BNN_SNN_SPIKES ? 4 : 4 * BNN_SNN_LANES;
}

/* Bytes from one frame of the ring to the next: its blocks, and marks of those that may hold something. */
static inline size_t bnn_snn_frame_step(const struct bnn_snn_population *p)
{
    return bnn_snn_words(p->n) * bnn_snn_block_bytes(p) + bnn_snn_mark_words(p->n) * 4;
}

static inline uint32_t *bnn_snn_marks(const struct bnn_snn_population *p, unsigned char *frame)
{
    return (uint32_t *)(void *)(frame + bnn_snn_words(p->n) * bnn_snn_block_bytes(p));
}

/* All blocks, or none. */
static inline void bnn_snn_mark_all(uint32_t *marks, uint32_t n, int marked)
{
    memset(marks, marked ? 0xff : 0, bnn_snn_mark_words(n) * sizeof *marks);
}

static inline void bnn_snn_mark(uint32_t *marks, size_t block)
{
    marks[block / 32] |= UINT32_C(1) << block % 32;
}

/* Marked blocks that follow each other, and their neurons; begins as zeros. */
struct bnn_snn_span {
    uint32_t block, end_block, first, count;
};

/* What a population sends at this time, or sent. */
static inline unsigned char *bnn_snn_frame(const struct bnn_snn_state *s, uint32_t population, uint64_t time)
{
    const struct bnn_snn_population *p = &s->net->populations[population];
    return s->neurons[population].frames + (p->depth == 1 ? 0 : (size_t)(time % p->depth) * bnn_snn_frame_step(p));
}

/* frames.c: zero after the last. */
int bnn_snn_find_span(const uint32_t *marks, uint32_t n, struct bnn_snn_span *span);
static inline int bnn_snn_next_span(const uint32_t *marks, uint32_t n, struct bnn_snn_span *span)
{
    return span->end_block < bnn_snn_words(n) && bnn_snn_find_span(marks, n, span);
}
/* Marks all blocks instead of many short spans, which would take longer. */
void bnn_snn_widen(uint32_t *marks, uint32_t n);

/* poll.c: calls the poll. */
void bnn_snn_poll(struct bnn_snn_state *s);

/* Accounts for work; nonzero: stop. */
static inline int bnn_snn_pause(struct bnn_snn_state *s, uint64_t work)
{
    s->work += work;
    if (s->work >= BNN_POLL_WORK)
        bnn_snn_poll(s);
    return s->stopped;
}

/* neurons.c: one step of a population on its currents, where it visits; writes its frame for the state's time.  Zero: a
 * membrane is not finite. */
int bnn_snn_update(struct bnn_snn_state *s, uint32_t population);
/* learn.c: after a step, whose spikes are still this time's. */
void bnn_snn_learn(struct bnn_snn_state *s);
/* learn.c: weights and thresholds as in the file. */
void bnn_snn_begin_learning(struct bnn_snn_state *s);
/* scatter.c: the number of places to look up, 0 if there are none, and what they hold. */
size_t bnn_snn_reaches(const struct bnn_snn *net, const struct bnn_snn_projection *p);
/* Along one axis without dilation: what a source at a coordinate reaches. */
struct bnn_snn_reach bnn_snn_reach_of(const struct bnn_snn_projection *p, int axis, uint32_t coordinate,
                                      uint32_t targets);
void bnn_snn_find_reaches(const struct bnn_snn *net, const struct bnn_snn_projection *p, struct bnn_snn_reach *reach);
/* gather.c: whether the targets of a convolution should gather, as `sent` sources sent something; and the gathering. */
int bnn_snn_gathers(const struct bnn_snn *net, const struct bnn_snn_projection *p, size_t sent);
void bnn_snn_gather(struct bnn_snn_state *s, const struct bnn_snn_projection *p, size_t sent, float *sums);
/* gather.c: whether targets should list the sources in their windows, of `sent` in s->index, with which they might for
 * SIZE_MAX; and that, which returns the number of additions.  rows: those of weights that sources would bring to a target
 * in column 0 by row 0 of the kernel; a target in column ox takes the row that lies ox further on. */
int bnn_snn_lists(const struct bnn_snn *net, const struct bnn_snn_projection *p, size_t sent);
void bnn_snn_find_rows(const struct bnn_snn_projection *p, const struct bnn_snn_population *from,
                       const struct bnn_snn_reach *columns, uint32_t *rows);
uint64_t bnn_snn_gather_lists(struct bnn_snn_state *s, const struct bnn_snn_projection *p, const uint32_t *rows,
                              size_t sent, float *sums);
/* gather.c: adds the highest value in each target's window. */
void bnn_snn_gather_highest(struct bnn_snn_state *s, const struct bnn_snn_projection *p, float *sums);
/* share.c: whether a projection can bring several steps at once. */
int bnn_snn_shares(const struct bnn_snn *net, uint32_t projection);
/* Of the first projection into a population that can: what a run will give its source. */
void bnn_snn_announce(struct bnn_snn_state *s, uint32_t population, const void *const *inputs, size_t steps);
/* Where enough sources sent something: brings it for the steps to come.  Nonzero: for this step, too. */
int bnn_snn_share(struct bnn_snn_state *s, uint32_t projection, size_t sent);
/* Nonzero: this step's currents were there, and now are the target's. */
int bnn_snn_shared(struct bnn_snn_state *s, uint32_t projection);
/* Adds what a projection brings in this step to its target's currents. */
void bnn_snn_scatter(struct bnn_snn_state *s, uint32_t projection);

#endif
