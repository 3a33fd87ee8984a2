/* SPDX-License-Identifier: Apache-2.0 */
/* Polls: work is divided into pieces, and the calling thread polls between two of them. */
#include "run/context.h"

int bnn_context_stopped_after(struct bnn_context *c, uint64_t work)
{
    c->unasked = bnn_plus(c->unasked, work);
    if (c->poll == NULL || c->unasked < (uint64_t)BNN_PIECE)
        return 0;
    c->unasked = 0;
    return c->poll(c->poll_argument) != 0;
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

static bnn_status step(struct bnn_context *c, uint32_t op, size_t images, const struct bnn_buffers *buffers, float *raw)
{
    struct bnn_part part = bnn_whole(c->model, op, images);
    size_t sharing = raw == NULL ? bnn_context_hands(c) : 1;
    uint64_t work = bnn_times(bnn_load(c->model, op), images);
    struct bnn_cut cut = {.whole = part, .work = work};
    if (work > (uint64_t)BNN_PIECE) {
        cut = cut_for(c->model, op, images, &sharing);
        bnn_next_part(&cut, &part);
    }
    do {
        bnn_context_run_part(c, op, images, buffers, &part, raw);
        if (bnn_context_stopped_after(c, cut.work / sharing))
            return BNN_ERROR_STOPPED;
    } while (cut.begun && bnn_next_part(&cut, &part));
    return BNN_OK;
}

void bnn_context_set_poll(bnn_context *context, bnn_poll *poll, void *argument)
{
    context->polled_step = poll != NULL ? step : NULL;
    context->poll = poll;
    context->poll_argument = argument;
}
