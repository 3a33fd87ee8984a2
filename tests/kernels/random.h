/* Random numbers that are the same on every machine. */
#ifndef RANDOM_H
#define RANDOM_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>

static uint64_t random_state;

static uint64_t random_bits(void)
{
    random_state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = random_state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t between(size_t low, size_t high)
{
    return low + (size_t)(random_bits() % (high - low + 1));
}

static int one_in(size_t n)
{
    return between(1, n) == 1;
}

/* Small integers, whose sums are exact in any order; now and then something special. */
static float exact_float(size_t special)
{
    static const float specials[] = {NAN, INFINITY, -INFINITY, -0.0f};
    if (special && one_in(special))
        return specials[between(0, 3)];
    return (float)between(0, 16) - 8.0f;
}

static float any_float(void)
{
    if (one_in(16)) { /* around the step from -1 to +1 */
        static const float edges[] = {0.0f, -0.0f, -1e-40f, 1e-40f, -FLT_MIN, FLT_MIN};
        return edges[between(0, 5)];
    }
    return (float)((double)(random_bits() >> 11) / 9007199254740992.0 * 200.0 - 100.0);
}

#endif
