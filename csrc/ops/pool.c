/* SPDX-License-Identifier: Apache-2.0 */
/* Pools over the taps of a window that lie inside the image: avg_pool, sum_pool and max_pool; and resize_bilinear. */
#include "ops/elements.h"
#include "run/window.h"

#include <float.h>
#include <math.h>
#include <string.h>

static bnn_status check_axis(struct bnn_prepare *p, const struct bnn_op *op, int32_t kernel, int32_t stride,
                             int32_t before, int32_t after)
{
    BNN_CHECK(kernel >= 1, "window (at least)", kernel, 1);
    BNN_CHECK(stride >= 1, "stride (at least)", stride, 1);
    BNN_CHECK(before >= 0 && after >= 0, "padding (at least)", before < 0 ? before : after, 0);
    /* Then every window has a tap inside the image. */
    BNN_CHECK(before < kernel && after<kernel, "padding (less than the window)", before> after ? before : after,
              kernel);
    return BNN_OK;
}

/* Checks attributes and shapes; the op checks the dtypes. */
static bnn_status check_windows(struct bnn_prepare *p, const struct bnn_op *op)
{
    const struct bnn_pool_attrs *a = op->attrs;
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    BNN_CHECK(in->rank == 3, "rank of the input", in->rank, 3);
    BNN_TRY(check_axis(p, op, a->kernel_h, a->stride_h, a->pad_top, a->pad_bottom));
    BNN_TRY(check_axis(p, op, a->kernel_w, a->stride_w, a->pad_left, a->pad_right));
    uint64_t h = bnn_window_count(in->h, (uint32_t)a->kernel_h, a->stride_h, 1, a->pad_top, a->pad_bottom);
    uint64_t w = bnn_window_count(in->w, (uint32_t)a->kernel_w, a->stride_w, 1, a->pad_left, a->pad_right);
    return bnn_check_output(p, op, 3, h, w, in->c);
}

/* What a pool of floats does with the taps of a window, one after another. */
struct pooling {
    enum bnn_arithmetic op;
    float start;
    int down;    /* column by column; otherwise row by row */
    int divides; /* at last, by the number of taps */
};

/* The steps so far of some columns from `out` on. */
struct steps {
    float *out;
    size_t columns, channels, count;
    struct bnn_step of[BNN_MOST_STEPS];
};

static void add_step(const struct bnn_run *r, struct steps *steps, struct bnn_step step)
{
    if (steps->count == BNN_MOST_STEPS) {
        bnn_compute(r, steps->out, steps->columns, steps->of, steps->count);
        steps->of[0] = (struct bnn_step){BNN_STEP_set, 0, steps->out, steps->channels};
        steps->count = 1;
    }
    steps->of[steps->count++] = step;
}

/* `count` output columns from x on, all of whose windows have the first one's taps, a stride further each. */
static void pool_windows(const struct bnn_run *r, const struct pooling *pooling, size_t image, size_t y, size_t x,
                         size_t count)
{
    const struct bnn_pool_attrs *a = r->op->attrs;
    const struct bnn_tensor *in = r->inputs[0].tensor;
    size_t c = in->c;
    struct bnn_taps ys = bnn_pool_taps(y, a->stride_h, a->kernel_h, a->pad_top, in->h);
    struct bnn_taps xs = bnn_pool_taps(x, a->stride_w, a->kernel_w, a->pad_left, in->w);
    size_t height = ys.end - ys.begin, width = xs.end - xs.begin, row = in->row;
    const float *first = bnn_row_floats(&r->inputs[0], image, ys.begin) + xs.begin * c;
    const float taps = (float)(height * width);
    struct steps steps; /* its array is filled as far as it is used */
    steps.out = bnn_row_floats(&r->output, image, y) + x * c;
    steps.columns = count;
    steps.channels = c;
    steps.count = 0;
    add_step(r, &steps, bnn_by(BNN_STEP_set, &pooling->start));
    for (size_t i = 0; i < (pooling->down ? width : height); i++, first += pooling->down ? c : row) {
        const float *tap = first;
        for (size_t k = 0; k < (pooling->down ? height : width); k++, tap += pooling->down ? row : c)
            add_step(r, &steps, (struct bnn_step){pooling->op, 0, tap, (size_t)a->stride_w * c});
    }
    if (pooling->divides)
        add_step(r, &steps, bnn_by(BNN_STEP_div, &taps));
    bnn_compute(r, steps.out, count, steps.of, steps.count);
}

