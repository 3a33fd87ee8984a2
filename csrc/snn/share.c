/* SPDX-License-Identifier: Apache-2.0 */
/* Steps that share weights: what an input will send is known, so where most of its neurons send spikes, each row of a
 * dense projection is read once for several steps.  A step's currents are added up in the order of every step. */
#include "snn/snn.h"

/* The projection must be the first of its target: nothing else is added before. */
int bnn_snn_shares(const struct bnn_snn *net, uint32_t projection)
{
    const struct bnn_snn_projection *p = &net->projections[projection];
    const struct bnn_snn_population *from = &net->populations[p->source], *to = &net->populations[p->target];
    return BNN_SNN_SHARES && net->kernels->sum_steps != NULL && p->kind == BNN_SNN_DENSE && from->rule == RULE_INPUT &&
           from->emits == BNN_SNN_SPIKES && projection == to->first && p->delay == 0 && !p->whole && !p->learns &&
           !to->skips && p->mask == NULL;
}

void bnn_snn_announce(struct bnn_snn_state *s, uint32_t population, const void *const *inputs, size_t steps)
{
    struct bnn_snn_ahead *a = s->neurons[population].ahead;
    const uint32_t source = s->net->projections[s->net->populations[population].first].source;
    uint32_t input = 0;
    for (uint32_t k = 0; k < source; k++)
        input += s->net->populations[k].rule == RULE_INPUT;
    a->coming = inputs == NULL ? NULL : inputs[input];
    a->begin = a->last = s->time;
    a->end = 0; /* those of another run's input */
    if (a->coming != NULL && (uintptr_t)a->coming % sizeof *a->coming == 0)
        a->last += steps;
}

int bnn_snn_share(struct bnn_snn_state *s, uint32_t projection, size_t sent)
{
    const struct bnn_snn_projection *p = &s->net->projections[projection];
    const struct bnn_snn_neurons *n = &s->neurons[p->target];
    const uint32_t sources = s->net->populations[p->source].n;
    const size_t words = bnn_snn_words(sources);
    struct bnn_snn_ahead *a = n->ahead;
    if (s->time + BNN_STEPS > a->last || sent <= sources / 2)
        return 0;
    const uint32_t *coming = a->coming + (size_t)(s->time - a->begin) * words;
    if (bnn_snn_pause(s, (uint64_t)BNN_STEPS * sources * p->row))
        return 1;
    for (size_t t = 0; t < BNN_STEPS; t++) {
        memcpy(a->currents + t * p->row, n->current, p->row * sizeof *n->current);
        a->sent[t] = bnn_snn_set_bits(coming + t * words, sources);
    }
    s->net->kernels->sum_steps(a->currents, p->weights, p->row, coming, words, sources);
    a->end = s->time + BNN_STEPS;
    return bnn_snn_shared(s, projection);
}

int bnn_snn_shared(struct bnn_snn_state *s, uint32_t projection)
{
    const struct bnn_snn_projection *p = &s->net->projections[projection];
    const struct bnn_snn_neurons *n = &s->neurons[p->target];
    if (s->time >= n->ahead->end)
        return 0;
    const size_t t = BNN_STEPS - (size_t)(n->ahead->end - s->time);
    memcpy(n->current, n->ahead->currents + t * p->row, p->row * sizeof *n->current);
    s->synops[projection] += n->ahead->sent[t] * s->net->populations[p->target].n;
    return 1;
}
