/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's register-loop rates: what every share of bench_kernels is a share of. */
#ifndef BENCH_PEAK_H
#define BENCH_PEAK_H

#include <stddef.h>

/* Runs a loop `rounds` times and returns its multiply-accumulates, or 0 where the processor cannot run it. */
typedef double bench_peak(size_t rounds);

struct bench_rate {
    const char *name;
    int binary;
    bench_peak *run;
};

extern const struct bench_rate bench_rates[];
extern const size_t bench_rate_count;

struct bnn_kernels;
/* The family that lost against AVX2's (classic.c); NULL where the processor cannot run it. */
const struct bnn_kernels *bench_classic(void);

#endif
