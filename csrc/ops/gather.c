/* SPDX-License-Identifier: Apache-2.0 */
/* gather: every element of the output is the element of the input at its index, a constant of the output's shape that
 * counts the input's elements in row-major order of h, w, c. */
#include "ops/check.h"
#include "run/view.h"

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_inputs(p, op, 2, 2, 1));
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0), *index = bnn_op_input(p->model, op, 1);
    BNN_TRY(bnn_check_dtype(p, op, bnn_op_output(p->model, op), in->dtype, "dtype of the output"));
    BNN_TRY(bnn_check_dtype(p, op, index, BNN_I32, "dtype of the indices"));
    BNN_CHECK(index->o == 1, "first dimension of the indices", index->o, 1);
    BNN_TRY(bnn_check_output(p, op, index->rank, index->h, index->w, index->c));
    uint64_t elements = (uint64_t)in->h * in->w * in->c, count = (uint64_t)index->h * index->w * index->c;
    const int32_t *from = index->data;
    for (uint64_t i = 0; i < count; i++)
        BNN_CHECK(from[i] >= 0 && (uint64_t)from[i] < elements, "index (from 0, and below)", from[i], elements);
    return BNN_OK;
}

static void row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor, *in = r->inputs[0].tensor;
    size_t width = (size_t)in->w * in->c, count = (size_t)t->w * t->c;
    const int32_t *from = (const int32_t *)r->inputs[1].data + y * count;
    if (t->dtype != BNN_B1) {
        float *out = bnn_row_floats(&r->output, image, y);
        for (size_t k = 0; k < count; k++)
            out[k] = bnn_row_floats(&r->inputs[0], image, (size_t)from[k] / width)[(size_t)from[k] % width];
        return;
    }
    uint32_t *out = bnn_row_words(&r->output, image, y);
    for (size_t x = 0; x < t->w; x++, from += t->c, out += t->words) {
        for (size_t word = 0; word < t->words; word++)
            out[word] = 0;
        for (size_t k = 0; k < t->c; k++) {
            size_t at = (size_t)from[k] % width, bit = at % in->c;
            const uint32_t *source = bnn_row_words(&r->inputs[0], image, (size_t)from[k] / width);
            out[k / 32] |= (source[at / in->c * in->words + bit / 32] >> bit % 32 & 1) << k % 32;
        }
    }
}

const struct bnn_op_row bnn_op_row_gather = {
    BNN_ROW(gather),
    .cost = 32,
    .prepare = prepare,
    .row = row,
};
