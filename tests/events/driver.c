/* SPDX-License-Identifier: Apache-2.0 */
/* Exercises the event engine from C, built with sanitizers by test_sanitizers.py.
 *
 *     driver SEED STEM...     STEM.bnn and its populations, STEM.snn: frames, pixels and both ways of running a layer, against bnn_run, and polls
 *                             that stop any of it
 *
 * Each model runs with a family of kernels that is drawn.  Prints how many models there were.
 *
 * Memory is handed out in blocks of exactly the size asked for, filled with garbage. */
#include "bnn_events.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                        \
        }                                                                   \
    } while (0)

static uint64_t state;

static uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 11) % below;
}

/* Exactly so many bytes: the sanitizer sees the first one past the end. */
static void *allocate(size_t bytes)
{
    size_t rounded = (bytes + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT;
    void *memory = aligned_alloc(BNN_ALIGNMENT, rounded == 0 ? BNN_ALIGNMENT : rounded);
    CHECK(memory != NULL);
    memset(memory, 0xa5, rounded);
    return memory;
}

static void *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    CHECK(fseek(file, 0, SEEK_END) == 0);
    long length = ftell(file);
    CHECK(length > 0 && fseek(file, 0, SEEK_SET) == 0);
    void *data = allocate((size_t)length);
    CHECK(fread(data, 1, (size_t)length, file) == (size_t)length);
    fclose(file);
    *size = (size_t)length;
    return data;
}

static size_t elements(const bnn_model *model, uint32_t tensor)
{
    bnn_tensor_info info;
    size_t n = 1;
    CHECK(bnn_get_tensor(model, tensor, &info) == BNN_OK);
    for (uint32_t i = 0; i < info.rank; i++)
        n *= info.dims[i];
    return n;
}

static uint64_t clock_ns(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

enum { MOST = 8 }; /* inputs, or outputs */

struct run {
    bnn_model *model;
    bnn_snn *network;
    bnn_context *context;
    bnn_events *engine;
    uint32_t inputs, outputs;
    bnn_dtype dtypes[MOST];     /* of inputs */
    float *image[MOST];         /* as the engine takes them */
    unsigned char *bytes[MOST]; /* the same, of inputs of bytes */
    size_t count[MOST];         /* elements of inputs */
};

static int same(const float *a, const float *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(a[i] != a[i] && b[i] != b[i]))
            return 0;
    return 1;
}

/* A tensor of the engine's against the context's. */
static void compare_state(struct run *r, uint32_t tensor)
{
    size_t n = elements(r->model, tensor);
    float *want = allocate(n * sizeof *want), *state_of = allocate(n * sizeof *state_of);
    CHECK(bnn_peek(r->context, tensor, want, 1) == BNN_OK);
    CHECK(bnn_events_state(r->engine, tensor, state_of) == BNN_OK);
    CHECK(same(want, state_of, n));
    free(want);
    free(state_of);
}

/* Outputs and every layer, at rest, against the synchronous runtime. */
static void compare(struct run *r)
{
    const void *in[MOST];
    float *out[MOST];
    for (uint32_t i = 0; i < r->inputs; i++)
        in[i] = r->dtypes[i] == BNN_F32 ? (const void *)r->image[i] : r->bytes[i];
    for (uint32_t i = 0; i < r->outputs; i++)
        out[i] = allocate(elements(r->model, bnn_output_tensor(r->model, i)) * sizeof(float));
    CHECK(bnn_run(r->context, in, out, 1) == BNN_OK);
    for (uint32_t i = 0; i < r->outputs; i++) {
        size_t n = elements(r->model, bnn_output_tensor(r->model, i));
        float *found = allocate(n * sizeof *found);
        CHECK(bnn_events_output(r->engine, i, found) == BNN_OK);
        CHECK(same(found, out[i], n));
        free(found);
        free(out[i]);
    }
    for (uint32_t i = 0; i < r->inputs; i++) {
        CHECK(bnn_poke(r->context, bnn_input_tensor(r->model, i), r->image[i], 1) == BNN_OK);
        compare_state(r, bnn_input_tensor(r->model, i));
    }
    for (uint32_t k = 0, layer = 0; k < bnn_op_count(r->model); k++) {
        bnn_events_layer info;
        CHECK(bnn_step(r->context, k, 1) == BNN_OK);
        if (layer == bnn_events_layer_count(r->engine))
            continue;
        CHECK(bnn_events_get_layer(r->engine, layer, &info) == BNN_OK);
        if (info.op != k)
            continue;
        layer++;
        compare_state(r, info.tensor);
    }
}

