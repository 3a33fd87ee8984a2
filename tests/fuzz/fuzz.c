/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "model/internal.h"
#include "model/validate.h"

#include <math.h>
#ifdef FUZZ_MEMORY_SANITIZER
#include <sanitizer/msan_interface.h>
#else
#include <sanitizer/asan_interface.h>
#endif

enum { ROOM = 24 << 20, GAP = 1024 };

static _Alignas(BNN_ALIGNMENT) unsigned char room[ROOM];
static size_t used;

#ifdef FUZZ_MEMORY_SANITIZER
/* Nothing in a block or around it has a value before it is written. */
static void lock(unsigned char *at, size_t size)
{
    __msan_poison(at, size);
}

static void unlock(unsigned char *at, size_t size)
{
    (void)at, (void)size;
}

void fuzz_define(void *at, size_t size)
{
    __msan_unpoison(at, size);
}
#else
static void lock(unsigned char *at, size_t size)
{
    ASAN_POISON_MEMORY_REGION(at, size);
}

static void unlock(unsigned char *at, size_t size)
{
    ASAN_UNPOISON_MEMORY_REGION(at, size);
    memset(at, 0xA5, size);
}

void fuzz_define(void *at, size_t size)
{
    (void)at, (void)size;
}
#endif

void *fuzz_block(size_t size)
{
    static int prepared;
    if (!prepared) {
        lock(room, sizeof room);
        used = GAP;
        prepared = 1;
    }
    if (size > FUZZ_MOST_BYTES || used + size + GAP > ROOM)
        return NULL;
    unsigned char *block = room + used;
    unlock(block, size);
    used += (size + GAP + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT;
    return block;
}

void fuzz_release(void)
{
    lock(room, used);
    used = GAP;
}

size_t fuzz_draw(struct script *s, size_t below)
{
    size_t n = 0;
    for (size_t range = 1; range < below; range *= 256) {
        if (s->left > 0) {
            n = n * 256 + *s->at++;
            s->left--;
        } else {
            s->state ^= s->state << 13; /* xorshift64 */
            s->state ^= s->state >> 7;
            s->state ^= s->state << 17;
            n = n * 256 + (s->state >> 40 & 255);
        }
    }
    return n % below;
}

void fuzz_floats(struct script *s, float *values, size_t count)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, -0.0f, 1e-45f, -1e-40f, 3e38f, 0.5f};
    struct script left_open = {NULL, 0, s->state + fuzz_draw(s, 256)}; /* scripts are not spent on values */
    int kind = (int)fuzz_draw(s, 4);
    for (size_t i = 0; i < count; i++) {
        size_t n = fuzz_draw(&left_open, 256);
        values[i] = kind == 0   ? (float)n
                    : kind == 1 ? ((float)n - 128.0f) / 16.0f
                    : kind == 2 ? (float)(n % 3) - 1.0f
                    : n < 8     ? odd[n]
                                : ((float)n - 128.0f) * 1e-3f;
    }
}

void fuzz_repair_checksum(unsigned char *file, size_t size)
{
    if (size >= BNN_HEADER_BYTES) {
        uint32_t crc = bnn_crc32(bnn_crc32(0, file, 12), file + 16, size - 16);
        memcpy(file + 12, &crc, sizeof crc);
    }
}

const unsigned char *fuzz_split(const unsigned char *data, size_t size, size_t *file_size, struct script *script)
{
    uint64_t stated = size >= BNN_HEADER_BYTES ? bnn_load64(data + 16) : size;
    *file_size = stated < BNN_HEADER_BYTES || stated > size ? size : (size_t)stated;
    script->at = data + *file_size;
    script->left = size - *file_size;
    script->state = (size >= 16 ? bnn_load32(data + 12) : 0) * UINT64_C(2862933555777941757) + 1;
    unsigned char *file = fuzz_block(*file_size);
    if (file != NULL && *file_size != 0) {
        memcpy(file, data, *file_size);
        fuzz_repair_checksum(file, *file_size);
    }
    return file;
}

