/* SPDX-License-Identifier: Apache-2.0 */
/* The convolutions, and how they are prepared: packed weights, padded operands, segments. */
#include "model/coding.h"
#include "ops/conv/conv.h"

#include <string.h>

/* Floats on the stack. */
#ifdef BNN_SMALL
enum { CHUNK = 128 };
#else
enum { CHUNK = 1024 };
#endif

/* Per-channel operands, floats or integers of 32 bits: the file's own if every group fills its blocks, otherwise a copy
 * in which `missing` fills each group's last block. */
static const void *pad_operand(struct bnn_prepare *p, const struct bnn_conv *conv, const void *operand, int32_t missing)
{
    const struct bnn_conv_shape *s = &conv->shape;
    const size_t size = s->outputs * sizeof missing;
    if (conv->padded == s->outputs)
        return operand;
    unsigned char *copy = bnn_reserve(p, bnn_conv_product(p, s->groups, conv->padded), sizeof missing);
    if (copy != NULL)
        for (size_t g = 0; g < s->groups; g++) {
            unsigned char *to = copy + g * conv->padded * sizeof missing;
            memcpy(to, (const unsigned char *)operand + g * size, size);
            for (size_t c = s->outputs; c < conv->padded; c++)
                memcpy(to + c * sizeof missing, &missing, sizeof missing);
        }
    return copy;
}

/* -1 for the filters that the compiler negated, so that raw sums equal the source model's; otherwise 1. */
static const float *negated_signs(struct bnn_prepare *p, const struct bnn_conv *conv, const struct bnn_tensor *t)
{
    const struct bnn_conv_shape *s = &conv->shape;
    float *signs = bnn_reserve(p, bnn_conv_product(p, s->groups, conv->padded), sizeof *signs);
    const uint32_t *bits = t->data;
    if (signs != NULL)
        for (size_t g = 0; g < s->groups; g++)
            for (size_t c = 0; c < conv->padded; c++) {
                size_t o = g * s->outputs + c;
                int negated = c < s->outputs && (bits[o / 32] >> o % 32 & 1) != 0;
                signs[g * conv->padded + c] = negated ? -1.0f : 1.0f;
            }
    return signs;
}

static void pack_epilogue(struct bnn_prepare *p, const struct bnn_op *op, struct bnn_conv *conv)
{
    struct bnn_epilogue *e = &conv->epilogue;
    const float **operands[] = BNN_EPILOGUE_OPERANDS(e);
    uint32_t negated = bnn_slot_input(op, BNN_SLOT_NEGATED), own = (uint32_t)conv->shape.attrs->layer_slots;
    *e = bnn_op_epilogue(p->model, op);
    for (size_t i = 0; i < sizeof operands / sizeof operands[0]; i++)
        if (*operands[i] != NULL)
            *operands[i] = pad_operand(p, conv, *operands[i], 0);
    conv->residual = (int)bnn_slot_input(op, BNN_SLOT_RESIDUAL);
    conv->raw_epilogue = bnn_keep_slots(*e, own);
    if (negated != 0)
        conv->raw_epilogue.pre_mul = negated_signs(p, conv, bnn_op_input(p->model, op, negated));
    conv->raw_residual = own & BNN_SLOT_RESIDUAL ? conv->residual : 0;
    conv->requantizer = bnn_op_requantizer(p->model, op);
    if (conv->requantizer.multiplier != NULL) {
        conv->requantizer.multiplier = pad_operand(p, conv, conv->requantizer.multiplier, 0);
        conv->requantizer.shift = pad_operand(p, conv, conv->requantizer.shift, -1); /* as most shifts */
    }
}

/* [tap][channel], missing channels zero. */
static void pack_depthwise(const struct bnn_conv *conv, float *dst)
{
    const struct bnn_tensor *w = conv->shape.w;
    float chunk[CHUNK];
    memset(dst, 0, w->image * conv->padded * sizeof *dst);
    for (size_t c = 0; c < w->o; c++)
        for (size_t first = 0; first < w->image; first += CHUNK) {
            size_t taps = w->image - first < CHUNK ? w->image - first : CHUNK;
            bnn_read_floats(w, c * w->image + first, taps, chunk);
            for (size_t i = 0; i < taps; i++)
                dst[(first + i) * conv->padded + c] = chunk[i];
        }
}

