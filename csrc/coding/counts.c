/* SPDX-License-Identifier: Apache-2.0 */
/* What layers did. */
#include "coding/coding.h"

#include <string.h>

uint32_t bnn_events_layer_count(const bnn_events *e)
{
    return e->layer_count;
}

bnn_status bnn_events_get_layer(const bnn_events *e, uint32_t layer, bnn_events_layer *info)
{
    if (e == NULL || layer >= e->layer_count || info == NULL)
        return BNN_ERROR_ARGUMENT;
    const struct bnn_layer *l = &e->layers[layer];
    const struct bnn_changes *c = l->changes;
    const int fires = c->pending != NULL;
    *info = (bnn_events_layer){.kind = l->kind,
                               .op = l->op,
                               .tensor = l->tensor,
                               .levels = fires ? c->p->steps + 1 : 0,
                               .neurons = l->kind == BNN_LAYER_SUMS ? 0 : c->p->n,
                               .dense = l->dense,
                               .synops = l->synops,
                               .up = c->up,
                               .down = c->down,
                               .synchronous = l->synchronous,
                               .limit = l->limit};
    for (uint32_t i = 0; i < c->path_count; i++) {
        info->events += c->paths[i].events;
        info->synops += e->state->synops[c->paths[i].projection - e->state->net->projections];
    }
    return BNN_OK;
}

void bnn_events_clear_counts(bnn_events *e)
{
    for (uint32_t k = 0; k < e->layer_count; k++)
        e->layers[k].synops = e->layers[k].synchronous = 0;
    for (uint32_t k = 0; k < e->state->net->population_count; k++) {
        struct bnn_changes *c = e->state->neurons[k].changes;
        c->up = c->down = 0;
        for (uint32_t i = 0; i < c->path_count; i++)
            c->paths[i].events = 0;
    }
    memset(e->state->synops, 0, e->state->net->projection_count * sizeof *e->state->synops);
    e->state->traced = 0;
}

void bnn_events_set_poll(bnn_events *e, bnn_poll *poll, void *argument)
{
    bnn_context_set_poll(e->context, poll, argument);
    bnn_snn_set_poll(e->state, poll, argument);
}

bnn_snn_state *bnn_events_network(bnn_events *e)
{
    return e->state;
}