const bnn_kernels *fuzz_kernels(struct script *s)
{
    static const bnn_kernels *families[8];
    static size_t count;
    for (size_t i = 0; count == 0 && bnn_kernels_list(i) != NULL; i++) {
        families[count] = bnn_kernels_select(bnn_kernels_list(i));
        count += families[count] != NULL;
    }
    return families[fuzz_draw(s, count)];
}

/* Reads every string; the sum keeps the compiler from leaving that out. */
static unsigned read_text(const char *text, size_t length)
{
    unsigned sum = 0;
    for (size_t i = 0; i < length; i++)
        sum += (unsigned char)text[i];
    return sum;
}

/* Everything the model says of itself can be read. */
static void look_at(const bnn_model *model)
{
    static volatile unsigned sum;
    for (uint32_t i = 0; i < bnn_tensor_count(model); i++) {
        bnn_tensor_info t;
        CHECK(bnn_get_tensor(model, i, &t) == BNN_OK, "tensor %u", i);
        sum += read_text(t.name, t.name_length) + read_text(t.origin, t.origin_length);
    }
    for (uint32_t i = 0; i < bnn_op_count(model); i++) {
        bnn_op_info op;
        CHECK(bnn_get_op(model, i, &op) == BNN_OK, "op %u", i);
        sum += read_text(op.layer, op.layer_length) + read_text(op.note, op.note_length);
    }
}

/* A status other than OK comes with a text. */
static void check_problem(bnn_status status, const bnn_problem *problem)
{
    if (status != BNN_OK) {
        CHECK(memchr(problem->what, 0, sizeof problem->what) != NULL, "an unterminated text");
        CHECK(problem->what[0] != 0, "%s without a text", bnn_status_text(status));
    }
}

bnn_model *fuzz_open(const unsigned char *file, size_t size, const bnn_kernels *kernels)
{
    static const bnn_limits limits = {FUZZ_MOST_BYTES, FUZZ_MOST_WORK};
    size_t bytes = 0;
    bnn_problem problem;
    bnn_model *model;
    bnn_status status = bnn_model_size_within(file, size, kernels, &limits, &bytes, &problem);
    check_problem(status, &problem);
    if (status != BNN_OK) {
        unsigned char none[1];
        CHECK(bnn_model_open_within(file, size, kernels, &limits, none, 0, &model, &problem) != BNN_OK && model == NULL,
              "bnn_model_open took what bnn_model_size did not");
        return NULL;
    }
    CHECK(bytes <= FUZZ_MOST_BYTES, "%zu bytes, past max_bytes", bytes);
    void *memory = fuzz_block(bytes);
    if (memory == NULL)
        return NULL;
    status = bnn_model_open_within(file, size, kernels, &limits, memory, bytes - 1, &model, &problem);
    CHECK((status == BNN_ERROR_MEMORY || status == BNN_ERROR_CHECKSUM) && model == NULL, "one byte less: %s",
          bnn_status_text(status));
    status = bnn_model_open_within(file, size, kernels, &limits, memory, bytes, &model, &problem);
    check_problem(status, &problem);
    if (status != BNN_OK)
        return NULL;
    CHECK(bnn_model_work(model) <= FUZZ_MOST_WORK, "work past max_work");
    look_at(model);
    return model;
}

bnn_context *fuzz_context(const bnn_model *model, size_t images, size_t workers)
{
    size_t bytes = 0, least;
    bnn_context *context;
    bnn_status status = bnn_stepping_size(model, images, workers, &bytes);
    CHECK(status == BNN_OK || status == BNN_ERROR_LIMIT, "context size: %s", bnn_status_text(status));
    void *memory = status == BNN_OK ? fuzz_block(bytes) : NULL;
    if (memory == NULL)
        return NULL;
    CHECK(bnn_context_size(model, images, workers, &least) == BNN_OK && least < bytes, "context size");
    CHECK(bnn_context_create(model, images, workers, memory, least - 1, &context) == BNN_ERROR_MEMORY, "a byte less");
    CHECK(bnn_context_create(model, images, workers, memory, bytes, &context) == BNN_OK, "the context");
    return context;
}

