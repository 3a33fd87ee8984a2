/* SPDX-License-Identifier: Apache-2.0 */
/* Ops of two float operands that broadcast like NumPy's: what they check, and how their operands are walked. */
#ifndef BNN_ELEMENTWISE_H
#define BNN_ELEMENTWISE_H

#include "run/blocks.h"
#include "ops/check.h"
#include "run/view.h"

/* Two f32 operands, at most one of them constant; each dimension is 1 or the output's. */
bnn_status bnn_prepare_elementwise(struct bnn_prepare *p, struct bnn_op *op);

#endif
