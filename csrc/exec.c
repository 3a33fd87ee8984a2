/* Running a model: micro-batches, and how they are spread over threads.
 *
 * Batches are spread before layers are: with at least as many images as workers, each worker runs whole
 * micro-batches in an arena of its own.  With fewer, the workers share one arena and the rows of each op's output.
 * Neither changes any result: an image's value depends on nothing but the image.  Where it depends on the others
 * (bnn_whole_batch), the batch is one micro-batch, of which the workers share the rows. */
#include "context.h"
#include "validate.h"

#include <math.h>
#include <string.h>

/* Ops with less work than this many operations are not worth waking threads for; tests set it to 1. */
#ifndef BNN_WORTH_SPREADING
#define BNN_WORTH_SPREADING 40000
#endif

/* Ranges of rows for each worker: more than one, so that a worker that is late holds up the others less. */
enum { RANGES = 2 };

static size_t round_up(size_t n)
{
    return (n + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT;
}

/* Adds count * size, rounded up, to *total; 0 on overflow. */
static int add(size_t *total, size_t count, size_t size)
{
    const size_t limit = SIZE_MAX / 4; /* of both terms, so that their sum does not overflow */
    if (*total > limit || (size != 0 && count > limit / size)) {
        return 0;
    }
    *total += round_up(count * size);
    return 1;
}

/* Lays the context out; memory NULL: only measures.  0 on overflow. */
static int lay_out(const struct bnn_model *m, size_t images, size_t workers, unsigned char *memory,
                   struct bnn_context *c, size_t *bytes)
{
    /* Scratch is a few rows of a tensor, whose size was checked: no overflow. */
    size_t arena = 0, scratch = round_up(m->scratch), nan = 0, total = round_up(sizeof *c), at[4];
    if (!add(&arena, images, m->arena) || !add(&nan, images, 1)) {
        return 0;
    }
    at[0] = total;
    if (!add(&total, m->whole_batch ? 1 : workers, arena)) { /* a whole batch is never spread over arenas */
        return 0;
    }
    at[1] = total;
    if (!add(&total, workers, scratch)) {
        return 0;
    }
    at[2] = total;
    if (!add(&total, workers, nan)) {
        return 0;
    }
    at[3] = total;
    for (uint32_t i = 0; i < m->input_count + m->output_count; i++) {
        uint32_t n = i < m->input_count ? m->input_tensors[i] : m->output_tensors[i - m->input_count];
        if (!add(&total, images, m->tensors[n].bytes)) {
            return 0;
        }
    }
    *bytes = total;
    if (memory != NULL) {
        c->arena = memory + at[0];
        c->scratch = memory + at[1];
        c->nan = memory + at[2];
        c->home = memory + at[3];
        c->arena_stride = arena;
        c->scratch_stride = scratch;
        c->nan_stride = nan;
    }
    return 1;
}

bnn_status bnn_context_size(const bnn_model *model, size_t images, size_t workers, size_t *bytes)
{
    struct bnn_context unused;
    if (model == NULL || images == 0 || workers == 0 || bytes == NULL) {
        return BNN_ERROR_ARGUMENT;
    }
    return lay_out(model, images, workers, NULL, &unused, bytes) ? BNN_OK : BNN_ERROR_LIMIT;
}

bnn_status bnn_context_create(const bnn_model *model, size_t images, size_t workers, void *memory, size_t memory_size,
                              bnn_context **context)
{
    size_t bytes;
    if (context == NULL) {
        return BNN_ERROR_ARGUMENT;
    }
    *context = NULL;
    bnn_status status = bnn_context_size(model, images, workers, &bytes);
    if (status != BNN_OK) {
        return status;
    }
    if (memory == NULL || memory_size < bytes || (uintptr_t)memory % BNN_ALIGNMENT != 0) {
        return BNN_ERROR_MEMORY;
    }
    struct bnn_context *c = memory;
    memset(c, 0, sizeof *c);
    c->model = model;
    c->images = images;
    c->workers = workers;
    lay_out(model, images, workers, memory, c, &bytes);
    *context = c;
    return BNN_OK;
}

void bnn_context_set_threads(bnn_context *context, bnn_parallel_for *parallel_for, void *pool)
{
    context->parallel_for = parallel_for;
    context->pool = pool;
}

void bnn_context_set_profile(bnn_context *context, bnn_clock *clock, bnn_profile *profile, void *argument)
{
    context->clock = clock;
    context->profile = clock == NULL ? NULL : profile;
    context->profile_argument = argument;
}

/* The context's own copy of an input or output. */
static unsigned char *home_of(const struct bnn_context *c, const struct bnn_tensor *t)
{
    const struct bnn_model *m = c->model;
    size_t before = t->storage == BNN_INPUT ? t->offset : m->input_count + t->offset;
    unsigned char *home = c->home;
    for (size_t i = 0; i < before; i++) {
        uint32_t n = i < m->input_count ? m->input_tensors[i] : m->output_tensors[i - m->input_count];
        home += round_up(m->tensors[n].bytes * c->images);
    }
    return home;
}

struct bnn_view bnn_context_view(const struct bnn_context *c, uint32_t tensor, size_t slot,
                                 const struct bnn_buffers *buffers)
{
    const struct bnn_tensor *t = &c->model->tensors[tensor];
    struct bnn_view v = {t, NULL, t->image};
    if (t->storage == BNN_CONSTANT) {
        v.data = (void *)(uintptr_t)t->data; /* ops only read their inputs */
        v.image = 0;
    } else if (t->storage == BNN_ARENA) {
        v.data = c->arena + slot * c->arena_stride + t->offset * c->images + t->interior * t->element;
    } else if (buffers->inputs == NULL) {
        v.data = home_of(c, t);
    } else if (t->storage == BNN_INPUT) {
        v.data = (unsigned char *)(uintptr_t)buffers->inputs[t->offset] + buffers->first * t->image * t->element;
    } else {
        v.data = buffers->outputs[t->offset] + buffers->first * t->image;
    }
    return v;
}

void bnn_context_run_op(const struct bnn_context *c, uint32_t number, size_t images, size_t slot, size_t worker,
                        const struct bnn_buffers *buffers, size_t row_begin, size_t row_end, float *raw)
{
    const struct bnn_op *op = &c->model->ops[number];
    struct bnn_view inputs[BNN_MAX_INPUTS];
    struct bnn_tensor dense;
    struct bnn_run r;
    for (uint32_t i = 0; i < op->input_count; i++) {
        inputs[i] = bnn_context_view(c, op->inputs[i], slot, buffers);
    }
    r.model = c->model;
    r.op = op;
    r.inputs = inputs;
    r.output = bnn_context_view(c, op->output, slot, buffers);
    r.images = images;
    r.row_begin = row_begin;
    r.row_end = row_end;
    r.nan = c->nan + worker * c->nan_stride;
    r.scratch = c->scratch + worker * c->scratch_stride;
    r.raw = raw != NULL;
    if (raw != NULL) {
        dense = *r.output.tensor;
        dense.dtype = BNN_F32;
        dense.top = dense.left = dense.bottom = dense.right = 0;
        dense.words = dense.c;
        dense.row = (size_t)dense.w * dense.c;
        dense.image = dense.h * dense.row;
        dense.interior = 0;
        r.output.tensor = &dense;
        r.output.data = raw;
        r.output.image = dense.image;
    }
    op->row->run(&r);
}

/* One op spread by rows over the workers: range `index` of `ranges`. */
struct rows {
    const struct bnn_context *context;
    const struct bnn_buffers *buffers;
    uint32_t op;
    size_t images, height, ranges;
};

static void run_rows(void *argument, size_t index, size_t worker)
{
    const struct rows *s = argument;
    size_t begin = s->height * index / s->ranges, end = s->height * (index + 1) / s->ranges;
    bnn_context_run_op(s->context, s->op, s->images, 0, worker, s->buffers, begin, end, NULL);
}

static int worth_spreading(const struct bnn_model *m, uint32_t number, size_t images)
{
    const struct bnn_op *op = &m->ops[number];
    const struct bnn_tensor *out = &m->tensors[op->output];
    bnn_op_info info;
    if (!op->row->by_rows || out->h < 2) {
        return 0;
    }
    bnn_get_op(m, number, &info);
    /* In units of about a vectorised float operation: those of a convolution are 16 at a time, binary ones 256. */
    uint64_t elements = (uint64_t)out->h * out->w * out->c;
    return (elements + info.float_macs / 8 + info.byte_macs / 16 + info.binary_macs / 128) * images >=
           (uint64_t)BNN_WORTH_SPREADING;
}

static void spread_rows(const struct bnn_context *c, uint32_t op, size_t images, const struct bnn_buffers *buffers)
{
    size_t height = c->model->tensors[c->model->ops[op].output].h;
    if (c->parallel_for != NULL && c->workers > 1 && worth_spreading(c->model, op, images)) {
        size_t ranges = c->workers * RANGES; /* the context has flags for each: no overflow */
        struct rows s = {c, buffers, op, images, height, height < ranges ? height : ranges};
        c->parallel_for(c->pool, run_rows, &s, s.ranges);
    } else {
        bnn_context_run_op(c, op, images, 0, 0, buffers, 0, height, NULL);
    }
}

/* Whether any of the workers' flags names one of the images from `image` on. */
static int flagged(const struct bnn_context *c, size_t image, size_t images, size_t first_worker, size_t workers)
{
    int found = 0;
    for (size_t w = first_worker; w < first_worker + workers; w++) {
        for (size_t i = image; i < image + images; i++) {
            found |= c->nan[w * c->nan_stride + i];
        }
    }
    return found;
}

/* The outputs of flagged images are not numbers; those of all images, where each goes into all. */
static void poison(const struct bnn_context *c, size_t images, size_t first_worker, size_t workers,
                   const struct bnn_buffers *buffers)
{
    int together = c->model->whole_batch, any = together && flagged(c, 0, images, first_worker, workers);
    for (size_t i = 0; i < images; i++) {
        int found = together ? any : flagged(c, i, 1, first_worker, workers);
        for (uint32_t k = 0; found && k < c->model->output_count; k++) {
            struct bnn_view v = bnn_context_view(c, c->model->output_tensors[k], 0, buffers);
            float *out = (float *)v.data + i * v.image;
            for (size_t e = 0; e < v.image; e++) {
                out[e] = NAN;
            }
        }
    }
}

/* A batch cut into chunks of at most the context's images. */
struct batch {
    const struct bnn_context *context;
    const void *const *inputs;
    float *const *outputs;
    size_t count, chunk;
};

static void run_chunk(void *argument, size_t index, size_t worker)
{
    const struct batch *b = argument;
    const struct bnn_context *c = b->context;
    struct bnn_buffers buffers = {b->inputs, b->outputs, index * b->chunk};
    size_t left = b->count - buffers.first, images = left < b->chunk ? left : b->chunk;
    memset(c->nan + worker * c->nan_stride, 0, images);
    for (uint32_t k = 0; k < c->model->op_count; k++) {
        size_t height = c->model->tensors[c->model->ops[k].output].h;
        bnn_context_run_op(c, k, images, worker, worker, &buffers, 0, height, NULL);
    }
    poison(c, images, worker, 1, &buffers);
}

/* All workers on one chunk after another. */
static void run_together(const struct batch *b)
{
    const struct bnn_context *c = b->context;
    for (size_t first = 0; first < b->count; first += b->chunk) {
        struct bnn_buffers buffers = {b->inputs, b->outputs, first};
        size_t left = b->count - first, images = left < b->chunk ? left : b->chunk;
        for (size_t w = 0; w < c->workers; w++) {
            memset(c->nan + w * c->nan_stride, 0, images);
        }
        for (uint32_t k = 0; k < c->model->op_count; k++) {
            uint64_t before = c->profile != NULL ? c->clock() : 0;
            spread_rows(c, k, images, &buffers);
            if (c->profile != NULL) {
                c->profile(c->profile_argument, k, c->clock() - before);
            }
        }
        poison(c, images, 0, c->workers, &buffers);
    }
}

bnn_status bnn_run(bnn_context *context, const void *const *inputs, float *const *outputs, size_t batch)
{
    if (context == NULL) {
        return BNN_ERROR_ARGUMENT;
    }
    if (batch == 0) {
        return BNN_OK;
    }
    const struct bnn_model *m = context->model;
    if (inputs == NULL || outputs == NULL) {
        return BNN_ERROR_ARGUMENT;
    }
    for (uint32_t i = 0; i < m->input_count + m->output_count; i++) {
        int in = i < m->input_count;
        const void *data = in ? inputs[i] : outputs[i - m->input_count];
        const struct bnn_tensor *t = &m->tensors[in ? m->input_tensors[i] : m->output_tensors[i - m->input_count]];
        if (data == NULL || (uintptr_t)data % t->element != 0) {
            return BNN_ERROR_ARGUMENT;
        }
        if (batch > SIZE_MAX / 2 / t->bytes) {
            return BNN_ERROR_LIMIT;
        }
    }

    if (m->whole_batch && batch > context->images) {
        return BNN_ERROR_BATCH;
    }
    size_t workers = context->parallel_for == NULL ? 1 : context->workers;
    struct batch b = {context, inputs, outputs, batch, batch < context->images ? batch : context->images};
    if (workers == 1 || batch < workers || context->profile != NULL || m->whole_batch) {
        run_together(&b);
        return BNN_OK;
    }
    /* As few rounds as the micro-batch allows, and chunks of the same size in all of them. */
    size_t round = workers * context->images; /* context_create found no overflow in more than this */
    size_t rounds = batch / round + (batch % round != 0);
    size_t chunks = rounds * workers;
    b.chunk = batch / chunks + (batch % chunks != 0);
    context->parallel_for(context->pool, run_chunk, &b, batch / b.chunk + (batch % b.chunk != 0));
    return BNN_OK;
}
