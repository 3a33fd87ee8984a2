/* SPDX-License-Identifier: Apache-2.0 */
/* Buffers between pages that cannot be touched: reading or writing one element too far ends the program.  On WebAssembly,
 * which has no such pages, writing does, when the buffers are freed. */
#ifndef GUARD_H
#define GUARD_H

#include <stddef.h>

/* `bytes` bytes, 4-byte aligned: they end at a forbidden page, or begin after one where at_start is set; bytes may be
 * 0.  Filled with junk. */
void *guard_alloc(size_t bytes, int at_start);
/* Frees all of them. */
void guard_free_all(void);

#endif