/* Windows inside the image are computed together. */
static void pool_row(const struct bnn_run *r, const struct pooling *pooling, size_t image, size_t y)
{
    const struct bnn_pool_attrs *a = r->op->attrs;
    size_t w = r->output.tensor->w, stride = (size_t)a->stride_w, left = (size_t)a->pad_left;
    size_t room = r->inputs[0].tensor->w + left, kernel = (size_t)a->kernel_w;
    size_t begin = (left + stride - 1) / stride, end = room >= kernel ? (room - kernel) / stride + 1 : 0;
    end = end < w ? end : w;
    for (size_t x = 0, count; x < w; x += count) {
        count = x >= begin && x < end ? end - x : 1;
        pool_windows(r, pooling, image, y, x, count);
    }
}

enum { MOST_BYTES = 1 << 23, MOST_SHORTS = 1 << 15 }; /* of a mean, so that their sums are below 2^31 */

/* sum_pool, and avg_pool, which divides the sum by the number of taps. */
static bnn_status prepare_sums(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_inputs(p, op, 1, 1, 1));
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    const int whole = bnn_is_whole(in) && op->row->opcode == BNN_OP_avg_pool;
    const bnn_dtype dtype = whole ? in->dtype : BNN_F32;
    BNN_TRY(bnn_check_types(p, op, 1, dtype, dtype));
    BNN_CHECK_KERNELS(whole || p->model->kernels->compute != NULL);
    BNN_TRY(check_windows(p, op));
    uint64_t taps = bnn_pool_window(op->attrs, in);
    const uint64_t most = dtype == BNN_U8 ? MOST_BYTES : MOST_SHORTS;
    BNN_CHECK(!whole || taps <= most, "numbers of a mean (at most)", taps, most);
    return BNN_OK;
}

static uint64_t sums_work(const struct bnn_model *m, const struct bnn_op *op)
{
    const struct bnn_tensor *t = bnn_op_output(m, op);
    uint64_t taps = bnn_pool_window(op->attrs, bnn_op_input(m, op, 0));
    return bnn_times((uint64_t)t->h * t->w, bnn_times(taps, (uint64_t)t->c + 4)); /* each tap has a cost of its own */
}

/* A row of sums over `count` columns of one channel each, which lie side by side: a mean over groups of channels.  The
 * quotient by a power of two is a product; blocks of a constant count become vectors. */
static void sum_columns(float *restrict out, const float *restrict in, size_t windows, size_t count, int divides)
{
    const float divisor = divides ? (float)count : 1.0f, factor = 1.0f / divisor;
    if (count == 2) {
        BNN_FOR_BLOCKS(x, windows, out[x] = (in[2 * x] + in[2 * x + 1]) * factor;);
    } else if (count == 4) {
        BNN_FOR_BLOCKS(x, windows, out[x] = (((in[4 * x] + in[4 * x + 1]) + in[4 * x + 2]) + in[4 * x + 3]) * factor;);
    } else {
        for (size_t x = 0; x < windows; x++, in += count) {
            float total = in[0];
            for (size_t k = 1; k < count; k++)
                total += in[k];
            out[x] = total / divisor;
        }
    }
}

/* The byte, or int16, of each channel, from the taps of a window. */
typedef void pool_whole(void *restrict out, const struct bnn_view *in, size_t image, struct bnn_taps ys,
                        struct bnn_taps xs);

static void whole_row(const struct bnn_run *r, size_t image, size_t y, pool_whole *pool)
{
    const struct bnn_pool_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor, *in = r->inputs[0].tensor;
    struct bnn_taps ys = bnn_pool_taps(y, a->stride_h, a->kernel_h, a->pad_top, in->h);
    uint8_t *out = bnn_row_bytes(&r->output, image, y);
    for (size_t x = 0; x < t->w; x++, out += (size_t)t->c * t->element)
        pool(out, &r->inputs[0], image, ys, bnn_pool_taps(x, a->stride_w, a->kernel_w, a->pad_left, in->w));
}

static void add_bytes(int32_t *restrict sums, const uint8_t *restrict in, size_t channels)
{
    BNN_FOR_BLOCKS(k, channels, sums[k] += in[k];);
}

