/* SPDX-License-Identifier: Apache-2.0 */
/* Projections: the weights of the sources that sent something are added to the targets' currents, from the lowest source
 * to the highest.  Rows of whole numbers are summed apart, and then added with their scales. */
#include "snn/snn.h"

#include <string.h>

/* The sources that sent something, by number, in s->index; s->values: what they sent, if not single spikes. */
static size_t collect(const struct bnn_snn_state *s, const struct bnn_snn_projection *p)
{
    const struct bnn_snn_population *from = &s->net->populations[p->source];
    unsigned char *frame = bnn_snn_frame(s, p->source, s->time + from->depth - p->delay);
    const float *values = (const float *)(const void *)frame;
    size_t n = 0;
    for (struct bnn_snn_span span = {0}; bnn_snn_next_span(bnn_snn_marks(from, frame), from->n, &span);) {
        const uint32_t *words = (const uint32_t *)(const void *)frame + span.block;
        const size_t count = span.end_block - span.block;
        if (from->emits != BNN_SNN_SPIKES) {
            (void)s->net->kernels->nonzero(s->bits, values + span.first, span.count);
            words = s->bits;
        }
        for (size_t k = 0; p->mask != NULL && k < count; k++)
            s->bits[k] = words[k] & p->mask[span.block + k];
        const size_t end = n + s->net->kernels->find_bits(s->index + n, p->mask == NULL ? words : s->bits, count);
        for (; span.first != 0 && n < end; n++)
            s->index[n] += span.first;
        n = end;
    }
    if (from->emits == BNN_SNN_SPIKES)
        return n;
    for (size_t k = 0; k < n; k++)
        if (p->whole)
            s->values[k] = (uint32_t)(int32_t)values[s->index[k]]; /* of counts and changes: BNN_SNN_MOST at most */
        else
            memcpy(&s->values[k], &values[s->index[k]], sizeof *values);
    return n;
}

