/* SPDX-License-Identifier: Apache-2.0 */
/* Compares every kernel of one family with a naive computation, on random shapes in guarded memory; in half of the cases the
 * family has only some of its kernels, and the others are of the families in line.
 *
 * usage: tester FAMILY SEED CASES      exit status 0: equal; 1: a difference; 2: wrong use; 77: this processor lacks it
 * A row of kernels.inc is tested by being there: the families come from its table. */
#include "../../csrc/include/bnn.h"
#include "tester.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct bnn_kernels *kernels;
uint64_t random_state;

void fail(const char *what, size_t pixel, size_t channel, double found, double expected)
{
    printf("%s: %s: pixel %zu channel %zu: found %.9g, expected %.9g\n", kernels->name, what, pixel, channel, found,
           expected);
    exit(1);
}

const ptrdiff_t *places(void *const *buffers, size_t count)
{
    ptrdiff_t *at = guarded(count, sizeof *at);
    for (size_t i = 0; i < count; i++)
        at[i] = ((intptr_t)buffers[i] - (intptr_t)buffers[0]) / 4;
    return at;
}

static const float *operand(const struct shape *s)
{
    if (one_in(2))
        return NULL;
    float *p = guarded(s->padded, sizeof *p);
    for (size_t i = 0; i < s->padded; i++)
        p[i] = any_float();
    return p;
}

static void random_outputs(struct shape *s)
{
    size_t words = (s->channels + 31) / 32;
    s->bits = guarded(s->pixels, sizeof *s->bits);
    s->values = guarded(s->pixels, sizeof *s->values);
    const float **residual = guarded(s->pixels, sizeof *residual);
    for (size_t i = 0; i < s->pixels; i++) {
        s->bits[i] = guarded(words, sizeof(uint32_t));
        s->values[i] = guarded(s->channels, sizeof(float));
        float *r = guarded(s->channels, sizeof(float));
        for (size_t c = 0; c < s->channels; c++)
            r[c] = one_in(50) ? NAN : any_float();
        residual[i] = r;
    }
    s->residual = one_in(2) ? residual : NULL;
    s->at.bits = places((void *const *)s->bits, s->pixels);
    s->at.values = places((void *const *)s->values, s->pixels);
    s->at.residual = places((void *const *)residual, s->pixels);
    s->want_bits = one_in(2);
    s->want_values = !s->want_bits || one_in(4);
    s->epilogue = (struct bnn_epilogue){.pre_mul = operand(s),
                                        .pre_add = operand(s),
                                        .sub = operand(s),
                                        .mul = operand(s),
                                        .add = operand(s),
                                        .lo0 = one_in(3) ? -INFINITY : 0.0f,
                                        .hi0 = one_in(3) ? INFINITY : 6.0f,
                                        .lo1 = -1.0f,
                                        .hi1 = 1.0f,
                                        .clamp0 = one_in(2),
                                        .clamp1 = one_in(2)};
}

struct shape random_shape(size_t lanes, int depthwise)
{
    struct shape s = {.lanes = lanes};
    s.segments = one_in(20) ? 0 : between(1, 5);
    int long_window = one_in(16);
    s.length = one_in(4) ? between(30, 100) : between(1, 20);
    s.pixels = between(1, 17);
    s.channels = one_in(4) ? between(1, 6) * 32 : between(1, 150);
    if (long_window) { /* more bits than fit counters of 16 */
        s.length = between(1900, 2500);
        s.pixels = between(1, 5);
        s.channels = between(1, 70);
        s.segments = between(1, 2);
    }
    s.padded = (s.channels + lanes - 1) / lanes * lanes;
    size_t read = depthwise ? s.channels : s.length;
    s.taps = s.segments * s.length;
    s.segment = guarded(s.segments, sizeof *s.segment);
    ptrdiff_t last = 0;
    for (size_t i = 0; i < s.segments; i++) { /* the first may be negative: windows overlap and go backwards */
        s.segment[i] = i == 0 ? 0 : (ptrdiff_t)between(0, 60);
        last = s.segment[i] > last ? s.segment[i] : last;
    }
    size_t spread = between(0, 40);
    s.elements = (size_t)last + read + spread;
    s.start = guarded(s.pixels, sizeof *s.start);
    for (size_t i = 0; i < s.pixels; i++)
        s.start[i] = i == 0 ? 0 : i == 1 ? spread : between(0, spread);
    random_outputs(&s);
    return s;
}

