/* SPDX-License-Identifier: Apache-2.0 */
/* One op at a time, for verification: values go in and out of the context's memory as dense float32. */
#include "run/context.h"
#include "run/view.h"

#include <string.h>

static const struct bnn_buffers own = {NULL, NULL, 0};

static bnn_status check_tensor(const bnn_context *c, uint32_t tensor, const void *values, size_t images)
{
    if (c == NULL || values == NULL || images > c->images)
        return BNN_ERROR_ARGUMENT;
    if (tensor >= c->model->tensor_count || c->model->tensors[tensor].storage == BNN_CONSTANT)
        return BNN_ERROR_ARGUMENT;
    return c->home != NULL ? BNN_OK : BNN_ERROR_MEMORY;
}

static bnn_status check_op(const bnn_context *c, uint32_t op, size_t images)
{
    if (c == NULL || op >= c->model->op_count || images > c->images)
        return BNN_ERROR_ARGUMENT;
    return c->home != NULL ? BNN_OK : BNN_ERROR_MEMORY;
}

bnn_status bnn_poke(bnn_context *context, uint32_t tensor, const float *values, size_t images)
{
    BNN_TRY(check_tensor(context, tensor, values, images));
    struct bnn_view v = bnn_context_view(context, tensor, 0, &own);
    const struct bnn_tensor *t = v.tensor;
    if (!bnn_hold(t, values, images * t->h * t->w * t->c))
        return BNN_ERROR_ARGUMENT;
    for (size_t i = 0; i < images; i++) {
        for (size_t y = 0; y < t->h; y++) {
            if (bnn_are_bytes(t)) {
                unsigned char *row = bnn_row_bytes(&v, i, y);
                for (size_t k = 0; k < (size_t)t->w * t->c; k++)
                    row[k] = (unsigned char)(int)*values++;
                continue;
            }
            if (t->dtype == BNN_I16) {
                int16_t *row = bnn_row_shorts(&v, i, y);
                for (size_t k = 0; k < (size_t)t->w * t->c; k++)
                    row[k] = (int16_t)*values++;
                continue;
            }
            uint32_t *pixel = bnn_row_words(&v, i, y);
            if (t->dtype != BNN_B1) { /* pixels follow each other */
                memcpy(pixel, values, (size_t)t->w * t->c * sizeof *values);
                values += (size_t)t->w * t->c;
                continue;
            }
            for (size_t x = 0; x < t->w; x++, pixel += t->words, values += t->c)
                bnn_pack_pixel(pixel, values, t->c);
        }
    }
    bnn_zero_halo(&v, images, 0, t->h);
    return BNN_OK;
}

bnn_status bnn_peek(bnn_context *context, uint32_t tensor, float *values, size_t images)
{
    BNN_TRY(check_tensor(context, tensor, values, images));
    struct bnn_view v = bnn_context_view(context, tensor, 0, &own);
    const struct bnn_tensor *t = v.tensor;
    for (size_t i = 0; i < images; i++) {
        for (size_t y = 0; y < t->h; y++) {
            if (bnn_are_bytes(t)) {
                const unsigned char *row = bnn_row_bytes(&v, i, y);
                for (size_t k = 0; k < (size_t)t->w * t->c; k++)
                    *values++ = t->dtype == BNN_I8 ? (float)(int8_t)row[k] : row[k];
                continue;
            }
            if (t->dtype == BNN_I16) {
                const int16_t *row = bnn_row_shorts(&v, i, y);
                for (size_t k = 0; k < (size_t)t->w * t->c; k++)
                    *values++ = row[k];
                continue;
            }
            const uint32_t *pixel = bnn_row_words(&v, i, y);
            for (size_t x = 0; x < t->w; x++, pixel += t->words, values += t->c)
                if (t->dtype == BNN_B1)
                    bnn_unpack_pixel(values, pixel, t->c);
                else
                    memcpy(values, pixel, t->c * sizeof *values);
        }
    }
    return BNN_OK;
}

bnn_status bnn_step(bnn_context *context, uint32_t op, size_t images)
{
    BNN_TRY(check_op(context, op, images));
    return images == 0 ? BNN_OK : bnn_context_step(context, op, images, &own, NULL);
}

bnn_status bnn_step_raw(bnn_context *context, uint32_t op, float *values, size_t images)
{
    BNN_TRY(check_op(context, op, images));
    if (values == NULL || !bnn_is_conv(&context->model->ops[op]))
        return BNN_ERROR_ARGUMENT;
    return images == 0 ? BNN_OK : bnn_context_step(context, op, images, &own, values);
}
