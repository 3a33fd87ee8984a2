/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of bytes by weights of -1, 0 and +1, and by any of eight bits, which become bytes or int16; and loops over both. */
#include <string.h>

#include "tester.h"

/* Signs of filters, [channels][segments][pixels][words]: a bit past the last is anything. */
static struct bnn_byte_filters random_filters(const struct shape *s, size_t planes, int greatest)
{
    struct bnn_byte_filters f = {.channels = s->channels, .segments = s->segments, .planes = planes};
    do
        f.pixels = between(1, s->length);
    while (s->length % f.pixels != 0);
    f.bytes = s->length / f.pixels;
    size_t words = f.channels * f.segments * f.pixels * ((f.bytes * f.planes + 31) / 32);
    uint32_t *signs = guarded(words, sizeof *signs);
    for (size_t i = 0; i < words; i++)
        signs[i] = greatest ? UINT32_MAX : (uint32_t)random_bits();
    f.signs = signs;
    return f;
}

static int weight(const struct bnn_byte_filters *f, size_t channel, size_t segment, size_t k)
{
    size_t words = (f->bytes * f->planes + 31) / 32, i = k % f->bytes;
    const uint32_t *pixel = f->signs + ((channel * f->segments + segment) * f->pixels + k / f->bytes) * words;
    int first = bit_of(pixel, i) ? 1 : -1;
    return f->planes == 1 ? first : (first + (bit_of(pixel, i + f->bytes) ? 1 : -1)) / 2;
}

/* The same weights, a byte each. */
static const int8_t *int8_filters(const struct shape *s, const struct bnn_byte_filters *f)
{
    int8_t *weights = guarded(s->channels * s->taps, 1);
    for (size_t i = 0; i < s->channels * s->taps; i++)
        weights[i] = (int8_t)weight(f, i / s->taps, i % s->taps / s->length, i % s->length);
    return weights;
}

/* `whole`: of int8 filters, with integers that are added to sums. */
static void test_group(const struct bnn_byte_kernels *group, size_t planes, size_t least, int whole, const char *name)
{
    struct shape s = random_shape(group->lanes, 0);
    if (s.length < least)
        return;
    int greatest = one_in(4), slack = one_in(2);
    struct bnn_byte_filters f = random_filters(&s, planes, greatest);
    size_t block = s.segments * ((s.length + group->taps - 1) / group->taps) * s.lanes;
    uint32_t *packed = guarded(block * (s.padded / s.lanes), sizeof *packed);
    const struct bnn_byte_filters signs = f;
    if (whole)
        f.weights = int8_filters(&s, &signs);
    group->pack(packed, &f);
    uint8_t *x = guarded(s.elements + (slack ? 3 : 0), 1);
    for (size_t i = 0; i < s.elements + (slack ? 3 : 0); i++)
        x[i] = greatest ? 255 : (uint8_t)random_bits();

    ptrdiff_t *a = guarded(s.pixels, sizeof *a);
    float **correction = guarded(s.pixels, sizeof *correction);
    int32_t **added = guarded(s.pixels, sizeof *added);
    float *sums = guarded(s.pixels * s.channels, sizeof *sums);
    for (size_t i = 0; i < s.pixels; i++) {
        a[i] = (ptrdiff_t)s.start[i];
        correction[i] = guarded(s.padded, sizeof *correction[i]);
        added[i] = guarded(s.padded, sizeof *added[i]);
        for (size_t c = 0; c < s.padded; c++) {
            added[i][c] = (int32_t)between(0, 100000) - 50000;
            correction[i][c] = (float)added[i][c];
        }
        for (size_t c = 0; c < s.channels; c++) {
            int32_t sum = 0;
            for (size_t k = 0; k < s.taps; k++)
                sum += weight(&signs, c, k / s.length, k % s.length) *
                       x[a[i] + s.segment[k / s.length] + (ptrdiff_t)(k % s.length)];
            sums[i * s.channels + c] = (float)sum + correction[i][c];
        }
    }

    int nan = 0;
    s.at.a = a;
    s.at.table = whole ? places((void *const *)added, s.pixels) : places((void *const *)correction, s.pixels);
    for (size_t first = 0; first < s.channels; first += s.lanes) {
        struct bnn_tile tile = {.a = x,
                                .segment = s.segment,
                                .segments = s.segments,
                                .length = s.length,
                                .pixels = s.pixels,
                                .slack = slack,
                                .weights = packed + first / s.lanes * block,
                                .corrections = whole ? NULL : correction[0],
                                .whole = whole ? added[0] : NULL,
                                .first = first,
                                .channels = s.channels - first < s.lanes ? s.channels - first : s.lanes,
                                .bits = s.want_bits ? s.bits[0] : NULL,
                                .values = s.want_values ? s.values[0] : NULL,
                                .residual = s.residual ? s.residual[0] : NULL,
                                .epilogue = &s.epilogue,
                                .at = s.at};
        nan |= group->values(&tile);
    }
    check_values(&s, sums, nan, name);
}

