/* SPDX-License-Identifier: Apache-2.0 */
/* Firing: from membranes to spikes. */
#include "epilogue.h"
#include "events/events.h"
#include "run/window.h"

void bnn_events_record(struct bnn_events *e, const struct bnn_population *p, uint32_t neuron, int up)
{
    if (e->traced < e->trace_capacity)
        e->trace[e->traced] = (bnn_spike){e->now, p->tensor, neuron, up ? 1 : -1};
    e->traced++;
}

void bnn_events_clear_counts(bnn_events *e)
{
    for (uint32_t k = 0; k < e->layer_count; k++) {
        bnn_events_layer *c = &e->layers[k].count;
        c->events = c->synops = c->up = c->down = c->synchronous = 0;
    }
    e->traced = 0;
}

void bnn_events_emit_word(struct bnn_events *e, struct bnn_population *p, size_t pixel, uint32_t k, uint32_t changed)
{
    size_t at = pixel * p->words + k;
    uint32_t *word = &p->bits[at], first = (uint32_t)pixel * p->c + 32 * k;
    *word ^= changed;
    if (e->silent || changed == 0)
        return;
    bnn_events_layer *count = &e->layers[p->producer].count;
    count->up += bnn_popcount(changed & *word);
    count->down += bnn_popcount(changed & ~*word);
    for (uint32_t c = changed; e->trace != NULL && c != 0; c &= c - 1)
        bnn_events_record(e, p, first + bnn_lowest_bit(c), (*word >> bnn_lowest_bit(c) & 1) != 0);
    if (p->pending[at])
        return;
    p->pending[at] = 1;
    e->queue[p->first + p->waiting++] = (uint32_t)at;
    e->queued++;
}

void bnn_events_emit(struct bnn_events *e, struct bnn_population *p, uint32_t neuron)
{
    uint32_t channel = neuron % p->c;
    bnn_events_emit_word(e, p, neuron / p->c, channel / 32, UINT32_C(1) << channel % 32);
}

float bnn_events_accumulator(const struct bnn_layer *l, size_t pixel, size_t channel)
{
    size_t at = pixel * l->out_c + channel;
    if (l->floats)
        return ((const float *)l->membranes)[at];
    int32_t m = l->wide ? ((const int32_t *)l->membranes)[at] : ((const int16_t *)l->membranes)[at];
    return (float)(2 * m + l->parity[pixel]);
}

int bnn_events_decide(const struct bnn_layer *l, float v, size_t channel)
{
    if (l->limits == NULL)
        return v > BNN_BIT_ABOVE;
    return (v >= l->limits[channel]) != (int)(l->flips[channel / 32] >> channel % 32 & 1);
}

/* The bits that neurons of a pixel should have: `count` of them, at most 32. */
static uint32_t decide(const struct bnn_layer *l, size_t pixel, uint32_t channel, uint32_t count)
{
    size_t at = pixel * l->out_c + channel;
    uint32_t word = 0;
    for (uint32_t i = 0; i < count; i++) {
        int fires;
        if (l->fires) {
            fires = ((const int32_t *)l->membranes)[at + i] >= 0;
        } else {
            float v = bnn_events_accumulator(l, pixel, channel + i);
            fires = bnn_events_decide(l, bnn_finish(v, &l->finish, channel + i, NULL), channel + i);
        }
        word |= (uint32_t)fires << i;
    }
    return word;
}

/* The bits that pooling neurons of a pixel should have, from the bits of their window. */
static void look(const struct bnn_events *e, const struct bnn_layer *l, size_t pixel, uint32_t first, uint32_t words,
                 uint32_t *fire)
{
    const struct bnn_population *in = &e->populations[l->in];
    struct bnn_taps ys = bnn_pool_taps(pixel / l->out_w, l->stride_h, (int32_t)l->kernel_h, l->pad_top, l->in_h);
    struct bnn_taps xs = bnn_pool_taps(pixel % l->out_w, l->stride_w, (int32_t)l->kernel_w, l->pad_left, l->in_w);
    for (uint32_t k = 0; k < words; k++) {
        uint32_t any = 0, all = UINT32_MAX, mask = l->mask != NULL ? l->mask[first + k] : 0;
        for (size_t y = ys.begin; y < ys.end; y++) {
            const uint32_t *word = in->bits + (y * in->w + xs.begin) * in->words + first + k;
            for (size_t x = xs.begin; x < xs.end; x++, word += in->words) {
                any |= *word;
                all &= *word;
            }
        }
        fire[k] = (any & ~mask) | (all & mask);
    }
}

enum { WORDS = 64 }; /* checked together */

/* changed[k]: the neurons of word first + k of a pixel that fire but should not, or should but do not; returns a bit
 * for each word that has any.  Neurons that do not exist may seem to. */
static uint64_t find_changes(const struct bnn_events *e, const struct bnn_layer *l, size_t pixel, uint32_t first,
                             uint32_t words, uint32_t *changed)
{
    const bnn_kernels *kernels = e->model->kernels;
    const struct bnn_population *out = &e->populations[l->out];
    const uint32_t *bits = out->bits + pixel * out->words + first;
    uint32_t channel = 32 * first, left = l->out_c - channel;
    size_t neuron = pixel * l->out_c + channel;
    uint64_t differ = 0;
    if (l->fires && !l->wide && !l->floats)
        return kernels->crossed((const int16_t *)l->membranes + neuron, bits, changed, words);
    if (l->kind == BNN_LAYER_POOL)
        look(e, l, pixel, first, words, changed);
    else if (l->floats) /* it has cuts */
        kernels->binarize_at(changed, (const float *)l->membranes + neuron, l->cuts + channel, l->turned + first,
                             left < 32 * WORDS ? left : 32 * WORDS, 1);
    else
        for (uint32_t k = 0; k < words; k++)
            changed[k] = decide(l, pixel, channel + 32 * k, left - 32 * k < 32 ? left - 32 * k : 32);
    for (uint32_t k = 0; k < words; k++) {
        changed[k] ^= bits[k];
        differ |= (uint64_t)(changed[k] != 0) << k;
    }
    return differ;
}

void bnn_events_settle_pixel(struct bnn_events *e, const struct bnn_layer *l, size_t pixel)
{
    struct bnn_population *out = &e->populations[l->out];
    uint32_t changed[WORDS], last = l->out_c % 32 == 0 ? UINT32_MAX : (UINT32_C(1) << l->out_c % 32) - 1;
    for (uint32_t first = 0; first < out->words && !e->stopped; first += WORDS) {
        uint32_t words = out->words - first < WORDS ? out->words - first : WORDS;
        uint64_t differ = find_changes(e, l, pixel, first, words, changed);
        if (first + words == out->words)
            changed[words - 1] &= last;
        for (; differ != 0; differ &= differ - 1) { /* no branch per word: each would be unpredictable */
            uint32_t k = bnn_lowest_bit(differ);
            bnn_events_emit_word(e, out, pixel, first + k, changed[k]);
        }
        (void)bnn_events_pause(e, words * l->word_work);
    }
}

void bnn_events_forget(struct bnn_layer *l)
{
    for (size_t i = 0; i < l->list_count; i++)
        l->touched[l->list[i]] = 0;
    l->list_count = 0;
}
