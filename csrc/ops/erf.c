/* SPDX-License-Identifier: Apache-2.0 */
/* erf: the error function. */
#include "ops/functions.h"

BNN_FUNCTION(erf, erff(x));
