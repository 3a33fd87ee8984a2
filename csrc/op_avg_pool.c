/* avg_pool: the mean over the taps inside the image; summed row by row, then divided by their number.
 * sum_pool: their sum. */
#include "blocks.h"
#include "pool.h"

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    bnn_status status = bnn_check_types(p, op, BNN_F32, BNN_F32);
    return status != BNN_OK ? status : bnn_prepare_pool(p, op);
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

static void pool(const struct bnn_run *r, int divides)
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

static void run(const struct bnn_run *r)
{
    pool(r, 1);
}

static void run_sum(const struct bnn_run *r)
{
    pool(r, 0);
}

const struct bnn_op_row bnn_op_row_avg_pool = {
    .opcode = BNN_OP_AVG_POOL,
    .name = "avg_pool",
    .by_rows = 1,
    .prepare = prepare,
    .run = run,
};

const struct bnn_op_row bnn_op_row_sum_pool = {
    .opcode = BNN_OP_SUM_POOL,
    .name = "sum_pool",
    .by_rows = 1,
    .prepare = prepare,
    .run = run_sum,
};