static void set(struct run *r, uint32_t input, size_t i)
{
    int byte = (int)draw(256) - (r->dtypes[input] == BNN_I8 ? 128 : 0);
    r->image[input][i] = r->dtypes[input] == BNN_F32 ? (float)((int)draw(33) - 16) / 16.0f : (float)byte;
    r->bytes[input][i] = (unsigned char)byte;
}

/* A third of the elements become others, or every one its opposite: then all bits of a pixel may turn at once. */
static void new_image(struct run *r)
{
    int opposite = draw(4) == 0;
    for (uint32_t k = 0; k < r->inputs; k++)
        for (size_t i = 0; i < r->count[k]; i++)
            if (opposite && r->dtypes[k] == BNN_F32)
                r->image[k][i] = 0.0f - r->image[k][i]; /* no zero below zero: the engine keeps the one it has */
            else if (draw(3) == 0)
                set(r, k, i);
}

static void frame(struct run *r)
{
    CHECK(bnn_events_frame(r->engine, (const float *const *)r->image) == BNN_OK);
    CHECK(bnn_events_run(r->engine) == BNN_OK);
    compare(r);
}

static void clear_image(struct run *r)
{
    for (uint32_t k = 0; k < r->inputs; k++) {
        memset(r->image[k], 0, r->count[k] * sizeof(float));
        memset(r->bytes[k], 0, r->count[k]);
    }
}

/* All inputs alike: sums as large as they get. */
static void uniform_image(struct run *r, int value)
{
    for (uint32_t k = 0; k < r->inputs; k++)
        for (size_t i = 0; i < r->count[k]; i++) {
            r->image[k][i] = r->dtypes[k] == BNN_F32 ? (float)value : (float)(value > 0);
            r->bytes[k][i] = value > 0;
        }
}

/* What is asked for in the wrong way is refused, and changes nothing. */
static void refuse(struct run *r)
{
    const float *none[MOST] = {NULL};
    float value;
    bnn_events_layer info;
    uint32_t layers = bnn_events_layer_count(r->engine), constant = UINT32_MAX;
    CHECK(bnn_events_frame(NULL, none) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_frame(r->engine, NULL) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_frame(r->engine, none) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_reset(NULL, NULL) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_reset(r->engine, none) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_run(NULL) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_expect(NULL, 1.0f, 1.0f) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_expect(r->engine, 3.0f, 1.0f) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_expect(r->engine, 1.0f, -1.0f) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_pixel(NULL, 0, 0, 0.0f) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_pixel(r->engine, r->inputs, 0, 0.0f) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_pixel(r->engine, 0, 0, 0.0f) == BNN_ERROR_ARGUMENT); /* nothing was promised */
    CHECK(bnn_events_output(NULL, 0, &value) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_output(r->engine, r->outputs, &value) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_output(r->engine, 0, NULL) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_state(NULL, 0, &value) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_state(r->engine, bnn_tensor_count(r->model), &value) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_state(r->engine, 0, NULL) == BNN_ERROR_ARGUMENT);
    for (uint32_t i = 0; i < bnn_tensor_count(r->model); i++) {
        bnn_tensor_info tensor;
        CHECK(bnn_get_tensor(r->model, i, &tensor) == BNN_OK);
        constant = tensor.storage == BNN_CONSTANT ? i : constant;
    }
    CHECK(constant == UINT32_MAX || bnn_events_state(r->engine, constant, &value) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_get_layer(NULL, 0, &info) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_get_layer(r->engine, layers, &info) == BNN_ERROR_ARGUMENT);
    CHECK(layers == 0 || bnn_events_get_layer(r->engine, 0, NULL) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_set_limit(NULL, 0, 0) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_set_limit(r->engine, layers, 0) == BNN_ERROR_ARGUMENT);
    for (uint32_t k = 0; k < layers; k++) {
        CHECK(bnn_events_get_layer(r->engine, k, &info) == BNN_OK);
        CHECK(bnn_events_set_limit(r->engine, k, SIZE_MAX) == BNN_OK);
        if (info.kind == BNN_LAYER_RELAY || info.kind == BNN_LAYER_POOL)
            CHECK(bnn_events_set_limit(r->engine, k, 0) == BNN_ERROR_ARGUMENT);
    }
    CHECK(bnn_events_calibrate(NULL, clock_ns) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_calibrate(r->engine, NULL) == BNN_ERROR_ARGUMENT);
    compare(r);
}

