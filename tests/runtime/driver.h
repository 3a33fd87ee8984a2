/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the test driver share; driver.c says what it does. */
#ifndef DRIVER_H
#define DRIVER_H

#include "bnn.h"
#include "bnn_host.h"
#include "model/validate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition, ...)                               \
    do {                                                    \
        if (!(condition)) {                                 \
            fprintf(stderr, "%s:%d: ", __FILE__, __LINE__); \
            fprintf(stderr, __VA_ARGS__);                   \
            fprintf(stderr, "\n");                          \
            exit(1);                                        \
        }                                                   \
    } while (0)

enum { MAX_PORTS = 8 };

/* Arrays of a model's inputs or outputs. */
struct ports {
    float *data[MAX_PORTS];
    size_t floats[MAX_PORTS];
    size_t count;
};

struct opened {
    bnn_model *model;
    void *memory;
    size_t bytes;
};

/* A block of exactly this size, aligned, filled with garbage. */
void *block(size_t size);
/* NULL where there is none. */
unsigned char *read_file(const char *path, size_t *size);
void free_ports(struct ports *p);

/* The same arrays in blocks of the types of the model's inputs: bytes are made of floats that are none, too. */
struct ports typed_inputs(const bnn_model *model, const struct ports *floats);

/* A model that must open. */
struct opened open_model(const unsigned char *file, size_t size, const bnn_kernels *kernels);
/* Floats of one image of a tensor. */
size_t image_floats(const bnn_model *model, uint32_t tensor);

/* A copy in a block of exactly its size, so that reading past its end is seen. */
unsigned char *copy_of(const unsigned char *file, size_t size);
/* Writes the checksum that the file ought to have, where it has a header. */
void fix_checksum(unsigned char *file, size_t size);
/* Opens a copy, which must not go wrong, and runs it if it opens. */
bnn_status try_model(const unsigned char *file, size_t size, int run, uint64_t *state);

int fuzz(const char *path, uint64_t seed, size_t count);
int faults(const char *path, const char *populations);
int damage(const char *path, size_t first, size_t every);
int boundaries(const char *path, uint64_t seed, int ops_alone);
int threads(const char *path, size_t callers);
void tight(const char *path);

#endif
