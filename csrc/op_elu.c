/* elu: exp(x) - 1 where x < 0, as TensorFlow computes it (0 just below 0), else x. */
#include "check.h"
#include "view.h"

#include <math.h>

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_check_unary(p, op, BNN_F32, BNN_F32);
}

static void run(const struct bnn_run *r)
{
    const struct bnn_tensor *t = r->output.tensor;
    size_t n = (size_t)t->w * t->c;
    for (size_t i = 0; i < r->images; i++) {
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            const float *in = bnn_row_floats(&r->inputs[0], i, y);
            float *out = bnn_row_floats(&r->output, i, y);
            for (size_t k = 0; k < n; k++) {
                out[k] = in[k] < 0.0f ? expf(in[k]) - 1.0f : in[k];
            }
        }
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

const struct bnn_op_row bnn_op_row_elu = {
    .opcode = BNN_OP_ELU,
    .name = "elu",
    .by_rows = 1,
    .prepare = prepare,
    .run = run,
};
