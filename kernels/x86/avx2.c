/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2: 8 channels per vector; differing bits are looked up. */
#include "../kernels.h"

#if defined(__GNUC__) && defined(__x86_64__)

#include <immintrin.h>

#define FEATURES BNN_FEATURE_AVX2
#define TARGET __attribute__((target("avx2,fma,bmi,popcnt")))
#define VL 8
#define MASK_LT(x, y) ((unsigned)_mm256_movemask_ps((__m256)_mm256_cmpgt_epi32((__m256i)(y), (__m256i)(x))))
#define MASK_GT(x, y) ((unsigned)_mm256_movemask_ps(_mm256_cmp_ps((__m256)(x), (__m256)(y), _CMP_GT_OQ)))
#define MASK_UNORDERED(x, y) ((unsigned)_mm256_movemask_ps(_mm256_cmp_ps((__m256)(x), (__m256)(y), _CMP_UNORD_Q)))
#define MAX(x, y) ((float_vector)_mm256_max_ps((__m256)(x), (__m256)(y)))
#define MIN(x, y) ((float_vector)_mm256_min_ps((__m256)(x), (__m256)(y)))
#define SOME(n) \
    _mm256_cmpgt_epi32(_mm256_set1_epi32((int)((n) < VL ? (n) : VL)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
#define LOAD_SOME(p, n) ((float_vector)_mm256_maskload_ps(p, SOME(n)))
#define STORE_SOME(p, v, n) store_some(p, (__m256)(v), n)
#define SPLAT(x) ((float_vector)_mm256_set1_ps(x))
#define FMA(x, y, z) ((float_vector)_mm256_fmadd_ps((__m256)(x), (__m256)(y), (__m256)(z)))
#define PERMUTE(table, number)                                                                                 \
    ((float_vector)_mm256_blendv_ps(_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), (__m256i)(number)),       \
                                    _mm256_permutevar8x32_ps(_mm256_loadu_ps((table) + 8), (__m256i)(number)), \
                                    _mm256_castsi256_ps(_mm256_slli_epi32((__m256i)(number), 28))))
#define LOOK_UP_16(table, v)           \
    ((byte_vector)_mm256_shuffle_epi8( \
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i_u *)(const void *)(table))), (__m256i)(v)))
#define WHERE_BIT(v, bit, x, y) \
    ((byte_vector)_mm256_blendv_epi8((__m256i)(y), (__m256i)(x), _mm256_slli_epi16((__m256i)(v), 7 - (bit))))
#define FUSED
#define NEGATIVE(m) negative(m)
#define WIDEN(v) ((int_vector)_mm256_cvtepi8_epi32(_mm_cvtsi64_si128((long long)(v))))
#define SIGN_EXTEND(v) ((short_vector)_mm256_cvtepi8_epi16((__m128i)(v)))

#define FAMILY avx2
#define LANES 64
#define PIXELS 4
#define VECTORS 8
#define FLOAT_LANES 32
#define FLOAT_PIXELS 6
#define FLOAT_VECTORS 2
#define COUNT "x86/lookup.inc"
#define EXPANSION 2
#define BYTE_TAPS 4
#define PACKED_BYTES
#define BYTE_ROOM 64 /* sums of two products, each at most 510, in 16 bits */
#define BYTES_ADD(s, x, w) \
    ((word_vector)_mm256_add_epi16((__m256i)(s), _mm256_maddubs_epi16((__m256i)(x), (__m256i)(w))))
#define WIDEN_BYTES(s) _mm256_madd_epi16((__m256i)(s), _mm256_set1_epi16(1))
#define WIDE_TAPS 4
#define EVEN_BYTES(x) _mm256_and_si256((__m256i)(x), _mm256_set1_epi16(255))
#define ODD_BYTES(x) _mm256_srli_epi16((__m256i)(x), 8)
#define EVEN_WEIGHTS(w) _mm256_srai_epi16(_mm256_slli_epi16((__m256i)(w), 8), 8)
#define ODD_WEIGHTS(w) _mm256_srai_epi16((__m256i)(w), 8)
#define WIDE_ADD(s, x, w)                                                                   \
    ((s) + (word_vector)_mm256_add_epi32(_mm256_madd_epi16(EVEN_BYTES(x), EVEN_WEIGHTS(w)), \
                                         _mm256_madd_epi16(ODD_BYTES(x), ODD_WEIGHTS(w))))
