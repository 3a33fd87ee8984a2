/* AVX-512 with VPOPCNTDQ: 16 channels a vector; a tile of 7 pixels by 64 channels fills 28 of the 32 registers. */
#include <immintrin.h>

#define FAMILY avx512
#define FEATURES (BNN_FEATURE_AVX512 | BNN_FEATURE_VPOPCNTDQ)
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq")))
#define VL 16
#define LANES 64
#define PIXELS 7
#define FLOAT_PIXELS 7
#define VECTORS 4
#define RELOAD
#define POPCOUNT(v) ((word_vector)_mm512_popcnt_epi32((__m512i)(v)))
#define MASK_LE(x, y) _mm512_cmple_epi32_mask((__m512i)(x), (__m512i)(y))
#define MASK_BIT(v) _mm512_cmp_ps_mask((__m512)(v), _mm512_set1_ps(BNN_BIT_ABOVE), _CMP_GT_OQ)
#define MASK_NAN(v) _mm512_cmp_ps_mask((__m512)(v), (__m512)(v), _CMP_UNORD_Q)
#define MAX(x, y) ((float_vector)_mm512_max_ps((__m512)(x), (__m512)(y)))
#define MIN(x, y) ((float_vector)_mm512_min_ps((__m512)(x), (__m512)(y)))
#define SOME(n) ((__mmask16)((n) >= VL ? 0xffffu : (1u << (n)) - 1))
#define LOAD_SOME(p, n) ((float_vector)_mm512_maskz_loadu_ps(SOME(n), p))
#define STORE_SOME(p, v, n) _mm512_mask_storeu_ps(p, SOME(n), (__m512)(v))
#define SPLAT(x) ((float_vector)_mm512_set1_ps(x))
#define FMA(x, y, z) ((float_vector)_mm512_fmadd_ps((__m512)(x), (__m512)(y), (__m512)(z)))

#include "../tile.inc"
