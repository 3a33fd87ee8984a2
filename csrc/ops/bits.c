/* SPDX-License-Identifier: Apache-2.0 */
/* Bits of floats, and floats and bytes of bits and bytes: binarize, binarize_levels, unpack, unpack_bytes, dequantize,
 * cast and excess_128. */
#include "mcu/values.h"
#include "ops/check.h"

#include <math.h>
#include <string.h>

/* binarize: the bit x >= 0, so that zeros of either sign give +1; or, with a threshold and a flip per channel, the bit
 * (x >= threshold) != flip.  NaN is reported for its image; so is infinity in channels whose threshold is NaN, which
 * had a multiplication by zero. */
static bnn_status prepare_binarize(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_CHECK_KERNELS(p->model->kernels->binarize != NULL);
    if (op->input_count == 1)
        return bnn_check_unary(p, op, BNN_F32, BNN_B1);
    BNN_CHECK_KERNELS(p->model->kernels->binarize_at != NULL);
    BNN_TRY(bnn_check_types(p, op, 3, BNN_F32, BNN_B1));
    uint32_t channels = bnn_op_input(p->model, op, 0)->c;
    BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, 1), BNN_F32, channels, "number of thresholds"));
    BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, 2), BNN_B1, channels, "number of flips"));
    const float *thresholds = bnn_op_input(p->model, op, 1)->data;
    int *zeros = bnn_reserve(p, 1, sizeof *zeros); /* whether a threshold is NaN */
    op->prepared = zeros;
    if (zeros != NULL) {
        *zeros = 0;
        for (uint32_t k = 0; k < channels; k++)
            *zeros |= isnan(thresholds[k]) != 0;
    }
    return bnn_check_same_shape(p, op);
}

/* Whether a channel with a NaN threshold has an infinite number in a row. */
static int infinite_times_zero(const float *restrict in, const float *restrict thresholds, size_t channels,
                               size_t pixels)
{
    int found = 0;
    for (size_t x = 0; x < pixels; x++, in += channels)
        for (size_t k = 0; k < channels; k++)
            found |= isnan(thresholds[k]) && isinf(in[k]);
    return found;
}

static void binarize_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_kernels *kernels = r->model->kernels;
    const struct bnn_tensor *t = r->output.tensor;
    const float *in = bnn_row_floats(&r->inputs[0], image, y);
    uint32_t *out = bnn_row_words(&r->output, image, y);
    size_t c = t->c;
    int nan = 0;
    if (r->op->input_count == 3) {
        const float *thresholds = r->inputs[1].data;
        nan = kernels->binarize_at(out, in, thresholds, r->inputs[2].data, c, t->w);
        nan |= *(const int *)r->op->prepared && infinite_times_zero(in, thresholds, c, t->w);
    } else if (c % 32 == 0) { /* no tail bits: the whole row at once */
        nan = kernels->binarize(out, in, c * t->w);
    } else {
        for (const float *end = in + c * t->w; in < end; in += c, out += t->words)
            nan |= kernels->binarize(out, in, c);
    }
    if (nan != 0)
        r->nan[image] = 1;
}

const struct bnn_op_row bnn_op_row_binarize = {
    BNN_ROW(binarize),
    .prepare = prepare_binarize,
    .row = binarize_row,
};

/* binarize_levels: the number of thresholds that are <= x, in binary, bit p of it in plane p; planes begin on words.
 * NaN is reported for its image.
 *
 * Bit p of a number n is the parity of the multiples of 2^p up to n: the exclusive or of the comparisons with every
 * 2^p-th threshold.  With few thresholds, kernels compare a row at a time; with many, each pixel is searched. */
enum { FEW_PLANES = 4 };

struct levels {
    uint32_t steps, planes;
    const float *thresholds; /* few: [steps][channels]; otherwise [2^planes - 1], NaN (never reached) after the last */
    const uint32_t *flips;   /* few: none */
};

static bnn_status check_thresholds(struct bnn_prepare *p, const struct bnn_op *op, const struct bnn_tensor *t)
{
    BNN_TRY(bnn_check_operand(p, op, t, BNN_F32, t->c, "")); /* of any count */
    BNN_CHECK(t->c >= 2 && t->c < 1u << BNN_MOST_PLANES, "thresholds, 2 to 255", t->c, 2);
    const float *value = t->data;
    for (uint32_t i = 0; i < t->c; i++)
        BNN_CHECK(value[i] >= value[i > 0 ? i - 1 : 0], "thresholds that are numbers and rise, from the first on", i,
                  t->c);
    return BNN_OK;
}