/* The epilogue, a step at a time; volatile keeps every step one rounded operation whatever the flags. */
static float expected_value(const struct shape *s, float sum, size_t pixel, size_t c)
{
    const struct bnn_epilogue *e = &s->epilogue;
    volatile float v = sum;
    if (e->pre_mul)
        v = v * e->pre_mul[c];
    if (e->pre_add)
        v = v + e->pre_add[c];
    if (e->clamp0 && v == v)
        v = fminf(fmaxf(v, e->lo0), e->hi0);
    if (e->sub)
        v = v - e->sub[c];
    if (e->mul)
        v = v * e->mul[c];
    if (e->add)
        v = v + e->add[c];
    if (s->residual)
        v = v + s->residual[pixel][c];
    if (e->clamp1 && v == v)
        v = fminf(fmaxf(v, e->lo1), e->hi1);
    return v;
}

static void check_tail(const struct shape *s, const char *what)
{
    for (size_t i = 0; i < s->pixels; i++)
        for (size_t c = s->channels; c % 32 != 0; c++)
            if (bit_of(s->bits[i], c))
                fail(what, i, c, 1, 0);
}

void check_values(const struct shape *s, const float *sums, int nan, const char *what)
{
    int expected_nan = 0;
    for (size_t i = 0; i < s->pixels; i++)
        for (size_t c = 0; c < s->channels; c++) {
            float v = expected_value(s, sums[i * s->channels + c], i, c);
            expected_nan |= s->want_bits && v != v;
            if (s->want_values && !same(s->values[i][c], v))
                fail(what, i, c, (double)s->values[i][c], (double)v);
            if (s->want_bits && bit_of(s->bits[i], c) != is_bit(v))
                fail(what, i, c, bit_of(s->bits[i], c), is_bit(v));
        }
    if (s->want_bits)
        check_tail(s, what);
    if ((nan != 0) != expected_nan)
        fail(what, 0, 0, nan, expected_nan);
}

/* A packed element: [block][tap][lane]. */
static size_t packed_index(const struct shape *s, size_t channel, size_t tap)
{
    return channel / s->lanes * s->lanes * s->taps + tap * s->lanes + channel % s->lanes;
}

static int32_t random_limit(size_t taps)
{
    switch (between(0, 9)) {
    case 1:
        return INT32_MAX;
    case 2:
        return 0;
    case 3:
        return -(int32_t)between(0, 1 << 29);
    default:
        return (int32_t)between(0, 32 * taps);
    }
}

