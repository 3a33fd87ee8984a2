/* SPDX-License-Identifier: Apache-2.0 */
/* batch_size: the number of images times a factor, for every image. */
#include "ops/check.h"
#include "run/view.h"

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_batch_size_attrs *a = op->attrs;
    bnn_status status = bnn_check_types(p, op, BNN_F32, BNN_F32);
    if (status == BNN_OK && a->per_image < 1) {
        status = bnn_fail(p, op, BNN_ERROR_FORMAT, "count of an image", a->per_image, 1);
    }
    return status != BNN_OK ? status : bnn_check_output(p, op, 1, 1, 1, 1);
}

static void run(const struct bnn_run *r)
{
    const struct bnn_batch_size_attrs *a = r->op->attrs;
    for (size_t i = 0; i < r->images; i++) {
        *bnn_row_floats(&r->output, i, 0) = (float)((uint64_t)r->batch * (uint64_t)a->per_image);
    }
    bnn_zero_halo(&r->output, r->images, 0, 1);
}

const struct bnn_op_row bnn_op_row_batch_size = {
    BNN_ROW_batch_size,
    .prepare = prepare,
    .run = run,
};
