/* SPDX-License-Identifier: Apache-2.0 */
/* Local learning: bnn/snn/learning.py defines it, operation by operation.  Only the rows of sources that sent a spike, or
 * have a trace, and the columns of targets that change are touched; rows have whole blocks, so that compilers make vectors
 * of the loops. */
#include "snn/snn.h"

#include <math.h>
#include <string.h>

enum {
    BLOCK = 16, /* a row of weights has a whole number of blocks, and so has the memory of traces */
    FEW = 8     /* targets, above which whole rows take no longer */
};

static inline float bound(float w, float low, float high)
{
    w = w < low ? low : w;
    return w > high ? high : w;
}

/* Traces decay, then spikes leave theirs. */
static void follow(float *trace, const uint32_t *words, uint32_t n, float decay, int added)
{
    for (uint32_t first = 0; first < n; first += BLOCK) {
        float *restrict t = trace + first;
        for (size_t l = 0; l < BLOCK; l++)
            t[l] = t[l] * decay;
    }
    for (size_t k = 0; k < bnn_snn_words(n); k++)
        for (uint32_t word = words[k]; word != 0; word &= word - 1) {
            float *t = trace + 32 * k + bnn_lowest_bit(word);
            *t = added ? *t + 1 : 1;
        }
}

static void bound_all(float *restrict row, size_t count, float low, float high)
{
    for (size_t first = 0; first < count; first += BLOCK)
        for (size_t l = 0; l < BLOCK; l++)
            row[first + l] = bound(row[first + l], low, high);
}

/* What a step does to rows of weights: `change`, the scratch of a projection, is not 0 for `some` of the targets, `to`. */
struct update {
    const struct bnn_snn_plastic *w;
    size_t row, some;
    const uint32_t *to;
    float low, high;
};

/* Adds the change, times a number that stands for the source, to its row. */
static void change_row(const struct update *u, uint32_t source, float times)
{
    const float *restrict change = u->w->change;
    const float low = u->low, high = u->high;
    float *restrict row = u->w->weights + (size_t)source * u->row;
    for (size_t k = 0; u->some <= FEW && k < u->some; k++)
        row[u->to[k]] = bound(row[u->to[k]] + times * change[u->to[k]], low, high);
    for (size_t first = 0; u->some > FEW && first < u->row; first += BLOCK)
        for (size_t l = 0; l < BLOCK; l++)
            row[first + l] = bound(row[first + l] + times * change[first + l], low, high);
}

/* The rows of all sources with a trace: to others nothing is added. */
static void change_traced(const struct update *u, uint32_t sources)
{
    for (uint32_t i = 0; u->some != 0 && i < sources; i++)
        if (u->w->pre[i] != 0)
            change_row(u, i, u->w->pre[i]);
}

/* Lowers the rows of sources that sent a spike; a target without a trace loses nothing, and most have none. */
static void lower(struct update *u, uint32_t *traced, uint32_t targets, float nu, const uint32_t *from, size_t sent)
{
    u->some = 0;
    u->to = traced;
    for (uint32_t j = 0; j < targets; j++) {
        traced[u->some] = j;
        u->some += u->w->post[j] != 0;
    }
    for (size_t first = 0; first < u->row; first += BLOCK)
        for (size_t l = 0; l < BLOCK; l++)
            u->w->change[first + l] = u->w->post[first + l] * nu;
    for (size_t k = 0; k < sent && u->some != 0; k++)
        change_row(u, from[k], -1);
}

