/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/elementwise.h"

#define OP minimum

/* If either is not a number, nor is the result. */
static inline float element(float x, float y)
{
    return x <= y || x != x ? x : y;
}

#include "ops/elementwise.inc"
