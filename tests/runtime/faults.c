/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is not what was asked for: of every smaller size, and at every address that is not aligned. */
#include "driver.h"

#include "bnn_events.h"

enum { IMAGES = 2, WORKERS = 2, BATCH = 5 };

/* Sizes from 0 to 2 * DENSE and from size - DENSE to size - 1 are all tried, those between with a stride of a prime. */
enum { DENSE = 4096, STRIDE = 61 };

static size_t next_size(size_t size, size_t most)
{
    return size < 2 * DENSE || size + DENSE >= most ? size + 1 : size + STRIDE;
}

/* What is built in memory: bnn_model_open, bnn_context_create, bnn_events_create; each must refuse and touch nothing. */
typedef bnn_status create(void *from, void *memory, size_t size);

struct origin {
    const unsigned char *file;
    size_t size;
    bnn_model *model;
    bnn_snn *network; /* its event populations, or NULL */
};

static bnn_status open_it(void *from, void *memory, size_t size)
{
    const struct origin *o = from;
    bnn_model *model = o->model;
    bnn_status status = bnn_model_open(o->file, o->size, bnn_kernels_select(NULL), memory, size, &model, NULL);
    CHECK((status == BNN_OK) == (model != NULL), "bnn_model_open: %s, and a model", bnn_status_text(status));
    return status;
}

static bnn_status create_context(void *from, void *memory, size_t size)
{
    bnn_context *context;
    bnn_status status = bnn_context_create(((struct origin *)from)->model, IMAGES, WORKERS, memory, size, &context);
    CHECK((status == BNN_OK) == (context != NULL), "bnn_context_create: %s, and a context", bnn_status_text(status));
    return status;
}

static bnn_status create_events(void *from, void *memory, size_t size)
{
    bnn_events *engine;
    const struct origin *o = from;
    bnn_status status = bnn_events_create(o->model, o->network, memory, size, NULL, NULL, &engine, NULL);
    CHECK((status == BNN_OK) == (engine != NULL), "bnn_events_create: %s, and an engine", bnn_status_text(status));
    return status;
}

static bnn_status open_network(void *from, void *memory, size_t size)
{
    const struct origin *o = from;
    bnn_snn *network = NULL;
    bnn_status status = bnn_snn_open(o->file, o->size, bnn_kernels_select(NULL), memory, size, &network, NULL);
    CHECK((status == BNN_OK) == (network != NULL), "bnn_snn_open: %s, and a network", bnn_status_text(status));
    return status;
}

static void try_memory(const char *name, create *function, void *from, size_t bytes)
{
    unsigned char *memory = block(bytes + BNN_ALIGNMENT), *before = block(bytes + BNN_ALIGNMENT);
    for (size_t size = 0; size < bytes; size = next_size(size, bytes)) {
        bnn_status status = function(from, memory, size);
        CHECK(status == BNN_ERROR_MEMORY, "%s in %zu of %zu bytes: %s", name, size, bytes, bnn_status_text(status));
    }
    for (size_t shift = 1; shift < BNN_ALIGNMENT; shift++) {
        bnn_status status = function(from, memory + shift, bytes);
        CHECK(status == BNN_ERROR_MEMORY, "%s %zu bytes past a line: %s", name, shift, bnn_status_text(status));
    }
    CHECK(memcmp(memory, before, bytes + BNN_ALIGNMENT) == 0, "%s wrote into memory that it refused", name);
    unsigned char *exact = block(bytes);
    CHECK(function(from, exact, bytes) == BNN_OK, "%s in memory of the right size", name);
    free(exact);
    free(before);
    free(memory);
}

static void try_files(const unsigned char *file, const struct opened *o, size_t size)
{
    for (size_t shift = 1; shift < BNN_ALIGNMENT; shift++) {
        unsigned char *copy = block(size + shift);
        memcpy(copy + shift, file, size);
        struct origin from = {copy + shift, size, NULL};
        CHECK(open_it(&from, o->memory, o->bytes) == BNN_ERROR_MEMORY, "a file %zu bytes past a line", shift);
        free(copy);
    }
}

/* The arrays of a run, each in a block of its own that ends where it does. */
struct arrays {
    unsigned char *block[2 * MAX_PORTS];
    void *at[2 * MAX_PORTS];
    size_t bytes[2 * MAX_PORTS];
    size_t inputs, count;
};

