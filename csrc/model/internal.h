/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the runtime's files: decoded tensors and ops, and the row that every op fills. */
#ifndef BNN_INTERNAL_H
#define BNN_INTERNAL_H

#include "bnn.h"
#include "bnn_ops.h"
#include "model/ops.gen.h"
#include "kernels.h"

/* A decoded tensor.  Elements are four bytes wide (f32, i32, or a word of 32 bits), two (i16) or one (u8, i8); strides
 * count them. */
struct bnn_tensor {
    bnn_dtype dtype;
    bnn_storage storage;
    bnn_encoding encoding; /* constants; others are plain */
    uint8_t rank;
    uint8_t element;                   /* bytes of one */
    uint16_t top, left, bottom, right; /* the halo */
    uint32_t o, h, w, c;               /* o is 1 for activations */
    uint32_t words;                    /* elements of a pixel: c, or ceil(c / 32) for bits */
    size_t row, image;                 /* strides */
    size_t offset;                     /* as in the file */
    size_t bytes;                      /* of one image, as in the file */
    const unsigned char *stored;       /* constants: their bytes in the file */
    const void *data;                  /* plain constants: the same, as elements to read in place */
    uint32_t written, last_read;       /* op numbers between which the tensor is alive */
    const char *name, *origin;
    uint32_t name_length, origin_length;
};

struct bnn_op {
    const struct bnn_op_row *row;
    uint32_t input_count, output;
    const uint32_t *inputs; /* tensor numbers, in the file */
    const void *attrs;      /* the struct bnn_*_attrs, in the file (4-byte aligned) */
    const char *layer, *note;
    uint32_t layer_length, note_length;
    void *prepared; /* made by the op's prepare, in the model's memory */
    size_t scratch; /* bytes that each worker needs while it runs, set by prepare */
    /* Parts that its output can be cut into, beside rows; only the prepare of convolutions sets more than 1. */
    size_t columns, blocks;
    uint32_t before; /* ops before it that run together with it, in one call: a convolution, or arithmetic */
    uint64_t work;   /* of one image; see bnn.h */
};

/* The argument of prepare, which runs twice: first to measure (memory == NULL: only count), then to prepare. */
struct bnn_prepare {
    const struct bnn_model *model;
    unsigned char *memory;
    size_t used;
    int failed;      /* a size overflowed */
    uint32_t number; /* of the op */
    bnn_problem *problem;
};

/* Reserve count * size bytes, aligned; NULL while measuring or after an overflow. */
void *bnn_reserve(struct bnn_prepare *p, size_t count, size_t size);

/* Report a problem and return status.  `what` is a short text; the op's number and layer come before it.
 *
 * With BNN_NO_MESSAGES, this and the other functions that report are the status alone: their arguments are not
 * evaluated.  BNN_TEXT: what then remains of other texts. */
#ifdef BNN_NO_MESSAGES
#define BNN_UNUSED(argument) ((void)sizeof(argument))
#define BNN_TEXT(text) (BNN_UNUSED(text), "")
#define bnn_fail(p, op, status, what, found, expected) \
    (BNN_UNUSED(p), BNN_UNUSED(op), BNN_UNUSED(what), BNN_UNUSED(found), BNN_UNUSED(expected), (status))
#else
#define BNN_TEXT(text) (text)
bnn_status bnn_fail(struct bnn_prepare *p, const struct bnn_op *op, bnn_status status, const char *what, int64_t found,
                    int64_t expected);
#endif

/* One tensor as an op sees it while it runs: data is the first pixel inside the halo of the first image. */
struct bnn_view {
    const struct bnn_tensor *tensor;
    void *data;
    size_t image; /* from one image to the next, in elements */
    size_t first; /* of a passed tensor: the row of the image at data; otherwise 0 */
};

struct bnn_run {
    const struct bnn_model *model;
    const struct bnn_op *op;
    uint32_t before;               /* ops before it that run, too: their inputs are before its own */
    const struct bnn_view *inputs; /* op->input_count, constants included (image 0) */
    struct bnn_view output;
    size_t images;
    size_t first, batch;       /* for ops that use the whole batch: the first of these images, and the batch size */
    size_t row_begin, row_end; /* rows of the output to compute */
    /* Convolutions: columns of the output, and blocks of its channels as `blocks` of the op counts them. */
    size_t column_begin, column_end, block_begin, block_end;
    unsigned char *nan; /* per image: set to 1 if a float to be binarized is NaN */
    void *scratch;      /* op->scratch bytes of this worker, aligned */
    int raw;            /* bnn_step_raw: only the layer's own slots; the output is a dense f32 view */
    int bare;           /* raw: not even these */
};

