/* SPDX-License-Identifier: Apache-2.0 */
/* Exercises the runtime from C, built with sanitizers by test_sanitizers.py.
 *
 *     driver check TOLERANCE CASE...   a case is a folder with model.bnn, in0.f32 ..., out0.f32 ... (raw float32)
 *     driver fuzz MODEL SEED COUNT     damaged copies of a model: errors or results, never a crash (fuzz.c)
 *     driver damage MODEL FIRST EVERY  cut anywhere, bits flipped: never a model (boundaries.c)
 *     driver boundaries MODEL SEED [ops]   every field, or every one of ops, at the ends of its range: as fuzz
 *     driver faults MODEL              memory too small or not aligned, arrays at any address (faults.c)
 *     driver threads MODEL CALLERS     the pool, and the model run by so many threads (threads.c)
 *     driver tight MODEL...            every op on tensors in blocks of their own (tight.c)
 *     driver allocations MODEL         exit status 1 if the core allocates
 *
 * Memory is handed out in blocks of exactly the size asked for, filled with garbage. */
#define _POSIX_C_SOURCE 200809L

#include "driver.h"

#include <math.h>

static size_t stops;       /* runs that a poll stopped */
static size_t allocations; /* counted by the wrappers that --wrap=malloc and the like put in place */

#ifdef COUNT_ALLOCATIONS
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
int __real_posix_memalign(void **memory, size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);

void *__wrap_malloc(size_t size)
{
    allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    allocations++;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    allocations++;
    return __real_realloc(old, size);
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t size)
{
    allocations++;
    return __real_posix_memalign(memory, alignment, size);
}
#endif

void *block(size_t size)
{
    void *memory;
    CHECK(posix_memalign(&memory, BNN_ALIGNMENT, size) == 0, "cannot allocate %zu bytes", size);
    memset(memory, 0xA5, size);
    return memory;
}

unsigned char *read_file(const char *path, size_t *size)
{
    bnn_mapping mapping;
    if (bnn_file_map(path, &mapping) != BNN_OK)
        return NULL;
    unsigned char *data = block(mapping.size);
    memcpy(data, mapping.data, mapping.size);
    *size = mapping.size;
    bnn_file_unmap(&mapping);
    return data;
}

void free_ports(struct ports *p)
{
    for (size_t i = 0; i < p->count; i++)
        free(p->data[i]);
}

struct opened open_model(const unsigned char *file, size_t size, const bnn_kernels *kernels)
{
    struct opened o = {0};
    bnn_problem problem;
    bnn_status status = bnn_model_size(file, size, kernels, &o.bytes, &problem);
    CHECK(status == BNN_OK, "bnn_model_size: %s: %s, found %lld, expected %lld", bnn_status_text(status), problem.what,
          (long long)problem.found, (long long)problem.expected);
    o.memory = block(o.bytes);
    status = bnn_model_open(file, size, kernels, o.memory, o.bytes, &o.model, &problem);
    CHECK(status == BNN_OK, "bnn_model_open: %s: %s, found %lld, expected %lld", bnn_status_text(status), problem.what,
          (long long)problem.found, (long long)problem.expected);
    return o;
}

size_t image_floats(const bnn_model *model, uint32_t tensor)
{
    bnn_tensor_info info;
    CHECK(bnn_get_tensor(model, tensor, &info) == BNN_OK, "no tensor %u", tensor);
    size_t n = 1;
    for (uint32_t i = 0; i < info.rank; i++)
        n *= info.dims[i];
    return n;
}

struct ports typed_inputs(const bnn_model *model, const struct ports *floats)
{
    struct ports typed = {.count = floats->count};
    for (size_t i = 0; i < floats->count; i++) {
        bnn_tensor_info info;
        CHECK(bnn_get_tensor(model, bnn_input_tensor(model, (uint32_t)i), &info) == BNN_OK, "input %zu", i);
        size_t count = typed.floats[i] = floats->floats[i];
        typed.data[i] = block(count * (info.dtype == BNN_F32 ? sizeof(float) : 1));
        for (size_t k = 0; k < count; k++) {
            float v = floats->data[i][k];
            if (info.dtype == BNN_F32)
                typed.data[i][k] = v;
            else
                ((unsigned char *)typed.data[i])[k] = (unsigned char)(v >= -128 && v <= 255 ? (int)v : (int)(k * 37));
        }
    }
    return typed;
}

