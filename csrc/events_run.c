/* Running: which spike travels next. */
#include "events.h"

#include <string.h>

static int groups_of(const struct bnn_layer *l, uint32_t neuron)
{
    return (int)(neuron % l->in_c / l->group_in);
}

/* All spikes that wait in a population, to one layer; those of one pixel and group at a time. */
static void deliver_waiting(struct bnn_events *e, const struct bnn_population *p, struct bnn_layer *l)
{
    const uint32_t *waiting = e->queue + p->first;
    struct bnn_arrival batch[BNN_BATCH];
    /* Neurons first to end - 1 are those of the current batch's pixel and group. */
    uint32_t size = l->kind == BNN_LAYER_POOL ? l->in_c : l->group_in, first = 0, end = 0, pixel_first = 0;
    size_t n = 0;
    for (size_t i = 0; i < p->waiting; i++) {
        uint32_t neuron = waiting[i], spikes = p->pending[neuron];
        if (neuron < first || neuron >= end) {
            if (n > 0)
                bnn_events_add(e, l, batch, n);
            n = 0;
            first = neuron / size * size; /* groups divide a pixel evenly */
            end = first + size;
            pixel_first = neuron / p->c * p->c;
        }
        uint32_t channel = neuron - pixel_first;
        const uint32_t *words = p->bits + (size_t)(pixel_first / p->c) * p->words;
        int seen = (int)((words[channel / 32] >> channel % 32 ^ spikes) & 1);
        for (; spikes > 0; spikes--, seen ^= 1) {
            if (n == BNN_BATCH) {
                bnn_events_add(e, l, batch, n);
                n = 0;
            }
            batch[n++] = (struct bnn_arrival){neuron, seen ? -1 : 1};
        }
    }
    if (n > 0)
        bnn_events_add(e, l, batch, n);
}

static void deliver_layer(struct bnn_events *e, struct bnn_population *p)
{
    for (uint32_t k = 0; k < p->consumer_count; k++) {
        struct bnn_layer *l = &e->layers[p->consumers[k]];
        if (l->kind == BNN_LAYER_RELAY) {
            for (size_t i = 0; i < p->waiting; i++) {
                uint32_t neuron = e->queue[p->first + i];
                for (uint32_t spikes = p->pending[neuron]; spikes > 0; spikes--)
                    bnn_events_relay(e, l, (uint32_t)(p - e->populations), neuron);
            }
        } else if (p->waiting > l->count.limit) {
            bnn_events_synchronous(e, l);
        } else {
            deliver_waiting(e, p, l);
            bnn_events_settle(e, l);
        }
    }
    for (size_t i = 0; i < p->waiting; i++)
        p->pending[e->queue[p->first + i]] = 0;
    e->queued -= p->waiting;
    p->waiting = 0;
}

static struct bnn_population *population_at(struct bnn_events *e, uint32_t number)
{
    uint32_t low = 0, high = e->population_count; /* the last that begins at or before number */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (e->populations[middle].first <= number)
            low = middle;
        else
            high = middle;
    }
    return &e->populations[low];
}

static size_t draw(struct bnn_events *e, size_t below)
{
    e->random ^= e->random << 13; /* xorshift64 */
    e->random ^= e->random >> 7;
    e->random ^= e->random << 17;
    return (size_t)((e->random >> 11) % below);
}

/* One spike to all of its targets. */
static void deliver_one(struct bnn_events *e)
{
    if (e->order == BNN_ORDER_RANDOM) { /* the queue begins at 0 and its order means nothing */
        size_t i = draw(e, e->queued), last = e->queued - 1;
        uint32_t number = e->queue[i];
        e->queue[i] = e->queue[last];
        e->queue[last] = number;
    }
    size_t at = e->order == BNN_ORDER_RANDOM ? e->queued - 1 : e->head;
    uint32_t number = e->queue[at];
    struct bnn_population *p = population_at(e, number);
    uint32_t neuron = (uint32_t)(number - p->first);
    int seen = bnn_events_bit(p, neuron) ^ (int)(p->pending[neuron] & 1);
    struct bnn_arrival arrival = {neuron, seen ? -1 : 1};

    e->queued--;
    if (e->order == BNN_ORDER_FIFO)
        e->head = at + 1 < e->neurons ? at + 1 : 0;
    if (--p->pending[neuron] > 0) { /* the rest of its spikes wait at the end */
        size_t end = e->head + e->queued++;
        e->queue[end < e->neurons ? end : end - e->neurons] = number;
    }
    for (uint32_t k = 0; k < p->consumer_count; k++) {
        struct bnn_layer *l = &e->layers[p->consumers[k]];
        if (l->kind == BNN_LAYER_RELAY) {
            bnn_events_relay(e, l, (uint32_t)(p - e->populations), neuron);
        } else {
            bnn_events_add(e, l, &arrival, 1);
            bnn_events_settle(e, l);
        }
    }
}

bnn_status bnn_events_run(bnn_events *e)
{
    if (e == NULL)
        return BNN_ERROR_ARGUMENT;
    if (e->order == BNN_ORDER_LAYERS) {
        for (uint32_t i = 0; i < e->population_count; i++) /* spikes go to later populations only */
            deliver_layer(e, &e->populations[i]);
        return BNN_OK;
    }
    while (e->queued > 0)
        deliver_one(e);
    e->head = 0;
    return BNN_OK;
}

