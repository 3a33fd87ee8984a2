/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's register-loop rates, which the shares of the benchmarks refer to, and the rate of reading memory. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* `run` repeats a loop `rounds` times and returns how many products of the kind it did, "bits", "f32" or "u8" (by
 * int8), or how many "bytes" it read; 0 where the processor cannot run it. */
struct bench_rate {
    const char *name, *kind;
    double (*run)(size_t rounds);
};

/* Far more bytes than caches hold. */
static double read_memory(size_t rounds)
{
    enum { BYTES = 1 << 27, LINE = 64, CHAINS = 8 };
    static unsigned char *memory;
    uint64_t sums[CHAINS] = {0};
    if (memory == NULL) {
        memory = malloc(BYTES);
        if (memory == NULL)
            return 0;
        memset(memory, 1, BYTES);
    }
    for (size_t r = 0; r < rounds; r++)
        for (size_t at = 0; at < BYTES; at += LINE * CHAINS)
            for (size_t i = 0; i < CHAINS; i++) {
                uint64_t word;
                memcpy(&word, memory + at + i * LINE, sizeof word);
                sums[i] += word;
            }
    for (size_t i = 1; i < CHAINS; i++)
        sums[0] += sums[i];
    memory[0] = (unsigned char)sums[0]; /* so that no compiler leaves the reads out */
    return (double)BYTES * (double)rounds;
}

#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>

/* An operand the compiler knows nothing about: it cannot move work on it out of the loop. */
#define OPAQUE(v) __asm__ volatile("" : "+v"(v))
#define TARGET_AVX512 __attribute__((target("avx512f,avx512vpopcntdq")))
#define TARGET_VNNI __attribute__((target("avx512f,avx512vnni")))
#define TARGET_AVX2 __attribute__((target("avx2,fma")))

#define UNROLL _Pragma("GCC unroll 32")
#define EACH(n) UNROLL for (int i = 0; i < (n); i++)

/* A loop of sums in registers, `count` independent chains; unrolled so that the loop itself costs nothing.
 * `step(sum, x, w)` does `products` of them; it must not be the same for two chains, so w is opaque anew for every
 * four. */
#define LOOP(name, target, feature, vector, count, zero, step, products) \
    target static double name(size_t rounds)                             \
    {                                                                    \
        if (!__builtin_cpu_supports(feature))                            \
            return 0;                                                    \
        vector sum[count], x[4], w = zero;                               \
        OPAQUE(w);                                                       \
        EACH(4)                                                          \
        {                                                                \
            x[i] = zero;                                                 \
            OPAQUE(x[i]);                                                \
        }                                                                \
        EACH(count)                                                      \
        {                                                                \
            sum[i] = zero;                                               \
            OPAQUE(sum[i]);                                              \
        }                                                                \
        for (size_t r = 0; r < rounds; r++) {                            \
            EACH(count)                                                  \
            {                                                            \
                if (i % 4 == 0)                                          \
                    OPAQUE(w);                                           \
                sum[i] = step(sum[i], x[i % 4], w);                      \
            }                                                            \
        }                                                                \
        EACH(count) OPAQUE(sum[i]);                                      \
        return (double)(products) * (count) * (double)rounds;            \
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

/* The first has three operations for 512 products. */
#define COUNT_ZMM(sum, x, w) _mm512_add_epi32(sum, _mm512_popcnt_epi32(_mm512_xor_si512(x, w)))
#define COUNT_YMM(sum, x, w) _mm256_add_epi8(sum, count_bytes(_mm256_xor_si256(x, w)))
#define FMA_ZMM(sum, x, w) _mm512_fmadd_ps(x, w, sum)
#define FMA_YMM(sum, x, w) _mm256_fmadd_ps(x, w, sum)

#define DOT_ZMM(sum, x, w) _mm512_dpbusd_epi32(sum, x, w)
/* Pairs of products in 16 bits, which they may not fit. */
#define DOT_YMM(sum, x, w) _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), _mm256_set1_epi16(1)))

LOOP(vpopcntd, TARGET_AVX512, "avx512vpopcntdq", __m512i, 24, _mm512_setzero_si512(), COUNT_ZMM, 512)
LOOP(pshufb, TARGET_AVX2, "avx2", __m256i, 4, _mm256_setzero_si256(), COUNT_YMM, 256)
LOOP(fma_zmm, TARGET_AVX512, "avx512f", __m512, 24, _mm512_setzero_ps(), FMA_ZMM, 16)
LOOP(fma_ymm, TARGET_AVX2, "fma", __m256, 10, _mm256_setzero_ps(), FMA_YMM, 8)
LOOP(dot_zmm, TARGET_VNNI, "avx512vnni", __m512i, 24, _mm512_setzero_si512(), DOT_ZMM, 64)
LOOP(dot_ymm, TARGET_AVX2, "avx2", __m256i, 8, _mm256_setzero_si256(), DOT_YMM, 32)

#endif

const struct bench_rate bench_rates[] = {
#if defined(__GNUC__) && defined(__x86_64__)
    {"zmm xor + vpopcntd + vpaddd", "bits", vpopcntd},
    {"ymm xor + pshufb popcount", "bits", pshufb},
    {"zmm FMA", "f32", fma_zmm},
    {"ymm FMA", "f32", fma_ymm},
    {"zmm vpdpbusd", "u8", dot_zmm},
    {"ymm vpmaddubsw + vpmaddwd", "u8", dot_ymm},
#endif
    {"memory, read", "bytes", read_memory},
};
const size_t bench_rate_count = sizeof bench_rates / sizeof bench_rates[0];
