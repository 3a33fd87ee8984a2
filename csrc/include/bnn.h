/* SPDX-License-Identifier: Apache-2.0 */
/* bnn: run a compiled binarized neural network.  The only public header of the C runtime.
 *
 * Life of a model:
 *
 *     size_t bytes;
 *     bnn_problem problem;  // what is wrong with the file, where a status is not BNN_OK; NULL where that is not wanted
 *     const bnn_kernels *kernels = bnn_kernels_select(NULL);
 *     bnn_model_size(file, size, kernels, &bytes, &problem);  // how much memory the opened model needs
 *     bnn_model *model;                                       // opening validates every field and the checksum
 *     bnn_model_open(file, size, kernels, model_memory, bytes, &model, &problem);
 *     bnn_context_size(model, images, workers, &bytes);
 *     bnn_context *context;
 *     bnn_context_create(model, images, workers, context_memory, bytes, &context);
 *     bnn_run(context, inputs, outputs, batch);
 *
 * The core allocates nothing, does no input or output, and has no writable globals.  All memory is the caller's, must
 * be aligned to BNN_ALIGNMENT and outlive what is built in it.  The file is read in place: it must be aligned too, and
 * must stay as it was.
 * After bnn_model_open says BNN_OK, running cannot read or write out of bounds.  A model is read-only and may be shared
 * by threads; a context belongs to one thread at a time.
 */
#ifndef BNN_H
#define BNN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BNN_ALIGNMENT 64

/* Every status and its text, once.  X(name, value, text) */
#define BNN_STATUS_LIST(X)                                                                                            \
    X(BNN_OK, 0, "ok")                                                                                                \
    X(BNN_ERROR_ARGUMENT, 1, "an argument is null, zero or contradicts another")                                      \
    X(BNN_ERROR_MAGIC, 2, "not a .bnn file: the first eight bytes are not its signature")                             \
    X(BNN_ERROR_VERSION, 3, "the file's format version is not one this runtime reads")                                \
    X(BNN_ERROR_TRUNCATED, 4, "the file's length is not the length its header states")                                \
    X(BNN_ERROR_CHECKSUM, 5, "the checksum does not match: the file is damaged")                                      \
    X(BNN_ERROR_FORMAT, 6, "a field of the file is out of range or contradicts another")                              \
    X(BNN_ERROR_OPCODE, 7, "the file uses an operation this runtime does not have")                                   \
    X(BNN_ERROR_LIMIT, 8, "a size overflows or passes a limit of this runtime")                                       \
    X(BNN_ERROR_MEMORY, 9, "the memory given is smaller than the size asked for, or not aligned")                     \
    X(BNN_ERROR_KERNELS, 10, "no such kernels, or this processor cannot run them")                                    \
    X(BNN_ERROR_IO, 11, "a file could not be opened or mapped")                                                       \
    X(BNN_ERROR_THREAD, 12, "a thread could not be started")                                                          \
    X(BNN_ERROR_BATCH, 13, "an image's result depends on the whole batch, which is larger than the context's images") \
    X(BNN_ERROR_STOPPED, 14, "the poll asked to stop")

typedef enum bnn_status {
#define BNN_STATUS_ENUM(name, value, text) name = value,
    BNN_STATUS_LIST(BNN_STATUS_ENUM)
#undef BNN_STATUS_ENUM
} bnn_status;

/* The text of a status; never NULL. */
const char *bnn_status_text(bnn_status status);

typedef struct bnn_model bnn_model;
typedef struct bnn_context bnn_context;
typedef struct bnn_kernels bnn_kernels; /* a family of kernels for one instruction set */

/* The fastest kernels this processor can run (name == NULL), or those of that name: "scalar", and on x86-64 "sse2",
 * "avx2" and "avx512", on AArch64 "neon".  NULL where there are none of that name or the processor lacks what they
 * need. */
const bnn_kernels *bnn_kernels_select(const char *name);
const char *bnn_kernels_name(const bnn_kernels *kernels);
/* Names of all families compiled in, by index; NULL past the last. */
const char *bnn_kernels_list(size_t index);

typedef enum bnn_dtype { BNN_F32 = 0, BNN_B1 = 1, BNN_I32 = 2, BNN_U8 = 3, BNN_I8 = 4 } bnn_dtype;
/* Of a constant.  Tables: of 2, 4, 16 or 256 values. */
typedef enum bnn_encoding {
    BNN_PLAIN = 0,
    BNN_ONE_ROW = 1,
    BNN_COMPACT = 2,
    BNN_TABLE_1 = 3,
    BNN_TABLE_2 = 4,
    BNN_TABLE_4 = 5,
    BNN_TABLE_8 = 6
} bnn_encoding;
typedef enum bnn_storage { BNN_INPUT = 0, BNN_OUTPUT = 1, BNN_ARENA = 2, BNN_CONSTANT = 3 } bnn_storage;