/* By pairs of spikes; returns the additions. */
static uint64_t learn_pairs(struct bnn_snn_state *s, const struct bnn_snn_projection *p,
                            const struct bnn_snn_plastic *w)
{
    const struct bnn_snn_learning *r = &p->learning;
    const uint32_t sources = s->net->populations[p->source].n, targets = s->net->populations[p->target].n;
    const uint32_t *before = (const uint32_t *)(const void *)bnn_snn_frame(s, p->source, s->time);
    const uint32_t *after = (const uint32_t *)(const void *)bnn_snn_frame(s, p->target, s->time);
    uint32_t *from = s->index, *to = s->values; /* scratch as long as the largest population */
    follow(w->pre, before, sources, r->decay_pre, r->added);
    follow(w->post, after, targets, r->decay_post, r->added);
    const size_t sent = s->net->kernels->find_bits(from, before, bnn_snn_words(sources));
    /* Where targets sent a spike, rows are bounded when those were raised, too. */
    const int later = bnn_snn_set_bits(after, targets) != 0;
    struct update u = {.w = w, .row = p->row, .low = later ? -INFINITY : r->low, .high = later ? INFINITY : r->high};
    if (sent != 0)
        lower(&u, to, targets, r->nu_pre, from, sent);
    const size_t fired = s->net->kernels->find_bits(to, after, bnn_snn_words(targets));
    if (fired != 0) {
        u = (struct update){w, p->row, fired, to, r->low, r->high};
        memset(w->change, 0, p->row * sizeof *w->change);
        for (size_t k = 0; k < fired; k++)
            w->change[to[k]] = r->nu_post;
        change_traced(&u, sources);
        for (size_t k = 0; k < sent; k++)
            bound_all(w->weights + (size_t)from[k] * p->row, p->row, r->low, r->high);
    }
    return (uint64_t)sent * p->row + (uint64_t)fired * sources;
}

/* By a signal for each target; returns the additions. */
static uint64_t learn_by_feedback(struct bnn_snn_state *s, const struct bnn_snn_projection *p,
                                  const struct bnn_snn_plastic *w)
{
    const struct bnn_snn_learning *r = &p->learning;
    const struct bnn_snn_population *from = &s->net->populations[p->source], *target = &s->net->populations[p->target];
    const void *arrived = bnn_snn_frame(s, p->source, s->time + from->depth - p->delay);
    const float *signal = (const float *)(const void *)bnn_snn_frame(s, r->signal, s->time);
    const float *membrane = s->neurons[p->target].variables[BNN_SNN_V];
    struct update u = {w, p->row, 0, s->values, r->low, r->high};
    follow(w->pre, arrived, from->n, r->decay_pre, 1);
    for (uint32_t j = 0; j < target->n; j++) {
        float slope = 1;
        if (target->emits == BNN_SNN_SPIKES) {
            const float away = membrane[j] - bnn_of(&target->parameters[THRESHOLD], j);
            slope = 1 - (away < 0 ? -away : away) / r->width;
            slope = slope > 0 ? slope : 0;
        }
        w->change[j] = r->nu_post * (slope * signal[j]);
        s->values[u.some] = j;
        u.some += w->change[j] != 0;
    }
    change_traced(&u, from->n);
    return (uint64_t)u.some * from->n;
}

static void learn(struct bnn_snn_state *s, uint32_t projection)
{
    const struct bnn_snn_projection *p = &s->net->projections[projection];
    struct bnn_snn_plastic *w = &s->plastic[projection];
    const uint32_t sources = s->net->populations[p->source].n;
    const uint64_t work = p->learning.feedback ? learn_by_feedback(s, p, w) : learn_pairs(s, p, w);
    if (!w->bounded)
        bound_all(w->weights, (size_t)sources * p->row, p->learning.low, p->learning.high);
    w->bounded = 1;
    (void)bnn_snn_pause(s, sources + work);
}

void bnn_snn_learn(struct bnn_snn_state *s)
{
    for (uint32_t j = 0; j < s->net->projection_count && !s->stopped; j++)
        if (s->plastic[j].weights != NULL)
            learn(s, j);
}

