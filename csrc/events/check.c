/* SPDX-License-Identifier: Apache-2.0 */
/* What an event engine can run: decided at creation, so that everything that is looked up later exists. */
#include "events/events.h"
#include "model/validate.h"

int bnn_events_find_kind(const struct bnn_model *m, const struct bnn_op *op, bnn_layer_kind *kind)
{
    switch (op->row->opcode) {
    case BNN_OP_bconv2d:
        *kind = bnn_events_is_bits(&m->tensors[op->output]) ? BNN_LAYER_SYNAPSES : BNN_LAYER_READOUT;
        return 1;
    case BNN_OP_max_pool:
        *kind = BNN_LAYER_POOL;
        return 1;
    case BNN_OP_binarize:
    case BNN_OP_binarize_levels: {
        struct bnn_counter_ops ops;
        *kind = bnn_events_find_counter_ops(m, op, &ops) ? BNN_LAYER_COUNTER : BNN_LAYER_ENCODER;
        return 1;
    }
    case BNN_OP_conv2d:
    case BNN_OP_iconv2d:
        *kind = BNN_LAYER_ENCODER;
        return 1;
    case BNN_OP_concat:
    case BNN_OP_copy:
    case BNN_OP_gather:
    case BNN_OP_pad:
    case BNN_OP_reshape:
    case BNN_OP_slice:
        *kind = BNN_LAYER_RELAY;
        return 1;
    default:
        return 0;
    }
}

/* The channels that an op reads of a tensor: of planes of numbers, those of a plane. */
static uint64_t channels_read(const struct bnn_model *m, const struct bnn_op *op, const struct bnn_tensor *bits)
{
    if (op->row->opcode != BNN_OP_bconv2d || ((const struct bnn_conv_attrs *)op->attrs)->planes == 1)
        return bits->c;
    return (uint64_t)bnn_op_input(m, op, 1)->c * (uint64_t)((const struct bnn_conv_attrs *)op->attrs)->groups;
}

/* Refuses a layer that reads constant bits, because nothing sends spikes for them, and one that reads other numbers, or
 * bits of other numbers, than a quantizer gives: as many channels also mean as many planes, which bnn_model_open
 * checked. */
static bnn_status check_layer(struct bnn_prepare *p, const struct bnn_op *op, bnn_layer_kind kind)
{
    if (kind == BNN_LAYER_ENCODER || kind == BNN_LAYER_COUNTER)
        return BNN_OK;
    for (uint32_t i = 0; i < bnn_events_operands(op); i++) {
        const struct bnn_tensor *x = bnn_op_input(p->model, op, i);
        if (x->storage == BNN_CONSTANT)
            return bnn_fail(p, op, BNN_ERROR_OPCODE, "spikes of a constant", 1, 0);
        const struct bnn_op *from = &p->model->ops[x->written];
        if (channels_read(p->model, op, x) != bnn_events_neurons(p->model, from)->c)
            return bnn_fail(p, op, BNN_ERROR_OPCODE, "numbers of several bits between spiking layers", 1, 0);
    }
    return BNN_OK;
}

bnn_status bnn_events_check_ops(struct bnn_prepare *p)
{
    const struct bnn_model *m = p->model;
    uint64_t neurons = 0;
    for (uint32_t k = 0; k < m->op_count; k++) {
        const struct bnn_op *op = &m->ops[k];
        const struct bnn_tensor *y = &m->tensors[op->output];
        bnn_layer_kind kind;
        p->number = k;
        neurons = bnn_plus(neurons, bnn_events_is_bits(y) ? bnn_elements(bnn_events_neurons(m, op)) : 0);
        if (neurons >= BNN_NONE)
            return bnn_fail(p, op, BNN_ERROR_LIMIT, "neurons up to it (below)", bnn_shown(neurons), BNN_NONE);
        if (!bnn_events_is_layer(m, op))
            continue;
        if (!bnn_events_find_kind(m, op, &kind))
            return bnn_fail(p, op, BNN_ERROR_OPCODE, "bits that are not spikes", 1, 0);
        bnn_status status = check_layer(p, op, kind);
        if (status != BNN_OK)
            return status;
    }
    return BNN_OK;
}

/* Whether a layer's bits, decided by its epilogue, may come from NaN, which bnn_run reports. */
static int may_be_no_number(const struct bnn_events *e, const struct bnn_layer *l)
{
    if (l->kind == BNN_LAYER_COUNTER)
        return !bnn_events_gives_numbers(l, bnn_events_most(e, &e->layers[l->source]));
    return l->kind == BNN_LAYER_SYNAPSES && !l->fires && !bnn_events_gives_numbers(l, (float)l->reach);
}

bnn_status bnn_events_classify(struct bnn_prepare *p, struct bnn_events *e)
{
    const struct bnn_model *m = e->model;
    e->local = e->simple = 1;
    for (uint32_t i = 0; i < m->tensor_count; i++)
        e->classes[i] = m->tensors[i].storage == BNN_INPUT ? BNN_ANALOG : 0;
    for (uint32_t k = 0; k < m->op_count; k++) {
        const struct bnn_op *op = &m->ops[k];
        int found = 0, real = 0, analog = 0;
        for (uint32_t i = 0; i < op->input_count; i++) {
            uint8_t class = e->classes[op->inputs[i]];
            found |= class == BNN_SPIKES;
            real |= class == BNN_REAL;
            analog |= class == BNN_ANALOG;
        }
        p->number = k;
        if (op->row->whole_batch)
            return bnn_fail(p, op, BNN_ERROR_OPCODE, "a value of the whole batch", 1, 0);
        if (!bnn_events_is_bits(&m->tensors[op->output])) {
            e->classes[op->output] = found || real ? BNN_REAL : BNN_ANALOG;
            e->local &= !((found || real) && analog);
            continue;
        }
        e->classes[op->output] = BNN_SPIKES;
        const struct bnn_layer *l = &e->layers[e->layer_of[k]];
        if (real && l->kind != BNN_LAYER_COUNTER)
            return bnn_fail(p, op, BNN_ERROR_OPCODE, "real values between spiking layers", 1, 0);
        if (op->row->opcode == BNN_OP_bconv2d && l->residual != BNN_NONE)
            return bnn_fail(p, op, BNN_ERROR_OPCODE, "real values between spiking layers", 1, 0);
        if (may_be_no_number(e, l))
            return bnn_fail(p, op, BNN_ERROR_OPCODE, "operands that make of spikes what is no number", 1, 0);
        if (l->kind == BNN_LAYER_ENCODER) {
            e->local &= l->reads != BNN_NONE;
            e->simple &= l->input != BNN_NONE;
        }
    }
    for (uint32_t i = 0; i < m->output_count; i++)
        e->local &= e->classes[m->output_tensors[i]] != BNN_ANALOG;
    e->simple &= e->local;
    return BNN_OK;
}
