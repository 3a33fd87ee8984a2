/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic: two float operands, at most one of them constant; each dimension is 1 or the
 * output's, as in NumPy. */
#include "ops/elements.h"

/* NumPy's broadcasting rule for one dimension; 0 if it does not broadcast. */
static uint32_t broadcast(uint32_t a, uint32_t b)
{
    return a == b || b == 1 ? a : a == 1 ? b : 0;
}

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_inputs(p, op, 2, 2, 0));
    BNN_CHECK_KERNELS(p->model->kernels->compute != NULL);
    const struct bnn_tensor *a = bnn_op_input(p->model, op, 0), *b = bnn_op_input(p->model, op, 1);
    BNN_TRY(bnn_check_dtype(p, op, a, BNN_F32, "dtype of the first operand"));
    BNN_TRY(bnn_check_dtype(p, op, b, BNN_F32, "dtype of the second operand"));
    BNN_TRY(bnn_check_dtype(p, op, bnn_op_output(p->model, op), BNN_F32, "dtype of the output"));
    BNN_CHECK(a->storage != BNN_CONSTANT || b->storage != BNN_CONSTANT, "constant operands (at most)", 2, 1);
    BNN_CHECK(a->o == 1, "first of a constant's four dimensions", a->o, 1);
    BNN_CHECK(b->o == 1, "first of a constant's four dimensions", b->o, 1);
    uint32_t h = broadcast(a->h, b->h), w = broadcast(a->w, b->w), c = broadcast(a->c, b->c);
    BNN_CHECK(h != 0, "height of the second operand", b->h, a->h);
    BNN_CHECK(w != 0, "width of the second operand", b->w, a->w);
    BNN_CHECK(c != 0, "channels of the second operand", b->c, a->c);
    return bnn_check_output(p, op, a->rank > b->rank ? a->rank : b->rank, h, w, c);
}

/* By the row of an operand, which may be broadcast, that meets row y of the output. */
static struct bnn_step by_row(const struct bnn_run *r, enum bnn_arithmetic op, const struct bnn_view *v, size_t image,
                              size_t y)
{
    const struct bnn_tensor *t = v->tensor, *out = r->output.tensor;
    int across = t->w == 1 && (out->w > 1 || t->h == 1), stays = t->c == 1 && (across || out->c > 1);
    return (struct bnn_step){op, stays, bnn_row_floats(v, image, t->h == 1 ? 0 : y), across ? 0 : t->c};
}

static inline size_t make_steps(const struct bnn_run *r, size_t image, size_t y, struct bnn_step *steps,
                                enum bnn_arithmetic op)
{
    steps[0] = by_row(r, BNN_STEP_set, &r->inputs[0], image, y);
    steps[1] = by_row(r, op, &r->inputs[1], image, y);
    return 2;
}

/* The row of the op NAME. */
#define ELEMENTWISE(NAME, IN_PLACE, SWAPS)                                                                     \
    static size_t NAME##_steps(const struct bnn_run *r, size_t image, size_t y, struct bnn_step *steps)        \
    {                                                                                                          \
        return make_steps(r, image, y, steps, BNN_STEP_##NAME);                                                \
    }                                                                                                          \
    static const struct bnn_pass NAME##_pass = {NAME##_steps, 2, SWAPS, bnn_arithmetic_before};                \
    const struct bnn_op_row bnn_op_row_##NAME = {                                                              \
        BNN_ROW(NAME), .in_place = IN_PLACE, .prepare = prepare, .run = bnn_compute_run, .pass = &NAME##_pass, \
    };

/* NaN if either is.  IEEE 754: a number by zero is infinity, zero by zero is NaN. */
BNN_PAIRS(ELEMENTWISE)
