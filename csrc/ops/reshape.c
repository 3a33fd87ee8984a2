/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that keep the order of elements: copy and reshape. */
#include "ops/check.h"
#include "run/view.h"

#include <string.h>

/* copy: the same value in another place and with another halo. */
static bnn_status prepare_copy(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_check_unary(p, op, bnn_op_output(p->model, op)->dtype, bnn_op_output(p->model, op)->dtype);
}

static void copy_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor;
    memcpy(bnn_row_bytes(&r->output, image, y), bnn_row_bytes(&r->inputs[0], image, y),
           (size_t)t->w * t->words * t->element);
}

const struct bnn_op_row bnn_op_row_copy = {
    BNN_ROW(copy),
    .prepare = prepare_copy,
    .row = copy_row,
};

/* reshape: the same elements in row-major order, in another shape.  A halo separates rows in memory, and the bits of a
 * pixel fill whole words, so even the same order can have different bytes. */
static bnn_status prepare_reshape(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_inputs(p, op, 1, 1, 1));
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0), *out = bnn_op_output(p->model, op);
    BNN_TRY(bnn_check_dtype(p, op, in, out->dtype, "dtype of the input"));
    uint64_t from = (uint64_t)in->h * in->w * in->c, to = (uint64_t)out->h * out->w * out->c;
    BNN_CHECK(to == from, "elements of the output", to, from);
    return BNN_OK;
}

/* No bits move within words: floats, bytes, equal pixels, or pixels that fill their words. */
static int is_whole(const struct bnn_tensor *out, const struct bnn_tensor *in)
{
    return out->dtype != BNN_B1 || out->c == in->c || (out->c % 32 == 0 && in->c % 32 == 0);
}

/* The source of an output row's elements: `run` of them at a time are adjacent in the input. */
static void move_elements(unsigned char *out, size_t count, size_t first, const struct bnn_view *v, size_t image)
{
    size_t run = (size_t)v->tensor->w * v->tensor->words, size = v->tensor->element;
    while (count > 0) {
        size_t at = first % run, n = run - at < count ? run - at : count;
        memcpy(out, bnn_row_bytes(v, image, first / run) + at * size, n * size);
        out += n * size;
        first += n;
        count -= n;
    }
}

/* The bits of one output pixel, starting at element `first` of the input.  Words are filled in a register, since an
 * input pixel may have few bits. */
static void move_bits(uint32_t *out, size_t count, size_t first, const struct bnn_view *v, size_t image)
{
    const struct bnn_tensor *t = v->tensor;
    size_t pixel = first / t->c, at = first % t->c, y = pixel / t->w, x = pixel % t->w;
    const uint32_t *row = bnn_row_words(v, image, y);
    uint64_t held = 0;
    size_t filled = 0;
    while (count > 0) {
        size_t left = t->c - at < count ? t->c - at : count, n = 32 - at % 32 < left ? 32 - at % 32 : left;
        uint64_t bits = row[x * t->words + at / 32] >> at % 32;
        held |= (bits & ((UINT64_C(1) << n) - 1)) << filled;
        filled += n;
        if (filled >= 32) {
            *out++ = (uint32_t)held;
            held >>= 32;
            filled -= 32;
        }
        count -= n;
        at += n;
        if (at == t->c && count > 0) {
            at = 0;
            if (++x == t->w) {
                x = 0;
                row = bnn_row_words(v, image, ++y);
            }
        }
    }
    if (filled > 0)
        *out = (uint32_t)held;
}

static uint64_t reshape_work(const struct bnn_model *m, const struct bnn_op *op)
{
    const struct bnn_tensor *t = bnn_op_output(m, op);
    return bnn_times(bnn_elements(t), is_whole(t, bnn_op_input(m, op, 0)) ? 1 : 8);
}

static void reshape_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor, *in = r->inputs[0].tensor;
    size_t width = (size_t)t->w * t->words;
    if (is_whole(t, in)) {
        move_elements(bnn_row_bytes(&r->output, image, y), width, y * width, &r->inputs[0], image);
        return;
    }
    uint32_t *out = bnn_row_words(&r->output, image, y);
    for (size_t x = 0; x < t->w; x++)
        move_bits(out + x * t->words, t->c, (y * t->w + x) * t->c, &r->inputs[0], image);
}

const struct bnn_op_row bnn_op_row_reshape = {
    BNN_ROW(reshape),
    .work = reshape_work,
    .prepare = prepare_reshape,
    .row = reshape_row,
};
