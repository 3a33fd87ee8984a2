/* SPDX-License-Identifier: Apache-2.0 */
/* The checks of a model that need more than one record: which ops write and read a tensor, and which tensors share
 * memory. */
#include "model/coding.h"
#include "model/validate.h"

/* Inputs, or outputs: each index exactly once. */
static bnn_status number_interface(struct bnn_model *m, bnn_storage storage, uint32_t *numbers, uint32_t count,
                                   bnn_problem *problem)
{
    const char *kind = storage == BNN_INPUT ? "input" : "output";
    for (uint32_t i = 0; i < count; i++)
        numbers[i] = BNN_NEVER;
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        const struct bnn_tensor *t = &m->tensors[i];
        if (t->storage != storage)
            continue;
        if (numbers[t->offset] != BNN_NEVER)
            return bnn_tensor_error(problem, t, i, BNN_ERROR_FORMAT, "tensors with its index", 2, 1);
        numbers[t->offset] = i;
    }
    for (uint32_t i = 0; i < count; i++)
        if (numbers[i] == BNN_NEVER)
            return bnn_report(BNN_ABOUT(kind, i, problem), BNN_ERROR_FORMAT, "tensors with this index", 0, 1);
    return BNN_OK;
}

/* Bits past c of every pixel of a constant must be zero, or XOR would count them. */
static int tail_is_zero(const struct bnn_tensor *t)
{
    if (t->dtype != BNN_B1 || t->c % 32 == 0)
        return 1;
    const uint32_t *last = (const uint32_t *)t->data + t->words - 1;
    size_t pixels = (size_t)t->o * t->h * t->w;
    uint32_t tail = 0;
    for (size_t i = 0; i < pixels; i++)
        tail |= last[i * t->words];
    return (tail >> t->c % 32) == 0;
}

/* Equal constants may share their data, and one row may stand for many.  A file that does this excessively is
 * malicious.  most: bytes of all of them. */
static bnn_status check_constants(const struct bnn_model *m, uint64_t most, bnn_problem *problem)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        const struct bnn_tensor *t = &m->tensors[i];
        if (t->storage != BNN_CONSTANT)
            continue;
        total = bnn_plus(total, 4 * (uint64_t)t->o * t->image);
        if (total > most) {
            return bnn_tensor_error(problem, &m->tensors[i], i, BNN_ERROR_LIMIT,
                                    "bytes of all constants up to it (max_bytes)", total, most);
        }
        if (!tail_is_zero(t)) {
            return bnn_tensor_error(problem, &m->tensors[i], i, BNN_ERROR_FORMAT,
                                    "bits past its channels are zero (1: yes)", 0, 1);
        }
        int64_t found, expected;
        const char *wrong = bnn_check_coded(t, &found, &expected);
        if (wrong != NULL)
            return bnn_tensor_error(problem, t, i, BNN_ERROR_FORMAT, wrong, (uint64_t)found, (uint64_t)expected);
    }
    return BNN_OK;
}

/* Hosts copy names and notes; if these share bytes, the copies can be larger than the file. */
static bnn_status check_texts(const struct bnn_model *m, bnn_problem *problem)
{
    uint64_t total = 0, most = m->file_size + BNN_MAX_TEXT;
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        total += (uint64_t)m->tensors[i].name_length + m->tensors[i].origin_length;
        if (total > most) {
            return bnn_tensor_error(problem, &m->tensors[i], i, BNN_ERROR_LIMIT, "bytes of names up to it (at most)",
                                    total, most);
        }
    }
    for (uint32_t k = 0; k < m->op_count; k++) {
        const struct bnn_op *op = &m->ops[k];
        total += (uint64_t)op->layer_length + op->note_length;
        if (total > most) {
            return bnn_op_error(problem, op, k, BNN_ERROR_LIMIT, "bytes of names and notes up to it (at most)", total,
                                most);
        }
    }
    return BNN_OK;
}

/* Reads come after writes; everything except inputs and constants is written exactly once.  What an op reads that
 * passes its output must last until the next op, too, which runs together with it. */
static bnn_status check_order(struct bnn_model *m, bnn_problem *problem)
{
    for (uint32_t k = 0; k < m->op_count; k++) {
        const struct bnn_op *op = &m->ops[k];
        for (uint32_t i = 0; i < op->input_count; i++) {
            struct bnn_tensor *t = &m->tensors[op->inputs[i]];
            if (t->storage != BNN_INPUT && t->storage != BNN_CONSTANT && t->written == BNN_NEVER)
                return bnn_op_error(problem, op, k, BNN_ERROR_FORMAT, "earlier ops that write what it reads", 0, 1);
            if (bnn_is_whole(t) && !(op->row->bytes & t->element))
                return bnn_op_error(problem, op, k, BNN_ERROR_FORMAT, "dtype that it does not read", t->dtype, BNN_F32);
            t->last_read = bnn_passes(m, op) ? k + 1 : k;
        }
        struct bnn_tensor *t = &m->tensors[op->output];
        if (t->storage == BNN_INPUT || t->storage == BNN_CONSTANT)
            return bnn_op_error(problem, op, k, BNN_ERROR_FORMAT, "storage of its output", t->storage, BNN_ARENA);
        if (t->written != BNN_NEVER)
            return bnn_op_error(problem, op, k, BNN_ERROR_FORMAT, "ops that write its output", 2, 1);
        t->written = t->last_read = k;
    }
    for (uint32_t i = 0; i < m->tensor_count; i++) {
        const struct bnn_tensor *t = &m->tensors[i];
        if (t->storage != BNN_INPUT && t->storage != BNN_CONSTANT && t->written == BNN_NEVER)
            return bnn_tensor_error(problem, &m->tensors[i], i, BNN_ERROR_FORMAT, "ops that write it", 0, 1);
    }
    return BNN_OK;
}

