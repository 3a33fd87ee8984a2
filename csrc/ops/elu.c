/* SPDX-License-Identifier: Apache-2.0 */
/* elu: exp(x) - 1 where x < 0, as TensorFlow computes it (0 just below 0), else x. */
#include "ops/functions.h"

BNN_FUNCTION(elu, x < 0.0f ? expf(x) - 1.0f : x);
