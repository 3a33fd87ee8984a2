/* SPDX-License-Identifier: Apache-2.0 */
/* Weights as rows of targets, and the membranes that layers start with. */
#include "model/coding.h"
#include "events/events.h"

#include <string.h>

/* Position of a tap in a row: columns run backwards, so that with stride 1 neighbouring taps of an input pixel hit
 * neighbouring outputs, and a whole row of the kernel is one addition. */
static size_t tap_offset(const struct bnn_layer *l, uint32_t ky, uint32_t kx)
{
    return ((size_t)ky * l->kernel_w + (l->kernel_w - 1 - kx)) * l->group_out;
}

static int bit_of(const uint32_t *words, size_t bit)
{
    return (int)(words[bit / 32] >> bit % 32 & 1);
}

static void fill_rows(struct bnn_events *e, const struct bnn_layer *l, const struct bnn_tensor *w, int8_t *rows)
{
    const uint32_t *words = w->data;
    for (uint32_t o = 0; o < w->o && !bnn_events_pause(e, l->row_length / l->group_out * l->group_in * 2); o++) {
        int8_t *base = rows + o / l->group_out * l->group_in * l->row_length + o % l->group_out;
        for (uint32_t ky = 0; ky < w->h; ky++)
            for (uint32_t kx = 0; kx < w->w; kx++, words += w->words)
                for (uint32_t c = 0; c < w->c; c++)
                    base[c * l->row_length + tap_offset(l, ky, kx)] = (int8_t)(2 * bit_of(words, c) - 1);
    }
}

/* The exponent of the last bit of a float: it is an odd multiple of 2^exponent; 0 has none (greater than any). */
static int last_bit(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    uint32_t mantissa = bits & 0x7fffffu, exponent = bits >> 23 & 0xffu;
    if (mantissa == 0 && exponent == 0)
        return 1 << 10;
    if (exponent != 0)
        mantissa |= 0x800000u;
    int shift = 0;
    while ((mantissa >> shift & 1) == 0)
        shift++;
    return (int)(exponent == 0 ? 1 : exponent) - 150 + shift;
}

static float power_of_two(int exponent)
{
    float v = 1.0f;
    for (; exponent > 0; exponent--)
        v *= 2.0f;
    for (; exponent < 0; exponent++)
        v *= 0.5f;
    return v;
}

/* Float rows; finds the step of all weights and the greatest sum of magnitudes. */
static void fill_float_rows(struct bnn_events *e, struct bnn_layer *l, const struct bnn_tensor *w, float *rows)
{
    enum { CHUNK = 64 };
    float chunk[CHUNK];
    size_t read = 0; /* floats */
    int step = 1 << 10;
    for (uint32_t o = 0; o < w->o && !bnn_events_pause(e, l->row_length / l->group_out * l->group_in * 8); o++) {
        float *base = rows + o / l->group_out * l->group_in * l->row_length + o % l->group_out;
        float sum = 0.0f;
        for (uint32_t ky = 0; ky < w->h; ky++)
            for (uint32_t kx = 0; kx < w->w; kx++)
                for (uint32_t c = 0; c < w->c; c++, read++) {
                    size_t left = w->o * w->image - read;
                    if (read % CHUNK == 0)
                        bnn_read_floats(w, read, left < CHUNK ? left : CHUNK, chunk);
                    float weight = chunk[read % CHUNK];
                    int bit = last_bit(weight);
                    base[c * l->row_length + tap_offset(l, ky, kx)] = weight;
                    step = bit < step ? bit : step;
                    sum += weight < 0.0f ? -weight : weight;
                }
        l->row_sum = !(sum <= l->row_sum) ? sum : l->row_sum; /* not-a-number too */
    }
    l->row_step = power_of_two(step == 1 << 10 ? 0 : step);
}

/* Adds `value` to every output whose tap (ky, kx) lies inside the image, `outside` to the others. */
static void accumulate(const struct bnn_layer *l, int32_t *sums, uint32_t ky, uint32_t kx, int32_t value,
                       int32_t outside)
{
    for (uint32_t y = 0; y < l->out_h; y++) {
        int64_t at_y = (int64_t)y * l->stride_h + (int64_t)ky * l->dilation_h - l->pad_top;
        for (uint32_t x = 0; x < l->out_w; x++) {
            int64_t at_x = (int64_t)x * l->stride_w + (int64_t)kx * l->dilation_w - l->pad_left;
            int inside = at_y >= 0 && at_y < l->in_h && at_x >= 0 && at_x < l->in_w;
            *sums++ += inside ? value : outside;
        }
    }
}

