/* SPDX-License-Identifier: Apache-2.0 */
/* What a counter looks at: the ops between the sums of a layer and a quantizer. */
#include "events/events.h"
#include "run/window.h"

#include <string.h>

enum {
    MOST_ADDED = 16,    /* sums that are one; the compiler makes a few of weights of several values */
    MOST_FUNCTIONS = 64 /* of a channel, evaluated thousands of times between two polls; the compiler leaves a few */
};

static uint64_t reach_of(const struct bnn_model *m, const struct bnn_op *op)
{
    const struct bnn_tensor *w = bnn_op_input(m, op, 1);
    return (uint64_t)w->h * w->w * w->c * ((1u << ((const struct bnn_conv_attrs *)op->attrs)->planes) - 1);
}

/* Whether a layer's sums are its accumulators; or those plus a constant, or plus the sums of another such layer, and
 * nothing else before that.  All together are exact. */
static int is_sum(const struct bnn_model *m, const struct bnn_op *op)
{
    uint64_t reach = reach_of(m, op);
    uint32_t allowed = BNN_SLOT_RESIDUAL | BNN_SLOT_CLAMP1;
    for (int k = 0; k < MOST_ADDED; k++, allowed = BNN_SLOT_RESIDUAL) {
        uint32_t residual = bnn_slot_input(op, BNN_SLOT_RESIDUAL);
        uint32_t slots = (uint32_t)((const struct bnn_conv_attrs *)op->attrs)->slots;
        if (residual == 0)
            return k == 0 || slots == 0;
        if ((slots & ~allowed) != 0)
            return 0;
        const struct bnn_tensor *x = bnn_op_input(m, op, residual);
        if (x->storage == BNN_CONSTANT)
            return 1;
        if (x->storage == BNN_INPUT || m->ops[x->written].row->opcode != BNN_OP_bconv2d)
            return 0;
        op = &m->ops[x->written];
        reach += reach_of(m, op);
        if (reach >= 1u << 24)
            return 0;
    }
    return 0;
}

/* Back from the quantizer, an op at a time: 1 at the sums, -1 where a neuron would depend on more than one of them, or
 * on no sum of spikes. */
static int step_back(const struct bnn_model *m, uint32_t tensor, struct bnn_counter_ops *s, uint32_t *channels)
{
    const struct bnn_op *op = &m->ops[m->tensors[tensor].written];
    const struct bnn_tensor *other = op->input_count == 2 ? bnn_op_input(m, op, 1) : NULL;
    uint32_t c = m->tensors[tensor].c;
    switch (op->row->opcode) {
    case BNN_OP_bconv2d:
        s->sums = m->tensors[tensor].written;
        return (*channels == 0 || *channels == c) && is_sum(m, op) ? 1 : -1;
    case BNN_OP_max_pool:
        if (s->pool != BNN_NONE)
            return -1;
        s->pool = m->tensors[tensor].written;
        break;
    case BNN_OP_affine:
        s->functions++;
        break;
    case BNN_OP_add:
    case BNN_OP_sub:
    case BNN_OP_mul: /* with a number for each channel */
        if (other->storage != BNN_CONSTANT || other->c != c || other->image != c || bnn_op_input(m, op, 0)->c != c)
            return -1;
        s->functions++;
        break;
    case BNN_OP_clamp: /* of any channel */
        s->functions++;
        return 0;
    case BNN_OP_copy:
    case BNN_OP_reshape: /* the elements stay in their order */
        return 0;
    default:
        return -1;
    }
    if (*channels != 0 && *channels != c)
        return -1;
    *channels = c;
    return 0;
}

static uint32_t before(const struct bnn_model *m, uint32_t tensor)
{
    return m->ops[m->tensors[tensor].written].inputs[0];
}

int bnn_events_find_counter_ops(const struct bnn_model *m, const struct bnn_op *op, struct bnn_counter_ops *s)
{
    uint32_t tensor = op->inputs[0];
    uint32_t channels = op->input_count == 3 ? m->tensors[tensor].c : 0; /* each with a threshold of its own */
    int found = 0;
    *s = (struct bnn_counter_ops){BNN_NONE, BNN_NONE, 0};
    for (; found == 0; tensor = before(m, tensor)) {
        if (m->tensors[tensor].storage ==
            BNN_INPUT) /* nor is it a constant: bnn_model_open checked the first operands */
            return 0;
        found = step_back(m, tensor, s, &channels);
    }
    return found > 0 && s->functions <= MOST_FUNCTIONS;
}

