/* SPDX-License-Identifier: Apache-2.0 */
/* Damaged copies of a model: each is an error or runs, in memory of exactly the size that was asked for. */
#include "driver.h"

#include <math.h>

static const size_t too_much = (size_t)64 << 20; /* bytes or operations that a test does not spend on one model */
static size_t tally[16];                         /* by status */

/* xorshift64*: the same numbers everywhere. */
static uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

void fix_checksum(unsigned char *file, size_t size)
{
    if (size >= BNN_HEADER_BYTES) {
        uint32_t crc = bnn_crc32(bnn_crc32(0, file, 12), file + 16, size - 16);
        memcpy(file + 12, &crc, sizeof crc);
    }
}

/* Whatever a model says about itself must be readable; the sum keeps the compiler from leaving the reads out. */
static unsigned look_at(const bnn_model *model)
{
    unsigned sum = 0;
    uint64_t work = 0;
    for (uint32_t i = 0; i < bnn_tensor_count(model); i++) {
        bnn_tensor_info info;
        CHECK(bnn_get_tensor(model, i, &info) == BNN_OK, "tensor %u", i);
        for (size_t k = 0; k < info.name_length; k++)
            sum += (unsigned char)info.name[k];
        for (size_t k = 0; k < info.origin_length; k++)
            sum += (unsigned char)info.origin[k];
    }
    for (uint32_t i = 0; i < bnn_op_count(model); i++) {
        bnn_op_info info;
        CHECK(bnn_get_op(model, i, &info) == BNN_OK, "op %u", i);
        for (size_t k = 0; k < info.layer_length; k++)
            sum += (unsigned char)info.layer[k];
        for (size_t k = 0; k < info.note_length; k++)
            sum += (unsigned char)info.note[k];
        CHECK(info.work >= info.binary_macs / 128, "op %u: work", i);
        work = info.work > UINT64_MAX - work ? UINT64_MAX : work + info.work;
    }
    CHECK(bnn_model_work(model) == work, "the model's work");
    return sum;
}

static void run_model(const bnn_model *model, uint64_t *state)
{
    unsigned sum = look_at(model);
    size_t images = 1 + random_next(state) % 3, workers = 1 + random_next(state) % 2, batch = random_next(state) % 6;
    size_t bytes, least;
    bnn_status status = bnn_stepping_size(model, images, workers, &bytes);
    if (status != BNN_OK || bytes > too_much || bnn_model_work(model) > too_much / 16) {
        CHECK(status == BNN_OK || status == BNN_ERROR_LIMIT, "context size: %s", bnn_status_text(status));
        return;
    }
    void *memory = block(bytes);
    bnn_context *context;
    CHECK(bnn_context_size(model, images, workers, &least) == BNN_OK && least < bytes, "context size");
    CHECK(bnn_context_create(model, images, workers, memory, least - 1, &context) == BNN_ERROR_MEMORY, "one byte less");
    CHECK(bnn_context_create(model, images, workers, memory, bytes, &context) == BNN_OK, "context");
    struct ports in = {.count = bnn_input_count(model)}, out = {.count = bnn_output_count(model)};
    CHECK(in.count <= MAX_PORTS && out.count <= MAX_PORTS, "ports");
    for (size_t i = 0; i < in.count; i++) {
        in.floats[i] = batch * image_floats(model, bnn_input_tensor(model, (uint32_t)i));
        in.data[i] = block(in.floats[i] * sizeof(float));
        for (size_t k = 0; k < in.floats[i]; k++) {
            uint64_t r = random_next(state);
            in.data[i][k] = r % 997 == 0 ? NAN : r % 991 == 0 ? INFINITY : (float)(int32_t)(r >> 32) * 1e-9f;
        }
    }
    for (size_t i = 0; i < out.count; i++) {
        out.floats[i] = batch * image_floats(model, bnn_output_tensor(model, (uint32_t)i));
        out.data[i] = block(out.floats[i] * sizeof(float));
    }
    struct ports typed = typed_inputs(model, &in);
    bnn_status expected = bnn_whole_batch(model) && batch > images ? BNN_ERROR_BATCH : BNN_OK;
    CHECK(bnn_run(context, (const void *const *)typed.data, out.data, batch) == expected, "run");
    free_ports(&typed);
    for (uint32_t i = 0; i < bnn_op_count(model); i++) {
        bnn_op_info info;
        bnn_get_op(model, i, &info);
        float *values = block(images * image_floats(model, info.output) * sizeof(float));
        CHECK(bnn_step(context, i, images) == BNN_OK, "step");
        CHECK(bnn_peek(context, info.output, values, images) == BNN_OK, "peek");
        CHECK(bnn_poke(context, info.output, values, images) == BNN_OK, "poke");
        bnn_step_raw(context, i, values, images);
        free(values);
    }
    free_ports(&in);
    free_ports(&out);
    free(memory);
    tally[15] += sum == 1; /* never mind how often */
}

