/* SPDX-License-Identifier: Apache-2.0 */
/* A firmware with spikes over time: runs the networks of model.inc, and prints checksums of what every population sent,
 * of where its membranes end, and of what its weights learned; then in which step an output sent something. */
#include "bnn_snn.h"
#include "model/validate.h"
#include "target.h"

/* One input; its frames, step after step. */
struct network {
    const unsigned char *file;
    size_t size;
    const unsigned char *frames;
    size_t frame, steps;
    int learns;
};

/* networks: an array of struct network; enum: MEMORY (bytes), MOST (floats of a population's state or of weights that
 * learn; all that is sent in a step) */
#include "model.inc"

static _Alignas(BNN_ALIGNMENT) unsigned char memory[MEMORY];
static _Alignas(BNN_ALIGNMENT) uint32_t sent[MOST];
static float values[MOST];
static bnn_problem problem;
static bnn_snn *net;
static bnn_snn_state *state;

static bnn_status open_network(const struct network *n)
{
    const bnn_kernels *kernels = bnn_kernels_select(NULL);
    size_t bytes;
    bnn_status status = bnn_snn_size(n->file, n->size, kernels, &bytes, &problem);
    target_number("open_bytes", bytes);
    if (status == BNN_OK)
        status = bnn_snn_open(n->file, n->size, kernels, memory, sizeof memory, &net, &problem);
    if (status != BNN_OK)
        return status;
    const size_t used = (bytes + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT;
    status = bnn_snn_state_size(net, &bytes);
    target_number("state_bytes", bytes);
    return status == BNN_OK ? bnn_snn_state_create(net, memory + used, sizeof memory - used, &state) : status;
}

/* Of floats.  0 and -0 count as the same, and so do all NaNs, whose bits are the processor's choice. */
static uint32_t sum_of_floats(uint32_t sum, const uint32_t *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint32_t size = words[i] & UINT32_MAX >> 1, nan = UINT32_C(0x7fc00000);
        const uint32_t word = size == 0 ? 0 : size > UINT32_C(0x7f800000) ? nan : words[i];
        sum = bnn_crc32(sum, &word, 4);
    }
    return sum;
}

static bnn_status step(const struct network *n, size_t t, uint32_t *sums)
{
    bnn_snn_population_info info;
    uint32_t *at = sent;
    for (uint32_t k = 0; k < bnn_snn_population_count(net); k++, at += info.frame / 4) {
        bnn_snn_get_population(net, k, &info);
        if (info.frame / 4 > (size_t)(sent + MOST - at))
            return BNN_ERROR_MEMORY;
        bnn_snn_record(state, k, BNN_SNN_SENT, at, 1);
    }
    bnn_status status = bnn_snn_run(state, (const void *[]){n->frames + t * n->frame}, 1);
    at = sent;
    for (uint32_t k = 0; k < bnn_snn_population_count(net); k++, at += info.frame / 4) {
        bnn_snn_get_population(net, k, &info);
        if (info.emits == BNN_SNN_SPIKES)
            sums[k] = bnn_crc32(sums[k], at, info.frame);
        else
            sums[k] = sum_of_floats(sums[k], at, info.frame / 4);
    }
    return status;
}

static bnn_status watch(const struct network *n)
{
    uint32_t sums[8] = {0};
    const uint32_t *words = (const uint32_t *)(const void *)values;
    bnn_snn_population_info population;
    bnn_snn_projection_info projection;
    if (bnn_snn_population_count(net) > sizeof sums / sizeof *sums)
        return BNN_ERROR_LIMIT;
    bnn_snn_set_learning(state, n->learns);
    for (size_t t = 0; t < n->steps; t++) {
        const bnn_status status = step(n, t, sums);
        if (status != BNN_OK)
            return status;
    }
    for (uint32_t k = 0; k < bnn_snn_population_count(net); k++) {
        bnn_snn_get_population(net, k, &population);
        target_number("sent", sums[k]);
        if (population.neurons <= MOST && bnn_snn_get(state, k, BNN_SNN_V, values) == BNN_OK)
            target_number("v", sum_of_floats(0, words, population.neurons));
    }
    for (uint32_t k = 0; k < bnn_snn_projection_count(net); k++) {
        bnn_snn_get_projection(net, k, &projection);
        if (projection.weights <= MOST && bnn_snn_get_weights(state, k, values) == BNN_OK)
            target_number("weights", sum_of_floats(0, words, projection.weights));
    }
    bnn_snn_set_learning(state, 0);
    bnn_snn_reset(state);
    const bnn_status status = bnn_snn_run_until_spike(state, (const void *[]){n->frames}, n->steps);
    target_number("until_spike", bnn_snn_steps(state));
    bnn_snn_reset(state);
    return status;
}

static void run(void *argument)
{
    const struct network *n = argument;
    for (size_t t = 0; t < n->steps; t++)
        bnn_snn_run(state, (const void *[]){n->frames + t * n->frame}, 1);
}

int main(void)
{
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
        struct network n = networks[i];
        bnn_status status = open_network(&n);
        if (status == BNN_OK)
            status = watch(&n);
        if (status != BNN_OK) {
            target_print(bnn_status_text(status));
            target_print(": ");
            target_print(problem.what);
            target_print("\n");
            return (int)status;
        }
        const struct target_cost cost = target_measure(run, &n);
        target_number("run_instructions", cost.instructions);
        target_number("run_stack", cost.stack);
    }
    return 0;
}
