/* binarize: the bit x >= 0, so that zeros of either sign give +1.  What is not a number is reported for its image. */
#include "check.h"
#include "view.h"

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_check_unary(p, op, BNN_F32, BNN_B1);
}

static void run(const struct bnn_run *r)
{
    const struct bnn_tensor *t = r->output.tensor;
    int (*binarize)(uint32_t *, const float *, size_t) = r->model->kernels->binarize;
    size_t pixels = t->w, c = t->c;
    if (c % 32 == 0) { /* no tail bits: a row at once */
        c *= pixels;
        pixels = 1;
    }
    for (size_t i = 0; i < r->images; i++) {
        int nan = 0;
        for (size_t y = r->row_begin; y < r->row_end; y++) {
            const float *in = bnn_row_floats(&r->inputs[0], i, y);
            uint32_t *out = bnn_row_words(&r->output, i, y);
            for (size_t x = 0; x < pixels; x++, in += c, out += t->words) {
                nan |= binarize(out, in, c);
            }
        }
        if (nan != 0) {
            r->nan[i] = 1;
        }
    }
    bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

const struct bnn_op_row bnn_op_row_binarize = {
    .opcode = BNN_OP_BINARIZE,
    .name = "binarize",
    .by_rows = 1,
    .prepare = prepare,
    .run = run,
};
