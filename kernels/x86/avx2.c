/* AVX2: 8 channels a vector; set bits are counted a byte at a time with a shuffle as table. */
#include "../kernels.h"

#if defined(__GNUC__) && defined(__x86_64__)

#include <immintrin.h>

#define FAMILY avx2
#define FEATURES BNN_FEATURE_AVX2
#define TARGET __attribute__((target("avx2,fma,bmi,popcnt")))
#define VL 8
#define LANES 32
#define PIXELS 4
#define FLOAT_PIXELS 6
#define VECTORS 2
#define BYTE_COUNTS
#define POPCOUNT(v) count_bytes(v)
#define MASK_LT(x, y) ((unsigned)_mm256_movemask_ps((__m256)_mm256_cmpgt_epi32((__m256i)(y), (__m256i)(x))))
#define MASK_GT(x, y) ((unsigned)_mm256_movemask_ps(_mm256_cmp_ps((__m256)(x), (__m256)(y), _CMP_GT_OQ)))
#define MASK_NAN(v) ((unsigned)_mm256_movemask_ps(_mm256_cmp_ps((__m256)(v), (__m256)(v), _CMP_UNORD_Q)))
#define MAX(x, y) ((float_vector)_mm256_max_ps((__m256)(x), (__m256)(y)))
#define MIN(x, y) ((float_vector)_mm256_min_ps((__m256)(x), (__m256)(y)))
#define SOME(n) \
    _mm256_cmpgt_epi32(_mm256_set1_epi32((int)((n) < VL ? (n) : VL)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
#define LOAD_SOME(p, n) ((float_vector)_mm256_maskload_ps(p, SOME(n)))
#define STORE_SOME(p, v, n) _mm256_maskstore_ps(p, SOME(n), (__m256)(v))
#define SPLAT(x) ((float_vector)_mm256_set1_ps(x))
#define FMA(x, y, z) ((float_vector)_mm256_fmadd_ps((__m256)(x), (__m256)(y), (__m256)(z)))

typedef unsigned mask;

TARGET static inline __attribute__((always_inline)) __attribute__((vector_size(32))) unsigned
count_bytes(__attribute__((vector_size(32))) unsigned v)
{
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, /* set bits of 0 to 15 */
                                           0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i low = _mm256_and_si256((__m256i)v, nibble);
    __m256i high = _mm256_and_si256(_mm256_srli_epi32((__m256i)v, 4), nibble);
    return (__attribute__((vector_size(32))) unsigned)_mm256_add_epi8(_mm256_shuffle_epi8(table, low),
                                                                      _mm256_shuffle_epi8(table, high));
}

#include "../tile.inc"

#endif
