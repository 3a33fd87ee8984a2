/* SPDX-License-Identifier: Apache-2.0 */
/* sum_pool: the sum of the taps inside the image. */
#include "ops/pool.h"

static void run(const struct bnn_run *r)
{
    bnn_run_sums(r, 0);
}

const struct bnn_op_row bnn_op_row_sum_pool = {
    BNN_ROW_sum_pool,
    .work = bnn_pool_work,
    .prepare = bnn_prepare_sums,
    .run = run,
};
