/* SPDX-License-Identifier: Apache-2.0 */
/* A .bnn file taken apart (docs/reference/model-format.md): what the mutator edits. */
#ifndef SKETCH_H
#define SKETCH_H

#include "model/internal.h"
#include "model/validate.h"

enum { MOST_TENSORS = 192, MOST_OPS = 128, MOST_ATTRS = 17, MOST_NAMES = 4096 };

struct tensor {
    uint8_t dtype, storage, rank, encoding;
    uint32_t dims[4];    /* o, h, w, c */
    uint16_t halo[4];    /* top, left, bottom, right */
    uint32_t strings[4]; /* name, origin */
    uint64_t offset;     /* of arena tensors */
    unsigned char *data; /* of constants, `size` bytes */
    size_t size;
};

struct op {
    uint32_t opcode, output, strings[4], input_count, inputs[BNN_MAX_INPUTS], attrs[MOST_ATTRS];
};

struct sketch {
    uint32_t tensor_count, op_count, names_size, seed, use[2];
    struct tensor tensors[MOST_TENSORS];
    struct op ops[MOST_OPS];
    unsigned char names[MOST_NAMES];
    const unsigned char *script;
    size_t script_size;
};

/* Words of an opcode's attributes; 0 for one that there is not. */
uint32_t attribute_words(uint32_t opcode);

/* The sketch points into the file.  0 where its parts do not lie in it, or are too many. */
int take_apart(struct sketch *s, unsigned char *file, size_t size);

/* The file of a sketch, with the sizes, offsets and counts that belong to it, and its script behind it.  place: arena
 * tensors get memory of their own; else they stay where they are.  Returns its bytes (the file's alone in *file_size),
 * 0 where they are more than `most`. */
size_t put_together(const struct sketch *s, int place, unsigned char *out, size_t most, size_t *file_size);

#endif
