/* SPDX-License-Identifier: Apache-2.0 */
/* The layers of a model: which ops its event populations stand for.  Whatever is looked up later exists, with the sizes
 * that copying needs: whether the populations do what the ops do, only whoever lowered the model knows. */
#include "coding/coding.h"
#include "model/validate.h"

#include <string.h>

/* The operand with data of an op whose elements each depend on the same element of that operand alone; BNN_NONE for any
 * other op. */
static uint32_t operand_of(const struct bnn_model *m, const struct bnn_op *op)
{
    uint32_t found = BNN_NONE;
    const struct bnn_tensor *y = &m->tensors[op->output];
    switch (op->row->opcode) {
    case BNN_OP_copy:
    case BNN_OP_reshape:
        return op->inputs[0];
    case BNN_OP_add:
    case BNN_OP_affine:
    case BNN_OP_cast:
    case BNN_OP_clamp:
    case BNN_OP_div:
    case BNN_OP_mul:
    case BNN_OP_sub:
        break;
    default:
        return BNN_NONE;
    }
    for (uint32_t i = 0; i < op->input_count; i++) {
        const struct bnn_tensor *x = bnn_op_input(m, op, i);
        if (x->storage == BNN_CONSTANT)
            continue;
        /* No second operand with data; none that is broadcast; no divisor, for the sign of a zero would matter there. */
        int repeated = (size_t)x->h * x->w * x->c != (size_t)y->h * y->w * y->c;
        if ((found != BNN_NONE) | repeated | ((op->row->opcode == BNN_OP_div) & (i > 0)))
            return BNN_NONE;
        found = op->inputs[i];
    }
    return found;
}

/* The model's input on which a tensor depends element by element, or BNN_NONE. */
static uint32_t input_behind(const struct bnn_model *m, uint32_t tensor)
{
    while (tensor != BNN_NONE && m->tensors[tensor].storage != BNN_INPUT)
        tensor =
            m->tensors[tensor].storage == BNN_CONSTANT ? BNN_NONE : operand_of(m, &m->ops[m->tensors[tensor].written]);
    return tensor == BNN_NONE ? BNN_NONE : (uint32_t)m->tensors[tensor].offset;
}

static int sums_bytes(const struct bnn_op *op)
{
    return op->row->opcode == BNN_OP_iconv2d || op->row->opcode == BNN_OP_qconv2d;
}

/* The convolution of floats before an encoder's bits: its own, or that directly before a quantizer. */
static uint32_t conv_of(const struct bnn_model *m, uint32_t number)
{
    const struct bnn_op *op = &m->ops[number];
    if (op->row->opcode == BNN_OP_conv2d)
        return number;
    const struct bnn_tensor *x = bnn_op_input(m, op, 0);
    if (sums_bytes(op) || x->storage == BNN_INPUT)
        return BNN_NONE;
    /* An op wrote it: bnn_model_open checked that a quantizer reads no constant. */
    return m->ops[x->written].row->opcode == BNN_OP_conv2d ? x->written : BNN_NONE;
}

/* The highest level of what an op gives. */
static uint32_t steps_of(const struct bnn_model *m, const struct bnn_op *op)
{
    return op->row->opcode == BNN_OP_binarize_levels ? bnn_op_input(m, op, 1)->c : 1;
}

/* A tensor of the shape of an op's neurons: several bits of its output may be one. */
static const struct bnn_tensor *neurons_of(const struct bnn_model *m, const struct bnn_op *op)
{
    return op->row->opcode == BNN_OP_binarize_levels ? bnn_op_input(m, op, 0) : &m->tensors[op->output];
}

static int same_shape(const struct bnn_snn_population *p, const struct bnn_tensor *t)
{
    return p->h == t->h && p->w == t->w && p->c == t->c;
}