static void test_binary(void)
{
    struct shape s = random_shape(kernels->binary.lanes, 0);
    uint32_t *x = guarded(s.elements, sizeof *x), *w = guarded(s.channels * s.taps, sizeof *w);
    size_t expansion = kernels->binary.expansion;
    uint32_t *packed = guarded(s.padded * s.taps * expansion, sizeof *packed);
    int all_differ = one_in(4); /* the greatest counts */
    for (size_t i = 0; i < s.elements; i++)
        x[i] = all_differ ? UINT32_MAX : one_in(8) ? 0 : (uint32_t)random_bits();
    for (size_t i = 0; i < s.channels * s.taps; i++)
        w[i] = all_differ || one_in(8) ? 0 : (uint32_t)random_bits();
    kernels->binary.pack(packed, w, s.channels, s.taps, s.length);
    /* At an image's edges, windows lack the first or the last segments. */
    size_t begin = one_in(2) ? 0 : between(0, s.segments), end = one_in(2) ? s.segments : between(begin, s.segments);
    int limits = one_in(2), whole = !limits && one_in(2);
    const struct whole_outputs outputs = random_whole_outputs(&s);
    ptrdiff_t *a = guarded(s.pixels, sizeof *a);
    int32_t **limit = guarded(s.pixels, sizeof *limit);
    float **correction = guarded(s.pixels, sizeof *correction);
    int32_t *counts = guarded(s.pixels * s.channels, sizeof *counts);
    float *sums = guarded(s.pixels * s.channels, sizeof *sums);
    for (size_t i = 0; i < s.pixels; i++) {
        a[i] = (ptrdiff_t)s.start[i];
        limit[i] = guarded(s.padded, sizeof *limit[i]);
        correction[i] = guarded(s.padded, sizeof *correction[i]);
        for (size_t c = 0; c < s.padded; c++) {
            limit[i][c] = random_limit(s.taps);
            correction[i][c] = (float)between(0, 64 * s.taps);
        }
        for (size_t c = 0; c < s.channels; c++) {
            int32_t differing = 0;
            for (size_t k = begin * s.length; k < end * s.length; k++) {
                uint32_t word = x[a[i] + s.segment[k / s.length] + (ptrdiff_t)(k % s.length)] ^ w[c * s.taps + k];
                for (; word != 0; word >>= 1)
                    differing += (int32_t)(word & 1);
            }
            counts[i * s.channels + c] = differing;
            sums[i * s.channels + c] = correction[i][c] - 2.0f * (float)differing;
        }
    }

    int nan = 0;
    s.at.a = a;
    void *const *tables[] = {(void *const *)correction, (void *const *)limit, (void *const *)outputs.added};
    s.at.table = places(tables[whole ? 2 : limits], s.pixels);
    if (whole)
        s.at.values = outputs.place;
    for (size_t first = 0; first < s.channels; first += s.lanes) {
        size_t channels = s.channels - first < s.lanes ? s.channels - first : s.lanes;
        struct bnn_tile tile = {.a = x,
                                .segment = s.segment + begin,
                                .segments = end - begin,
                                .length = s.length,
                                .pixels = s.pixels,
                                .weights = packed + (first * s.taps + begin * s.length * s.lanes) * expansion,
                                .limits = limit[0],
                                .corrections = correction[0],
                                .whole = outputs.added[0],
                                .first = first,
                                .channels = channels,
                                .bytes = whole && !outputs.shorts ? outputs.out[0] : NULL,
                                .shorts = whole && outputs.shorts ? outputs.out[0] : NULL,
                                .requantizer = whole ? &outputs.q : NULL,
                                .bits = !whole && (limits || s.want_bits) ? s.bits[0] : NULL,
                                .values = !limits && !whole && s.want_values ? s.values[0] : NULL,
                                .residual = s.residual ? s.residual[0] : NULL,
                                .epilogue = &s.epilogue,
                                .at = s.at};
        nan |= limits ? kernels->binary.bits(&tile) : kernels->binary.values(&tile);
    }
    if (whole) {
        for (size_t i = 0; i < s.pixels * s.channels; i++)
            counts[i] *= -2 * BNN_BIT_STEPS;
        check_whole(&s, &outputs, counts, "requantized bits");
        return;
    }
    if (!limits) {
        check_values(&s, sums, nan, "binary_values");
        return;
    }
    for (size_t i = 0; i < s.pixels; i++)
        for (size_t c = 0; c < s.channels; c++) {
            unsigned expected = counts[i * s.channels + c] < limit[i][c];
            if (bit_of(s.bits[i], c) != expected)
                fail("binary_bits", i, c, bit_of(s.bits[i], c), expected);
        }
    check_tail(&s, "binary_bits");
}