/* A block of filters at a time, and as many words of them as fit on the stack: they may have to be decoded. */
static void pack_group(const struct bnn_kernels *kernels, const struct bnn_conv *conv, size_t group, float *dst)
{
    const struct bnn_tensor *w = conv->shape.w;
    size_t outputs = conv->shape.outputs, most = CHUNK / conv->lanes;
    float chunk[CHUNK];
    for (size_t block = 0; block < outputs; block += conv->lanes) {
        size_t filters = outputs - block < conv->lanes ? outputs - block : conv->lanes;
        for (size_t first = 0; first < w->image; first += most) {
            size_t words = w->image - first < most ? w->image - first : most;
            for (size_t i = 0; i < filters; i++)
                bnn_read_floats(w, (group * outputs + block + i) * w->image + first, words, chunk + i * words);
            kernels->floats.pack(dst, chunk, filters, words);
            dst += words * conv->lanes;
        }
    }
}

void *bnn_conv_reserve_weights(struct bnn_prepare *p, struct bnn_conv *conv, size_t words)
{
    const struct bnn_conv_shape *s = &conv->shape;
    conv->row_weights = words / s->w->h * (s->depthwise ? conv->padded : conv->lanes);
    conv->block_weights = words * conv->lanes;
    conv->group_weights = bnn_conv_product(p, conv->padded, words);
    uint32_t *weights = bnn_reserve(p, bnn_conv_product(p, conv->group_weights, s->groups), sizeof *weights);
    conv->weights = weights;
    return weights;
}

/* The words of a filter: below 2^24. */
static size_t filter_words(const struct bnn_conv_shape *s)
{
    return (size_t)s->w->h * s->w->w * (s->depthwise ? 1 : s->w->words);
}

static void pack_bits(struct bnn_prepare *p, struct bnn_conv *conv)
{
    const struct bnn_conv_shape *s = &conv->shape;
    const struct bnn_binary_kernels *kernels = &p->model->kernels->binary;
    const uint32_t *src = s->w->data;
    size_t words = filter_words(s);
    uint32_t *dst = bnn_conv_reserve_weights(p, conv, words * kernels->expansion);
    for (size_t g = 0; dst != NULL && g < s->groups; g++)
        kernels->pack(dst + g * conv->group_weights, src + g * s->outputs * words, s->outputs, words, conv->length);
}

static void pack_floats(struct bnn_prepare *p, struct bnn_conv *conv)
{
    const struct bnn_conv_shape *s = &conv->shape;
    float *dst = bnn_conv_reserve_weights(p, conv, filter_words(s));
    if (dst != NULL && s->depthwise)
        pack_depthwise(conv, dst);
    for (size_t g = 0; dst != NULL && !s->depthwise && g < s->groups; g++)
        pack_group(p->model->kernels, conv, g, dst + g * conv->group_weights);
}

static void lay_segments(struct bnn_prepare *p, struct bnn_conv *conv)
{
    const struct bnn_conv_shape *s = &conv->shape;
    const struct bnn_conv_attrs *a = s->attrs;
    int whole_rows = a->dilation_w == 1 && a->groups == 1 && s->planes == 1;
    conv->row_segments = whole_rows ? 1 : s->w->w;
    conv->length = s->depthwise ? conv->padded : whole_rows ? s->w->w * s->group_words : s->group_words;
    ptrdiff_t *segments = bnn_reserve(p, s->w->h * conv->row_segments, sizeof *segments);
    conv->segments = segments;
    if (segments == NULL)
        return;
    /* Offsets lie inside the image and its halo, whose size was checked. */
    for (size_t ky = 0; ky < s->w->h; ky++)
        for (size_t kx = 0; kx < conv->row_segments; kx++)
            *segments++ =
                (ptrdiff_t)(ky * (size_t)a->dilation_h * s->x->row + kx * (size_t)a->dilation_w * s->x->words);
}

static void pack_bytes(struct bnn_prepare *p, struct bnn_conv *conv)
{
    const struct bnn_conv_shape *s = &conv->shape;
    const struct bnn_byte_kernels *kernels = conv->packed != NULL ? conv->packed : &p->model->kernels->bytes;
    size_t segments = s->w->h * conv->row_segments;
    size_t words = segments * ((conv->length + kernels->taps - 1) / kernels->taps);
    uint32_t *dst = bnn_conv_reserve_weights(p, conv, words);
    const struct bnn_byte_filters filters = {.signs = s->w->data,
                                             .channels = s->outputs,
                                             .segments = segments,
                                             .pixels = conv->length / s->x->c,
                                             .bytes = s->x->c,
                                             .planes = s->sign_planes};
    if (dst != NULL)
        kernels->pack(dst, &filters);
}

