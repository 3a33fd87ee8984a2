/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a model: validate the file, then place its tables and the data that ops prepare in the caller's memory.
 *
 * The same code measures the memory and uses it (struct bnn_prepare first only counts), so the two cannot disagree.
 * While measuring there is no memory for tables yet: prepare sees each op as a model of one op with only the op's own
 * tensors.  Measuring stops when a limit is exceeded, so the limits also bound the work of prepare. */
#include "model/validate.h"

void *bnn_reserve(struct bnn_prepare *p, size_t count, size_t size)
{
    const size_t limit = SIZE_MAX / 4; /* limits each of the two terms, so that their sum does not overflow */
    if (p->used > limit || (size != 0 && count > limit / size))
        p->failed = 1;
    if (p->failed)
        return NULL;
    void *memory = p->memory == NULL ? NULL : p->memory + p->used;
    p->used += (size_t)bnn_lines(count * size);
    return memory;
}

/* The model and its tables. */
struct tables {
    struct bnn_model *model;
    struct bnn_kernels *kernels;
    struct bnn_tensor *tensors;
    struct bnn_op *ops;
    uint32_t *inputs, *outputs;
    uint32_t *alive;
};

static struct tables reserve_tables(struct bnn_prepare *p, const struct bnn_header *h)
{
    struct tables t;
    t.model = bnn_reserve(p, 1, sizeof *t.model);
    t.kernels = bnn_reserve(p, 1, sizeof *t.kernels);
    t.tensors = bnn_reserve(p, h->in.counts[BNN_TENSORS], sizeof *t.tensors);
    t.ops = bnn_reserve(p, h->in.counts[BNN_OPS], sizeof *t.ops);
    t.inputs = bnn_reserve(p, h->in.counts[BNN_INPUTS], sizeof *t.inputs);
    t.outputs = bnn_reserve(p, h->in.counts[BNN_OUTPUTS], sizeof *t.outputs);
    t.alive = bnn_reserve(p, h->in.counts[BNN_TENSORS] < BNN_MAX_ALIVE ? h->in.counts[BNN_TENSORS] : BNN_MAX_ALIVE,
                          sizeof *t.alive);
    return t;
}

/* Runs an op's prepare; sets p->number. */
static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op, uint32_t number)
{
    p->number = number;
    for (uint32_t i = 0; i < op->input_count; i++) {
        uint32_t encoding = bnn_op_input(p->model, op, i)->encoding;
        if (encoding != BNN_PLAIN && (op->row->opcode != BNN_OP_conv2d || i != 1)) {
            return bnn_fail(p, op, BNN_ERROR_FORMAT, "encoding of an input that is not a conv2d's filters", encoding,
                            BNN_PLAIN);
        }
    }
    op->columns = op->blocks = 1;
    bnn_status status = op->row->prepare(p, op);
    if (status == BNN_OK && p->failed)
        status = bnn_fail(p, op, BNN_ERROR_LIMIT, "bytes it needs in memory overflow (1: yes)", 1, 0);
    return status;
}

/* The needs of the ops so far. */
struct tally {
    uint64_t edges, read, work; /* heights and widths; bytes of constants; of one image */
    uint32_t dearest;           /* the op with the most work */
    uint64_t dearest_work;
};

/* Before an op is prepared: check the sizes that bound the work of preparing it. */
static bnn_status count_shapes(struct tally *t, const struct bnn_model *m, const struct bnn_header *h,
                               const struct bnn_op *op, uint32_t number, bnn_problem *problem)
{
    const struct bnn_tensor *out = &m->tensors[op->output];
    t->edges += (uint64_t)out->h + out->w;
    if (t->edges > BNN_MAX_EDGES) {
        return bnn_op_error(problem, op, number, BNN_ERROR_LIMIT,
                            "rows and columns of all outputs up to its own (at most)", t->edges, BNN_MAX_EDGES);
    }
    for (uint32_t i = 0; i < op->input_count; i++) {
        const struct bnn_tensor *in = bnn_op_input(m, op, i);
        t->read = bnn_plus(t->read, in->storage == BNN_CONSTANT ? 4 * (uint64_t)in->o * in->image : 0);
    }
    if (t->read > h->most) {
        return bnn_op_error(problem, op, number, BNN_ERROR_LIMIT, "bytes of constants read up to it (max_bytes)",
                            t->read, h->most);
    }
    return BNN_OK;
}

