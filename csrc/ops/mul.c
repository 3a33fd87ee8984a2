/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/elementwise.h"

#define OP mul

static inline float element(float x, float y)
{
    return x * y;
}

#include "ops/elementwise.inc"
