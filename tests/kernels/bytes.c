/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of bytes by weights of -1, 0 and +1. */
#include "tester.h"

/* Signs of filters, [channels][segments][pixels][words]: a bit past the last is anything. */
static struct bnn_byte_filters random_filters(const struct shape *s, int greatest)
{
    struct bnn_byte_filters f = {.channels = s->channels, .segments = s->segments, .planes = between(1, 2)};
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

void test_bytes(void)
{
    struct shape s = random_shape(kernels->bytes.lanes, 0);
    int greatest = one_in(4), slack = one_in(2);
    struct bnn_byte_filters f = random_filters(&s, greatest);
    size_t block = s.segments * ((s.length + kernels->bytes.taps - 1) / kernels->bytes.taps) * s.lanes;
    uint32_t *packed = guarded(block * (s.padded / s.lanes), sizeof *packed);
    kernels->bytes.pack(packed, &f);
    uint8_t *x = guarded(s.elements + (slack ? 3 : 0), 1);
    for (size_t i = 0; i < s.elements + (slack ? 3 : 0); i++)
        x[i] = greatest ? 255 : (uint8_t)random_bits();

    ptrdiff_t *a = guarded(s.pixels, sizeof *a);
    float **correction = guarded(s.pixels, sizeof *correction);
    float *sums = guarded(s.pixels * s.channels, sizeof *sums);
    for (size_t i = 0; i < s.pixels; i++) {
        a[i] = (ptrdiff_t)s.start[i];
        correction[i] = guarded(s.padded, sizeof *correction[i]);
        for (size_t c = 0; c < s.padded; c++)
            correction[i][c] = (float)between(0, 100000) - 50000.0f;
        for (size_t c = 0; c < s.channels; c++) {
            int32_t sum = 0;
            for (size_t k = 0; k < s.taps; k++)
                sum += weight(&f, c, k / s.length, k % s.length) *
                       x[a[i] + s.segment[k / s.length] + (ptrdiff_t)(k % s.length)];
            sums[i * s.channels + c] = (float)sum + correction[i][c];
        }
    }

    int nan = 0;
    s.at.a = a;
    s.at.table = places((void *const *)correction, s.pixels);
    for (size_t first = 0; first < s.channels; first += s.lanes) {
        struct bnn_tile tile = {.a = x,
                                .segment = s.segment,
                                .segments = s.segments,
                                .length = s.length,
                                .pixels = s.pixels,
                                .slack = slack,
                                .weights = packed + first / s.lanes * block,
                                .corrections = correction[0],
                                .first = first,
                                .channels = s.channels - first < s.lanes ? s.channels - first : s.lanes,
                                .bits = s.want_bits ? s.bits[0] : NULL,
                                .values = s.want_values ? s.values[0] : NULL,
                                .residual = s.residual ? s.residual[0] : NULL,
                                .epilogue = &s.epilogue,
                                .at = s.at};
        nan |= kernels->bytes.values(&tile);
    }
    check_values(&s, sums, nan, "byte_values");
}
