/* SPDX-License-Identifier: Apache-2.0 */
/* Pixels, rows and bits of tensors in memory. */
#include "run/view.h"

#include <float.h>
#include <string.h>

void bnn_zero_halo(const struct bnn_view *view, size_t images, size_t row_begin, size_t row_end)
{
    const struct bnn_tensor *t = view->tensor;
    size_t pixel = (size_t)t->words * t->element, stride = t->row * t->element;
    size_t left = t->left * pixel, right = t->right * pixel, inside = t->w * pixel;
    if ((t->top | t->bottom | t->left | t->right) == 0)
        return;
    for (size_t i = 0; i < images; i++) {
        unsigned char *row = bnn_row_bytes(view, i, row_begin) - left; /* with its halo */
        if (row_begin == 0)
            memset(row - t->top * stride, 0, t->top * stride);
        for (size_t y = row_begin; y < row_end; y++, row += stride) {
            memset(row, 0, left);
            memset(row + left + inside, 0, right);
        }
        if (row_end == t->h)
            memset(row, 0, t->bottom * stride);
    }
}

void bnn_pack_pixel(uint32_t *bits, const float *values, size_t c)
{
    for (; c > 0; bits++) {
        size_t n = c < 32 ? c : 32;
        uint32_t word = 0;
        for (size_t i = 0; i < n; i++)
            word |= (uint32_t)(values[i] > -FLT_MIN) << i; /* as binarize does */
        *bits = word;
        values += n;
        c -= n;
    }
}

void bnn_unpack_pixel(float *values, const uint32_t *bits, size_t c)
{
    for (size_t i = 0; i < c; i++)
        values[i] = (bits[i / 32] >> i % 32 & 1) != 0 ? 1.0f : -1.0f;
}

int bnn_hold(const struct bnn_tensor *t, const float *values, size_t count)
{
    const int whole = bnn_are_bytes(t) || t->dtype == BNN_I16;
    float least = t->dtype == BNN_I8 ? -128.0f : t->dtype == BNN_I16 ? -32768.0f : 0.0f;
    float most = t->dtype == BNN_I16 ? 32767.0f : least + 255.0f;
    for (size_t i = 0; whole && i < count; i++)
        if (!(values[i] >= least && values[i] <= most) || (float)(int)values[i] != values[i])
            return 0;
    return 1;
}