static void add_shorts(int32_t *restrict sums, const int16_t *restrict in, size_t channels)
{
    BNN_FOR_BLOCKS(k, channels, sums[k] += in[k];);
}

static inline int32_t quarter_of(int32_t sum)
{
    return (sum + 1 + (sum > 0)) >> 2;
}

/* The mean of int16, or of bytes, which are numbers in excess 128; rounded to the nearest, halves away from zero. */
static void mean_whole(void *restrict to, const struct bnn_view *in, size_t image, struct bnn_taps ys,
                       struct bnn_taps xs)
{
    enum { CHANNELS = 64 };
    uint8_t *out = to;
    int16_t *shorts = to;
    const int bytes = in->tensor->dtype == BNN_U8;
    const int32_t zero = bytes ? 128 : 0;
    const size_t c = in->tensor->c, element = in->tensor->element;
    const int32_t count = (int32_t)((ys.end - ys.begin) * (xs.end - xs.begin));
    for (size_t first = 0; first < c; first += CHANNELS) {
        size_t channels = c - first < CHANNELS ? c - first : CHANNELS;
        int32_t sums[CHANNELS];
        for (size_t k = 0; k < channels; k++)
            sums[k] = -zero * count;
        for (size_t y = ys.begin; y < ys.end; y++)
            for (size_t x = xs.begin; x < xs.end; x++) {
                const unsigned char *tap = bnn_row_bytes(in, image, y) + (x * c + first) * element;
                if (bytes)
                    add_bytes(sums, tap, channels);
                else
                    add_shorts(sums, (const int16_t *)(const void *)tap, channels);
            }
        if (count == 4 && bytes) /* the usual window, without a division */
            BNN_FOR_BLOCKS(k, channels, out[first + k] = (uint8_t)(quarter_of(sums[k]) + 128););
        else if (count == 4)
            BNN_FOR_BLOCKS(k, channels, shorts[first + k] = (int16_t)quarter_of(sums[k]););
        else
            for (size_t k = 0; k < channels; k++) {
                const int32_t mean = (sums[k] + (sums[k] > 0 ? count / 2 : -(count / 2))) / count;
                if (bytes)
                    out[first + k] = (uint8_t)(mean + 128);
                else
                    shorts[first + k] = (int16_t)mean;
            }
    }
}

static void sums_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_pool_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor, *in = r->inputs[0].tensor;
    int divides = r->op->row->opcode == BNN_OP_avg_pool;
    if (bnn_is_whole(t)) {
        whole_row(r, image, y, mean_whole);
        return;
    }
    struct bnn_taps ys = bnn_pool_taps(y, a->stride_h, a->kernel_h, a->pad_top, in->h);
    if (in->c == 1 && ys.end - ys.begin == 1 && a->stride_w == a->kernel_w && !a->pad_left && !a->pad_right) {
        sum_columns(bnn_row_floats(&r->output, image, y), bnn_row_floats(&r->inputs[0], image, ys.begin), t->w,
                    (size_t)a->kernel_w, divides);
        return;
    }
    const struct pooling sums = {BNN_STEP_add, 0.0f, 0, divides};
    pool_row(r, &sums, image, y);
}

const struct bnn_op_row bnn_op_row_avg_pool = {
    BNN_ROW(avg_pool),
    .work = sums_work,
    .prepare = prepare_sums,
    .row = sums_row,
};

const struct bnn_op_row bnn_op_row_sum_pool = {
    BNN_ROW(sum_pool),
    .work = sums_work,
    .prepare = prepare_sums,
    .row = sums_row,
};

/* max_pool: the maximum; of bytes and int16, too.
 *
 * Floats: like TensorFlow's, starts at the lowest finite float, and skips NaN; the first of equal numbers, column by
 * column, as zeros have signs.
 *
 * Bits: OR.  With a mask, channels whose mask bit is set take AND instead (they hold the complement of a decreasing
 * threshold): AND is the complement of the OR of complements, so out = OR(tap ^ mask) ^ mask does both at once. */
static bnn_status prepare_max(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_inputs(p, op, 1, 2, 1));
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    BNN_TRY(bnn_check_dtype(p, op, bnn_op_output(p->model, op), in->dtype, "dtype of the output"));
    if (op->input_count == 2) {
        BNN_TRY(bnn_check_dtype(p, op, in, BNN_B1, "dtype of the input with a mask"));
        BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, 1), BNN_B1, in->c, "channels of the mask"));
    }
    BNN_CHECK_KERNELS(in->dtype != BNN_F32 || p->model->kernels->compute != NULL);
    return check_windows(p, op);
}

