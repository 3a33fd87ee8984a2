/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that use the whole batch and give every image the same result: batch_size and batch_sum. */
#include "ops/check.h"

/* batch_size: the number of images times a factor. */
static bnn_status prepare_size(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_batch_size_attrs *a = op->attrs;
    BNN_TRY(bnn_check_types(p, op, 1, BNN_F32, BNN_F32));
    BNN_CHECK(a->per_image >= 1, "count of an image", a->per_image, 1);
    return bnn_check_output(p, op, 1, 1, 1, 1);
}

static void write_size(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_batch_size_attrs *a = r->op->attrs;
    *bnn_row_floats(&r->output, image, y) = (float)((uint64_t)r->batch * (uint64_t)a->per_image);
}

const struct bnn_op_row bnn_op_row_batch_size = {
    BNN_ROW(batch_size),
    .prepare = prepare_size,
    .row = write_size,
};

/* batch_sum: the sum over all images and their pixels; in double, rounded once.  The images may come in several runs,
 * in order: the last run has the sum and writes it for all. */
static bnn_status prepare_sum(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_types(p, op, 1, BNN_F32, BNN_F32));
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    BNN_TRY(bnn_check_output(p, op, 1, 1, 1, in->c));
    uint64_t bytes = (uint64_t)in->c * sizeof(double);
    if (bytes > SIZE_MAX / 2)
        return bnn_fail(p, op, BNN_ERROR_LIMIT, "channels", in->c, (int64_t)(SIZE_MAX / 2 / sizeof(double)));
    op->scratch = (size_t)bytes;
    return BNN_OK;
}

static uint64_t sum_work(const struct bnn_model *m, const struct bnn_op *op)
{
    return bnn_times(bnn_elements(bnn_op_input(m, op, 0)), 2);
}

static void run_sum(const struct bnn_run *r)
{
    const struct bnn_tensor *in = r->inputs[0].tensor;
    double *restrict sum = r->scratch;
    for (size_t k = 0; r->first == 0 && k < in->c; k++)
        sum[k] = 0.0;
    for (size_t i = 0; i < r->images; i++)
        for (size_t y = 0; y < in->h; y++) {
            const float *restrict pixel = bnn_row_floats(&r->inputs[0], i, y);
            for (size_t x = 0; x < in->w; x++, pixel += in->c)
                for (size_t k = 0; k < in->c; k++)
                    sum[k] += (double)pixel[k];
        }
    if (r->first + r->images < r->batch)
        return;
    struct bnn_view all = r->output;
    all.data = bnn_row_floats(&r->output, 0, 0) - r->first * all.image;
    for (size_t i = 0; i < r->batch; i++) {
        float *out = bnn_row_floats(&all, i, 0);
        for (size_t k = 0; k < in->c; k++)
            out[k] = (float)sum[k];
    }
    bnn_zero_halo(&all, r->batch, 0, 1);
}

const struct bnn_op_row bnn_op_row_batch_sum = {
    BNN_ROW(batch_sum),
    .work = sum_work,
    .prepare = prepare_sum,
    .run = run_sum,
};