void bnn_events_describe_counter(const struct bnn_model *m, const struct bnn_op *op, struct bnn_layer *l)
{
    struct bnn_counter_ops s;
    (void)bnn_events_find_counter_ops(m, op, &s); /* it does: bnn_events_find_kind */
    const struct bnn_tensor *sums = &m->tensors[m->ops[s.sums].output], *grid = sums;
    l->source = s.sums;
    if (s.pool != BNN_NONE) {
        const struct bnn_op *pool = &m->ops[s.pool];
        const struct bnn_pool_attrs *a = pool->attrs;
        sums = bnn_op_input(m, pool, 0);
        grid = &m->tensors[pool->output];
        l->kernel_h = (uint32_t)a->kernel_h, l->kernel_w = (uint32_t)a->kernel_w;
        l->stride_h = a->stride_h, l->stride_w = a->stride_w;
        l->pad_top = a->pad_top, l->pad_left = a->pad_left;
        l->taps = bnn_pool_window(a, sums);
    }
    l->in_h = sums->h, l->in_w = sums->w, l->in_c = sums->c;
    l->out_h = grid->h, l->out_w = grid->w, l->out_c = grid->c; /* of the same elements as the neurons */
    l->group_in = l->in_c, l->group_out = l->out_c;
    l->chained = s.functions + 1;
    l->count.dense = (uint64_t)l->count.neurons * (l->taps > 1 ? l->kernel_h * l->kernel_w : 0);
}

/* An op on the numbers of a channel, as kernels do it; 0 if it is not one. */
static int function_of(const struct bnn_model *m, const struct bnn_op *op, struct bnn_epilogue *f)
{
    const struct bnn_clamp_attrs *a = op->attrs;
    const float *operand = op->input_count > 1 ? bnn_op_input(m, op, 1)->data : NULL;
    memset(f, 0, sizeof *f);
    switch (op->row->opcode) {
    case BNN_OP_add:
        f->add = operand;
        return 1;
    case BNN_OP_sub:
        f->sub = operand;
        return 1;
    case BNN_OP_mul:
        f->mul = operand;
        return 1;
    case BNN_OP_affine:
        f->sub = operand;
        f->mul = bnn_op_input(m, op, 2)->data;
        f->add = bnn_op_input(m, op, 3)->data;
        break;
    case BNN_OP_clamp:
        break;
    default:
        return 0;
    }
    f->clamp1 = 1;
    f->lo1 = a->lo;
    f->hi1 = a->hi;
    return 1;
}

void bnn_events_reserve_bounds(struct bnn_prepare *p, struct bnn_layer *l)
{
    if (l->steps == 1)
        return;
    l->signs = bnn_reserve(p, l->out_c, sizeof *l->signs);
    l->floors = bnn_reserve(p, l->count.neurons, sizeof *l->floors);
    l->ceilings = bnn_reserve(p, l->count.neurons, sizeof *l->ceilings);
}

void bnn_events_reserve_counter(struct bnn_prepare *p, const struct bnn_op *op, struct bnn_layer *l)
{
    const struct bnn_model *m = p->model;
    size_t words = l->out_c / 32 + 1;
    struct bnn_epilogue *chain = bnn_reserve(p, l->chained, sizeof *chain);
    l->cuts = bnn_reserve(p, (size_t)l->out_c * l->steps, sizeof *l->cuts);
    l->turned = bnn_reserve(p, words, sizeof *l->turned);
    bnn_events_reserve_bounds(p, l);
    l->lowest = bnn_reserve(p, words, sizeof *l->lowest);
    l->chain = chain;
    if (l->lowest == NULL) /* the last: else all are there */
        return;
    uint32_t tensor = op->inputs[0], k = l->chained;
    for (; m->tensors[tensor].written != l->source; tensor = before(m, tensor)) {
        const struct bnn_op *made = &m->ops[m->tensors[tensor].written];
        if (function_of(m, made, &chain[k - 1]))
            k--;
        else if (made->row->opcode == BNN_OP_max_pool)
            l->pooled = k;
    }
    chain[0] = bnn_op_epilogue(m, &m->ops[l->source]);
}
