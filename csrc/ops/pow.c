/* SPDX-License-Identifier: Apache-2.0 */
/* pow: x to the power of a number. */
#include "ops/functions.h"

BNN_FUNCTION(pow, powf(bnn_flushed(x), ((const struct bnn_pow_attrs *)attrs)->exponent));
