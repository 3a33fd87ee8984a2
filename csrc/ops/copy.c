/* SPDX-License-Identifier: Apache-2.0 */
/* copy: the same value in another place, with another halo. */
#include "ops/check.h"
#include "run/view.h"

#include <string.h>

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_check_unary(p, op, bnn_op_output(p->model, op)->dtype, bnn_op_output(p->model, op)->dtype);
}

static void run(const struct bnn_run *r)
{
    const struct bnn_tensor *t = r->output.tensor;
    for (size_t i = 0; i < r->images; i++) {
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            memcpy(bnn_row_bytes(&r->output, i, y), bnn_row_bytes(&r->inputs[0], i, y),
                   (size_t)t->w * t->words * t->element);
        }
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

const struct bnn_op_row bnn_op_row_copy = {
    BNN_ROW_copy,
    .prepare = prepare,
    .run = run,
};
