/* SPDX-License-Identifier: Apache-2.0 */
/* prelu: x where x >= 0, else x * slope[c]; -0 is scaled, which changes no value but perhaps its sign. */
#include "run/blocks.h"
#include "ops/check.h"
#include "run/view.h"

#include <string.h>

#define ONE 0x3f800000u /* 1.0f */

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    bnn_status status = bnn_check_inputs(p, op, 2, 2, 1);
    if (status != BNN_OK) {
        return status;
    }
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    status = bnn_check_dtype(p, op, in, BNN_F32, "dtype of the input");
    if (status == BNN_OK) {
        status = bnn_check_dtype(p, op, bnn_op_output(p->model, op), BNN_F32, "dtype of the output");
    }
    if (status == BNN_OK) {
        status = bnn_check_operand(p, op, bnn_op_input(p->model, op, 1), BNN_F32, in->c, "number of slopes");
    }
    return status != BNN_OK ? status : bnn_check_output(p, op, in->rank, in->h, in->w, in->c);
}

static void pixel(float *restrict out, const float *restrict in, const float *restrict slope, size_t c)
{
    BNN_FOR_BLOCKS(k, c, {
        uint32_t bits, scale; /* by integers, which compilers turn into vector operations without branches */
        memcpy(&bits, &in[k], sizeof bits);
        memcpy(&scale, &slope[k], sizeof scale);
        uint32_t negative = 0u - (bits >> 31);
        scale = (scale & negative) | (ONE & ~negative);
        float factor;
        memcpy(&factor, &scale, sizeof factor);
        out[k] = in[k] * factor;
    });
}

static void run(const struct bnn_run *r)
{
    const struct bnn_tensor *t = r->output.tensor;
    const float *restrict slope = r->inputs[1].data;
    for (size_t i = 0; i < r->images; i++) {
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            const float *restrict in = bnn_row_floats(&r->inputs[0], i, y);
            float *restrict out = bnn_row_floats(&r->output, i, y);
            for (size_t x = 0; x < t->w; x++, in += t->c, out += t->c) {
                pixel(out, in, slope, t->c);
            }
        }
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

const struct bnn_op_row bnn_op_row_prelu = {
    BNN_ROW_prelu,
    .cost = 2,
    .prepare = prepare,
    .run = run,
};
