/* SPDX-License-Identifier: Apache-2.0 */
/* The C API in any order: memory of the wrong size, pointers that are null, numbers out of range.  What bnn.h calls an
 * error comes back as its status, and what was opened still works. */
#include "fuzz.h"

enum { MOST_CALLS = 24 };

struct session {
    const unsigned char *file;
    size_t file_size;
    struct script *script;
    const bnn_kernels *kernels;
    bnn_model *model;
    bnn_context *context;
    size_t images, workers;
    struct ports ports;
    struct shuffled pool;
    float *values;   /* of the largest tensor, of ports.batch images */
    size_t patience; /* polls until one stops what runs */
    int stopped;
};

static size_t draw(const struct session *x, size_t below)
{
    return fuzz_draw(x->script, below < 65536 ? below : 65536);
}

/* One call in eight is wrong on purpose. */
static int wrongly(const struct session *x)
{
    return draw(x, 8) == 0;
}

static uint64_t ticks(void)
{
    static uint64_t now;
    return now++;
}

static void profile(void *argument, uint32_t op, uint64_t took)
{
    struct session *x = argument;
    CHECK(op < bnn_op_count(x->model) && took > 0, "profile of op %u", op);
}

#define EXPECT(call, expected)                                                    \
    do {                                                                          \
        bnn_status expect_status = (call);                                        \
        CHECK(expect_status == (expected), "%s", bnn_status_text(expect_status)); \
    } while (0)

static int poll(void *argument)
{
    struct session *x = argument;
    x->stopped = x->patience == 0;
    x->patience -= x->patience > 0;
    return x->stopped;
}

/* What a function that may be stopped gives, where it would give `status`. */
static bnn_status or_stopped(const struct session *x, bnn_status status)
{
    return x->stopped ? BNN_ERROR_STOPPED : status;
}

#define EXPECT_OR_STOPPED(call, expected)                                                          \
    do {                                                                                           \
        x->stopped = 0;                                                                            \
        bnn_status stop_status = (call);                                                           \
        CHECK(stop_status == or_stopped(x, expected), "%s after %s", bnn_status_text(stop_status), \
              x->stopped ? "a stop" : "no stop");                                                  \
    } while (0)

/* Every way in which opening is refused. */
static void open_wrongly(const struct session *x)
{
    bnn_model *model;
    size_t bytes = 0, shift = 1 + draw(x, BNN_ALIGNMENT - 1);
    EXPECT(bnn_model_size(x->file, x->file_size, x->kernels, &bytes, NULL), BNN_OK);
    unsigned char *memory = fuzz_block(bytes + BNN_ALIGNMENT);
    unsigned char *shifted = fuzz_block(x->file_size + shift);
    if (memory == NULL || shifted == NULL)
        return;
    memcpy(shifted + shift, x->file, x->file_size);
    const void *const file = x->file;
    const size_t size = x->file_size;
    EXPECT(bnn_model_size(NULL, size, x->kernels, &bytes, NULL), BNN_ERROR_ARGUMENT);
    EXPECT(bnn_model_size(file, size, NULL, &bytes, NULL), BNN_ERROR_KERNELS);
    EXPECT(bnn_model_size(file, size, x->kernels, NULL, NULL), BNN_ERROR_ARGUMENT);
    EXPECT(bnn_model_size(shifted + shift, size, x->kernels, &bytes, NULL), BNN_ERROR_MEMORY);
    EXPECT(bnn_model_open(shifted + shift, size, x->kernels, memory, bytes, &model, NULL), BNN_ERROR_MEMORY);
    EXPECT(bnn_model_open(file, size, x->kernels, memory + shift, bytes, &model, NULL), BNN_ERROR_MEMORY);
    EXPECT(bnn_model_open(file, size, x->kernels, memory, draw(x, bytes), &model, NULL), BNN_ERROR_MEMORY);
    EXPECT(bnn_model_open(file, size, x->kernels, NULL, bytes, &model, NULL), BNN_ERROR_ARGUMENT);
    EXPECT(bnn_model_open(file, size, x->kernels, memory, bytes, NULL, NULL), BNN_ERROR_ARGUMENT);
    EXPECT(bnn_model_open(file, size, NULL, memory, bytes, &model, NULL), BNN_ERROR_KERNELS);
    CHECK(bnn_model_open(file, draw(x, size), x->kernels, memory, bytes, &model, NULL) != BNN_OK, "a shorter file");
}

