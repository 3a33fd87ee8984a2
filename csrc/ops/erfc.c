/* SPDX-License-Identifier: Apache-2.0 */
/* erfc: 1 - erf(x), the complementary error function. */
#include "ops/functions.h"

BNN_FUNCTION(erfc, erfcf(x));
