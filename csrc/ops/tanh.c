/* SPDX-License-Identifier: Apache-2.0 */
/* tanh: tanh(x). */
#include "ops/functions.h"

BNN_FUNCTION(tanh, tanhf(x));