static uint64_t dense_of(const struct bnn_model *m, uint32_t number)
{
    bnn_op_info info;
    bnn_get_op(m, number, &info);
    return info.binary_macs + info.float_macs + info.byte_macs;
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

/* The step of all weights of an encoder, and the largest sum of magnitudes. */
static void describe_rows(struct bnn_layer *l)
{
    const struct bnn_path *path = &l->changes->paths[0];
    const float *rows = path->projection->weights;
    int step = 1 << 10;
    for (size_t o = 0; o < path->group_out; o++)
        for (size_t group = 0; group < path->projection->groups; group++) {
            float sum = 0.0f;
            for (size_t c = group * path->group_in; c < (group + 1) * path->group_in; c++)
                for (size_t k = o; k < path->row_length; k += path->group_out) {
                    const float w = rows[c * path->row_length + k];
                    const int bit = last_bit(w);
                    step = bit < step ? bit : step;
                    sum += w < 0.0f ? -w : w;
                }
            l->row_sum = !(sum <= l->row_sum) ? sum : l->row_sum; /* also for NaN */
        }
    l->row_step = power_of_two(step == 1 << 10 ? 0 : step);
}

static bnn_status foreign(bnn_problem *problem, uint32_t population)
{
    return bnn_report(BNN_ABOUT("population", population, problem), BNN_ERROR_FORMAT,
                      "populations of this model (1: yes)", 0, 1);
}

/* What an encoder's population follows. */
static int describe_encoder(struct bnn_events *e, struct bnn_layer *l)
{
    const struct bnn_model *m = e->model;
    const struct bnn_op *op = &m->ops[l->op];
    l->kind = BNN_LAYER_ENCODER;
    l->sums = conv_of(m, l->op);
    const struct bnn_op *source = l->sums != BNN_NONE ? &m->ops[l->sums] : op;
    const int residual = l->sums != BNN_NONE && bnn_slot_input(source, BNN_SLOT_RESIDUAL) != 0;
    /* Not with a residual: more than its input decides; nor of bytes, whose windows are not described. */
    if (!residual && !sums_bytes(op))
        l->reads = input_behind(m, source->inputs[0]);
    l->dense =
        l->sums != BNN_NONE || sums_bytes(op) ? dense_of(m, l->sums != BNN_NONE ? l->sums : l->op) : l->changes->p->n;
    for (uint32_t i = 0; l->sums != BNN_NONE && i < e->layer_count; i++)
        if (e->layers[i].kind == BNN_LAYER_ENCODER && e->layers[i].sums == l->sums)
            l->dense = 0; /* several thresholds on sums that are computed once */
    if (l->changes->path_count != 1)
        return l->changes->path_count == 0;
    const struct bnn_changes *pixels = l->changes->paths[0].from;
    if (pixels->values == NULL)
        return 0;
    l->input = pixels->p->origin - 1;
    describe_rows(l);
    return l->reads != BNN_NONE && l->reads == l->input && e->inputs[l->input].count == pixels->p->n &&
           m->tensors[m->input_tensors[l->input]].dtype == BNN_F32;
}

/* Sums of convolutions of bits or levels whose populations are those of their operands. */
static int describe_sums(struct bnn_events *e, struct bnn_layer *l)
{
    const struct bnn_model *m = e->model;
    const struct bnn_op *op = &m->ops[l->op];
    struct bnn_changes *c = l->changes;
    if (op->row->opcode != BNN_OP_bconv2d || c->path_count == 0)
        return 0;
    for (uint32_t i = 0; i < c->path_count; i++) {
        const uint32_t made = c->paths[i].projection->origin - 1;
        if (made >= m->op_count || m->ops[made].row->opcode != BNN_OP_bconv2d ||
            !same_shape(c->p, &m->tensors[m->ops[made].output]) ||
            e->population_of[m->ops[made].inputs[0]] != c->paths[i].from->number)
            return 0;
        l->dense += dense_of(m, made);
    }
    const uint32_t residual = bnn_slot_input(op, BNN_SLOT_RESIDUAL);
    if (residual != 0)
        l->residual = op->inputs[residual];
    l->merged = c->path_count > 1 || (c->watched && residual != 0);
    l->kind = c->p->rule != RULE_SUM ? BNN_LAYER_SYNAPSES : c->watched ? BNN_LAYER_SUMS : BNN_LAYER_READOUT;
    return 1;
}

/* What an op's kind is, from the rule of its population; 0: it is none of that op. */
static int describe_layer(struct bnn_events *e, struct bnn_layer *l)
{
    const struct bnn_model *m = e->model;
    const struct bnn_op *op = &m->ops[l->op];
    const struct bnn_changes *c = l->changes;
    const uint32_t inputs = bnn_events_operands(op);
    switch (c->p->rule) {
    case RULE_SUM:
        return describe_sums(e, l);
    case RULE_WIRE:
    case RULE_ANY:
        l->kind = c->p->rule == RULE_ANY ? BNN_LAYER_POOL : BNN_LAYER_RELAY;
        if (c->p->rule == RULE_ANY && op->row->opcode == BNN_OP_max_pool) {
            const struct bnn_pool_attrs *a = op->attrs;
            l->dense = (uint64_t)c->p->n * (uint32_t)a->kernel_h * (uint32_t)a->kernel_w;
        }
        for (uint32_t i = 0; i < inputs; i++)
            if (e->population_of[op->inputs[i]] == BNN_NONE)
                return 0;
        return 1;
    case RULE_COUNTER:
        if (c->p->looks) {
            const struct bnn_path *look = &c->paths[0];
            l->kind = BNN_LAYER_COUNTER;
            l->dense =
                look->taps > 1 ? (uint64_t)c->p->n * look->projection->kernel[0] * look->projection->kernel[1] : 0;
            return op->row->opcode == BNN_OP_binarize || op->row->opcode == BNN_OP_binarize_levels;
        }
        return op->row->opcode == BNN_OP_bconv2d ? describe_sums(e, l) : describe_encoder(e, l);
    default:
        return describe_encoder(e, l);
    }
}

/* Whether a bit op runs before the first bits. */
static int encodes(const struct bnn_op *op)
{
    return op->row->opcode == BNN_OP_conv2d || sums_bytes(op) || op->row->opcode == BNN_OP_binarize ||
           op->row->opcode == BNN_OP_binarize_levels;
}

/* The tensor whose bits or sums a population has: with the same shape and levels. */
static uint32_t tensor_of(const struct bnn_events *e, const struct bnn_changes *c)
{
    const struct bnn_model *m = e->model;
    uint32_t origin = c->p->origin;
    if (origin == 0 && c->p->rule == RULE_WIRE && c->path_count == 1) /* neurons in the shape of their readers */
        origin = c->paths[0].from->p->origin;
    if (origin == 0 || origin > m->op_count || c->values != NULL)
        return BNN_NONE;
    const struct bnn_op *op = &m->ops[origin - 1];
    const int bits = m->tensors[op->output].dtype == BNN_B1;
    if (!same_shape(c->p, neurons_of(m, op)) || bits != (c->pending != NULL) ||
        (bits && c->p->steps != steps_of(m, op)))
        return BNN_NONE;
    return op->output;
}

/* What depends on spikes. */
static void classify(struct bnn_events *e)
{
    const struct bnn_model *m = e->model;
    e->local = e->simple = 1;
    for (uint32_t i = 0; i < m->tensor_count; i++)
        e->classes[i] = m->tensors[i].storage == BNN_INPUT ? BNN_ANALOG : 0;
    for (uint32_t k = 0; k < m->op_count; k++) {
        const struct bnn_op *op = &m->ops[k];
        int found = 0, real = 0, analog = 0;
        for (uint32_t i = 0; i < op->input_count; i++) {
            const uint8_t class = e->classes[op->inputs[i]];
            found |= class == BNN_SPIKES;
            real |= class == BNN_REAL;
            analog |= class == BNN_ANALOG;
        }
        if (m->tensors[op->output].dtype == BNN_B1) {
            e->classes[op->output] = BNN_SPIKES;
            continue;
        }
        e->classes[op->output] = found || real ? BNN_REAL : BNN_ANALOG;
        e->local &= !((found || real) && analog);
    }
    for (uint32_t i = 0; i < e->layer_count; i++)
        if (e->layers[i].kind == BNN_LAYER_ENCODER) {
            e->local &= e->layers[i].reads != BNN_NONE;
            e->simple &= e->layers[i].input != BNN_NONE;
        }
    for (uint32_t i = 0; i < m->output_count; i++)
        e->local &= e->classes[m->output_tensors[i]] != BNN_ANALOG;
    e->simple &= e->local;
}

bnn_status bnn_events_describe(struct bnn_events *e, bnn_problem *problem)
{
    const struct bnn_model *m = e->model;
    const struct bnn_snn *net = e->state->net;
    uint32_t last = 0;
    for (uint32_t i = 0; i < m->tensor_count; i++)
        e->population_of[i] = BNN_NONE;
    for (uint32_t k = 0; k < net->population_count; k++) {
        struct bnn_changes *c = e->state->neurons[k].changes;
        e->layer_of[k] = BNN_NONE;
        if (c == NULL)
            return foreign(problem, k);
        const uint32_t tensor = tensor_of(e, c), origin = c->values == NULL ? c->p->origin : 0;
        if (tensor != BNN_NONE)
            e->population_of[tensor] = k;
        if (origin == 0)
            continue;
        struct bnn_layer l = {.op = origin - 1, .changes = c, .limit = SIZE_MAX};
        l.sums = l.reads = l.input = l.residual = BNN_NONE;
        /* In the order of their ops; of another shape are only counters that look at sums. */
        if (origin > m->op_count || origin <= last || (tensor == BNN_NONE && !c->p->looks))
            return foreign(problem, k);
        last = origin;
        l.tensor = m->ops[l.op].output;
        if (!describe_layer(e, &l) || (l.kind == BNN_LAYER_ENCODER && !encodes(&m->ops[l.op])))
            return foreign(problem, k);
        e->layer_of[k] = e->layer_count;
        e->layers[e->layer_count++] = l;
    }
    for (uint32_t k = 0; k < m->op_count; k++)
        if (m->tensors[m->ops[k].output].dtype == BNN_B1 && e->population_of[m->ops[k].output] == BNN_NONE)
            return bnn_report(BNN_ABOUT("op", k, problem), BNN_ERROR_FORMAT, "a population of its bits (1: yes)", 0, 1);
    classify(e);
    return BNN_OK;
}
