/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of one float, and softmax. */
#include "mcu/elements.h"
#include "mcu/functions.h"
#include "ops/elements.h"

enum { CURVE = 32 }; /* work of an exponential, or of what is as long, for one float */

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_check_unary(p, op, BNN_F32, BNN_F32);
}

typedef void values(float *restrict out, const float *restrict in, size_t n, const void *attrs);

static inline void compute_row(const struct bnn_run *r, size_t image, size_t y, values *compute)
{
    size_t n = (size_t)r->output.tensor->w * r->output.tensor->c;
    compute(bnn_row_floats(&r->output, image, y), bnn_row_floats(&r->inputs[0], image, y), n, r->op->attrs);
}

/* The row of the op NAME: what fills `out` from `in` and the attributes, and its cost for one float. */
#define ROW(NAME, COST, PREPARE, ...)                                                                     \
    static void NAME##_values(float *restrict out, const float *restrict in, size_t n, const void *attrs) \
    {                                                                                                     \
        (void)attrs;                                                                                      \
        __VA_ARGS__;                                                                                      \
    }                                                                                                     \
    static void NAME##_row(const struct bnn_run *r, size_t image, size_t y)                               \
    {                                                                                                     \
        compute_row(r, image, y, NAME##_values);                                                          \
    }                                                                                                     \
    const struct bnn_op_row bnn_op_row_##NAME = {                                                         \
        BNN_ROW(NAME),                                                                                    \
        .cost = COST,                                                                                     \
        .prepare = PREPARE,                                                                               \
        .row = NAME##_row,                                                                                \
    }

/* The value for the float x and the attributes. */
#define FUNCTION(NAME, COST, PREPARE, VALUE) \
    ROW(NAME, COST, PREPARE, BNN_FOR_BLOCKS(k, n, float x = in[k]; out[k] = VALUE;))

FUNCTION(rsqrt, CURVE, prepare, 1.0f / sqrtf(bnn_flushed(x)));
FUNCTION(sqrt, CURVE, prepare, sqrtf(bnn_flushed(x)));

#define CALL(NAME) ROW(NAME, CURVE, prepare, bnn_##NAME(out, in, n));
BNN_CURVES(CALL)

ROW(pow, CURVE, prepare, bnn_pow(out, in, n, ((const struct bnn_pow_attrs *)attrs)->exponent));

FUNCTION(sign, 2, prepare, bnn_sign(x));

static bnn_status prepare_round(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_round_attrs *a = op->attrs;
    BNN_CHECK_KERNELS(p->model->kernels->compute != NULL);
    BNN_CHECK(a->direction >= -1 && a->direction <= 1, "direction (-1, 0 or 1)", a->direction, 0);
    return prepare(p, op);
}

/* Up is down between changes of the sign. */
static size_t round_steps(const struct bnn_run *r, size_t image, size_t y, struct bnn_step *steps)
{
    static const float whole = BNN_WHOLE, minus = -1.0f;
    int32_t direction = ((const struct bnn_round_attrs *)r->op->attrs)->direction;
    size_t count = 0;
    steps[count++] = bnn_by_row(BNN_STEP_set, &r->inputs[0], image, y);
    if (direction > 0)
        steps[count++] = bnn_by(BNN_STEP_mul, &minus);
    steps[count++] = bnn_by(direction == 0 ? BNN_STEP_nearest : BNN_STEP_down, &whole);
    if (direction > 0)
        steps[count++] = bnn_by(BNN_STEP_mul, &minus);
    return count;
}

static const struct bnn_pass round_pass = {round_steps, 4, 0, bnn_arithmetic_before};

const struct bnn_op_row bnn_op_row_round = {
    BNN_ROW(round), .cost = 4, .prepare = prepare_round, .run = bnn_compute_run, .pass = &round_pass,
};

static bnn_status prepare_clamp(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_clamp_attrs *a = op->attrs;
    BNN_CHECK_KERNELS(p->model->kernels->compute != NULL);
    BNN_CHECK(a->lo == a->lo && a->hi == a->hi, "limits are numbers (1: yes)", 0, 1);
    return prepare(p, op);
}

/* NaN stays. */
static size_t clamp_steps(const struct bnn_run *r, size_t image, size_t y, struct bnn_step *steps)
{
    const struct bnn_clamp_attrs *a = r->op->attrs;
    steps[0] = bnn_by_row(BNN_STEP_set, &r->inputs[0], image, y);
    steps[1] = bnn_by(BNN_STEP_raise, &a->lo);
    steps[2] = bnn_by(BNN_STEP_lower, &a->hi);
    return 3;
}

static const struct bnn_pass clamp_pass = {clamp_steps, 3, 0, bnn_arithmetic_before};

const struct bnn_op_row bnn_op_row_clamp = {
    BNN_ROW(clamp),
    .prepare = prepare_clamp,
    .run = bnn_compute_run,
    .pass = &clamp_pass,
};

/* Over the channels of each pixel. */
static void softmax_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor;
    const float *in = bnn_row_floats(&r->inputs[0], image, y);
    float *out = bnn_row_floats(&r->output, image, y);
    for (size_t x = 0; x < t->w; x++, in += t->c, out += t->c)
        bnn_softmax(out, in, t->c);
}

const struct bnn_op_row bnn_op_row_softmax = {
    BNN_ROW(softmax),
    .cost = 40,
    .prepare = prepare,
    .row = softmax_row,
};
