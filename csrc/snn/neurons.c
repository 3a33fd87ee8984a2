/* SPDX-License-Identifier: Apache-2.0 */
/* The rules: bnn/snn/rules.py defines them, operation by operation.  Loops of a fixed number of neurons, so that
 * compilers make vectors of them. */
#include "snn/snn.h"

#include <string.h>

#define EACH for (size_t l = 0; l < BNN_SNN_LANES; l++)
#define MOST_SPIKES ((float)BNN_SNN_MOST)

/* 32 neurons: their variables (in the state, or NULL), currents and parameters. */
struct lanes {
    float *v, *i, *refractory, *adapted, *level;
    const float *x, *own;
    const float *p[BNN_SNN_PARAMETERS];
    float threshold[BNN_SNN_LANES];
    float h[BNN_SNN_LANES]; /* the new membrane */
    uint32_t fired[BNN_SNN_LANES], late[BNN_SNN_LANES];
};

/* Both are computed, so that compilers need no branch. */
static inline float choose(uint32_t first, float a, float b)
{
    return first ? a : b;
}

/* New membranes. */
static void charge(const struct bnn_snn_population *p, struct lanes *n)
{
    float *restrict h = n->h, *restrict v = n->v, *restrict i = n->i;
    const float *restrict x = n->x, *restrict own = n->own;
    const float *restrict a = n->p[OWN], *restrict b = n->p[OWN + 1], *restrict c = n->p[OWN + 2],
                          *restrict d = n->p[OWN + 3], *restrict e = n->p[OWN + 4];
    switch (p->rule) {
    case RULE_RELAY:
        EACH h[l] = x[l];
        break;
    case RULE_INTEGRATE:
    case RULE_TAKE_BACK:
        EACH h[l] = v[l] + x[l];
        break;
    case RULE_APPROACH:
        EACH h[l] = v[l] + a[l] * ((x[l] + b[l]) - v[l]);
        break;
    case RULE_DECAY:
        EACH h[l] = a[l] * v[l] + x[l];
        break;
    case RULE_DECAY_SCALED:
        EACH h[l] = a[l] * v[l] + b[l] * x[l];
        break;
    case RULE_DIVIDE_ALL:
        EACH h[l] = v[l] + (x[l] - (v[l] - b[l])) / a[l];
        break;
    case RULE_DIVIDE:
        EACH h[l] = (v[l] - (v[l] - b[l]) / a[l]) + x[l];
        break;
    case RULE_SYNAPTIC:
        EACH i[l] = a[l] * i[l] + x[l];
        EACH h[l] = b[l] * v[l] + i[l];
        break;
    case RULE_SYNAPTIC_APPROACH:
        EACH i[l] = i[l] + a[l] * ((c[l] - i[l]) + d[l] * x[l]);
        EACH h[l] = v[l] + b[l] * ((e[l] * i[l] + c[l]) - v[l]);
        break;
    case RULE_SYNAPTIC_SCALED:
        EACH i[l] = a[l] * (i[l] + x[l]);
        EACH h[l] = b[l] * v[l] + c[l] * i[l];
        break;
    case RULE_ADAPTIVE: {
        float *restrict refractory = n->refractory;
        EACH h[l] = (v[l] - b[l]) * a[l] + b[l];
        EACH h[l] = h[l] + (refractory[l] <= 0 ? x[l] : 0);
        EACH refractory[l] = refractory[l] - 1 > 0 ? refractory[l] - 1 : 0;
        break;
    }
    case RULE_APPROACH_REST:
        EACH h[l] = v[l] + a[l] * (x[l] - (v[l] - b[l]));
        break;
    case RULE_LEAK_REST:
        EACH h[l] = (v[l] - a[l] * (v[l] - b[l])) + x[l];
        break;
    case RULE_DECAY_RECURRENT:
        EACH h[l] = (a[l] * v[l] + x[l]) + own[l];
        break;
    default: /* RULE_SYNAPTIC_RECURRENT */
        EACH i[l] = (a[l] * i[l] + x[l]) + own[l];
        EACH h[l] = b[l] * v[l] + i[l];
        break;
    }
}