/* What the op table says: BNN_OP_<name> is an opcode. */
#define BNN_OP_FACTS(opcode, name, attrs, words, bytes, whole_batch) \
    BNN_OP_##name = opcode, BNN_WORDS_##name = words, BNN_BYTES_##name = bytes, BNN_WHOLE_BATCH_##name = whole_batch,
enum { BNN_OP_LIST(BNN_OP_FACTS) };
#undef BNN_OP_FACTS

/* What runs an op; each stands in the file of its family below ops/.  The first five come from the op table: BNN_ROW
 * sets them. */
struct bnn_op_row {
    uint32_t opcode;
    const char *name;
    uint32_t words;  /* of attributes in the file */
    int bytes;       /* whose elements it reads: of u8, of one byte (1), of i16, of two (2), or of both */
    int whole_batch; /* an image's result depends on the other images: run is given them from the first on */
    int in_place;    /* reads each number of data of its output's shape before it writes that place */
    uint32_t cost;   /* work of an element of its output; 0: 1 */
    uint64_t (*work)(const struct bnn_model *m, const struct bnn_op *op); /* of one image, where cost does not tell */
    bnn_status (*prepare)(struct bnn_prepare *p, struct bnn_op *op);      /* validates types, shapes and attributes */
    /* One of the two: computes all that a run asks for, halo included; or a row of an image. */
    void (*run)(const struct bnn_run *r);
    void (*row)(const struct bnn_run *r, size_t image, size_t y);
    const struct bnn_pass *pass; /* of arithmetic on floats; otherwise NULL */
};

/* Arithmetic as steps of a pass over memory, which ops/elements.c runs. */
struct bnn_pass {
    /* Fills the steps of row y of an image, which lead through the rows after it where its tensors do, and returns how
     * many they are, at most `most`; the first sets input 0. */
    size_t (*steps)(const struct bnn_run *r, size_t image, size_t y, struct bnn_step *steps);
    size_t most;
    int swaps; /* its two operands may change places: not where the sign of a zero is that of the first */
    /* How many ops before op k run in one pass with it.  Needs theirs, and last_read.  Here, so that programs without
     * arithmetic do not contain it. */
    uint32_t (*before)(const struct bnn_model *m, uint32_t k);
};

#define BNN_ROW(op)                                                                       \
    .opcode = BNN_OP_##op, .name = #op, .words = BNN_WORDS_##op, .bytes = BNN_BYTES_##op, \
    .whole_batch = BNN_WHOLE_BATCH_##op

struct bnn_model {
    const unsigned char *file;
    size_t file_size;
    const struct bnn_kernels *kernels; /* complete */
    uint32_t tensor_count, op_count, input_count, output_count;
    struct bnn_tensor *tensors;
    struct bnn_op *ops;
    uint32_t *input_tensors, *output_tensors;
    size_t arena;         /* bytes of one image */
    uint64_t scratch;     /* bytes of one worker */
    int whole_batch;      /* of any op */
    int channels_first;   /* in the source model */
    uint32_t most_inputs; /* of ops that run together */
    uint64_t work;        /* of one image, all ops */
};

static inline const struct bnn_tensor *bnn_op_input(const struct bnn_model *m, const struct bnn_op *op, uint32_t i)
{
    return &m->tensors[op->inputs[i]];
}

/* Whether the op's output is passed to the next op. */
static inline int bnn_passes(const struct bnn_model *m, const struct bnn_op *op)
{
    return m->tensors[op->output].storage == BNN_PASSED;
}

/* Whether the op reads what the op before it passes. */
static inline int bnn_takes(const struct bnn_model *m, const struct bnn_op *op)
{
    return bnn_op_input(m, op, 0)->storage == BNN_PASSED;
}

