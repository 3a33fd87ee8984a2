/* SPDX-License-Identifier: Apache-2.0 */
/* log1p: log(1 + x). */
#include "ops/functions.h"

BNN_FUNCTION(log1p, log1pf(x));