/* The byte, or int16, of a sum, as gemmlowp's fixed-point functions define it: a quotient rounded towards zero after a nudge, and a
 * remainder that is compared with a half. */
static int32_t number_of(int32_t sum, int32_t multiplier, int32_t shift, const struct bnn_requantizer *q)
{
    int32_t shifted = (int32_t)((uint32_t)sum << (shift > 0 ? shift : 0));
    int64_t product = (int64_t)shifted * multiplier;
    if (q->once) { /* a quotient rounded down */
        int64_t whole = (int64_t)1 << (31 - (shift < 0 ? shift : 0)), sum = product + whole / 2;
        int64_t once = sum / whole - (sum % whole < 0) + q->zero;
        return (int32_t)(once < q->low ? q->low : once > q->high ? q->high : once);
    }
    int64_t nudge = product >= 0 ? 1 << 30 : 1 - (1 << 30);
    int64_t v = (product + nudge) / ((int64_t)1 << 31);
    int64_t unit = (int64_t)1 << (shift < 0 ? -shift : 0), rest = (v % unit + unit) % unit;
    v = (v - rest) / unit + (rest > (unit - 1) / 2 + (v < 0 ? 1 : 0)) + q->zero;
    return (int32_t)(v < q->low ? q->low : v > q->high ? q->high : v);
}

static struct bnn_requantizer random_requantizer(size_t count, int shorts)
{
    int32_t *multiplier = guarded(count, sizeof *multiplier), *shift = guarded(count, sizeof *shift);
    int moderate = one_in(2);
    for (size_t i = 0; i < count; i++) {
        multiplier[i] = one_in(8)   ? (int32_t)between(0, 1) * INT32_MAX
                        : one_in(4) ? 1 << 30 /* there are ties */
                                    : (int32_t)(random_bits() >> 33);
        shift[i] = moderate ? -(int32_t)between(1, 22) : (int32_t)between(0, 61) - 31;
    }
    const size_t least = shorts ? INT16_MAX + 1 : 0, most = shorts ? UINT16_MAX : 255;
    const size_t low = one_in(2) ? 0 : between(0, most), high = one_in(2) ? most : between(low, most);
    return (struct bnn_requantizer){multiplier,
                                    shift,
                                    shorts ? 0 : (int32_t)between(0, 255),
                                    (int32_t)low - (int32_t)least,
                                    (int32_t)high - (int32_t)least,
                                    !shorts && one_in(3)};
}

/* Any sums, and some whose bytes are not all limits. */
static int32_t random_sum(void)
{
    return (int32_t)(uint32_t)random_bits() >> between(0, 31);
}

static void test_requantize(void)
{
    const struct bnn_requantizer q = random_requantizer(1, 0);
    const size_t count = between(0, 70);
    int32_t *sums = guarded(count, sizeof *sums);
    uint8_t *bytes = guarded(count, 1);
    for (size_t i = 0; i < count; i++)
        sums[i] = random_sum();
    kernels->wide->loops->requantize(bytes, sums, count, &q);
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != number_of(sums[i], *q.multiplier, *q.shift, &q))
            fail("requantize", i, 0, bytes[i], number_of(sums[i], *q.multiplier, *q.shift, &q));
}