/* A context whose ops may be stepped in any order: they find what is there. */
static bnn_context *stepped_context(const struct session *x, size_t images, size_t workers)
{
    size_t bytes = 0;
    bnn_context *context = fuzz_context(x->model, images, workers);
    if (context != NULL && bnn_stepping_size(x->model, images, workers, &bytes) == BNN_OK)
        fuzz_define(context, bytes);
    return context;
}

/* A context in place of the one there is. */
static void create_context(struct session *x)
{
    static const size_t huge[] = {0, SIZE_MAX, SIZE_MAX / 64, SIZE_MAX / 4, (size_t)1 << 40};
    size_t bytes = 0, images = 1 + draw(x, x->ports.batch), workers = 1 + draw(x, 3);
    bnn_context *context;
    if (wrongly(x)) {
        images = huge[draw(x, 5)];
        workers = draw(x, 2) ? huge[draw(x, 5)] : workers;
        bnn_status status = bnn_context_size(x->model, images, workers, &bytes);
        int none = images == 0 || workers == 0;
        CHECK(none ? status == BNN_ERROR_ARGUMENT : status == BNN_OK || status == BNN_ERROR_LIMIT, "%s",
              bnn_status_text(status));
        EXPECT(bnn_context_create(x->model, images, workers, x->values, 64, &context),
               status == BNN_OK ? BNN_ERROR_MEMORY : status);
        EXPECT(bnn_context_create(NULL, 1, 1, x->values, 64, &context), BNN_ERROR_ARGUMENT);
        EXPECT(bnn_context_create(x->model, 1, 1, x->values, 64, NULL), BNN_ERROR_ARGUMENT);
        return;
    }
    EXPECT(bnn_context_size(x->model, images, workers, &bytes), BNN_OK);
    unsigned char *memory = fuzz_block(bytes + BNN_ALIGNMENT);
    if (memory == NULL)
        return;
    EXPECT(bnn_context_create(x->model, images, workers, memory + 1 + draw(x, 63), bytes, &context), BNN_ERROR_MEMORY);
    EXPECT(bnn_context_create(x->model, images, workers, memory, draw(x, bytes), &context), BNN_ERROR_MEMORY);
    context = stepped_context(x, images, workers);
    if (context != NULL) {
        x->context = context;
        x->images = images;
        x->workers = workers;
    }
}

static void run(struct session *x)
{
    const struct ports *p = &x->ports;
    size_t batch = draw(x, p->batch + 1);
    if (wrongly(x)) {
        float *out[FUZZ_MOST_PORTS];
        memcpy(out, p->out, sizeof out);
        out[draw(x, p->outputs)] = draw(x, 2) ? NULL : (float *)(void *)((unsigned char *)p->out[0] + 2);
        EXPECT(bnn_run(x->context, p->typed, out, 1), BNN_ERROR_ARGUMENT);
        EXPECT(bnn_run(x->context, NULL, p->out, 1), BNN_ERROR_ARGUMENT);
        EXPECT(bnn_run(x->context, p->typed, NULL, 1), BNN_ERROR_ARGUMENT);
        EXPECT(bnn_run(NULL, p->typed, p->out, 1), BNN_ERROR_ARGUMENT);
        EXPECT(bnn_run(x->context, p->typed, p->out, SIZE_MAX - draw(x, 9)), BNN_ERROR_LIMIT);
        EXPECT(bnn_run(x->context, NULL, NULL, 0), BNN_OK);
        return;
    }
    x->pool = (struct shuffled){x->script, x->workers};
    bnn_context_set_threads(x->context, draw(x, 2) ? fuzz_parallel_for : NULL, &x->pool);
    bnn_context_set_profile(x->context, draw(x, 2) ? ticks : NULL, profile, x);
    bnn_context_set_poll(x->context, draw(x, 2) ? poll : NULL, x);
    x->patience = draw(x, 32);
    EXPECT_OR_STOPPED(bnn_run(x->context, p->typed, p->out, batch),
                      bnn_whole_batch(x->model) && batch > x->images ? BNN_ERROR_BATCH : BNN_OK);
}