static void compare(const struct bnn_snn_population *p, const float *restrict v, const float *restrict threshold,
                    uint32_t *restrict fired)
{
    if (p->at_least)
        EACH fired[l] = v[l] >= threshold[l];
    else
        EACH fired[l] = v[l] > threshold[l];
}

/* The membranes of neurons that sent numbers of spikes. */
static void count(struct lanes *n, float *restrict counts)
{
    float *restrict h = n->h;
    const float *restrict threshold = n->threshold;
    EACH
    {
        float share = h[l] / threshold[l];
        counts[l] = h[l] > 0 ? share < MOST_SPIKES ? (float)(int32_t)share : MOST_SPIKES : 0;
    }
    EACH h[l] = h[l] - counts[l] * threshold[l];
}

/* The changes of neurons that have levels. */
static void change(struct lanes *n, float *restrict changes)
{
    const float *restrict h = n->h, *restrict threshold = n->threshold;
    const float *restrict offset = n->p[OWN], *restrict most = n->p[OWN + 1]; /* whole numbers, see open.c */
    float *restrict level = n->level;
    EACH
    {
        float share = (h[l] + offset[l]) / threshold[l];
        float now = share > 0 ? share < most[l] ? (float)(int32_t)share : most[l] : 0;
        changes[l] = now - level[l];
        level[l] = now;
    }
}

/* What a spike does in its own step. */
static void reset(const struct bnn_snn_population *p, struct lanes *n, int learning)
{
    float *restrict h = n->h;
    const float *restrict threshold = n->threshold, *restrict value = n->p[RESET];
    const uint32_t *restrict fired = n->fired, *restrict late = n->late;
    if (p->reset == RESET_VALUE)
        EACH h[l] = choose(fired[l], value[l], h[l]);
    else if (p->reset == RESET_SUBTRACT)
        EACH h[l] = choose(fired[l], h[l] - threshold[l], h[l]);
    else if (p->reset == RESET_CORRECTED_SUBTRACT)
        EACH h[l] = fired[l] == late[l] ? h[l] : fired[l] ? h[l] - threshold[l] : h[l] + threshold[l];
    if (n->adapted != NULL) {
        const float *restrict period = n->p[OWN + 2], *restrict step = n->p[OWN + 3];
        EACH n->refractory[l] = choose(fired[l], period[l], n->refractory[l]);
        if (learning)
            EACH n->adapted[l] = choose(fired[l], n->adapted[l] + step[l], n->adapted[l]);
    }
}

/* What the spikes of the step before do. */
static void reset_late_before(const struct bnn_snn_population *p, struct lanes *n)
{
    if (p->reset < RESET_LATE_ZERO)
        return;
    compare(p, n->v, n->threshold, n->late);
    if (p->reset == RESET_LATE_ZERO)
        EACH n->v[l] = choose(n->late[l], 0, n->v[l]);
}

static void reset_late_after(const struct bnn_snn_population *p, struct lanes *n)
{
    float *restrict h = n->h;
    const uint32_t *restrict late = n->late;
    if (p->reset == RESET_LATE_SUBTRACT || p->reset == RESET_CORRECTED_SUBTRACT)
        EACH h[l] = choose(late[l], h[l] - n->threshold[l], h[l]);
    else if (p->reset == RESET_LATE_DISCARD)
        EACH h[l] = choose(late[l], 0, h[l]);
}

