/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that move values, and padding: concat, slice, gather, pad, pad_channels, copy and reshape. */
#include "mcu/moves.h"
#include "model/validate.h"
#include "ops/check.h"

#include <string.h>

/* concat: the channels of all inputs, one after another. */
static bnn_status prepare_concat(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_inputs(p, op, 1, BNN_MAX_INPUTS, BNN_MAX_INPUTS));
    const struct bnn_tensor *out = bnn_op_output(p->model, op), *first = bnn_op_input(p->model, op, 0);
    uint64_t channels = 0;
    for (uint32_t i = 0; i < op->input_count; i++) {
        const struct bnn_tensor *t = bnn_op_input(p->model, op, i);
        BNN_TRY(bnn_check_dtype(p, op, t, out->dtype, "dtype of an input"));
        BNN_CHECK(t->rank == first->rank, "rank of an input", t->rank, first->rank);
        BNN_CHECK(t->h == first->h, "height of an input", t->h, first->h);
        BNN_CHECK(t->w == first->w, "width of an input", t->w, first->w);
        channels += t->c;
    }
    return bnn_check_output(p, op, first->rank, first->h, first->w, channels);
}

/* Channels `first` to first + count - 1 of every pixel of a row, into those of another from `at` on.  Bits are shifted to
 * their places, which hold zeros. */
static void place(const struct bnn_tensor *to, void *into, size_t at, const struct bnn_tensor *from, const void *source,
                  size_t first, size_t count)
{
    size_t w = to->w, to_words = to->words, from_words = from->words;
    int bits = to->dtype == BNN_B1;
    uint32_t *out = into;
    const uint32_t *in = source;
    if (to->element < sizeof *out) {
        const size_t element = to->element;
        uint8_t *byte = (uint8_t *)into + at * element;
        const uint8_t *from_byte = (const uint8_t *)source + first * element;
        for (size_t x = 0; x < w; x++, byte += to_words * element, from_byte += from_words * element)
            if (count * element == 1)
                *byte = *from_byte;
            else
                memcpy(byte, from_byte, count * element);
        return;
    }
    if (!bits && count == 1) { /* without calls */
        for (size_t x = 0; x < w; x++)
            out[x * to_words + at] = in[x * from_words + first];
        return;
    }
    for (size_t x = 0; x < w; x++, out += to_words, in += from_words)
        if (bits)
            bnn_mcu_add_bits(out, at, in, first, count);
        else
            memcpy(out + at, in + first, count * sizeof *out);
}

/* A row of the output, zero if it holds bits. */
static void *begin_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor;
    void *out = bnn_row_bytes(&r->output, image, y);
    if (t->dtype == BNN_B1)
        memset(out, 0, (size_t)t->w * t->words * sizeof(uint32_t));
    return out;
}

static void concat_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor;
    void *out = begin_row(r, image, y);
    size_t at = 0;
    for (uint32_t k = 0; k < r->op->input_count; k++) {
        const struct bnn_tensor *from = r->inputs[k].tensor;
        place(t, out, at, from, bnn_row_bytes(&r->inputs[k], image, y), 0, from->c);
        at += from->c;
    }
}

const struct bnn_op_row bnn_op_row_concat = {
    BNN_ROW(concat),
    .prepare = prepare_concat,
    .row = concat_row,
};

/* slice: channels begin to end of every pixel. */
static bnn_status prepare_slice(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_slice_attrs *a = op->attrs;
    BNN_TRY(bnn_check_inputs(p, op, 1, 1, 1));
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    BNN_TRY(bnn_check_dtype(p, op, bnn_op_output(p->model, op), in->dtype, "dtype of the output"));
    BNN_CHECK(a->begin >= 0 && a->end > a->begin, "end of the channels (above their begin)", a->end, a->begin);
    BNN_CHECK((uint32_t)a->end <= in->c, "end of the channels (at most)", a->end, in->c);
    return bnn_check_output(p, op, in->rank, in->h, in->w, (uint64_t)(a->end - a->begin));
}

static void slice_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_slice_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor, *from = r->inputs[0].tensor;
    place(t, begin_row(r, image, y), 0, from, bnn_row_bytes(&r->inputs[0], image, y), (size_t)a->begin, t->c);
}

const struct bnn_op_row bnn_op_row_slice = {
    BNN_ROW(slice),
    .prepare = prepare_slice,
    .row = slice_row,
};

/* gather: every element of the output is the element of the input at its index, a constant of the output's shape that
 * counts the input's elements in row-major order of h, w, c. */
/* Indices that rise or fall by the same in each row: from a pixel to the next, and from a channel to the next. */
struct lattice {
    int regular;
    ptrdiff_t x, c;
};

