/* SPDX-License-Identifier: Apache-2.0 */
#include "peak.h"

#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>

/* An operand the compiler knows nothing about: it cannot move work on it out of the loop. */
#define OPAQUE(v) __asm__ volatile("" : "+v"(v))
#define TARGET_AVX512 __attribute__((target("avx512f,avx512vpopcntdq")))
#define TARGET_AVX2 __attribute__((target("avx2,fma")))

#define UNROLL _Pragma("GCC unroll 32")
#define EACH(n) UNROLL for (int i = 0; i < (n); i++)

/* Sums in registers, `count` independent chains; unrolled so that the loop itself costs nothing.
 * `step(sum, x, w)` must not be the same for two chains, so w is opaque anew for every four. */
#define CHAINS(vector, count, zero, step)       \
    vector sum[count], x[4], w = zero;          \
    OPAQUE(w);                                  \
    EACH(4)                                     \
    {                                           \
        x[i] = zero;                            \
        OPAQUE(x[i]);                           \
    }                                           \
    EACH(count)                                 \
    {                                           \
        sum[i] = zero;                          \
        OPAQUE(sum[i]);                         \
    }                                           \
    for (size_t r = 0; r < rounds; r++) {       \
        EACH(count)                             \
        {                                       \
            if (i % 4 == 0)                     \
                OPAQUE(w);                      \
            sum[i] = step(sum[i], x[i % 4], w); \
        }                                       \
    }                                           \
    EACH(count) OPAQUE(sum[i]);

/* Three operations for 512 products. */
TARGET_AVX512 static double vpopcntd(size_t rounds)
{
    if (!__builtin_cpu_supports("avx512vpopcntdq"))
        return 0;
#define STEP(sum, x, w) _mm512_add_epi32(sum, _mm512_popcnt_epi32(_mm512_xor_si512(x, w)))
    CHAINS(__m512i, 24, _mm512_setzero_si512(), STEP)
#undef STEP
    return 512.0 * 24 * (double)rounds;
}

TARGET_AVX512 static double fma_zmm(size_t rounds)
{
    if (!__builtin_cpu_supports("avx512f"))
        return 0;
#define STEP(sum, x, w) _mm512_fmadd_ps(x, w, sum)
    CHAINS(__m512, 24, _mm512_setzero_ps(), STEP)
#undef STEP
    return 16.0 * 24 * (double)rounds;
}

/* The classic shuffle: eight operations for 256 products. */
TARGET_AVX2 static inline __m256i count_bytes(__m256i v)
{
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2,
                                           2, 3, 2, 3, 3, 4);
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256(v, nibble));
    return _mm256_add_epi8(low, _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi32(v, 4), nibble)));
}

TARGET_AVX2 static double pshufb(size_t rounds)
{
    if (!__builtin_cpu_supports("avx2"))
        return 0;
#define STEP(sum, x, w) _mm256_add_epi8(sum, count_bytes(_mm256_xor_si256(x, w)))
    CHAINS(__m256i, 4, _mm256_setzero_si256(), STEP)
#undef STEP
    return 256.0 * 4 * (double)rounds;
}

TARGET_AVX2 static double fma_ymm(size_t rounds)
{
    if (!__builtin_cpu_supports("fma"))
        return 0;
#define STEP(sum, x, w) _mm256_fmadd_ps(x, w, sum)
    CHAINS(__m256, 10, _mm256_setzero_ps(), STEP)
#undef STEP
    return 8.0 * 10 * (double)rounds;
}

const struct bench_rate bench_rates[] = {
    {"zmm xor + vpopcntd + vpaddd", 1, vpopcntd},
    {"ymm xor + pshufb popcount", 1, pshufb},
    {"zmm FMA", 0, fma_zmm},
    {"ymm FMA", 0, fma_ymm},
};
const size_t bench_rate_count = sizeof bench_rates / sizeof bench_rates[0];

#else

const struct bench_rate bench_rates[] = {{"none", 0, NULL}};
const size_t bench_rate_count = 0;

#endif
