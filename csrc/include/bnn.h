/* SPDX-License-Identifier: Apache-2.0 */
/* bnn: run a compiled binarized neural network.  bnn_events.h, which includes this header, runs it event by event.
 *
 * Life of a model:
 *
 *     size_t bytes;
 *     bnn_problem problem;  // details of an error in the file; pass NULL if you do not need them
 *     const bnn_kernels *kernels = bnn_kernels_select(NULL);
 *     bnn_model_size(file, size, kernels, &bytes, &problem);  // how much memory the opened model needs
 *     bnn_model *model;                                       // opening validates every field and the checksum
 *     bnn_model_open(file, size, kernels, model_memory, bytes, &model, &problem);
 *     bnn_context_size(model, images, workers, &bytes);
 *     bnn_context *context;
 *     bnn_context_create(model, images, workers, context_memory, bytes, &context);
 *     bnn_run(context, inputs, outputs, batch);
 *
 * The core allocates nothing, does no I/O, and has no writable globals.  The caller provides all memory; it must be
 * aligned to BNN_ALIGNMENT and outlive the objects built in it.  The file is read in place: it must be aligned too, and
 * must not change.
 * Once bnn_model_open has returned BNN_OK, running cannot read or write out of bounds.  A model is read-only and may be
 * shared by threads; a context belongs to one thread at a time.
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
    X(BNN_ERROR_MAGIC, 2, "not the kind of file expected: .bnn, or .snn for spikes over time")                        \
    X(BNN_ERROR_VERSION, 3, "the file's format version is not one this runtime reads")                                \
    X(BNN_ERROR_TRUNCATED, 4, "the file's length is not the length its header states")                                \
    X(BNN_ERROR_CHECKSUM, 5, "the checksum does not match: the file is damaged")                                      \
    X(BNN_ERROR_FORMAT, 6, "a field of the file is out of range or contradicts another")                              \
    X(BNN_ERROR_OPCODE, 7, "the file uses an operation this runtime does not have")                                   \
    X(BNN_ERROR_LIMIT, 8, "a size overflows or exceeds a limit of this runtime")                                      \
    X(BNN_ERROR_MEMORY, 9, "the memory given is smaller than the size asked for, or not aligned")                     \
    X(BNN_ERROR_KERNELS, 10, "no such kernels, or this processor cannot run them")                                    \
    X(BNN_ERROR_IO, 11, "a file could not be opened or mapped")                                                       \
    X(BNN_ERROR_THREAD, 12, "a thread could not be started")                                                          \
    X(BNN_ERROR_BATCH, 13, "an image's result depends on the whole batch, which is larger than the context's images") \
    X(BNN_ERROR_STOPPED, 14, "the poll asked to stop")                                                                \
    X(BNN_ERROR_RANGE, 15, "a value is too large: it is not finite")

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
typedef struct bnn_op_row bnn_op_row;   /* what runs one operation */

/* The fastest kernels that this processor can run (name == NULL), or the family of that name: "scalar" and "flash", on
 * x86-64 also "sse2", "avx2", "avx512bw", "avx512vnni" and "avx512", on AArch64 also "neon", on WebAssembly compiled
 * with -msimd128 also "simd128".  NULL if there is no such family or the processor cannot run it.
 *
 * Bits, integers and sums of floats that are exact are the same with every family.  Other sums of floats are rounded
 * differently by "neon", "avx2" and those after it, which fuse multiplications with additions.  The family "portable"
 * runs everywhere: it is the fastest family with sums of floats that have the same bytes on every processor, and in the
 * C that `bnn emit c` writes. */
const bnn_kernels *bnn_kernels_select(const char *name);
const char *bnn_kernels_name(const bnn_kernels *kernels);
/* Names of all families compiled in, by index, the fastest first and "portable" last; NULL after it. */
const char *bnn_kernels_list(size_t index);

