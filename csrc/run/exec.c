/* SPDX-License-Identifier: Apache-2.0 */
/* Running a model: micro-batches, how they are spread over threads, and how they are cut for polls.
 *
 * Batches are spread before layers are: with at least as many images as workers, each worker runs whole micro-batches
 * in its own arena.  With fewer, the workers share one arena and the rows of each op's output.  Neither changes any
 * result: an image's value depends only on the image.  If it depends on the others (bnn_whole_batch), the batch is one
 * micro-batch, whose rows the workers share.
 *
 * With a poll, work is divided into pieces, and the calling thread polls between two of them.  All workers finish a
 * piece before the next begins.  A piece is some micro-batches per worker, or some small ops or a part of a large op of
 * one micro-batch. */
#include "run/context.h"

#include <math.h>
#include <string.h>

/* Ops with less work than this are not worth waking threads for; tests set it to 1. */
#ifndef BNN_WORTH_SPREADING
#define BNN_WORTH_SPREADING 40000
#endif

/* Work of a piece; tests set it to less. */
#ifndef BNN_PIECE
#define BNN_PIECE BNN_POLL_WORK
#endif

/* Ranges of rows per worker: more than one, so that a late worker delays the others less. */
enum { RANGES = 2 };

int bnn_context_stopped_after(struct bnn_context *c, uint64_t work)
{
    c->unasked = bnn_plus(c->unasked, work);
    if (c->poll == NULL || c->unasked < (uint64_t)BNN_PIECE)
        return 0;
    c->unasked = 0;
    return c->poll(c->poll_argument) != 0;
}

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

static size_t hands(const struct bnn_context *c)
{
    return c->parallel_for == NULL ? 1 : c->workers;
}

static void spread_rows(const struct bnn_context *c, uint32_t number, size_t images, const struct bnn_buffers *buffers,
                        const struct bnn_part *part)
{
    const struct bnn_op *op = &c->model->ops[number];
    size_t height = part->end[BNN_ROWS] - part->begin[BNN_ROWS];
    if (hands(c) > 1 && height > 1 && bnn_times(op->work, images) >= (uint64_t)BNN_WORTH_SPREADING) {
        size_t ranges = c->workers * RANGES; /* the context has flags for each: no overflow */
        struct rows s = {c, buffers, part, number, images, height < ranges ? height : ranges};
        c->parallel_for(c->pool, run_rows, &s, s.ranges);
    } else {
        bnn_context_run_op(c, number, images, 0, 0, buffers, part, NULL);
    }
}

/* Parts of a piece's work for each worker that shares it; there are at most as many workers as rows. */
static struct bnn_cut cut_for(const struct bnn_model *m, uint32_t op, size_t images, size_t *sharing)
{
    for (;;) {
        struct bnn_cut cut = bnn_cut_op(m, op, images, bnn_times(BNN_PIECE, *sharing));
        if (cut.step[BNN_ROWS] >= *sharing)
            return cut;
        *sharing = cut.step[BNN_ROWS];
    }
}

bnn_status bnn_context_step(struct bnn_context *c, uint32_t op, size_t images, const struct bnn_buffers *buffers,
                            float *raw)
{
    struct bnn_part part = bnn_whole(c->model, op, images);
    size_t sharing = raw == NULL ? hands(c) : 1;
    uint64_t work = bnn_times(c->model->ops[op].work, images);
    struct bnn_cut cut = {.whole = part, .work = work};
    if (c->poll != NULL && work > (uint64_t)BNN_PIECE) {
        cut = cut_for(c->model, op, images, &sharing);
        bnn_next_part(&cut, &part);
    }
    do {
        if (raw != NULL)
            bnn_context_run_op(c, op, images, 0, 0, buffers, &part, raw);
        else
            spread_rows(c, op, images, buffers, &part);
        if (bnn_context_stopped_after(c, cut.work / sharing))
            return BNN_ERROR_STOPPED;
    } while (cut.begun && bnn_next_part(&cut, &part));
    return BNN_OK;
}

/* Whether any of the workers' flags names one of the images from `image` on. */
static int flagged(const struct bnn_context *c, size_t image, size_t images, size_t first_worker, size_t workers)
{
    int found = 0;
    for (size_t w = first_worker; w < first_worker + workers; w++)
        for (size_t i = image; i < image + images; i++)
            found |= c->nan[w * c->nan_stride + i];
    return found;
}

