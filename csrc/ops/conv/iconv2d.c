/* SPDX-License-Identifier: Apache-2.0 */
/* iconv2d: convolution of bytes by signs, or by -1, 0 and +1, in integers; dense layers are 1x1 images. */
#include "ops/conv/conv.h"

static bnn_status prepare(struct bnn_prepare *p, struct bnn_op *op)
{
    return bnn_conv_prepare(p, op, BNN_CONV_BYTES);
}

const struct bnn_op_row bnn_op_row_iconv2d = {
    BNN_ROW(iconv2d),
    .prepare = prepare,
    .run = bnn_conv_run,
};
