/* SPDX-License-Identifier: Apache-2.0 */
/* What pools share. */
#ifndef BNN_POOL_H
#define BNN_POOL_H

#include "ops/check.h"
#include "run/view.h"
#include "run/window.h"

/* Attributes and shapes; the dtypes are the op's to check. */
bnn_status bnn_prepare_pool(struct bnn_prepare *p, const struct bnn_op *op);

/* Pools of floats that sum the taps of every window, and may divide by their number. */
bnn_status bnn_prepare_sums(struct bnn_prepare *p, struct bnn_op *op);
uint64_t bnn_pool_work(const struct bnn_model *m, const struct bnn_op *op);
void bnn_run_sums(const struct bnn_run *r, int divides);

#endif