static void lay_thresholds(struct bnn_prepare *p, struct levels *l, const float *thresholds, size_t channels)
{
    size_t copies = l->planes <= FEW_PLANES ? channels : 1, numbers = (size_t)1 << l->planes;
    float *all = bnn_reserve(p, l->planes <= FEW_PLANES ? l->steps * copies : numbers, sizeof *all);
    l->thresholds = all;
    if (l->planes <= FEW_PLANES) {
        uint32_t *flips = bnn_reserve(p, (channels + 31) / 32, sizeof *flips);
        l->flips = flips;
        if (flips != NULL)
            memset(flips, 0, (channels + 31) / 32 * sizeof *flips);
    }
    if (all == NULL)
        return;
    for (size_t i = 0; i < l->steps; i++)
        for (size_t c = 0; c < copies; c++)
            *all++ = thresholds[i];
    for (size_t i = l->steps; copies == 1 && i < numbers; i++)
        *all++ = NAN;
}

static bnn_status prepare_levels(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_types(p, op, 2, BNN_F32, BNN_B1));
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0), *thresholds = bnn_op_input(p->model, op, 1);
    BNN_TRY(check_thresholds(p, op, thresholds));
    BNN_CHECK_KERNELS(p->model->kernels->binarize_at != NULL);
    size_t words = (in->c + 31u) / 32;
    struct levels l = {.steps = thresholds->c, .planes = bnn_bit_length(thresholds->c)};
    BNN_TRY(bnn_check_output(p, op, in->rank, in->h, in->w, (uint64_t)l.planes * words * 32));
    struct levels *kept = bnn_reserve(p, 1, sizeof *kept);
    lay_thresholds(p, &l, thresholds->data, in->c);
    op->scratch = in->w * words * sizeof(uint32_t); /* a row of one comparison's bits, no larger than the output's */
    if (kept != NULL) {
        *kept = l;
        op->prepared = kept;
    }
    return BNN_OK;
}

/* Compares a row with every threshold. */
static int compare(const struct bnn_run *r, const struct levels *l, uint32_t *out, const float *in)
{
    const struct bnn_tensor *from = r->inputs[0].tensor;
    size_t words = (from->c + 31u) / 32;
    uint32_t *bits = r->scratch;
    int nan = 0;
    memset(out, 0, from->w * words * l->planes * sizeof *out);
    for (uint32_t i = 1; i <= l->steps; i++) {
        const float *thresholds = l->thresholds + (i - 1) * (size_t)from->c;
        nan |= r->model->kernels->binarize_at(bits, in, thresholds, l->flips, from->c, from->w);
        for (uint32_t plane = 0; plane < l->planes && i % (1u << plane) == 0; plane++)
            for (size_t x = 0; x < from->w; x++)
                for (size_t k = 0; k < words; k++)
                    out[(x * l->planes + plane) * words + k] ^= bits[x * words + k];
    }
    return nan;
}

/* Bit b of a number as bit 0 of byte b. */
static inline uint64_t spread(uint8_t number)
{
    uint64_t bits = number * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201);
    return (bits + UINT64_C(0x7f7f7f7f7f7f7f7f)) >> 7 & UINT64_C(0x0101010101010101);
}

/* The planes' words of up to 32 channels of a pixel, `words` apart. */
static void lay_planes(uint32_t *out, size_t words, size_t planes, const uint8_t *number, size_t count)
{
    uint64_t eight[4] = {0}; /* channels 0 to 7, 8 to 15, ...: byte b is theirs of plane b */
    for (size_t i = 0; i < count; i++)
        eight[i / 8] |= spread(number[i]) << i % 8;
    for (size_t b = 0; b < planes; b++) {
        uint32_t plane = 0;
        for (size_t k = 0; k < 4; k++)
            plane |= (uint32_t)(eight[k] >> 8 * b & 0xff) << 8 * k;
        out[b * words] = plane;
    }
}

/* What bnn_mcu_levels does, larger and faster: 32 numbers at a time, a bit of each after the other, so that none waits
 * for its own comparisons. */