void bnn_snn_begin_learning(struct bnn_snn_state *s)
{
    for (uint32_t j = 0; j < s->net->projection_count; j++) {
        const struct bnn_snn_projection *p = &s->net->projections[j];
        if (s->plastic[j].weights != NULL)
            memcpy(s->plastic[j].weights, p->weights,
                   (size_t)s->net->populations[p->source].n * p->row * sizeof(float));
    }
    for (uint32_t k = 0; k < s->net->population_count; k++) {
        const struct bnn_snn_population *p = &s->net->populations[k];
        for (uint32_t i = 0; p->adapted.data != NULL && i < p->n; i++)
            s->neurons[k].variables[BNN_SNN_ADAPTED][i] = p->adapted.data[i % p->adapted.period];
    }
}

void bnn_snn_set_learning(bnn_snn_state *s, int learning)
{
    if (s != NULL)
        s->learning = learning != 0;
}

bnn_status bnn_snn_normalize(bnn_snn_state *s)
{
    if (s == NULL)
        return BNN_ERROR_ARGUMENT;
    for (uint32_t j = 0; j < s->net->projection_count; j++) {
        const struct bnn_snn_projection *p = &s->net->projections[j];
        struct bnn_snn_plastic *w = &s->plastic[j];
        const size_t sources = s->net->populations[p->source].n;
        float *restrict sums = w->change;
        if (w->weights == NULL || p->learning.norm == 0)
            continue;
        memset(sums, 0, p->row * sizeof *sums);
        for (size_t i = 0; i < sources; i++) {
            const float *restrict row = w->weights + i * p->row;
            for (size_t first = 0; first < p->row; first += BLOCK)
                for (size_t l = 0; l < BLOCK; l++)
                    sums[first + l] = sums[first + l] + (row[first + l] < 0 ? -row[first + l] : row[first + l]);
        }
        for (size_t l = 0; l < p->row; l++)
            sums[l] = 1 / (sums[l] == 0 ? 1 : sums[l]) * p->learning.norm;
        for (size_t i = 0; i < sources; i++) {
            float *restrict row = w->weights + i * p->row;
            for (size_t first = 0; first < p->row; first += BLOCK)
                for (size_t l = 0; l < BLOCK; l++)
                    row[first + l] = row[first + l] * sums[first + l];
        }
        w->bounded = 0;
    }
    return BNN_OK;
}

/* The weights of a projection that learns, or NULL. */
static struct bnn_snn_plastic *plastic_of(const struct bnn_snn_state *s, uint32_t projection)
{
    if (s == NULL || projection >= s->net->projection_count || s->plastic[projection].weights == NULL)
        return NULL;
    return &s->plastic[projection];
}

bnn_status bnn_snn_get_weights(const bnn_snn_state *s, uint32_t projection, float *values)
{
    const struct bnn_snn_plastic *w = plastic_of(s, projection);
    if (w == NULL || values == NULL)
        return BNN_ERROR_ARGUMENT;
    const struct bnn_snn_projection *p = &s->net->projections[projection];
    const size_t sources = s->net->populations[p->source].n, targets = s->net->populations[p->target].n;
    for (size_t i = 0; i < sources; i++)
        memcpy(values + i * targets, w->weights + i * p->row, targets * sizeof *values);
    return BNN_OK;
}

bnn_status bnn_snn_set_weights(bnn_snn_state *s, uint32_t projection, const float *values)
{
    struct bnn_snn_plastic *w = plastic_of(s, projection);
    if (w == NULL || values == NULL)
        return BNN_ERROR_ARGUMENT;
    const struct bnn_snn_projection *p = &s->net->projections[projection];
    const size_t sources = s->net->populations[p->source].n, targets = s->net->populations[p->target].n;
    for (size_t i = 0; i < sources * targets; i++)
        if (values[i] - values[i] != 0) /* not finite */
            return BNN_ERROR_ARGUMENT;
    for (size_t i = 0; i < sources; i++)
        memcpy(w->weights + i * p->row, values + i * targets, targets * sizeof *values);
    w->bounded = 0;
    return BNN_OK;
}