size_t fuzz_elements(const bnn_model *model, uint32_t tensor)
{
    bnn_tensor_info t;
    size_t n = 1;
    CHECK(bnn_get_tensor(model, tensor, &t) == BNN_OK, "tensor %u", tensor);
    for (uint32_t i = 0; i < (t.storage == BNN_CONSTANT ? 4 : t.rank); i++)
        n *= t.dims[i];
    return n;
}

int fuzz_same(const float *a, const float *b, size_t count)
{
    if (memcmp(a, b, count * sizeof *a) == 0)
        return 1;
    for (size_t i = 0; i < count; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
            return 0;
    return 1;
}

static bnn_dtype input_dtype(const bnn_model *model, uint32_t input)
{
    bnn_tensor_info t;
    CHECK(bnn_get_tensor(model, bnn_input_tensor(model, input), &t) == BNN_OK, "input %u", input);
    return t.dtype;
}

void fuzz_values(const bnn_model *model, struct script *s, uint32_t input, float *values, size_t count)
{
    bnn_dtype dtype = input_dtype(model, input);
    fuzz_floats(s, values, count);
    for (size_t i = 0; dtype != BNN_F32 && i < count; i++) {
        float whole = values[i] >= 0.0f && values[i] <= 255.0f ? floorf(values[i]) : 5.0f;
        values[i] = whole - (dtype == BNN_I8 ? 128.0f : 0.0f);
    }
}

void fuzz_retype(const bnn_model *model, struct ports *p)
{
    for (uint32_t i = 0; i < p->inputs; i++) {
        bnn_dtype dtype = input_dtype(model, i);
        size_t count = p->batch * fuzz_elements(model, bnn_input_tensor(model, i));
        unsigned char *bytes = (unsigned char *)(uintptr_t)p->typed[i];
        for (size_t k = 0; dtype != BNN_F32 && k < count; k++)
            bytes[k] = (unsigned char)(int)p->floats[i][k];
    }
}

int fuzz_ports(const bnn_model *model, struct script *s, size_t batch, struct ports *p)
{
    p->inputs = bnn_input_count(model);
    p->outputs = bnn_output_count(model);
    p->batch = batch;
    if (p->inputs > FUZZ_MOST_PORTS || p->outputs > FUZZ_MOST_PORTS)
        return 0;
    for (uint32_t i = 0; i < p->inputs; i++) {
        size_t count = batch * fuzz_elements(model, bnn_input_tensor(model, i));
        p->floats[i] = fuzz_block(count * sizeof(float));
        p->typed[i] = input_dtype(model, i) == BNN_F32 ? p->floats[i] : fuzz_block(count);
        if (p->floats[i] == NULL || p->typed[i] == NULL)
            return 0;
        fuzz_values(model, s, i, p->floats[i], count);
    }
    for (uint32_t i = 0; i < p->outputs; i++) {
        p->out[i] = fuzz_block(batch * fuzz_elements(model, bnn_output_tensor(model, i)) * sizeof(float));
        if (p->out[i] == NULL)
            return 0;
    }
    fuzz_retype(model, p);
    return 1;
}

void fuzz_parallel_for(void *pool, bnn_task *task, void *argument, size_t count)
{
    struct shuffled *s = pool;
    size_t first = fuzz_draw(s->script, count < 65536 ? count : 65536), backwards = fuzz_draw(s->script, 2);
    for (size_t i = 0; i < count; i++) {
        size_t index = (first + i) % count;
        task(argument, backwards ? count - 1 - index : index, fuzz_draw(s->script, s->workers));
    }
}
