/* SPDX-License-Identifier: Apache-2.0 */
/* The functions of csrc/mcu/functions.h over all floats.
 *
 *     functions values NAME EXPONENT STEP           their bytes at every STEP-th float, to standard output
 *     functions error NAME EXPONENT FIRST STEP      how far they are from the true value: the largest error in units in
 *                                                   the last place, where it is, and how many floats were tried
 *
 * The true value is the C library's of a double, whose own error is a billionth of such a unit.  STEP is a power of two. */
#include "mcu/functions.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 4096, NAMES = 8 };

static float exponent;

static void power(float *out, const float *in, size_t n)
{
    bnn_pow(out, in, n, exponent);
}

static double true_power(double x)
{
    return pow(fabs(x) < FLT_MIN ? copysign(0.0, x) : x, exponent);
}

static const struct {
    const char *name;
    void (*ours)(float *out, const float *in, size_t n);
    double (*true_value)(double x); /* or NULL: several operations that round */
} functions[NAMES] = {
    {"exp", bnn_exp, exp},       {"tanh", bnn_tanh, tanh},   {"erf", bnn_erf, erf},          {"erfc", bnn_erfc, erfc},
    {"log1p", bnn_log1p, log1p}, {"pow", power, true_power}, {"sigmoid", bnn_sigmoid, NULL}, {"elu", bnn_elu, NULL},
};

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* In units in the last place of the true value; infinity for what is no rounding: NaN, a sign, an overflow. */
static double error_of(float found, double expected)
{
    double most = (double)FLT_MAX + 0x1p103; /* from here on, the nearest float is infinity */
    int exponent_of_value;
    if (isnan(expected))
        return bits_of(found) == 0x7fc00000 ? 0.0 : INFINITY;
    if (isnan(found) || !signbit(found) != !signbit(expected))
        return INFINITY;
    if (isinf(found))
        return fabs(expected) >= most ? 0.0 : INFINITY;
    if (isinf(expected))
        return INFINITY;
    frexp(fmin(fmax(fabs(expected), FLT_MIN), FLT_MAX), &exponent_of_value);
    return fabs(found - expected) / ldexp(1.0, exponent_of_value - FLT_MANT_DIG);
}

int main(int argc, char **argv)
{
    int values = argc == 5 && strcmp(argv[1], "values") == 0, errors = argc == 6 && strcmp(argv[1], "error") == 0,
        i = 0;
    while (i < NAMES && argc > 2 && strcmp(functions[i].name, argv[2]) != 0)
        i++;
    if ((!values && !errors) || i == NAMES || (errors && !functions[i].true_value))
        return 2;
    exponent = strtof(argv[3], NULL);
    uint64_t first = errors ? strtoull(argv[4], NULL, 10) : 0, step = strtoull(argv[argc - 1], NULL, 10), tried = 0;
    static float in[BLOCK], out[BLOCK];
    double worst = 0.0;
    float at = 0.0f;
    for (uint64_t next = first; next <= UINT32_MAX;) {
        size_t n = 0;
        for (; n < BLOCK && next <= UINT32_MAX; n++, next += step) {
            uint32_t bits = (uint32_t)next;
            memcpy(&in[n], &bits, sizeof bits);
        }
        functions[i].ours(out, in, n);
        tried += n;
        if (values && fwrite(out, sizeof *out, n, stdout) != n)
            return 1;
        for (size_t k = 0; errors && k < n; k++) {
            double error = error_of(out[k], functions[i].true_value(in[k]));
            if (error > worst) {
                worst = error;
                at = in[k];
            }
        }
    }
    if (errors)
        printf("%.4f %a %llu\n", worst, at, (unsigned long long)tried);
    return 0;
}
