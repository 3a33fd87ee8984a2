/* SPDX-License-Identifier: Apache-2.0 */
/* Random numbers that are the same on every machine. */
#ifndef RANDOM_H
#define RANDOM_H

#include <stddef.h>
#include <stdint.h>

extern uint64_t random_state;

static inline uint64_t random_bits(void)
{
    random_state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = random_state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static inline size_t between(size_t low, size_t high)
{
    return low + (size_t)(random_bits() % (high - low + 1));
}

static inline int one_in(size_t n)
{
    return between(1, n) == 1;
}

#endif
