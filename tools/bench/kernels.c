/* SPDX-License-Identifier: Apache-2.0 */
/* Times convolutions by the runtime's own driver with every kernel family, and the machine's register-loop rates, in one process.
 *
 * usage: bench_kernels ROUNDS [FAMILY...]
 * One line a measurement, tab-separated: kind, family, shape, output, products (MACs) of one image, bytes it must read and
 * write, nanoseconds of one image: the median, and half the distance of the quartiles.  The measurements take turns, ROUNDS times, so that a machine that slows down slows all of them. */
#define _DEFAULT_SOURCE
#include "ops/conv/conv.h"
#include "peak.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_ROUNDS = 1000, MAX_CASES = 300 };

static const double SLICE_NS = 2e6; /* of one measurement in one round */

enum data { FLOATS, BITS, BYTES };

struct shape {
    const char *name;
    enum data data;
    uint32_t h, w, c, o, kernel, stride, dilation, groups;
    int bits, floats; /* what to measure as output */
};

/* ResNet's layers; then what else a convolution can be, around one of them; then floats; then first layers of
 * images, of floats and of bytes by binary weights. */
static const struct shape shapes[] = {
    {"56x56x64 3x3", 1, 56, 56, 64, 64, 3, 1, 1, 1, 1, 1},
    {"28x28x128 3x3", 1, 28, 28, 128, 128, 3, 1, 1, 1, 1, 1},
    {"14x14x256 3x3", 1, 14, 14, 256, 256, 3, 1, 1, 1, 1, 1},
    {"7x7x512 3x3", 1, 7, 7, 512, 512, 3, 1, 1, 1, 1, 1},
    {"28x28x128 3x3/2", 1, 28, 28, 128, 128, 3, 2, 1, 1, 1, 0},
    {"28x28x128 3x3 dilated", 1, 28, 28, 128, 128, 3, 1, 2, 1, 1, 0},
    {"28x28x128 3x3 2 groups", 1, 28, 28, 128, 128, 3, 1, 1, 2, 1, 0},
    {"28x28x128 3x3 4 groups", 1, 28, 28, 128, 128, 3, 1, 1, 4, 1, 0},
    {"28x28x100 3x3", 1, 28, 28, 100, 100, 3, 1, 1, 1, 1, 1},
    {"29x29x128 3x3", 1, 29, 29, 128, 128, 3, 1, 1, 1, 1, 0},
    {"28x28x128 1x1", 1, 28, 28, 128, 128, 1, 1, 1, 1, 1, 0},
    {"28x28x128 5x5", 1, 28, 28, 128, 128, 5, 1, 1, 1, 1, 0},
    {"28x28x128 7x7", 1, 28, 28, 128, 128, 7, 1, 1, 1, 1, 0},
    {"1x1x4096 dense", 1, 1, 1, 4096, 1024, 1, 1, 1, 1, 1, 0},
    {"224x224x3 3x3/2 f32", 0, 224, 224, 3, 32, 3, 2, 1, 1, 0, 1},
    {"56x56x64 3x3/2 f32", 0, 56, 56, 64, 128, 3, 2, 1, 1, 0, 1},
    {"28x28x128 1x1 f32", 0, 28, 28, 128, 256, 1, 1, 1, 1, 0, 1},
    {"14x14x256 1x1 f32", 0, 14, 14, 256, 512, 1, 1, 1, 1, 0, 1},
    {"28x28x128 3x3 dw f32", 0, 28, 28, 128, 128, 3, 1, 1, 128, 0, 1},
    {"28x28x1 3x3 f32", 0, 28, 28, 1, 32, 3, 1, 1, 1, 1, 1},
    {"28x28x1 3x3 u8", BYTES, 28, 28, 1, 32, 3, 1, 1, 1, 1, 1},
    {"32x32x3 3x3 f32", 0, 32, 32, 3, 64, 3, 1, 1, 1, 1, 1},
    {"32x32x3 3x3 u8", BYTES, 32, 32, 3, 64, 3, 1, 1, 1, 1, 1},
    {"224x224x3 7x7/2 f32", 0, 224, 224, 3, 64, 7, 2, 1, 1, 1, 1},
    {"224x224x3 7x7/2 u8", BYTES, 224, 224, 3, 64, 7, 2, 1, 1, 1, 1},
};

