/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and checking the parts of a .bnn file; docs/reference/model-format.md specifies them. */
#ifndef BNN_VALIDATE_H
#define BNN_VALIDATE_H

#include "model/internal.h"

#include <string.h>

#define BNN_FORMAT_VERSION 2u
#define BNN_HEADER_BYTES 128u
#define BNN_TENSOR_BYTES 64u
#define BNN_OP_BYTES 32u /* before the inputs */

/* Limits that bound the work on a hostile file; networks stay far below them. */
#define BNN_MAX_TENSORS 65536u
#define BNN_MAX_OPS 16384u
#define BNN_MAX_INPUTS 32u                 /* inputs of one op */
#define BNN_MAX_ALIVE 4096u                /* arena tensors alive at the same time */
#define BNN_MAX_PIXELS 65536u              /* height or width of an activation with its halo */
#define BNN_MAX_EDGES ((uint64_t)1 << 24)  /* heights and widths of all ops' outputs together */
#define BNN_MAX_SIZE ((uint32_t)INT32_MAX) /* any other dimension */
#define BNN_MAX_TEXT ((uint64_t)1 << 24)   /* bytes of names and notes, beyond the file's size: they may share bytes */
#define BNN_MAX_USE ((uint32_t)1 << 20)    /* bytes of what the network is used for */
/* The defaults of bnn_limits. */
#define BNN_OPENED_BYTES ((uint64_t)64 << 20)
#define BNN_OPENED_TIMES 64u
#define BNN_CONTEXT_BYTES ((uint64_t)256 << 20)
#define BNN_CONTEXT_TIMES 256u

#define BNN_NEVER UINT32_MAX /* bnn_tensor.written of a tensor that no op has written yet */

/* The header; offsets and sizes are checked against the file. */
struct bnn_header {
    uint32_t tensor_count, op_count, input_count, output_count;
    size_t tensors, ops, ops_size, strings, strings_size, data, data_size;
    size_t arena;
    int channels_first;
    /* What is not in the file: */
    uint64_t most;                        /* limit on the bytes of the opened model, and of the constants read for it */
    bnn_limits limits;                    /* as given, or zeros */
    const struct bnn_op_row *const *rows; /* the ops that there are */
    size_t row_count;
};

/* What a model is opened from, and with. */
struct bnn_source {
    const void *file;
    size_t size;
    const struct bnn_op_row *const *rows;
    size_t row_count;
    const struct bnn_kernels *kernels; /* complete, as far as can be; NULL: none are given */
    const bnn_limits *limits;          /* or NULL */
    bnn_problem *problem;              /* or NULL */
};

/* What bnn_model_size and bnn_model_open promise, with these. */
bnn_status bnn_measure_model(const struct bnn_source *source, size_t *bytes);
bnn_status bnn_open_model(const struct bnn_source *source, void *memory, size_t memory_size, bnn_model **model);

/* crc: 0, or the result for the preceding bytes. */
uint32_t bnn_crc32(uint32_t crc, const void *data, size_t size);

/* Numbers in a file, which need not be aligned. */
static inline uint32_t bnn_load32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t bnn_load64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* Whether the checksum matches; size >= BNN_HEADER_BYTES. */
int bnn_checksum_matches(const unsigned char *file, size_t size, bnn_problem *problem);

bnn_status bnn_read_header(const unsigned char *file, size_t size, struct bnn_header *h, bnn_problem *problem);
bnn_status bnn_read_tensor(const unsigned char *file, const struct bnn_header *h, uint32_t number, struct bnn_tensor *t,
                           bnn_problem *problem);
/* *offset: the record's place in the file; advances to the next record.  Leaves the op's prepared and scratch zero. */
bnn_status bnn_read_op(const unsigned char *file, const struct bnn_header *h, uint32_t number, size_t *offset,
                       struct bnn_op *op, bnn_problem *problem);

/* The checks that need more than one record: takes all tensors and ops, fills the input and output tensors and every
 * tensor's written and last_read.  alive: room for min(tensor_count, BNN_MAX_ALIVE) numbers. */
bnn_status bnn_check_graph(struct bnn_model *m, const struct bnn_header *h, uint32_t *alive, bnn_problem *problem);

/* A part of it: passed tensors go from a convolution to the max_pool after it, and to no other op.  Needs last_read. */
bnn_status bnn_check_passed(const struct bnn_model *m, bnn_problem *problem);

/* For bnn_problem: larger numbers are shown as INT64_MAX. */
static inline int64_t bnn_shown(uint64_t v)
{
    return v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

#ifdef BNN_NO_MESSAGES
#define bnn_report(problem, status, kind, number, name, length, what, found, expected)                \
    (BNN_UNUSED(problem), BNN_UNUSED(kind), BNN_UNUSED(number), BNN_UNUSED(name), BNN_UNUSED(length), \
     BNN_UNUSED(what), BNN_UNUSED(found), BNN_UNUSED(expected), (status))
#define bnn_lack_op(problem, op, number, opcode) \
    (BNN_UNUSED(problem), BNN_UNUSED(op), BNN_UNUSED(number), BNN_UNUSED(opcode), BNN_ERROR_OPCODE)
#define bnn_tensor_error(problem, t, number, status, what, found, expected)                       \
    (BNN_UNUSED(problem), BNN_UNUSED(t), BNN_UNUSED(number), BNN_UNUSED(what), BNN_UNUSED(found), \
     BNN_UNUSED(expected), (status))
#define bnn_op_error bnn_tensor_error
#else
/* Fill a problem (if not NULL): "<kind> <number> (<name>): <what>"; just kind if number is BNN_NEVER.  Returns
 * status. */
bnn_status bnn_report(bnn_problem *problem, bnn_status status, const char *kind, uint32_t number, const char *name,
                      size_t name_length, const char *what, int64_t found, int64_t expected);
/* The same of an op that the runtime has and the table of ops lacks. */
bnn_status bnn_lack_op(bnn_problem *problem, const struct bnn_op *op, uint32_t number, uint32_t opcode);
/* The same of a tensor or an op. */
bnn_status bnn_tensor_error(bnn_problem *problem, const struct bnn_tensor *t, uint32_t number, bnn_status status,
                            const char *what, uint64_t found, uint64_t expected);
bnn_status bnn_op_error(bnn_problem *problem, const struct bnn_op *op, uint32_t number, bnn_status status,
                        const char *what, uint64_t found, uint64_t expected);
#endif
/* An argument of an entry point cannot be used. */
bnn_status bnn_argument_error(bnn_problem *problem, bnn_status status, const char *name, const char *what, size_t found,
                              size_t expected);

#endif
