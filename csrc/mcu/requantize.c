/* SPDX-License-Identifier: Apache-2.0 */
#include "mcu/requantize.h"
#include "mcu/taps.h"

#include "flash/requantize.h"

/* A channel with any numbers. */
static BNN_APART void requantize_channel(uint8_t *out, const int32_t *sums, int32_t steps, int32_t bias,
                                         const struct bnn_requantizer *requantizer, size_t c, size_t end,
                                         size_t channels)
{
    const struct bnn_requantizer q = *requantizer; /* which no byte that is written can change */
    int32_t multiplier = q.multiplier[c];
    const int32_t shift = q.shift[c];
    for (size_t i = c; i < end; i += channels) {
        BNN_OPAQUE(multiplier);
        out[i] = bnn_requantize(sums[i] * steps + bias, multiplier, shift, &q);
    }
}

/* Channel by channel, whose numbers stay in registers.  `steps`: a constant; if it is 1, there are no biases. */
BNN_INLINE void requantize(uint8_t *out, const int32_t *sums, int32_t steps, const int32_t *biases,
                           const struct bnn_requantizer *q, size_t pixels, size_t channels)
{
    const size_t end = pixels * channels;
    const int usual = bnn_are_usual(q);
    const int32_t zero = q->zero;
    size_t c = 0;
#ifdef BNN_REQUANTIZE_FOURS
    c = BNN_REQUANTIZE_FOURS(out, sums, steps, biases, q, pixels, channels);
#endif
    for (; c < channels; c++) {
        const int32_t multiplier = q->multiplier[c], shift = q->shift[c], bias = steps == 1 ? 0 : biases[c];
        if (usual && bnn_is_usual(multiplier, shift))
            for (size_t i = c; i < end; i += channels)
                out[i] = bnn_requantize_usual(sums[i] * steps + bias, multiplier, shift, zero);
        else
            requantize_channel(out, sums, steps, bias, q, c, end, channels);
    }
}

void bnn_mcu_requantize(uint8_t *out, const int32_t *sums, const struct bnn_requantizer *requantizer, size_t pixels,
                        size_t channels)
{
    requantize(out, sums, 1, NULL, requantizer, pixels, channels);
}

void bnn_mcu_requantize_bits(uint8_t *out, const int32_t *sums, const int32_t *biases,
                             const struct bnn_requantizer *requantizer, size_t pixels, size_t channels)
{
    requantize(out, sums, BNN_BIT_STEPS, biases, requantizer, pixels, channels);
}

void bnn_mcu_sum_signs(uint32_t *out, const int32_t *sums, const int32_t *thresholds, size_t pixels, size_t channels)
{
    for (size_t i = 0; i < pixels; i++)
        for (size_t first = 0; first < channels; first += 32) {
            const size_t left = channels - first < 32 ? channels - first : 32;
            uint32_t word = 0;
            for (size_t c = first; c < first + left; c++)
                word = word >> 1 | (uint32_t)(*sums++ >= (thresholds != NULL ? thresholds[c] : 0)) << 31;
            *out++ = word >> (32 - left);
        }
}

void bnn_mcu_lookup(uint8_t *out, const uint8_t *in, const uint8_t *table, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = table[in[i]];
}

/* Of elements whose second bytes follow each other. */
static void pair_run(int32_t *out, const uint8_t *x, const uint8_t *y, const struct bnn_mcu_pair *pair, size_t count)
{
    const int32_t *first = pair->first, *second = pair->second;
    if (pair->multiplies)
        for (size_t i = 0; i < count; i++)
            out[i] = first[x[i]] * second[y[i]];
    else
        for (size_t i = 0; i < count; i++)
            out[i] = first[x[i]] + second[y[i]];
}

void bnn_mcu_pair_sums(int32_t *out, const uint8_t *x, const uint8_t *y, const struct bnn_mcu_pair *pair, size_t begin,
                       size_t count)
{
    for (size_t at = begin % pair->period, run; count > 0; at = 0, begin += run, out += run, count -= run) {
        run = pair->period - at < count ? pair->period - at : count;
        pair_run(out, x + begin, y + at, pair, run);
    }
}