enum { RESNET_SHAPES = 4, ALL_SHAPES = sizeof shapes / sizeof shapes[0] };

/* A convolution that is ready to run, or (rate set) the loop of a rate. */
struct subject {
    const struct bench_rate *rate;
    const struct shape *shape;
    const char *output;
    struct bnn_model model;
    struct bnn_tensor tensors[6];
    struct bnn_op op;
    struct bnn_conv_attrs attrs;
    uint32_t numbers[5];
    struct bnn_view views[5];
    struct bnn_run run;
    double products;
    size_t repeats;
    double ns[MAX_ROUNDS];
};

static void *allocate(size_t bytes)
{
    void *p = aligned_alloc(BNN_ALIGNMENT, (bytes + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT);
    if (p == NULL) {
        fprintf(stderr, "out of memory\n");
        exit(2);
    }
    memset(p, 0, bytes);
    return p;
}

/* What a layer reads and writes at least, in bytes. */
static double traffic(const struct bnn_tensor *tensors)
{
    return (double)(tensors[0].bytes + tensors[1].bytes + tensors[4].bytes);
}

/* Reads `rounds` times from memory, at this many bytes a time: far more than caches hold. */
static double read_memory(size_t rounds)
{
    enum { BYTES = 1 << 27, LINE = 64, CHAINS = 8 };
    static unsigned char *memory;
    uint64_t sum = 0;
    uint64_t sums[CHAINS] = {0};
    if (memory == NULL) {
        memory = allocate(BYTES);
        memset(memory, 1, BYTES);
    }
    for (size_t r = 0; r < rounds; r++)
        for (size_t at = 0; at < BYTES; at += LINE * CHAINS)
            for (size_t i = 0; i < CHAINS; i++) {
                uint64_t word;
                memcpy(&word, memory + at + i * LINE, sizeof word);
                sums[i] += word;
            }
    for (size_t i = 0; i < CHAINS; i++)
        sum += sums[i];
    memory[0] = (unsigned char)sum; /* so that it is not for nothing */
    return (double)BYTES * (double)rounds;
}

static const struct bench_rate memory_rate = {"memory, read", 0, read_memory};

/* Processor time, so that other programs on a busy machine count less. */
static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint32_t random_word(void)
{
    static uint32_t state = 1;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

/* Random contents inside the halo; floats between -1 and 1. */
static void fill(struct bnn_tensor *t)
{
    uint32_t *data = allocate(t->bytes);
    t->data = data;
    t->stored = t->data;
    for (size_t i = 0; t->dtype == BNN_U8 && i < t->bytes; i++)
        ((unsigned char *)data)[i] = (unsigned char)random_word();
    if (t->dtype == BNN_U8)
        return;
    for (size_t o = 0; o < t->o; o++)
        for (size_t y = 0; y < t->h; y++)
            for (size_t k = 0; k < (size_t)t->w * t->words; k++) {
                float value = (float)(random_word() % 2001) / 1000.0f - 1.0f;
                uint32_t word = random_word();
                if (t->dtype == BNN_I32)
                    word = random_word() % 101 - 50;
                else if (t->dtype == BNN_F32)
                    memcpy(&word, &value, sizeof word);
                data[t->interior + o * t->image + y * t->row + k] = word;
            }
}

static struct bnn_tensor tensor(bnn_dtype dtype, bnn_storage storage, uint32_t rank, const uint32_t dims[4],
                                uint32_t halo)
{
    struct bnn_tensor t = {.dtype = dtype,
                           .storage = storage,
                           .rank = rank,
                           .o = dims[0],
                           .h = dims[1],
                           .w = dims[2],
                           .c = dims[3],
                           .top = halo,
                           .left = halo,
                           .bottom = halo,
                           .right = halo};
    t.words = dtype == BNN_B1 ? (t.c + 31) / 32 : t.c;
    t.row = (size_t)(t.w + 2 * halo) * t.words;
    t.image = (size_t)(t.h + 2 * halo) * t.row;
    t.interior = halo * (t.row + t.words);
    t.element = dtype == BNN_U8 ? 1 : 4;
    t.bytes = (t.o * t.image * t.element + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT;
    return t;
}

static uint32_t output_size(uint32_t size, const struct shape *s)
{
    uint32_t half = s->kernel / 2 * s->dilation;
    return (size + 2 * half - (s->kernel - 1) * s->dilation - 1) / s->stride + 1;
}

static const struct bnn_op_row *const rows[] = {&bnn_op_row_conv2d, &bnn_op_row_bconv2d, &bnn_op_row_iconv2d};

/* SAME padding.  bits: with thresholds; floats: with batch norm (mul, add). */
static void prepare(struct subject *s, const struct bnn_kernels *kernels, const struct shape *shape, int bits)
{
    uint32_t half = shape->kernel / 2 * shape->dilation, inside = shape->c / shape->groups,
             oh = output_size(shape->h, shape), ow = output_size(shape->w, shape);
    bnn_dtype dtype = shape->data == BITS ? BNN_B1 : shape->data == BYTES ? BNN_U8 : BNN_F32;
    uint32_t x[4] = {1, shape->h, shape->w, shape->c}, w[4] = {shape->o, shape->kernel, shape->kernel, inside};
    uint32_t operand[4] = {1, 1, 1, shape->o}, y[4] = {1, oh, ow, shape->o};
    int threshold = bits && shape->data != FLOATS;
    s->tensors[0] = tensor(dtype, BNN_ARENA, 3, x, half);
    s->tensors[1] = tensor(shape->data == FLOATS ? BNN_F32 : BNN_B1, BNN_CONSTANT, 4, w, 0);
    s->tensors[2] = tensor(threshold ? BNN_I32 : BNN_F32, BNN_CONSTANT, 1, operand, 0);
    s->tensors[3] = tensor(BNN_F32, BNN_CONSTANT, 1, operand, 0);
    s->tensors[4] = tensor(bits ? BNN_B1 : BNN_F32, BNN_ARENA, 3, y, bits ? half : 0);
    uint32_t channels[4] = {1, 1, 1, shape->c};
    s->tensors[5] = tensor(BNN_F32, BNN_CONSTANT, 1, channels, 0); /* zeros of bytes */
    for (size_t i = 0; i < 6; i++)
        fill(&s->tensors[i]);
    for (size_t i = 0; i < shape->c; i++)
        ((float *)(uintptr_t)s->tensors[5].data)[i] = 128.0f;

    int32_t pad = (int32_t)half, stride = (int32_t)shape->stride;
    s->attrs = (struct bnn_conv_attrs){
        .stride_h = stride,
        .stride_w = stride,
        .dilation_h = (int32_t)shape->dilation,
        .dilation_w = (int32_t)shape->dilation,
        .pad_top = pad,
        .pad_left = pad,
        .pad_bottom = pad,
        .pad_right = pad,
        .groups = (int32_t)shape->groups,
        .planes = 1,
        .slots = (threshold ? (int32_t)BNN_SLOT_THRESHOLD : (int32_t)(BNN_SLOT_MUL | BNN_SLOT_ADD)) |
                 (shape->data == BYTES ? (int32_t)BNN_SLOT_ZEROS : 0)};
    s->model = (struct bnn_model){.tensor_count = 6, .op_count = 1, .tensors = s->tensors, .ops = &s->op};
    bnn_kernels_complete(kernels, &s->model.kernels);
    static const uint32_t inputs[2][5] = {{0, 1, 2, 3, 5}, {0, 1, 5, 2, 3}};
    uint32_t count = (threshold ? 3 : 4) + (shape->data == BYTES);
    for (uint32_t i = 0; i < count; i++) {
        s->numbers[i] = inputs[shape->data == BYTES][i];
        const struct bnn_tensor *t = &s->tensors[s->numbers[i]];
        s->views[i] = (struct bnn_view){t, (unsigned char *)t->data + t->interior * t->element, t->image};
    }
    s->op = (struct bnn_op){.row = rows[shape->data],
                            .input_count = count,
                            .output = 4,
                            .inputs = s->numbers,
                            .attrs = &s->attrs,
                            .layer = ""};
    bnn_problem problem = {.what = ""};
    struct bnn_prepare p = {.model = &s->model, .problem = &problem};
    bnn_status status = s->op.row->prepare(&p, &s->op);
    p.memory = allocate(p.used);
    p.used = 0;
    if (status != BNN_OK || s->op.row->prepare(&p, &s->op) != BNN_OK) {
        fprintf(stderr, "%s: %s\n", shape->name, problem.what);
        exit(2);
    }
    const struct bnn_tensor *out = &s->tensors[4];
    s->shape = shape;
    s->output = bits ? "bits" : "f32";
    s->products = (double)oh * ow * shape->o * shape->kernel * shape->kernel * inside;
    s->run = (struct bnn_run){.model = &s->model,
                              .op = &s->op,
                              .inputs = s->views,
                              .output = {out, (uint32_t *)out->data + out->interior, out->image},
                              .images = 1,
                              .row_end = oh,
                              .column_end = ow,
                              .block_end = s->op.blocks,
                              .nan = allocate(1),
                              .scratch = allocate(s->op.scratch)};
}

static double time_once(struct subject *s, size_t repeats)
{
    double start = now_ns();
    if (s->rate != NULL)
        s->rate->run(repeats);
    else
        for (size_t i = 0; i < repeats; i++)
            s->op.row->run(&s->run);
    return (now_ns() - start) / (double)repeats;
}

/* Enough repeats for a slice of time; runs once before it looks at the clock. */
static void calibrate(struct subject *s)
{
    s->repeats = 1;
    time_once(s, 1);
    while (time_once(s, s->repeats) * (double)s->repeats < SLICE_NS)
        s->repeats *= 2;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct subject *new_subject(struct subject **subjects, size_t *count)
{
    if (*count == MAX_CASES) {
        fprintf(stderr, "more than %d measurements\n", MAX_CASES);
        exit(2);
    }
    return subjects[(*count)++] = allocate(sizeof(struct subject));
}

/* The shapes [0, end) with each output that they are measured with; kernels NULL: none. */
static size_t prepare_family(struct subject **subjects, size_t count, const struct bnn_kernels *kernels, size_t end)
{
    for (size_t k = 0; kernels != NULL && k < end; k++)
        for (int bits = 1; bits >= 0; bits--)
            if (bits ? shapes[k].bits : shapes[k].floats)
                prepare(new_subject(subjects, &count), kernels, &shapes[k], bits);
    return count;
}

/* Whether a family was named, or none was. */
static int wanted(int argc, char **argv, const char *name)
{
    int found = argc == 2;
    for (int k = 2; k < argc; k++)
        found |= strcmp(argv[k], name) == 0;
    return found;
}

int main(int argc, char **argv)
{
    static struct subject *subjects[MAX_CASES];
    size_t count = 0, rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    if (rounds < 1 || rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_kernels ROUNDS [FAMILY...], 1 to %d rounds\n", MAX_ROUNDS);
        return 2;
    }
    for (size_t i = 0; i < bench_rate_count; i++)
        if (bench_rates[i].run(1) > 0) {
            struct subject *s = new_subject(subjects, &count);
            s->rate = &bench_rates[i];
            s->products = bench_rates[i].run(1);
        }
    struct subject *memory = new_subject(subjects, &count);
    memory->rate = &memory_rate;
    memory->products = memory_rate.run(1);
    for (size_t i = 0; bnn_kernels_list(i) != NULL; i++)
        if (wanted(argc, argv, bnn_kernels_list(i)))
            count = prepare_family(subjects, count, bnn_kernels_select(bnn_kernels_list(i)), ALL_SHAPES);
    if (wanted(argc, argv, "classic"))
        count = prepare_family(subjects, count, bench_classic(), RESNET_SHAPES);
    for (size_t i = 0; i < count; i++)
        calibrate(subjects[i]);
    for (size_t r = 0; r < rounds; r++)
        for (size_t i = 0; i < count; i++)
            subjects[i]->ns[r] = time_once(subjects[i], subjects[i]->repeats);
    for (size_t i = 0; i < count; i++) {
        struct subject *s = subjects[i];
        qsort(s->ns, rounds, sizeof s->ns[0], compare);
        if (s->rate != NULL)
            printf("rate\t%s\t\t%s", s->rate->name,
                   s->rate == &memory_rate ? "bytes"
                   : s->rate->binary       ? "bits"
                                           : "f32");
        else
            printf("%s\t%s\t%s\t%s", s->op.row->name, s->model.kernels.name, s->shape->name, s->output);
        printf("\t%.0f\t%.0f\t%.3f\t%.3f\n", s->products, s->rate ? 0.0 : traffic(s->tensors), s->ns[rounds / 2],
               (s->ns[rounds * 3 / 4] - s->ns[rounds / 4]) / 2);
    }
    return 0;
}
