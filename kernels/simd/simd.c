/* SPDX-License-Identifier: Apache-2.0 */
/* The vectors of every x86-64 (SSE2) or ARM64 (NEON) processor, and of WebAssembly with -msimd128; 4 channels per
 * vector.  It uses the compiler's vector extensions, except where intrinsics are better. */
#include "../kernels.h"

#include <string.h>

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__) || defined(__wasm_simd128__))

#ifdef __aarch64__
#include <arm_neon.h>
#define FAMILY neon
#define FEATURES BNN_FEATURE_NEON
#define POPCOUNT(v) ((word_vector)vcntq_u8((uint8x16_t)(v)))
#define FMA(x, y, z) ((float_vector)vfmaq_f32((float32x4_t)(z), (float32x4_t)(x), (float32x4_t)(y)))
#define FUSED
#define ADD_FOURS(sum, bytes) add_fours(sum, bytes)
#define ADD_SHORTS(x, y) ((short_vector)vqaddq_s16((int16x8_t)(x), (int16x8_t)(y)))
#define MULTIPLY_HIGH(v, m, down)                                       \
    ((int_vector)((down) ? vqdmulhq_s32((int32x4_t)(v), (int32x4_t)(m)) \
                         : vqrdmulhq_s32((int32x4_t)(v), (int32x4_t)(m))))
#define INT_MAX_OF(x, y) ((int_vector)vmaxq_s32((int32x4_t)(x), (int32x4_t)(y)))
#define INT_MIN_OF(x, y) ((int_vector)vminq_s32((int32x4_t)(x), (int32x4_t)(y)))
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#define FAMILY simd128
#define FEATURES 0
#define POPCOUNT(v) ((word_vector)wasm_i8x16_popcnt((v128_t)(v)))
#define ADD_SHORTS(x, y) ((short_vector)wasm_i16x8_add_sat((v128_t)(x), (v128_t)(y)))
#define FMA(x, y, z) ((x) * (y) + (z))
#define BYTE_TAPS 2
#define BYTES_ADD(s, x, w) ((s) + (word_vector)wasm_i32x4_dot_i16x8((v128_t)(x), (v128_t)(w)))
#else
#include <immintrin.h>
#define FAMILY sse2
#define FEATURES 0
#define POPCOUNT(v) count_bytes(v)
#define FMA(x, y, z) ((x) * (y) + (z))
#define BYTE_TAPS 2
#define BYTES_ADD(s, x, w) ((s) + (word_vector)_mm_madd_epi16((__m128i)(x), (__m128i)(w)))
#define MAX(x, y) ((float_vector)_mm_max_ps((__m128)(x), (__m128)(y)))
#define MIN(x, y) ((float_vector)_mm_min_ps((__m128)(x), (__m128)(y)))
#define MULTIPLY_HIGH(v, m, down) multiply_high(v, m, down)
#define NARROW(v) narrow(v)
#define WIDEN_UNSIGNED(p) widen_four(p)
#define MULTIPLY_BYTES(x, w) ((int_vector)_mm_madd_epi16((__m128i)(x), (__m128i)(w)))
#define REACHED_32(x, least) (reached_16(x, least) | reached_16((x) + 16, (least) + 16) << 16)
#define ADD_SHORTS(x, y) ((short_vector)_mm_adds_epi16((__m128i)(x), (__m128i)(y)))
#define SHORTS_REACHED_32(x, t) (shorts_reached_16(x, t) | shorts_reached_16((x) + 16, (t) + 16) << 16)
#endif

#define TARGET
#define VL 4
#define LANES 32
#define PIXELS 4
#define FLOAT_PIXELS 4
#define COUNT "simd/count.inc"
#define EXPANSION 1
#ifdef ADD_FOURS
#define VECTORS 4
#define FLOAT_LANES LANES
#define FLOAT_VECTORS 2
#else
#define VECTORS 2
#endif
#define MASK_LT(x, y) signs((x) < (y))
#define MASK_GT(x, y) signs((x) > (y))
#define MASK_UNORDERED(x, y) signs(((x) != (x)) | ((y) != (y)))
#ifndef MAX
#define MAX(x, y) choose((x) > (y), x, y)
#define MIN(x, y) choose((x) < (y), x, y)
#endif
#define LOAD_SOME(p, n) ((n) >= VL ? load_floats(p) : load_some(p, n))
#define STORE_SOME(p, v, n) store_some(p, v, n)
#define SPLAT(x) ((float_vector){x, x, x, x})

