/* SPDX-License-Identifier: Apache-2.0 */
#include <bnn_host.h>
#include <bnn_snn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *path;
static bnn_problem problem; /* what is wrong with a file, and where */

/* If this does not hold, the program ends with a line that says so. */
static void need(int holds, const char *where, const char *what)
{
    if (!holds) {
        fprintf(stderr, "%s: %s%s%s\n", where, what, *problem.what ? ": " : "", problem.what);
        exit(1);
    }
}

static void check(bnn_status status)
{
    need(status == BNN_OK, path, bnn_status_text(status));
}

static void *allocate(size_t bytes)
{
    return aligned_alloc(BNN_ALIGNMENT, (bytes + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT);
}

/* An event: a step and a neuron of the input; 0 after the last. */
static int next(unsigned long *step, unsigned long *neuron)
{
    int found = scanf("%lu %lu", step, neuron);
    need(found == 2 || found == EOF, "the events", "a line is not a step and a neuron");
    return found == 2;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s NET.snn STEPS < EVENTS: a step and a neuron per line\n", argv[0]);
        return 2;
    }
    char *end;
    unsigned long step, neuron, steps = strtoul(argv[2], &end, 10);
    need(argv[2][0] >= '0' && argv[2][0] <= '9' && *end == 0, argv[2], "STEPS is a whole number");
    path = argv[1];
    bnn_mapping file;
    bnn_snn *net;
    bnn_snn_state *state;
    const bnn_kernels *kernels = bnn_kernels_select(NULL);
    size_t bytes;
    bnn_status mapped = bnn_file_map(path, &file);
    need(mapped == BNN_OK, path, strerror(file.error));
    check(bnn_snn_size(file.data, file.size, kernels, &bytes, &problem));
    check(bnn_snn_open(file.data, file.size, kernels, allocate(bytes), bytes, &net, &problem));
    check(bnn_snn_state_size(net, &bytes));
    check(bnn_snn_state_create(net, allocate(bytes), bytes, &state));

    uint32_t input = 0, output = 0; /* the first of each */
    bnn_snn_population_info p;
    for (check(bnn_snn_get_population(net, 0, &p)); p.rule != 0; input++)
        check(bnn_snn_get_population(net, input + 1, &p));
    for (check(bnn_snn_get_population(net, 0, &p)); !p.output; output++)
        check(bnn_snn_get_population(net, output + 1, &p));
    need(p.emits == BNN_SNN_SPIKES, path, "its output sends floats; this program is for spikes");
    uint32_t *spikes = allocate(p.frame);

    int more = next(&step, &neuron);
    for (unsigned long t = 0; t < steps; t++) {
        for (; more && step <= t; more = next(&step, &neuron)) {
            need(step == t, "the events", "they are not in the order of steps");
            need(neuron == (uint32_t)neuron && bnn_snn_send(state, input, (uint32_t)neuron, 1) == BNN_OK, "the events",
                 "the input has no such neuron");
        }
        check(bnn_snn_record(state, output, BNN_SNN_SENT, spikes, 1)); /* of the next step */
        check(bnn_snn_run(state, NULL, 1));
        for (size_t i = 0; i < p.neurons; i++)
            if (spikes[i / 32] >> i % 32 & 1)
                printf("%lu %zu\n", t, i);
    }
    need(!more, "the events", "there is one after the last step");
    return 0;
}
