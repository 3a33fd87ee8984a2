/* SPDX-License-Identifier: Apache-2.0 */
/* Projections: the weights of the sources that sent something are added to the targets' currents, from the lowest source
 * to the highest.  Rows of whole numbers are summed apart, and then added with their scale. */
#include "snn/snn.h"

#include "bits.h"

#include <string.h>

/* The sources that sent something, by number, in s->index; s->values: what they sent, if not single spikes. */
static size_t collect(const struct bnn_snn_state *s, const struct bnn_snn_projection *p)
{
    const struct bnn_snn_population *from = &s->net->populations[p->source];
    const unsigned char *frame = bnn_snn_frame(s, p->source, s->time + from->depth - p->delay);
    const uint32_t *words = (const uint32_t *)(const void *)frame;
    const float *values = (const float *)(const void *)frame;
    size_t n = 0;
    if (from->emits == BNN_SNN_SPIKES) {
        for (size_t k = 0; k < bnn_snn_words(from->n); k++) {
            uint32_t word = p->mask == NULL ? words[k] : words[k] & p->mask[k];
            for (; word != 0; word &= word - 1)
                s->index[n++] = (uint32_t)(32 * k + bnn_lowest_bit(word));
        }
        return n;
    }
    for (uint32_t i = 0; i < from->n; i++) {
        if (values[i] == 0 || (p->mask != NULL && !(p->mask[i / 32] >> i % 32 & 1)))
            continue;
        s->index[n] = i;
        if (p->whole) {
            int32_t count = (int32_t)values[i]; /* of counts and changes: BNN_SNN_MOST at most */
            memcpy(&s->values[n], &count, sizeof count);
        } else {
            memcpy(&s->values[n], &values[i], sizeof *values);
        }
        n++;
    }
    return n;
}

/* Rows to be added: kernels' arguments by the type of the weights. */
struct sums {
    const struct bnn_kernels *kernels;
    const void *weights;
    float *floats;   /* or */
    uint32_t *whole; /* the targets */
};

/* Adds `count` elements of the rows at weights + index * row, times the values, to the targets from `to` on. */
static void add(const struct sums *sums, size_t to, const struct bnn_snn_projection *p, size_t from, size_t row,
                const uint32_t *index, const void *values, size_t n, size_t count)
{
    if (p->whole)
        sums->kernels->sum_byte_rows(sums->whole + to, (const int8_t *)sums->weights + from, row, index, values, n,
                                     count);
    else
        sums->kernels->sum_rows(sums->floats + to, (const float *)sums->weights + from, row, index, values, n, count);
}

static void diagonal(struct bnn_snn_state *s, const struct sums *sums, const struct bnn_snn_projection *p,
                     const void *values, size_t n)
{
    const float *v = values;
    const uint32_t *whole = values;
    for (size_t k = 0; k < n; k++) {
        uint32_t i = s->index[k];
        if (p->whole)
            sums->whole[i] += (uint32_t)((const int8_t *)p->weights)[i % p->row] * (whole == NULL ? 1 : whole[k]);
        else
            sums->floats[i] += ((const float *)p->weights)[i % p->row] * (v == NULL ? 1 : v[k]);
    }
}

/* Horizontal taps of a kernel that a source reaches: in the file, the taps of each phase (kernel column modulo stride)
 * follow each other, the last first, because these reach neighbouring targets. */
struct taps {
    uint32_t at;    /* place of the first in the kernel's row */
    uint32_t count; /* contiguous taps */
    uint32_t x;     /* target of the first */
};

static struct taps taps_of(const struct bnn_snn_projection *p, uint32_t x, uint32_t width)
{
    const uint32_t kw = p->kernel[1], stride = p->stride[1], phase = (x + p->padding[1]) % stride;
    const uint32_t most = kw / stride + (phase < kw % stride); /* taps of this phase */
    const uint32_t reach = (x + p->padding[1]) / stride;       /* the target of the phase's first column */
    uint32_t first = reach < width ? 0 : reach - width + 1, end = reach + 1 < most ? reach + 1 : most;
    if (phase >= kw || first >= end)
        return (struct taps){0, 0, 0};
    uint32_t before = phase * (kw / stride) + (phase < kw % stride ? phase : kw % stride);
    return (struct taps){before + most - end, end - first, reach + 1 - end};
}

