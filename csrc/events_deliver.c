/* Delivery: what a spike does to the membranes of its targets. */
#include "events.h"

/* Walks over the outputs that an input pixel reaches: runs of `pixels` neighbouring output pixels whose weights stand
 * together at `offset` of a row. */
struct spans {
    const struct bnn_layer *layer;
    int32_t y, x; /* the input pixel */
    uint32_t ky, kx;
    size_t target, offset, pixels; /* the current run: its first output pixel */
};

/* The output position that a tap of the input reaches on one axis, or -1. */
static int32_t reached(int32_t at, uint32_t tap, int32_t stride, int32_t dilation, int32_t pad, uint32_t outputs)
{
    int64_t t = (int64_t)at + pad - (int64_t)tap * dilation;
    if (t < 0)
        return -1;
    if (stride != 1) {
        if (t % stride != 0)
            return -1;
        t /= stride;
    }
    return t < outputs ? (int32_t)t : -1;
}

static struct spans begin(const struct bnn_layer *l, uint32_t pixel)
{
    return (struct spans){.layer = l, .y = (int32_t)(pixel / l->in_w), .x = (int32_t)(pixel % l->in_w)};
}

static int next(struct spans *s)
{
    const struct bnn_layer *l = s->layer;
    int whole_rows = l->stride_w == 1 && l->dilation_w == 1 && l->groups == 1 && l->kind != BNN_LAYER_POOL;
    for (; s->ky < l->kernel_h; s->ky++, s->kx = 0) {
        int32_t y = reached(s->y, s->ky, l->stride_h, l->dilation_h, l->pad_top, l->out_h);
        if (y < 0)
            continue;
        if (whole_rows) {
            int64_t first = (int64_t)s->x + l->pad_left - (int64_t)(l->kernel_w - 1); /* output of the last tap */
            int64_t skip = first < 0 ? -first : 0, end = (int64_t)l->out_w - first;
            end = end < l->kernel_w ? end : l->kernel_w;
            if (skip >= end)
                return 0; /* so it is in every row */
            s->target = (size_t)y * l->out_w + (size_t)(first + skip);
            s->offset = ((size_t)s->ky * l->kernel_w + (size_t)skip) * l->group_out;
            s->pixels = (size_t)(end - skip);
            s->ky++;
            return 1;
        }
        while (s->kx < l->kernel_w) {
            uint32_t kx = s->kx++;
            int32_t x = reached(s->x, kx, l->stride_w, l->dilation_w, l->pad_left, l->out_w);
            if (x >= 0) {
                s->target = (size_t)y * l->out_w + (size_t)x;
                s->offset = ((size_t)s->ky * l->kernel_w + (l->kernel_w - 1 - kx)) * l->group_out;
                s->pixels = 1;
                return 1;
            }
        }
    }
    return 0;
}

static void touch(struct bnn_layer *l, size_t first, size_t pixels)
{
    if (l->kind == BNN_LAYER_READOUT)
        return;
    for (size_t i = first; i < first + pixels; i++)
        if (!l->touched[i]) {
            l->touched[i] = 1;
            l->list[l->list_count++] = (uint32_t)i;
        }
}

static void add_wide(int32_t *m, const int8_t *const *rows, size_t plus, size_t n, size_t offset, size_t count)
{
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < count; i++)
            m[i] += k < plus ? rows[k][offset + i] : -rows[k][offset + i];
}

/* Spikes of one pixel to the pooling neurons of the same channels. */
static void add_pool(struct bnn_layer *l, const struct bnn_arrival *arrivals, size_t count)
{
    uint32_t pixel = arrivals[0].neuron / l->in_c, first = pixel * l->in_c;
    for (struct spans s = begin(l, pixel); next(&s);) {
        for (size_t k = 0; k < count; k++) {
            size_t at = s.target * l->out_c + (arrivals[k].neuron - first);
            if (l->wide)
                ((int32_t *)l->membranes)[at] += arrivals[k].sign;
            else
                ((int16_t *)l->membranes)[at] = (int16_t)(((int16_t *)l->membranes)[at] + arrivals[k].sign);
        }
        touch(l, s.target, 1);
        l->count.synops += count;
    }
}

