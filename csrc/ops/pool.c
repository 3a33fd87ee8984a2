/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/pool.h"

#include "run/blocks.h"

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

bnn_status bnn_prepare_sums(struct bnn_prepare *p, struct bnn_op *op)
{
    bnn_status status = bnn_check_types(p, op, BNN_F32, BNN_F32);
    return status != BNN_OK ? status : bnn_prepare_pool(p, op);
}

uint64_t bnn_pool_work(const struct bnn_model *m, const struct bnn_op *op)
{
    const struct bnn_tensor *t = bnn_op_output(m, op);
    uint64_t taps = bnn_pool_window(op->attrs, bnn_op_input(m, op, 0));
    return bnn_times((uint64_t)t->h * t->w, bnn_times(taps, (uint64_t)t->c + 4)); /* a tap costs something itself */
}

static void sum(float *restrict out, const struct bnn_view *in, size_t image, struct bnn_taps ys, struct bnn_taps xs)
{
    size_t c = in->tensor->c;
    BNN_FOR_BLOCKS(k, c, out[k] = 0.0f;);
    for (size_t y = ys.begin; y < ys.end; y++) {
        const float *restrict tap = bnn_row_floats(in, image, y) + xs.begin * c;
        for (size_t x = xs.begin; x < xs.end; x++, tap += c) {
            BNN_FOR_BLOCKS(k, c, out[k] += tap[k];);
        }
    }
}

void bnn_run_sums(const struct bnn_run *r, int divides)
{
    const struct bnn_pool_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor, *in = r->inputs[0].tensor;
    for (size_t i = 0; i < r->images; i++) {
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            struct bnn_taps ys = bnn_pool_taps(y, a->stride_h, a->kernel_h, a->pad_top, in->h);
            float *out = bnn_row_floats(&r->output, i, y);
            for (size_t x = 0; x < t->w; x++, out += t->c) {
                struct bnn_taps xs = bnn_pool_taps(x, a->stride_w, a->kernel_w, a->pad_left, in->w);
                sum(out, &r->inputs[0], i, ys, xs);
                if (divides) {
                    float count = (float)((ys.end - ys.begin) * (xs.end - xs.begin));
                    BNN_FOR_BLOCKS(k, t->c, out[k] /= count;);
                }
            }
        }
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}
