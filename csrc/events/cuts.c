/* SPDX-License-Identifier: Apache-2.0 */
/* Epilogues over all sums that a layer may see: whether the results are numbers, and where the bit changes. */
#include "epilogue.h"
#include "events/events.h"

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

static int encoder_bit(const struct bnn_layer *l, float sum, size_t c)
{
    return bnn_events_decide(l, bnn_finish(sum, &l->finish, c, NULL), c);
}

/* Each operation of an epilogue rounds a monotone function: so all values between are finite if every operand is, and
 * the results at both ends are. */
int bnn_events_gives_numbers(const struct bnn_layer *l, float most)
{
    const struct bnn_epilogue *f = &l->finish;
    int found = all_finite(f->pre_mul, l->out_c) && all_finite(f->pre_add, l->out_c) && all_finite(f->sub, l->out_c) &&
                all_finite(f->mul, l->out_c) && all_finite(f->add, l->out_c);
    for (uint32_t c = 0; c < l->out_c && found; c++) {
        float ends[2] = {bnn_finish(-most, f, c, NULL), bnn_finish(most, f, c, NULL)};
        found = all_finite(ends, 2);
    }
    return found;
}

/* One comparison instead of an epilogue, for sums from -most to most: the bit changes at most once, at a float that
 * bisection finds. */
void bnn_events_find_cuts(struct bnn_events *e, struct bnn_layer *l, float most)
{
    memset(l->turned, 0, (l->out_c / 32 + 1) * sizeof *l->turned);
    for (uint32_t c = 0; c < l->out_c && !bnn_events_pause(e, 1024); c++) { /* 32 halves, each an epilogue */
        int first = encoder_bit(l, -most, c), last = encoder_bit(l, most, c);
        int64_t low = ordered(-most), high = ordered(most);
        while (first != last && high - low > 1) { /* the bit is `first` at low, `last` at high */
            int64_t middle = low + (high - low) / 2;
            if (encoder_bit(l, from_ordered(middle), c) == last)
                high = middle;
            else
                low = middle;
        }
        l->cuts[c] = from_ordered(first != last ? high : low);
        l->turned[c / 32] |= (uint32_t)!last << c % 32;
    }
}