/* A threshold moved to where it still says the same of what the layer's products can reach. */
static int32_t within_reach(const struct bnn_layer *l, int32_t threshold)
{
    int32_t reach = (int32_t)(l->kernel_h * l->kernel_w * l->group_in); /* below 2**24, as bnn_model_open checked */
    if (threshold < -reach)
        return -reach;
    return threshold > reach ? reach + 1 : threshold;
}

static void set_membrane(const struct bnn_layer *l, size_t index, int32_t value)
{
    if (l->wide)
        ((int32_t *)l->initial)[index] = value;
    else
        ((int16_t *)l->initial)[index] = (int16_t)value;
}

/* The membranes of one output channel while all inputs are silent; sums: room for every output pixel. */
static void start_channel(struct bnn_events *e, const struct bnn_layer *l, const struct bnn_op *op,
                          const struct bnn_tensor *w, uint32_t o, int32_t *sums, uint8_t *parity)
{
    const struct bnn_conv_attrs *a = op->attrs;
    const uint32_t *words = (const uint32_t *)w->data + (size_t)o * w->h * w->w * w->words;
    size_t pixels = bnn_events_pixels(l);
    memset(sums, 0, pixels * sizeof *sums);
    for (uint32_t ky = 0; ky < w->h; ky++)
        for (uint32_t kx = 0; kx < w->w && !bnn_events_pause(e, pixels + w->c); kx++, words += w->words) {
            int32_t set = 0, sum;
            for (uint32_t c = 0; c < w->c; c++)
                set += bit_of(words, c);
            sum = 2 * set - (int32_t)w->c;
            accumulate(l, sums, ky, kx, -sum, a->pad_value * sum);
        }
    for (size_t i = 0; i < pixels; i++) {
        int32_t twice = sums[i] - l->thresholds[o];
        set_membrane(l, i * l->out_c + o, (twice - (twice & 1)) / 2);
        if (parity != NULL)
            parity[i] = (uint8_t)(sums[i] & 1); /* the same for all channels */
    }
}

/* negated: the bits of the filters that the compiler negated; stays as it is where none are marked. */
static void find_slots(struct bnn_prepare *p, const struct bnn_op *op, struct bnn_layer *l, const uint32_t **negated)
{
    const struct bnn_conv_attrs *a = op->attrs;
    const float **operands[BNN_SLOT_COUNT] = {NULL,           &l->finish.pre_mul, &l->finish.pre_add, NULL,
                                              &l->finish.sub, &l->finish.mul,     &l->finish.add};
    uint32_t slots = (uint32_t)a->slots, input = 2;
    for (uint32_t bit = 0; bit < BNN_SLOT_COUNT; bit++) {
        uint32_t slot = 1u << bit;
        if (!(slots & slot & BNN_SLOTS_WITH_OPERAND))
            continue;
        if (slot == BNN_SLOT_RESIDUAL)
            l->residual = op->inputs[input];
        else if (slot == BNN_SLOT_NEGATED)
            *negated = bnn_op_input(p->model, op, input)->data;
        else if (operands[bit] != NULL)
            *operands[bit] = bnn_op_input(p->model, op, input)->data;
        input++;
    }
    l->finish.clamp0 = (slots & BNN_SLOT_CLAMP0) != 0;
    l->finish.clamp1 = (slots & BNN_SLOT_CLAMP1) != 0;
    l->finish.lo0 = a->clamp0_lo, l->finish.hi0 = a->clamp0_hi;
    l->finish.lo1 = a->clamp1_lo, l->finish.hi1 = a->clamp1_hi;
}

/* count elements and room for vectors that look past them. */
static void *reserve_slack(struct bnn_prepare *p, size_t count, size_t size)
{
    return bnn_reserve(p, count + BNN_SLACK / size, size);
}

