/* SPDX-License-Identifier: Apache-2.0 */
/* cast: bytes as floats; with a table, the table's entry at each byte. */
#include "ops/check.h"
#include "run/view.h"

enum { VALUES = 256 };

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    bnn_status status = bnn_check_inputs(p, op, 1, 2, 1);
    if (status != BNN_OK) {
        return status;
    }
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    status = bnn_check_dtype(p, op, in, BNN_U8, "dtype of the input");
    if (status == BNN_OK) {
        status = bnn_check_dtype(p, op, bnn_op_output(p->model, op), BNN_F32, "dtype of the output");
    }
    if (status == BNN_OK && op->input_count == 2) {
        status = bnn_check_operand(p, op, bnn_op_input(p->model, op, 1), BNN_F32, VALUES, "values of the table");
    }
    return status != BNN_OK ? status : bnn_check_output(p, op, in->rank, in->h, in->w, in->c);
}

static void run(const struct bnn_run *r)
{
    const struct bnn_tensor *t = r->output.tensor;
    const float *table = r->op->input_count == 2 ? r->inputs[1].data : NULL;
    size_t width = (size_t)t->w * t->c;
    for (size_t i = 0; i < r->images; i++) {
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            const unsigned char *restrict in = bnn_row_bytes(&r->inputs[0], i, y);
            float *restrict out = bnn_row_floats(&r->output, i, y);
            for (size_t k = 0; table != NULL && k < width; k++) {
                out[k] = table[in[k]];
            }
            for (size_t k = 0; table == NULL && k < width; k++) {
                out[k] = in[k];
            }
        }
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

const struct bnn_op_row bnn_op_row_cast = {
    BNN_ROW_cast,
    .prepare = prepare,
    .run = run,
};