bnn_status bnn_conv_prepare(struct bnn_prepare *p, struct bnn_op *op, const struct bnn_conv_kernels *kernels)
{
    struct bnn_conv conv = {.length = 0};
    BNN_TRY(bnn_conv_check(p, op, &conv.shape));
    BNN_CHECK_KERNELS(kernels->values != NULL);
    struct bnn_conv *kept = bnn_reserve(p, 1, sizeof *kept);
    const struct bnn_conv_shape *s = &conv.shape;
    conv.packed = kernels->packed;
    conv.pixels = kernels->pixels;
    conv.lanes = kernels->lanes;
    conv.padded = (s->outputs + conv.lanes - 1) / conv.lanes * conv.lanes;
    lay_segments(p, &conv);
    kernels->pack(p, &conv);
    pack_epilogue(p, op, &conv);
    bnn_conv_classes(p, op, &conv);
    if (kernels->correct != NULL)
        kernels->correct(p, op, &conv);
    op->scratch = bnn_conv_scratch(&conv);
    op->columns = s->y->w;
    op->blocks = bnn_conv_blocks(&conv);
    if (kept != NULL) {
        *kept = conv;
        op->prepared = kept;
    }
    return BNN_OK;
}

static bnn_status prepare_floats(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_float_kernels *k = &p->model->kernels->floats;
    return bnn_conv_prepare(p, op, &(struct bnn_conv_kernels){k->values, k->pixels, k->lanes, pack_floats, NULL, NULL});
}

static bnn_status prepare_bits(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_binary_kernels *k = &p->model->kernels->binary;
    return bnn_conv_prepare(
        p, op, &(struct bnn_conv_kernels){k->values, k->pixels, k->lanes, pack_bits, bnn_conv_correct, NULL});
}

enum { LEAST_PACKED = 1 << 20 };

/* For a dense layer whose weights, a byte each, would not stay in a cache; or NULL: expanded once they are used faster.  The
 * shape has not been checked yet. */
static BNN_APART const struct bnn_byte_kernels *packed_kernels(const struct bnn_model *m, const struct bnn_op *op)
{
    if (m->kernels->wide == NULL || op->input_count < 2)
        return NULL;
    const struct bnn_tensor *x = bnn_op_input(m, op, 0), *w = bnn_op_input(m, op, 1), *y = bnn_op_output(m, op);
    if (w->h != 1 || w->w != 1 || y->h != 1 || y->w != 1)
        return NULL;
    const struct bnn_byte_kernels *k = &m->kernels->wide[w->c == x->c ? 1 : 2];
    return k->values != NULL && x->c >= k->taps && (uint64_t)x->c * w->o >= LEAST_PACKED ? k : NULL;
}

static bnn_status prepare_bytes(struct bnn_prepare *p, struct bnn_op *op)
{
    const struct bnn_byte_kernels *packed = packed_kernels(p->model, op);
    const struct bnn_byte_kernels *k = packed != NULL ? packed : &p->model->kernels->bytes;
    return bnn_conv_prepare(
        p, op, &(struct bnn_conv_kernels){k->values, k->pixels, k->lanes, pack_bytes, bnn_conv_correct, packed});
}

/* Dense layers are 1x1 images.  Of floats by float filters, any groups. */
const struct bnn_op_row bnn_op_row_conv2d = {
    BNN_ROW(conv2d),
    .prepare = prepare_floats,
    .run = bnn_conv_run,
};

/* Convolutions of bits by binary filters. */
const struct bnn_op_row bnn_op_row_bconv2d = {
    BNN_ROW(bconv2d),
    .prepare = prepare_bits,
    .run = bnn_conv_run,
};

/* Convolutions of bytes by signs, or by -1, 0 and +1, in integers. */
const struct bnn_op_row bnn_op_row_iconv2d = {
    BNN_ROW(iconv2d),
    .prepare = prepare_bytes,
    .run = bnn_conv_run,
};
