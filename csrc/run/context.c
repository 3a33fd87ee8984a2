/* SPDX-License-Identifier: Apache-2.0 */
/* A context's memory: its layout, the places of tensors in it, and running one op in it. */
#include "run/context.h"
#include "model/validate.h"
#include "run/view.h"
#include "run/window.h"

#include <string.h>

/* Bytes of a context's own copies of inputs, outputs and passed tensors, among those below number `end`. */
static uint64_t home_bytes(const struct bnn_model *m, size_t end, size_t images)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < end; i++) {
        const struct bnn_tensor *t = &m->tensors[i];
        int own = t->storage != BNN_ARENA && t->storage != BNN_CONSTANT;
        bytes = bnn_plus(bytes, own ? bnn_lines(bnn_times(t->bytes, images)) : 0);
    }
    return bytes;
}

/* Lays out the context; memory NULL: only measures.  `home`: with the copies.  0 on overflow. */
static int lay_out(const struct bnn_model *m, size_t images, size_t workers, int home, unsigned char *memory,
                   struct bnn_context *c, size_t *bytes)
{
    uint64_t arena = bnn_times(images, m->arena), scratch = bnn_lines(m->scratch), nan = bnn_lines(images);
    size_t arenas = m->whole_batch ? 1 : workers; /* a whole batch is never spread over arenas */
    uint64_t at_scratch = bnn_plus(bnn_lines(sizeof *c), bnn_times(arenas, arena));
    uint64_t at_nan = bnn_plus(at_scratch, bnn_times(workers, scratch));
    uint64_t views = bnn_lines(m->most_inputs * sizeof(struct bnn_view)); /* of an op's inputs */
    uint64_t at_views = bnn_plus(at_nan, bnn_times(workers, nan));
    uint64_t at_home = bnn_plus(at_views, bnn_times(workers, views));
    uint64_t total = home ? bnn_plus(at_home, home_bytes(m, m->tensor_count, images)) : at_home;
    if (total > SIZE_MAX / 2)
        return 0;
    *bytes = (size_t)total;
    if (memory != NULL) {
        c->arena = memory + bnn_lines(sizeof *c);
        c->scratch = memory + at_scratch;
        c->nan = memory + at_nan;
        c->views = memory + at_views;
        c->home = home ? memory + at_home : NULL;
        c->arena_stride = (size_t)arena;
        c->scratch_stride = (size_t)scratch;
        c->nan_stride = (size_t)nan;
        c->views_stride = (size_t)views;
    }
    return 1;
}

static bnn_status size_of(const bnn_model *model, size_t images, size_t workers, int home, size_t *bytes)
{
    struct bnn_context unused;
    if (model == NULL || images == 0 || workers == 0 || bytes == NULL)
        return BNN_ERROR_ARGUMENT;
    return lay_out(model, images, workers, home, NULL, &unused, bytes) ? BNN_OK : BNN_ERROR_LIMIT;
}

bnn_status bnn_context_size(const bnn_model *model, size_t images, size_t workers, size_t *bytes)
{
    return size_of(model, images, workers, 0, bytes);
}

bnn_status bnn_stepping_size(const bnn_model *model, size_t images, size_t workers, size_t *bytes)
{
    return size_of(model, images, workers, 1, bytes);
}

bnn_status bnn_context_create(const bnn_model *model, size_t images, size_t workers, void *memory, size_t memory_size,
                              bnn_context **context)
{
    size_t bytes, more = SIZE_MAX;
    if (context == NULL)
        return BNN_ERROR_ARGUMENT;
    *context = NULL;
    bnn_status status = bnn_context_size(model, images, workers, &bytes);
    if (status != BNN_OK)
        return status;
    if (memory == NULL || memory_size < bytes || (uintptr_t)memory % BNN_ALIGNMENT != 0)
        return BNN_ERROR_MEMORY;
    struct bnn_context *c = memory;
    memset(c, 0, sizeof *c);
    c->model = model;
    c->images = images;
    c->workers = workers;
    (void)bnn_stepping_size(model, images, workers, &more);
    lay_out(model, images, workers, memory_size >= more, memory, c, &bytes);
    *context = c;
    return BNN_OK;
}

void bnn_context_set_profile(bnn_context *context, bnn_clock *clock, bnn_profile *profile, void *argument)
{
    context->clock = clock;
    context->profile = clock == NULL ? NULL : profile;
    context->profile_argument = argument;
}

struct bnn_view bnn_context_view(const struct bnn_context *c, uint32_t tensor, size_t slot,
                                 const struct bnn_buffers *buffers)
{
    const struct bnn_tensor *t = &c->model->tensors[tensor];
    struct bnn_view v = {.tensor = t, .image = t->image};
    if (t->storage == BNN_CONSTANT) {
        v.data = (void *)(uintptr_t)t->data; /* ops only read their inputs */
        v.image = 0;
    } else if (t->storage == BNN_ARENA) {
        v.data = c->arena + slot * c->arena_stride + t->offset * c->images + bnn_interior(t) * t->element;
    } else if (buffers->inputs == NULL) {
        v.data = c->home + home_bytes(c->model, tensor, c->images);
    } else if (t->storage == BNN_PASSED) {
        v.image = 0; /* some rows of one image: run_pair gives them */
    } else if (t->storage == BNN_INPUT) {
        v.data = (unsigned char *)(uintptr_t)buffers->inputs[t->offset] + buffers->first * t->image * t->element;
    } else {
        v.data = buffers->outputs[t->offset] + buffers->first * t->image;
    }
    return v;
}