/* The first position of `alive` (sorted by offset) whose tensor starts at or after offset. */
static uint32_t position(const struct bnn_model *m, const uint32_t *alive, uint32_t count, size_t offset)
{
    uint32_t low = 0;
    while (low < count) {
        uint32_t middle = low + (count - low) / 2;
        if (m->tensors[alive[middle]].offset < offset)
            low = middle + 1;
        else
            count = middle;
    }
    return low;
}

static void forget(const struct bnn_model *m, uint32_t *alive, uint32_t *count, uint32_t tensor)
{
    uint32_t at = position(m, alive, *count, m->tensors[tensor].offset);
    if (at < *count && alive[at] == tensor) { /* not if an op reads it twice and it was already removed */
        (*count)--;
        for (; at < *count; at++)
            alive[at] = alive[at + 1];
    }
}

/* The inputs of an op that are not read after op k. */
static void forget_read(const struct bnn_model *m, uint32_t *alive, uint32_t *count, uint32_t number, uint32_t k)
{
    const struct bnn_op *op = &m->ops[number];
    for (uint32_t i = 0; i < op->input_count; i++) {
        const struct bnn_tensor *read = &m->tensors[op->inputs[i]];
        if (read->storage == BNN_ARENA && read->last_read == k)
            forget(m, alive, count, op->inputs[i]);
    }
}

int bnn_are_laid_alike(const struct bnn_tensor *a, const struct bnn_tensor *b)
{
    uint32_t differs = (a->dtype ^ b->dtype) | (a->h ^ b->h) | (a->w ^ b->w) | (a->c ^ b->c) | (a->top ^ b->top) |
                       (a->left ^ b->left) | (a->bottom ^ b->bottom) | (a->right ^ b->right);
    return differs == 0;
}

/* Whether op k may write its output over a tensor: an op that works in place over its data, and a convolution over its
 * residual, of the same layout, if the op reads it once and nothing reads it again.  Kernels read each number of a
 * residual before they write the sum in its place. */
static int may_replace(const struct bnn_model *m, uint32_t k, uint32_t tensor)
{
    const struct bnn_op *op = &m->ops[k];
    const struct bnn_tensor *t = &m->tensors[tensor], *y = &m->tensors[op->output];
    uint32_t residual = bnn_is_conv(op) ? bnn_slot_input(op, BNN_SLOT_RESIDUAL) : 0, readings = 0;
    int allowed = op->row->in_place || (residual != 0 && op->inputs[residual] == tensor);
    for (uint32_t i = 0; i < op->input_count; i++)
        readings += op->inputs[i] == tensor;
    return allowed && readings == 1 && t->last_read == k && t->offset == y->offset && bnn_are_laid_alike(t, y);
}

/* Arena tensors that are alive at the same time do not overlap: `alive` holds them in order of offset. */
static bnn_status check_overlap(const struct bnn_model *m, uint32_t *alive, bnn_problem *problem)
{
    uint32_t count = 0, limit = m->tensor_count < BNN_MAX_ALIVE ? m->tensor_count : BNN_MAX_ALIVE;
    for (uint32_t k = 0; k < m->op_count; k++) {
        const struct bnn_op *op = &m->ops[k];
        const struct bnn_tensor *t = &m->tensors[op->output];
        if (t->storage == BNN_ARENA) {
            if (count == limit) {
                return bnn_tensor_error(problem, &m->tensors[op->output], op->output, BNN_ERROR_LIMIT,
                                        "tensors alive at once (at most)", (uint64_t)count + 1, limit);
            }
            uint32_t at = position(m, alive, count, t->offset);
            int replaces = at < count && may_replace(m, k, alive[at]);
            for (uint32_t i = at > 0 ? at - 1 : 0; i < count && i <= at && !(replaces && i == at); i++) {
                const struct bnn_tensor *other = &m->tensors[alive[i]];
                if (t->offset < other->offset + other->bytes && other->offset < t->offset + t->bytes) {
                    return bnn_tensor_error(problem, &m->tensors[op->output], op->output, BNN_ERROR_FORMAT,
                                            "offset in the memory of a tensor still needed", t->offset,
                                            other->offset + other->bytes);
                }
            }
            for (uint32_t i = replaces ? at : count++; i > at; i--)
                alive[i] = alive[i - 1];
            alive[at] = op->output;
        }
        if (bnn_takes(m, op))
            forget_read(m, alive, &count, k - 1, k);
        forget_read(m, alive, &count, k, k);
        if (t->storage == BNN_ARENA && t->last_read == k)
            forget(m, alive, &count, op->output);
    }
    return BNN_OK;
}

bnn_status bnn_check_graph(struct bnn_model *m, const struct bnn_header *h, uint32_t *alive, bnn_problem *problem)
{
    BNN_TRY(number_interface(m, BNN_INPUT, m->input_tensors, m->input_count, problem));
    BNN_TRY(number_interface(m, BNN_OUTPUT, m->output_tensors, m->output_count, problem));
    BNN_TRY(check_constants(m, h->most, problem));
    BNN_TRY(check_texts(m, problem));
    BNN_TRY(check_order(m, problem));
    BNN_TRY(bnn_check_passed(m, problem));
    return check_overlap(m, alive, problem);
}