void bnn_events_make_conv(struct bnn_prepare *p, struct bnn_events *e, const struct bnn_op *op, struct bnn_layer *l)
{
    const struct bnn_tensor *w = bnn_op_input(p->model, op, 1);
    size_t pixels = bnn_events_pixels(l), outputs = pixels * l->out_c;
    size_t weights = (size_t)w->o * w->h * w->w * w->c;
    const uint32_t *negated = NULL;
    find_slots(p, op, l, &negated);
    if (l->kind == BNN_LAYER_ENCODER) {
        if (l->input == BNN_NONE || l->residual != BNN_NONE)
            return; /* runs synchronously only */
        float *rows = reserve_slack(p, weights, sizeof *rows);
        l->membranes = reserve_slack(p, outputs, sizeof(float));
        l->cuts = reserve_slack(p, l->out_c, sizeof(float));
        l->turned = bnn_reserve(p, l->out_c / 32 + 1, sizeof *l->turned);
        l->rows = rows;
        if (l->turned != NULL) /* the last: then all are there */
            fill_float_rows(e, l, w, rows);
        return;
    }
    size_t size = l->wide ? sizeof(int32_t) : sizeof(int16_t);
    int8_t *rows = reserve_slack(p, weights, sizeof *rows);
    int32_t *thresholds = reserve_slack(p, w->o, sizeof *thresholds);
    float *signs = reserve_slack(p, w->o, sizeof *signs);
    uint8_t *parity = l->fires ? NULL : bnn_reserve(p, pixels, 1);
    int32_t *sums = bnn_reserve(p, pixels, sizeof *sums);
    l->membranes = reserve_slack(p, outputs, size);
    l->initial = bnn_reserve(p, outputs, size);
    l->rows = rows;
    l->thresholds = thresholds;
    l->signs = signs;
    l->parity = parity;
    if (l->initial == NULL) /* the last: else all are there */
        return;
    fill_rows(e, l, w, rows);
    const int32_t *threshold = l->fires ? bnn_op_input(p->model, op, 2)->data : NULL;
    for (uint32_t o = 0; o < w->o && !e->stopped; o++) {
        signs[o] = negated != NULL && bit_of(negated, o) ? -1.0f : 1.0f;
        thresholds[o] = threshold != NULL ? within_reach(l, threshold[o]) : 0;
        start_channel(e, l, op, w, o, sums, parity);
    }
}

/* Counts of taps are int32_t: opening refuses a row of more work than BNN_MAX_PIECE, and every tap is work. */
_Static_assert(BNN_MAX_PIECE <= INT32_MAX, "taps of a window");

/* Positions of a pool's window that lie inside the image, on one axis. */
static int64_t inside(uint32_t output, int32_t stride, int32_t pad, uint32_t kernel, uint32_t size)
{
    int64_t begin = (int64_t)output * stride - pad, end = begin + kernel;
    return (end < size ? end : size) - (begin > 0 ? begin : 0);
}

void bnn_events_make_pool(struct bnn_prepare *p, struct bnn_events *e, const struct bnn_op *op, struct bnn_layer *l)
{
    size_t outputs = bnn_events_pixels(l) * l->out_c, size = l->wide ? sizeof(int32_t) : sizeof(int16_t);
    l->membranes = reserve_slack(p, outputs, size);
    l->initial = bnn_reserve(p, outputs, size);
    if (l->initial == NULL)
        return;
    const uint32_t *mask = op->input_count == 2 ? bnn_op_input(p->model, op, 1)->data : NULL;
    l->mask = mask;
    size_t at = 0;
    for (uint32_t y = 0; y < l->out_h && !bnn_events_pause(e, (uint64_t)l->out_w * l->out_c); y++) {
        int64_t rows = inside(y, l->stride_h, l->pad_top, l->kernel_h, l->in_h);
        for (uint32_t x = 0; x < l->out_w; x++) {
            int32_t taps = (int32_t)(rows * inside(x, l->stride_w, l->pad_left, l->kernel_w, l->in_w));
            for (uint32_t c = 0; c < l->out_c; c++)
                set_membrane(l, at++, mask != NULL && bit_of(mask, c) ? -taps : -1);
        }
    }
}

/* From the source of every output to the outputs of every source: counted, then filled from the last on. */
void bnn_events_make_wires(struct bnn_prepare *p, const struct bnn_op *op, struct bnn_layer *l)
{
    const int32_t *source = bnn_op_input(p->model, op, 1)->data; /* below `from`, as bnn_model_open checked */
    size_t from = (size_t)l->in_h * l->in_w * l->in_c, to = l->count.neurons;
    uint32_t *first = bnn_reserve(p, from + 1, sizeof *first), *wires = bnn_reserve(p, to, sizeof *wires), end = 0;
    l->first_wire = first;
    l->wires = wires;
    if (wires == NULL) /* the last */
        return;
    memset(first, 0, (from + 1) * sizeof *first);
    for (size_t i = 0; i < to; i++)
        first[source[i]]++;
    for (size_t i = 0; i <= from; i++)
        first[i] = end += first[i];
    for (size_t i = to; i-- > 0;)
        wires[--first[source[i]]] = (uint32_t)i;
}
