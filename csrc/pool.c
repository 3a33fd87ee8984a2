#include "pool.h"

/* The output's length along an axis, or 0 where the window is larger than the padded image. */
static uint64_t output_size(uint32_t size, int32_t kernel, int32_t stride, int32_t before, int32_t after)
{
    int64_t room = (int64_t)size + before + after - kernel;
    return room < 0 ? 0 : (uint64_t)(room / stride + 1);
}

static bnn_status check_axis(struct bnn_prepare *p, const struct bnn_op *op, int32_t kernel, int32_t stride,
                             int32_t before, int32_t after)
{
    if (kernel < 1) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "window (at least)", kernel, 1);
    }
    if (stride < 1) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "stride (at least)", stride, 1);
    }
    if (before < 0 || after < 0) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "padding (at least)", before < 0 ? before : after, 0);
    }
    /* Then every window has a tap inside the image. */
    if (before >= kernel || after >= kernel) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "padding (less than the window)", before > after ? before : after,
                        kernel);
    }
    return BNN_OK;
}

bnn_status bnn_prepare_pool(struct bnn_prepare *p, const struct bnn_op *op)
{
    const struct bnn_pool_attrs *a = op->attrs;
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    if (in->rank != 3) {
        return bnn_fail(p, op, BNN_ERROR_FORMAT, "rank of the input", in->rank, 3);
    }
    bnn_status status = check_axis(p, op, a->kernel_h, a->stride_h, a->pad_top, a->pad_bottom);
    if (status == BNN_OK) {
        status = check_axis(p, op, a->kernel_w, a->stride_w, a->pad_left, a->pad_right);
    }
    if (status != BNN_OK) {
        return status;
    }
    return bnn_check_output(p, op, 3, output_size(in->h, a->kernel_h, a->stride_h, a->pad_top, a->pad_bottom),
                            output_size(in->w, a->kernel_w, a->stride_w, a->pad_left, a->pad_right), in->c);
}