/* A view of the images from one on; a constant is the same for all images. */
static struct bnn_view view_from(struct bnn_view v, size_t image)
{
    if (v.image != 0) /* the data of coded constants are NULL, to which not even 0 may be added */
        v.data = (unsigned char *)v.data + image * v.image * v.tensor->element;
    return v;
}

void bnn_run_op(const struct bnn_run *r)
{
    const struct bnn_op_row *row = r->op->row;
    if (row->run != NULL) {
        row->run(r);
        return;
    }
    for (size_t i = 0; i < r->images; i++)
        for (size_t y = r->row_begin; y < r->row_end; y++)
            row->row(r, i, y);
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

static void find_inputs(const struct bnn_context *c, const struct bnn_op *op, size_t slot,
                        const struct bnn_buffers *buffers, size_t first, struct bnn_view *inputs)
{
    for (uint32_t i = 0; i < op->input_count; i++)
        inputs[i] = view_from(bnn_context_view(c, op->inputs[i], slot, buffers), first);
}

/* An op, and the convolution before it, which passes it the rows for some rows of its output at a time: a band, at the
 * beginning of the scratch memory.  `own`: the convolution's inputs, at the first image. */
static void run_pair(struct bnn_run *r, struct bnn_view *own)
{
    const struct bnn_op *op = r->op - 1;
    struct bnn_view *inputs = own + op->input_count; /* of the op that takes the rows */
    const struct bnn_tensor *t = inputs[0].tensor;
    const struct bnn_band band = bnn_band_of(r->model, r->op);
    inputs[0].data = r->scratch;
    r->scratch = (unsigned char *)r->scratch + band.bytes;
    struct bnn_run conv = *r;
    conv.op = op;
    conv.inputs = own;
    conv.images = 1;
    conv.column_end = op->columns;
    conv.block_end = op->blocks;
    for (size_t i = 0; i < r->images; i++, conv.nan++) {
        for (size_t y = r->row_begin, end; y < r->row_end; y = end) {
            end = r->row_end - y < band.outputs ? r->row_end : y + band.outputs;
            conv.row_begin = bnn_rows_taken(r->op, y, t->h).begin;
            conv.row_end = bnn_rows_taken(r->op, end - 1, t->h).end;
            inputs[0].first = conv.row_begin;
            conv.output = inputs[0];
            bnn_run_op(&conv);
            for (size_t k = y; k < end; k++)
                r->op->row->row(r, i, k);
        }
        for (uint32_t k = 0; k < op->input_count; k++)
            own[k] = view_from(own[k], 1);
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

void bnn_context_run_op(const struct bnn_context *c, uint32_t number, size_t images, size_t slot, size_t worker,
                        const struct bnn_buffers *buffers, const struct bnn_part *part, float *raw)
{
    const struct bnn_op *op = &c->model->ops[number];
    struct bnn_view *inputs = (struct bnn_view *)(void *)(c->views + worker * c->views_stride);
    struct bnn_view output = bnn_context_view(c, op->output, slot, buffers);
    size_t first = part->begin[BNN_IMAGES];
    uint32_t before = buffers->inputs != NULL ? op->before : 0;
    for (const struct bnn_op *o = op - before;; inputs += o->input_count, o++) {
        find_inputs(c, o, slot, buffers, first, inputs);
        if (o == op)
            break;
    }
    struct bnn_tensor dense;
    if (raw != NULL) {
        dense = *output.tensor;
        dense.dtype = BNN_F32;
        dense.top = dense.left = dense.bottom = dense.right = 0;
        dense.words = dense.c;
        dense.row = (size_t)dense.w * dense.c;
        dense.image = dense.h * dense.row;
        output = (struct bnn_view){.tensor = &dense, .data = raw, .image = dense.image};
    }
    struct bnn_run r = {
        .model = c->model,
        .op = op,
        .before = before,
        .inputs = inputs,
        .output = view_from(output, first),
        .images = part->end[BNN_IMAGES] - first,
        .first = first,
        .batch = images,
        .row_begin = part->begin[BNN_ROWS],
        .row_end = part->end[BNN_ROWS],
        .column_begin = part->begin[BNN_COLUMNS],
        .column_end = part->end[BNN_COLUMNS],
        .block_begin = part->begin[BNN_BLOCKS],
        .block_end = part->end[BNN_BLOCKS],
        .nan = c->nan + worker * c->nan_stride + first,
        .scratch = c->scratch + worker * c->scratch_stride,
        .raw = raw != NULL,
        .bare = raw != NULL && c->bare,
    };
    if (before != 0 && op->row->pass == NULL)
        run_pair(&r, inputs - op[-1].input_count);
    else
        bnn_run_op(&r);
}