/* After it: add the memory that it needs and the cost of running it. */
static bnn_status count_costs(struct tally *t, const struct bnn_prepare *p, const struct bnn_header *h,
                              struct bnn_op *op)
{
    if (p->used > h->most) {
        return bnn_op_error(p->problem, op, p->number, BNN_ERROR_LIMIT,
                            "bytes of the opened model up to it (max_bytes)", p->used, h->most);
    }
    if (!bnn_op_fits(p->model, op, BNN_MAX_PIECE)) {
        return bnn_op_error(p->problem, op, p->number, BNN_ERROR_LIMIT, "work of a part that cannot be cut (at most)",
                            bnn_op_piece(p->model, op), BNN_MAX_PIECE);
    }
    op->work = bnn_op_work(p->model, op);
    t->work = bnn_plus(t->work, op->work);
    if (op->work > t->dearest_work) {
        t->dearest_work = op->work;
        t->dearest = p->number;
    }
    return BNN_OK;
}

/* Names the op with the largest share of the excess. */
static bnn_status check_work(const struct bnn_header *h, const struct tally *t, bnn_problem *problem)
{
    struct bnn_op op;
    const unsigned char *record = h->in.sections[BNN_OPS].start;
    if (h->limits.max_work == 0 || t->work <= h->limits.max_work)
        return BNN_OK;
    for (uint32_t k = 0; k <= t->dearest; k++)
        bnn_read_op(h, k, &record, &op, NULL);
    return bnn_op_error(problem, &op, t->dearest, BNN_ERROR_LIMIT, "most of the work of all ops (max_work)", t->work,
                        h->limits.max_work);
}

/* Numbers of an op's tensors while it is measured alone. */
static const uint32_t own_numbers[BNN_MAX_INPUTS] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                                     16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

enum { ALONE = BNN_MAX_INPUTS + 1 }; /* of these tensors, with the output */

/* Checks every op separately and counts the bytes of the opened model. */
static bnn_status measure(struct bnn_model *model, const struct bnn_header *h, struct bnn_tensor *tensors,
                          size_t *bytes, bnn_problem *problem)
{
    struct bnn_op op;
    struct bnn_prepare p = {model, NULL, 0, 0, 0, problem};
    struct tally tally = {.edges = 0};
    const unsigned char *record = h->in.sections[BNN_OPS].start;

    model->tensors = tensors;
    model->ops = &op;
    reserve_tables(&p, h);
    for (uint32_t k = 0; k < h->in.counts[BNN_OPS]; k++) {
        BNN_TRY(bnn_read_op(h, k, &record, &op, problem));
        for (uint32_t i = 0; i < op.input_count; i++)
            BNN_TRY(bnn_read_tensor(h, op.inputs[i], &tensors[i], problem));
        BNN_TRY(bnn_read_tensor(h, op.output, &tensors[op.input_count], problem));
        op.inputs = own_numbers;
        op.output = op.input_count;
        BNN_TRY(count_shapes(&tally, model, h, &op, k, problem));
        BNN_TRY(prepare(&p, &op, k));
        BNN_TRY(count_costs(&tally, &p, h, &op));
    }
    *bytes = p.used;
    return check_work(h, &tally, problem);
}

static bnn_status measure_any(struct bnn_model *model, const struct bnn_header *h, size_t *bytes, bnn_problem *problem)
{
    struct bnn_tensor tensors[ALONE];
    return measure(model, h, tensors, bytes, problem);
}

#ifdef BNN_SMALL
enum { FEW = 5 };

