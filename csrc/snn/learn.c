/* SPDX-License-Identifier: Apache-2.0 */
/* Local learning: bnn/snn/learning.py defines it, operation by operation.  Only the rows of sources that sent a spike and
 * the columns of such targets are touched; rows have whole blocks, so that compilers make vectors of the loops. */
#include "snn/snn.h"

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

/* A source's spike; bounded: nothing else changes the row in this step. */
static void take(float *restrict row, const float *restrict change, size_t count, float low, float high)
{
    for (size_t first = 0; first < count; first += BLOCK)
        for (size_t l = 0; l < BLOCK; l++)
            row[first + l] = bound(row[first + l] - change[first + l], low, high);
}

static void take_unbounded(float *restrict row, const float *restrict change, size_t count)
{
    for (size_t first = 0; first < count; first += BLOCK)
        for (size_t l = 0; l < BLOCK; l++)
            row[first + l] = row[first + l] - change[first + l];
}

static void bound_all(float *restrict row, size_t count, float low, float high)
{
    for (size_t first = 0; first < count; first += BLOCK)
        for (size_t l = 0; l < BLOCK; l++)
            row[first + l] = bound(row[first + l], low, high);
}

/* Spikes of targets: `change` is 0 for those that sent none. */
static void give(float *restrict row, const float *restrict change, size_t count, float trace, float low, float high)
{
    for (size_t first = 0; first < count; first += BLOCK)
        for (size_t l = 0; l < BLOCK; l++)
            row[first + l] = bound(row[first + l] + trace * change[first + l], low, high);
}

/* The columns of targets that sent a spike. */
static void raise_columns(const struct bnn_snn_projection *p, struct bnn_snn_plastic *w, uint32_t sources,
                          const uint32_t *to, size_t fired)
{
    const float nu = p->learning.nu_post, low = p->learning.low, high = p->learning.high;
    const size_t step = p->row;
    if (fired > FEW) {
        memset(w->change, 0, step * sizeof *w->change);
        for (size_t k = 0; k < fired; k++)
            w->change[to[k]] = nu;
    }
    for (uint32_t i = 0; i < sources; i++) {
        float *row = w->weights + i * step;
        if (w->pre[i] == 0) /* adds nothing */
            continue;
        if (fired > FEW) {
            give(row, w->change, step, w->pre[i], low, high);
            continue;
        }
        const float up = w->pre[i] * nu;
        for (size_t k = 0; k < fired; k++)
            row[to[k]] = bound(row[to[k]] + up, low, high);
    }
}

/* Lowers the rows of sources that sent a spike; a target without a trace loses nothing, and most have none.  later:
 * raise_columns and bound_all follow, so the row is not bounded here. */
static void lower(const struct bnn_snn_projection *p, const struct bnn_snn_plastic *w, uint32_t targets,
                  const uint32_t *from, size_t sent, int later, uint32_t *traced)
{
    const float low = p->learning.low, high = p->learning.high;
    size_t some = 0;
    for (uint32_t j = 0; j < targets; j++) {
        traced[some] = j;
        some += w->post[j] != 0;
    }
    for (size_t first = 0; first < p->row; first += BLOCK)
        for (size_t l = 0; l < BLOCK; l++)
            w->change[first + l] = w->post[first + l] * p->learning.nu_pre;
    for (size_t k = 0; k < sent && some != 0; k++) {
        float *row = w->weights + (size_t)from[k] * p->row;
        if (some > FEW && later)
            take_unbounded(row, w->change, p->row);
        else if (some > FEW)
            take(row, w->change, p->row, low, high);
        else
            for (size_t l = 0; l < some; l++) {
                const float less = row[traced[l]] - w->change[traced[l]];
                row[traced[l]] = later ? less : bound(less, low, high);
            }
    }
}

static void learn(struct bnn_snn_state *s, uint32_t projection)
{
    const struct bnn_snn_projection *p = &s->net->projections[projection];
    struct bnn_snn_plastic *w = &s->plastic[projection];
    const struct bnn_snn_learning *r = &p->learning;
    const uint32_t sources = s->net->populations[p->source].n, targets = s->net->populations[p->target].n;
    const uint32_t *before = (const uint32_t *)(const void *)bnn_snn_frame(s, p->source, s->time);
    const uint32_t *after = (const uint32_t *)(const void *)bnn_snn_frame(s, p->target, s->time);
    uint32_t *from = s->index, *to = s->values; /* scratch as long as the largest population */
    follow(w->pre, before, sources, r->decay_pre, r->added);
    follow(w->post, after, targets, r->decay_post, r->added);
    const size_t sent = s->net->kernels->find_bits(from, before, bnn_snn_words(sources));
    if (sent != 0)
        lower(p, w, targets, from, sent, bnn_snn_set_bits(after, targets) != 0, to);
    const size_t fired = s->net->kernels->find_bits(to, after, bnn_snn_words(targets));
    if (fired != 0) {
        raise_columns(p, w, sources, to, fired);
        for (size_t k = 0; k < sent; k++)
            bound_all(w->weights + (size_t)from[k] * p->row, p->row, r->low, r->high);
    }
    if (!w->bounded)
        bound_all(w->weights, (size_t)sources * p->row, r->low, r->high);
    w->bounded = 1;
    (void)bnn_snn_pause(s, sources + (uint64_t)sent * p->row + (uint64_t)fired * sources);
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
