/* Exercises the event engine from C, built with sanitizers by test_sanitizers.py.
 *
 *     driver SEED MODEL...    frames, pixels, all orders and both ways of running a layer, against bnn_run
 *
 * Memory is handed out in blocks of exactly the size asked for, filled with garbage. */
#include "bnn_events.h"

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

struct run {
    bnn_model *model;
    bnn_context *context;
    bnn_events *engine;
    float *image, *found, *expected;
    size_t inputs, outputs;
};

/* Output and every layer, at rest, against the synchronous runtime. */
static void compare(struct run *r)
{
    const void *in = r->image;
    float *out = r->expected;
    CHECK(bnn_run(r->context, &in, &out, 1) == BNN_OK);
    CHECK(bnn_events_output(r->engine, 0, r->found) == BNN_OK);
    CHECK(memcmp(r->found, r->expected, r->outputs * sizeof(float)) == 0);

    CHECK(bnn_poke(r->context, bnn_input_tensor(r->model, 0), r->image, 1) == BNN_OK);
    for (uint32_t k = 0, layer = 0; k < bnn_op_count(r->model); k++) {
        bnn_events_layer info;
        CHECK(bnn_step(r->context, k, 1) == BNN_OK);
        if (layer == bnn_events_layer_count(r->engine))
            continue;
        CHECK(bnn_events_get_layer(r->engine, layer, &info) == BNN_OK);
        if (info.op != k)
            continue;
        layer++;
        size_t n = elements(r->model, info.tensor);
        float *want = allocate(n * sizeof *want), *state_of = allocate(n * sizeof *state_of);
        CHECK(bnn_peek(r->context, info.tensor, want, 1) == BNN_OK);
        CHECK(bnn_events_state(r->engine, info.tensor, state_of) == BNN_OK);
        CHECK(memcmp(want, state_of, n * sizeof *want) == 0);
        free(want);
        free(state_of);
    }
}

static void new_image(struct run *r)
{
    for (size_t i = 0; i < r->inputs; i++)
        if (draw(3) == 0)
            r->image[i] = (float)((int)draw(33) - 16) / 16.0f;
}

static void exercise(struct run *r)
{
    const void *in = r->image;
    bnn_spike spikes[64];
    for (int order = BNN_ORDER_LAYERS; order <= BNN_ORDER_RANDOM; order++) {
        CHECK(bnn_events_reset(r->engine, NULL) == BNN_OK);
        CHECK(bnn_events_set_order(r->engine, (bnn_order)order, draw(1000)) == BNN_OK);
        bnn_events_set_trace(r->engine, spikes, 64);
        for (int frame = 0; frame < 3; frame++) {
            new_image(r);
            CHECK(bnn_events_frame(r->engine, &in) == BNN_OK);
            CHECK(bnn_events_run(r->engine) == BNN_OK);
            compare(r);
        }
        if (bnn_events_expect(r->engine, 1.0f / 16.0f, 1.0f) != BNN_OK)
            continue;
        for (int pixel = 0; pixel < 20; pixel++) {
            size_t i = draw(r->inputs);
            r->image[i] = (float)((int)draw(33) - 16) / 16.0f;
            bnn_events_set_time(r->engine, (uint64_t)pixel);
            CHECK(bnn_events_pixel(r->engine, 0, i, r->image[i]) == BNN_OK);
            if (draw(3) == 0) /* several at once, too */
                CHECK(bnn_events_run(r->engine) == BNN_OK);
        }
        CHECK(bnn_events_run(r->engine) == BNN_OK);
        compare(r);
        CHECK(bnn_events_pixel(r->engine, 0, 0, 0.01f) == BNN_ERROR_LIMIT);
        CHECK(bnn_events_pixel(r->engine, 0, r->inputs, 0.0f) == BNN_ERROR_ARGUMENT);
    }
    bnn_events_set_trace(r->engine, NULL, 0);
    CHECK(bnn_events_set_order(r->engine, BNN_ORDER_LAYERS, 0) == BNN_OK);
    CHECK(bnn_events_calibrate(r->engine, clock_ns) == BNN_OK);
    compare(r);
    for (uint32_t layer = 0; layer < bnn_events_layer_count(r->engine); layer++)
        (void)bnn_events_set_limit(r->engine, layer, draw(4)); /* refused by what cannot switch */
    for (int frame = 0; frame < 4; frame++) {
        new_image(r);
        CHECK(bnn_events_frame(r->engine, &in) == BNN_OK);
        CHECK(bnn_events_run(r->engine) == BNN_OK);
        compare(r);
    }
}

static void run_model(const char *path, const bnn_kernels *kernels)
{
    struct run r;
    size_t size, bytes;
    void *file = read_file(path, &size);
    CHECK(bnn_model_size(file, size, kernels, &bytes, NULL) == BNN_OK);
    void *model = allocate(bytes);
    CHECK(bnn_model_open(file, size, kernels, model, bytes, &r.model, NULL) == BNN_OK);
    CHECK(bnn_context_size(r.model, 1, 1, &bytes) == BNN_OK);
    void *context = allocate(bytes);
    CHECK(bnn_context_create(r.model, 1, 1, context, bytes, &r.context) == BNN_OK);
    CHECK(bnn_events_size(r.model, &bytes, NULL) == BNN_OK);
    void *engine = allocate(bytes);
    CHECK(bnn_events_create(r.model, engine, bytes - 1, &r.engine, NULL) == BNN_ERROR_MEMORY);
    CHECK(bnn_events_create(r.model, engine, bytes, &r.engine, NULL) == BNN_OK);
    r.inputs = elements(r.model, bnn_input_tensor(r.model, 0));
    r.outputs = elements(r.model, bnn_output_tensor(r.model, 0));
    r.image = allocate(r.inputs * sizeof(float));
    r.found = allocate(r.outputs * sizeof(float));
    r.expected = allocate(r.outputs * sizeof(float));
    memset(r.image, 0, r.inputs * sizeof(float));
    compare(&r); /* at rest on zeros */
    exercise(&r);
    free(r.image), free(r.found), free(r.expected);
    free(engine), free(context), free(model), free(file);
}

int main(int argc, char **argv)
{
    CHECK(argc > 2);
    state = strtoull(argv[1], NULL, 10) * 2862933555777941757u + 1;
    for (int i = 2; i < argc; i++)
        for (size_t k = 0; bnn_kernels_list(k) != NULL; k++)
            if (bnn_kernels_select(bnn_kernels_list(k)) != NULL)
                run_model(argv[i], bnn_kernels_select(bnn_kernels_list(k)));
    printf("%d models\n", argc - 2);
    return 0;
}
