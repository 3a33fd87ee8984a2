/* SPDX-License-Identifier: Apache-2.0 */
/* A context: the working memory of one run, laid out by context.c, used by exec.c, spread.c, poll.c and step.c. */
#ifndef BNN_CONTEXT_H
#define BNN_CONTEXT_H

#include "model/internal.h"

/* Work of a piece between two polls; tests set it to less. */
#ifndef BNN_PIECE
#define BNN_PIECE BNN_POLL_WORK
#endif

struct bnn_buffers;
struct bnn_part;

struct bnn_context {
    const struct bnn_model *model;
    size_t images, workers;
    bnn_parallel_for *parallel_for;
    void *pool;
    bnn_clock *clock;
    bnn_profile *profile;
    void *profile_argument;
    bnn_poll *poll;
    void *poll_argument;
    uint64_t unasked; /* work since poll was called */
    /* bnn_context_step with a poll; NULL without one. */
    bnn_status (*polled_step)(struct bnn_context *c, uint32_t op, size_t images, const struct bnn_buffers *buffers,
                              float *raw);
    const struct bnn_spreading *spreading; /* NULL without threads */
    int bare;                              /* raw sums: without the layer's own slots, too */
    /* One of each for every worker, this many bytes apart. */
    unsigned char *arena, *scratch, *nan, *views;
    size_t arena_stride, scratch_stride, nan_stride, views_stride;
    unsigned char *home; /* inputs, outputs and passed tensors of a context that can step; otherwise NULL */
};

/* The graph's inputs and outputs in a run: the caller's arrays from image `first` on, or, if inputs is NULL, the
 * context's own. */
struct bnn_buffers {
    const void *const *inputs;
    float *const *outputs;
    size_t first;
};

struct bnn_view bnn_context_view(const struct bnn_context *c, uint32_t tensor, size_t slot,
                                 const struct bnn_buffers *buffers);

/* A part of an op's output: from begin to end along each of these axes.  Only convolutions are divided by blocks of
 * channels and by columns. */
enum { BNN_BLOCKS, BNN_COLUMNS, BNN_ROWS, BNN_IMAGES, BNN_AXES };

struct bnn_part {
    size_t begin[BNN_AXES], end[BNN_AXES];
};

/* The whole output. */
struct bnn_part bnn_whole(const struct bnn_model *m, uint32_t op, size_t images);

/* An op cut into parts with at most `most` work, as far as possible: by rows, then blocks, images and columns. */
struct bnn_cut {
    struct bnn_part whole;
    size_t step[BNN_AXES];
    uint64_t work; /* of a part, approximately */
    int begun;
};

struct bnn_cut bnn_cut_op(const struct bnn_model *m, uint32_t op, size_t images, uint64_t most);
/* Returns one part after another, in order; 0 after the last. */
int bnn_next_part(struct bnn_cut *cut, struct bnn_part *part);

/* What threads do: the rows of a part of an op, and a batch of at least as many images as workers. */
struct bnn_spreading {
    void (*rows)(const struct bnn_context *c, uint32_t op, size_t images, const struct bnn_buffers *buffers,
                 const struct bnn_part *part);
    bnn_status (*batch)(struct bnn_context *c, const void *const *inputs, float *const *outputs, size_t count);
};

/* Threads that work at the same time. */
static inline size_t bnn_context_hands(const struct bnn_context *c)
{
    return c->parallel_for == NULL ? 1 : c->workers;
}

/* Run an op on views of its inputs and its output. */
void bnn_run_op(const struct bnn_run *r);

/* Work of one image of an op that runs, with the ops before it that run in its call. */
static inline uint64_t bnn_load(const struct bnn_model *m, uint32_t op)
{
    uint64_t work = 0;
    for (uint32_t k = op - m->ops[op].before; k <= op; k++)
        work = bnn_plus(work, m->ops[k].work);
    return work;
}

/* Run a part of an op on a batch of `images` images in the slot's arena, with a worker's scratch and flags.
 * raw: NULL, or where the sums go (see struct bnn_run).
 * The ops before it that run in its call run, too; but not in a context's own buffers, where ops are run one by one and
 * every tensor is whole. */
void bnn_context_run_op(const struct bnn_context *c, uint32_t op, size_t images, size_t slot, size_t worker,
                        const struct bnn_buffers *buffers, const struct bnn_part *part, float *raw);

/* The same with all workers; in the first arena.  raw: only the calling thread. */
void bnn_context_run_part(const struct bnn_context *c, uint32_t op, size_t images, const struct bnn_buffers *buffers,
                          const struct bnn_part *part, float *raw);

/* Sets the outputs of images that these workers flagged to NaN; of all images, if each image affects all. */
void bnn_context_poison(const struct bnn_context *c, size_t images, size_t first_worker, size_t workers,
                        const struct bnn_buffers *buffers);

/* Counts the work done by each worker, and polls when there is enough.  Nonzero: stop. */
int bnn_context_stopped_after(struct bnn_context *c, uint64_t work);

/* Runs a whole op in the first arena with all workers (raw: only the calling thread); polls, if there is a poll. */
bnn_status bnn_context_step(struct bnn_context *c, uint32_t op, size_t images, const struct bnn_buffers *buffers,
                            float *raw);

#endif