/* The same for ops with few inputs, with less on the stack. */
static bnn_status measure_few(struct bnn_model *model, const struct bnn_header *h, size_t *bytes, bnn_problem *problem)
{
    struct bnn_tensor tensors[FEW + 1];
    return measure(model, h, tensors, bytes, problem);
}

/* The most inputs of an op, as records say that nothing has checked; behind a wrong one, measuring does not come. */
static uint32_t most_inputs(const struct bnn_header *h)
{
    const unsigned char *record = h->in.sections[BNN_OPS].start;
    uint32_t most = 0;
    size_t left = h->in.sections[BNN_OPS].bytes;
    for (uint32_t k = 0; k < h->in.counts[BNN_OPS] && left >= BNN_OP_BYTES; k++) {
        uint32_t bytes = bnn_load32(record + 4), inputs = bnn_load32(record + 8);
        most = inputs > most ? inputs : most;
        if (bytes > left)
            break;
        record += bytes;
        left -= bytes;
    }
    return most;
}

/* By a table, so that the compiler does not merge the two and their stacks. */
static bnn_status (*const measures[])(struct bnn_model *, const struct bnn_header *, size_t *,
                                      bnn_problem *) = {measure_any, measure_few};

static bnn_status measure_on_stack(struct bnn_model *model, const struct bnn_header *h, size_t *bytes,
                                   bnn_problem *problem)
{
    return measures[most_inputs(h) <= FEW](model, h, bytes, problem);
}
#else
#define measure_on_stack measure_any
#endif

/* The start of both entry points: check the arguments and the header. */
static bnn_status begin(const struct bnn_source *s, struct bnn_model *proto, struct bnn_header *h)
{
    BNN_TRY(bnn_check_given(s->file, s->kernels, s->problem));
    BNN_TRY(bnn_read_header(s->file, s->size, h, s->problem));
    h->rows = s->rows;
    h->row_count = s->row_count;
    h->limits = s->limits != NULL ? *s->limits : (bnn_limits){0, 0};
    h->most = h->limits.max_bytes;
    if (h->most == 0)
        h->most = bnn_plus(BNN_OPENED_BYTES, bnn_times(BNN_OPENED_TIMES, s->size));
    memset(proto, 0, sizeof *proto);
    proto->file = s->file;
    proto->file_size = s->size;
    proto->kernels = s->kernels;
    proto->tensor_count = h->in.counts[BNN_TENSORS];
    proto->op_count = h->in.counts[BNN_OPS];
    proto->input_count = h->in.counts[BNN_INPUTS];
    proto->output_count = h->in.counts[BNN_OUTPUTS];
    proto->arena = h->arena;
    return BNN_OK;
}

bnn_status bnn_measure_model(const struct bnn_source *source, size_t *bytes)
{
    struct bnn_model proto;
    struct bnn_header h;
    if (bytes == NULL)
        return bnn_missing(source->problem, BNN_ERROR_ARGUMENT, "bytes");
    bnn_status status = begin(source, &proto, &h);
    if (status == BNN_OK)
        status = measure_on_stack(&proto, &h, bytes, source->problem);
    return bnn_blame(&h.in, status, source->problem);
}

/* The memory of a context for one image and one worker, in addition to the `opened` bytes of the model. */
static bnn_status check_context(const struct bnn_model *m, const struct bnn_header *h, size_t opened,
                                bnn_problem *problem)
{
    uint64_t floats = 0, most = h->limits.max_bytes - opened;
    size_t bytes;
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        const struct bnn_tensor *t = &m->tensors[i];
        if (t->storage == BNN_INPUT || t->storage == BNN_OUTPUT)
            floats = bnn_plus(floats, bnn_elements(t));
    }
    if (h->limits.max_bytes == 0)
        most = bnn_plus(BNN_CONTEXT_BYTES, bnn_times(floats, sizeof(float) * BNN_CONTEXT_TIMES));
    bnn_status status = bnn_context_size(m, 1, 1, &bytes);
    if (status != BNN_OK || bytes > most) {
        return bnn_report(BNN_ABOUT("header", BNN_NEVER, problem), BNN_ERROR_LIMIT,
                          "bytes to run one image (max_bytes)", bnn_shown(status != BNN_OK ? UINT64_MAX : bytes),
                          bnn_shown(most));
    }
    return BNN_OK;
}

