/* SPDX-License-Identifier: Apache-2.0 */
/* Networks of spiking neurons: whatever the bytes, a status or a network; its calls in any order and with wrong
 * arguments; two families of kernels send the same. */
#include "fuzz.h"

#include "bnn_snn.h"
#include "neurons.h"

enum { MOST_CALLS = 16, MOST_STEPS = 6, MOST_POLLS = 4 };

/* Two states of one network, in step with each other. */
struct pair {
    const bnn_snn *net;
    bnn_snn_state *states[2];
    struct script *script;
    int stopped, polls;
};

static int poll(void *argument)
{
    struct pair *p = argument;
    return ++p->polls > MOST_POLLS;
}

static bnn_snn *open_network(const unsigned char *file, size_t size, const bnn_kernels *kernels)
{
    size_t bytes = 0;
    bnn_snn *net = NULL;
    bnn_problem problem;
    bnn_status status = bnn_snn_size(file, size, kernels, &bytes, &problem);
    if (status == BNN_OK) {
        void *memory = fuzz_block(bytes);
        if (memory == NULL)
            return NULL;
        status = bnn_snn_open(file, size, kernels, memory, bytes, &net, &problem);
        CHECK((status == BNN_OK) == (net != NULL), "%s", bnn_status_text(status));
    }
    if (status != BNN_OK)
        CHECK(memchr(problem.what, 0, sizeof problem.what) != NULL && problem.what[0] != 0, "%s without a text",
              bnn_status_text(status));
    return net;
}

static bnn_snn_state *make_state(const bnn_snn *net, struct pair *p)
{
    size_t bytes;
    bnn_snn_state *state;
    if (net == NULL || bnn_snn_state_size(net, &bytes) != BNN_OK)
        return NULL;
    void *memory = fuzz_block(bytes);
    if (memory == NULL)
        return NULL;
    CHECK(bnn_snn_state_create(net, memory, bytes, &state) == BNN_OK, "%zu bytes", bytes);
    bnn_snn_set_poll(state, poll, p);
    return state;
}

/* Everything that it says of itself can be read. */
static void look_at(const bnn_snn *net)
{
    static volatile unsigned sum;
    size_t length;
    const char *simulator = bnn_snn_simulator(net, &length);
    for (size_t i = 0; i < length; i++)
        sum += (unsigned char)simulator[i];
    for (uint32_t k = 0; k < bnn_snn_population_count(net); k++) {
        bnn_snn_population_info info;
        CHECK(bnn_snn_get_population(net, k, &info) == BNN_OK, "population %u", k);
        for (size_t i = 0; i < info.name_length; i++)
            sum += (unsigned char)info.name[i];
    }
    for (uint32_t k = 0; k < bnn_snn_projection_count(net); k++) {
        bnn_snn_projection_info info;
        CHECK(bnn_snn_get_projection(net, k, &info) == BNN_OK, "projection %u", k);
        for (size_t i = 0; i < info.name_length; i++)
            sum += (unsigned char)info.name[i];
    }
    CHECK(bnn_snn_get_population(net, bnn_snn_population_count(net), NULL) == BNN_ERROR_ARGUMENT, "no info");
}

/* Frames for every input: right ones most often. */
static int draw_inputs(const struct pair *p, size_t steps, const void *inputs[FUZZ_MOST_PORTS])
{
    uint32_t input = 0;
    for (uint32_t k = 0; k < bnn_snn_population_count(p->net); k++) {
        bnn_snn_population_info info;
        (void)bnn_snn_get_population(p->net, k, &info);
        if (info.rule != 0)
            continue;
        if (input == FUZZ_MOST_PORTS)
            return 0;
        float *values = fuzz_block(info.frame * steps);
        if (values == NULL)
            return 0;
        size_t count = info.frame * steps / 4;
        fuzz_floats(p->script, values, count);
        for (size_t i = 0; i < count && info.emits == BNN_SNN_COUNTS; i++)
            values[i] = values[i] > 0 && values[i] < 1e6f ? (float)(int)values[i] : 0;
        if (info.emits == BNN_SNN_SPIKES && info.neurons % 32 != 0 && fuzz_draw(p->script, 8) != 0)
            for (size_t i = info.frame / 4 - 1; i < count; i += info.frame / 4)
                ((uint32_t *)(void *)values)[i] &= (UINT32_C(1) << info.neurons % 32) - 1;
        inputs[input++] = fuzz_draw(p->script, 8) != 0 ? values : NULL;
    }
    return 1;
}

