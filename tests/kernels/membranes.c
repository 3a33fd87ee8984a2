/* SPDX-License-Identifier: Apache-2.0 */
/* The event engine's membranes.  What lies past the end of a range belongs to other neurons, or is slack: it is to stay
 * as it was. */
#include "tester.h"

static void test_add_rows(void)
{
    size_t count = one_in(8) ? between(500, 1500) : between(1, 200), offset = between(0, 40);
    size_t slack = BNN_SLACK / sizeof(int16_t);
    int greatest = one_in(4);
    struct bnn_rows rows = {.plus = between(0, BNN_BATCH)};
    rows.minus = greatest ? BNN_BATCH - rows.plus : between(0, BNN_BATCH - rows.plus);
    int16_t *m = guarded(count + slack, sizeof *m), *expected = guarded(count + slack, sizeof *expected);
    for (size_t i = 0; i < count + slack; i++)
        expected[i] = m[i] = (int16_t)((int)between(0, 60000) - 30000);
    for (size_t k = 0; k < rows.plus + rows.minus; k++) {
        int sign = k < rows.plus ? 1 : -1;
        int8_t *row = guarded(offset + count + BNN_SLACK, 1);
        for (size_t i = 0; i < offset + count + BNN_SLACK; i++)
            row[i] = (int8_t)(greatest ? sign : (int)between(0, 2) - 1);
        for (size_t i = 0; i < count; i++)
            expected[i] = (int16_t)(expected[i] + sign * row[offset + i]);
        *(sign > 0 ? &rows.added[k] : &rows.taken[k - rows.plus]) = row;
    }
    kernels->events->add_rows(m, &rows, offset, count);
    for (size_t i = 0; i < count + slack; i++)
        if (m[i] != expected[i])
            fail("add_rows", 0, i, m[i], expected[i]);
}

static void test_add_floats(void)
{
    size_t count = between(0, 100), slack = BNN_SLACK / sizeof(float);
    float delta = exact_float(0);
    float *a = guarded(count + slack, sizeof *a), *row = guarded(count + slack, sizeof *row);
    float *expected = guarded(count + slack, sizeof *expected);
    for (size_t i = 0; i < count + slack; i++) {
        a[i] = any_float();
        row[i] = any_float();
        volatile float product = delta * row[i]; /* rounded by itself */
        expected[i] = i < count ? a[i] + product : a[i];
    }
    kernels->events->add_floats(a, row, delta, count);
    for (size_t i = 0; i < count + slack; i++)
        if (!same(a[i], expected[i]))
            fail("add_floats", 0, i, (double)a[i], (double)expected[i]);
}

static void test_crossed(void)
{
    size_t words = between(1, 64);
    int16_t *m = guarded(words * 32, sizeof *m);
    uint32_t *bits = guarded(words, sizeof *bits), *changed = guarded(words, sizeof *changed);
    for (size_t i = 0; i < words * 32; i++)
        m[i] = (int16_t)(one_in(2) ? (int)between(0, 4) - 2 : (int)between(0, UINT16_MAX) + INT16_MIN);
    for (size_t k = 0; k < words; k++) {
        uint32_t fire = 0;
        for (size_t i = 0; i < 32; i++)
            fire |= (uint32_t)(m[32 * k + i] >= 0) << i;
        bits[k] = one_in(2) ? fire : (uint32_t)random_bits();
    }
    uint64_t differ = kernels->events->crossed(m, bits, changed, words);
    for (size_t i = 0; i < words * 32; i++) {
        unsigned expected = (m[i] >= 0) != bit_of(bits, i);
        if (bit_of(changed, i) != expected)
            fail("crossed", 0, i, bit_of(changed, i), expected);
    }
    for (size_t k = 0; k < 64; k++)
        if ((differ >> k & 1) != (k < words && changed[k] != 0))
            fail("crossed: words that differ", 0, k, (double)(differ >> k & 1), k < words && changed[k] != 0);
}

static void test_halve(void)
{
    enum { MORE = 15 };
    size_t count = between(1, 100);
    int16_t *m = guarded(count + MORE, sizeof *m);
    float *accumulators = guarded(count + MORE, sizeof *accumulators);
    int32_t *thresholds = guarded(count + MORE, sizeof *thresholds);
    for (size_t i = 0; i < count + MORE; i++) {
        accumulators[i] = (float)between(0, 30000) - 15000.0f;
        thresholds[i] = (int32_t)between(0, 30000) - 15000;
    }
    kernels->events->halve(m, accumulators, thresholds, count);
    for (size_t i = 0; i < count; i++) {
        double expected = floor((double)(accumulators[i] - (float)thresholds[i]) / 2.0);
        if (m[i] != expected)
            fail("halve", 0, i, m[i], expected);
    }
}

void test_membranes(void)
{
    test_add_rows();
    test_add_floats();
    test_crossed();
    test_halve();
}