/* From neuron `first` on.  What charge computes is not initialized: that would take as long. */
static void lanes_at(struct lanes *n, const struct bnn_snn_population *p, const struct bnn_snn_neurons *neurons,
                     uint32_t first)
{
    float **to[BNN_SNN_VARIABLES] = {&n->v, &n->i, &n->refractory, &n->adapted, &n->level};
    n->x = neurons->current + first;
    n->own = neurons->own == NULL ? NULL : neurons->own + first;
    for (size_t k = 0; k < BNN_SNN_VARIABLES; k++)
        *to[k] = neurons->variables[k] == NULL ? NULL : neurons->variables[k] + first;
    for (size_t k = 0; k < BNN_SNN_PARAMETERS; k++)
        n->p[k] = p->parameters[k].data == NULL ? NULL : bnn_snn_at(&p->parameters[k], first);
}

/* Bit l: fired[l], which is 0 or 1. */
static uint32_t word_of(const uint32_t *restrict fired)
{
    uint8_t bytes[BNN_SNN_LANES];
    uint32_t word = 0;
    EACH bytes[l] = (uint8_t)fired[l];
    for (uint32_t k = 0; k < 4; k++) { /* eight bytes to eight bits: each lands in the product's highest byte */
        uint64_t eight;
        memcpy(&eight, bytes + 8 * k, 8);
        word |= (uint32_t)(eight * UINT64_C(0x0102040810204080) >> 56) << 8 * k;
    }
    return word;
}

/* The neuron that may send its spike. */
struct winner {
    float excess;
    uint32_t neuron;
    int found;
};

static void compete(struct winner *w, const struct lanes *n, uint32_t first, uint32_t valid)
{
    for (uint32_t l = 0; l < valid; l++) {
        float excess = n->h[l] - n->threshold[l];
        if (n->fired[l] && (!w->found || excess > w->excess))
            *w = (struct winner){excess, first + l, 1};
    }
}

void bnn_snn_update(struct bnn_snn_state *s, uint32_t population)
{
    const struct bnn_snn_population *p = &s->net->populations[population];
    struct bnn_snn_neurons *neurons = &s->neurons[population];
    unsigned char *frame = bnn_snn_frame(s, population, s->time);
    uint32_t *words = (uint32_t *)(void *)frame;
    float *values = (float *)(void *)frame;
    struct winner winner = {0, 0, 0};
    const int learning = s->learning;

    for (uint32_t first = 0; first < p->n; first += BNN_SNN_LANES) {
        uint32_t valid = p->n - first < BNN_SNN_LANES ? p->n - first : BNN_SNN_LANES, word = 0;
        struct lanes n;
        lanes_at(&n, p, neurons, first);
        EACH n.threshold[l] = n.p[THRESHOLD][l];
        reset_late_before(p, &n);
        if (n.adapted != NULL) {
            if (learning)
                EACH n.adapted[l] = n.adapted[l] * n.p[OWN + 4][l];
            EACH n.threshold[l] = n.threshold[l] + n.adapted[l];
        }
        charge(p, &n);
        reset_late_after(p, &n);
        if (p->emits == BNN_SNN_VALUES) {
            EACH values[first + l] = n.h[l];
        } else if (p->emits == BNN_SNN_COUNTS) {
            count(&n, values + first);
        } else if (p->emits == BNN_SNN_CHANGES) {
            change(&n, values + first);
        } else {
            compare(p, n.h, n.threshold, n.fired);
            if (p->winner)
                compete(&winner, &n, first, valid);
            reset(p, &n, learning);
            word = word_of(n.fired);
            words[first / 32] = valid < 32 ? word & ((UINT32_C(1) << valid) - 1) : word;
        }
        if (p->floored)
            EACH n.h[l] = (n.h[l] - n.p[RESET][l] > 0 ? n.h[l] - n.p[RESET][l] : 0) + n.p[RESET][l];
        if (n.v != NULL)
            EACH n.v[l] = n.h[l];
    }
    if (p->winner) {
        for (size_t k = 0; k < bnn_snn_words(p->n); k++)
            words[k] = 0;
        if (winner.found)
            words[winner.neuron / 32] = UINT32_C(1) << winner.neuron % 32;
    }
}
