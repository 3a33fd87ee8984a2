/* SPDX-License-Identifier: Apache-2.0 */
/* exp, tanh, erf, erfc, log1p, pow and what is made of them, the same bytes on every target: they use float32 and uint32
 * alone, in a fixed order, and nothing of the C library.
 *
 * out[i] = f(in[i]) for i < n.  out may equal in, otherwise they do not overlap; n may be 0.  Nothing is allocated, no
 * state is kept: threads may call these at once.
 *
 * Errors, in units in the last place of the result (the distance of floats around the true value; 2^-149 among
 * denormals): below 1 for every float; pow: for every float and the exponents that tests/ops/test_functions.py tries,
 * which measures all of this.  A power that is a float is exact.  Denormals are operands and results like others, except
 * for pow's operand.  What overflows is infinity.  The result for NaN, and outside a function's domain, is the NaN
 * 0x7fc00000.
 *
 * This needs the arithmetic of IEEE 754, rounding to nearest, denormals kept: a processor that flushes them (the vector
 * units of Armv7) differs where an operand or result is one.  The compiler must not contract a * b + c to a fused
 * multiply-add, nor reorder sums.  gcc contracts unless it is told not to (-std=c11 or -ffp-contract=off; its gnu modes
 * contract), where the processor has such an instruction; the pragma of the standard, which it does not know, is
 * for others.  -ffast-math reorders. */
#ifndef BNN_FUNCTIONS_H
#define BNN_FUNCTIONS_H

#include <stddef.h>

/* Inexact from -103.98 (below: 0) to 88.73 (above: infinity). */
void bnn_exp(float *out, const float *in, size_t n);
/* An odd function; of magnitude 1 from 9.02 on. */
void bnn_tanh(float *out, const float *in, size_t n);
/* An odd function; of magnitude 1 from 3.92 on. */
void bnn_erf(float *out, const float *in, size_t n);
/* 1 - erf, from 2 (below -3.84) to 0 (above 10.06). */
void bnn_erfc(float *out, const float *in, size_t n);
/* log(1 + x); -0 of -0, -infinity of -1, NaN below it. */
void bnn_log1p(float *out, const float *in, size_t n);
/* in[i] to the power `exponent`, which may be any float; the special cases are those of C's Annex F.  Denormals of in
 * count as zeros of their sign: their powers are far from those of zero, and TensorFlow takes them so. */
void bnn_pow(float *out, const float *in, size_t n, float exponent);

/* Made of several operations, each rounded once, as in TensorFlow: */
/* 1 / (1 + exp(-x)) */
void bnn_sigmoid(float *out, const float *in, size_t n);
/* exp(x) - 1 where x < 0 (0 just below it), else x. */
void bnn_elu(float *out, const float *in, size_t n);
/* exp(x - m) / sum of exp(x - m), m the largest of the n >= 1 values, so that no exponential overflows; the sum is from
 * the first to the last.  NaN in one value, or infinities as the largest, make all NaN. */
void bnn_softmax(float *out, const float *in, size_t n);

#endif