/* What is wrong with a file, beside the status: filled by bnn_model_open and bnn_model_size when not NULL.
 * what names the field ("op 3 (quant_conv2d_1): filter channels"); found and expected are numbers. */
typedef struct bnn_problem {
    char what[96];
    int64_t found, expected;
} bnn_problem;

/* What a file may ask for.  A file is small beside what it describes: without limits a few kilobytes, made for that,
 * ask for any memory and for hours of work.  BNN_ERROR_LIMIT names the op at which a limit was passed.
 *
 * max_bytes: of the opened model and of a context of one image and one worker, together.  0, the default: of the
 *     opened model 64 MiB and 64 times the file; of such a context 256 MiB and 256 times what one image's inputs and
 *     outputs take as floats.  Networks need far less; more images and workers are for who creates a context to decide.
 *     Opening reads, too, no more bytes of constants than the opened model may have: decoded, and counted once for
 *     every op that reads them.  So the time of opening is bounded as its memory is.
 * max_work: of one image, see bnn_model_work.  0, the default: any. */
typedef struct bnn_limits {
    uint64_t max_bytes, max_work;
} bnn_limits;

bnn_status bnn_model_size(const void *file, size_t size, const bnn_kernels *kernels, size_t *bytes,
                          bnn_problem *problem);
bnn_status bnn_model_open(const void *file, size_t size, const bnn_kernels *kernels, void *memory, size_t memory_size,
                          bnn_model **model, bnn_problem *problem);
/* The same with limits other than the defaults; NULL: the defaults. */
bnn_status bnn_model_size_within(const void *file, size_t size, const bnn_kernels *kernels, const bnn_limits *limits,
                                 size_t *bytes, bnn_problem *problem);
bnn_status bnn_model_open_within(const void *file, size_t size, const bnn_kernels *kernels, const bnn_limits *limits,
                                 void *memory, size_t memory_size, bnn_model **model, bnn_problem *problem);

/* Logical description of a tensor.  rank counts the dimensions without the batch; dims, from dims[0] on, are the last
 * rank of h, w, c (activations), or all four of o, h, w, c (constants). */
typedef struct bnn_tensor_info {
    bnn_dtype dtype;
    bnn_storage storage;
    bnn_encoding encoding; /* constants: what stands at the offset; docs/model-format.md */
    uint32_t rank;
    uint32_t dims[4];
    uint32_t halo[4]; /* top, left, bottom, right */
    size_t offset;    /* in the arena of one image, or in the file, or the input's or output's index */
    size_t bytes;     /* of one image; of a constant in the file */
    const char *name; /* the source layer (not terminated by zero: name_length) */
    size_t name_length;
    const char *origin; /* the tensor of the source graph that has this value; length 0: none */
    size_t origin_length;
} bnn_tensor_info;

typedef struct bnn_op_info {
    const char *op;    /* name of the operation, terminated by zero */
    const char *layer; /* source layer (layer_length bytes) */
    size_t layer_length;
    const char *note; /* why it is not binary (note_length bytes) */
    size_t note_length;
    uint32_t input_count;
    const uint32_t *inputs; /* tensor numbers */
    uint32_t output;        /* tensor number */
    uint32_t slots;         /* convolutions: fused slots, and those of the layer itself */
    uint32_t layer_slots;
    uint32_t planes; /* bits of the numbers that a binary convolution multiplies; their products count each */
    uint64_t binary_macs, byte_macs, float_macs; /* of one image; byte: bytes by signs */
    uint64_t weight_bytes;                       /* its constants, each element as it is computed with */
    uint64_t work;                               /* of one image; see bnn_model_work */
} bnn_op_info;