bnn_status bnn_events_set_order(bnn_events *e, bnn_order order, uint64_t seed)
{
    if (e == NULL || e->queued != 0 ||
        (order != BNN_ORDER_LAYERS && order != BNN_ORDER_FIFO && order != BNN_ORDER_RANDOM))
        return BNN_ERROR_ARGUMENT;
    e->order = order;
    e->random = seed * 2862933555777941757u + 3037000493u; /* so that near seeds give far numbers */
    e->random += e->random == 0;
    return BNN_OK;
}

/* Every neuron that fires, as a spike of each consumer's; only into `l`. */
static void deliver_fired(struct bnn_events *e, struct bnn_layer *l, uint32_t from)
{
    const struct bnn_population *p = &e->populations[from];
    struct bnn_arrival batch[BNN_BATCH];
    for (size_t pixel = 0; pixel < (size_t)p->h * p->w; pixel++) {
        size_t n = 0;
        int group = 0;
        for (uint32_t c = 0; c < p->c; c++) {
            if (!(p->bits[pixel * p->words + c / 32] >> c % 32 & 1))
                continue;
            uint32_t neuron = (uint32_t)(pixel * p->c) + c;
            if (l->kind == BNN_LAYER_RELAY) {
                bnn_events_relay(e, l, from, neuron);
                continue;
            }
            int g = groups_of(l, neuron);
            if (n == BNN_BATCH || (n > 0 && g != group)) {
                bnn_events_add(e, l, batch, n);
                n = 0;
            }
            group = g;
            batch[n++] = (struct bnn_arrival){neuron, 1};
        }
        if (n > 0)
            bnn_events_add(e, l, batch, n);
    }
}

/* Whether a neuron of a wire's output stands for no input, and fires all the time: what an op pads with +1. */
static int always_fires(const struct bnn_op *op, const struct bnn_layer *l, uint32_t y, uint32_t x, uint32_t c)
{
    if (op->row->opcode == BNN_OP_PAD) {
        const struct bnn_pad_attrs *a = op->attrs;
        uint32_t top = (uint32_t)a->pad_top, left = (uint32_t)a->pad_left;
        return a->value > 0.0f && (y < top || y >= top + l->in_h || x < left || x >= left + l->in_w);
    }
    if (op->row->opcode == BNN_OP_PAD_CHANNELS) {
        const struct bnn_pad_channels_attrs *a = op->attrs;
        return a->value > 0.0f && (c < (uint32_t)a->before || c >= (uint32_t)a->before + l->in_c);
    }
    return 0;
}

/* A wire's output while its inputs are silent. */
static void silence_relay(struct bnn_events *e, const struct bnn_layer *l)
{
    const struct bnn_op *op = &e->model->ops[l->op];
    struct bnn_population *out = &e->populations[l->out];
    memset(out->bits, 0, (size_t)out->h * out->w * out->words * sizeof *out->bits);
    for (uint32_t y = 0; y < out->h; y++)
        for (uint32_t x = 0; x < out->w; x++)
            for (uint32_t c = 0; c < out->c; c++)
                if (always_fires(op, l, y, x, c))
                    bnn_events_emit(e, out, (y * out->w + x) * out->c + c);
}

void bnn_events_rebuild(struct bnn_events *e, struct bnn_layer *l)
{
    const struct bnn_op *op = &e->model->ops[l->op];
    bnn_events_layer count = l->count;
    int silent = e->silent;
    e->silent = 1;
    if (l->kind == BNN_LAYER_RELAY) {
        silence_relay(e, l);
        for (uint32_t i = 0; i < op->input_count; i++) {
            uint32_t from = e->population_of[op->inputs[i]], repeated = 0;
            for (uint32_t j = 0; j < i; j++)
                repeated |= op->inputs[j] == op->inputs[i];
            if (!repeated)
                deliver_fired(e, l, from);
        }
    } else {
        size_t size = l->wide ? sizeof(int32_t) : sizeof(int16_t);
        memcpy(l->membranes, l->initial, bnn_events_pixels(l) * l->out_c * size);
        deliver_fired(e, l, l->in);
        bnn_events_settle_all(e, l);
    }
    e->silent = silent;
    l->count = count;
}

int bnn_events_switchable(const struct bnn_events *e, const struct bnn_layer *l)
{
    if (l->kind != BNN_LAYER_SYNAPSES && l->kind != BNN_LAYER_READOUT)
        return 0;
    /* bnn_step_raw adds a layer's own bias; then its result is not the accumulator. */
    return ((const struct bnn_conv_attrs *)e->model->ops[l->op].attrs)->layer_slots == 0;
}

void bnn_events_synchronous(struct bnn_events *e, struct bnn_layer *l)
{
    const struct bnn_scatter *scatter = bnn_events_scatter(e->model->kernels);
    size_t at = 0;
    bnn_events_poke_bits(e, &e->populations[l->in]);
    bnn_step_raw(e->context, l->op, e->accumulators, 1);
    for (size_t i = 0; i < bnn_events_pixels(l); i++, at += l->out_c) {
        if (!l->wide) { /* what is written past this pixel is overwritten by the next */
            scatter->halve((int16_t *)l->membranes + at, e->accumulators + at, l->signs, l->thresholds, l->out_c);
            continue;
        }
        for (uint32_t o = 0; o < l->out_c; o++) {
            int32_t twice = (int32_t)(e->accumulators[at + o] * l->signs[o]) - l->thresholds[o];
            ((int32_t *)l->membranes)[at + o] = (twice - (twice & 1)) / 2;
        }
    }
    bnn_events_settle_all(e, l);
    l->count.synchronous++;
    l->count.synops += l->count.dense;
}