typedef enum bnn_dtype { BNN_F32 = 0, BNN_B1 = 1, BNN_I32 = 2, BNN_U8 = 3, BNN_I8 = 4, BNN_I16 = 5 } bnn_dtype;
/* How a constant is stored.  Tables have 2, 4, 16 or 256 values. */
typedef enum bnn_encoding {
    BNN_PLAIN = 0,
    BNN_ONE_ROW = 1,
    BNN_COMPACT = 2,
    BNN_TABLE_1 = 3,
    BNN_TABLE_2 = 4,
    BNN_TABLE_4 = 5,
    BNN_TABLE_8 = 6
} bnn_encoding;
/* BNN_PASSED: only the next op reads it, a few rows at a time as they are computed, so it has no place in the arena. */
typedef enum bnn_storage { BNN_INPUT = 0, BNN_OUTPUT = 1, BNN_ARENA = 2, BNN_CONSTANT = 3, BNN_PASSED = 4 } bnn_storage;

/* Details of an error in a file, in addition to the status; bnn_model_open and bnn_model_size fill it if it is not
 * NULL. what names the field ("op 3 (quant_conv2d_1): filter channels"); found and expected are numbers. */
typedef struct bnn_problem {
    char what[96];
    int64_t found, expected;
} bnn_problem;

/* Limits on the memory and work of a model.  Without them, a malicious file of a few kilobytes could request any amount
 * of memory and hours of work.  With BNN_ERROR_LIMIT, the problem names the op that exceeds a limit.
 *
 * max_bytes: for the opened model plus a context of one image and one worker.  0, the default: 64 MiB plus 64 times the
 *     file size for the opened model; 256 MiB plus 256 times the size of one image's inputs and outputs as floats for
 *     such a context.  Networks need far less; whoever creates a context decides on more images and workers.
 *     Opening also reads at most as many bytes of constants as the opened model may have (decoded, and counted once for
 *     every op that reads them), which bounds the time of opening.
 * max_work: for one image, see bnn_model_work.  0, the default: unlimited. */
typedef struct bnn_limits {
    uint64_t max_bytes, max_work;
} bnn_limits;

bnn_status bnn_model_size(const void *file, size_t size, const bnn_kernels *kernels, size_t *bytes,
                          bnn_problem *problem);
bnn_status bnn_model_open(const void *file, size_t size, const bnn_kernels *kernels, void *memory, size_t memory_size,
                          bnn_model **model, bnn_problem *problem);
/* The same with other limits; NULL: the defaults. */
bnn_status bnn_model_size_within(const void *file, size_t size, const bnn_kernels *kernels, const bnn_limits *limits,
                                 size_t *bytes, bnn_problem *problem);
bnn_status bnn_model_open_within(const void *file, size_t size, const bnn_kernels *kernels, const bnn_limits *limits,
                                 void *memory, size_t memory_size, bnn_model **model, bnn_problem *problem);

/* The same for programs that must be small: with these ops and kernels alone.
 *
 * bnn_model_open and bnn_model_size name every op and every family, so a program that calls them contains all of them.
 * A program that calls these functions instead contains what its selection names: compile with -ffunction-sections
 * -fdata-sections and link with --gc-sections, and the linker drops the rest.  bnn_ops.h declares the ops and the parts
 * of the portable family.  `bnn inspect` prints the ops of a file.
 *
 * ops: any order, each once.  A file that needs another one is refused: BNN_ERROR_OPCODE, and the problem names it
 *     ("op 9 (probabilities): table of ops without softmax"); found is 0, expected the op's number in the file format.
 * kernels: families, the best first.  What a family lacks comes from the next one that has it; families that this
 *     processor cannot run are passed over.  BNN_ERROR_KERNELS: an op needs kernels that no family has; the problem
 *     names the layer.
 * The lists are read only during the call; results are those of any other selection.  limits: NULL for the defaults.
 *
 * Two macros make the runtime itself smaller; define them when compiling all of it.  BNN_SMALL: checksums take 64 bytes
 * of tables instead of 8 KiB, and more time; where opening needs 3 KiB of stack for an op's tensors, it takes the
 * model's memory, if that is larger, whose contents are then lost even if the model is refused; and measuring a model
 * needs that much stack only for files that have an op with more than five inputs.  BNN_NO_MESSAGES: errors are their
 * status alone, and a bnn_problem is empty (what is "", the numbers are 0). */
typedef struct bnn_selection {
    const bnn_op_row *const *ops;
    size_t op_count;
    const bnn_kernels *const *kernels;
    size_t kernel_count;
} bnn_selection;

bnn_status bnn_model_size_selected(const void *file, size_t size, const bnn_selection *selection,
                                   const bnn_limits *limits, size_t *bytes, bnn_problem *problem);
