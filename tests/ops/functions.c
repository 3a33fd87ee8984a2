/* SPDX-License-Identifier: Apache-2.0 */
/* functions NAME EXPONENT STEP: the bytes of a function at every STEP-th float, a power of two, to standard output.
 *
 * FUNCTIONS: ROW(name, statement) of each, from the ops' records; a statement fills out[n] from in[n]. */
#include "epilogue.h"
#include "mcu/elements.h"
#include "mcu/functions.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096 };

#define ROW(NAME, ...)                                                               \
    static void NAME##_values(float *out, const float *in, size_t n, float exponent) \
    {                                                                                \
        (void)exponent;                                                              \
        __VA_ARGS__;                                                                 \
    }
FUNCTIONS
#undef ROW

#define ROW(NAME, ...) {#NAME, NAME##_values},
static const struct {
    const char *name;
    void (*values)(float *out, const float *in, size_t n, float exponent);
} functions[] = {FUNCTIONS};

int main(int argc, char **argv)
{
    size_t i = 0;
    if (argc != 4)
        return 2;
    while (strcmp(functions[i].name, argv[1]) != 0)
        if (++i == sizeof functions / sizeof *functions)
            return 2;
    static float in[BLOCK], out[BLOCK];
    for (uint64_t next = 0, step = strtoull(argv[3], NULL, 10); next <= UINT32_MAX;) {
        size_t n = 0;
        for (; n < BLOCK && next <= UINT32_MAX; n++, next += step) {
            uint32_t bits = (uint32_t)next;
            memcpy(&in[n], &bits, sizeof bits);
        }
        functions[i].values(out, in, n, strtof(argv[2], NULL));
        if (fwrite(out, sizeof *out, n, stdout) != n)
            return 1;
    }
    return 0;
}
