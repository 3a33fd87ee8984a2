/* SPDX-License-Identifier: Apache-2.0 */
/* Building an event engine: what each op becomes, and the engine's memory.
 *
 * As when a model is opened, the same code measures and fills: bnn_reserve first only counts.  So the memory depends
 * only on an op and its tensors; everything else (whether the engine can run the model at all) is decided when there is
 * memory. */
#include "events/events.h"
#include "model/validate.h"
#include "run/window.h"

#include <string.h>

/* Approximate additions from the spikes of a slice: a millisecond; tests set it to few. */
#ifndef BNN_EVENTS_SLICE
#define BNN_EVENTS_SLICE (UINT64_C(1) << 24)
#endif

/* The operand with data of an op whose elements each depend on the same element of that operand alone; BNN_NONE for any
 * other op.  *equal: cleared if the result has other values than the operand. */
static uint32_t operand_of(const struct bnn_model *m, const struct bnn_op *op, int *equal)
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
        *equal = 0;
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

/* The model's input on which a tensor depends element by element, or BNN_NONE; *equal: whether it is that, in floats. */
static uint32_t input_behind(const struct bnn_model *m, uint32_t tensor, int *equal)
{
    *equal = 1;
    while (tensor != BNN_NONE && m->tensors[tensor].storage != BNN_INPUT)
        tensor = m->tensors[tensor].storage == BNN_CONSTANT ? BNN_NONE
                                                            : operand_of(m, &m->ops[m->tensors[tensor].written], equal);
    if (tensor == BNN_NONE)
        return BNN_NONE;
    *equal &= m->tensors[tensor].dtype == BNN_F32; /* pixels are updated one by one in floats */
    return (uint32_t)m->tensors[tensor].offset;
}

/* The op whose sums are in a layer's membranes: its own, or the convolution directly before a quantizer. */
static uint32_t sums_of(const struct bnn_model *m, uint32_t number)
{
    const struct bnn_op *op = &m->ops[number];
    if (op->row->opcode == BNN_OP_bconv2d || op->row->opcode == BNN_OP_conv2d)
        return number;
    const struct bnn_tensor *x = bnn_op_input(m, op, 0);
    if ((op->row->opcode != BNN_OP_binarize && op->row->opcode != BNN_OP_binarize_levels) || x->storage == BNN_INPUT)
        return BNN_NONE;
    /* An op wrote it: bnn_model_open checked that a quantizer reads no constant. */
    return m->ops[x->written].row->opcode == BNN_OP_conv2d ? x->written : BNN_NONE;
}

static void describe_pool(const struct bnn_model *m, struct bnn_layer *l)
{
    const struct bnn_op *op = &m->ops[l->op];
    const struct bnn_pool_attrs *a = op->attrs;
    l->kernel_h = (uint32_t)a->kernel_h, l->kernel_w = (uint32_t)a->kernel_w;
    l->stride_h = a->stride_h, l->stride_w = a->stride_w;
    l->pad_top = a->pad_top, l->pad_left = a->pad_left;
    l->mask = op->input_count == 2 ? bnn_op_input(m, op, 1)->data : NULL;
    l->count.dense = (uint64_t)l->count.neurons * l->kernel_h * l->kernel_w;
}

static void describe_conv(const struct bnn_model *m, struct bnn_layer *l)
{
    const struct bnn_op *op = &m->ops[l->sums];
    const struct bnn_conv_attrs *a = op->attrs;
    const struct bnn_tensor *w = bnn_op_input(m, op, 1);
    bnn_op_info info;
    l->kernel_h = w->h, l->kernel_w = w->w;
    l->groups = (uint32_t)a->groups;
    l->group_in = w->c, l->group_out = w->o / l->groups;
    l->in_c = l->group_in * l->groups; /* of numbers, not of their planes */
    l->stride_h = a->stride_h, l->stride_w = a->stride_w;
    l->dilation_h = a->dilation_h, l->dilation_w = a->dilation_w;
    l->pad_top = a->pad_top, l->pad_left = a->pad_left;
    l->whole_rows = l->stride_w == 1 && l->dilation_w == 1 && l->groups == 1;
    l->fires = ((uint32_t)a->slots & BNN_SLOT_THRESHOLD) != 0;
    l->reach = l->kernel_h * l->kernel_w * l->group_in * ((1u << a->planes) - 1); /* below 2^24 of spikes */
    l->wide = l->reach > INT16_MAX;
    l->floats = l->kind == BNN_LAYER_ENCODER || a->planes > 1;
    l->finish = bnn_op_epilogue(m, op);
    if (bnn_slot_input(op, BNN_SLOT_RESIDUAL) != 0)
        l->residual = op->inputs[bnn_slot_input(op, BNN_SLOT_RESIDUAL)];
    if (l->residual != BNN_NONE && m->tensors[l->residual].storage == BNN_CONSTANT)
        l->added = m->tensors[l->residual].data;
    bnn_get_op(m, l->sums, &info);
    l->count.dense = info.binary_macs + info.float_macs;
}

