/* SPDX-License-Identifier: Apache-2.0 */
/* The event engine: its calls in any order; whenever it is at rest it equals bnn_run.
 *
 * An input is a .bnn file, the .snn file of its event populations, a hash of both, and a script.  Where the hash is
 * right, nobody edited the files, and results must be equal; otherwise nothing may crash. */
#include "fuzz.h"

enum { MOST_CALLS = 24, SPIKES = 16, HASH = 8 };

struct exercise {
    const bnn_model *model;
    const bnn_snn *network;
    int equal;            /* the populations are those of the model */
    bnn_context *context; /* of bnn_run */
    bnn_events *engine;
    struct script *script;
    struct ports ports;            /* floats: what the engine's inputs are now */
    float *frame[FUZZ_MOST_PORTS]; /* the next ones */
    float *found, *expected;       /* one output, or one layer */
    bnn_snn_change *spikes;
};

static uint64_t ticks(void)
{
    static uint64_t now;
    return now += 97;
}

static size_t draw(const struct exercise *x, size_t below)
{
    return fuzz_draw(x->script, below < 65536 ? below : 65536);
}

static size_t input_size(const struct exercise *x, uint32_t input)
{
    return fuzz_elements(x->model, bnn_input_tensor(x->model, input));
}

static void check(bnn_status status, unsigned allowed, const char *call)
{
    CHECK(status == BNN_OK || (allowed >> status & 1) != 0, "%s: %s", call, bnn_status_text(status));
}

/* A frame in which all or a few numbers are new. */
static void draw_frame(struct exercise *x)
{
    for (uint32_t i = 0; i < x->ports.inputs; i++) {
        size_t count = input_size(x, i), few = draw(x, 4);
        memcpy(x->frame[i], x->ports.floats[i], count * sizeof(float));
        for (size_t k = 0; k < few; k++)
            x->frame[i][draw(x, count)] = (float)draw(x, 4) * 0.25f;
        if (few == 0)
            fuzz_values(x->model, x->script, i, x->frame[i], count);
    }
}

/* What the engine's inputs are, now that it took the frame; without one they are zeros. */
static void took(struct exercise *x, int frame)
{
    for (uint32_t i = 0; i < x->ports.inputs; i++)
        if (frame)
            memcpy(x->ports.floats[i], x->frame[i], input_size(x, i) * sizeof(float));
        else
            memset(x->ports.floats[i], 0, input_size(x, i) * sizeof(float));
}

static void reset(struct exercise *x)
{
    int frame = draw(x, 3) != 0;
    draw_frame(x);
    bnn_status status = bnn_events_reset(x->engine, frame ? (const float *const *)x->frame : NULL);
    check(status, 1u << BNN_ERROR_ARGUMENT, "reset");
    if (status == BNN_OK)
        took(x, frame);
}

static void frame(struct exercise *x)
{
    draw_frame(x);
    bnn_status status = bnn_events_frame(x->engine, (const float *const *)x->frame);
    check(status, 1u << BNN_ERROR_ARGUMENT | 1u << BNN_ERROR_LIMIT, "frame");
    if (status == BNN_OK)
        took(x, 1);
}

static void pixel(struct exercise *x)
{
    uint32_t input = (uint32_t)draw(x, x->ports.inputs + 1);
    size_t count = input < x->ports.inputs ? input_size(x, input) : 9, index = draw(x, count + 1);
    float value = (float)draw(x, 9) * 0.25f - 1.0f;
    bnn_status status = bnn_events_pixel(x->engine, input, index, value);
    check(status, 1u << BNN_ERROR_ARGUMENT | 1u << BNN_ERROR_LIMIT, "pixel");
    CHECK(status == BNN_ERROR_ARGUMENT || (input < x->ports.inputs && index < count), "a pixel that there is not");
    if (status == BNN_OK)
        x->ports.floats[input][index] = value;
}

static void one_call(struct exercise *x)
{
    uint32_t layers = bnn_events_layer_count(x->engine), layer = (uint32_t)draw(x, layers + 1);
    bnn_events_layer info;
    bnn_status status;
    switch (draw(x, 11)) {
    case 0:
        reset(x);
        break;
    case 1:
    case 2:
        frame(x);
        break;
    case 3:
    case 4:
        pixel(x);
        break;
    case 5:
        status = bnn_events_expect(x->engine, draw(x, 4) ? 0.25f : (float)draw(x, 4), 4.0f * (float)draw(x, 4));
        check(status, 1u << BNN_ERROR_ARGUMENT | 1u << BNN_ERROR_LIMIT | 1u << BNN_ERROR_OPCODE, "expect");
        break;
    case 6:
        check(bnn_events_set_limit(x->engine, layer, draw(x, 5) ? draw(x, 9) : SIZE_MAX), 1u << BNN_ERROR_ARGUMENT,
              "limit");
        break;
    case 7:
        check(bnn_events_calibrate(x->engine, ticks), 1u << BNN_ERROR_ARGUMENT, "calibrate");
        break;
    case 8:
        bnn_snn_set_trace(bnn_events_network(x->engine), draw(x, 3) ? x->spikes : NULL, draw(x, SPIKES + 1));
        break;
    case 9:
        status = bnn_events_get_layer(x->engine, layer, &info);
        CHECK((status == BNN_OK) == (layer < layers), "layer %u: %s", layer, bnn_status_text(status));
        bnn_events_clear_counts(x->engine);
        break;
    default:
        CHECK(bnn_events_run(x->engine) == BNN_OK, "run");
    }
}

