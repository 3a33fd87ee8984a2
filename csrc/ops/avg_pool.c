/* SPDX-License-Identifier: Apache-2.0 */
/* avg_pool: the mean over the taps inside the image; summed row by row, then divided by their number. */
#include "ops/pool.h"

static void run(const struct bnn_run *r)
{
    bnn_run_sums(r, 1);
}

const struct bnn_op_row bnn_op_row_avg_pool = {
    BNN_ROW_avg_pool,
    .work = bnn_pool_work,
    .prepare = bnn_prepare_sums,
    .run = run,
};