/* The largest cost of delivering and firing. */
static void describe_work(struct bnn_layer *l)
{
    enum { NEURON = 8, TAP = 16 }; /* an epilogue; finding the targets of a tap, in additions */
    uint64_t additions = l->kind == BNN_LAYER_POOL ? TAP * l->taps : l->row_length + TAP * l->row_length / l->group_out;
    l->spike_work = 1 + additions / (l->kind == BNN_LAYER_ENCODER ? 1 : 4);
    l->word_work = l->fires && !l->wide ? 33 : l->taps + UINT64_C(32) * NEURON;
    if (l->kind == BNN_LAYER_COUNTER)
        l->word_work = 32 * (l->taps + NEURON);
    l->slice = 1 + (size_t)(BNN_EVENTS_SLICE / (32 * additions));
}

/* The members of a layer that follow from its op and need no memory. */
static struct bnn_layer describe(const struct bnn_model *m, uint32_t number)
{
    const struct bnn_op *op = &m->ops[number];
    struct bnn_layer l;
    int equal = 0;
    memset(&l, 0, sizeof l);
    (void)bnn_events_find_kind(m, op, &l.kind); /* it exists: bnn_events_check_ops */
    l.op = number;
    l.sums = sums_of(m, number);
    l.in = l.out = l.reads = l.residual = l.source = l.watchers = l.next = BNN_NONE;
    const struct bnn_op *source = l.sums != BNN_NONE ? &m->ops[l.sums] : op;
    const struct bnn_tensor *x = bnn_op_input(m, source, 0), *y = bnn_events_neurons(m, op);
    l.in_h = x->h, l.in_w = x->w, l.in_c = x->c;
    l.out_h = y->h, l.out_w = y->w, l.out_c = y->c;
    l.kernel_h = l.kernel_w = l.groups = 1;
    l.taps = 1;
    l.stride_h = l.stride_w = l.dilation_h = l.dilation_w = 1;
    l.group_in = x->c, l.group_out = y->c;
    l.count.kind = l.kind;
    l.count.op = number;
    l.count.tensor = op->output;
    l.count.neurons = (size_t)y->h * y->w * y->c;
    l.count.limit = SIZE_MAX;
    l.steps = bnn_events_steps(m, op);
    l.count.levels = l.kind == BNN_LAYER_READOUT ? 0 : l.steps + 1;
    if (l.kind == BNN_LAYER_POOL)
        describe_pool(m, &l);
    else if (l.sums != BNN_NONE)
        describe_conv(m, &l);
    else if (l.kind == BNN_LAYER_ENCODER)
        l.count.dense = l.count.neurons;
    if (op->row->opcode == BNN_OP_iconv2d) {
        bnn_op_info info;
        bnn_get_op(m, number, &info);
        l.count.dense = info.byte_macs;
    }
    l.row_length = (size_t)l.kernel_h * l.kernel_w * l.group_out;
    if (l.kind == BNN_LAYER_COUNTER)
        bnn_events_describe_counter(m, op, &l);
    else if (l.kind == BNN_LAYER_POOL)
        l.taps = bnn_pool_window(op->attrs, x);
    describe_work(&l);
    /* Not with a residual: more than its input decides; nor of bytes, whose windows are not described. */
    if (l.kind == BNN_LAYER_ENCODER && l.residual == BNN_NONE && op->row->opcode != BNN_OP_iconv2d)
        l.reads = input_behind(m, source->inputs[0], &equal);
    l.input = equal ? l.reads : BNN_NONE;
    if (l.steps > 1)
        l.limits = bnn_op_input(m, op, 1)->data;
    if (op->row->opcode == BNN_OP_binarize && op->input_count == 3) {
        l.limits = bnn_op_input(m, op, 1)->data;
        l.flips = bnn_op_input(m, op, 2)->data;
    }
    return l;
}