/* Filters may be parts of longer ones, or the same words. */
static void test_take_differing(void)
{
    size_t n = one_in(8) ? between(0, 300) : between(0, 40), filters = between(1, 40);
    size_t stride = one_in(8) ? 0 : n + between(0, 20);
    int32_t weight = (int32_t)between(1, 1 << 8);
    uint32_t *a = guarded(n, sizeof *a), *w = guarded((filters - 1) * stride + n, sizeof *w);
    int32_t *sums = guarded(filters, sizeof *sums), *expected = guarded(filters, sizeof *expected);
    int all_differ = one_in(4); /* the greatest counts */
    for (size_t k = 0; k < n; k++)
        a[k] = all_differ ? UINT32_MAX : (uint32_t)random_bits();
    for (size_t k = 0; k < (filters - 1) * stride + n; k++)
        w[k] = all_differ ? 0 : (uint32_t)random_bits();
    for (size_t i = 0; i < filters; i++) {
        sums[i] = expected[i] = (int32_t)between(0, 1 << 24);
        for (size_t k = 0; k < n; k++)
            for (uint32_t word = a[k] ^ w[i * stride + k]; word != 0; word >>= 1)
                expected[i] -= weight * (int32_t)(word & 1);
    }
    kernels->take_differing(sums, a, w, n, stride, filters, weight);
    for (size_t i = 0; i < filters; i++)
        if (sums[i] != expected[i])
            fail("take_differing", n, i, sums[i], expected[i]);
}

/* `portable`: sums of any floats, whose terms are rounded one by one. */
static void test_float(const struct bnn_float_kernels *floats, int depthwise, int portable)
{
    struct shape s = random_shape(floats->lanes, depthwise);
    if (depthwise)
        s.length = s.padded;
    size_t special = one_in(3) ? 200 : 0, taps = depthwise ? s.segments : s.taps;
    float *x = guarded(s.elements, sizeof *x), *w = guarded(s.channels * taps, sizeof *w);
    float *packed = guarded(s.padded * taps, sizeof *packed);
    for (size_t i = 0; i < s.elements; i++)
        x[i] = portable ? any_float() : exact_float(special);
    for (size_t i = 0; i < s.channels * taps; i++)
        w[i] = portable ? any_float() : exact_float(special * 10);
    if (!depthwise)
        floats->pack(packed, w, s.channels, taps);
    for (size_t c = 0; c < s.padded; c++)
        for (size_t k = 0; k < taps; k++) {
            float expected = c < s.channels ? w[c * taps + k] : 0.0f;
            if (depthwise)
                packed[k * s.padded + c] = expected;
            else if (!same(packed[packed_index(&s, c, k)], expected))
                fail("pack_float", k, c, (double)packed[packed_index(&s, c, k)], (double)expected);
        }

    ptrdiff_t *a = guarded(s.pixels, sizeof *a);
    float *sums = guarded(s.pixels * s.channels, sizeof *sums);
    for (size_t i = 0; i < s.pixels; i++) {
        a[i] = (ptrdiff_t)s.start[i];
        for (size_t c = 0; c < s.channels; c++) {
            volatile float sum = 0.0f, product; /* each rounded, whatever the flags */
            for (size_t k = 0; k < taps; k++) {
                ptrdiff_t at =
                    depthwise ? s.segment[k] + (ptrdiff_t)c : s.segment[k / s.length] + (ptrdiff_t)(k % s.length);
                product = x[a[i] + at] * w[c * taps + k];
                sum = sum + product;
            }
            sums[i * s.channels + c] = sum;
        }
    }

    int nan = 0;
    s.at.a = a;
    size_t step = depthwise ? s.channels : s.lanes;
    for (size_t first = 0; first < s.channels; first += step) {
        size_t channels = s.channels - first < step ? s.channels - first : step;
        struct bnn_tile tile = {.a = x,
                                .segment = s.segment,
                                .segments = s.segments,
                                .length = s.length,
                                .pixels = s.pixels,
                                .weights = packed + first * taps,
                                .first = first,
                                .channels = channels,
                                .bits = s.want_bits ? s.bits[0] : NULL,
                                .values = s.want_values ? s.values[0] : NULL,
                                .residual = s.residual ? s.residual[0] : NULL,
                                .epilogue = &s.epilogue,
                                .at = s.at};
        nan |= depthwise ? floats->depthwise(&tile) : floats->values(&tile);
    }
    const char *name = depthwise ? "depthwise" : "float_values";
    check_values(&s, sums, nan, portable ? depthwise ? "portable depthwise" : "portable float_values" : name);
}

