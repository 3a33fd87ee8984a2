/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of kernels share: the family at hand, random floats, and what floats and bits should be. */
#ifndef TESTER_H
#define TESTER_H

#include "../../kernels/kernels.h"
#include "guard.h"
#include "random.h"

#include <float.h>
#include <math.h>
#include <stdint.h>

extern const struct bnn_kernels *kernels;

/* Says what differs and ends the program. */
void fail(const char *what, size_t pixel, size_t channel, double found, double expected);

/* One random call: what all tiles have in common. */
struct shape {
    size_t segments, length, pixels, channels, lanes, padded, taps;
    ptrdiff_t *segment;
    size_t elements; /* of the input */
    size_t *start;   /* pixels: the window's first element */
    struct bnn_epilogue epilogue;
    uint32_t **bits; /* buffers of each pixel: places are distances from the first pixel's */
    float **values;
    const float **residual;
    struct bnn_places at;
    int want_bits, want_values;
};

struct shape random_shape(size_t lanes, int depthwise);
/* Distances, in elements, of buffers that have nothing to do with each other. */
const ptrdiff_t *places(void *const *buffers, size_t count);
/* Outputs of a family against sums[pixel * channels + c]; nan is what it returned. */
void check_values(const struct shape *s, const float *sums, int nan, const char *what);

/* Bytes, or int16, of sums: what a tile adds to them, their places, and by which numbers. */
struct whole_outputs {
    struct bnn_requantizer q;
    int shorts;
    int32_t **added;
    void **out;
    ptrdiff_t *place;
};

struct whole_outputs random_whole_outputs(const struct shape *s);
/* Those of sums[pixel * channels + c] and what was added. */
void check_whole(const struct shape *s, const struct whole_outputs *outputs, const int32_t *sums, const char *what);

void test_bytes(void);
/* The kernels of rows: binarize, binarize_at, compute, decode. */
void test_rows(void);
/* The event engine's: add_rows, add_floats, crossed, halve. */
void test_membranes(void);

static inline void *guarded(size_t count, size_t size)
{
    return guard_alloc(count * size, one_in(2));
}

/* Small integers, whose sums are exact in any order; now and then something special. */
static inline float exact_float(size_t special)
{
    static const float specials[] = {NAN, INFINITY, -INFINITY, -0.0f};
    if (special && one_in(special))
        return specials[between(0, 3)];
    return (float)between(0, 16) - 8.0f;
}

static inline float any_float(void)
{
    if (one_in(16)) { /* around the step from -1 to +1 */
        static const float edges[] = {0.0f, -0.0f, -1e-40f, 1e-40f, -FLT_MIN, FLT_MIN};
        return edges[between(0, 5)];
    }
    return (float)((double)(random_bits() >> 11) / 9007199254740992.0 * 200.0 - 100.0);
}

static inline int same(float a, float b)
{
    return a == b || (a != a && b != b);
}

/* Negative denormals count as zero. */
static inline unsigned is_bit(float v)
{
    return v > -FLT_MIN;
}

static inline unsigned bit_of(const uint32_t *words, size_t i)
{
    return words[i / 32] >> i % 32 & 1u;
}

#endif