void bnn_mcu_pair(uint8_t *out, const uint8_t *x, const uint8_t *y, const struct bnn_mcu_pair *pair,
                  const struct bnn_requantizer *requantizer, size_t count)
{
    int32_t sums[BNN_MCU_SUMS];
    for (size_t k = 0; k < count; k += BNN_MCU_SUMS) {
        const size_t left = count - k, most = BNN_MCU_SUMS, some = left < most ? left : most;
        bnn_mcu_pair_sums(sums, x, y, pair, k, some);
        bnn_mcu_requantize(out + k, sums, requantizer, some, 1);
    }
}

/* The highest byte, or the mean, of a window in channel c. */
static uint8_t pool(const struct bnn_mcu_windows *w, struct bnn_mcu_taps ys, struct bnn_mcu_taps xs, const uint8_t *x,
                    int mean)
{
    const int32_t count = (int32_t)((ys.end - ys.begin) * (xs.end - xs.begin));
    int32_t sum = 0, most = 0;
    for (size_t i = ys.begin; i < ys.end; i++)
        for (size_t k = xs.begin; k < xs.end; k++) {
            const int32_t v = x[i * w->row + k * w->channels];
            sum += v - 128;
            most = v > most ? v : most;
        }
    return (uint8_t)(mean ? (sum + (sum > 0 ? count / 2 : -(count / 2))) / count + 128 : most);
}

static void pool_row(const struct bnn_mcu_windows *w, size_t row, const uint8_t *x, uint8_t *out, int mean)
{
    struct bnn_mcu_taps ys = bnn_mcu_taps_inside(row, w->stride_h, w->kernel_h, w->pad_top, w->height);
    for (size_t column = 0; column < w->out_width; column++) {
        struct bnn_mcu_taps xs = bnn_mcu_taps_inside(column, w->stride_w, w->kernel_w, w->pad_left, w->width);
        for (size_t c = 0; c < w->channels; c++)
            *out++ = pool(w, ys, xs, x + c, mean);
    }
}

void bnn_mcu_max_bytes(const struct bnn_mcu_windows *windows, size_t row, const uint8_t *x, uint8_t *out)
{
    pool_row(windows, row, x, out, 0);
}

void bnn_mcu_mean_bytes(const struct bnn_mcu_windows *windows, size_t row, const uint8_t *x, uint8_t *out)
{
    pool_row(windows, row, x, out, 1);
}

/* The product of fractions of 31 bits, rounded to the nearest, halves up. */
static int32_t product(int32_t a, int32_t b)
{
    const int64_t p = (int64_t)a * b + (INT64_C(1) << 30);
    return (int32_t)(p < 0 ? ~(~p >> 31) : p >> 31);
}

/* 2^31 / (1 + x / 2^31), by three of Newton's steps for half of the denominator: y has 2 bits above the fraction. */
static int32_t inverse_of(uint32_t x)
{
    const int32_t half = (int32_t)((x + UINT32_C(0x80000000)) >> 1);
    int32_t y = product(half, -1010580540) + 1515870810; /* 48/17 - 32/17 half */
    for (int i = 0; i < 3; i++)
        y += 4 * product(y, (1 << 29) - product(half, y));
    return y >= 1 << 30 ? INT32_MAX : 2 * y;
}

static uint8_t largest(const uint8_t *in, size_t count)
{
    uint8_t most = 0;
    for (size_t i = 0; i < count; i++)
        most = in[i] > most ? in[i] : most;
    return most;
}

void bnn_mcu_softmax(uint8_t *out, const uint8_t *in, const int32_t *table, size_t pixels, size_t channels)
{
    for (; pixels > 0; pixels--, in += channels, out += channels) {
        const uint8_t most = largest(in, channels);
        uint32_t sum = 0, spare = 0; /* the sum has 12 bits above the fraction */
        for (size_t i = 0; i < channels; i++)
            sum += ((uint32_t)table[most - in[i]] + (1u << 11)) >> 12;
        while ((sum << spare & UINT32_C(0x80000000)) == 0)
            spare++;
        const int32_t inverse = inverse_of((sum << spare) - UINT32_C(0x80000000));
        const uint32_t bits = 12 - spare + 31 - 8; /* at least 4 */
        for (size_t i = 0; i < channels; i++) {
            const uint32_t share = (uint32_t)product(table[most - in[i]], inverse);
            const uint32_t v = bits > 31 ? 0 : (share + (UINT32_C(1) << (bits - 1))) >> bits;
            out[i] = (uint8_t)(v > 255 ? 255 : v);
        }
    }
}