static void reserve_layer(struct bnn_prepare *p, struct bnn_events *e, struct bnn_layer *l)
{
    size_t pixels = bnn_events_pixels(l);
    p->number = l->op;
    if (l->kind == BNN_LAYER_RELAY) {
        bnn_events_reserve_wires(p, l);
        return;
    }
    l->touched = bnn_reserve(p, pixels, 1);
    l->list = bnn_reserve(p, pixels, sizeof *l->list);
    if (l->kind == BNN_LAYER_COUNTER)
        bnn_events_reserve_counter(p, &p->model->ops[l->op], l);
    if (l->sums != BNN_NONE)
        bnn_events_make_conv(p, e, &p->model->ops[l->sums], l);
}

static struct bnn_population reserve_population(struct bnn_prepare *p, const struct bnn_op *op, size_t first)
{
    const struct bnn_tensor *t = bnn_events_neurons(p->model, op);
    struct bnn_population s;
    memset(&s, 0, sizeof s);
    s.tensor = op->output;
    s.steps = bnn_events_steps(p->model, op);
    s.h = t->h, s.w = t->w, s.c = t->c, s.words = (t->c + 31) / 32;
    s.neurons = (size_t)t->h * t->w * t->c; /* below BNN_NONE: bnn_events_check_ops */
    s.first = first;
    s.consumers = BNN_NONE;
    size_t words = (size_t)t->h * t->w * s.words;
    if (s.steps == 1) {
        s.bits = bnn_reserve(p, words, sizeof *s.bits);
        s.seen = bnn_reserve(p, words, sizeof *s.seen);
    } else {
        s.levels = bnn_reserve(p, s.neurons, 1);
        s.levels_seen = bnn_reserve(p, s.neurons, 1);
    }
    s.pending = bnn_reserve(p, s.steps == 1 ? words : s.neurons, 1);
    return s;
}

/* A counter looks at sums, and those at the sums that are added to them. */
static void watch(struct bnn_events *e, uint32_t watcher, uint32_t op)
{
    while (op != BNN_NONE) {
        uint32_t source = e->layer_of[op];
        struct bnn_layer *l = &e->layers[watcher], *s = &e->layers[source];
        if (s->watchers == BNN_NONE && s->residual != BNN_NONE && s->added == NULL)
            op = e->model->tensors[s->residual].written;
        else
            op = BNN_NONE; /* or another counter came first */
        l->source = source;
        l->next = s->watchers;
        s->watchers = watcher;
        s->count.kind = BNN_LAYER_SUMS;
        s->count.neurons = 0;
        watcher = source;
    }
}

/* The readers of each population: lists in the order of layers. */
static void connect(struct bnn_events *e)
{
    uint32_t count = 0;
    for (uint32_t k = e->layer_count; k-- > 0;) {
        struct bnn_layer *l = &e->layers[k];
        const struct bnn_op *op = &e->model->ops[l->op];
        uint32_t first = 0;
        l->in = e->population_of[op->inputs[0]];
        l->out = e->population_of[op->output];
        if (l->out != BNN_NONE)
            e->populations[l->out].producer = k;
        if (l->kind == BNN_LAYER_COUNTER) {
            watch(e, k, l->source);
            continue;
        }
        for (uint32_t i = 0; l->in != BNN_NONE && i < bnn_events_operands(op); i++) { /* not an encoder's */
            struct bnn_population *s = &e->populations[e->population_of[op->inputs[i]]];
            if (s->consumers == BNN_NONE || e->links[s->consumers].layer != k) { /* a concat may read it again */
                e->links[count] = (struct bnn_link){k, s->consumers, 0};
                s->consumers = count++;
            }
            e->links[s->consumers].first = first;
            first += (uint32_t)s->neurons;
        }
    }
}