static struct lattice lattice_of(const int32_t *from, const struct bnn_tensor *index)
{
    struct lattice l = {1, index->w > 1 ? (ptrdiff_t)from[index->c] - from[0] : 0,
                        index->c > 1 ? (ptrdiff_t)from[1] - from[0] : 1};
    for (size_t y = 0; y < index->h; y++, from += (size_t)index->w * index->c)
        for (size_t x = 0; x < index->w; x++)
            for (size_t c = 0; c < index->c; c++)
                l.regular &= from[x * index->c + c] - (ptrdiff_t)from[0] == (ptrdiff_t)x * l.x + (ptrdiff_t)c * l.c;
    return l;
}

static bnn_status prepare_gather(struct bnn_prepare *p, struct bnn_op *op)
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
    struct lattice l = lattice_of(from, index);
    /* Then elements are as far apart as their indices. */
    if (l.regular && in->dtype != BNN_B1 && in->row == (size_t)in->w * in->c) {
        struct lattice *kept = bnn_reserve(p, 1, sizeof *kept);
        op->prepared = kept;
        if (kept != NULL)
            *kept = l;
    }
    return BNN_OK;
}

/* `count` words, `step` apart; two are stored at a time. */
static void take_apart(uint32_t *restrict out, const uint32_t *restrict in, ptrdiff_t step, size_t count)
{
    if (step == 1) {
        memcpy(out, in, count * sizeof *out);
        return;
    }
    for (; count > 4; count -= 4, in += 4 * step, out += 4) {
        uint64_t four[] = {in[0] | (uint64_t)in[step] << 32, in[2 * step] | (uint64_t)in[3 * step] << 32};
        memcpy(out, four, sizeof four);
    }
    for (size_t k = 0; k < count; k++)
        out[k] = in[(ptrdiff_t)k * step];
}

static void gather_lattice(const struct bnn_run *r, const struct lattice *l, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor;
    size_t first = (size_t)((const int32_t *)r->inputs[1].data)[y * t->w * t->c];
    uint32_t *out = bnn_row_words(&r->output, image, y);
    const uint32_t *in = bnn_row_words(&r->inputs[0], image, 0) + first;
    if (l->x == l->c * (ptrdiff_t)t->c || t->c == 1) {
        take_apart(out, in, t->c == 1 ? l->x : l->c, (size_t)t->w * t->c);
        return;
    }
    for (size_t x = 0; x < t->w; x++, in += l->x, out += t->c)
        take_apart(out, in, l->c, t->c);
}

static void gather_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor, *in = r->inputs[0].tensor;
    size_t width = (size_t)in->w * in->c, count = (size_t)t->w * t->c;
    if (r->op->prepared != NULL) {
        gather_lattice(r, r->op->prepared, image, y);
        return;
    }
    const int32_t *from = (const int32_t *)r->inputs[1].data + y * count;
    if (t->dtype != BNN_B1) {
        float *out = bnn_row_floats(&r->output, image, y);
        for (size_t k = 0; k < count; k++)
            out[k] = bnn_row_floats(&r->inputs[0], image, (size_t)from[k] / width)[(size_t)from[k] % width];
        return;
    }
    uint32_t *out = begin_row(r, image, y);
    for (size_t x = 0; x < t->w; x++, from += t->c, out += t->words)
        for (size_t k = 0; k < t->c; k++) {
            size_t at = (size_t)from[k] % width, bit = at % in->c;
            const uint32_t *source = bnn_row_words(&r->inputs[0], image, (size_t)from[k] / width);
            out[k / 32] |= (source[at / in->c * in->words + bit / 32] >> bit % 32 & 1) << k % 32;
        }
}

const struct bnn_op_row bnn_op_row_gather = {
    BNN_ROW(gather),
    .cost = 32,
    .prepare = prepare_gather,
    .row = gather_row,
};

static void fill(float *restrict out, float value, size_t count)
{
    BNN_FOR_BLOCKS(k, count, out[k] = value;);
}

/* `count` elements from number `at` on. */
static void fill_elements(const struct bnn_tensor *t, unsigned char *out, size_t at, float value, size_t count)
{
    if (t->dtype == BNN_U8)
        memset(out + at, (int)value, count);
    else
        fill((float *)(void *)out + at, value, count);
}