static int search(const struct levels *l, uint32_t *out, const float *in, size_t pixels, size_t channels)
{
    size_t words = (channels + 31) / 32, group = channels < 32 ? 32 / channels : 1; /* pixels at a time */
    int nan = 0;
    for (size_t x = 0; x < pixels; x += group, in += group * channels, out += group * l->planes * words)
        for (size_t k = 0; k < words; k++) {
            size_t left = channels - k * 32, count = left < 32 ? left : 32;
            size_t beside = pixels - x < group ? pixels - x : group, all = words > 1 ? count : beside * count;
            const float *v = in + k * 32;
            uint8_t number[32] = {0};
            for (size_t i = 0; i < all; i++)
                nan |= v[i] != v[i];
            for (uint32_t step = 1u << l->planes; (step /= 2) > 0;)
                for (size_t i = 0; i < all; i++)
                    number[i] = (uint8_t)(number[i] + (v[i] >= l->thresholds[number[i] + step - 1]) * step);
            for (size_t p = 0; p < beside; p++)
                lay_planes(out + p * l->planes * words + k, words, l->planes, number + p * count, count);
        }
    return nan;
}

static uint64_t levels_work(const struct bnn_model *m, const struct bnn_op *op)
{
    uint32_t steps = bnn_op_input(m, op, 1)->c, planes = bnn_bit_length(steps);
    return bnn_times(bnn_elements(bnn_op_input(m, op, 0)), planes <= FEW_PLANES ? steps : planes * 8);
}

static void levels_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct levels *l = r->op->prepared;
    const struct bnn_tensor *from = r->inputs[0].tensor;
    const float *in = bnn_row_floats(&r->inputs[0], image, y);
    uint32_t *out = bnn_row_words(&r->output, image, y);
    int nan = 0;
    if (l->planes <= FEW_PLANES)
        nan = compare(r, l, out, in);
    else
        nan = search(l, out, in, from->w, from->c);
    if (nan != 0)
        r->nan[image] = 1;
}

const struct bnn_op_row bnn_op_row_binarize_levels = {
    BNN_ROW(binarize_levels),
    .work = levels_work,
    .prepare = prepare_levels,
    .row = levels_row,
};

/* unpack: bits to +1 and -1. */
static bnn_status prepare_unpack(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_check_unary(p, op, BNN_B1, BNN_F32);
}

static void unpack_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor;
    const uint32_t *in = bnn_row_words(&r->inputs[0], image, y);
    float *out = bnn_row_floats(&r->output, image, y);
    for (size_t x = 0; x < t->w; x++, in += r->inputs[0].tensor->words, out += t->c)
        bnn_unpack_pixel(out, in, t->c);
}

const struct bnn_op_row bnn_op_row_unpack = {
    BNN_ROW(unpack),
    .prepare = prepare_unpack,
    .row = unpack_row,
};

/* unpack_bytes: bits to the bytes 2 and 0, which are +1 and -1 around 1. */
static bnn_status prepare_unpack_bytes(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_check_unary(p, op, BNN_B1, BNN_U8);
}

static void unpack_bytes_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_tensor *t = r->output.tensor;
    bnn_mcu_unpack_bytes(bnn_row_bytes(&r->output, image, y), bnn_row_words(&r->inputs[0], image, y), t->w, t->c);
}

const struct bnn_op_row bnn_op_row_unpack_bytes = {
    BNN_ROW(unpack_bytes),
    .prepare = prepare_unpack_bytes,
    .row = unpack_bytes_row,
};

/* dequantize: table[number of set bits] over the planes of every channel; plane p holds channels p * c to (p + 1) * c -
 * 1.  With a number of channels, table[n], where bit p of n comes from plane p; planes then begin on words. */
static uint32_t padded(uint32_t channels)
{
    return (channels + 31) / 32 * 32;
}

static bnn_status prepare_dequantize(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_types(p, op, 2, BNN_B1, BNN_F32));
    const struct bnn_tensor *in = bnn_op_input(p->model, op, 0), *table = bnn_op_input(p->model, op, 1);
    BNN_TRY(bnn_check_operand(p, op, table, BNN_F32, table->c, "")); /* of any count */
    BNN_CHECK(table->c >= 2, "values of the table (at least)", table->c, 2);
    const struct bnn_dequantize_attrs *a = op->attrs;
    uint32_t planes = table->c - 1, channels = (uint32_t)a->channels;
    if (channels == 0) {
        BNN_CHECK(in->c % planes == 0, "channels left over when divided into planes", in->c % planes, 0);
        return bnn_check_output(p, op, in->rank, in->h, in->w, in->c / planes);
    }
    planes = bnn_bit_length(planes);
    BNN_CHECK(a->channels > 0, "channels", a->channels, 1);
    BNN_CHECK(planes >= 2 && planes <= BNN_MOST_PLANES, "values of the table, 3 to 256", table->c, 3);
    BNN_CHECK(in->c == (uint64_t)planes * padded(channels), "channels of the planes", in->c,
              (uint64_t)planes * padded(channels));
    return bnn_check_output(p, op, in->rank, in->h, in->w, channels);
}

