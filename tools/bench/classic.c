/* SPDX-License-Identifier: Apache-2.0 */
/* What the AVX2 family is measured against: the same tile with the classic popcount, a shuffle for each half of a byte.
 * It lost, so it is not in kernels.inc; here it stays comparable. */
#include "kernels.h"
#include "peak.h"

#if defined(__GNUC__) && defined(__x86_64__)

#include "x86/avx2.inc"

#define FAMILY classic
#define LANES 32
#define PIXELS 4
#define FLOAT_PIXELS 4
#define VECTORS 2
#define BYTE_COUNTS
#define POPCOUNT(v) count_bytes(v)

typedef uint32_t words_8 __attribute__((vector_size(32)));

TARGET static inline __attribute__((always_inline)) words_8 count_bytes(words_8 v)
{
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2,
                                           2, 3, 2, 3, 3, 4);
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256((__m256i)v, nibble));
    __m256i high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi32((__m256i)v, 4), nibble));
    return (words_8)_mm256_add_epi8(low, high);
}

#include "tile.inc"

const struct bnn_kernels *bench_classic(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &bnn_kernels_classic : NULL;
}

#else

const struct bnn_kernels *bench_classic(void)
{
    return NULL;
}

#endif
