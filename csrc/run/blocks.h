/* SPDX-License-Identifier: Apache-2.0 */
/* Loops over channels that compilers vectorize at -O2: gcc does so only if the number of steps is a constant. */
#ifndef BNN_BLOCKS_H
#define BNN_BLOCKS_H

/* for (size_t i = 0; i < n; i++) { ... }, in blocks of 16 first.  The pointer that is written must be a restrict
 * parameter of the function: gcc ignores restrict on local variables here. */
#define BNN_FOR_BLOCKS(i, n, ...)                         \
    do {                                                  \
        size_t block_ = 0;                                \
        for (; (n) - block_ >= 16; block_ += 16) {        \
            for (size_t lane_ = 0; lane_ < 16; lane_++) { \
                size_t i = block_ + lane_;                \
                __VA_ARGS__                               \
            }                                             \
        }                                                 \
        for (; block_ < (n); block_++) {                  \
            size_t i = block_;                            \
            __VA_ARGS__                                   \
        }                                                 \
    } while (0)

#endif
