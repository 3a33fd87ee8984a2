/* SPDX-License-Identifier: Apache-2.0 */
/* sqrt: the square root of x. */
#include "ops/functions.h"

BNN_FUNCTION(sqrt, sqrtf(bnn_flushed(x)));
