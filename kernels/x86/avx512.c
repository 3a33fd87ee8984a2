/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 with VPOPCNTDQ and VNNI (no processor has only one of them): 16 channels per vector; a tile of 7 pixels by 64
 * channels fills 28 of the 32 registers. */
#include "../kernels.h"

#if defined(__GNUC__) && defined(__x86_64__)

#include <immintrin.h>

#define FAMILY avx512
#define FEATURES (BNN_FEATURE_AVX512 | BNN_FEATURE_VPOPCNTDQ | BNN_FEATURE_VNNI)
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq,avx512vnni")))
#define VL 16
#define LANES 64
#define PIXELS 7
#define FLOAT_PIXELS 6
#define VECTORS 4
#define RELOAD
#define POPCOUNT(v) ((word_vector)_mm512_popcnt_epi32((__m512i)(v)))
#define BYTE_TAPS 4
#define BYTES_ADD(s, x, w) ((word_vector)_mm512_dpbusd_epi32((__m512i)(s), (__m512i)(x), (__m512i)(w)))
#define MASK_LT(x, y) _mm512_cmplt_epi32_mask((__m512i)(x), (__m512i)(y))
#define MASK_GT(x, y) _mm512_cmp_ps_mask((__m512)(x), (__m512)(y), _CMP_GT_OQ)
#define MASK_NAN(v) _mm512_cmp_ps_mask((__m512)(v), (__m512)(v), _CMP_UNORD_Q)
#define WIDE_LT(count, limit) \
    compare_wide((__m512i)(count)[0], (__m512i)(count)[1], (__m512i)(count)[2], (__m512i)(count)[3], limit)
#define MAX(x, y) ((float_vector)_mm512_max_ps((__m512)(x), (__m512)(y)))
#define MIN(x, y) ((float_vector)_mm512_min_ps((__m512)(x), (__m512)(y)))
#define SOME(n) ((__mmask16)((n) >= VL ? 0xffffu : (1u << (n)) - 1))
#define LOAD_SOME(p, n) ((float_vector)_mm512_maskz_loadu_ps(SOME(n), p))
#define STORE_SOME(p, v, n) _mm512_mask_storeu_ps(p, SOME(n), (__m512)(v))
#define SPLAT(x) ((float_vector)_mm512_set1_ps(x))
#define FMA(x, y, z) ((float_vector)_mm512_fmadd_ps((__m512)(x), (__m512)(y), (__m512)(z)))
#define FUSED
#define NEGATIVE(m) (uint32_t)_mm512_movepi16_mask(_mm512_loadu_si512(m))
#define WIDEN(v) ((int_vector)_mm512_cvtepi8_epi32((__m128i)(v)))
#define SUM_VECTORS 16
#define COMPRESS(p, v, m) _mm512_storeu_si512(p, _mm512_maskz_compress_epi32(m, (__m512i)(v)))
#define SIGN_EXTEND(v) ((short_vector)_mm512_cvtepi8_epi16((__m256i)(v)))

typedef __mmask16 mask;

/* Bit l: count l < limit l, for 64 lanes.  Four comparisons into mask registers and joining these is slower: mask
 * operations share one port.  Differences keep their sign when narrowed to bytes; narrowing works on 128-bit parts, so
 * parts come out as rows of four and are transposed. */
TARGET static inline __attribute__((always_inline)) unsigned long long compare_wide(__m512i c0, __m512i c1, __m512i c2,
                                                                                    __m512i c3, const void *limits)
{
    const __m512i *limit = limits;
    __m512i d0 = _mm512_sub_epi32(c0, _mm512_loadu_si512(limit + 0));
    __m512i d1 = _mm512_sub_epi32(c1, _mm512_loadu_si512(limit + 1));
    __m512i d2 = _mm512_sub_epi32(c2, _mm512_loadu_si512(limit + 2));
    __m512i d3 = _mm512_sub_epi32(c3, _mm512_loadu_si512(limit + 3));
    __m512i bytes = _mm512_packs_epi16(_mm512_packs_epi32(d0, d1), _mm512_packs_epi32(d2, d3));
    __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _cvtmask64_u64(_mm512_movepi8_mask(_mm512_permutexvar_epi32(order, bytes)));
}

#include "../tile.inc"

#endif
