/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic on floats whose results nothing else reads: such ops are the steps of one pass over memory, and their
 * results exist in registers alone.  The file does not say so: it is found here, where it is safe. */
#include "ops/elements.h"

/* Whether an op reads a tensor exactly once, where steps can have what the steps before made. */
static int takes_up(const struct bnn_op *op, uint32_t tensor)
{
    uint32_t readings = 0;
    for (uint32_t i = 0; i < op->input_count; i++)
        readings += op->inputs[i] == tensor;
    return readings == 1 && (op->inputs[0] == tensor || (op->row->pass->swaps && op->inputs[1] == tensor));
}

/* Whether steps may read a tensor while the floats of `out` are written: it lies elsewhere in memory, or each of its
 * floats lies where the one that is computed from it is written. */
static int may_read(const struct bnn_tensor *t, const struct bnn_tensor *out)
{
    if (t->storage != BNN_ARENA || out->storage != BNN_ARENA)
        return 1;
    int apart = t->offset >= out->offset + out->bytes || out->offset >= t->offset + t->bytes;
    return apart || (t->offset == out->offset && bnn_are_laid_alike(t, out));
}

/* The same of an op's inputs, except the one that it takes up. */
static int may_read_all(const struct bnn_model *m, const struct bnn_op *op, uint32_t taken,
                        const struct bnn_tensor *out)
{
    for (uint32_t i = 0; i < op->input_count; i++)
        if (op->inputs[i] != taken && !may_read(bnn_op_input(m, op, i), out))
            return 0;
    return 1;
}

uint32_t bnn_arithmetic_before(const struct bnn_model *m, uint32_t k)
{
    const struct bnn_op *op = &m->ops[k], *last = op - (k > 0);
    const struct bnn_tensor *out = &m->tensors[op->output], *t = &m->tensors[last->output];
    if (last == op || last->row->pass == NULL || t->storage != BNN_ARENA || t->last_read != k)
        return 0;
    if (!takes_up(op, last->output) || t->h != out->h || t->w != out->w || t->c != out->c)
        return 0;
    uint32_t before = last->before + 1, taken = op->output;
    size_t steps = 1;
    for (const struct bnn_op *o = op - before; o <= op; taken = o->output, o++) {
        steps += o->row->pass->most - 1;
        if (!bnn_op_fits(m, o, BNN_MAX_PIECE / BNN_MOST_STEPS) || !may_read_all(m, o, taken, out))
            return 0;
    }
    return steps <= BNN_MOST_STEPS ? before : 0;
}
