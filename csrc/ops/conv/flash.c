/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions for little memory: one output pixel after the other.  See flash.h. */
#include "ops/conv/flash.h"
#include "epilogue.h"

enum { BLOCK = BNN_FLASH_BLOCK };

/* Where the sums of a pixel go. */
struct output {
    const int32_t *thresholds; /* or NULL */
    const uint32_t *negated;   /* raw sums of these channels change their sign; or NULL */
    struct bnn_epilogue epilogue;
    uint32_t *bits;        /* of the pixel's first channel, */
    void *values;          /* or NULL: one of the two; floats, bytes or int16 */
    const float *residual; /* likewise */
};

/* Sums without their fractions, in whole units. */
static void round_down(int32_t *sums, size_t channels, uint32_t shift)
{
    for (size_t i = 0; i < channels; i++)
        sums[i] = sums[i] < 0 ? ~(~sums[i] >> shift) : sums[i] >> shift;
}

/* Bits of sums that reach their thresholds. */
static uint32_t compare(const int32_t *sums, const int32_t *thresholds, size_t channels)
{
    uint32_t word = 0;
    for (const int32_t *end = sums + channels; sums < end; sums++, thresholds++)
        word = word >> 1 | (uint32_t)(*sums >= *thresholds) << 31;
    return word >> (32 - channels);
}

/* Raw sums are floats. */
static int gives_whole(const struct bnn_run *r)
{
    return bnn_is_whole(r->output.tensor);
}

/* What requantization needs is looked up here, because every layer has less stack otherwise. */
static void store_whole(const struct bnn_run *r, void *out, const int32_t *sums, size_t first, size_t channels)
{
    uint8_t *bytes = r->output.tensor->dtype == BNN_U8 ? out : NULL;
    int16_t *shorts = out;
    const struct bnn_requantizer q = bnn_op_requantizer(r->model, r->op);
    const int32_t *biases = r->inputs[bnn_slot_input(r->op, BNN_SLOT_BIAS)].data;
    for (size_t c = first; c < first + channels; c++, sums++) {
        const int32_t v = bnn_requantize_number(*sums * BNN_BIT_STEPS + biases[c], q.multiplier[c], q.shift[c], &q);
        if (bytes != NULL)
            bytes[c] = (uint8_t)v;
        else
            shorts[c] = (int16_t)v;
    }
}

/* Sums are in units of 2^-shift.  Nonzero: a bit's value was NaN. */
static int store(const struct output *out, int32_t *sums, uint32_t shift, size_t first, size_t channels)
{
    const float unit = 1.0f / (float)(1u << shift);
    float values[BLOCK];
    if (out->thresholds != NULL) {
        if (shift != 0)
            round_down(sums, channels, shift);
        out->bits[first / BLOCK] = compare(sums, out->thresholds + first, channels);
        return 0;
    }
    for (size_t i = 0; i < channels; i++) {
        values[i] = (float)sums[i] * unit; /* exact */
        if (out->negated != NULL && bnn_flash_bit(out->negated, first + i))
            values[i] = -values[i];
    }
    return bnn_store(values, &out->epilogue, first, channels, out->bits, out->values, out->residual);
}

static void run_pixel(struct bnn_flash_job *j, const struct bnn_flash_kind *kind, const struct output *out,
                      size_t image)
{
    const struct bnn_conv_shape *s = &j->layer->shape;
    size_t gathered = SIZE_MAX; /* the group whose window that is */
    int32_t sums[BLOCK];
    for (size_t block = j->run->block_begin; block < j->run->block_end; block++) {
        size_t first = block * BLOCK, channels = s->w->o - first < BLOCK ? s->w->o - first : BLOCK;
        for (size_t i = 0, end; i < channels; i = end) {
            size_t group = s->groups == 1 ? 0 : (first + i) / s->outputs, last = (group + 1) * s->outputs - first;
            end = last < channels ? last : channels;
            if (group != gathered)
                kind->gather(j, group);
            gathered = group;
            kind->sum(j, first + i, end - i, sums + i);
        }
        if (gives_whole(j->run))
            store_whole(j->run, out->values, sums, first, channels);
        else if (store(out, sums, j->layer->shift, first, channels))
            j->run->nan[image] = 1;
    }
}