#define WIDE_LT(count, limit) compare_wide(count, limit)
#define MULTIPLY_HIGH(v, m, down) multiply_high(v, m, down)
#define INT_MAX_OF(x, y) ((int_vector)_mm256_max_epi32((__m256i)(x), (__m256i)(y)))
#define INT_MIN_OF(x, y) ((int_vector)_mm256_min_epi32((__m256i)(x), (__m256i)(y)))
#define NARROW(v) narrow(v)
#define WIDEN_UNSIGNED(p) ((int_vector)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i_u *)(const void *)(p))))
#define MULTIPLY_BYTES(x, w) ((int_vector)_mm256_madd_epi16((__m256i)(x), (__m256i)(w)))
#define REACHED_32(x, least) reached_32(x, least)
#define ADD_SHORTS(x, y) ((short_vector)_mm256_adds_epi16((__m256i)(x), (__m256i)(y)))
#define SHORTS_REACHED_32(x, t) shorts_reached_32(x, t)

typedef unsigned mask;
typedef int ints_8 __attribute__((vector_size(32)));
typedef uint8_t bytes_8 __attribute__((vector_size(8)));

TARGET static inline __attribute__((always_inline)) bytes_8 narrow(ints_8 v)
{
    __m128i pairs = _mm_packs_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
    return (bytes_8)_mm_cvtsi128_si64(_mm_packus_epi16(pairs, pairs));
}

/* Products of even lanes and of odd ones, 64 bits wide: of the first the result is moved down, of the others up. */
TARGET static inline __attribute__((always_inline)) ints_8 multiply_high(ints_8 v, ints_8 m, int down)
{
    const __m256i half = _mm256_set1_epi64x(down ? 0 : 1 << 30);
    __m256i even = _mm256_mul_epi32((__m256i)v, (__m256i)m);
    __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64((__m256i)v, 32), _mm256_srli_epi64((__m256i)m, 32));
    even = _mm256_srli_epi64(_mm256_add_epi64(even, half), 31);
    odd = _mm256_slli_epi64(_mm256_add_epi64(odd, half), 1);
    return (ints_8)_mm256_blend_epi32(even, odd, 0xaa);
}

TARGET static inline __attribute__((always_inline)) uint32_t reached_32(const uint8_t *x, const uint8_t *least)
{
    const __m256i bytes = _mm256_loadu_si256((const __m256i_u *)(const void *)x);
    const __m256i most = _mm256_max_epu8(bytes, _mm256_loadu_si256((const __m256i_u *)(const void *)least));
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, most));
}

TARGET static inline __attribute__((always_inline)) __m256i below_16(const int16_t *x, const int16_t *t)
{
    return _mm256_cmpgt_epi16(_mm256_loadu_si256((const __m256i_u *)(const void *)t),
                              _mm256_loadu_si256((const __m256i_u *)(const void *)x));
}

TARGET static inline __attribute__((always_inline)) uint32_t shorts_reached_32(const int16_t *x, const int16_t *t)
{
    const __m256i below = _mm256_packs_epi16(below_16(x, t), below_16(x + 16, t + 16));
    return ~(uint32_t)_mm256_movemask_epi8(_mm256_permute4x64_epi64(below, 0xd8));
}

/* Stores with masks are slow in some processors. */
TARGET static BNN_APART void store_some(float *p, __m256 v, size_t n)
{
    __m128 part = _mm256_castps256_ps128(v);
    if (n >= VL) {
        _mm256_storeu_ps(p, v);
        return;
    }
    if (n & 4) {
        _mm_storeu_ps(p, part);
        part = _mm256_extractf128_ps(v, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)(void *)p, part);
        part = _mm_movehl_ps(part, part);
        p += 2;
    }
    if (n & 1)
        _mm_store_ss(p, part);
}

TARGET static inline uint32_t negative(const int16_t *m)
{
    __m256i low = _mm256_loadu_si256((const __m256i_u *)(const void *)m);
    __m256i high = _mm256_loadu_si256((const __m256i_u *)(const void *)(m + 16));
    return (uint32_t)_mm256_movemask_epi8(_mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xd8));
}

/* Bit l: count l < limit l, for 64 lanes.  Differences keep their sign when narrowed to bytes; narrowing works on
 * 128-bit halves, so parts come out as rows of four and are transposed. */
TARGET static inline __attribute__((always_inline)) uint64_t compare_wide(const void *counts, const void *limits)
{
    const __m256i *count = counts;
    const __m256i_u *limit = limits;
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    uint64_t bits = 0;
    for (int half = 1; half >= 0; half--) {
        __m256i d[4];
        _Pragma("GCC unroll 4") for (int j = 0; j < 4; j++) d[j] =
            _mm256_sub_epi32(count[half * 4 + j], limit[half * 4 + j]);
        __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(d[0], d[1]), _mm256_packs_epi32(d[2], d[3]));
        bits = bits << 32 | (uint32_t)_mm256_movemask_epi8(_mm256_permutevar8x32_epi32(bytes, order));
    }
    return bits;
}

#include "../tile.inc"

#endif
