/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic: two float operands, at most one of them constant; each dimension is 1 or the
 * output's, as in NumPy. */
#include "ops/check.h"

/* NumPy's broadcasting rule for one dimension; 0 if it does not broadcast. */
static uint32_t broadcast(uint32_t a, uint32_t b)
{
    return a == b || b == 1 ? a : a == 1 ? b : 0;
}

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_inputs(p, op, 2, 2, 0));
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

/* n elements; an operand either advances with them or stays. */
typedef void elements(float *restrict out, const float *a, int a_stays, const float *b, int b_stays, size_t n);

/* The sum in the place of an operand, where a restrict pointer must be the only one. */
static void add_to(float *restrict out, const float *b, int b_stays, size_t n)
{
    float y = *b;
    if (b_stays)
        BNN_FOR_BLOCKS(i, n, out[i] += y;);
    else
        BNN_FOR_BLOCKS(i, n, out[i] += b[i];);
}

static inline void compute_row(const struct bnn_run *r, size_t image, size_t y, elements *compute)
{
    int second = r->inputs[1].data == r->output.data; /* only a sum may be in place, of either operand */
    const struct bnn_view *a = &r->inputs[second], *b = &r->inputs[!second];
    const struct bnn_tensor *ta = a->tensor, *tb = b->tensor, *t = r->output.tensor;
    int a_stays = ta->c == 1, b_stays = tb->c == 1;
    size_t a_step = ta->w == 1 ? 0 : ta->words, b_step = tb->w == 1 ? 0 : tb->words;
    /* A row at once, if each operand is one run of numbers, or one number. */
    int a_whole = (ta->w == t->w && ta->c == t->c) || (ta->w == 1 && ta->c == 1);
    int b_whole = (tb->w == t->w && tb->c == t->c) || (tb->w == 1 && tb->c == 1);
    size_t pixels = t->w, run = t->c;
    if (a_whole && b_whole) {
        run *= pixels;
        pixels = 1;
        a_stays = ta->w == 1 && ta->c == 1;
        b_stays = tb->w == 1 && tb->c == 1;
    }
    const float *a0 = bnn_row_floats(a, image, ta->h == 1 ? 0 : y), *b0 = bnn_row_floats(b, image, tb->h == 1 ? 0 : y);
    float *out = bnn_row_floats(&r->output, image, y);
    for (size_t x = 0; x < pixels; x++, a0 += a_step, b0 += b_step, out += run)
        if (a0 == out)
            add_to(out, b0, b_stays, run);
        else
            compute(out, a0, a_stays, b0, b_stays, run);
}

/* The row of the op NAME, which computes VALUE from the floats x and y. */
#define ELEMENTWISE(NAME, VALUE, IN_PLACE)                                                                     \
    static void NAME##_elements(float *restrict out, const float *a, int a_stays, const float *b, int b_stays, \
                                size_t n)                                                                      \
    {                                                                                                          \
        float x = *a, y = *b;                                                                                  \
        if (a_stays && b_stays)                                                                                \
            BNN_FOR_BLOCKS(i, n, out[i] = VALUE;);                                                             \
        else if (a_stays)                                                                                      \
            BNN_FOR_BLOCKS(i, n, y = b[i]; out[i] = VALUE;);                                                   \
        else if (b_stays)                                                                                      \
            BNN_FOR_BLOCKS(i, n, x = a[i]; out[i] = VALUE;);                                                   \
        else                                                                                                   \
            BNN_FOR_BLOCKS(i, n, x = a[i]; y = b[i]; out[i] = VALUE;);                                         \
    }                                                                                                          \
    static void NAME##_row(const struct bnn_run *r, size_t image, size_t y)                                    \
    {                                                                                                          \
        compute_row(r, image, y, NAME##_elements);                                                             \
    }                                                                                                          \
    const struct bnn_op_row bnn_op_row_##NAME = {                                                              \
        BNN_ROW(NAME),                                                                                         \
        .in_place = IN_PLACE,                                                                                  \
        .prepare = prepare,                                                                                    \
        .row = NAME##_row,                                                                                     \
    };

/* NaN if either is.  IEEE 754: a number by zero is infinity, zero by zero is NaN. */
BNN_PAIRS(ELEMENTWISE)
