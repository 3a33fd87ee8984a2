/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of values by signs, for processors without vectors.  Of every four values, the sums under all sixteen patterns of
 * signs are a table, which all filters look up: a filter's word of 32 signs takes eight additions. */
#ifndef BNN_KERNELS_FLASH_FOURS_H
#define BNN_KERNELS_FLASH_FOURS_H

#include "count.h"

/* The type of sums of four values: enough for bytes, if a file that includes this does not define a larger one. */
#ifndef BNN_SUM_OF_FOUR
#define BNN_SUM_OF_FOUR int16_t
#endif

enum { BNN_FOURS = 8 /* of values, in a word of signs */, BNN_PATTERNS = 16 };

/* table[pattern of four signs, bit i set for +] */
BNN_INLINE void bnn_fill_four(BNN_SUM_OF_FOUR *table, int32_t a, int32_t b, int32_t c, int32_t d)
{
    int32_t both = a + b, first = a - b, last[4] = {-c - d, c - d, d - c, c + d};
    for (size_t i = 0; i < 4; i++, table += 4) {
        table[0] = (BNN_SUM_OF_FOUR)(last[i] - both);
        table[1] = (BNN_SUM_OF_FOUR)(last[i] + first);
        table[2] = (BNN_SUM_OF_FOUR)(last[i] - first);
        table[3] = (BNN_SUM_OF_FOUR)(last[i] + both);
    }
}

/* The sum of 4 * `fours` values, a constant number, with the signs of a word; tables[four][pattern]. */
BNN_INLINE int32_t bnn_look_up(const BNN_SUM_OF_FOUR *tables, uint32_t signs, size_t fours)
{
    int32_t total = tables[signs & 15];
    if (fours > 1)
        total += tables[BNN_PATTERNS + (signs >> 4 & 15)];
    if (fours > 2)
        total += tables[2 * BNN_PATTERNS + (signs >> 8 & 15)];
    if (fours > 3)
        total += tables[3 * BNN_PATTERNS + (signs >> 12 & 15)];
    if (fours > 4)
        total += tables[4 * BNN_PATTERNS + (signs >> 16 & 15)];
    if (fours > 5)
        total += tables[5 * BNN_PATTERNS + (signs >> 20 & 15)];
    if (fours > 6)
        total += tables[6 * BNN_PATTERNS + (signs >> 24 & 15)];
    if (fours > 7)
        total += tables[7 * BNN_PATTERNS + (signs >> 28)];
    return total;
}

/* Adds that sum for each output, which has a word of signs. */
BNN_INLINE void bnn_add_fours(int32_t *sums, const BNN_SUM_OF_FOUR *tables, const uint32_t *signs, size_t outputs,
                              size_t fours)
{
    for (size_t o = 0; o < outputs; o++)
        sums[o] += bnn_look_up(tables, signs[o], fours);
}

/* The same for a number of fours that is not constant; sums wrap around. */
static inline void bnn_add_any_fours(int32_t *sums, const BNN_SUM_OF_FOUR *tables, const uint32_t *signs,
                                     size_t outputs, size_t fours)
{
    for (size_t o = 0; o < outputs; o++) {
        const BNN_SUM_OF_FOUR *table = tables;
        uint32_t left = signs[o], total = (uint32_t)sums[o];
        for (size_t i = fours; i > 0; i--, table += BNN_PATTERNS, left >>= 4) {
            int32_t four = table[left & 15];
            total += (uint32_t)four;
        }
        sums[o] = (int32_t)total;
    }
}

#endif
