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

void bnn_compute_run(const struct bnn_run *r, bnn_steps *make)
{
    struct bnn_step steps[BNN_MOST_STEPS];
    const struct bnn_tensor *t = r->output.tensor;
    int along = t->row == (size_t)t->w * t->c;
    for (uint32_t i = 0; i < r->op->input_count; i++)
        along &= goes_along(r->inputs[i].tensor, t);
    size_t rows = along ? r->row_end - r->row_begin : 1;
    for (size_t i = 0; i < r->images; i++)
        for (size_t y = r->row_begin; y < r->row_end; y += rows) {
            size_t count = make(r, i, y, steps);
            bnn_compute(r, bnn_row_floats(&r->output, i, y), rows * t->w, steps, count);
        }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}
