/* SPDX-License-Identifier: Apache-2.0 */
/* Float filters as stored in a file: losslessly, in fewer than four bytes per number.
 * docs/reference/model-format.md specifies the encodings. */
#ifndef BNN_CODING_H
#define BNN_CODING_H

#include "model/internal.h"

/* Bytes that a coded constant with this number of elements, `row` per filter, should have in the file.  `stored` is the size
 * that the file states; the size of compact floats depends on their first bytes. */
uint64_t bnn_coded_bytes(bnn_encoding encoding, uint64_t elements, uint64_t row, const unsigned char *data,
                         uint64_t stored);

/* Checks what bnn_coded_bytes does not; the size must be right.  Returns NULL if the constant can be read, otherwise
 * the problem. */
const char *bnn_check_coded(const struct bnn_tensor *t, int64_t *found, int64_t *expected);

/* Elements `first` to first + count - 1 of a constant of floats, all of one filter, whatever its encoding. */
void bnn_read_floats(const struct bnn_tensor *t, size_t first, size_t count, float *values);

#endif