static uint64_t dequantize_work(const struct bnn_model *m, const struct bnn_op *op)
{
    return bnn_times(bnn_elements(bnn_op_input(m, op, 0)), 4); /* every bit of every plane */
}

/* Bit i of byte k as bit k of byte i: halves of 1, 2 and 4 rows and columns change places. */
static inline uint64_t transposed(uint64_t bits)
{
    uint64_t differ = (bits ^ bits >> 7) & UINT64_C(0x00aa00aa00aa00aa);
    bits ^= differ ^ differ << 7;
    differ = (bits ^ bits >> 14) & UINT64_C(0x0000cccc0000cccc);
    bits ^= differ ^ differ << 14;
    differ = (bits ^ bits >> 28) & UINT64_C(0x00000000f0f0f0f0);
    return bits ^ differ ^ differ << 28;
}

/* The numbers of eight channels from c on, one a byte; planes begin `apart` bits after each other. */
static inline uint64_t numbers_of_eight(const uint32_t *in, const struct bnn_mcu_numbers *numbers, size_t c,
                                        size_t apart)
{
    uint64_t eight = 0;
    for (size_t plane = 0; plane < numbers->planes; plane++, c += apart) {
        uint8_t bits = (uint8_t)(in[c / 32] >> c % 32);
        eight += numbers->binary ? (uint64_t)bits << 8 * plane : spread(bits);
    }
    return numbers->binary ? transposed(eight) : eight;
}

static void look_up(float *restrict out, const uint32_t *restrict in, const struct bnn_mcu_numbers *numbers,
                    size_t channels, size_t apart)
{
    for (size_t c = 0; c < channels; c += 8) {
        uint64_t eight = numbers_of_eight(in, numbers, c, apart);
        size_t left = channels - c < 8 ? channels - c : 8;
        for (size_t i = 0; i < left; i++, eight >>= 8) {
            uint32_t number = eight & 255;
            *out++ = numbers->table[number < numbers->last ? number : numbers->last];
        }
    }
}

static void dequantize_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_dequantize_attrs *a = r->op->attrs;
    const struct bnn_tensor *t = r->output.tensor, *from = r->inputs[0].tensor;
    uint32_t last = r->inputs[1].tensor->c - 1;
    int binary = a->channels != 0;
    uint32_t planes = binary ? bnn_bit_length(last) : last;
    const float *table = r->inputs[1].data;
    const struct bnn_mcu_numbers numbers = {table, last, planes, binary};
    size_t apart = binary ? padded(t->c) : t->c;
    float *out = bnn_row_floats(&r->output, image, y);
    const uint32_t *in = bnn_row_words(&r->inputs[0], image, y);
    if (apart % 8 != 0 || planes > 255) {
        bnn_mcu_dequantize(out, in, &numbers, t->w, t->c);
    } else if (apart % 32 == 0 && planes < (binary ? 5u : BNN_FEW_VALUES) && r->model->kernels->decode != NULL) {
        const struct bnn_numbers vectors = {table, last, planes, binary, t->c, apart / 32, from->words};
        r->model->kernels->decode(out, in, &vectors, t->w);
    } else {
        for (size_t x = 0; x < t->w; x++, in += from->words, out += t->c)
            look_up(out, in, &numbers, t->c, apart);
    }
}

const struct bnn_op_row bnn_op_row_dequantize = {
    BNN_ROW(dequantize),
    .work = dequantize_work,
    .prepare = prepare_dequantize,
    .row = dequantize_row,
};

/* quantize: floats as bytes, by a scale or by thresholds. */
#define MOST_OFF 0.25f    /* of a number, that a threshold may be off */
#define ROUNDING 0x1p-20f /* more than the floats that say so are off */

/* How far from the middle of two numbers the threshold between them may lie, in numbers; or more than it may. */
static float most_off(const struct bnn_quantize_attrs *a, const struct bnn_tensor *thresholds)
{
    const float *value = thresholds->data;
    float most = a->scale > 0.0f ? 0.0f : 1.0f;
    for (uint32_t i = 0; i < thresholds->c; i++) {
        float v = value[i] * a->scale;
        v = v + a->offset;
        v = v - ((float)i + 0.5f);
        v = v < 0.0f ? -v : v;
        most = v <= most ? most : v; /* also NaN */
    }
    return most;
}