/* Set the outputs of flagged images to NaN; of all images, if each image affects all. */
static void poison(const struct bnn_context *c, size_t images, size_t first_worker, size_t workers,
                   const struct bnn_buffers *buffers)
{
    int together = c->model->whole_batch, any = together && flagged(c, 0, images, first_worker, workers);
    for (size_t i = 0; i < images; i++) {
        int found = together ? any : flagged(c, i, 1, first_worker, workers);
        for (uint32_t k = 0; found && k < c->model->output_count; k++) {
            struct bnn_view v = bnn_context_view(c, c->model->output_tensors[k], 0, buffers);
            float *out = (float *)v.data + i * v.image;
            for (size_t e = 0; e < v.image; e++)
                out[e] = NAN;
        }
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
        bnn_context_run_op(c, k, images, worker, worker, &buffers, &part, NULL);
    }
    poison(c, images, worker, 1, &buffers);
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
        if (part.begin[BNN_IMAGES] < part.end[BNN_IMAGES])
            bnn_context_run_op(c, k, images, index, index, &buffers, &part, NULL);
    }
}

/* Takes ops from op_begin on until they make a piece: at least one.  Returns their work on a chunk. */
static uint64_t take_ops(struct batch *b)
{
    const struct bnn_model *m = b->context->model;
    uint64_t work = 0, more = bnn_times(m->ops[b->op_begin].work, b->chunk);
    b->op_end = b->op_begin;
    do {
        work = bnn_plus(work, more);
        b->op_end++;
        more = b->op_end < m->op_count ? bnn_times(m->ops[b->op_end].work, b->chunk) : UINT64_MAX;
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
        poison(c, images, slot, 1, &buffers);
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

/* All workers on one chunk after another. */
static bnn_status run_together(const struct batch *b)
{
    struct bnn_context *c = b->context;
    for (size_t first = 0; first < b->count; first += b->chunk) {
        struct bnn_buffers buffers = {b->inputs, b->outputs, first};
        size_t left = b->count - first, images = left < b->chunk ? left : b->chunk;
        for (size_t w = 0; w < c->workers; w++)
            memset(c->nan + w * c->nan_stride, 0, images);
        for (uint32_t k = 0; k < c->model->op_count; k++) {
            uint64_t before = c->profile != NULL ? c->clock() : 0;
            if (bnn_context_step(c, k, images, &buffers, NULL) != BNN_OK)
                return BNN_ERROR_STOPPED;
            if (c->profile != NULL)
                c->profile(c->profile_argument, k, c->clock() - before);
        }
        poison(c, images, 0, c->workers, &buffers);
    }
    return BNN_OK;
}

bnn_status bnn_run(bnn_context *context, const void *const *inputs, float *const *outputs, size_t batch)
{
    if (context == NULL)
        return BNN_ERROR_ARGUMENT;
    if (batch == 0)
        return BNN_OK;
    const struct bnn_model *m = context->model;
    if (inputs == NULL || outputs == NULL)
        return BNN_ERROR_ARGUMENT;
    for (uint32_t i = 0; i < m->input_count + m->output_count; i++) {
        int in = i < m->input_count;
        const void *data = in ? inputs[i] : outputs[i - m->input_count];
        const struct bnn_tensor *t = &m->tensors[in ? m->input_tensors[i] : m->output_tensors[i - m->input_count]];
        if (data == NULL || (uintptr_t)data % t->element != 0)
            return BNN_ERROR_ARGUMENT;
        if (batch > SIZE_MAX / 2 / t->bytes)
            return BNN_ERROR_LIMIT;
    }

    if (m->whole_batch && batch > context->images)
        return BNN_ERROR_BATCH;
    size_t workers = hands(context);
    struct batch b = {.context = context,
                      .inputs = inputs,
                      .outputs = outputs,
                      .count = batch,
                      .chunk = batch < context->images ? batch : context->images};
    if (workers == 1 || batch < workers || context->profile != NULL || m->whole_batch)
        return run_together(&b);
    /* As few rounds as the micro-batch allows, with chunks of the same size. */
    size_t round = workers * context->images; /* bnn_context_create checked a larger size for overflow */
    size_t rounds = batch / round + (batch % round != 0);
    size_t chunks = rounds * workers;
    b.chunk = batch / chunks + (batch % chunks != 0);
    return run_apart(&b);
}