static size_t count_layers(const struct bnn_model *m, size_t *populations, size_t *operands)
{
    size_t layers = 0;
    *populations = *operands = 0;
    for (uint32_t k = 0; k < m->op_count; k++) {
        const struct bnn_op *op = &m->ops[k];
        layers += (size_t)bnn_events_is_layer(m, op);
        *populations += (size_t)bnn_events_is_bits(&m->tensors[op->output]);
        *operands += op->input_count;
    }
    return layers;
}

/* Populations and layers, in the order of their ops. */
static size_t reserve_network(struct bnn_prepare *p, struct bnn_events *e)
{
    const struct bnn_model *m = p->model;
    size_t largest = 0;
    for (uint32_t k = 0; k < m->op_count && !e->stopped; k++) {
        const struct bnn_op *op = &m->ops[k];
        const struct bnn_tensor *y = &m->tensors[op->output];
        size_t size = (size_t)y->h * y->w * y->c;
        if (p->memory != NULL)
            e->layer_of[k] = bnn_events_is_layer(m, op) ? e->layer_count : BNN_NONE;
        if (bnn_events_is_layer(m, op)) {
            struct bnn_layer l = describe(m, k);
            reserve_layer(p, e, &l);
            for (uint32_t i = 0; p->memory != NULL && l.kind == BNN_LAYER_ENCODER && i < e->layer_count; i++)
                if (l.sums != BNN_NONE && e->layers[i].sums == l.sums)
                    l.count.dense = 0; /* several thresholds on sums that are computed once */
            if (p->memory != NULL)
                e->layers[e->layer_count] = l;
            e->layer_count++;
            largest = size > largest ? size : largest;
        }
        if (bnn_events_is_bits(y)) {
            struct bnn_population s = reserve_population(p, op, e->neurons);
            if (p->memory != NULL) {
                e->population_of[op->output] = e->population_count;
                e->populations[e->population_count] = s;
            }
            e->population_count++;
            e->neurons += s.neurons;
        } else {
            float *values = bnn_reserve(p, size, sizeof *values);
            if (p->memory != NULL)
                e->values[op->output] = values;
        }
    }
    return largest;
}

static bnn_status lay_out(struct bnn_prepare *p, bnn_poll *poll, void *argument, bnn_events **engine)
{
    const struct bnn_model *m = p->model;
    struct bnn_events e;
    size_t populations, operands, layers = count_layers(m, &populations, &operands), context_bytes = 0;
    memset(&e, 0, sizeof e);
    p->failed |= bnn_stepping_size(m, 1, 1, &context_bytes) != BNN_OK;
    void *memory = bnn_reserve(p, context_bytes, 1);
    if (p->memory != NULL) {
        (void)bnn_context_create(m, 1, 1, memory, context_bytes, &e.context);
        bnn_context_set_poll(e.context, poll, argument);
        e.context->bare = 1;
    }
    e.model = m;
    struct bnn_events *home = bnn_reserve(p, 1, sizeof *home);
    e.classes = bnn_reserve(p, m->tensor_count, 1);
    e.wanted = bnn_reserve(p, m->tensor_count, 1);
    e.population_of = bnn_reserve(p, m->tensor_count, sizeof *e.population_of);
    e.layer_of = bnn_reserve(p, m->op_count, sizeof *e.layer_of);
    e.values = bnn_reserve(p, m->tensor_count, sizeof *e.values);
    e.populations = bnn_reserve(p, populations, sizeof *e.populations);
    e.layers = bnn_reserve(p, layers, sizeof *e.layers);
    e.inputs = bnn_reserve(p, m->input_count, sizeof *e.inputs);
    e.links = bnn_reserve(p, operands, sizeof *e.links);
    for (uint32_t i = 0; i < m->tensor_count && p->memory != NULL; i++) {
        e.population_of[i] = BNN_NONE;
        e.values[i] = NULL;
    }
    for (uint32_t i = 0; i < m->input_count; i++) {
        const struct bnn_tensor *t = &m->tensors[m->input_tensors[i]];
        struct bnn_pixels pixels = {.count = (size_t)t->h * t->w * t->c};
        pixels.values = bnn_reserve(p, pixels.count, sizeof *pixels.values);
        if (p->memory != NULL)
            e.inputs[i] = pixels;
    }
    size_t largest = reserve_network(p, &e);
    e.accumulators = bnn_reserve(p, largest + BNN_SLACK / sizeof(float), sizeof *e.accumulators);
    e.queue = bnn_reserve(p, e.neurons, sizeof *e.queue);
    if (p->failed)
        return bnn_report(BNN_ABOUT("engine", BNN_NEVER, p->problem), BNN_ERROR_LIMIT, "the memory it needs overflows",
                          0, 0);
    if (p->memory == NULL)
        return BNN_OK;
    if (e.stopped)
        return BNN_ERROR_STOPPED;
    connect(&e);
    bnn_status status = bnn_events_classify(p, &e);
    for (uint32_t k = 0; k < e.layer_count && status == BNN_OK; k++) {
        struct bnn_layer *l = &e.layers[k];
        if (l->kind == BNN_LAYER_RELAY)
            bnn_events_find_wires(&e, l);
        else if (l->kind == BNN_LAYER_COUNTER)
            bnn_events_find_cuts(&e, l, bnn_events_most(&e, &e.layers[l->source]));
        else if (l->kind == BNN_LAYER_SYNAPSES && l->floats && !l->fires)
            bnn_events_find_cuts(&e, l, (float)l->reach);
        status = bnn_events_status(&e);
    }
    if (status == BNN_OK) {
        *home = e;
        *engine = home;
    }
    return status;
}

