/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 looks differing bits up, where VPOPCNTDQ is missing.  Bytes are those of avx2, or avx512vnni: vectors of twice the
 * length would gain a third at most, because 512 bits take the place of two of three pipes. */
#include "../kernels.h"

#if defined(__GNUC__) && defined(__x86_64__)

#include <immintrin.h>

#define FAMILY avx512bw
#define NO_BYTES
#define NEXT_FAMILY avx2
#define FEATURES BNN_FEATURE_AVX512
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define PIXELS 4
#define COUNT "x86/lookup.inc"
#define EXPANSION 2

#include "wide.inc"

#endif
