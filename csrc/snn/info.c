/* SPDX-License-Identifier: Apache-2.0 */
/* What an opened network says of itself. */
#include "snn/snn.h"

uint32_t bnn_snn_population_count(const bnn_snn *net)
{
    return net->population_count;
}

uint32_t bnn_snn_projection_count(const bnn_snn *net)
{
    return net->projection_count;
}

float bnn_snn_dt(const bnn_snn *net)
{
    return net->dt;
}

int bnn_snn_channels_first(const bnn_snn *net)
{
    return net->channels_first;
}

const char *bnn_snn_simulator(const bnn_snn *net, size_t *length)
{
    if (length != NULL)
        *length = net->simulator_length;
    return net->simulator;
}

bnn_status bnn_snn_get_population(const bnn_snn *net, uint32_t population, bnn_snn_population_info *info)
{
    if (net == NULL || info == NULL || population >= net->population_count)
        return BNN_ERROR_ARGUMENT;
    const struct bnn_snn_population *p = &net->populations[population];
    *info = (bnn_snn_population_info){
        .rule = p->rule,
        .reset = p->reset,
        .emits = (bnn_snn_emits)p->emits,
        .output = p->output,
        .at_least = p->at_least,
        .floored = p->floored,
        .winner = p->winner,
        .rank = p->rank,
        .dims = {p->h, p->w, p->c},
        .neurons = p->n,
        .origin = p->origin,
        .frame = bnn_snn_frame_bytes(p),
        .name = p->name,
        .name_length = p->name_length,
    };
    for (uint32_t i = 0; i < p->rank; i++) /* the last `rank` of h, w, c */
        info->dims[i] = info->dims[3 - p->rank + i];
    return BNN_OK;
}

bnn_status bnn_snn_get_projection(const bnn_snn *net, uint32_t projection, bnn_snn_projection_info *info)
{
    if (net == NULL || info == NULL || projection >= net->projection_count)
        return BNN_ERROR_ARGUMENT;
    const struct bnn_snn_projection *p = &net->projections[projection];
    *info = (bnn_snn_projection_info){
        .kind = (bnn_snn_kind)p->kind,
        .whole = p->whole,
        .learns = p->learns,
        .source = p->source,
        .target = p->target,
        .delay = p->delay,
        .origin = p->origin,
        .scale = p->scale,
        .scales = p->whole ? p->scales.data == NULL ? 1 : p->scales.period : 0,
        .weights = (size_t)p->count,
        .kernel = {p->kernel[0], p->kernel[1]},
        .stride = {p->stride[0], p->stride[1]},
        .padding = {p->padding[0], p->padding[1]},
        .dilation = {p->dilation[0], p->dilation[1]},
        .groups = p->groups,
        .biased = p->bias.data != NULL,
        .mask = p->mask,
        .name = p->name,
        .name_length = p->name_length,
    };
    return BNN_OK;
}