static uint8_t *random_bytes(size_t count)
{
    uint8_t *bytes = guarded(count, 1);
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)random_bits();
    return bytes;
}

static void test_pairs_of_bytes(void)
{
    const struct bnn_requantizer q = random_requantizer(1, 0);
    const size_t count = between(0, 70);
    const uint8_t *x = random_bytes(count), *y = random_bytes(count);
    uint8_t *in_place = guarded(count, 1), *to = one_in(2) ? in_place : guarded(count, 1);
    const int bits = (int)between(0, 15);
    const int multiplies = one_in(2);
    const int32_t terms[4] = {(multiplies ? (int32_t)between(0, 65280) - 32768 : (int16_t)random_bits()) >> bits,
                              (int16_t)random_bits() >> bits, random_sum() / 2, -multiplies};
    if (count > 0)
        memcpy(in_place, x, count);
    kernels->wide->loops->pair(to, in_place, y, count, terms, &q);
    for (size_t i = 0; i < count; i++) {
        const int32_t sum = (multiplies ? x[i] * y[i] : 0) + terms[0] * x[i] + terms[1] * y[i] + terms[2];
        const int32_t byte = number_of(sum, *q.multiplier, *q.shift, &q);
        if (to[i] != byte)
            fail("pairs of bytes", i, 0, to[i], byte);
    }
}

static void test_lookup(void)
{
    const size_t count = between(0, 200);
    const uint8_t *x = random_bytes(count), *table = random_bytes(256);
    uint8_t *in_place = guarded(count, 1), *to = one_in(2) ? in_place : guarded(count, 1);
    if (count > 0)
        memcpy(in_place, x, count);
    kernels->wide->loops->look_up(to, to == in_place ? in_place : x, table, count);
    for (size_t i = 0; i < count; i++)
        if (to[i] != table[x[i]])
            fail("lookup", i, x[i], to[i], table[x[i]]);
}

static void test_binarized_bytes(void)
{
    const size_t channels = between(1, 100), pixels = between(0, 3), words = (channels + 31) / 32;
    const uint8_t *x = random_bytes(pixels * channels), *least = random_bytes(channels);
    uint32_t *flips = guarded(words, sizeof *flips), *bits = guarded(pixels * words, sizeof *bits);
    for (size_t k = 0; k < words; k++)
        flips[k] = (uint32_t)random_bits();
    kernels->wide->loops->binarize_at(bits, x, least, flips, channels, pixels);
    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < words * 32; c++) {
            const int bit = c < channels && (x[i * channels + c] >= least[c]) != (int)(flips[c / 32] >> c % 32 & 1);
            if ((int)(bits[i * words + c / 32] >> c % 32 & 1) != bit)
                fail("binarized bytes", i, c, bits[i * words + c / 32], bit);
        }
}

static int16_t *random_shorts(size_t count)
{
    int16_t *shorts = guarded(count, sizeof *shorts);
    for (size_t i = 0; i < count; i++)
        shorts[i] = one_in(16) ? (one_in(2) ? INT16_MIN : INT16_MAX) : (int16_t)random_bits();
    return shorts;
}

static void test_sums_of_shorts(void)
{
    const struct bnn_requantizer q = random_requantizer(1, 1);
    const size_t count = between(0, 150);
    const int16_t *x = random_shorts(count), *y = random_shorts(count);
    int16_t *in_place = guarded(count, sizeof *in_place), *to = one_in(2) ? in_place : guarded(count, sizeof *to);
    if (count > 0)
        memcpy(in_place, x, count * sizeof *x);
    if (one_in(2))
        kernels->wide->short_loops->add(to, in_place, y, count, q.low, q.high);
    else
        kernels->wide->short_loops->add(to, y, in_place, count, q.low, q.high);
    for (size_t i = 0; i < count; i++) {
        const int32_t sum = x[i] + y[i], expected = sum < q.low ? q.low : sum > q.high ? q.high : sum;
        if (to[i] != expected)
            fail("sums of shorts", i, 0, to[i], expected);
    }
}