/* At rest: every output and every layer against the synchronous runtime. */
static void compare(struct exercise *x)
{
    CHECK(bnn_events_run(x->engine) == BNN_OK, "run");
    CHECK(bnn_snn_traced(bnn_events_network(x->engine)) <= SIZE_MAX / 2, "traced");
    fuzz_retype(x->model, &x->ports);
    CHECK(bnn_run(x->context, x->ports.typed, x->ports.out, 1) == BNN_OK, "bnn_run");
    for (uint32_t i = 0; i < x->ports.outputs; i++) {
        size_t count = fuzz_elements(x->model, bnn_output_tensor(x->model, i));
        CHECK(bnn_events_output(x->engine, i, x->found) == BNN_OK, "output %u", i);
        CHECK(!x->equal || fuzz_same(x->found, x->ports.out[i], count), "output %u is not bnn_run's", i);
    }
    CHECK(bnn_events_output(x->engine, (uint32_t)x->ports.outputs, x->found) == BNN_ERROR_ARGUMENT, "no such output");
    for (uint32_t i = 0; i < x->ports.inputs; i++)
        CHECK(bnn_poke(x->context, bnn_input_tensor(x->model, i), x->ports.floats[i], 1) == BNN_OK, "poke");
    for (uint32_t op = 0, layer = 0; op < bnn_op_count(x->model); op++) {
        bnn_events_layer info;
        CHECK(bnn_step(x->context, op, 1) == BNN_OK, "step");
        if (layer < bnn_events_layer_count(x->engine) && bnn_events_get_layer(x->engine, layer, &info) == BNN_OK &&
            info.op == op) {
            CHECK(bnn_peek(x->context, info.tensor, x->expected, 1) == BNN_OK, "peek");
            CHECK(bnn_events_state(x->engine, info.tensor, x->found) == BNN_OK, "state of op %u", op);
            CHECK(!x->equal || fuzz_same(x->found, x->expected, info.neurons), "op %u is not bnn_step's", op);
            layer++;
        }
    }
}

/* 0 where that is too much memory, or the populations are not those of the model. */
static int build(struct exercise *x, const bnn_model *model, const bnn_snn *network, struct script *script)
{
    size_t bytes, largest = 1;
    bnn_problem problem;
    memset(x, 0, sizeof *x);
    x->model = model;
    x->network = network;
    x->script = script;
    bnn_status status = bnn_events_size(model, network, &bytes);
    check(status, 1u << BNN_ERROR_LIMIT, "size");
    void *memory = status == BNN_OK ? fuzz_block(bytes) : NULL;
    x->context = memory == NULL ? NULL : fuzz_context(model, 1, 1);
    if (x->context == NULL || !fuzz_ports(model, script, 1, &x->ports))
        return 0;
    for (uint32_t i = 0; i < x->ports.inputs; i++)
        x->frame[i] = fuzz_block(input_size(x, i) * sizeof(float));
    for (uint32_t i = 0; i < bnn_op_count(model); i++) {
        bnn_op_info op;
        CHECK(bnn_get_op(model, i, &op) == BNN_OK, "op %u", i);
        size_t count = fuzz_elements(model, op.output);
        largest = count > largest ? count : largest;
    }
    x->found = fuzz_block(largest * sizeof(float));
    x->expected = fuzz_block(largest * sizeof(float));
    x->spikes = fuzz_block(SPIKES * sizeof *x->spikes);
    if (x->found == NULL || x->expected == NULL || x->spikes == NULL || x->frame[x->ports.inputs - 1] == NULL)
        return 0;
    CHECK(bnn_events_create(model, network, memory, bytes - 1, NULL, NULL, &x->engine, &problem) == BNN_ERROR_MEMORY,
          "one byte less");
    status = bnn_events_create(model, network, memory, bytes, NULL, NULL, &x->engine, &problem);
    check(status, 1u << BNN_ERROR_FORMAT, "create");
    CHECK((status == BNN_OK) == (x->engine != NULL), "%s, and an engine or none", bnn_status_text(status));
    took(x, 0);
    return status == BNN_OK;
}

static bnn_snn *open_network(const unsigned char *file, size_t size, const bnn_kernels *kernels)
{
    size_t bytes;
    bnn_snn *net = NULL;
    if (file == NULL || bnn_snn_size(file, size, kernels, &bytes, NULL) != BNN_OK)
        return NULL;
    void *memory = fuzz_block(bytes);
    if (memory != NULL)
        (void)bnn_snn_open(file, size, kernels, memory, bytes, &net, NULL);
    return net;
}

/* FNV-1a. */
static uint64_t hash(const uint8_t *data, size_t size)
{
    uint64_t h = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < size; i++)
        h = (h ^ data[i]) * UINT64_C(1099511628211);
    return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script script;
    struct exercise x;
    size_t file_size, network_size;
    uint64_t stated = 0;
    const unsigned char *file = fuzz_split(data, size, &file_size, &script);
    const unsigned char *network = fuzz_split(data + file_size, size - file_size, &network_size, &script);
    const size_t both = file_size + network_size;
    if (size - both >= HASH) {
        memcpy(&stated, data + both, HASH);
        script.at += HASH;
        script.left -= HASH;
    }
    const bnn_kernels *kernels = fuzz_kernels(&script);
    const bnn_model *model = file == NULL || file_size == 0 ? NULL : fuzz_open(file, file_size, kernels);
    const bnn_snn *net = model == NULL || network_size == 0 ? NULL : open_network(network, network_size, kernels);
    if (net != NULL && build(&x, model, net, &script)) {
        size_t calls = draw(&x, MOST_CALLS);
        x.equal = stated == hash(data, both);
        compare(&x);
        for (size_t i = 0; i < calls; i++)
            one_call(&x);
        compare(&x);
    }
    fuzz_release();
    return 0;
}