/* Inputs that are no numbers, and numbers again. */
static void refuse_nan(struct run *r)
{
    float kept = r->image[0][0];
    if (r->dtypes[0] == BNN_F32) {
        r->image[0][0] = strtof("nan", NULL);
        frame(r);
        CHECK(bnn_events_expect(r->engine, 1.0f / 16.0f, 1.0f) != BNN_OK);
        CHECK(bnn_events_calibrate(r->engine, clock_ns) == BNN_OK);
        frame(r);
        r->image[0][0] = kept;
        frame(r);
    } else {
        r->image[0][0] = 0.5f; /* bytes are whole */
        CHECK(bnn_events_frame(r->engine, (const float *const *)r->image) == BNN_ERROR_ARGUMENT);
        r->image[0][0] = kept;
        compare(r);
    }
}

/* Pixels one by one, where that is exact. */
static void pixels(struct run *r)
{
    if (bnn_events_expect(r->engine, 1.0f / 16.0f, 1.0f) != BNN_OK)
        return;
    for (int pixel = 0; pixel < 20; pixel++) {
        uint32_t input = (uint32_t)draw(r->inputs);
        size_t i = draw(r->count[input]);
        set(r, input, i);
        CHECK(bnn_events_pixel(r->engine, input, i, r->image[input][i]) == BNN_OK);
        if (draw(3) == 0) /* several at once, too */
            CHECK(bnn_events_run(r->engine) == BNN_OK);
        else
            CHECK(bnn_snn_traced(bnn_events_network(r->engine)) < SIZE_MAX);
    }
    CHECK(bnn_events_run(r->engine) == BNN_OK);
    compare(r);
    CHECK(bnn_events_pixel(r->engine, 0, 0, 0.01f) == BNN_ERROR_LIMIT);
    CHECK(bnn_events_pixel(r->engine, 0, r->count[0], 0.0f) == BNN_ERROR_ARGUMENT);
    frame(r);
    float kept = r->image[0][0];
    r->image[0][0] = 0.01f; /* was not promised: nothing is done */
    CHECK(bnn_events_frame(r->engine, (const float *const *)r->image) == BNN_ERROR_LIMIT);
    r->image[0][0] = kept;
    compare(r);
}

#include "interruptions.inc"

static void exercise(struct run *r)
{
    bnn_snn_change spikes[64];
    refuse(r);
    for (int round = 0; round < 2; round++) {
        CHECK(bnn_events_reset(r->engine, draw(2) == 0 ? NULL : (const float *const *)r->image) == BNN_OK);
        CHECK(bnn_events_calibrate(r->engine, clock_ns) == BNN_OK);
        for (uint32_t layer = 0; layer < bnn_events_layer_count(r->engine); layer++)
            CHECK(bnn_events_set_limit(r->engine, layer, SIZE_MAX) == BNN_OK);
        bnn_snn_set_trace(bnn_events_network(r->engine), spikes, 64);
        for (int i = 0; i < 3; i++) {
            new_image(r);
            frame(r);
        }
        for (int value = 1; value >= -1; value -= 2) {
            uniform_image(r, value);
            frame(r);
        }
        pixels(r);
    }
    bnn_snn_set_trace(bnn_events_network(r->engine), NULL, 0);
    CHECK(bnn_events_calibrate(r->engine, clock_ns) == BNN_OK);
    compare(r);
    for (uint32_t layer = 0; layer < bnn_events_layer_count(r->engine); layer++)
        (void)bnn_events_set_limit(r->engine, layer, draw(4)); /* refused by what cannot switch */
    for (int i = 0; i < 4; i++) {
        new_image(r);
        frame(r);
    }
    CHECK(bnn_events_reset(r->engine, NULL) == BNN_OK); /* whatever was promised */
    clear_image(r);
    refuse_nan(r);
}

