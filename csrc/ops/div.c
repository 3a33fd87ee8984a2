/* SPDX-License-Identifier: Apache-2.0 */
#include "ops/elementwise.h"

#define OP div

/* IEEE 754: a number by zero is an infinity, zero by zero is not a number. */
static inline float element(float x, float y)
{
    return x / y;
}

#include "ops/elementwise.inc"