/* A source of a convolution: weights [source channel][kernel row][taps, see above][target channel of the group]. */
static uint64_t convolve(const struct sums *sums, const struct bnn_snn_projection *p,
                         const struct bnn_snn_population *from, const struct bnn_snn_population *to, uint32_t source,
                         const void *value)
{
    static const uint32_t zero = 0;
    const uint32_t channel = source % from->c, x = source / from->c % from->w, y = source / from->c / from->w;
    const uint32_t width = to->c / p->groups, first = channel / (from->c / p->groups) * width;
    const struct taps taps = taps_of(p, x, to->w);
    uint64_t added = 0;
    for (uint32_t ky = 0; ky < p->kernel[0]; ky++) {
        uint32_t down = ky * p->dilation[0];
        if (down > y + p->padding[0])
            break;
        uint32_t oy = (y + p->padding[0] - down) / p->stride[0];
        if ((y + p->padding[0] - down) % p->stride[0] != 0 || oy >= to->h)
            continue;
        const size_t row = ((size_t)channel * p->kernel[0] + ky) * p->kernel[1];
        const size_t target = (size_t)oy * to->w * to->c + first;
        if (p->dilation[1] == 1 && p->groups == 1) {
            add(sums, target + (size_t)taps.x * to->c, p, (row + taps.at) * width, 0, &zero, value, 1,
                (size_t)taps.count * width);
            added += (uint64_t)taps.count * width;
            continue;
        }
        for (uint32_t kx = 0; kx < p->kernel[1]; kx++) { /* in the file: the last first, as for a stride of 1 */
            uint32_t right = kx * p->dilation[1];
            if (right > x + p->padding[1])
                break;
            uint32_t ox = (x + p->padding[1] - right) / p->stride[1];
            if ((x + p->padding[1] - right) % p->stride[1] != 0 || ox >= to->w)
                continue;
            add(sums, target + (size_t)ox * to->c, p, (row + p->kernel[1] - 1 - kx) * width, 0, &zero, value, 1, width);
            added += width;
        }
    }
    return added;
}

static void add_bias(const struct bnn_snn_state *s, const struct bnn_snn_projection *p, float *current)
{
    for (uint32_t i = 0; i < s->net->populations[p->target].n; i++)
        current[i] += p->bias.data[i % p->bias.period];
}

void bnn_snn_scatter(struct bnn_snn_state *s, uint32_t projection)
{
    const struct bnn_snn_projection *p = &s->net->projections[projection];
    const struct bnn_snn_population *from = &s->net->populations[p->source], *to = &s->net->populations[p->target];
    const struct bnn_snn_neurons *neurons = &s->neurons[p->target];
    const int own = p->source == p->target && neurons->own != NULL;
    const struct sums sums = {s->net->kernels, p->learns ? s->plastic[projection].weights : p->weights,
                              own ? neurons->own : neurons->current, s->sums};
    const void *values = from->emits == BNN_SNN_SPIKES ? NULL : s->values;
    if (p->bias.data != NULL && (own || s->time >= p->delay))
        add_bias(s, p, sums.floats);
    const size_t n = collect(s, p);
    if (n == 0 || bnn_snn_pause(s, from->n))
        return;
    if (p->whole)
        memset(s->sums, 0, sizeof *s->sums * to->n);
    if (p->kind == BNN_SNN_DENSE) {
        const size_t some = BNN_POLL_WORK / p->row + 1;
        for (size_t first = 0; first < n && !bnn_snn_pause(s, (uint64_t)some * p->row); first += some)
            add(&sums, 0, p, 0, p->row, s->index + first, values == NULL ? NULL : s->values + first,
                n - first < some ? n - first : some, p->row);
        s->synops[projection] += (uint64_t)n * to->n;
    } else if (p->kind == BNN_SNN_DIAGONAL) {
        diagonal(s, &sums, p, values, n);
        s->synops[projection] += n;
    } else {
        for (size_t k = 0; k < n; k++) {
            uint64_t added = convolve(&sums, p, from, to, s->index[k], values == NULL ? NULL : &s->values[k]);
            s->synops[projection] += added;
            if (bnn_snn_pause(s, added + p->kernel[0]))
                return;
        }
    }
    if (p->whole)
        for (uint32_t i = 0; i < to->n; i++)
            sums.floats[i] += (float)(int32_t)s->sums[i] * p->scale;
}
