/* SPDX-License-Identifier: Apache-2.0 */
#include "mcu/gather.h"

const uint32_t *bnn_mcu_gather(const struct bnn_mcu_shape *shape, const uint32_t *x, uint32_t *window)
{
    uint32_t *to = window;
    if (shape->rows == 1 && shape->taps == 1)
        return x;
    for (size_t row = 0; row < shape->rows; row++, x += shape->window_row) {
        const uint32_t *run = x;
        for (size_t tap = 0; tap < shape->taps; tap++, run += shape->tap)
            for (size_t k = 0; k < shape->length; k++)
                *to++ = run[k];
    }
    return window;
}
