/* SPDX-License-Identifier: Apache-2.0 */
/* bconv2d: convolution of bits by binary filters; dense layers are 1x1 images. */
#include "ops/conv/conv.h"

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_conv_prepare(p, op, BNN_CONV_BITS);
}

const struct bnn_op_row bnn_op_row_bconv2d = {
    BNN_ROW(bconv2d),
    .prepare = prepare,
    .run = bnn_conv_run,
};