static void step(struct session *x)
{
    uint32_t ops = bnn_op_count(x->model), tensors = bnn_tensor_count(x->model);
    uint32_t op = (uint32_t)draw(x, ops), tensor = (uint32_t)draw(x, tensors);
    size_t images = draw(x, x->images + 1);
    bnn_tensor_info info;
    bnn_op_info op_info;
    EXPECT(bnn_get_tensor(x->model, tensor, &info), BNN_OK);
    EXPECT(bnn_get_op(x->model, op, &op_info), BNN_OK);
    if (wrongly(x)) {
        EXPECT(bnn_step(x->context, ops + op, images), BNN_ERROR_ARGUMENT);
        EXPECT(bnn_step(x->context, op, x->images + 1 + images), BNN_ERROR_ARGUMENT);
        EXPECT(bnn_step_raw(x->context, ops, x->values, images), BNN_ERROR_ARGUMENT);
        EXPECT(bnn_step_raw(x->context, op, NULL, images), BNN_ERROR_ARGUMENT);
        EXPECT(bnn_peek(x->context, tensors + tensor, x->values, images), BNN_ERROR_ARGUMENT);
        EXPECT(bnn_peek(x->context, tensor, NULL, images), BNN_ERROR_ARGUMENT);
        EXPECT(bnn_poke(x->context, tensor, x->values, x->images + 1), BNN_ERROR_ARGUMENT);
        EXPECT(bnn_poke(NULL, tensor, x->values, images), BNN_ERROR_ARGUMENT);
        return;
    }
    bnn_status constant = info.storage == BNN_CONSTANT ? BNN_ERROR_ARGUMENT : BNN_OK;
    switch (draw(x, 4)) {
    case 0:
        EXPECT_OR_STOPPED(bnn_step(x->context, op, images), BNN_OK);
        break;
    case 1:
        EXPECT_OR_STOPPED(bnn_step_raw(x->context, op, x->values, images),
                          op_info.planes > 0 ? BNN_OK : BNN_ERROR_ARGUMENT);
        break;
    case 2:
        EXPECT(bnn_peek(x->context, tensor, x->values, images), constant);
        break;
    default:
        if (constant == BNN_OK)
            fuzz_floats(x->script, x->values, images * fuzz_elements(x->model, tensor));
        bnn_status status = bnn_poke(x->context, tensor, x->values, images);
        int whole = info.dtype == BNN_U8 || info.dtype == BNN_I8 || info.dtype == BNN_I16;
        CHECK(status == constant || (whole && status == BNN_ERROR_ARGUMENT), "%s", bnn_status_text(status));
    }
}

/* Room for the largest tensor of as many images as a context may have. */
static int prepare(struct session *x)
{
    size_t largest = 64;
    for (uint32_t i = 0; i < bnn_tensor_count(x->model); i++) {
        bnn_tensor_info info;
        EXPECT(bnn_get_tensor(x->model, i, &info), BNN_OK);
        size_t count = info.storage == BNN_CONSTANT ? 0 : fuzz_elements(x->model, i);
        largest = count > largest ? count : largest;
    }
    if (!fuzz_ports(x->model, x->script, 1 + draw(x, 5), &x->ports))
        return 0;
    x->values = fuzz_block(x->ports.batch * largest * sizeof(float));
    if (x->values == NULL)
        return 0;
    memset(x->values, 0, x->ports.batch * largest * sizeof(float));
    x->images = x->workers = 1;
    x->context = stepped_context(x, 1, 1);
    return x->context != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script script;
    struct session x = {.script = &script};
    x.file = fuzz_split(data, size, &x.file_size, &script);
    x.kernels = fuzz_kernels(&script);
    x.model = x.file == NULL || x.file_size == 0 ? NULL : fuzz_open(x.file, x.file_size, x.kernels);
    if (x.model != NULL && prepare(&x)) {
        size_t calls = 1 + draw(&x, MOST_CALLS);
        for (size_t i = 0; i < calls; i++) {
            switch (draw(&x, 5)) {
            case 0:
                open_wrongly(&x);
                break;
            case 1:
                create_context(&x);
                break;
            case 2:
                run(&x);
                break;
            default:
                step(&x);
            }
        }
    }
    fuzz_release();
    return 0;
}