static int same(const void *a, const void *b, bnn_snn_emits emits, size_t bytes)
{
    return emits == BNN_SNN_SPIKES ? memcmp(a, b, bytes) == 0 : fuzz_same(a, b, bytes / 4);
}

/* What ended a run of both states.  Membranes that are not finite do so in the same population; then they start again. */
static void end(struct pair *p, const bnn_status *status)
{
    uint32_t population[2] = {0, 0};
    CHECK(status[0] == status[1], "%s, %s", bnn_status_text(status[0]), bnn_status_text(status[1]));
    p->stopped |= status[0] == BNN_ERROR_STOPPED;
    for (int i = 0; i < 2; i++)
        CHECK(bnn_snn_overflowed(p->states[i], &population[i]) == (status[0] == BNN_ERROR_RANGE), "overflowed");
    CHECK(population[0] == population[1], "populations %u, %u", population[0], population[1]);
    for (int i = 0; status[0] == BNN_ERROR_RANGE && i < 2; i++)
        CHECK(bnn_snn_reset(p->states[i]) == BNN_OK, "reset");
}

typedef bnn_status running(bnn_snn_state *state, const void *const *inputs, size_t steps);

static void run(struct pair *p, running *function)
{
    const void *inputs[FUZZ_MOST_PORTS];
    size_t steps = fuzz_draw(p->script, MOST_STEPS);
    uint32_t population = (uint32_t)fuzz_draw(p->script, bnn_snn_population_count(p->net));
    bnn_snn_population_info info;
    unsigned char *sent[2];
    bnn_status status[2];
    uint64_t done[2];
    (void)bnn_snn_get_population(p->net, population, &info);
    if (!draw_inputs(p, steps, inputs))
        return;
    for (int i = 0; i < 2; i++) {
        sent[i] = fuzz_block(info.frame * steps);
        if (sent[i] == NULL)
            return;
    }
    for (int i = 0; i < 2; i++) {
        p->polls = 0;
        CHECK(bnn_snn_record(p->states[i], population, BNN_SNN_SENT, sent[i], steps) == BNN_OK, "record");
        done[i] = bnn_snn_steps(p->states[i]);
        status[i] = function(p->states[i], inputs, steps);
        done[i] = bnn_snn_steps(p->states[i]) - done[i];
        CHECK(bnn_snn_record(p->states[i], population, BNN_SNN_SENT, NULL, 0) == BNN_OK, "record");
    }
    CHECK(status[0] == BNN_OK || status[0] == BNN_ERROR_ARGUMENT || status[0] == BNN_ERROR_STOPPED ||
              status[0] == BNN_ERROR_RANGE,
          "%s", bnn_status_text(status[0]));
    CHECK(status[0] != BNN_OK || (done[0] == done[1] && done[0] <= steps), "%u steps", (unsigned)done[1]);
    end(p, status);
    CHECK(status[0] != BNN_OK || same(sent[0], sent[1], info.emits, info.frame * (size_t)done[0]), "population %u",
          population);
}

static void settle(struct pair *p)
{
    size_t steps = fuzz_draw(p->script, MOST_STEPS);
    uint32_t population = (uint32_t)fuzz_draw(p->script, bnn_snn_population_count(p->net) + 1u);
    bnn_snn_population_info info = {.neurons = 1};
    (void)bnn_snn_get_population(p->net, population, &info);
    float *currents = fuzz_block(info.neurons * steps * sizeof(float));
    bnn_status status[2];
    if (currents == NULL)
        return;
    fuzz_floats(p->script, currents, info.neurons * steps);
    for (int i = 0; i < 2; i++) {
        p->polls = 0;
        status[i] = bnn_snn_settle(p->states[i], population, currents, steps);
    }
    end(p, status);
}

