/* SPDX-License-Identifier: Apache-2.0 */
/* tanh: tanh(x). */
#include "ops/functions.h"

BNN_FUNCTION(tanh, BNN_OP_TANH, tanhf(x));
