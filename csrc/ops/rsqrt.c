/* SPDX-License-Identifier: Apache-2.0 */
/* rsqrt: 1 / sqrt(x). */
#include "ops/functions.h"

BNN_FUNCTION(rsqrt, 1.0f / sqrtf(bnn_flushed(x)));
