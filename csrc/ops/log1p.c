/* SPDX-License-Identifier: Apache-2.0 */
/* log1p: log(1 + x). */
#include "ops/functions.h"

BNN_FUNCTION(log1p, BNN_OP_LOG1P, log1pf(x));
