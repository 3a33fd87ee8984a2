/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 with VPOPCNTDQ counts bits: a tile of 7 pixels by 64 channels fills 28 of the 32 registers.  (A processor that
 * has it has VNNI, too, for avx512vnni.) */
#include "../kernels.h"

#if defined(__GNUC__) && defined(__x86_64__)

#include <immintrin.h>

#define FAMILY avx512
#define NO_BYTES
#define NEXT_FAMILY avx512vnni
#define OTHERS avx512bw
#define FEATURES (BNN_FEATURE_AVX512 | BNN_FEATURE_VPOPCNTDQ)
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq")))
#define PIXELS 7
#define RELOAD
#define POPCOUNT(v) ((word_vector)_mm512_popcnt_epi32((__m512i)(v)))

#include "wide.inc"

#endif