/* The memory that a worker needs to run op k, after those before it. */
static void count_needs(struct bnn_model *m, uint32_t k)
{
    const struct bnn_op *op = &m->ops[k];
    uint64_t scratch = op->scratch;
    uint32_t inputs = 0;
    if (bnn_takes(m, op)) /* after the rows that are passed comes what the two ops use */
        scratch = bnn_plus(bnn_band_of(m, op).bytes, bnn_plus(op[-1].scratch, scratch));
    for (const struct bnn_op *o = op - op->before; o <= op; o++)
        inputs += o->input_count;
    m->scratch = scratch > m->scratch ? scratch : m->scratch;
    m->most_inputs = inputs > m->most_inputs ? inputs : m->most_inputs;
}

/* Fills the tables and prepares the ops; memory has the measured size. */
static bnn_status fill(const struct bnn_model *proto, const struct bnn_header *h, void *memory, bnn_model **model,
                       bnn_problem *problem)
{
    struct bnn_prepare p = {NULL, memory, 0, 0, 0, problem};
    struct tables t = reserve_tables(&p, h);
    struct bnn_model *m = t.model;
    *m = *proto;
    *t.kernels = *proto->kernels;
    m->kernels = t.kernels;
    m->tensors = t.tensors;
    m->ops = t.ops;
    m->input_tensors = t.inputs;
    m->output_tensors = t.outputs;
    m->channels_first = h->in.channels_first;
    p.model = m;

    for (uint32_t i = 0; i < h->in.counts[BNN_TENSORS]; i++)
        BNN_TRY(bnn_read_tensor(h, i, &m->tensors[i], problem));
    const unsigned char *record = h->in.sections[BNN_OPS].start;
    for (uint32_t k = 0; k < h->in.counts[BNN_OPS]; k++)
        BNN_TRY(bnn_read_op(h, k, &record, &m->ops[k], problem));
    BNN_TRY(bnn_check_graph(m, h, t.alive, problem));
    for (uint32_t k = 0; k < h->in.counts[BNN_OPS]; k++) {
        BNN_TRY(prepare(&p, &m->ops[k], k));
        m->whole_batch |= m->ops[k].row->whole_batch;
        const struct bnn_pass *pass = m->ops[k].row->pass;
        m->ops[k].before = pass != NULL ? pass->before(m, k) : (uint32_t)bnn_takes(m, &m->ops[k]);
        count_needs(m, k);
        m->ops[k].work = bnn_op_work(m, &m->ops[k]);
        m->work = bnn_plus(m->work, m->ops[k].work);
    }
    BNN_TRY(check_context(m, h, p.used, problem));
    *model = m;
    return BNN_OK;
}

bnn_status bnn_open_model(const struct bnn_source *source, void *memory, size_t memory_size, bnn_model **model)
{
    bnn_problem *problem = source->problem;
    struct bnn_model proto;
    struct bnn_header h;
    if (model == NULL)
        return bnn_missing(problem, BNN_ERROR_ARGUMENT, "model");
    *model = NULL;
    BNN_TRY(bnn_blame(&h.in, begin(source, &proto, &h), problem));
    BNN_TRY(bnn_check_checksum(&h.in, problem));
    size_t bytes;
#ifdef BNN_SMALL /* rather there than on the stack */
    if (memory != NULL && (uintptr_t)memory % BNN_ALIGNMENT == 0 && memory_size >= ALONE * sizeof(struct bnn_tensor))
        BNN_TRY(measure(&proto, &h, memory, &bytes, problem));
    else
#endif /* otherwise memory that turns out too small stays as it was */
        BNN_TRY(bnn_measure_model(source, &bytes));
    BNN_TRY(bnn_check_memory(memory, memory_size, bytes, problem));
    return fill(&proto, &h, memory, model, problem);
}