/* Rows to be added: kernels' arguments by the type of the weights. */
struct sums {
    const struct bnn_spike_kernels *kernels;
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

/* Adds runs of `count` weights of one source; see the kernels.  value: what it sends, NULL: 1. */
static void add_runs(const struct sums *sums, size_t to, ptrdiff_t step, const struct bnn_snn_projection *p,
                     size_t from, ptrdiff_t stride, size_t runs, size_t count, const void *value)
{
    if (p->whole)
        sums->kernels->add_byte_runs(sums->whole + to, step, (const int8_t *)sums->weights + from, stride, runs, count,
                                     value == NULL ? 1 : *(const uint32_t *)value);
    else
        sums->kernels->add_runs(sums->floats + to, step, (const float *)sums->weights + from, stride, runs, count,
                                value == NULL ? 1 : *(const float *)value);
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

/* Along one axis: what a source at a coordinate reaches.  Taps k with coordinate + padding - k * dilation = target *
 * stride. */
struct bnn_snn_reach bnn_snn_reach_of(const struct bnn_snn_projection *p, int axis, uint32_t coordinate,
                                      uint32_t targets)
{
    const uint32_t kernel = p->kernel[axis], stride = p->stride[axis];
    const uint32_t phase = (coordinate + p->padding[axis]) % stride;
    const uint32_t most = kernel / stride + (phase < kernel % stride); /* taps of this phase */
    const uint32_t far = (coordinate + p->padding[axis]) / stride;     /* the target of the phase's first tap */
    const uint32_t first = far < targets ? 0 : far - targets + 1, end = far + 1 < most ? far + 1 : most;
    if (phase >= kernel || first >= end)
        return (struct bnn_snn_reach){0, 0, 0, 0};
    return (struct bnn_snn_reach){phase + stride * first, end - first, far - first,
                                  bnn_snn_tap_place(kernel, stride, phase + stride * (end - 1))};
}

size_t bnn_snn_reaches(const struct bnn_snn *net, const struct bnn_snn_projection *p)
{
    const struct bnn_snn_population *from = &net->populations[p->source];
    const int slides = p->kind == BNN_SNN_CONV || p->kind == BNN_SNN_WINDOW;
    if (!slides || p->dilation[0] != 1 || p->dilation[1] != 1)
        return 0;
    const size_t rows = BNN_SNN_SHARES && bnn_snn_lists(net, p, SIZE_MAX) ? from->n / 4 + 1 : 0; /* four to a reach */
    return (size_t)from->h + from->w + rows;
}

/* Where the rows of weights of sources are. */
static inline uint32_t *rows_of(const struct bnn_snn_population *from, struct bnn_snn_reach *reach)
{
    return (uint32_t *)(void *)(reach + from->h + from->w);
}

void bnn_snn_find_reaches(const struct bnn_snn *net, const struct bnn_snn_projection *p, struct bnn_snn_reach *reach)
{
    const struct bnn_snn_population *from = &net->populations[p->source], *to = &net->populations[p->target];
    for (uint32_t y = 0; y < from->h; y++)
        reach[y] = bnn_snn_reach_of(p, 0, y, to->h);
    for (uint32_t x = 0; x < from->w; x++)
        reach[from->h + x] = bnn_snn_reach_of(p, 1, x, to->w);
    if (BNN_SNN_SHARES && bnn_snn_lists(net, p, SIZE_MAX))
        bnn_snn_find_rows(p, from, reach + from->h, rows_of(from, reach));
}

/* A convolution's populations, and a source's place. */
struct place {
    const struct bnn_snn_population *from, *to;
    uint32_t pixel; /* its first source */
    uint32_t x, y, channel;
    uint32_t shift; /* of a number of channels that is a power of two, else 32 */
};

static struct place first_place(const struct bnn_snn_population *from, const struct bnn_snn_population *to)
{
    const uint32_t power = (from->c & (from->c - 1)) == 0;
    return (struct place){from, to, 0, 0, 0, 0, power ? bnn_lowest_bit(from->c) : 32};
}

/* Sources rise, so all moves together pass each row once; divisions would take longer. */
static inline void move_to(struct place *at, uint32_t source)
{
    const uint32_t pixels = at->shift < 32 ? (source - at->pixel) >> at->shift : (source - at->pixel) / at->from->c;
    at->pixel += pixels * at->from->c;
    at->channel = source - at->pixel;
    for (at->x += pixels; at->x >= at->from->w; at->x -= at->from->w)
        at->y++;
}

/* Adds the weights of tap (ky, kx) to a target: one that is not contiguous with others. */
static uint64_t add_tap(const struct sums *sums, const struct bnn_snn_projection *p, const struct place *at,
                        uint32_t ky, uint32_t kx, uint32_t oy, uint32_t ox, const void *value)
{
    const uint32_t width = at->to->c / p->groups;
    const uint32_t first = p->groups == at->from->c ? at->channel * width
                           : p->groups == 1         ? 0
                                                    : at->channel / (at->from->c / p->groups) * width;
    const size_t target = ((size_t)oy * at->to->w + ox) * at->to->c + first;
    const size_t weight = /* in the file: the last column first */
        (((size_t)at->channel * p->kernel[0] + ky) * p->kernel[1] + p->kernel[1] - 1 - kx) * width;
    if (width == 1 && p->whole) /* a pool */
        sums->whole[target] +=
            (uint32_t)((const int8_t *)sums->weights)[weight] * (value == NULL ? 1 : *(const uint32_t *)value);
    else if (width == 1)
        sums->floats[target] += ((const float *)sums->weights)[weight] * (value == NULL ? 1 : *(const float *)value);
    else
        add_runs(sums, target, 0, p, weight, 0, 1, width, value);
    return width;
}

/* Sources of a convolution without groups: weights [source channel][kernel row][taps][target channel].  Taps of a phase
 * (kernel column modulo stride) follow each other, the last first, because these reach neighbouring targets. */
static void convolve(struct bnn_snn_state *s, uint32_t projection, const struct sums *sums, struct place at,
                     const uint32_t *values, size_t n)
{
    const struct bnn_snn_projection *p = &s->net->projections[projection];
    const struct bnn_snn_reach *const rows = s->reach[projection], *const columns = rows + at.from->h;
    const size_t width = at.to->c, line = at.to->w * width;
    const size_t kernel = p->kernel[0], taps = p->kernel[1] * width, stride = p->stride[0] * taps;
    uint32_t *const index = s->index;
    uint64_t synops = 0;
    for (size_t k = 0, same; k < n && !s->stopped; k += same) {
        move_to(&at, index[k]);
        const struct bnn_snn_reach down = rows[at.y], right = columns[at.x];
        const size_t count = right.count * width, first = down.tap * taps + right.place * width;
        size_t to = down.target * line + (right.target + 1 - right.count) * width;
        for (same = 1; k + same < n && index[k + same] < at.pixel + at.from->c; same++)
            ;
        if (count == 0 || down.count == 0)
            continue;
        const uint32_t *value = values == NULL ? NULL : values + k;
        if (same == 1)
            add_runs(sums, to, -(ptrdiff_t)line, p, at.channel * kernel * taps + first, (ptrdiff_t)stride, down.count,
                     count, value);
        for (size_t j = 0; same > 1 && j < same; j++) /* channels of a pixel have the same targets */
            index[k + j] -= at.pixel;
        for (uint32_t i = 0; same > 1 && i < down.count; i++, to -= line)
            add(sums, to, p, first + i * stride, kernel * taps, index + k, value, same, count);
        synops += same * down.count * count;
        (void)bnn_snn_pause(s, same * (down.count * count + kernel));
    }
    s->synops[projection] += synops;
}

/* What `convolve` would add. */
static uint64_t count_taps(const struct bnn_snn_state *s, uint32_t projection, struct place at, size_t n)
{
    const struct bnn_snn_reach *const rows = s->reach[projection], *const columns = rows + at.from->h;
    uint64_t taps = 0;
    for (size_t k = 0; k < n; k++) {
        move_to(&at, s->index[k]);
        taps += (uint64_t)rows[at.y].count * columns[at.x].count;
    }
    return taps * at.to->c;
}

/* The values that windows look at. */
static uint64_t count_looks(const struct bnn_snn_population *from, const struct bnn_snn_reach *reach)
{
    uint64_t rows = 0, columns = 0;
    for (uint32_t y = 0; y < from->h; y++)
        rows += reach[y].count;
    for (uint32_t x = 0; x < from->w; x++)
        columns += reach[from->h + x].count;
    return rows * columns * from->c;
}

/* A source of a convolution with groups: the width of a group's targets follows a tap. */
static uint64_t convolve_groups(const struct sums *sums, const struct bnn_snn_projection *p, const struct place *at,
                                const struct bnn_snn_reach *reach, const void *value)
{
    const struct bnn_snn_reach down = reach[at->y], right = reach[at->from->h + at->x];
    uint64_t added = 0;
    for (uint32_t i = 0; i < down.count; i++)
        for (uint32_t j = 0; j < right.count; j++)
            added += add_tap(sums, p, at, down.tap + i * p->stride[0], right.tap + j * p->stride[1], down.target - i,
                             right.target - j, value);
    return added;
}

/* The same with any dilation, tap by tap; with one group and no dilation across, taps would be stored by phase. */
static uint64_t convolve_dilated(const struct sums *sums, const struct bnn_snn_projection *p, const struct place *at,
                                 const void *value)
{
    uint64_t added = 0;
    for (uint32_t ky = 0; ky < p->kernel[0] && ky * p->dilation[0] <= at->y + p->padding[0]; ky++) {
        const uint32_t rows = at->y + p->padding[0] - ky * p->dilation[0], oy = rows / p->stride[0];
        if (rows % p->stride[0] != 0 || oy >= at->to->h)
            continue;
        if (p->dilation[1] == 1 && p->groups == 1) {
            const struct bnn_snn_reach right = bnn_snn_reach_of(p, 1, at->x, at->to->w);
            const size_t width = at->to->c, row = ((size_t)at->channel * p->kernel[0] + ky) * p->kernel[1];
            const size_t target = ((size_t)oy * at->to->w + right.target + 1 - right.count) * width;
            if (right.count > 0)
                add_runs(sums, target, 0, p, (row + right.place) * width, 0, 1, right.count * width, value);
            added += right.count * width;
            continue;
        }
        for (uint32_t kx = 0; kx < p->kernel[1] && kx * p->dilation[1] <= at->x + p->padding[1]; kx++) {
            const uint32_t columns = at->x + p->padding[1] - kx * p->dilation[1], ox = columns / p->stride[1];
            if (columns % p->stride[1] == 0 && ox < at->to->w)
                added += add_tap(sums, p, at, ky, kx, oy, ox, value);
        }
    }
    return added;
}

/* Marks the blocks of targets that sources of a convolution reach. */
static void mark_windows(const struct bnn_snn_reach *rows, struct place at, const uint32_t *index, size_t n,
                         uint32_t *marks)
{
    const struct bnn_snn_reach *const columns = rows + at.from->h;
    uint32_t last = UINT32_MAX; /* several sources of a pixel reach the same targets */
    for (size_t k = 0; k < n; k++) {
        move_to(&at, index[k]);
        const struct bnn_snn_reach down = rows[at.y], right = columns[at.x];
        for (uint32_t i = 0; i < down.count && right.count > 0 && at.pixel != last; i++) {
            const size_t end = ((size_t)(down.target - i) * at.to->w + right.target + 1) * at.to->c;
            for (size_t b = (end - right.count * at.to->c) / BNN_SNN_LANES; b <= (end - 1) / BNN_SNN_LANES; b++)
                bnn_snn_mark(marks, b);
        }
        last = at.pixel;
    }
}

/* Marks the blocks of targets that n sources reach, in s->reached: all of a convolution whose pixels are reached twice on
 * average, where looking would take longer than visiting. */
static void find_reached(const struct bnn_snn_state *s, uint32_t projection, size_t n)
{
    const struct bnn_snn_projection *p = &s->net->projections[projection];
    const struct bnn_snn_population *from = &s->net->populations[p->source], *to = &s->net->populations[p->target];
    const struct bnn_snn_reach *reach = s->reach[projection];
    const uint64_t pixels = to->n / to->c;
    bnn_snn_mark_all(s->reached, to->n, 0);
    if (p->kind == BNN_SNN_DIAGONAL)
        for (size_t k = 0; k < n; k++)
            bnn_snn_mark(s->reached, s->index[k] / BNN_SNN_LANES);
    else if (reach != NULL && (uint64_t)n * p->kernel[0] * p->kernel[1] < 2 * pixels * p->stride[0] * p->stride[1])
        mark_windows(reach, first_place(from, to), s->index, n, s->reached);
    else
        bnn_snn_mark_all(s->reached, to->n, 1);
    bnn_snn_widen(s->reached, to->n);
}

static void add_bias(const struct bnn_snn_state *s, const struct bnn_snn_projection *p, float *current)
{
    for (uint32_t i = 0; i < s->net->populations[p->target].n; i++)
        current[i] += p->bias.data[i % p->bias.period];
}

/* Adds the sums of whole numbers in a span of targets, which are zeros again. */
static void add_scaled(const struct bnn_snn_state *s, const struct bnn_snn_projection *p,
                       const struct bnn_snn_span *span, float *to)
{
    const uint32_t end = span->first + span->count, each = p->scales.data != NULL;
    const int apart = each && !(BNN_SNN_SHARES && p->scales.period >= end);
    const uint32_t some = apart ? BNN_SNN_LANES : span->count; /* as many scales are contiguous */
    uint32_t *sums = s->sums + span->first;
    to += span->first;
    for (uint32_t i = span->first; i < end; i += some, to += some, sums += some)
        s->net->kernels->add_scaled(to, sums, each ? p->scales.data + i % p->scales.period : &p->scale, each,
                                    end - i < some ? end - i : some);
    memset(s->sums + span->first, 0, (span->end_block - span->block) * BNN_SNN_LANES * sizeof *s->sums);
}

void bnn_snn_scatter(struct bnn_snn_state *s, uint32_t projection)
{
    const struct bnn_snn_projection *p = &s->net->projections[projection];
    const struct bnn_snn_population *from = &s->net->populations[p->source], *to = &s->net->populations[p->target];
    const struct bnn_snn_neurons *neurons = &s->neurons[p->target];
    const int own = p->source == p->target && neurons->own != NULL;
    const struct sums sums = {s->net->kernels, p->learns ? s->plastic[projection].weights : p->weights,
                              own ? neurons->own : neurons->current, s->sums};
    const uint32_t *values = from->emits == BNN_SNN_SPIKES ? NULL : s->values;
    if (p->bias.data != NULL && (own || s->time >= p->delay))
        add_bias(s, p, sums.floats);
    const size_t n = collect(s, p);
    if (n == 0 || bnn_snn_pause(s, from->n))
        return;
    if (to->skips) {
        find_reached(s, projection, n);
        for (size_t k = 0; k < bnn_snn_mark_words(to->n); k++)
            neurons->visits[k] |= s->reached[k];
    }
    if (BNN_SNN_SHARES && neurons->ahead != NULL && projection == to->first && bnn_snn_share(s, projection, n))
        return;
    if (p->kind == BNN_SNN_DENSE) {
        const size_t most = BNN_POLL_WORK / p->row + 1;
        for (size_t first = 0, some; first < n; first += some) {
            some = n - first < most ? n - first : most;
            if (bnn_snn_pause(s, (uint64_t)some * p->row))
                return;
            add(&sums, 0, p, 0, p->row, s->index + first, values == NULL ? NULL : values + first, some, p->row);
        }
        s->synops[projection] += (uint64_t)n * to->n;
    } else if (p->kind == BNN_SNN_DIAGONAL) {
        diagonal(s, &sums, p, values, n);
        s->synops[projection] += n;
    } else if (p->kind == BNN_SNN_WINDOW) {
        s->synops[projection] += count_looks(from, s->reach[projection]);
        bnn_snn_gather_highest(s, p, sums.floats);
    } else if (bnn_snn_gathers(s->net, p, n)) {
        s->synops[projection] += count_taps(s, projection, first_place(from, to), n);
        bnn_snn_gather(s, p, n, sums.floats);
    } else if (BNN_SNN_SHARES && bnn_snn_lists(s->net, p, n)) {
        s->synops[projection] += bnn_snn_gather_lists(s, p, rows_of(from, s->reach[projection]), n, sums.floats);
    } else if (p->groups == 1 && s->reach[projection] != NULL) {
        convolve(s, projection, &sums, first_place(from, to), values, n);
    } else {
        const struct bnn_snn_reach *reach = s->reach[projection];
        struct place at = first_place(from, to);
        for (size_t k = 0; k < n; k++) {
            const void *value = values == NULL ? NULL : values + k;
            move_to(&at, s->index[k]);
            uint64_t added =
                reach != NULL ? convolve_groups(&sums, p, &at, reach, value) : convolve_dilated(&sums, p, &at, value);
            s->synops[projection] += added;
            if (bnn_snn_pause(s, added + p->kernel[0]))
                return;
        }
    }
    for (struct bnn_snn_span span = {0};
         p->whole && bnn_snn_next_span(to->skips ? s->reached : neurons->visits, to->n, &span);)
        add_scaled(s, p, &span, sums.floats);
}
