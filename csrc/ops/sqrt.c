/* SPDX-License-Identifier: Apache-2.0 */
/* sqrt: the square root of x. */
#include "ops/functions.h"

BNN_FUNCTION(sqrt, BNN_OP_SQRT, sqrtf(bnn_flushed(x)));
