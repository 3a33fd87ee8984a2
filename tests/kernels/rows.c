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

/* What a step makes of a float; volatile keeps it one rounded operation whatever the flags. */
static float after_step(enum bnn_arithmetic op, float v, float o)
{
    volatile float result = v;
    switch (op) {
    case BNN_STEP_set:
        return o;
    case BNN_STEP_add:
        result = v + o;
        break;
    case BNN_STEP_sub:
        result = v - o;
        break;
    case BNN_STEP_mul:
        result = v * o;
        break;
    case BNN_STEP_div:
        result = v / o;
        break;
    case BNN_STEP_maximum:
        return v != v || v >= o ? v : o;
    case BNN_STEP_minimum:
        return v != v || v <= o ? v : o;
    case BNN_STEP_prelu:
        if (v < 0.0f)
            result = v * o;
        break;
    case BNN_STEP_raise:
        return o > v ? o : v;
    case BNN_STEP_lower:
        return o < v ? o : v;
    case BNN_STEP_nearest:
        return nearbyintf(v);
    case BNN_STEP_down:
        return fabsf(v) < FLT_MIN ? copysignf(0.0f, v) : floorf(v);
    }
    return result;
}

/* An operand of a row: dense, a stride between its pixels, a number for each, for all, or for each channel. */
static struct bnn_step random_step(enum bnn_arithmetic op, size_t pixels, size_t channels, size_t special)
{
    static const float whole = BNN_WHOLE;
    if (op >= BNN_STEP_nearest)
        return (struct bnn_step){op, 1, &whole, 0};
    int stays = one_in(3);
    size_t least = stays ? 1 : channels, pixel = one_in(3) ? 0 : one_in(3) ? least + between(0, 20) : least;
    size_t count = (pixels - 1) * pixel + least;
    float *first = guarded(count, sizeof *first);
    for (size_t i = 0; i < count; i++)
        first[i] = one_in(4) ? any_float() : exact_float(special);
    return (struct bnn_step){op, stays, first, pixel};
}

/* Zeros of both signs are different here. */
static int identical(float a, float b)
{
    return (a != a && b != b) || (a == b && signbit(a) == signbit(b));
}

static void test_compute(void)
{
    size_t pixels = one_in(3) ? 1 : between(1, 40), special = one_in(2) ? 10 : 0;
    size_t channels = one_in(8) ? between(500, 530) : one_in(2) ? between(1, 20) : between(1, 300);
    struct bnn_step steps[BNN_MOST_STEPS];
    size_t count = one_in(8) ? BNN_MOST_STEPS : between(1, 5);
    for (size_t s = 0; s < count; s++) {
        enum bnn_arithmetic op = s == 0 ? BNN_STEP_set : (enum bnn_arithmetic)between(BNN_STEP_add, BNN_STEP_down);
        steps[s] = random_step(op, pixels, channels, special);
    }
    float *out = guarded(pixels * channels, sizeof *out), *expected = guarded(pixels * channels, sizeof *expected);
    if (one_in(2)) { /* in place of an operand */
        size_t s = between(0, count - 1);
        if (steps[s].op < BNN_STEP_nearest)
            steps[s] = (struct bnn_step){steps[s].op, 0, out, channels};
    }
    for (size_t i = 0; i < pixels * channels; i++)
        out[i] = exact_float(special);
    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < channels; c++)
            for (size_t s = 0; s < count; s++) {
                float *v = &expected[i * channels + c];
                *v = after_step(steps[s].op, *v, steps[s].first[i * steps[s].pixel + (steps[s].stays ? 0 : c)]);
            }
    kernels->compute(&(struct bnn_elements){out, pixels, channels, steps, count});
    for (size_t i = 0; i < pixels * channels; i++)
        if (!identical(out[i], expected[i]))
            fail("compute", i / channels, i % channels, (double)out[i], (double)expected[i]);
}

static void test_decode(void)
{
    int binary = one_in(2);
    size_t planes = between(1, binary ? 4 : 15), pixels = between(1, 6), channels = between(1, 150);
    size_t plane = (channels + 31) / 32, apart = plane + between(0, 2), words = planes * apart;
    size_t last = binary ? between(1, (1u << planes) - 1) : planes;
    uint32_t *in = guarded(pixels * words, sizeof *in);
    float *table = guarded(last + 1, sizeof *table), *out = guarded(pixels * channels, sizeof *out);
    for (size_t i = 0; i <= last; i++)
        table[i] = any_float();
    for (size_t i = 0; i < pixels * words; i++)
        in[i] = (uint32_t)random_bits();
    kernels->decode(out, in,
                    &(struct bnn_numbers){table, (uint32_t)last, (uint32_t)planes, binary, channels, apart, words},
                    pixels);
    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < channels; c++) {
            size_t number = 0;
            for (size_t p = 0; p < planes; p++)
                number += (size_t)bit_of(in + i * words + p * apart, c) << (binary ? p : 0);
            float expected = table[number < last ? number : last];
            if (!identical(out[i * channels + c], expected))
                fail("decode", i, c, (double)out[i * channels + c], (double)expected);
        }
}

void test_rows(void)
{
    test_binarize();
    test_binarize_at();
    test_compute();
    if (kernels->decode != NULL)
        test_decode();
}
