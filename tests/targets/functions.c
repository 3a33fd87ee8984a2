/* SPDX-License-Identifier: Apache-2.0 */
/* Prints what csrc/mcu/functions.c computes of the numbers in operands.inc. */
#include "mcu/functions.h"
#include "model/ops.gen.h"
#include "target.h"

#include <string.h>

/* enum: COUNT; static const uint32_t: `bits`, of COUNT floats, and `exponents`, of the powers */
#include "operands.inc"

static float in[COUNT], out[COUNT];

#define PRINT(NAME)             \
    bnn_##NAME(out, in, COUNT); \
    target_bytes(#NAME, out, sizeof out);

int main(void)
{
    memcpy(in, bits, sizeof in);
    BNN_CURVES(PRINT)
    for (size_t i = 0; i < sizeof exponents / sizeof *exponents; i++) {
        float exponent;
        memcpy(&exponent, &exponents[i], sizeof exponent);
        bnn_pow(out, in, COUNT, exponent);
        target_bytes("pow", out, sizeof out);
    }
    return 0;
}
