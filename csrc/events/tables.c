/* SPDX-License-Identifier: Apache-2.0 */
/* Weights as rows of targets. */
#include "model/coding.h"
#include "events/events.h"

#include <string.h>

/* Position of a tap in a row: columns run backwards, so that with stride 1 neighbouring taps of an input pixel reach
 * neighbouring outputs, and a whole row of the kernel is one addition. */
static size_t tap_offset(const struct bnn_layer *l, uint32_t ky, uint32_t kx)
{
    return ((size_t)ky * l->kernel_w + (l->kernel_w - 1 - kx)) * l->group_out;
}

static int bit_of(const uint32_t *words, size_t bit)
{
    return (int)(words[bit / 32] >> bit % 32 & 1);
}

/* Rows of +1 and -1: int8_t, or float. */
static void fill_rows(struct bnn_events *e, const struct bnn_layer *l, const struct bnn_tensor *w, void *rows)
{
    const uint32_t *words = w->data;
    for (uint32_t o = 0; o < w->o && !bnn_events_pause(e, l->row_length / l->group_out * l->group_in * 2); o++) {
        size_t base = o / l->group_out * l->group_in * l->row_length + o % l->group_out;
        for (uint32_t ky = 0; ky < w->h; ky++)
            for (uint32_t kx = 0; kx < w->w; kx++, words += w->words) {
                size_t at = base + tap_offset(l, ky, kx);
                for (uint32_t c = 0; c < w->c; c++, at += l->row_length)
                    if (l->floats)
                        ((float *)rows)[at] = bit_of(words, c) ? 1.0f : -1.0f;
                    else
                        ((int8_t *)rows)[at] = (int8_t)(2 * bit_of(words, c) - 1);
            }
    }
}

/* The exponent of the last bit of a float: it is an odd multiple of 2^exponent; 0 has none (a value greater than
 * any). */
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

/* Float rows; finds the step of all weights and the largest sum of magnitudes. */
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
        l->row_sum = !(sum <= l->row_sum) ? sum : l->row_sum; /* also for NaN */
    }
    l->row_step = power_of_two(step == 1 << 10 ? 0 : step);
}

/* A threshold limited to the reach of the layer's products, where it gives the same bits. */
static int32_t within_reach(const struct bnn_layer *l, int32_t threshold)
{
    int32_t reach = (int32_t)l->reach; /* below 2**24, as bnn_model_open checked */
    if (threshold < -reach)
        return -reach;
    return threshold > reach ? reach + 1 : threshold;
}

/* count elements, with room for vectors that extend beyond them. */
static void *reserve_slack(struct bnn_prepare *p, size_t count, size_t size)
{
    return bnn_reserve(p, count + BNN_SLACK / size, size);
}

static const int32_t *thresholds_of(const struct bnn_model *m, const struct bnn_op *op, const struct bnn_layer *l)
{
    return l->fires ? bnn_op_input(m, op, 2)->data : NULL;
}

/* A layer of levels: its membranes are sums of floats. */
static void make_floats(struct bnn_prepare *p, struct bnn_events *e, const struct bnn_op *op, struct bnn_layer *l)
{
    const struct bnn_tensor *w = bnn_op_input(p->model, op, 1);
    float *rows = reserve_slack(p, (size_t)w->o * w->h * w->w * w->c, sizeof *rows);
    l->membranes = reserve_slack(p, bnn_events_pixels(l) * l->out_c, sizeof(float));
    l->cuts = reserve_slack(p, l->out_c, sizeof(float));
    l->turned = bnn_reserve(p, l->out_c / 32 + 1, sizeof *l->turned);
    l->rows = rows;
    if (l->turned == NULL) /* the last: else all are there */
        return;
    fill_rows(e, l, w, rows);
    const int32_t *thresholds = thresholds_of(p->model, op, l);
    for (uint32_t o = 0; thresholds != NULL && o < w->o; o++)
        l->cuts[o] = (float)within_reach(l, thresholds[o]);
}

void bnn_events_make_conv(struct bnn_prepare *p, struct bnn_events *e, const struct bnn_op *op, struct bnn_layer *l)
{
    const struct bnn_tensor *w = bnn_op_input(p->model, op, 1);
    size_t pixels = bnn_events_pixels(l), outputs = pixels * l->out_c;
    size_t weights = (size_t)w->o * w->h * w->w * w->c;
    if (l->kind == BNN_LAYER_ENCODER) {
        if (l->input == BNN_NONE)
            return; /* runs synchronously only */
        float *rows = reserve_slack(p, weights, sizeof *rows);
        l->membranes = reserve_slack(p, outputs, sizeof(float));
        l->cuts = reserve_slack(p, (size_t)l->out_c * l->steps, sizeof(float));
        bnn_events_reserve_bounds(p, l);
        l->turned = bnn_reserve(p, l->out_c / 32 + 1, sizeof *l->turned);
        l->rows = rows;
        if (l->turned != NULL) /* the last: then all are there */
            fill_float_rows(e, l, w, rows);
        return;
    }
    if (l->floats) {
        make_floats(p, e, op, l);
        return;
    }
    int8_t *rows = reserve_slack(p, weights, sizeof *rows);
    int32_t *thresholds = reserve_slack(p, w->o, sizeof *thresholds);
    l->parity = l->fires ? NULL : bnn_reserve(p, pixels, 1);
    l->membranes = reserve_slack(p, outputs, l->wide ? sizeof(int32_t) : sizeof(int16_t));
    l->rows = rows;
    l->thresholds = thresholds;
    if (l->membranes == NULL) /* the last: else all are there */
        return;
    fill_rows(e, l, w, rows);
    const int32_t *threshold = thresholds_of(p->model, op, l);
    for (uint32_t o = 0; o < w->o; o++)
        thresholds[o] = threshold != NULL ? within_reach(l, threshold[o]) : 0;
}
