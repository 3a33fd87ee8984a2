/* SPDX-License-Identifier: Apache-2.0 */
/* Filters of floats as a file holds them: shorter than four bytes a number, and never another number.
 * docs/model-format.md specifies the encodings. */
#ifndef BNN_CODING_H
#define BNN_CODING_H

#include "model/internal.h"

/* Bytes that a constant of so many elements, `row` of them in a filter, should have in the file.  `stored` is what it
 * says it has there: those of compact floats depend on what they begin with. */
uint64_t bnn_coded_bytes(bnn_encoding encoding, uint64_t elements, uint64_t row, const unsigned char *data,
                         uint64_t stored);

/* What bnn_coded_bytes does not see; the size must be right.  NULL: it can be read; else what is wrong. */
const char *bnn_check_coded(const struct bnn_tensor *t, int64_t *found, int64_t *expected);

/* Elements `first` to first + count - 1 of a constant of floats, whatever its encoding. */
void bnn_read_floats(const struct bnn_tensor *t, size_t first, size_t count, float *values);

#endif
