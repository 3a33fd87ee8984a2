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

int bnn_snn_share(struct bnn_snn_state *s, uint32_t projection, size_t sent)
{
    const struct bnn_snn_projection *p = &s->net->projections[projection];
    const struct bnn_snn_neurons *input = &s->neurons[p->source], *n = &s->neurons[p->target];
    const uint32_t sources = s->net->populations[p->source].n;
    struct bnn_snn_ahead *a = n->ahead;
    if (a == NULL || !bnn_snn_shares(s->net, projection) || input->coming_steps < BNN_STEPS || sent <= sources / 2)
        return 0;
    if (bnn_snn_pause(s, (uint64_t)BNN_STEPS * sources * p->row))
        return 1;
    for (size_t t = 0; t < BNN_STEPS; t++) {
        memcpy(a->currents + t * p->row, n->current, p->row * sizeof *n->current);
        a->sent[t] = bnn_snn_set_bits(input->coming + t * bnn_snn_words(sources), sources);
    }
    s->net->kernels->sum_steps(a->currents, p->weights, p->row, input->coming, bnn_snn_words(sources), sources);
    a->end = s->time + BNN_STEPS;
    return bnn_snn_shared(s, projection);
}

int bnn_snn_shared(struct bnn_snn_state *s, uint32_t projection)
{
    const struct bnn_snn_projection *p = &s->net->projections[projection];
    const struct bnn_snn_neurons *n = &s->neurons[p->target];
    if (n->ahead == NULL || projection != s->net->populations[p->target].first || s->time >= n->ahead->end)
        return 0;
    const size_t t = BNN_STEPS - (size_t)(n->ahead->end - s->time);
    memcpy(n->current, n->ahead->currents + t * p->row, p->row * sizeof *n->current);
    s->synops[projection] += n->ahead->sent[t] * s->net->populations[p->target].n;
    return 1;
}
