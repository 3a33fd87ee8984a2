/* SPDX-License-Identifier: Apache-2.0 */
/* One step of a population: the rules are kernels. */
#include "snn/snn.h"

int bnn_snn_update(struct bnn_snn_state *s, uint32_t population)
{
    const struct bnn_snn_population *p = &s->net->populations[population];
    const struct bnn_snn_neurons *neurons = &s->neurons[population];
    unsigned char *frame = bnn_snn_frame(s, population, s->time);
    int finite = 1;
    struct bnn_neurons n = {
        .rule = p->rule,
        .reset = p->reset,
        .sends = p->emits,
        .at_least = p->at_least,
        .floored = p->floored,
        .winner = p->winner,
        .learning = s->learning != 0,
        .parameters = p->parameters,
        .variables = neurons->variables,
        .current = neurons->settles_on,
        .own = neurons->own,
        .words = (uint32_t *)(void *)frame,
        .values = (float *)(void *)frame,
    };
    for (struct bnn_snn_span span = {0}; finite && bnn_snn_next_span(neurons->visits, p->n, &span);) {
        n.first = span.first;
        n.end = span.first + span.count;
        finite = s->net->kernels->settle(&n);
    }
    return finite;
}
