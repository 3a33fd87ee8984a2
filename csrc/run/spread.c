/* SPDX-License-Identifier: Apache-2.0 */
/* Threads.
 *
 * Batches are spread before layers are: with at least as many images as workers, each worker runs whole micro-batches
 * in its own arena.  With fewer, the workers share one arena and the rows of each op's output.  Neither changes any
 * result: an image's value depends only on the image.  If it depends on the others (bnn_whole_batch), the batch is one
 * micro-batch, whose rows the workers share.
 *
 * With a poll, all workers finish a piece of the work before the next begins: some micro-batches per worker, or some
 * small ops or a part of a large op of one micro-batch. */
#include "run/context.h"

#include <string.h>

/* Ops with less work than this are not worth waking threads for; tests set it to 1. */
#ifndef BNN_WORTH_SPREADING
#define BNN_WORTH_SPREADING 40000
#endif

/* Ranges of rows per worker: more than one, so that a late worker delays the others less. */
enum { RANGES = 2 };

/* A part of an op spread by rows over the workers: range `index` of `ranges`. */
struct rows {
    const struct bnn_context *context;
    const struct bnn_buffers *buffers;
    const struct bnn_part *part;
    uint32_t op;
    size_t images, ranges;
};

static void run_rows(void *argument, size_t index, size_t worker)
{
    const struct rows *s = argument;
    struct bnn_part part = *s->part;
    size_t first = part.begin[BNN_ROWS], height = part.end[BNN_ROWS] - first;
    part.begin[BNN_ROWS] = first + height * index / s->ranges;
    part.end[BNN_ROWS] = first + height * (index + 1) / s->ranges;
    bnn_context_run_op(s->context, s->op, s->images, 0, worker, s->buffers, &part, NULL);
}

static void spread_rows(const struct bnn_context *c, uint32_t number, size_t images, const struct bnn_buffers *buffers,
                        const struct bnn_part *part)
{
    size_t height = part->end[BNN_ROWS] - part->begin[BNN_ROWS];
    if (c->workers > 1 && height > 1 &&
        bnn_times(bnn_load(c->model, number), images) >= (uint64_t)BNN_WORTH_SPREADING) {
        size_t ranges = c->workers * RANGES; /* the context has flags for each: no overflow */
        struct rows s = {c, buffers, part, number, images, height < ranges ? height : ranges};
        c->parallel_for(c->pool, run_rows, &s, s.ranges);
    } else {
        bnn_context_run_op(c, number, images, 0, 0, buffers, part, NULL);
    }
}

/* A batch cut into chunks of at most the context's images. */
struct batch {
    struct bnn_context *context;
    const void *const *inputs;
    float *const *outputs;
    size_t count, chunk;
    /* The current job: chunks from `first` on, and in each some ops, or a part of a single op. */
    size_t first;
    uint32_t op_begin, op_end;
    struct bnn_part part;
};

static size_t find_chunk(const struct batch *b, size_t index, struct bnn_buffers *buffers)
{
    *buffers = (struct bnn_buffers){b->inputs, b->outputs, index * b->chunk};
    size_t left = b->count - buffers->first;
    return left < b->chunk ? left : b->chunk;
}

static void run_chunk(void *argument, size_t index, size_t worker)
{
    const struct batch *b = argument;
    const struct bnn_context *c = b->context;
    struct bnn_buffers buffers;
    size_t images = find_chunk(b, b->first + index, &buffers);
    memset(c->nan + worker * c->nan_stride, 0, images);
    for (uint32_t k = 0; k < c->model->op_count; k++) {
        struct bnn_part part = bnn_whole(c->model, k, images);
        if (!bnn_runs_later(c->model, k))
            bnn_context_run_op(c, k, images, worker, worker, &buffers, &part, NULL);
    }
    bnn_context_poison(c, images, worker, 1, &buffers);
}

/* The chunk's index determines its arena, scratch and flags, whichever worker runs it. */
static void run_piece(void *argument, size_t index, size_t worker)
{
    const struct batch *b = argument;
    const struct bnn_context *c = b->context;
    struct bnn_buffers buffers;
    size_t images = find_chunk(b, b->first + index, &buffers);
    (void)worker;
    for (uint32_t k = b->op_begin; k < b->op_end; k++) {
        struct bnn_part part = b->op_end - b->op_begin == 1 ? b->part : bnn_whole(c->model, k, images);
        part.end[BNN_IMAGES] = part.end[BNN_IMAGES] < images ? part.end[BNN_IMAGES] : images; /* of the last chunk */
        if (part.begin[BNN_IMAGES] < part.end[BNN_IMAGES] && !bnn_runs_later(c->model, k))
            bnn_context_run_op(c, k, images, index, index, &buffers, &part, NULL);
    }
}