uint32_t bnn_input_count(const bnn_model *model);
uint32_t bnn_output_count(const bnn_model *model);
uint32_t bnn_op_count(const bnn_model *model);
uint32_t bnn_tensor_count(const bnn_model *model);
uint32_t bnn_input_tensor(const bnn_model *model, uint32_t input);   /* tensor number */
uint32_t bnn_output_tensor(const bnn_model *model, uint32_t output); /* tensor number */
bnn_status bnn_get_tensor(const bnn_model *model, uint32_t tensor, bnn_tensor_info *info);
bnn_status bnn_get_op(const bnn_model *model, uint32_t op, bnn_op_info *info);
size_t bnn_arena_bytes(const bnn_model *model); /* of one image */
/* What running one image costs, all ops together.  A unit is about what an addition of two floats costs, many at a
 * time: an element that an op writes, 8 products of floats, 16 of bytes by signs, 128 of bits; a call of the C library
 * is 32.  On a fast core a unit takes a quarter to half of a nanosecond; without vector instructions one of a
 * convolution takes 5 to 30.  UINT64_MAX where it overflows. */
uint64_t bnn_model_work(const bnn_model *model);
/* 1: an image's result depends on the others of its batch (a quantizer that scales by a mean over it): bnn_run takes no
 * more images at once than its context has.  0: it depends on nothing but the image. */
int bnn_whole_batch(const bnn_model *model);

/* Runs task(argument, index, worker) for every index below count, in any order, on at most the context's workers;
 * returns when all are done.  worker is below the context's workers and no two running tasks share one. */
typedef void bnn_task(void *argument, size_t index, size_t worker);
typedef void bnn_parallel_for(void *pool, bnn_task *task, void *argument, size_t count);

/* images: how many are run together (a micro-batch: weights are read once for all of them); workers: threads. */
bnn_status bnn_context_size(const bnn_model *model, size_t images, size_t workers, size_t *bytes);
bnn_status bnn_context_create(const bnn_model *model, size_t images, size_t workers, void *memory, size_t memory_size,
                              bnn_context **context);
/* Without this call everything runs on the calling thread. */
void bnn_context_set_threads(bnn_context *context, bnn_parallel_for *parallel_for, void *pool);

/* Called after every op of every micro-batch with the ticks it took; NULL stops it.  While it is set, micro-batches run
 * one after another, so it is called by the thread that called bnn_run only. */
typedef uint64_t bnn_clock(void);
typedef void bnn_profile(void *argument, uint32_t op, uint64_t ticks);
void bnn_context_set_profile(bnn_context *context, bnn_clock *clock, bnn_profile *profile, void *argument);

/* Called now and then by the thread that called bnn_run, bnn_step or bnn_step_raw, with the argument: nonzero stops the
 * run.  It then returns BNN_ERROR_STOPPED; what the outputs hold is undefined, and the context can be used again.  What
 * to do in it: look for Ctrl-C, feed a watchdog, look at a clock.  It must not use the context.
 *
 * Between two calls no worker does more than about twice BNN_POLL_WORK, unless a row of one image is more than that:
 * rows of convolutions are cut, others are not.  Opening refuses files with one of more than BNN_MAX_PIECE, which
 * networks stay far below.  The first takes 20 to 130 ms of a core without vector instructions, and one or two of a
 * fast one; the second less than a second of either.  NULL, as in a new context: nobody is asked, nothing is cut,
 * and nothing is slower. */
typedef int bnn_poll(void *argument);
#define BNN_POLL_WORK 4194304
#define BNN_MAX_PIECE 1073741824
void bnn_context_set_poll(bnn_context *context, bnn_poll *poll, void *argument);

/* Runs batch images; batch 0 is allowed and does nothing.  inputs[i] and outputs[i] are dense arrays of
 * (batch, h, w, c), not overlapping; outputs are float32, inputs of their tensor's type, float32, uint8_t or int8_t.
 * An image in which a float that is binarized is not a number has NaN in every element of its outputs, as the source
 * framework propagates it.  BNN_ERROR_BATCH: see bnn_whole_batch.  BNN_ERROR_STOPPED: see bnn_context_set_poll. */
bnn_status bnn_run(bnn_context *context, const void *const *inputs, float *const *outputs, size_t batch);

/* One layer at a time, for verification: images (at most the context's) dense float32 arrays in and out; bits are
 * +1 and -1, bytes whole numbers of their type (bnn_poke refuses others).  bnn_step runs one op on what its inputs
 * hold; bnn_step_raw runs a convolution without the slots that are not its layer's own and gives its accumulators
 * (images, h, w, c).  The arena's other values may be overwritten. */
bnn_status bnn_poke(bnn_context *context, uint32_t tensor, const float *values, size_t images);
bnn_status bnn_peek(bnn_context *context, uint32_t tensor, float *values, size_t images);
bnn_status bnn_step(bnn_context *context, uint32_t op, size_t images);
bnn_status bnn_step_raw(bnn_context *context, uint32_t op, float *values, size_t images);

#ifdef __cplusplus
}
#endif
#endif