static struct ports read_ports(const char *folder, const char *kind)
{
    struct ports p = {0};
    for (; p.count < MAX_PORTS; p.count++) {
        char path[4096];
        size_t size;
        snprintf(path, sizeof path, "%s/%s%zu.f32", folder, kind, p.count);
        p.data[p.count] = (float *)(void *)read_file(path, &size);
        if (p.data[p.count] == NULL)
            break;
        p.floats[p.count] = size / sizeof(float);
    }
    return p;
}

static int equal(float found, float expected, float tolerance)
{
    if (expected != expected || found != found)
        return found != found && expected != expected;
    return found == expected || fabsf(found - expected) <= tolerance * (1.0f + fabsf(expected));
}

/* A poll: stops after so many calls. */
static int count_down(void *argument)
{
    size_t *left = argument;
    return (*left)-- == 0;
}

/* Runs that are asked whether to go on are cut into pieces; one is stopped first, and its context used again.  Every
 * other run is asked. */
static bnn_status run_asked(bnn_context *context, const struct ports *in, const struct ports *out, size_t batch)
{
    static size_t turn;
    size_t left = turn / 2 % 7, always = SIZE_MAX;
    if (turn++ % 2 == 0) {
        bnn_context_set_poll(context, count_down, &left);
        bnn_status status = bnn_run(context, (const void *const *)in->data, out->data, batch);
        CHECK(status == (left == SIZE_MAX ? BNN_ERROR_STOPPED : BNN_OK) || status == BNN_ERROR_BATCH, "stopped: %s",
              bnn_status_text(status));
        stops += left == SIZE_MAX;
        bnn_context_set_poll(context, count_down, &always);
    }
    return bnn_run(context, (const void *const *)in->data, out->data, batch);
}

/* Runs with images, workers and threads; compares with the expected outputs, and bit by bit with the first run's. */
static void check_run(const char *folder, const bnn_model *model, const struct ports *in, const struct ports *expected,
                      struct ports *first, size_t images, size_t workers, float tolerance)
{
    size_t bytes, batch = in->floats[0] / image_floats(model, bnn_input_tensor(model, 0));
    CHECK(bnn_context_size(model, images, workers, &bytes) == BNN_OK, "%s: context size", folder);
    void *memory = block(bytes);
    bnn_context *context;
    bnn_pool *pool;
    CHECK(bnn_context_create(model, images, workers, memory, bytes, &context) == BNN_OK, "%s: context", folder);
    CHECK(bnn_pool_create(workers, &pool) == BNN_OK, "%s: pool", folder);
    if (workers > 1)
        bnn_context_set_threads(context, bnn_pool_run, pool);
    struct ports out = {.count = expected->count};
    for (size_t i = 0; i < out.count; i++) {
        out.floats[i] = batch * image_floats(model, bnn_output_tensor(model, (uint32_t)i));
        out.data[i] = block(out.floats[i] * sizeof(float));
        CHECK(out.floats[i] == expected->floats[i], "%s: output %zu has %zu numbers, expected %zu", folder, i,
              out.floats[i], expected->floats[i]);
    }
    struct ports typed = typed_inputs(model, in);
    bnn_status status = run_asked(context, &typed, &out, batch);
    free_ports(&typed);
    int too_many = bnn_whole_batch(model) && batch > images;
    CHECK(status == (too_many ? BNN_ERROR_BATCH : BNN_OK), "%s: run: %s", folder, bnn_status_text(status));
    for (size_t i = 0; i < out.count && !too_many; i++) {
        for (size_t k = 0; k < out.floats[i]; k++) {
            float found = out.data[i][k], want = expected->data[i][k];
            CHECK(equal(found, want, tolerance), "%s: images %zu, workers %zu: output %zu[%zu] is %.9g, expected %.9g",
                  folder, images, workers, i, k, (double)found, (double)want);
        }
        if (first->data[i] == NULL) {
            first->data[i] = out.data[i];
            out.data[i] = NULL;
        } else {
            CHECK(memcmp(first->data[i], out.data[i], out.floats[i] * sizeof(float)) == 0,
                  "%s: images %zu, workers %zu: other bits than another run", folder, images, workers);
        }
    }
    free_ports(&out);
    bnn_pool_destroy(pool);
    free(memory);
}