/* Families take turns. */
static const bnn_kernels *next_kernels(void)
{
    static size_t turn;
    for (;;) {
        const char *name = bnn_kernels_list(turn++);
        const bnn_kernels *kernels = name == NULL ? NULL : bnn_kernels_select(name);
        if (kernels != NULL)
            return kernels;
        turn = name == NULL ? 0 : turn;
    }
}

bnn_status try_model(const unsigned char *file, size_t size, int run, uint64_t *state)
{
    const bnn_kernels *kernels = next_kernels();
    bnn_problem problem;
    bnn_model *model;
    size_t bytes = 0;
    bnn_status status = bnn_model_size(file, size, kernels, &bytes, &problem);
    if (status == BNN_OK && bytes <= too_much) {
        void *memory = block(bytes);
        if (bytes > 0) {
            bnn_status less = bnn_model_open(file, size, kernels, memory, bytes - 1, &model, &problem);
            CHECK(less == BNN_ERROR_MEMORY || less == BNN_ERROR_CHECKSUM, "one byte less: %s", bnn_status_text(less));
        }
        status = bnn_model_open(file, size, kernels, memory, bytes, &model, &problem);
        if (status == BNN_OK && run)
            run_model(model, state);
        free(memory);
    } else if (status != BNN_OK) {
        char none[BNN_ALIGNMENT];
        bnn_status again = bnn_model_open(file, size, kernels, none, 0, &model, &problem);
        CHECK(again != BNN_OK && model == NULL, "bnn_model_open took what bnn_model_size did not");
    }
    CHECK(status == BNN_OK || memchr(problem.what, 0, sizeof problem.what) != NULL, "an unterminated text");
    CHECK(status == BNN_OK || problem.what[0] != 0, "%s without a text", bnn_status_text(status));
    tally[status]++;
    return status;
}

unsigned char *copy_of(const unsigned char *file, size_t size)
{
    unsigned char *copy = block(size);
    memcpy(copy, file, size);
    return copy;
}

static void fuzz_lengths(const unsigned char *file, size_t size, uint64_t *state)
{
    for (size_t length = 0; length < size; length++) {
        unsigned char *copy = copy_of(file, length);
        bnn_status status = try_model(copy, length, 1, state);
        CHECK(status == BNN_ERROR_TRUNCATED, "cut to %zu bytes: %s", length, bnn_status_text(status));
        if (length >= BNN_HEADER_BYTES) {
            uint64_t stated = length;
            memcpy(copy + 16, &stated, sizeof stated);
            fix_checksum(copy, length);
            status = try_model(copy, length, 1, state);
            CHECK(status != BNN_OK, "cut to %zu bytes and the header changed: ok", length);
        }
        free(copy);
    }
}

/* A fifth of the bits; other seeds have the others. */
static void fuzz_bits(const unsigned char *file, size_t size, uint64_t *state, uint64_t seed)
{
    uint64_t data = bnn_load64(file + 80); /* offset of the constants: of their bits, some are enough */
    unsigned char *copy = copy_of(file, size);
    for (size_t bit = seed % 5; bit < size * 8; bit += 5) {
        copy[bit / 8] = (unsigned char)(file[bit / 8] ^ 1u << bit % 8);
        bnn_status status = try_model(copy, size, 0, state);
        bnn_status expected = bit / 8 < 8    ? BNN_ERROR_MAGIC
                              : bit / 8 < 12 ? BNN_ERROR_VERSION
                              : bit / 8 < 16 ? BNN_ERROR_CHECKSUM
                              : bit / 8 < 24 ? BNN_ERROR_TRUNCATED
                                             : BNN_ERROR_CHECKSUM;
        CHECK(status == expected, "bit %zu: %s, expected %s", bit, bnn_status_text(status), bnn_status_text(expected));
        fix_checksum(copy, size);
        try_model(copy, size, bit / 8 < data || bit % 32 == 31, state);
        memcpy(copy + 12, file + 12, 4);
        copy[bit / 8] = file[bit / 8];
    }
    free(copy);
}

/* Where a number of the header, tables or ops stands, or, one time in four, of a coded constant's first bytes. */
static size_t some_field(const unsigned char *file, uint64_t *state)
{
    size_t end = (size_t)bnn_load64(file + 64); /* of the op section: what lies before it is tables */
    size_t tensors = bnn_load32(file + 24), first = random_next(state) % tensors;
    int coded = random_next(state) % 4 == 0;
    for (size_t i = 0; coded && i < tensors; i++) {
        const unsigned char *record = file + bnn_load64(file + 40) + (first + i) % tensors * BNN_TENSOR_BYTES;
        if (record[3] != BNN_PLAIN)
            return (size_t)(bnn_load64(file + 80) + bnn_load64(record + 32)) + random_next(state) % 8 * 4;
    }
    return 24 + random_next(state) % ((end - 24) / 4) * 4;
}

