/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 with VNNI sums bytes. */
#include "../kernels.h"

#if defined(__GNUC__) && defined(__x86_64__)

#include <immintrin.h>

#define FAMILY avx512vnni
#define NO_BITS
#define NEXT_FAMILY avx512bw
#define OTHERS avx512bw
#define FEATURES (BNN_FEATURE_AVX512 | BNN_FEATURE_VNNI)
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define PIXELS 6
#define BYTE_TAPS 4
#define PACKED_BYTES
#define BYTES_ADD(s, x, w) ((word_vector)add_products((__m512i)(s), (__m512i)(x), (__m512i)(w)))

/* gcc 12 keeps copies of sums in memory with _mm512_dpbusd_epi32. */
TARGET static inline __attribute__((always_inline)) __m512i add_products(__m512i s, __m512i x, __m512i w)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(s) : "v"(x), "v"(w));
    return s;
}

#include "wide.inc"

#endif