typedef unsigned mask;
typedef uint32_t words_4 __attribute__((vector_size(16)));
typedef int32_t ints_4 __attribute__((vector_size(16)));
typedef float floats_4 __attribute__((vector_size(16)));

#ifdef ADD_FOURS
typedef uint8x16_t byte_counts;

/* Lane c: plus the sum of the bytes of vector c; two bytes together fit one. */
static inline words_4 add_fours(words_4 sum, const byte_counts *bytes)
{
    const uint16x8_t low = vpaddlq_u8(vpaddq_u8(bytes[0], bytes[1]));
    const uint16x8_t high = vpaddlq_u8(vpaddq_u8(bytes[2], bytes[3]));
    return (words_4)vpadalq_u16((uint32x4_t)sum, vpaddq_u16(low, high));
}
#endif

#ifdef __x86_64__
typedef uint8_t bytes_4 __attribute__((vector_size(4)));

/* By products of unsigned numbers: a negative v is 2^32 less, and so is its product 2^32 m. */
static inline ints_4 multiply_high(ints_4 v, ints_4 m, int down)
{
    const __m128i half = _mm_set1_epi64x(down ? 0 : 1 << 30), low = _mm_set1_epi64x(0xffffffff);
    __m128i even = _mm_mul_epu32((__m128i)v, (__m128i)m);
    __m128i odd = _mm_mul_epu32(_mm_srli_epi64((__m128i)v, 32), _mm_srli_epi64((__m128i)m, 32));
    even = _mm_and_si128(_mm_srli_epi64(_mm_add_epi64(even, half), 31), low);
    odd = _mm_andnot_si128(low, _mm_slli_epi64(_mm_add_epi64(odd, half), 1));
    return (ints_4)((words_4)_mm_or_si128(even, odd) - (((words_4)m << 1) & (words_4)(v >> 31)));
}

static inline uint32_t reached_16(const uint8_t *x, const uint8_t *least)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i_u *)(const void *)x);
    const __m128i most = _mm_max_epu8(bytes, _mm_loadu_si128((const __m128i_u *)(const void *)least));
    return (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, most));
}

static inline uint32_t shorts_reached_16(const int16_t *x, const int16_t *t)
{
    const __m128i_u *from = (const __m128i_u *)(const void *)x, *at = (const __m128i_u *)(const void *)t;
    const __m128i first = _mm_cmpgt_epi16(_mm_loadu_si128(at), _mm_loadu_si128(from));
    const __m128i second = _mm_cmpgt_epi16(_mm_loadu_si128(at + 1), _mm_loadu_si128(from + 1));
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(first, second)) ^ 0xffff;
}

static inline bytes_4 narrow(ints_4 v)
{
    const __m128i pairs = _mm_packs_epi32((__m128i)v, (__m128i)v);
    return (bytes_4)_mm_cvtsi128_si32(_mm_packus_epi16(pairs, pairs));
}

static inline ints_4 widen_four(const uint8_t *p)
{
    int four;
    memcpy(&four, p, sizeof four);
    const __m128i pairs = _mm_unpacklo_epi8(_mm_cvtsi32_si128(four), _mm_setzero_si128());
    return (ints_4)_mm_unpacklo_epi16(pairs, _mm_setzero_si128());
}

static inline words_4 count_bytes(words_4 v)
{
    v -= (v >> 1) & 0x55555555u;
    v = (v & 0x33333333u) + ((v >> 2) & 0x33333333u);
    return (v + (v >> 4)) & 0x0f0f0f0fu;
}
#endif

/* Bit l: whether lane l is true (-1). */
static inline unsigned signs(ints_4 truth)
{
#ifdef __x86_64__
    return (unsigned)_mm_movemask_ps((__m128)truth);
#else
    words_4 bits = (words_4)truth & (words_4){1, 2, 4, 8};
    return bits[0] | bits[1] | bits[2] | bits[3];
#endif
}

static inline floats_4 load_some(const float *p, size_t n)
{
    return (floats_4){n > 0 ? p[0] : 0.0f, n > 1 ? p[1] : 0.0f, n > 2 ? p[2] : 0.0f, n > 3 ? p[3] : 0.0f};
}

static inline void store_some(float *p, floats_4 v, size_t n)
{
    if (n > 0)
        p[0] = v[0];
    if (n > 1)
        p[1] = v[1];
    if (n > 2)
        p[2] = v[2];
    if (n > 3)
        p[3] = v[3];
}

#include "../tile.inc"

#endif