/* The groups and functions of a family; of a group, one that is there if the group is. */
#define KERNELS(X)                    \
    X(binary, binary.values)          \
    X(floats, floats.values)          \
    X(bytes, bytes.values)            \
    X(take_differing, take_differing) \
    X(binarize, binarize)             \
    X(binarize_at, binarize_at)       \
    X(compute, compute)               \
    X(decode, decode)                 \
    X(events, events)

/* Leaves out most of a family. */
static void leave_out(struct bnn_kernels *family)
{
#define LEAVE_OUT(member, function) \
    if (!one_in(4))                 \
        memset(&family->member, 0, sizeof family->member);
    KERNELS(LEAVE_OUT)
}

/* Groups are whole, and each kernel of a complete family is its own, or else that of the next one in line. */
static void test_complete(const struct bnn_kernels *family, const struct bnn_kernels *complete,
                          const struct bnn_kernels *next)
{
    int has = family->binary.values != NULL;
    if ((family->binary.pack != NULL) != has || (family->binary.bits != NULL) != has)
        fail("a part of a group: bits", 0, 0, 0, 1);
    has = family->floats.values != NULL;
    if ((family->floats.pack != NULL) != has || (family->floats.depthwise != NULL) != has)
        fail("a part of a group: floats", 0, 0, 0, 1);
    const struct bnn_float_kernels *portable = family->portable;
    if (portable != NULL && (portable->pack == NULL || portable->values == NULL || portable->depthwise == NULL))
        fail("a part of a group: portable", 0, 0, 0, 1);
    const struct bnn_kernels *owner = has ? family : next;
    if (complete->portable != owner->portable)
        fail("complete: portable", 0, 0, 0, 1);
    if ((family->bytes.pack != NULL) != (family->bytes.values != NULL))
        fail("a part of a group: bytes", 0, 0, 0, 1);
#define TEST_MEMBER(member, function)                                                         \
    if (complete->function != (family->function != NULL ? family->function : next->function)) \
        fail("complete: " #function, 0, 0, 0, 1);
    KERNELS(TEST_MEMBER)
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: tester FAMILY SEED CASES; families:");
        for (size_t i = 0; bnn_kernels_list(i) != NULL; i++)
            fprintf(stderr, " %s", bnn_kernels_list(i));
        fprintf(stderr, "\n");
        return 2;
    }
    const struct bnn_kernels *family = bnn_kernels_select(argv[1]);
    if (family == NULL) {
        printf("this processor cannot run the kernels '%s', or there are none of that name\n", argv[1]);
        return 77;
    }
    random_state = strtoull(argv[2], NULL, 10);
    unsigned long cases = strtoul(argv[3], NULL, 10);
    struct bnn_kernels whole, fastest, part, mixed;
    bnn_kernels_complete(family, &whole);
    /* The family that is next in line to any that is in no table; one with portable sums takes them from it. */
    bnn_kernels_complete(family->portable_sums ? family : bnn_kernels_select(NULL), &fastest);
    for (unsigned long i = 0; i < cases; i++) {
        part = *family;
        leave_out(&part);
        bnn_kernels_complete(&part, &mixed); /* it is in no table: the fastest family is the next */
        kernels = i % 2 ? &mixed : &whole;
        test_complete(&part, &mixed, &fastest);
        test_binary();
        test_take_differing();
        for (int depthwise = 0; depthwise < 2; depthwise++) {
            test_float(&kernels->floats, depthwise, 0);
            test_float(kernels->portable != NULL ? kernels->portable : &kernels->floats, depthwise, 1);
        }
        test_bytes();
        test_rows();
        test_membranes();
        guard_free_all();
    }
    printf("%s: %lu cases, seed %s: equal\n", kernels->name, cases, argv[2]);
    return 0;
}
