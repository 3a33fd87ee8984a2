/* SPDX-License-Identifier: Apache-2.0 */
/* What a convolution does with its sums, as the file says it; opening checked it. */
#include "bits.h"
#include "model/internal.h"

uint32_t bnn_slot_input(const struct bnn_op *op, uint32_t slot)
{
    uint32_t slots = (uint32_t)((const struct bnn_conv_attrs *)op->attrs)->slots;
    return slots & slot ? 2 + bnn_popcount(slots & BNN_SLOTS_WITH_OPERAND & (slot - 1)) : 0;
}

static const void *operand(const struct bnn_model *m, const struct bnn_op *op, uint32_t slot)
{
    uint32_t input = bnn_slot_input(op, slot);
    return input != 0 ? bnn_op_input(m, op, input)->data : NULL;
}

struct bnn_epilogue bnn_op_epilogue(const struct bnn_model *m, const struct bnn_op *op)
{
    const struct bnn_conv_attrs *a = op->attrs;
    return (struct bnn_epilogue){
        .pre_mul = operand(m, op, BNN_SLOT_PRE_MUL),
        .pre_add = operand(m, op, BNN_SLOT_PRE_ADD),
        .sub = operand(m, op, BNN_SLOT_SUB),
        .mul = operand(m, op, BNN_SLOT_MUL),
        .add = operand(m, op, BNN_SLOT_ADD),
        .lo0 = a->clamp0_lo,
        .hi0 = a->clamp0_hi,
        .lo1 = a->clamp1_lo,
        .hi1 = a->clamp1_hi,
        .clamp0 = ((uint32_t)a->slots & BNN_SLOT_CLAMP0) != 0,
        .clamp1 = ((uint32_t)a->slots & BNN_SLOT_CLAMP1) != 0,
    };
}

struct bnn_requantizer bnn_op_requantizer(const struct bnn_model *m, const struct bnn_op *op)
{
    const int32_t *range = operand(m, op, BNN_SLOT_RANGE);
    if (range == NULL)
        return (struct bnn_requantizer){.multiplier = NULL};
    return (struct bnn_requantizer){
        operand(m, op, BNN_SLOT_MULTIPLIER), operand(m, op, BNN_SLOT_SHIFT), range[0], range[1], range[2], range[3]};
}

struct bnn_epilogue bnn_keep_slots(struct bnn_epilogue e, uint32_t keep)
{
    static const uint32_t slots[] = {BNN_SLOT_PRE_MUL, BNN_SLOT_PRE_ADD, BNN_SLOT_SUB, BNN_SLOT_MUL, BNN_SLOT_ADD};
    const float **operands[] = BNN_EPILOGUE_OPERANDS(&e);
    for (size_t i = 0; i < sizeof operands / sizeof operands[0]; i++)
        if (!(keep & slots[i]))
            *operands[i] = NULL;
    e.clamp0 = e.clamp0 && (keep & BNN_SLOT_CLAMP0);
    e.clamp1 = e.clamp1 && (keep & BNN_SLOT_CLAMP1);
    return e;
}
