/* SPDX-License-Identifier: Apache-2.0 */
/* exp: exp(x). */
#include "ops/functions.h"

BNN_FUNCTION(exp, expf(x));