/* The populations of a model, opened. */
static void *open_network(struct run *r, const char *path, const bnn_kernels *kernels, void **file)
{
    size_t size, bytes;
    *file = read_file(path, &size);
    CHECK(bnn_snn_size(*file, size, kernels, &bytes, NULL) == BNN_OK);
    void *network = allocate(bytes);
    CHECK(bnn_snn_open(*file, size, kernels, network, bytes, &r->network, NULL) == BNN_OK);
    return network;
}

static void run_model(const char *stem, const bnn_kernels *kernels)
{
    struct run r;
    char path[4096];
    size_t size, bytes;
    void *populations;
    snprintf(path, sizeof path, "%s.bnn", stem);
    void *file = read_file(path, &size);
    CHECK(bnn_model_size(file, size, kernels, &bytes, NULL) == BNN_OK);
    void *model = allocate(bytes);
    CHECK(bnn_model_open(file, size, kernels, model, bytes, &r.model, NULL) == BNN_OK);
    CHECK(bnn_stepping_size(r.model, 1, 1, &bytes) == BNN_OK);
    void *context = allocate(bytes);
    CHECK(bnn_context_create(r.model, 1, 1, context, bytes, &r.context) == BNN_OK);
    snprintf(path, sizeof path, "%s.snn", stem);
    void *network = open_network(&r, path, kernels, &populations);
    CHECK(bnn_events_size(r.model, r.network, &bytes) == BNN_OK);
    CHECK(bnn_events_size(NULL, r.network, &bytes) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_size(r.model, NULL, &bytes) == BNN_ERROR_ARGUMENT);
    void *engine = allocate(bytes);
    CHECK(bnn_events_create(r.model, r.network, engine, bytes, NULL, NULL, NULL, NULL) == BNN_ERROR_ARGUMENT);
    CHECK(bnn_events_create(r.model, r.network, NULL, bytes, NULL, NULL, &r.engine, NULL) == BNN_ERROR_MEMORY);
    CHECK(bnn_events_create(r.model, r.network, (char *)engine + 1, bytes, NULL, NULL, &r.engine, NULL) ==
          BNN_ERROR_MEMORY);
    CHECK(bnn_events_create(r.model, r.network, engine, bytes - 1, NULL, NULL, &r.engine, NULL) == BNN_ERROR_MEMORY);
    CHECK(bnn_events_create(r.model, r.network, engine, bytes, NULL, NULL, &r.engine, NULL) == BNN_OK);
    r.inputs = bnn_input_count(r.model);
    r.outputs = bnn_output_count(r.model);
    CHECK(r.inputs <= MOST && r.outputs <= MOST);
    for (uint32_t i = 0; i < r.inputs; i++) {
        bnn_tensor_info info;
        CHECK(bnn_get_tensor(r.model, bnn_input_tensor(r.model, i), &info) == BNN_OK);
        r.dtypes[i] = info.dtype;
        r.count[i] = elements(r.model, bnn_input_tensor(r.model, i));
        r.image[i] = allocate(r.count[i] * sizeof(float));
        r.bytes[i] = allocate(r.count[i]);
    }
    clear_image(&r);
    interrupt_creation(&r, engine, bytes);
    compare(&r); /* at rest on zeros */
    interrupt(&r);
    CHECK(bnn_events_reset(r.engine, NULL) == BNN_OK);
    clear_image(&r);
    exercise(&r);
    for (uint32_t i = 0; i < r.inputs; i++)
        free(r.image[i]), free(r.bytes[i]);
    free(engine), free(context), free(model), free(file), free(network), free(populations);
}

int main(int argc, char **argv)
{
    const bnn_kernels *families[64];
    size_t available = 0;
    CHECK(argc > 2);
    state = strtoull(argv[1], NULL, 10) * 2862933555777941757u + 1;
    for (size_t k = 0; bnn_kernels_list(k) != NULL; k++) {
        CHECK(available < sizeof families / sizeof *families);
        if (bnn_kernels_select(bnn_kernels_list(k)) != NULL)
            families[available++] = bnn_kernels_select(bnn_kernels_list(k));
    }
    for (int i = 2; i < argc; i++)
        run_model(argv[i], families[draw(available)]);
    printf("%d models\n", argc - 2);
    return 0;
}