bnn_status bnn_model_open_selected(const void *file, size_t size, const bnn_selection *selection,
                                   const bnn_limits *limits, void *memory, size_t memory_size, bnn_model **model,
                                   bnn_problem *problem);
/* All ops by index, in the order of their numbers in the file format; NULL after the last. */
const bnn_op_row *bnn_op_list(size_t index);
const char *bnn_op_name(const bnn_op_row *op);

/* Logical description of a tensor.  rank counts the dimensions without the batch; dims[0] to dims[rank - 1] are the
 * last rank of h, w, c (activations); constants have all four of o, h, w, c. */
typedef struct bnn_tensor_info {
    bnn_dtype dtype;
    bnn_storage storage;
    bnn_encoding encoding; /* constants: how they are stored; see docs/reference/model-format.md */
    uint32_t rank;
    uint32_t dims[4];
    uint32_t halo[4]; /* top, left, bottom, right */
    size_t offset;    /* in the arena of one image, or in the file, or the input's or output's index */
    size_t bytes;     /* of one image; for a constant, in the file */
    const char *name; /* the source layer (name_length bytes, not zero-terminated) */
    size_t name_length;
    const char *origin; /* the tensor of the source graph with this value; length 0: none */
    size_t origin_length;
} bnn_tensor_info;

typedef struct bnn_op_info {
    const char *op;    /* name of the operation, zero-terminated */
    const char *layer; /* source layer (layer_length bytes) */
    size_t layer_length;
    const char *note; /* why the layer is not binary, and then lines that begin with "warning: " (note_length bytes) */
    size_t note_length;
    uint32_t input_count;
    const uint32_t *inputs; /* tensor numbers */
    uint32_t output;        /* tensor number */
    uint32_t slots;         /* convolutions: all fused slots */
    uint32_t layer_slots;   /* those that belong to the layer itself */
    uint32_t planes; /* bits of the numbers that a binary convolution multiplies; the products of each bit count */
    uint64_t binary_macs, byte_macs, float_macs; /* for one image; byte: bytes by signs */
    uint64_t weight_bytes;                       /* of its constants, in the type of the computation */
    uint64_t work;                               /* for one image; see bnn_model_work */
} bnn_op_info;

uint32_t bnn_input_count(const bnn_model *model);
uint32_t bnn_output_count(const bnn_model *model);
uint32_t bnn_op_count(const bnn_model *model);
uint32_t bnn_tensor_count(const bnn_model *model);
uint32_t bnn_input_tensor(const bnn_model *model, uint32_t input);   /* tensor number */
uint32_t bnn_output_tensor(const bnn_model *model, uint32_t output); /* tensor number */
bnn_status bnn_get_tensor(const bnn_model *model, uint32_t tensor, bnn_tensor_info *info);
bnn_status bnn_get_op(const bnn_model *model, uint32_t op, bnn_op_info *info);
size_t bnn_arena_bytes(const bnn_model *model); /* for one image */
/* The cost of running one image through all ops.  A unit is about the cost of adding two floats, many at a
 * time: an element that an op writes, 8 products of floats, 16 of bytes by signs, 128 of bits; an exponential
 * is 32.  On a fast core a unit takes a quarter to half of a nanosecond; without vector instructions a unit of a
 * convolution takes 5 to 30 ns.  UINT64_MAX if it overflows. */
uint64_t bnn_model_work(const bnn_model *model);
/* 1: an image's result depends on the other images of its batch (a quantizer scales by a mean over the batch), and
 * bnn_run takes no more images at once than its context has.  0: it depends only on the image. */
int bnn_whole_batch(const bnn_model *model);
/* 1: in the source model, channels come first, (C, H, W); here they always come last, (H, W, C), so somebody who has
 * the source's images must move their channels.  0: they come last there, too. */
int bnn_channels_first(const bnn_model *model);
/* What the network is used for: names of its classes, how pixels become its inputs, and metadata; JSON, see
 * docs/reference/model-format.md.  In the file, *length bytes, at most 1 MiB, that nothing has checked and that are not
 * zero-terminated; 0: the file does not say. */
const char *bnn_model_use(const bnn_model *model, size_t *length);

