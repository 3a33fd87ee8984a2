/* SPDX-License-Identifier: Apache-2.0 */
/* Event populations: neurons without a leak, which change only where something arrives.
 *
 * State.  A population of bits has the current output of its neurons in words of 32, per pixel; one of several levels has
 * a level per neuron.  What its targets have `seen` is that of the step before; the difference is what it sends.  A step
 * goes through the populations in their order: each takes what its sources send, and then the neurons of touched pixels
 * settle.
 *
 * Membranes.  Where all weights are 1, -1 or 0, with a scale of 2, between bits, membranes are int16_t and count in twos:
 * rows are added in int8 lanes.  A counter's membrane is m = floor((v - cut) / 2), so that its bit is m's sign bit,
 * inverted; a sum's begins at 0, v = initial + 2 m.  They wrap around where they leave 16 bits.  Other membranes are
 * floats, in which sums of whole numbers below 2^24 are exact.
 *
 * A counter without weights has no membrane: it looks at the sums of another population, perhaps through the window of a
 * max-pool, and compares them with its cuts. */
#ifndef BNN_SNN_EVENTS_H
#define BNN_SNN_EVENTS_H

#include "snn/snn.h"

#define BNN_NONE UINT32_MAX

/* A projection between event populations. */
struct bnn_path {
    const struct bnn_snn_projection *projection;
    struct bnn_changes *from, *to;
    uint32_t group_in, group_out;
    size_t row_length; /* weights of one source */
    uint32_t taps;     /* of a window inside the source, at most */
    int runs;          /* the targets that a source reaches in a row are adjacent, and so are their weights */
    const struct bnn_snn_reach *reach; /* `runs`: by column of the source */
    size_t slice;                      /* words, or neurons of several levels, that are delivered without a pause */
    uint64_t events;
};

/* An event population's part of a state. */
struct bnn_changes {
    const struct bnn_snn_population *p;
    uint32_t number, pixels, words; /* words of a pixel */
    struct bnn_path *paths;         /* those into it */
    uint32_t path_count;
    uint32_t *bits, *seen;         /* per pixel; or of several levels: */
    uint8_t *levels, *levels_seen; /* per neuron */
    uint8_t *pending;              /* per word of bits, or neuron of several levels: whether it is in the list */
    uint32_t *waiting;
    size_t waiting_count;
    float *values;            /* of an input of real values: those now */
    void *membranes;          /* int16_t or float */
    int32_t *limits;          /* lanes of a counter: per channel */
    float *floors, *ceilings; /* of several levels: floor <= sum * sign < ceiling as long as a neuron keeps its level */
    float *cuts;              /* of bits from membranes of floats: bit = (v >= cut) != flip; */
    uint32_t *flips;          /* a bit per channel */
    float *signs;             /* of a counter, per channel: -1 if the level falls with the sum */
    uint8_t *lowest;          /* likewise: whether it looks for the lowest sum of a window, not the highest */
    uint32_t *every;          /* pools: channels whose bit is set if all bits of the window are */
    int watched;              /* settles, or is looked at */
    uint8_t *touched;         /* per pixel */
    uint32_t *list;
    size_t list_count;
    uint64_t up, down;
    uint64_t word_work; /* of deciding one word of neurons */
    int stale;          /* its bits are right, its membranes are old */
};

static inline int bnn_event_levels(const struct bnn_changes *c)
{
    return c->levels != NULL;
}

/* Words of bits, or neurons of several levels. */
static inline size_t bnn_event_units(const struct bnn_changes *c)
{
    return bnn_event_levels(c) ? c->p->n : (size_t)c->pixels * c->words;
}

static inline int bnn_event_bit(const struct bnn_changes *c, uint32_t neuron)
{
    const uint32_t pixel = neuron / c->p->c, channel = neuron % c->p->c;
    return (int)(c->bits[(size_t)pixel * c->words + channel / 32] >> channel % 32 & 1);
}

/* place.c: the memory of an event population and its paths; NULL to measure. */
void bnn_event_place(const struct bnn_snn *net, uint32_t population, struct bnn_supply *m, struct bnn_snn_state *s);
void bnn_event_reset(struct bnn_changes *c);
/* Membranes as they are before any source has sent something. */
void bnn_event_begin(struct bnn_changes *c);

/* rows.c */
size_t bnn_event_slice(const struct bnn_path *path);
/* Adds what a path's source sends to the membranes; of a window, marks the pixels that look at it. */
void bnn_event_deliver(struct bnn_snn_state *s, struct bnn_path *path);
/* Adds to the targets of an input of real values for one that changed. */
void bnn_event_add_value(struct bnn_snn_state *s, struct bnn_path *path, uint32_t neuron, float delta);
void bnn_event_touch(struct bnn_changes *c, size_t first, size_t pixels);
void bnn_event_forget(struct bnn_changes *c);

/* fire.c */
/* A population's neurons of one word of a pixel turn: count, trace, send. */
void bnn_event_turn(struct bnn_snn_state *s, struct bnn_changes *c, size_t pixel, uint32_t word, uint32_t changed);
void bnn_event_turn_one(struct bnn_snn_state *s, struct bnn_changes *c, uint32_t neuron);
void bnn_event_set_level(struct bnn_snn_state *s, struct bnn_changes *c, uint32_t neuron, uint32_t level);
/* Touched pixels: bits that changed, levels that changed. */
void bnn_event_settle(struct bnn_snn_state *s, struct bnn_changes *c);
/* New levels: the sums at which they stay. */
void bnn_event_bound_all(struct bnn_changes *c);
/* A neuron's membrane; not of a counter in lanes, which has lost the last bit. */
float bnn_event_value(const struct bnn_changes *c, size_t neuron);

/* events.c */
/* One step of an event population. */
void bnn_event_step(struct bnn_snn_state *s, struct bnn_changes *c);
/* All targets have seen what was sent; nothing is touched. */
void bnn_event_all_seen(struct bnn_snn_state *s);
/* All targets have seen what was sent. */
void bnn_event_end(struct bnn_snn_state *s);
/* A neuron of an input sends; 0: it cannot send the sum. */
int bnn_event_send(struct bnn_snn_state *s, struct bnn_changes *c, uint32_t neuron, float value);
/* A state variable; 0: it has none of that name. */
int bnn_event_get(const struct bnn_changes *c, bnn_snn_variable variable, float *values);
/* What it sent in this step, a float per neuron. */
void bnn_event_record(const struct bnn_changes *c, float *to);

#endif