static void any(uint32_t *restrict out, const struct bnn_view *in, size_t image, struct bnn_taps ys, struct bnn_taps xs,
                const uint32_t *restrict mask)
{
    size_t words = in->tensor->words;
    memset(out, 0, words * sizeof *out);
    for (size_t y = ys.begin; y < ys.end; y++) {
        const uint32_t *restrict tap = bnn_row_words(in, image, y) + xs.begin * words;
        for (size_t x = xs.begin; x < xs.end; x++, tap += words)
            for (size_t k = 0; k < words; k++)
                out[k] |= mask == NULL ? tap[k] : tap[k] ^ mask[k];
    }
    for (size_t k = 0; mask != NULL && k < words; k++)
        out[k] ^= mask[k];
}

static void highest_byte(uint8_t *restrict out, const uint8_t *restrict in, size_t channels)
{
    BNN_FOR_BLOCKS(k, channels, out[k] = in[k] > out[k] ? in[k] : out[k];);
}

static void highest_short(int16_t *restrict out, const int16_t *restrict in, size_t channels)
{
    BNN_FOR_BLOCKS(k, channels, out[k] = in[k] > out[k] ? in[k] : out[k];);
}

static void highest_whole(void *restrict out, const struct bnn_view *in, size_t image, struct bnn_taps ys,
                          struct bnn_taps xs)
{
    const size_t c = in->tensor->c, pixel = c * in->tensor->element;
    memcpy(out, bnn_row_bytes(in, image, ys.begin) + xs.begin * pixel, pixel);
    for (size_t y = ys.begin; y < ys.end; y++) {
        const unsigned char *tap = bnn_row_bytes(in, image, y) + xs.begin * pixel;
        for (size_t x = xs.begin; x < xs.end; x++, tap += pixel)
            if (in->tensor->dtype == BNN_U8)
                highest_byte(out, tap, c);
            else
                highest_short(out, (const int16_t *)(const void *)tap, c);
    }
}

static void any_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_pool_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor, *in = r->inputs[0].tensor;
    const uint32_t *mask = r->op->input_count == 2 ? r->inputs[1].data : NULL;
    struct bnn_taps ys = bnn_pool_taps(y, a->stride_h, a->kernel_h, a->pad_top, in->h);
    uint32_t *out = bnn_row_words(&r->output, image, y);
    for (size_t x = 0; x < t->w; x++, out += t->words) {
        struct bnn_taps xs = bnn_pool_taps(x, a->stride_w, a->kernel_w, a->pad_left, in->w);
        any(out, &r->inputs[0], image, ys, xs, mask);
    }
}

/* The taps of floats have no cost of their own. */
static uint64_t max_work(const struct bnn_model *m, const struct bnn_op *op)
{
    const struct bnn_tensor *in = bnn_op_input(m, op, 0), *t = bnn_op_output(m, op);
    uint64_t tap = t->dtype == BNN_B1 ? (uint64_t)t->words + 4 : t->c;
    return bnn_times((uint64_t)t->h * t->w, bnn_times(bnn_pool_window(op->attrs, in), tap));
}

static void max_pool_row(const struct bnn_run *r, size_t image, size_t y)
{
    static const struct pooling highest = {BNN_STEP_raise, -FLT_MAX, 1, 0};
    if (r->output.tensor->dtype == BNN_B1)
        any_row(r, image, y);
    else if (bnn_is_whole(r->output.tensor))
        whole_row(r, image, y, highest_whole);
    else
        pool_row(r, &highest, image, y);
}

const struct bnn_op_row bnn_op_row_max_pool = {
    BNN_ROW(max_pool),
    .work = max_work,
    .prepare = prepare_max,
    .row = max_pool_row,
};

/* resize_bilinear: interpolates four pixels, along the rows and then between them, in TensorFlow's order. */
static bnn_status prepare_resize(struct bnn_prepare *p, struct bnn_op *op)
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

static void resize_row(const struct bnn_run *r, size_t image, size_t y)
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
    .prepare = prepare_resize,
    .row = resize_row,
};
