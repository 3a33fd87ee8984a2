/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and checking the parts of a .bnn file; docs/reference/model-format.md specifies them. */
#ifndef BNN_VALIDATE_H
#define BNN_VALIDATE_H

#include "model/container.h"

#define BNN_FORMAT_VERSION 2u
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

enum { BNN_TENSORS, BNN_OPS, BNN_INPUTS, BNN_OUTPUTS }; /* the counts of a .bnn file; the first two are its tables */

/* The header, checked. */
struct bnn_header {
    struct bnn_container in;
    size_t arena;
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

bnn_status bnn_read_header(const void *file, size_t size, struct bnn_header *h, bnn_problem *problem);
bnn_status bnn_read_tensor(const struct bnn_header *h, uint32_t number, struct bnn_tensor *t, bnn_problem *problem);
/* *place: where its record is; advances to the next record.  Leaves the op's prepared and scratch zero. */
bnn_status bnn_read_op(const struct bnn_header *h, uint32_t number, const unsigned char **place, struct bnn_op *op,
                       bnn_problem *problem);

/* The checks that need more than one record: takes all tensors and ops, fills the input and output tensors and every
 * tensor's written and last_read.  alive: room for min(tensor_count, BNN_MAX_ALIVE) numbers. */
bnn_status bnn_check_graph(struct bnn_model *m, const struct bnn_header *h, uint32_t *alive, bnn_problem *problem);

/* A part of it: passed tensors go from a convolution to the op after it, and to no other.  Needs last_read. */
bnn_status bnn_check_passed(const struct bnn_model *m, bnn_problem *problem);

#ifdef BNN_NO_MESSAGES
#define bnn_lack_op(problem, op, number, opcode) \
    (BNN_UNUSED(problem), BNN_UNUSED(op), BNN_UNUSED(number), BNN_UNUSED(opcode), BNN_ERROR_OPCODE)
#define bnn_tensor_error(problem, t, number, status, what, found, expected)                       \
    (BNN_UNUSED(problem), BNN_UNUSED(t), BNN_UNUSED(number), BNN_UNUSED(what), BNN_UNUSED(found), \
     BNN_UNUSED(expected), (status))
#define bnn_op_error bnn_tensor_error
#else
/* bnn_report of an op that the runtime has and the table of ops lacks. */
bnn_status bnn_lack_op(bnn_problem *problem, const struct bnn_op *op, uint32_t number, uint32_t opcode);
/* The same of a tensor or an op. */
bnn_status bnn_tensor_error(bnn_problem *problem, const struct bnn_tensor *t, uint32_t number, bnn_status status,
                            const char *what, uint64_t found, uint64_t expected);
bnn_status bnn_op_error(bnn_problem *problem, const struct bnn_op *op, uint32_t number, bnn_status status,
                        const char *what, uint64_t found, uint64_t expected);
#endif

#endif
