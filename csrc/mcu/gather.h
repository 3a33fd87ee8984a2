/* SPDX-License-Identifier: Apache-2.0 */
/* What convolutions of bits share: windows and classes. */
#ifndef BNN_MCU_GATHER_H
#define BNN_MCU_GATHER_H

#include "mcu/conv.h"

/* Elements of a window. */
static inline size_t bnn_mcu_window(const struct bnn_mcu_shape *shape)
{
    return (size_t)shape->rows * shape->taps * shape->length;
}

/* The window of an output pixel as one run of words: x, or else in `window`.  A function of its own, so that the loops
 * over filters have all registers. */
const uint32_t *bnn_mcu_gather(const struct bnn_mcu_shape *shape, const uint32_t *x, uint32_t *window);

/* The class of an output pixel. */
static inline size_t bnn_mcu_class(const uint8_t *classes, size_t height, size_t row, size_t column)
{
    return classes == NULL ? 0 : (size_t)classes[row] + classes[height + column];
}

#endif