/* The family may have been joined from parts without them. */
static int has_kernels(const bnn_kernels *k)
{
    return (k->add_rows != NULL) & (k->add_floats != NULL) & (k->crossed != NULL) & (k->halve != NULL) &
           (k->binarize_at != NULL);
}

bnn_status bnn_events_size(const bnn_model *model, size_t *bytes, bnn_problem *problem)
{
    struct bnn_prepare p = {model, NULL, 0, 0, 0, problem};
    if (problem != NULL)
        memset(problem, 0, sizeof *problem);
    if (model == NULL || bytes == NULL)
        return BNN_ERROR_ARGUMENT;
    if (!has_kernels(model->kernels))
        return bnn_report(BNN_ABOUT("engine", BNN_NEVER, problem), BNN_ERROR_KERNELS,
                          "kernels for it in the families given (1: yes)", 0, 1);
    bnn_status status = bnn_events_check_ops(&p);
    if (status == BNN_OK)
        status = lay_out(&p, NULL, NULL, NULL);
    *bytes = p.used;
    return status;
}

/* Zeros, unless the poll stops it: writing fresh memory takes long. */
static int clear(unsigned char *memory, size_t bytes, bnn_poll *poll, void *argument)
{
    for (size_t at = 0; at < bytes; at += 4 * BNN_POLL_WORK) {
        memset(memory + at, 0, bytes - at < 4 * BNN_POLL_WORK ? bytes - at : 4 * BNN_POLL_WORK);
        if (poll != NULL && poll(argument))
            return 0;
    }
    return 1;
}

bnn_status bnn_events_create(const bnn_model *model, void *memory, size_t memory_size, bnn_events **engine,
                             bnn_problem *problem)
{
    return bnn_events_create_polled(model, memory, memory_size, NULL, NULL, engine, problem);
}

bnn_status bnn_events_create_polled(const bnn_model *model, void *memory, size_t memory_size, bnn_poll *poll,
                                    void *argument, bnn_events **engine, bnn_problem *problem)
{
    struct bnn_prepare p = {model, memory, 0, 0, 0, problem};
    size_t bytes;
    if (engine == NULL)
        return BNN_ERROR_ARGUMENT;
    *engine = NULL;
    bnn_status status = bnn_events_size(model, &bytes, problem);
    if (status != BNN_OK)
        return status;
    if (memory == NULL || memory_size < bytes || (uintptr_t)memory % BNN_ALIGNMENT != 0)
        return BNN_ERROR_MEMORY;
    if (!clear(memory, bytes, poll, argument))
        return BNN_ERROR_STOPPED;
    status = lay_out(&p, poll, argument, engine);
    if (status == BNN_OK)
        status = bnn_events_reset(*engine, NULL);
    if (status != BNN_OK)
        *engine = NULL;
    return status;
}