static void exchange(struct pair *p)
{
    uint32_t population = (uint32_t)fuzz_draw(p->script, bnn_snn_population_count(p->net) + 1u);
    bnn_snn_variable variable = (bnn_snn_variable)fuzz_draw(p->script, 7);
    bnn_snn_population_info info = {.neurons = 1};
    (void)bnn_snn_get_population(p->net, population, &info);
    float *values = fuzz_block(info.neurons * sizeof(float));
    if (values == NULL || bnn_snn_get(p->states[0], population, variable, values) != BNN_OK)
        return;
    fuzz_floats(p->script, values, info.neurons < 9 ? info.neurons : 9);
    int event = info.rule == RULE_INPUT; /* what inputs and event populations have can be read alone */
#define EVENT(name, opcode, own, kept, skips, of_events) event |= (of_events) && info.rule == (opcode);
    BNN_SNN_RULE_LIST(EVENT)
#undef EVENT
    bnn_status set[2];
    for (int i = 0; i < 2; i++)
        set[i] = bnn_snn_set(p->states[i], population, variable, values);
    CHECK(set[0] == set[1], "variable %d", (int)variable);
    /* Levels are whole numbers: the values may be none. */
    CHECK(variable == BNN_SNN_LEVEL || (set[0] == BNN_OK) == !event, "variable %d", (int)variable);
}

static void send(struct pair *p)
{
    uint32_t population = (uint32_t)fuzz_draw(p->script, bnn_snn_population_count(p->net) + 1u);
    uint32_t neuron = (uint32_t)fuzz_draw(p->script, 256);
    float value;
    fuzz_floats(p->script, &value, 1);
    bnn_status first = bnn_snn_send(p->states[0], population, neuron, value);
    CHECK(bnn_snn_send(p->states[1], population, neuron, value) == first, "%s", bnn_status_text(first));
}

/* Weights that change; those of a projection that learns are set to some of the script's. */
static void teach(struct pair *p)
{
    uint32_t projection = (uint32_t)fuzz_draw(p->script, bnn_snn_projection_count(p->net) + 1u);
    int learning = (int)fuzz_draw(p->script, 2);
    bnn_snn_projection_info info = {.weights = 1};
    (void)bnn_snn_get_projection(p->net, projection, &info);
    float *weights = fuzz_block(info.weights * sizeof(float));
    for (int i = 0; i < 2; i++) {
        bnn_snn_set_learning(p->states[i], learning);
        CHECK(bnn_snn_normalize(p->states[i]) == BNN_OK, "normalize");
    }
    if (weights == NULL || bnn_snn_get_weights(p->states[0], projection, weights) != BNN_OK)
        return;
    CHECK(info.learns, "weights of projection %u", projection);
    fuzz_floats(p->script, weights, info.weights < 9 ? info.weights : 9);
    bnn_status first = bnn_snn_set_weights(p->states[0], projection, weights);
    CHECK(bnn_snn_set_weights(p->states[1], projection, weights) == first, "%s", bnn_status_text(first));
}

static void use(struct pair *p)
{
    look_at(p->net);
    for (int call = 0; call < MOST_CALLS && !p->stopped; call++) {
        switch (fuzz_draw(p->script, 8)) {
        case 0:
            settle(p);
            break;
        case 1:
            exchange(p);
            break;
        case 2:
            send(p);
            break;
        case 3:
            for (int i = 0; i < 2; i++)
                CHECK(bnn_snn_reset(p->states[i]) == BNN_OK, "reset");
            break;
        case 4:
            teach(p);
            break;
        case 5:
            run(p, bnn_snn_run_until_spike);
            break;
        default:
            run(p, bnn_snn_run);
        }
    }
    for (uint32_t k = 0; k < bnn_snn_population_count(p->net); k++)
        CHECK(p->stopped || bnn_snn_sent(p->states[0], k) == bnn_snn_sent(p->states[1], k), "population %u", k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script script;
    size_t file_size;
    const unsigned char *file = fuzz_split(data, size, &file_size, &script);
    if (file != NULL) {
        const bnn_snn *net = open_network(file, file_size, fuzz_kernels(&script));
        const bnn_snn *other = net == NULL ? NULL : open_network(file, file_size, fuzz_kernels(&script));
        struct pair pair = {net, {NULL, NULL}, &script, 0, 0};
        pair.states[0] = make_state(net, &pair);
        pair.states[1] = make_state(other, &pair);
        if (pair.states[0] != NULL && pair.states[1] != NULL)
            use(&pair);
    }
    fuzz_release();
    return 0;
}