/* Work of an op on a chunk: none if it runs in the call of one after it. */
static uint64_t chunk_work(const struct batch *b, uint32_t op)
{
    const struct bnn_model *m = b->context->model;
    return bnn_runs_later(m, op) ? 0 : bnn_times(bnn_load(m, op), b->chunk);
}

/* Takes ops from op_begin on until they make a piece: at least one.  Returns their work on a chunk. */
static uint64_t take_ops(struct batch *b)
{
    const struct bnn_model *m = b->context->model;
    uint64_t work = 0, more = chunk_work(b, b->op_begin);
    b->op_end = b->op_begin;
    do {
        work = bnn_plus(work, more);
        b->op_end++;
        more = b->op_end < m->op_count ? chunk_work(b, b->op_end) : UINT64_MAX;
    } while (bnn_plus(work, more) <= (uint64_t)BNN_PIECE);
    return work;
}

/* One chunk per worker, for `slots` workers. */
static bnn_status run_round(struct batch *b, size_t slots)
{
    struct bnn_context *c = b->context;
    memset(c->nan, 0, c->nan_stride * slots);
    for (b->op_begin = 0; b->op_begin < c->model->op_count; b->op_begin = b->op_end) {
        uint64_t work = take_ops(b);
        struct bnn_cut cut = bnn_cut_op(c->model, b->op_begin, b->chunk, BNN_PIECE);
        int alone = b->op_end - b->op_begin == 1;
        while (bnn_next_part(&cut, &b->part)) {
            c->parallel_for(c->pool, run_piece, b, slots);
            if (bnn_context_stopped_after(c, alone ? cut.work : work))
                return BNN_ERROR_STOPPED;
            if (!alone)
                break;
        }
    }
    for (size_t slot = 0; slot < slots; slot++) {
        struct bnn_buffers buffers;
        size_t images = find_chunk(b, b->first + slot, &buffers);
        bnn_context_poison(c, images, slot, 1, &buffers);
    }
    return BNN_OK;
}

/* Every worker runs its own chunks. */
static bnn_status run_apart(struct batch *b)
{
    struct bnn_context *c = b->context;
    size_t chunks = b->count / b->chunk + (b->count % b->chunk != 0), together = chunks;
    uint64_t work = bnn_times(c->model->work, b->chunk), each = (uint64_t)BNN_PIECE / work; /* every op has some */
    uint64_t most = bnn_times(each != 0 ? each : 1, c->workers);
    if (c->poll != NULL && most < chunks)
        together = (size_t)most;
    for (; b->first < chunks; b->first += together) {
        size_t count = chunks - b->first < together ? chunks - b->first : together;
        if (c->poll == NULL || each != 0) {
            c->parallel_for(c->pool, run_chunk, b, count);
            if (bnn_context_stopped_after(c, bnn_times(work, (count + c->workers - 1) / c->workers)))
                return BNN_ERROR_STOPPED;
        } else if (run_round(b, count) != BNN_OK) {
            return BNN_ERROR_STOPPED;
        }
    }
    return BNN_OK;
}

static bnn_status spread_batch(struct bnn_context *c, const void *const *inputs, float *const *outputs, size_t count)
{
    /* As few rounds as the micro-batch allows, with chunks of the same size. */
    size_t round = c->workers * c->images; /* bnn_context_create checked a larger size for overflow */
    size_t rounds = count / round + (count % round != 0);
    size_t chunks = rounds * c->workers;
    struct batch b = {.context = c, .inputs = inputs, .outputs = outputs, .count = count};
    b.chunk = count / chunks + (count % chunks != 0);
    return run_apart(&b);
}

void bnn_context_set_threads(bnn_context *context, bnn_parallel_for *parallel_for, void *pool)
{
    static const struct bnn_spreading spreading = {spread_rows, spread_batch};
    context->spreading = parallel_for != NULL ? &spreading : NULL;
    context->parallel_for = parallel_for;
    context->pool = pool;
}