/* The value of padding is one of bits, of bytes, or any float. */
static bnn_status check_value(struct bnn_prepare *p, const struct bnn_op *op, float value)
{
    bnn_dtype dtype = bnn_op_output(p->model, op)->dtype;
    BNN_CHECK(dtype != BNN_B1 || value == 1.0f || value == -1.0f, "padding of bits is +1 or -1 (1: yes)", 0, 1);
    int byte = value >= 0.0f && value <= 255.0f && value == (float)(uint8_t)value;
    BNN_CHECK(dtype != BNN_U8 || byte, "padding of bytes is a whole number from 0 to 255 (1: yes)", 0, 1);
    return BNN_OK;
}

/* pad: pixels of one value around the image (bits: +1 or -1). */
static bnn_status prepare_pixels(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_pad_attrs *a = op->attrs;
    BNN_TRY(bnn_check_inputs(p, op, 1, 1, 1));
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0), *out = bnn_op_output(p->model, op);
    const int32_t pads[4] = {a->pad_top, a->pad_left, a->pad_bottom, a->pad_right};
    for (int i = 0; i < 4; i++)
        BNN_CHECK(pads[i] >= 0, "padding (at least)", pads[i], 0);
    BNN_CHECK(in->rank == 3, "rank of the input", in->rank, 3);
    BNN_TRY(bnn_check_dtype(p, op, in, out->dtype, "dtype of the input"));
    BNN_TRY(check_value(p, op, a->value));
    return bnn_check_output(p, op, 3, (uint64_t)in->h + (uint64_t)pads[0] + (uint64_t)pads[2],
                            (uint64_t)in->w + (uint64_t)pads[1] + (uint64_t)pads[3], in->c);
}

/* The padding of one row. */
static void fill_pixels(const struct bnn_tensor *t, unsigned char *row, size_t first, size_t pixels, float value)
{
    uint32_t *out = (uint32_t *)(void *)row + first * t->words;
    if (t->dtype != BNN_B1) {
        fill_elements(t, row, first * t->c, value, pixels * t->c);
        return;
    }
    uint32_t word = value > 0.0f ? UINT32_MAX : 0, last = word >> (31 - (t->c - 1) % 32);
    for (size_t x = 0; x < pixels; x++, out += t->words) {
        for (size_t k = 0; k + 1 < t->words; k++)
            out[k] = word;
        out[t->words - 1] = last;
    }
}

static void pad_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_pad_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor, *in = r->inputs[0].tensor;
    size_t top = (size_t)a->pad_top, left = (size_t)a->pad_left, right = (size_t)a->pad_right;
    unsigned char *out = bnn_row_bytes(&r->output, image, y);
    if (y < top || y - top >= in->h) {
        fill_pixels(t, out, 0, t->w, a->value);
        return;
    }
    fill_pixels(t, out, 0, left, a->value);
    memcpy(out + left * t->words * t->element, bnn_row_bytes(&r->inputs[0], image, y - top),
           (size_t)in->w * in->words * t->element);
    fill_pixels(t, out, left + in->w, right, a->value);
}

const struct bnn_op_row bnn_op_row_pad = {
    BNN_ROW(pad),
    .prepare = prepare_pixels,
    .row = pad_row,
};

/* pad_channels: channels of one value before and after those of every pixel. */
static bnn_status prepare_channels(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_pad_channels_attrs *a = op->attrs;
    BNN_TRY(bnn_check_inputs(p, op, 1, 1, 1));
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0);
    bnn_dtype dtype = in->dtype == BNN_U8 ? BNN_U8 : BNN_F32;
    BNN_TRY(bnn_check_types(p, op, 1, dtype, dtype));
    BNN_TRY(check_value(p, op, a->value));
    BNN_CHECK(a->before >= 0, "channels of padding (at least)", a->before, 0);
    BNN_CHECK(a->after >= 0, "channels of padding (at least)", a->after, 0);
    return bnn_check_output(p, op, in->rank, in->h, in->w, (uint64_t)in->c + (uint64_t)a->before + (uint64_t)a->after);
}

static void pad_channels_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_pad_channels_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor, *from = r->inputs[0].tensor;
    size_t before = (size_t)a->before, inside = before + from->c;
    const size_t size = t->element;
    const unsigned char *in = bnn_row_bytes(&r->inputs[0], image, y);
    unsigned char *out = bnn_row_bytes(&r->output, image, y);
    for (size_t x = 0; x < t->w; x++, in += from->c * size, out += t->c * size) {
        fill_elements(t, out, 0, a->value, before);
        memcpy(out + before * size, in, from->c * size);
        fill_elements(t, out, inside, a->value, t->c - inside);
    }
}

const struct bnn_op_row bnn_op_row_pad_channels = {
    BNN_ROW(pad_channels),
    .prepare = prepare_channels,
    .row = pad_channels_row,
};

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
