/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of spikes from arrays of floats. */
#include "snn/snn.h"

/* Whether each value is 0 or 1. */
static int are_spikes(const float *values, size_t count)
{
    int others = 0;
    for (; count >= BNN_SNN_LANES; count -= BNN_SNN_LANES, values += BNN_SNN_LANES)
        for (size_t i = 0; i < BNN_SNN_LANES; i++) /* a fixed length, which compilers vectorize */
            others |= (values[i] != 0) & (values[i] != 1);
    for (size_t i = 0; i < count; i++)
        others |= (values[i] != 0) & (values[i] != 1);
    return !others;
}

bnn_status bnn_snn_pack(const bnn_snn *net, uint32_t population, const float *values, ptrdiff_t stride, size_t steps,
                        uint32_t *frames)
{
    if (net == NULL || values == NULL || frames == NULL || population >= net->population_count ||
        net->populations[population].emits != BNN_SNN_SPIKES)
        return BNN_ERROR_ARGUMENT;
    const size_t n = net->populations[population].n;
    for (size_t t = 0; t < steps; t++, values += stride, frames += bnn_snn_words((uint32_t)n)) {
        if (!are_spikes(values, n))
            return BNN_ERROR_ARGUMENT;
        net->kernels->nonzero(frames, values, n);
    }
    return BNN_OK;
}
