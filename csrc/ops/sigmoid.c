/* SPDX-License-Identifier: Apache-2.0 */
/* sigmoid: 1 / (1 + exp(-x)). */
#include "ops/functions.h"

BNN_FUNCTION(sigmoid, 1.0f / (1.0f + expf(-x)));
