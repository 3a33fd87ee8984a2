/* SPDX-License-Identifier: Apache-2.0 */
/* The inner loops of the event engine, for the instruction sets that the kernels know. */
#include "events/events.h"

typedef int8_t bytes __attribute__((vector_size(32)));
typedef int16_t shorts __attribute__((vector_size(64)));
typedef int16_t half_shorts __attribute__((vector_size(32)));
typedef int32_t ints __attribute__((vector_size(64)));
typedef float floats __attribute__((vector_size(64)));
/* In memory: any alignment of their elements. */
typedef int16_t shorts_at __attribute__((vector_size(64), aligned(2)));
typedef int16_t half_shorts_at __attribute__((vector_size(32), aligned(2)));
typedef int32_t ints_at __attribute__((vector_size(64), aligned(4)));
typedef float floats_at __attribute__((vector_size(64), aligned(4)));

#define UNROLL _Pragma("GCC unroll 8")

/* From 64 - n on: n times all bits, then none. */
static const int8_t bnn_events_keep[128] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                            -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                            -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                            -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

static inline uint32_t negative(const int16_t *m)
{
    uint32_t word = 0;
    for (size_t i = 0; i < 32; i++)
        word |= (uint32_t)(m[i] < 0) << i;
    return word;
}

#define SUFFIX _plain
#define WIDTH 32
#define TARGET
#define NEGATIVE(m) negative(m)
#include "events/scatter.inc"

#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx2"))) static inline uint32_t negative_avx2(const int16_t *m)
{
    __m256i low = _mm256_loadu_si256((const __m256i *)(const void *)m);
    __m256i high = _mm256_loadu_si256((const __m256i *)(const void *)(m + 16));
    __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8);
    return (uint32_t)_mm256_movemask_epi8(both);
}

#define SUFFIX _avx2
#define WIDTH 32
#define TARGET __attribute__((target("avx2")))
#define NEGATIVE(m) negative_avx2(m)
#include "events/scatter.inc"

#define SUFFIX _avx512
#define WIDTH 64
#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl")))
#define NEGATIVE(m) (uint32_t)_mm512_movepi16_mask(_mm512_loadu_si512(m))
#include "events/scatter.inc"
#endif

const struct bnn_scatter *bnn_events_scatter(const bnn_kernels *kernels)
{
#if defined(__GNUC__) && defined(__x86_64__)
    if (kernels->features & BNN_FEATURE_AVX512)
        return &scatter_avx512;
    if (kernels->features & BNN_FEATURE_AVX2)
        return &scatter_avx2;
#endif
    (void)kernels;
    return &scatter_plain;
}