/* One row of an image.  residual: an input, or NULL. */
static void run_row(struct bnn_flash_job *j, const struct bnn_flash_kind *kind, struct output *out,
                    const struct bnn_view *residual, size_t image, size_t y)
{
    const struct bnn_run *r = j->run;
    const struct bnn_conv_shape *s = &j->layer->shape;
    const struct bnn_conv_attrs *a = s->attrs;
    const struct bnn_tensor *x = s->x, *w = s->w, *to = r->output.tensor;
    const struct bnn_view *in = &r->inputs[0];
    const size_t row = image * r->output.image + (y - r->output.first) * to->row;
    ptrdiff_t start = (ptrdiff_t)(image * in->image + y * (size_t)a->stride_h * x->row) -
                      (ptrdiff_t)((size_t)a->pad_top * x->row + (size_t)a->pad_left * x->words);
    j->rows = bnn_conv_inside((uint32_t)y, x->h, w->h, a->stride_h, a->dilation_h, a->pad_top);
    for (size_t column = r->column_begin; column < r->column_end; column++) {
        ptrdiff_t at = start + (ptrdiff_t)(column * (size_t)a->stride_w * x->words);
        j->x = (const unsigned char *)in->data + at * (ptrdiff_t)x->element;
        j->columns = bnn_conv_inside((uint32_t)column, x->w, w->w, a->stride_w, a->dilation_w, a->pad_left);
        if (to->dtype == BNN_B1)
            out->bits = (uint32_t *)r->output.data + row + column * to->words;
        else if (gives_whole(r))
            out->values = (uint8_t *)r->output.data + (row + column * to->words) * to->element;
        else
            out->values = (float *)r->output.data + row + column * to->words;
        if (residual != NULL)
            out->residual = bnn_row_floats(residual, image, y) + column * to->c;
        run_pixel(j, kind, out, image);
    }
}

void bnn_flash_run(const struct bnn_run *r, const struct bnn_flash_kind *kind)
{
    uint32_t threshold = bnn_slot_input(r->op, BNN_SLOT_THRESHOLD), negated = bnn_slot_input(r->op, BNN_SLOT_NEGATED);
    uint32_t own = (uint32_t)((const struct bnn_conv_attrs *)r->op->attrs)->layer_slots;
    uint32_t kept = r->bare ? 0 : r->raw ? own : UINT32_MAX;
    uint32_t residual = kept & BNN_SLOT_RESIDUAL ? bnn_slot_input(r->op, BNN_SLOT_RESIDUAL) : 0;
    struct bnn_flash_job job = {.run = r, .layer = r->op->prepared};
    struct output out = {
        .thresholds = threshold != 0 && !r->raw ? r->inputs[threshold].data : NULL,
        .negated = negated != 0 && !r->bare ? r->inputs[negated].data : NULL,
        .epilogue = bnn_keep_slots(bnn_op_epilogue(r->model, r->op), kept),
    };
    for (size_t image = 0; image < r->images; image++)
        for (size_t y = r->row_begin; y < r->row_end; y++)
            run_row(&job, kind, &out, residual != 0 ? &r->inputs[residual] : NULL, image, y);
    if (!r->raw)
        bnn_zero_halo(&r->output, r->images, r->row_begin, r->row_end);
}

void bnn_flash_prepare(struct bnn_prepare *p, struct bnn_op *op, const struct bnn_flash *layer, size_t words)
{
    struct bnn_flash *kept = bnn_reserve(p, 1, sizeof *kept);
    op->scratch = words * sizeof(uint32_t);
    op->columns = layer->shape.y->w;
    op->blocks = (layer->shape.y->c + BLOCK - 1) / BLOCK;
    if (kept != NULL) {
        *kept = *layer;
        op->prepared = kept;
    }
}