/* Numbers of the header, tables and ops replaced by those that overflow, contradict or nearly fit. */
static void fuzz_fields(const unsigned char *file, size_t size, uint64_t *state, size_t count)
{
    static const uint32_t odd[] = {
        0,          1,           2,           3,           4,          7,          31,         32,        33,
        63,         64,          65,          128,         255,        4096,       65535,      65536,     65537,
        0x7FFFFFFF, 0x80000000u, 0xFFFFFFFFu, 0xFFFFFFC0u, 0x00800000, 0x3F800000, 0x7FC00000, 0x7F800000};
    unsigned char *copy = copy_of(file, size);
    for (size_t i = 0; i < count; i++) {
        size_t changes = 1 + random_next(state) % 3;
        for (size_t k = 0; k < changes; k++) {
            size_t at = some_field(file, state), other = random_next(state) % (size / 4) * 4;
            uint32_t value;
            memcpy(&value, copy + at, sizeof value);
            switch (random_next(state) % 5) {
            case 0:
                value = odd[random_next(state) % (sizeof odd / sizeof *odd)];
                break;
            case 1:
                value += (uint32_t)(random_next(state) % 9) - 4;
                break;
            case 2:
                memcpy(&value, copy + other, sizeof value);
                break;
            case 3:
                value = random_next(state) % 2 == 0 ? value * 2 : value / 2;
                break;
            default:
                value = (uint32_t)random_next(state);
            }
            memcpy(copy + at, &value, sizeof value);
        }
        fix_checksum(copy, size);
        try_model(copy, size, 1, state);
        memcpy(copy, file, size);
    }
    free(copy);
}

static void fuzz_arguments(const unsigned char *file, size_t size, const bnn_kernels *kernels)
{
    struct opened o = open_model(file, size, kernels);
    bnn_model *model;
    bnn_context *context;
    size_t bytes;
    unsigned char *memory = block(o.bytes + 1), *shifted = block(size + 1);
    memcpy(shifted + 1, file, size);
    CHECK(bnn_model_open(file, size, kernels, memory, 0, &model, NULL) == BNN_ERROR_MEMORY, "no memory");
    CHECK(bnn_model_open(file, size, kernels, memory + 1, o.bytes, &model, NULL) == BNN_ERROR_MEMORY, "not aligned");
    CHECK(bnn_model_open(file, size, kernels, NULL, 0, &model, NULL) == BNN_ERROR_ARGUMENT, "null memory");
    CHECK(bnn_model_open(NULL, size, kernels, memory, o.bytes, &model, NULL) == BNN_ERROR_ARGUMENT, "null file");
    CHECK(bnn_model_open(file, size, NULL, memory, o.bytes, &model, NULL) == BNN_ERROR_KERNELS, "null kernels");
    CHECK(bnn_model_open(file, size, kernels, memory, o.bytes, NULL, NULL) == BNN_ERROR_ARGUMENT, "null model");
    CHECK(bnn_model_size(shifted + 1, size, kernels, &bytes, NULL) == BNN_ERROR_MEMORY, "file not aligned");
    CHECK(bnn_model_size(file, size, kernels, NULL, NULL) == BNN_ERROR_ARGUMENT, "null bytes");
    CHECK(bnn_context_size(o.model, 0, 1, &bytes) == BNN_ERROR_ARGUMENT, "no images");
    CHECK(bnn_context_size(o.model, 1, 0, &bytes) == BNN_ERROR_ARGUMENT, "no workers");
    CHECK(bnn_context_size(o.model, SIZE_MAX / 64, SIZE_MAX / 64, &bytes) == BNN_ERROR_LIMIT, "too many");
    CHECK(bnn_context_size(o.model, 1, 1, &bytes) == BNN_OK, "context size");
    void *room = block(bytes);
    CHECK(bnn_context_create(o.model, 1, 1, room, bytes, &context) == BNN_OK, "context");
    CHECK(bnn_run(context, NULL, NULL, 0) == BNN_OK, "batch of 0");
    CHECK(bnn_run(context, NULL, NULL, 1) == BNN_ERROR_ARGUMENT, "null arrays");
    CHECK(bnn_step(context, bnn_op_count(o.model), 1) == BNN_ERROR_ARGUMENT, "no such op");
    CHECK(bnn_step(context, 0, 2) == BNN_ERROR_ARGUMENT, "more images than the context has");
    CHECK(bnn_peek(context, bnn_tensor_count(o.model), room, 1) == BNN_ERROR_ARGUMENT, "no such tensor");
    free(room);
    free(memory);
    free(shifted);
    free(o.memory);
}

int fuzz(const char *path, uint64_t seed, size_t count)
{
    size_t size;
    unsigned char *file = read_file(path, &size);
    CHECK(file != NULL, "cannot read %s", path);
    uint64_t state = seed * 2 + 1;
    CHECK(try_model(file, size, 1, &state) == BNN_OK, "the model itself does not open");
    fuzz_arguments(file, size, bnn_kernels_select(NULL));
    fuzz_lengths(file, size, &state);
    fuzz_bits(file, size, &state, seed);
    fuzz_fields(file, size, &state, count);
    for (int i = 0; i < 13; i++)
        printf("%s: %zu\n", bnn_status_text((bnn_status)i), tally[i]);
    free(file);
    return 0;
}