void bnn_events_add(const struct bnn_events *e, struct bnn_layer *l, const struct bnn_arrival *arrivals, size_t count)
{
    l->count.events += count;
    if (l->kind == BNN_LAYER_POOL) {
        add_pool(l, arrivals, count);
        return;
    }
    const struct bnn_scatter *scatter = bnn_events_scatter(e->model->kernels);
    const int8_t *rows[BNN_BATCH];
    uint32_t pixel = arrivals[0].neuron / l->in_c, first = pixel * l->in_c;
    size_t plus = 0, minus = count;
    for (size_t k = 0; k < count; k++) { /* rows of group and channel follow each other in the order of channels */
        const int8_t *row = (const int8_t *)l->rows + (arrivals[k].neuron - first) * l->row_length;
        if (arrivals[k].sign > 0)
            rows[plus++] = row;
        else
            rows[--minus] = row;
    }
    size_t group = (arrivals[0].neuron - first) / l->group_in;
    for (struct spans s = begin(l, pixel); next(&s);) {
        size_t at = s.target * l->out_c + group * l->group_out, length = s.pixels * l->group_out;
        if (l->wide)
            add_wide((int32_t *)l->membranes + at, rows, plus, count, s.offset, length);
        else
            scatter->add_rows((int16_t *)l->membranes + at, rows, plus, count, s.offset, length);
        touch(l, s.target, s.pixels);
        l->count.synops += count * length;
    }
}

void bnn_events_add_pixel(const struct bnn_events *e, struct bnn_layer *l, size_t index, float delta)
{
    const struct bnn_scatter *scatter = bnn_events_scatter(e->model->kernels);
    uint32_t channel = (uint32_t)(index % l->in_c);
    const float *row = (const float *)l->rows + channel * l->row_length;
    size_t group = channel / l->group_in;
    for (struct spans s = begin(l, (uint32_t)(index / l->in_c)); next(&s);) {
        size_t at = s.target * l->out_c + group * l->group_out, length = s.pixels * l->group_out;
        scatter->add_floats((float *)l->membranes + at, row + s.offset, delta, length);
        touch(l, s.target, s.pixels);
        l->count.synops += length;
    }
    l->count.events++;
}

/* An op with the same pixels: how many channels its output begins later than this neuron's. */
static int64_t shift_of_channels(const struct bnn_op *op)
{
    if (op->row->opcode == BNN_OP_SLICE)
        return -(int64_t)((const struct bnn_slice_attrs *)op->attrs)->begin;
    return op->row->opcode == BNN_OP_PAD_CHANNELS ? ((const struct bnn_pad_channels_attrs *)op->attrs)->before : 0;
}

void bnn_events_relay(struct bnn_events *e, struct bnn_layer *l, uint32_t from, uint32_t neuron)
{
    const struct bnn_op *op = &e->model->ops[l->op];
    struct bnn_population *out = &e->populations[l->out];
    const struct bnn_population *in = &e->populations[from];
    uint32_t pixel = neuron / in->c, channel = neuron % in->c;
    l->count.events++;
    if (op->row->opcode == BNN_OP_RESHAPE) {
        bnn_events_emit(e, out, neuron);
        return;
    }
    if (op->row->opcode == BNN_OP_CONCAT) {
        uint32_t first = 0;
        for (uint32_t i = 0; i < op->input_count; i++) {
            if (op->inputs[i] == in->tensor)
                bnn_events_emit(e, out, pixel * out->c + first + channel);
            first += bnn_op_input(e->model, op, i)->c;
        }
        return;
    }
    if (op->row->opcode == BNN_OP_PAD) {
        const struct bnn_pad_attrs *a = op->attrs;
        uint32_t y = pixel / in->w + (uint32_t)a->pad_top;
        pixel = y * out->w + pixel % in->w + (uint32_t)a->pad_left;
    }
    int64_t to = channel + shift_of_channels(op);
    if (to >= 0 && to < out->c)
        bnn_events_emit(e, out, pixel * out->c + (uint32_t)to);
}
