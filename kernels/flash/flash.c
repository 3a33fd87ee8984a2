/* SPDX-License-Identifier: Apache-2.0 */
/* Bits for processors without vectors, and with little memory: weights are read where the file has them, and counted by
 * carry-save adders.  The functions of csrc/mcu do the same without a model. */
#include "../bits.h"
#include "../epilogue.h"
#include "count.h"

enum { LANES = 32, WINDOW = 36 /* words, of a window that is gathered on the stack */ };

/* Differing bits of a run and as many filters as there are channels.  `any`: n is not constant. */
BNN_INLINE void count_run(uint32_t *count, const struct bnn_tile *t, const uint32_t *a, size_t n, int any)
{
    const uint32_t *weights = t->weights;
    for (size_t lane = 0; lane < t->channels; lane++, weights += t->filter)
        count[lane] = any ? bnn_differing_any(a, weights, n) : bnn_differing(a, weights, n);
}

static void count_segments(uint32_t *count, const struct bnn_tile *t, const uint32_t *x)
{
    const uint32_t *weights = t->weights;
    for (size_t lane = 0; lane < t->channels; lane++, weights += t->filter) {
        count[lane] = 0;
        for (size_t s = 0; s < t->segments; s++)
            count[lane] += bnn_differing_any(x + t->segment[s], weights + s * t->length, t->length);
    }
}

static void count_differing(uint32_t *count, const struct bnn_tile *t, size_t pixel)
{
    const uint32_t *x = (const uint32_t *)t->a + t->at.a[pixel];
    size_t n = t->segments * t->length;
    uint32_t window[WINDOW];
    if (t->segments != 1 && n > WINDOW) {
        count_segments(count, t, x);
        return;
    }
    for (size_t s = 0; s < t->segments && t->segments != 1; s++)
        for (size_t k = 0; k < t->length; k++)
            window[s * t->length + k] = x[t->segment[s] + (ptrdiff_t)k];
    const uint32_t *a = t->segments == 1 ? x + t->segment[0] : window;
    if (n == 9)
        count_run(count, t, a, 9, 0);
    else if (n == 18)
        count_run(count, t, a, 18, 0);
    else
        count_run(count, t, a, n, 1);
}

static int bits(const struct bnn_tile *t)
{
    for (size_t i = 0; i < t->pixels; i++) {
        uint32_t count[LANES], word = 0;
        const int32_t *limit = t->limits + t->at.table[i] + t->first;
        count_differing(count, t, i);
        for (size_t lane = 0; lane < t->channels; lane++)
            word |= (uint32_t)((int32_t)count[lane] < limit[lane]) << lane;
        t->bits[t->at.bits[i] + (ptrdiff_t)(t->first / 32)] = word;
    }
    return 0;
}

/* Pixel i of an array of tile t that may be missing. */
#define PLACE(array) (t->array ? t->array + t->at.array[i] : NULL)

static int values(const struct bnn_tile *t)
{
    int nan = 0;
    for (size_t i = 0; i < t->pixels; i++) {
        uint32_t count[LANES];
        float sum[LANES];
        const float *correction = t->corrections + t->at.table[i] + t->first;
        count_differing(count, t, i);
        for (size_t lane = 0; lane < t->channels; lane++)
            sum[lane] = correction[lane] - 2.0f * (float)count[lane]; /* exact */
        nan |= bnn_store(sum, t->epilogue, t->first, t->channels, PLACE(bits), PLACE(values), PLACE(residual));
    }
    return nan;
}

const struct bnn_kernels bnn_kernels_flash = {
    .name = "flash",
    .binary = {.pixels = 1, .lanes = LANES, .bits = bits, .values = values},
};
