/* SPDX-License-Identifier: Apache-2.0 */
/* Epilogues over all sums that a layer may see: whether the results are numbers, and where the bit changes. */
#include "epilogue.h"
#include "events/events.h"

#include <math.h>
#include <string.h>

/* Floats as integers in the same order, and back. */
static int64_t ordered(float v)
{
    int32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits < 0 ? -(int64_t)(bits & INT32_MAX) - 1 : bits;
}

static float from_ordered(int64_t order)
{
    uint32_t bits = order < 0 ? (uint32_t)(-order - 1) | 0x80000000u : (uint32_t)order;
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static int all_finite(const float *values, size_t count)
{
    for (size_t i = 0; values != NULL && i < count; i++)
        if (!(values[i] - values[i] == 0.0f))
            return 0;
    return 1;
}

/* What the functions of a layer make of a sum. */
static float value_at(const struct bnn_layer *l, float sum, size_t c, uint32_t functions)
{
    if (l->chain == NULL)
        return bnn_finish(sum, &l->finish, c, NULL);
    for (uint32_t k = 0; k < functions; k++)
        sum = bnn_finish(sum, &l->chain[k], c, NULL);
    return sum;
}

static uint32_t level_at(const struct bnn_layer *l, float sum, size_t c)
{
    return bnn_events_level(l, value_at(l, sum, c, l->chained), c);
}

static int finite_operands(const struct bnn_epilogue *f, size_t channels)
{
    return all_finite(f->pre_mul, channels) && all_finite(f->pre_add, channels) && all_finite(f->sub, channels) &&
           all_finite(f->mul, channels) && all_finite(f->add, channels);
}

/* Each operation of an epilogue rounds a monotone function: so all values between are finite if every operand is, and
 * the results at both ends are. */
int bnn_events_gives_numbers(const struct bnn_layer *l, float most)
{
    int found = finite_operands(&l->finish, l->out_c);
    for (uint32_t k = 0; k < l->chained; k++)
        found &= finite_operands(&l->chain[k], l->out_c);
    for (uint32_t c = 0; c < l->out_c && found; c++) {
        float ends[2] = {value_at(l, -most, c, l->chained), value_at(l, most, c, l->chained)};
        found = all_finite(ends, 2);
    }
    return found;
}

/* The smallest float above `low`, where the level is less, at which it is at least `level`, as it is at `high`; of the
 * negated sum if it falls. */
static int64_t rising(const struct bnn_layer *l, size_t c, uint32_t level, float sign, int64_t low, int64_t high)
{
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (level_at(l, sign * from_ordered(middle), c) >= level)
            high = middle;
        else
            low = middle;
    }
    return high;
}

/* The cuts of a channel of several levels: where each is reached, from below; infinite where it always or never is. */
static void find_steps(const struct bnn_layer *l, size_t c, float most)
{
    float *cuts = l->cuts + c * l->steps, sign = l->signs[c];
    uint32_t least = level_at(l, -sign * most, c), greatest = level_at(l, sign * most, c);
    int64_t low = ordered(-most);
    for (uint32_t i = 0; i < l->steps; i++) {
        cuts[i] = i < least ? -INFINITY : INFINITY;
        if (i < least || i >= greatest)
            continue;
        if (low == ordered(-most) || level_at(l, sign * from_ordered(low), c) <= i)
            low = rising(l, c, i + 1, sign, low, ordered(most));
        cuts[i] = from_ordered(low);
    }
}

/* The cut of a bit that changes at most once. */
static void find_step(const struct bnn_layer *l, size_t c, float most)
{
    uint32_t first = level_at(l, -most, c), last = level_at(l, most, c);
    int64_t low = ordered(-most), high = ordered(most);
    while (first != last && high - low > 1) { /* the bit is `first` at low, `last` at high */
        int64_t middle = low + (high - low) / 2;
        if (level_at(l, from_ordered(middle), c) == last)
            high = middle;
        else
            low = middle;
    }
    l->cuts[c] = from_ordered(first != last ? high : low);
    l->turned[c / 32] |= (uint32_t)!last << c % 32;
}

/* Comparisons instead of functions, for sums from -most to most, with which a level rises or falls: bisection finds
 * where it changes. */
void bnn_events_find_cuts(struct bnn_events *e, struct bnn_layer *l, float most)
{
    size_t bytes = (l->out_c / 32 + 1) * sizeof *l->turned;
    memset(l->turned, 0, bytes);
    if (l->lowest != NULL)
        memset(l->lowest, 0, bytes);
    /* 32 halves for each step, each all functions */
    for (uint32_t c = 0; c < l->out_c && !bnn_events_pause(e, UINT64_C(1024) * l->steps * (1 + l->chained)); c++) {
        uint32_t bit = UINT32_C(1) << c % 32;
        if (l->lowest != NULL && value_at(l, -most, c, l->pooled) > value_at(l, most, c, l->pooled))
            l->lowest[c / 32] |= bit;
        if (l->steps == 1) {
            find_step(l, c, most);
            continue;
        }
        l->signs[c] = level_at(l, -most, c) > level_at(l, most, c) ? -1.0f : 1.0f;
        find_steps(l, c, most);
    }
    if (l->steps > 1)
        bnn_events_bound_all(e, l);
}
