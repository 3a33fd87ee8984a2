/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/elements.h"

#include <string.h>

/* Whether it has a number per channel, the same ones for all pixels. */
static int repeats(const struct bnn_step *s)
{
    return !s->stays && s->pixel == 0;
}

#ifndef BNN_SMALL /* 2 KB of the stack */
enum { BLOCK = 16, PERIOD = 128, PERIODS = 4 };

/* The least number of pixels whose channels fill blocks, or 1; `room` gets that many repetitions of what repeats. */
static size_t repeat(struct bnn_step *steps, size_t count, size_t channels, size_t pixels, float room[][PERIOD])
{
    size_t together = 1, used = 0;
    while (channels * together % BLOCK != 0)
        together++;
    for (size_t i = 0; i < count; i++)
        used += (size_t)repeats(&steps[i]);
    if (together == 1 || together > pixels || channels * together > PERIOD || used > PERIODS)
        return 1;
    for (size_t i = 0; i < count; i++)
        if (repeats(&steps[i])) {
            for (size_t k = 0; k < together; k++)
                memcpy(*room + k * channels, steps[i].first, channels * sizeof **room);
            steps[i].first = *room++;
        }
    return together;
}
#endif

void bnn_compute(const struct bnn_run *r, float *out, size_t pixels, const struct bnn_step *given, size_t count)
{
    struct bnn_step steps[BNN_MOST_STEPS];
    size_t channels = r->output.tensor->c, together = pixels; /* as one pixel with all their channels */
    memcpy(steps, given, count * sizeof *steps);
    int some_repeat = 0, apart = 0;
    for (size_t i = 0; i < count; i++) {
        some_repeat |= repeats(&steps[i]);
        apart |= !repeats(&steps[i]) && steps[i].pixel != (steps[i].stays ? 0 : channels);
    }
#ifndef BNN_SMALL
    float room[PERIODS][PERIOD];
    if (some_repeat && !apart)
        together = repeat(steps, count, channels, pixels, room);
#else
    apart |= some_repeat;
#endif
    if (apart)
        together = 1;
    size_t rest = pixels % together, joined = pixels - rest;
    for (size_t i = 0; i < count; i++)
        steps[i].pixel *= together;
    const struct bnn_elements all = {out, joined / together, channels * together, steps, count};
    r->model->kernels->compute(&all);
    if (rest == 0)
        return;
    for (size_t i = 0; i < count; i++)
        steps[i].first += joined * given[i].pixel;
    const struct bnn_elements last = {out + joined * channels, 1, channels * rest, steps, count};
    r->model->kernels->compute(&last);
}

/* Whether a tensor's rows follow each other like those of another one; or it has the same numbers for all pixels. */
static int goes_along(const struct bnn_tensor *t, const struct bnn_tensor *with)
{
    return (t->h == 1 && t->w == 1) || (t->h == with->h && t->w == with->w && t->row == (size_t)t->w * t->c);
}

/* The ops that run: the first of them, with its inputs. */
static struct bnn_run first_op(const struct bnn_run *r)
{
    struct bnn_run one = *r;
    for (one.op -= r->before; one.op < r->op; one.op++)
        one.inputs -= one.op->input_count;
    one.op = r->op - r->before;
    return one;
}

static void move_on(struct bnn_run *one)
{
    one->inputs += one->op->input_count;
    one->op++;
}

/* The steps of all the ops that run; each takes up what the one before it made. */
static size_t make_steps(const struct bnn_run *r, size_t image, size_t y, struct bnn_step *steps)
{
    struct bnn_run one = first_op(r);
    size_t count = one.op->row->pass->steps(&one, image, y, steps);
    while (one.op < r->op) {
        uint32_t made = one.op->output;
        struct bnn_step *own = steps + count - 1, last = *own; /* where the op's own first step would set this */
        move_on(&one);
        count += one.op->row->pass->steps(&one, image, y, own) - 1;
        if (one.op->inputs[0] != made) {
            own->op = own[1].op;
            own[1] = *own;
        }
        *own = last;
    }
    return count;
}

void bnn_compute_run(const struct bnn_run *r)
{
    struct bnn_step steps[BNN_MOST_STEPS];
    const struct bnn_tensor *t = r->output.tensor;
    int along = t->row == (size_t)t->w * t->c;
    for (struct bnn_run one = first_op(r); one.op <= r->op; move_on(&one))
        for (uint32_t i = 0; i < one.op->input_count; i++)
            along &= goes_along(one.inputs[i].tensor, t);
    size_t rows = along ? r->row_end - r->row_begin : 1;
    for (size_t i = 0; i < r->images; i++)
        for (size_t y = r->row_begin; y < r->row_end; y += rows) {
            size_t count = make_steps(r, i, y, steps);
            bnn_compute(r, bnn_row_floats(&r->output, i, y), rows * t->w, steps, count);
        }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}
