/* SPDX-License-Identifier: Apache-2.0 */
#include "tester.h"

static void test_binarize(void)
{
    size_t count = between(0, 200), special = one_in(2) ? 20 : 0;
    float *src = guarded(count, sizeof *src);
    uint32_t *dst = guarded((count + 31) / 32, sizeof *dst);
    int expected_nan = 0;
    for (size_t i = 0; i < count; i++) {
        src[i] = one_in(2) ? any_float() : exact_float(special);
        expected_nan |= src[i] != src[i];
    }
    int nan = kernels->binarize(dst, src, count);
    for (size_t i = 0; i < (count + 31) / 32 * 32; i++) {
        unsigned expected = i < count && is_bit(src[i]);
        if (bit_of(dst, i) != expected)
            fail("binarize", 0, i, bit_of(dst, i), expected);
    }
    if ((nan != 0) != expected_nan)
        fail("binarize: not a number", 0, 0, nan, expected_nan);
}

static void test_binarize_at(void)
{
    size_t channels = between(1, 150), pixels = between(1, 6), words = (channels + 31) / 32;
    size_t special = one_in(2) ? 20 : 0;
    float *src = guarded(pixels * channels, sizeof *src), *thresholds = guarded(channels, sizeof *thresholds);
    uint32_t *flips = guarded(words, sizeof *flips), *dst = guarded(pixels * words, sizeof *dst);
    int expected_nan = 0;
    for (size_t c = 0; c < channels; c++)
        thresholds[c] = one_in(10) ? INFINITY : exact_float(0);
    for (size_t k = 0; k < words; k++)
        flips[k] = (uint32_t)random_bits();
    for (size_t i = 0; i < pixels * channels; i++) {
        src[i] = exact_float(special); /* often equal to a threshold */
        expected_nan |= src[i] != src[i];
    }
    int nan = kernels->binarize_at(dst, src, thresholds, flips, channels, pixels);
    for (size_t p = 0; p < pixels; p++)
        for (size_t c = 0; c < words * 32; c++) {
            unsigned expected = c < channels && (src[p * channels + c] >= thresholds[c]) != bit_of(flips, c);
            if (bit_of(dst + p * words, c) != expected)
                fail("binarize_at", p, c, bit_of(dst + p * words, c), expected);
        }
    if ((nan != 0) != expected_nan)
        fail("binarize_at: not a number", 0, 0, nan, expected_nan);
}

static void test_max_row(void)
{
    size_t count = between(0, 100), special = one_in(2) ? 20 : 0;
    float *src = guarded(count, sizeof *src), *dst = guarded(count, sizeof *dst);
    float *expected = guarded(count, sizeof *expected);
    for (size_t i = 0; i < count; i++) {
        src[i] = exact_float(special);
        dst[i] = exact_float(special);
        expected[i] = src[i] > dst[i] ? src[i] : dst[i];
    }
    kernels->max_row(dst, src, count);
    for (size_t i = 0; i < count; i++)
        if (!same(dst[i], expected[i]))
            fail("max_row", 0, i, (double)dst[i], (double)expected[i]);
}

void test_rows(void)
{
    test_binarize();
    test_binarize_at();
    test_max_row();
}
