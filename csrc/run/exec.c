/* SPDX-License-Identifier: Apache-2.0 */
/* Running a model: one micro-batch after another, one op after another.
 *
 * Threads (spread.c) and polls (poll.c) come in through the context, in which the functions that set them leave their
 * functions: a program that sets none does not contain them. */
#include "run/context.h"

#include <math.h>
#include <string.h>

void bnn_context_run_part(const struct bnn_context *c, uint32_t op, size_t images, const struct bnn_buffers *buffers,
                          const struct bnn_part *part, float *raw)
{
    if (c->spreading != NULL && raw == NULL)
        c->spreading->rows(c, op, images, buffers, part);
    else
        bnn_context_run_op(c, op, images, 0, 0, buffers, part, raw);
}

bnn_status bnn_context_step(struct bnn_context *c, uint32_t op, size_t images, const struct bnn_buffers *buffers,
                            float *raw)
{
    if (c->polled_step != NULL)
        return c->polled_step(c, op, images, buffers, raw);
    struct bnn_part part = bnn_whole(c->model, op, images);
    bnn_context_run_part(c, op, images, buffers, &part, raw);
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

void bnn_context_poison(const struct bnn_context *c, size_t images, size_t first_worker, size_t workers,
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

/* All workers on one chunk after another. */
static bnn_status run_together(struct bnn_context *c, const void *const *inputs, float *const *outputs, size_t batch)
{
    for (size_t first = 0; first < batch; first += c->images) {
        struct bnn_buffers buffers = {inputs, outputs, first};
        size_t left = batch - first, images = left < c->images ? left : c->images;
        for (size_t w = 0; w < c->workers; w++)
            memset(c->nan + w * c->nan_stride, 0, images);
        for (uint32_t k = 0; k < c->model->op_count; k++) {
            if (bnn_runs_later(c->model, k))
                continue;
            uint64_t before = c->profile != NULL ? c->clock() : 0;
            if (bnn_context_step(c, k, images, &buffers, NULL) != BNN_OK)
                return BNN_ERROR_STOPPED;
            if (c->profile != NULL)
                c->profile(c->profile_argument, k - c->model->ops[k].before, c->clock() - before);
        }
        bnn_context_poison(c, images, 0, c->workers, &buffers);
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
    size_t workers = bnn_context_hands(context);
    if (workers == 1 || batch < workers || context->profile != NULL || m->whole_batch)
        return run_together(context, inputs, outputs, batch);
    return context->spreading->batch(context, inputs, outputs, batch);
}
