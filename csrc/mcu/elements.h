/* SPDX-License-Identifier: Apache-2.0 */
/* Functions of one float that are not in C, for the runtime's ops and for firmware. */
#ifndef BNN_ELEMENTS_H
#define BNN_ELEMENTS_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Denormals as zeros of their sign. */
static inline float bnn_flushed(float x)
{
    return fabsf(x) < FLT_MIN ? copysignf(0.0f, x) : x;
}

/* -1, 0 or +1 (0 for zeros of either sign, and for denormals); NaN stays. */
static inline float bnn_sign(float x)
{
    return x != x ? x : (float)(x >= FLT_MIN) - (float)(x <= -FLT_MIN);
}

#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD == 0 && !defined(__FAST_MATH__)
typedef float bnn_float32;
#else
typedef volatile float bnn_float32; /* rounded, where compilers keep or assume more */
#endif

/* To the nearest integer, halves to even.  Floats from 2^23 on are integers, and adding 2^23 to a smaller one leaves no
 * bits for a fraction: the addition rounds. */
static inline float bnn_nearest(float v)
{
    const float integers = 8388608.0f;
    float magnitude = fabsf(v);
    bnn_float32 shifted = magnitude + integers;
    float whole = shifted - integers;
    return magnitude < integers ? copysignf(whole, v) : v;
}

/* To the nearest integer, or the next one in a direction: down (-1) or up (1); denormals count as zero. */
static inline float bnn_rounded(float v, int32_t direction)
{
    float whole = bnn_nearest(v);
    if (direction != 0 && fabsf(v) >= FLT_MIN) {
        float past = direction < 0 ? whole - v : v - whole;
        whole -= past > 0.0f ? (float)-direction : 0.0f;
    }
    return copysignf(whole, v);
}

/* v where v >= 0, else v * slope.  With integers, which compilers turn into vector operations without branches; -0 stays
 * -0: the sign bit of its bits minus one is clear. */
static inline float bnn_prelu(float v, float slope)
{
    const uint32_t one = 0x3f800000u; /* 1.0f */
    uint32_t bits, scale;
    memcpy(&bits, &v, sizeof bits);
    memcpy(&scale, &slope, sizeof scale);
    uint32_t negative = 0u - ((bits & (bits - 1u)) >> 31);
    scale = (scale & negative) | (one & ~negative);
    float factor;
    memcpy(&factor, &scale, sizeof factor);
    return v * factor;
}

#endif