/* Runs task(argument, index, worker) for every index below count, in any order, on at most the context's workers;
 * returns when all are done.  worker is below the context's number of workers; no two running tasks have the same. */
typedef void bnn_task(void *argument, size_t index, size_t worker);
typedef void bnn_parallel_for(void *pool, bnn_task *task, void *argument, size_t count);

/* images: the number that run together (a micro-batch: weights are read once for all of them); workers: threads. */
bnn_status bnn_context_size(const bnn_model *model, size_t images, size_t workers, size_t *bytes);
bnn_status bnn_context_create(const bnn_model *model, size_t images, size_t workers, void *memory, size_t memory_size,
                              bnn_context **context);
/* The bytes of a context that can run one op at a time, too (bnn_step below): for inputs, outputs and whole passed
 * tensors.  One that is created in less memory cannot. */
bnn_status bnn_stepping_size(const bnn_model *model, size_t images, size_t workers, size_t *bytes);
/* Without this call everything runs on the calling thread. */
void bnn_context_set_threads(bnn_context *context, bnn_parallel_for *parallel_for, void *pool);

/* profile is called after every op of every micro-batch with the ticks that the op took; NULL turns it off.  An op
 * whose output is passed runs together with the next op, and so does arithmetic whose result only the next arithmetic
 * reads: profile is called once, for the first of them, with the ticks of all.  While profile is set, micro-batches run
 * one after another, so only the thread that called bnn_run calls it. */
typedef uint64_t bnn_clock(void);
typedef void bnn_profile(void *argument, uint32_t op, uint64_t ticks);
void bnn_context_set_profile(bnn_context *context, bnn_clock *clock, bnn_profile *profile, void *argument);

/* The thread that called bnn_run, bnn_step or bnn_step_raw calls poll(argument) now and then.  Nonzero stops the run,
 * which returns BNN_ERROR_STOPPED; the outputs are then undefined, and the context can be used again.  A poll can check
 * for Ctrl-C, feed a watchdog, or read a clock.  It must not use the context.
 *
 * Between two polls no worker does more work than about twice BNN_POLL_WORK, unless a row of one image is more than
 * that: rows of convolutions are cut, others are not, nor are those that are passed on.  Opening refuses files
 * with a row of more than BNN_MAX_PIECE; networks stay far below.  BNN_POLL_WORK takes 20 to 130 ms on a core without
 * vector instructions and one or two on a fast one; BNN_MAX_PIECE less than a second on either.  NULL, as in a new
 * context, turns polls off: nothing is cut. */
typedef int bnn_poll(void *argument);
#define BNN_POLL_WORK 4194304
#define BNN_MAX_PIECE 1073741824
void bnn_context_set_poll(bnn_context *context, bnn_poll *poll, void *argument);

/* Runs batch images; batch 0 is allowed and does nothing.  inputs[i] and outputs[i] are dense arrays of
 * (batch, h, w, c) that do not overlap; outputs are float32, inputs have their tensor's type, float32, uint8_t or
 * int8_t.  An image in which NaN reaches a quantizer has NaN in every element of its outputs.
 * BNN_ERROR_BATCH: see bnn_whole_batch.  BNN_ERROR_STOPPED: see bnn_context_set_poll. */
bnn_status bnn_run(bnn_context *context, const void *const *inputs, float *const *outputs, size_t batch);

/* One layer at a time, for verification.  Arrays are dense float32, for at most the context's number of images; bits
 * are +1 and -1, bytes are whole numbers of their type (bnn_poke refuses others).  bnn_step runs one op on its current
 * inputs; bnn_step_raw runs a convolution with only its own layer's slots and returns its accumulators (images, h, w,
 * c).  The arena's other values may be overwritten, and so may a convolution's residual, by its output.
 * BNN_ERROR_MEMORY: the context's memory is smaller than bnn_stepping_size says. */
bnn_status bnn_poke(bnn_context *context, uint32_t tensor, const float *values, size_t images);
bnn_status bnn_peek(bnn_context *context, uint32_t tensor, float *values, size_t images);
bnn_status bnn_step(bnn_context *context, uint32_t op, size_t images);
bnn_status bnn_step_raw(bnn_context *context, uint32_t op, float *values, size_t images);

#ifdef __cplusplus
}
#endif
#endif
