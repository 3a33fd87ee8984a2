/* A context: the working memory of one run, laid out by exec.c and used by step.c. */
#ifndef BNN_CONTEXT_H
#define BNN_CONTEXT_H

#include "internal.h"

struct bnn_context {
    const struct bnn_model *model;
    size_t images, workers;
    bnn_parallel_for *parallel_for;
    void *pool;
    bnn_clock *clock;
    bnn_profile *profile;
    void *profile_argument;
    /* One of each for every worker, this many bytes apart. */
    unsigned char *arena, *scratch, *nan;
    size_t arena_stride, scratch_stride, nan_stride;
    unsigned char *home; /* of inputs and outputs while the model is stepped through */
};

/* Where a run finds the graph's inputs and outputs: the caller's arrays from image `first` on, or, where inputs is
 * NULL, the context's own. */
struct bnn_buffers {
    const void *const *inputs;
    float *const *outputs;
    size_t first;
};

struct bnn_view bnn_context_view(const struct bnn_context *c, uint32_t tensor, size_t slot,
                                 const struct bnn_buffers *buffers);

/* Run rows [row_begin, row_end) of an op on `images` images of the slot's arena, with a worker's scratch and flags.
 * raw: NULL, or where the accumulators go (see struct bnn_run). */
void bnn_context_run_op(const struct bnn_context *c, uint32_t op, size_t images, size_t slot, size_t worker,
                        const struct bnn_buffers *buffers, size_t row_begin, size_t row_end, float *raw);

#endif