/* Whether op k runs in the call of an op after it. */
static inline int bnn_runs_later(const struct bnn_model *m, uint32_t k)
{
    return k + 1 < m->op_count && m->ops[k + 1].before != 0;
}

/* Return what a check returns, unless that is BNN_OK. */
#define BNN_TRY(check)                \
    do {                              \
        bnn_status status_ = (check); \
        if (status_ != BNN_OK)        \
            return status_;           \
    } while (0)

/* Arithmetic on sizes from a file, which may be huge: UINT64_MAX instead of an overflow. */
static inline uint64_t bnn_times(uint64_t a, uint64_t b)
{
    return b != 0 && a > UINT64_MAX / b ? UINT64_MAX : a * b;
}

static inline uint64_t bnn_plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

/* Bytes of whole cache lines, as everything in the caller's memory has them. */
static inline uint64_t bnn_lines(uint64_t bytes)
{
    return bnn_plus(bytes, BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT;
}

/* a / b, rounded up. */
static inline uint64_t bnn_parts(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

/* From the start of an image to its first pixel inside the halo. */
static inline size_t bnn_interior(const struct bnn_tensor *t)
{
    return t->top * t->row + (size_t)t->left * t->words;
}

/* What only some ops read, and requantization gives. */
static inline int bnn_is_whole(const struct bnn_tensor *t)
{
    return t->dtype == BNN_U8 || t->dtype == BNN_I16;
}

/* Elements of one image of an activation, without its halo. */
static inline uint64_t bnn_elements(const struct bnn_tensor *t)
{
    return bnn_times((uint64_t)t->h * t->w, t->c);
}

static inline int bnn_is_conv(const struct bnn_op *op)
{
    uint32_t opcode = op->row->opcode;
    return opcode == BNN_OP_conv2d || opcode == BNN_OP_bconv2d || opcode == BNN_OP_iconv2d || opcode == BNN_OP_qconv2d;
}

/* slots.c: the number of the input that a slot of a convolution has, or 0; and the slots as kernels have them, with the
 * file's operands. */
uint32_t bnn_slot_input(const struct bnn_op *op, uint32_t slot);
struct bnn_epilogue bnn_op_epilogue(const struct bnn_model *m, const struct bnn_op *op);
/* The numbers by which a convolution requantizes its sums, in the file: all NULL and 0 if it does not. */
struct bnn_requantizer bnn_op_requantizer(const struct bnn_model *m, const struct bnn_op *op);
/* Without those that are not in `keep`. */
struct bnn_epilogue bnn_keep_slots(struct bnn_epilogue epilogue, uint32_t keep);

/* The operands of an epilogue, to treat them all alike. */
#define BNN_EPILOGUE_OPERANDS(epilogue) \
    {&(epilogue)->pre_mul, &(epilogue)->pre_add, &(epilogue)->sub, &(epilogue)->mul, &(epilogue)->add}

/* Products of one image of a convolution, by type: exactly one is not 0.  All 0 for other ops. */
struct bnn_products {
    uint64_t binary, byte, floating;
};
struct bnn_products bnn_op_products(const struct bnn_model *m, const struct bnn_op *op);
uint64_t bnn_op_work(const struct bnn_model *m, const struct bnn_op *op);
/* Work of the largest piece that cannot be cut: a row of one image; for convolutions, a channel or group of a pixel. */
uint64_t bnn_op_piece(const struct bnn_model *m, const struct bnn_op *op);
/* Whether it is at most that, without a division. */
int bnn_op_fits(const struct bnn_model *m, const struct bnn_op *op, uint64_t most);
/* The rows passed to an op that exist at once, those of some rows of its output, and their bytes of scratch memory. */
struct bnn_band {
    size_t outputs, rows, bytes;
};
struct bnn_band bnn_band_of(const struct bnn_model *m, const struct bnn_op *taker);

/* graph.c: whether two tensors are alike in memory. */
int bnn_are_laid_alike(const struct bnn_tensor *a, const struct bnn_tensor *b);

/* Zero the halo of `images` images of a view (the producer of a tensor does this each time, because arena memory is
 * shared).  Only rows row_begin to row_end, with the rows above the first and below the last if the range includes
 * these. */
void bnn_zero_halo(const struct bnn_view *view, size_t images, size_t row_begin, size_t row_end);

#endif
