/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of spikes from arrays of floats. */
#include "snn/snn.h"

bnn_status bnn_snn_pack(const bnn_snn *net, uint32_t population, const float *values, ptrdiff_t stride, size_t steps,
                        uint32_t *frames)
{
    if (net == NULL || values == NULL || frames == NULL || population >= net->population_count ||
        net->populations[population].emits != BNN_SNN_SPIKES)
        return BNN_ERROR_ARGUMENT;
    const size_t n = net->populations[population].n;
    for (size_t t = 0; t < steps; t++, values += stride, frames += bnn_snn_words((uint32_t)n))
        if (net->kernels->nonzero(frames, values, n))
            return BNN_ERROR_ARGUMENT;
    return BNN_OK;
}
