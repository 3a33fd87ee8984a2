/* batch_sum: the sum over all images and their pixels, for every image; in double, rounded once. */
#include "check.h"
#include "view.h"

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

static void run(const struct bnn_run *r)
{
    const struct bnn_tensor *in = r->inputs[0].tensor;
    double *restrict sum = r->scratch;
    for (size_t k = 0; k < in->c; k++) {
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
    for (size_t i = 0; i < r->images; i++) {
        float *out = bnn_row_floats(&r->output, i, 0);
        for (size_t k = 0; k < in->c; k++) {
            out[k] = (float)sum[k];
        }
    }
    bnn_zero_halo(&r->output, r->images, 0, 1);
}

const struct bnn_op_row bnn_op_row_batch_sum = {
    .opcode = BNN_OP_BATCH_SUM,
    .name = "batch_sum",
    .whole_batch = 1,
    .prepare = prepare,
    .run = run,
};