static void check_family(const char *folder, const unsigned char *file, size_t size, const bnn_kernels *kernels,
                         const struct ports *in, const struct ports *expected, float tolerance)
{
    struct opened o = open_model(file, size, kernels);
    CHECK(bnn_input_count(o.model) == in->count && bnn_output_count(o.model) == expected->count, "%s: ports", folder);
    struct ports first = {.count = expected->count};
    for (size_t workers = 1; workers <= 3; workers++) {
        check_run(folder, o.model, in, expected, &first, 1, workers, tolerance);
        check_run(folder, o.model, in, expected, &first, 3, workers, tolerance);
        check_run(folder, o.model, in, expected, &first, 8, workers, tolerance);
    }
    check_run(folder, o.model, in, expected, &first, 3, 8, tolerance); /* fewer images than workers: rows */
    free_ports(&first);
    free(o.memory);
}

static void check_case(const char *folder, float tolerance)
{
    char path[4096];
    size_t size;
    snprintf(path, sizeof path, "%s/model.bnn", folder);
    unsigned char *file = read_file(path, &size);
    CHECK(file != NULL, "cannot read %s", path);
    struct ports in = read_ports(folder, "in"), expected = read_ports(folder, "out");
    const char *name;
    for (size_t k = 0; (name = bnn_kernels_list(k)) != NULL; k++) {
        const bnn_kernels *kernels = bnn_kernels_select(name);
        if (kernels != NULL)
            check_family(folder, file, size, kernels, &in, &expected, tolerance);
    }
    /* Floats in blocks of another width than the fastest family's bits. */
    const bnn_kernels partial = {.name = "partial", .floats = bnn_kernels_select("scalar")->floats};
    check_family(folder, file, size, &partial, &in, &expected, tolerance);
    free_ports(&in);
    free_ports(&expected);
    free(file);
}

static int count_allocations(const char *path)
{
    size_t size;
    unsigned char *file = read_file(path, &size);
    CHECK(file != NULL, "cannot read %s", path);
    const bnn_kernels *kernels = bnn_kernels_select(NULL);
    struct opened o = open_model(file, size, kernels);
    float *in = calloc(image_floats(o.model, bnn_input_tensor(o.model, 0)) * 4, sizeof *in);
    float *out = calloc(image_floats(o.model, bnn_output_tensor(o.model, 0)) * 4, sizeof *out);
    size_t bytes;
    bnn_context_size(o.model, 2, 1, &bytes);
    void *room = block(bytes);

    size_t before = allocations;
    bnn_context *context;
    CHECK(bnn_model_open(file, size, kernels, o.memory, o.bytes, &o.model, NULL) == BNN_OK, "open");
    CHECK(bnn_context_create(o.model, 2, 1, room, bytes, &context) == BNN_OK, "context");
    CHECK(bnn_run(context, (const void *const *)&in, &out, 4) == BNN_OK, "run");
    size_t during = allocations - before;

    printf("%zu allocations before, %zu during\n", before, during);
    free(room);
    free(in);
    free(out);
    free(o.memory);
    free(file);
    return during != 0 || before == 0;
}

int main(int argc, char **argv)
{
    if (argc >= 4 && strcmp(argv[1], "check") == 0) {
        for (int i = 3; i < argc; i++)
            check_case(argv[i], (float)atof(argv[2]));
        printf("%zu stopped\n", stops);
        return 0;
    }
    if (argc == 5 && strcmp(argv[1], "fuzz") == 0)
        return fuzz(argv[2], strtoull(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
    if (argc == 5 && strcmp(argv[1], "damage") == 0)
        return damage(argv[2], strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
    if ((argc == 4 || (argc == 5 && strcmp(argv[4], "ops") == 0)) && strcmp(argv[1], "boundaries") == 0)
        return boundaries(argv[2], strtoull(argv[3], NULL, 10), argc == 5);
    if (argc >= 3 && strcmp(argv[1], "faults") == 0)
        return faults(argv[2], argc > 3 ? argv[3] : NULL);
    if (argc >= 3 && strcmp(argv[1], "tight") == 0) {
        for (int i = 2; i < argc; i++)
            tight(argv[i]);
        return 0;
    }
    if (argc == 4 && strcmp(argv[1], "threads") == 0)
        return threads(argv[2], strtoul(argv[3], NULL, 10));
    if (argc == 3 && strcmp(argv[1], "allocations") == 0)
        return count_allocations(argv[2]);
    fprintf(
        stderr,
        "usage: driver check TOLERANCE CASE... | fuzz MODEL SEED COUNT | damage MODEL FIRST EVERY | "
        "boundaries MODEL SEED [ops] | faults MODEL | threads MODEL CALLERS | tight MODEL... | allocations MODEL\n");
    return 2;
}
