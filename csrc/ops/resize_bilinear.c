/* SPDX-License-Identifier: Apache-2.0 */
/* resize_bilinear: interpolates four pixels, along the rows and then between them, in TensorFlow's order. */
#include "run/blocks.h"
#include "ops/check.h"
#include "run/view.h"

#include <math.h>

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_resize_attrs *a = op->attrs;
    BNN_TRY(bnn_check_types(p, op, 1, BNN_F32, BNN_F32));
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    BNN_CHECK(in->rank == 3, "rank of the input", in->rank, 3);
    BNN_CHECK(a->size_h >= 1, "size (at least)", a->size_h, 1);
    BNN_CHECK(a->size_w >= 1, "size (at least)", a->size_w, 1);
    BNN_CHECK((a->align_corners | 1) == 1, "flag (0 or 1)", a->align_corners, 1);
    BNN_CHECK((a->half_pixels | 1) == 1, "flag (0 or 1)", a->half_pixels, 1);
    return bnn_check_output(p, op, 3, (uint64_t)a->size_h, (uint64_t)a->size_w, in->c);
}

/* The pixels before and after a position along an axis, and its distance from the first. */
struct place {
    size_t low, high;
    float distance;
};

static struct place place_of(size_t i, size_t size, size_t out, const struct bnn_resize_attrs *a)
{
    int aligned = a->align_corners && out > 1;
    float scale = aligned ? (float)(size - 1) / (float)(out - 1) : (float)size / (float)out;
    float half = 0.5f * (float)a->half_pixels;
    float at = ((float)i + half) * scale - half, low = floorf(at), high = ceilf(at);
    float last = (float)(size - 1);
    struct place place = {low > 0.0f ? (size_t)(low < last ? low : last) : 0,
                          high > 0.0f ? (size_t)(high < last ? high : last) : 0, at - low};
    return place;
}

static void row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_resize_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor, *in = r->inputs[0].tensor;
    size_t c = t->c;
    struct place down = place_of(y, in->h, t->h, a);
    const float *top = bnn_row_floats(&r->inputs[0], image, down.low);
    const float *bottom = bnn_row_floats(&r->inputs[0], image, down.high);
    float *restrict out = bnn_row_floats(&r->output, image, y);
    for (size_t x = 0; x < t->w; x++, out += c) {
        struct place along = place_of(x, in->w, t->w, a);
        const float *tl = top + along.low * c, *tr = top + along.high * c;
        const float *bl = bottom + along.low * c, *br = bottom + along.high * c;
        BNN_FOR_BLOCKS(k, c, float above = tl[k] + (tr[k] - tl[k]) * along.distance;
                       float below = bl[k] + (br[k] - bl[k]) * along.distance;
                       out[k] = above + (below - above) * down.distance;);
    }
}

const struct bnn_op_row bnn_op_row_resize_bilinear = {
    BNN_ROW(resize_bilinear),
    .cost = 8,
    .prepare = prepare,
    .row = row,
};
