/* SPDX-License-Identifier: Apache-2.0 */
/* batch_sum: the sum over all images and their pixels, for every image; in double, rounded once.  The images may come in
 * several runs, in their order: the last of them has the sum and writes it for all. */
#include "ops/check.h"
#include "run/view.h"

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    bnn_status status = bnn_check_types(p, op, BNN_F32, BNN_F32);
    if (status != BNN_OK) {
        return status;
    }
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    status = bnn_check_output(p, op, 1, 1, 1, in->c);
    uint64_t bytes = (uint64_t)in->c * sizeof(double);
    if (status == BNN_OK && bytes > SIZE_MAX / 2) {
        status = bnn_fail(p, op, BNN_ERROR_LIMIT, "channels", in->c, (int64_t)(SIZE_MAX / 2 / sizeof(double)));
    }
    op->scratch = (size_t)bytes;
    return status;
}

static uint64_t work(const struct bnn_model *m, const struct bnn_op *op)
{
    return bnn_times(bnn_elements(bnn_op_input(m, op, 0)), 2);
}

static void run(const struct bnn_run *r)
{
    const struct bnn_tensor *in = r->inputs[0].tensor;
    double *restrict sum = r->scratch;
    for (size_t k = 0; r->first == 0 && k < in->c; k++) {
        sum[k] = 0.0;
    }
    for (size_t i = 0; i < r->images; i++) {
        for (size_t y = 0; y < in->h; y++) {
            const float *restrict pixel = bnn_row_floats(&r->inputs[0], i, y);
            for (size_t x = 0; x < in->w; x++, pixel += in->c) {
                for (size_t k = 0; k < in->c; k++) {
                    sum[k] += (double)pixel[k];
                }
            }
        }
    }
    if (r->first + r->images < r->batch) {
        return;
    }
    struct bnn_view all = r->output;
    all.data = bnn_row_floats(&r->output, 0, 0) - r->first * all.image;
    for (size_t i = 0; i < r->batch; i++) {
        float *out = bnn_row_floats(&all, i, 0);
        for (size_t k = 0; k < in->c; k++) {
            out[k] = (float)sum[k];
        }
    }
    bnn_zero_halo(&all, r->batch, 0, 1);
}

const struct bnn_op_row bnn_op_row_batch_sum = {
    BNN_ROW_batch_sum,
    .work = work,
    .prepare = prepare,
    .run = run,
};