static bnn_status prepare_thresholds(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_quantize_attrs *a = op->attrs;
    BNN_TRY(bnn_check_types(p, op, 2, BNN_F32, BNN_U8));
    BNN_TRY(bnn_check_same_shape(p, op));
    const struct bnn_tensor *thresholds = bnn_op_input(p->model, op, 1);
    BNN_TRY(check_thresholds(p, op, thresholds));
    BNN_CHECK(a->zero == 0, "byte of a zero, with thresholds", a->zero, 0);
    float most = most_off(a, thresholds);
    BNN_CHECK(most <= MOST_OFF, "thresholds within 1/4 of the scale's (1: yes)", 0, 1);
    struct bnn_thresholds *kept = bnn_reserve(p, 1, sizeof *kept);
    if (kept != NULL) {
        *kept = (struct bnn_thresholds){thresholds->data, thresholds->c, most + ROUNDING};
        op->prepared = kept;
    }
    return BNN_OK;
}

static bnn_status prepare_quantize(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_quantize_attrs *a = op->attrs;
    if (op->input_count > 1)
        BNN_TRY(prepare_thresholds(p, op));
    else
        BNN_TRY(bnn_check_unary(p, op, BNN_F32, BNN_U8));
    BNN_CHECK(a->zero >= 0 && a->zero <= 255, "byte of a zero, from 0 to 255", a->zero, 255);
    BNN_CHECK(a->scale - a->scale == 0.0f && a->offset - a->offset == 0.0f, "scale and offset, finite (1: yes)", 0, 1);
    BNN_CHECK_KERNELS(p->model->kernels->quantize != NULL);
    return BNN_OK;
}

static void quantize_row(const struct bnn_run *r, size_t image, size_t y)
{
    const struct bnn_op *op = r->op;
    const struct bnn_quantize_attrs *a = op->attrs;
    const struct bnn_quantizer quantizer = {a->scale, a->offset, a->zero};
    size_t width = (size_t)r->output.tensor->w * r->output.tensor->c;
    r->model->kernels->quantize(bnn_row_bytes(&r->output, image, y), bnn_row_floats(&r->inputs[0], image, y), width,
                                &quantizer, op->prepared);
}

const struct bnn_op_row bnn_op_row_quantize = {
    BNN_ROW(quantize),
    .prepare = prepare_quantize,
    .row = quantize_row,
};

enum { VALUES = 256 };

/* cast: bytes as floats; with a table, the table's entry at each byte. */
static bnn_status prepare_cast(struct bnn_prepare *p, struct bnn_op *op)
{
    BNN_TRY(bnn_check_types(p, op, op->input_count == 1 ? 1 : 2, BNN_U8, BNN_F32));
    if (op->input_count > 1)
        BNN_TRY(bnn_check_operand(p, op, bnn_op_input(p->model, op, 1), BNN_F32, VALUES, "values of the table"));
    return bnn_check_same_shape(p, op);
}

static void cast_row(const struct bnn_run *r, size_t image, size_t y)
{
    const float *table = r->op->input_count == 2 ? r->inputs[1].data : NULL;
    size_t width = (size_t)r->output.tensor->w * r->output.tensor->c;
    const unsigned char *restrict in = bnn_row_bytes(&r->inputs[0], image, y);
    float *restrict out = bnn_row_floats(&r->output, image, y);
    for (size_t k = 0; table != NULL && k < width; k++)
        out[k] = table[in[k]];
    for (size_t k = 0; table == NULL && k < width; k++)
        out[k] = in[k];
}

const struct bnn_op_row bnn_op_row_cast = {
    BNN_ROW(cast),
    .prepare = prepare_cast,
    .row = cast_row,
};

/* excess_128: signed bytes as unsigned ones, each plus 128. */
static bnn_status prepare_excess(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_check_unary(p, op, BNN_I8, BNN_U8);
}

static void excess_row(const struct bnn_run *r, size_t image, size_t y)
{
    const unsigned char *restrict in = bnn_row_bytes(&r->inputs[0], image, y);
    unsigned char *restrict out = bnn_row_bytes(&r->output, image, y);
    size_t width = (size_t)r->output.tensor->w * r->output.tensor->c, k = 0;
    for (uint64_t word; k + sizeof word <= width; k += sizeof word) {
        memcpy(&word, in + k, sizeof word);
        word ^= UINT64_C(0x8080808080808080);
        memcpy(out + k, &word, sizeof word);
    }
    for (; k < width; k++)
        out[k] = in[k] ^ 0x80; /* in two's complement */
}

const struct bnn_op_row bnn_op_row_excess_128 = {
    BNN_ROW(excess_128),
    .prepare = prepare_excess,
    .row = excess_row,
};