static struct arrays lay(const bnn_model *model, size_t shift)
{
    struct arrays a = {.inputs = bnn_input_count(model), .count = bnn_input_count(model) + bnn_output_count(model)};
    CHECK(a.inputs <= MAX_PORTS && a.count - a.inputs <= MAX_PORTS, "ports");
    for (size_t i = 0; i < a.count; i++) {
        uint32_t port = (uint32_t)(i < a.inputs ? i : i - a.inputs);
        bnn_tensor_info info;
        bnn_get_tensor(model, i < a.inputs ? bnn_input_tensor(model, port) : bnn_output_tensor(model, port), &info);
        size_t here = info.dtype == BNN_F32 ? shift / 4 * 4 : shift; /* bytes may lie anywhere */
        a.bytes[i] = BATCH * info.bytes;
        a.block[i] = block(a.bytes[i] + here);
        a.at[i] = a.block[i] + here;
        for (size_t k = 0; i < a.inputs && k < a.bytes[i]; k++)
            ((unsigned char *)a.at[i])[k] = (unsigned char)(info.dtype == BNN_F32 && k % 4 == 3 ? 0x3F : k * 37);
    }
    return a;
}

static bnn_status run_arrays(bnn_context *context, const struct arrays *a)
{
    const void *inputs[MAX_PORTS];
    float *outputs[MAX_PORTS];
    for (size_t i = 0; i < a->count; i++)
        if (i < a->inputs)
            inputs[i] = a->at[i];
        else
            outputs[i - a->inputs] = a->at[i];
    return bnn_run(context, inputs, outputs, BATCH);
}

static void free_arrays(struct arrays *a)
{
    for (size_t i = 0; i < a->count; i++)
        free(a->block[i]);
}

/* Inputs and outputs wherever their elements' alignment allows: the same results; elsewhere: refused. */
static void try_arrays(const bnn_model *model)
{
    size_t bytes, images = bnn_whole_batch(model) ? BATCH : IMAGES;
    bnn_context *context;
    CHECK(bnn_context_size(model, images, 1, &bytes) == BNN_OK, "context size");
    void *memory = block(bytes);
    CHECK(bnn_context_create(model, images, 1, memory, bytes, &context) == BNN_OK, "context");
    struct arrays first = lay(model, 0);
    CHECK(run_arrays(context, &first) == BNN_OK, "run");
    for (size_t shift = 1; shift < BNN_ALIGNMENT; shift++) {
        struct arrays a = lay(model, shift);
        CHECK(run_arrays(context, &a) == BNN_OK, "arrays %zu bytes past a line", shift);
        for (size_t i = a.inputs; i < a.count; i++)
            CHECK(memcmp(a.at[i], first.at[i], a.bytes[i]) == 0, "another result %zu bytes past a line", shift);
        for (size_t i = 0; i < a.count && shift % 4 != 0; i++) {
            void *kept = a.at[i];
            a.at[i] = a.block[i] + shift;
            int bytewise = kept == a.at[i];
            bnn_status status = bytewise ? BNN_ERROR_ARGUMENT : run_arrays(context, &a);
            CHECK(status == BNN_ERROR_ARGUMENT, "floats %zu bytes past a line: %s", shift, bnn_status_text(status));
            a.at[i] = kept;
        }
        free_arrays(&a);
    }
    free_arrays(&first);
    free(memory);
}

/* An engine of the model and of its populations, which are opened first. */
static void try_events(struct origin *from, const char *path)
{
    size_t bytes;
    struct origin network = {NULL, 0, NULL, NULL};
    unsigned char *file = read_file(path, &network.size);
    CHECK(file != NULL, "cannot read %s", path);
    network.file = file;
    CHECK(bnn_snn_size(file, network.size, bnn_kernels_select(NULL), &bytes, NULL) == BNN_OK, "network size");
    try_memory("bnn_snn_open", open_network, &network, bytes);
    unsigned char *memory = block(bytes);
    CHECK(bnn_snn_open(file, network.size, bnn_kernels_select(NULL), memory, bytes, &from->network, NULL) == BNN_OK,
          "network");
    CHECK(bnn_events_size(from->model, from->network, &bytes) == BNN_OK, "engine size");
    try_memory("bnn_events_create", create_events, from, bytes);
    printf("events: %zu bytes\n", bytes);
    free(memory);
    free(file);
}

int faults(const char *path, const char *populations)
{
    size_t size, bytes;
    unsigned char *file = read_file(path, &size);
    CHECK(file != NULL, "cannot read %s", path);
    struct opened o = open_model(file, size, bnn_kernels_select(NULL));
    struct origin from = {file, size, o.model, NULL};
    try_memory("bnn_model_open", open_it, &from, o.bytes);
    try_files(file, &o, size);
    CHECK(bnn_context_size(o.model, IMAGES, WORKERS, &bytes) == BNN_OK, "context size");
    try_memory("bnn_context_create", create_context, &from, bytes);
    if (populations != NULL)
        try_events(&from, populations);
    try_arrays(o.model);
    free(o.memory);
    free(file);
    return 0;
}