static void test_requantized_shorts(void)
{
    const size_t channels = between(1, 70), pixels = between(0, 3), count = channels * pixels;
    const int shorts = one_in(2);
    const struct bnn_requantizer q = random_requantizer(channels, shorts);
    const int16_t *x = random_shorts(count);
    int32_t *biases = guarded(channels, sizeof *biases);
    for (size_t c = 0; c < channels; c++)
        biases[c] = random_sum() / 2;
    struct bnn_short_rows rows = {.bytes = shorts ? NULL : guarded(count, 1),
                                  .shorts = shorts ? guarded(count, sizeof *rows.shorts) : NULL,
                                  .src = x,
                                  .biases = biases,
                                  .requantizer = &q,
                                  .channels = channels,
                                  .pixels = pixels};
    kernels->wide->short_loops->requantize(&rows);
    for (size_t i = 0; i < count; i++) {
        const size_t c = i % channels;
        const int32_t found = shorts ? rows.shorts[i] : rows.bytes[i];
        const int32_t expected = number_of(x[i] * BNN_BIT_STEPS + biases[c], q.multiplier[c], q.shift[c], &q);
        if (found != expected)
            fail("requantized shorts", i / channels, c, found, expected);
    }
}

static void test_binarized_shorts(void)
{
    const size_t channels = between(1, 100), pixels = between(0, 3), words = (channels + 31) / 32;
    const int16_t *x = random_shorts(pixels * channels);
    int16_t *thresholds = random_shorts(channels);
    uint32_t *flips = guarded(words, sizeof *flips), *bits = guarded(pixels * words, sizeof *bits);
    for (size_t c = 0; pixels > 0 && c < channels; c++)
        thresholds[c] = one_in(4) ? x[c] : thresholds[c];
    for (size_t k = 0; k < words; k++)
        flips[k] = (uint32_t)random_bits();
    kernels->wide->short_loops->binarize_at(bits, x, thresholds, flips, channels, pixels);
    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < words * 32; c++) {
            const int bit = c < channels && (x[i * channels + c] >= thresholds[c]) != (int)bit_of(flips, c);
            if ((int)bit_of(bits + i * words, c) != bit)
                fail("binarized shorts", i, c, bits[i * words + c / 32], bit);
        }
}

struct whole_outputs random_whole_outputs(const struct shape *s)
{
    const int shorts = one_in(2);
    struct whole_outputs o = {.q = random_requantizer(s->padded, shorts),
                              .shorts = shorts,
                              .added = guarded(s->pixels, sizeof *o.added),
                              .out = guarded(s->pixels, sizeof *o.out),
                              .place = guarded(s->pixels, sizeof *o.place)};
    for (size_t i = 0; i < s->pixels; i++) {
        o.added[i] = guarded(s->padded, sizeof *o.added[i]);
        o.out[i] = guarded(s->channels, shorts ? 2 : 1);
        o.place[i] = (ptrdiff_t)((uintptr_t)o.out[i] - (uintptr_t)o.out[0]) / (shorts ? 2 : 1);
        for (size_t c = 0; c < s->padded; c++)
            o.added[i][c] = random_sum() / 2;
    }
    return o;
}

void check_whole(const struct shape *s, const struct whole_outputs *o, const int32_t *sums, const char *name)
{
    for (size_t i = 0; i < s->pixels; i++)
        for (size_t c = 0; c < s->channels; c++) {
            const int32_t sum = o->added[i][c] + sums[i * s->channels + c];
            const int32_t expected = number_of(sum, o->q.multiplier[c], o->q.shift[c], &o->q);
            const int32_t found = o->shorts ? ((const int16_t *)o->out[i])[c] : ((const uint8_t *)o->out[i])[c];
            if (found != expected)
                fail(name, i, c, found, expected);
        }
}

