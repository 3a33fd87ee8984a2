/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets share.
 *
 * An input is a .bnn file, as long as its header says, and behind it a script: bytes that decide what is done with the
 * model.  The file's checksum is put right, so its four bytes are free: they seed what the script leaves open. */
#ifndef FUZZ_H
#define FUZZ_H

#include "bnn.h"
#include "bnn_events.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A broken promise is a crash. */
#define CHECK(condition, ...)                                               \
    do {                                                                    \
        if (!(condition)) {                                                 \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition); \
            fprintf(stderr, __VA_ARGS__);                                   \
            fprintf(stderr, "\n");                                          \
            abort();                                                        \
        }                                                                   \
    } while (0)

/* Bytes, and elements moved or multiplied, that one input may cost: more is not run. */
enum { FUZZ_MOST_BYTES = 1 << 20, FUZZ_MOST_WORK = 1 << 20 };

/* A block of exactly this size, aligned, full of garbage (of no value, for MemorySanitizer), with poison around it; NULL
 * where it is larger than FUZZ_MOST_BYTES.  All blocks live until fuzz_release. */
void *fuzz_block(size_t size);
void fuzz_release(void);
/* Garbage that may be used: for MemorySanitizer, it has a value now. */
void fuzz_define(void *at, size_t size);

/* Numbers of the script, then of a generator that the file's checksum seeds. */
struct script {
    const unsigned char *at;
    size_t left;
    uint64_t state;
};

/* Below `below`, at most 2^16. */
size_t fuzz_draw(struct script *s, size_t below);
/* So many numbers: small, large, not finite. */
void fuzz_floats(struct script *s, float *values, size_t count);

/* The file of an input, its checksum right, and its script. */
const unsigned char *fuzz_split(const unsigned char *data, size_t size, size_t *file_size, struct script *script);
void fuzz_repair_checksum(unsigned char *file, size_t size);

/* A family of kernels that this processor runs. */
const bnn_kernels *fuzz_kernels(struct script *s);
/* Opens a file and looks at everything the model says of itself; NULL where it is none or costs too much. */
bnn_model *fuzz_open(const unsigned char *file, size_t size, const bnn_kernels *kernels);
/* A context in a block of its own; NULL where it costs too much. */
bnn_context *fuzz_context(const bnn_model *model, size_t images, size_t workers);
/* Elements of one image of a tensor; of a constant, of all of it. */
size_t fuzz_elements(const bnn_model *model, uint32_t tensor);
/* Whether two arrays are the same; any two values that are not numbers are. */
int fuzz_same(const float *a, const float *b, size_t count);

/* Arrays for bnn_run.  Each input is made twice: as floats, which bnn_poke and the event engine take, and in the
 * model's own type. */
enum { FUZZ_MOST_PORTS = 16 };
struct ports {
    size_t inputs, outputs, batch;
    float *floats[FUZZ_MOST_PORTS];
    const void *typed[FUZZ_MOST_PORTS];
    float *out[FUZZ_MOST_PORTS];
};
/* 0 where that is too much memory, or there are too many. */
int fuzz_ports(const bnn_model *model, struct script *s, size_t batch, struct ports *p);
/* Numbers that the input's type holds. */
void fuzz_values(const bnn_model *model, struct script *s, uint32_t input, float *values, size_t count);
/* The typed arrays once more, after the floats changed. */
void fuzz_retype(const bnn_model *model, struct ports *p);

/* A bnn_parallel_for: every task on the calling thread, in an order and by workers that the script chooses. */
struct shuffled {
    struct script *script;
    size_t workers;
};
void fuzz_parallel_for(void *pool, bnn_task *task, void *argument, size_t count);

#endif
