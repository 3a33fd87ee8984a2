/* SPDX-License-Identifier: Apache-2.0 */
/* conv2d: convolution of floats by float filters, any groups; dense layers are 1x1 images. */
#include "ops/conv/conv.h"

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_conv_prepare(p, op, BNN_CONV_FLOATS);
}

const struct bnn_op_row bnn_op_row_conv2d = {
    BNN_ROW(conv2d),
    .prepare = prepare,
    .run = bnn_conv_run,
};