/* Sums of bytes by int8 weights, depthwise or by filters of ones and zeros, as bytes or int16. */
static void test_requantized(int depthwise)
{
    const struct bnn_byte_kernels *group = kernels->wide;
    struct shape s = random_shape(group->lanes, depthwise);
    if (depthwise)
        s.length = s.padded;
    const size_t weights = depthwise ? s.segments : s.taps;
    int8_t *w = guarded(s.channels * weights, 1);
    for (size_t i = 0; i < s.channels * weights; i++)
        w[i] = (int8_t)random_bits();
    size_t block = s.segments * ((s.length + group->taps - 1) / group->taps) * s.lanes;
    uint32_t *packed = guarded(depthwise ? s.segments * s.padded : block * (s.padded / s.lanes), sizeof *packed);
    if (!depthwise)
        group->pack(packed,
                    &(struct bnn_byte_filters){
                        .weights = w, .channels = s.channels, .segments = s.segments, .pixels = 1, .bytes = s.length});
    for (size_t i = 0; depthwise && i < s.segments * s.padded; i++)
        packed[i] = i % s.padded < s.channels ? (uint32_t)w[i % s.padded * s.segments + i / s.padded] : 0;
    uint8_t *x = guarded(s.elements, 1);
    for (size_t i = 0; i < s.elements; i++)
        x[i] = (uint8_t)random_bits();
    const struct whole_outputs outputs = random_whole_outputs(&s);
    ptrdiff_t *a = guarded(s.pixels, sizeof *a);
    int32_t *sums = guarded(s.pixels * s.channels, sizeof *sums);
    for (size_t i = 0; i < s.pixels; i++) {
        a[i] = (ptrdiff_t)s.start[i];
        for (size_t c = 0; c < s.channels; c++) {
            int32_t sum = 0;
            for (size_t k = 0; k < weights; k++)
                sum += w[c * weights + k] * (depthwise ? x[a[i] + s.segment[k] + (ptrdiff_t)c]
                                                       : x[a[i] + s.segment[k / s.length] + (ptrdiff_t)(k % s.length)]);
            sums[i * s.channels + c] = sum;
        }
    }
    s.at.a = a;
    s.at.values = outputs.place;
    s.at.table = places((void *const *)outputs.added, s.pixels);
    for (size_t first = 0, step = depthwise ? s.channels : s.lanes; first < s.channels; first += step) {
        struct bnn_tile tile = {.a = x,
                                .segment = s.segment,
                                .segments = s.segments,
                                .length = s.length,
                                .pixels = s.pixels,
                                .weights = depthwise ? packed : packed + first / s.lanes * block,
                                .whole = outputs.added[0],
                                .first = first,
                                .channels = s.channels - first < step ? s.channels - first : step,
                                .bytes = outputs.shorts ? NULL : outputs.out[0],
                                .shorts = outputs.shorts ? outputs.out[0] : NULL,
                                .requantizer = &outputs.q,
                                .at = s.at};
        (depthwise ? group->depthwise : group->values)(&tile);
    }
    check_whole(&s, &outputs, sums, depthwise ? "requantized depthwise" : "requantized");
}

void test_bytes(void)
{
    test_requantize();
    test_pairs_of_bytes();
    test_lookup();
    test_binarized_bytes();
    test_sums_of_shorts();
    test_requantized_shorts();
    test_binarized_shorts();
    test_requantized(0);
    test_requantized(1);
    test_group(&kernels->bytes, between(1, 2), 0, 0, "byte_values");
    test_group(kernels->wide, between(1, 2), 0, 1, "wide_values");
    for (size_t planes = 1; planes <= 2; planes++)
        if (kernels->wide[planes].values != NULL)
            test_group(&kernels->wide[planes], planes, kernels->wide[planes].taps, 0, "packed");
}
