/* SPDX-License-Identifier: Apache-2.0 */
#include "mcu/requantize.h"
#include "mcu/taps.h"

#include "flash/requantize.h"

/* Numbers of 16 bits, or of 8: unsigned. */
BNN_INLINE int32_t number_at(const void *numbers, size_t i, int shorts)
{
    return shorts ? ((const int16_t *)numbers)[i] : ((const uint8_t *)numbers)[i];
}

BNN_INLINE void put(void *numbers, size_t i, int32_t v, int shorts)
{
    if (shorts)
        ((int16_t *)numbers)[i] = (int16_t)v;
    else
        ((uint8_t *)numbers)[i] = (uint8_t)v;
}

/* What is requantized: int32 without biases; or sums of bits or int16, times BNN_BIT_STEPS, with biases. */
enum { OF_SUMS, OF_BITS, OF_SHORTS };

BNN_INLINE int32_t sum_at(const void *sums, size_t i, int of, int32_t bias)
{
    const int32_t sum = of == OF_SHORTS ? number_at(sums, i, 1) : ((const int32_t *)sums)[i];
    return of == OF_SUMS ? sum : sum * BNN_BIT_STEPS + bias;
}

/* A channel with any numbers. */
static BNN_APART void requantize_channel(void *out, const void *sums, int of, int32_t bias,
                                         const struct bnn_requantizer *requantizer, size_t c, size_t end,
                                         size_t channels, int shorts)
{
    const struct bnn_requantizer q = *requantizer; /* which no byte that is written can change */
    int32_t multiplier = q.multiplier[c];
    const int32_t shift = q.shift[c];
    for (size_t i = c; i < end; i += channels) {
        BNN_OPAQUE(multiplier);
        put(out, i, bnn_requantize_number(sum_at(sums, i, of, bias), multiplier, shift, &q), shorts);
    }
}

/* Channel by channel, whose numbers stay in registers.  Constants: what is requantized, `of`, and whether int16 or bytes
 * are made, `shorts`. */
BNN_INLINE void requantize(void *out, const void *sums, int of, const int32_t *biases, const struct bnn_requantizer *q,
                           size_t pixels, size_t channels, int shorts)
{
    const size_t end = pixels * channels;
    const int limited = shorts && (q->low > INT16_MIN || q->high < INT16_MAX), usual = shorts || bnn_are_usual(q);
    const int32_t zero = q->zero, low = q->low, high = q->high;
    const int small = of == OF_BITS;
    size_t c = 0;
#ifdef BNN_REQUANTIZE_FOURS
    c = BNN_REQUANTIZE_FOURS(out, sums, of == OF_SUMS ? 1 : BNN_BIT_STEPS, biases, q, pixels, channels, of == OF_SHORTS,
                             shorts);
#endif
    for (; c < channels; c++) {
        const int32_t multiplier = q->multiplier[c], shift = q->shift[c], bias = of == OF_SUMS ? 0 : biases[c];
        if (!usual || !bnn_is_usual(multiplier, shift))
            requantize_channel(out, sums, of, bias, q, c, end, channels, shorts);
        else if (!shorts && q->once)
            for (size_t i = c; i < end; i += channels)
                put(out, i, bnn_requantize_usual(sum_at(sums, i, of, bias), multiplier, shift, zero, 1, small, 0), 0);
        else
            for (size_t i = c; i < end; i += channels) {
                const int32_t sum = sum_at(sums, i, of, bias);
                put(out, i, bnn_requantize_usual(sum, multiplier, shift, zero, 0, shorts && small, shorts), shorts);
            }
        for (size_t i = c; limited && i < end; i += channels) {
            const int32_t v = number_at(out, i, 1);
            put(out, i, v < low ? low : v > high ? high : v, 1);
        }
    }
}

void bnn_mcu_requantize(uint8_t *out, const int32_t *sums, const struct bnn_requantizer *requantizer, size_t pixels,
                        size_t channels)
{
    requantize(out, sums, OF_SUMS, NULL, requantizer, pixels, channels, 0);
}

void bnn_mcu_requantize_bits(uint8_t *out, const int32_t *sums, const int32_t *biases,
                             const struct bnn_requantizer *requantizer, size_t pixels, size_t channels)
{
    requantize(out, sums, OF_BITS, biases, requantizer, pixels, channels, 0);
}

void bnn_mcu_requantize_int16(uint8_t *out, const int16_t *in, const int32_t *biases,
                              const struct bnn_requantizer *requantizer, size_t pixels, size_t channels)
{
    requantize(out, in, OF_SHORTS, biases, requantizer, pixels, channels, 0);
}

void bnn_mcu_requantize_shorts(int16_t *out, const int32_t *sums, const struct bnn_requantizer *requantizer,
                               size_t pixels, size_t channels)
{
    requantize(out, sums, OF_SUMS, NULL, requantizer, pixels, channels, 1);
}

void bnn_mcu_requantize_bits_shorts(int16_t *out, const int32_t *sums, const int32_t *biases,
                                    const struct bnn_requantizer *requantizer, size_t pixels, size_t channels)
{
    requantize(out, sums, OF_BITS, biases, requantizer, pixels, channels, 1);
}

void bnn_mcu_requantize_int16_shorts(int16_t *out, const int16_t *in, const int32_t *biases,
                                     const struct bnn_requantizer *requantizer, size_t pixels, size_t channels)
{
    requantize(out, in, OF_SHORTS, biases, requantizer, pixels, channels, 1);
}

void bnn_mcu_add_shorts(int16_t *out, const int16_t *x, const int16_t *y, int32_t low, int32_t high, size_t count)
{
    size_t i = 0;
#ifdef BNN_ADD_PAIRS
    if (low == INT16_MIN && high == INT16_MAX)
        i = BNN_ADD_PAIRS(out, x, y, count);
#endif
    for (; i < count; i++) {
        const int32_t sum = x[i] + y[i];
        out[i] = (int16_t)(sum < low ? low : sum > high ? high : sum);
    }
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

/* `shorts`, a constant: numbers and the least of them are int16, not bytes and uint16. */
BNN_INLINE void signs_of(uint32_t *out, const void *in, const void *least, const uint32_t *rising, size_t pixels,
                         size_t channels, int shorts)
{
    const uint8_t *from = (const uint8_t *)in;
    for (size_t i = 0; i < pixels; i++) {
        const uint16_t *at = (const uint16_t *)least;
        for (size_t first = 0; first < channels; first += 32) {
            const size_t left = channels - first < 32 ? channels - first : 32;
            uint32_t word = 0;
            for (size_t n = left; n > 0; n--, at++, from += shorts ? sizeof(int16_t) : 1) {
                const int32_t limit = shorts ? (int16_t)*at : *at;
                const uint32_t below =
                    (uint32_t)(number_at(from, 0, shorts) - limit); /* its highest bit: it is negative */
                word = word >> 1 | (below & 0x80000000u);
            }
            *out++ = (word >> (32 - left)) ^ rising[first / 32];
        }
    }
}

void bnn_mcu_byte_signs(uint32_t *out, const uint8_t *in, const uint16_t *least, const uint32_t *rising, size_t pixels,
                        size_t channels)
{
    signs_of(out, in, least, rising, pixels, channels, 0);
}

void bnn_mcu_short_signs(uint32_t *out, const int16_t *in, const int16_t *least, const uint32_t *rising, size_t pixels,
                         size_t channels)
{
    signs_of(out, in, least, rising, pixels, channels, 1);
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

/* Sums of elements whose second bytes follow each other become bytes, by usual numbers. */
static void pair_bytes(uint8_t *out, const uint8_t *x, const uint8_t *y, const struct bnn_mcu_pair *pair,
                       const struct bnn_requantizer *q, size_t count)
{
    const int32_t *first = pair->first, *second = pair->second;
    const int32_t multiplier = q->multiplier[0], shift = q->shift[0], zero = q->zero;
    for (size_t i = 0; i < count; i++)
        out[i] = (uint8_t)bnn_requantize_usual(first[x[i]] + second[y[i]], multiplier, shift, zero, 0, 0, 0);
}

void bnn_mcu_pair(uint8_t *out, const uint8_t *x, const uint8_t *y, const struct bnn_mcu_pair *pair,
                  const struct bnn_requantizer *requantizer, size_t count)
{
    int32_t sums[BNN_MCU_SUMS];
    if (!pair->multiplies && pair->period >= count && bnn_are_usual(requantizer) && !requantizer->once &&
        bnn_is_usual(requantizer->multiplier[0], requantizer->shift[0])) {
        pair_bytes(out, x, y, pair, requantizer, count);
        return;
    }
    for (size_t k = 0; k < count; k += BNN_MCU_SUMS) {
        const size_t left = count - k, most = BNN_MCU_SUMS, some = left < most ? left : most;
        bnn_mcu_pair_sums(sums, x, y, pair, k, some);
        bnn_mcu_requantize(out + k, sums, requantizer, some, 1);
    }
}

/* n = 2^k: k.  Otherwise 0. */
static uint32_t power_of_two(uint32_t n)
{
    uint32_t k = 0;
    while ((n & (n - 1)) == 0 && n >> k > 1)
        k++;
    return k;
}

/* The mean of n numbers; if it is not 0, n = 2^k. */
static int32_t mean_of(int32_t sum, int32_t n, uint32_t k)
{
    const int32_t half = n / 2;
    if (k == 0)
        return (sum + (sum > 0 ? half : -half)) / n;
    return sum > 0 ? (sum + half) >> k : -((half - sum) >> k);
}

/* The highest numbers, or the means, of a window: of `rows` x `columns` pixels from x on.  Constants: `mean` and
 * `shorts`. */
BNN_INLINE void pool(const struct bnn_mcu_windows *w, const void *x, size_t rows, size_t columns, void *out, int mean,
                     int shorts)
{
    const size_t channels = w->channels, row = w->row;
    const int32_t n = (int32_t)(rows * columns), zero = shorts ? 0 : 128;
    const uint32_t k = mean ? power_of_two((uint32_t)n) : 0;
    for (size_t c = 0; c < channels; c++) {
        size_t from = c;
        int32_t sum = 0, most = shorts ? INT16_MIN : 0;
        for (size_t i = 0; i < rows; i++, from += row) {
            size_t at = from;
            for (size_t left = columns; left > 0; left--, at += channels) {
                const int32_t v = number_at(x, at, shorts);
                sum += v;
                most = v > most ? v : most;
            }
        }
        put(out, c, mean ? mean_of(sum - zero * n, n, k) + zero : most, shorts);
    }
}

BNN_INLINE void pool_row(const struct bnn_mcu_windows *w, size_t row, const void *x, void *out, int mean, int shorts)
{
    const size_t element = shorts ? sizeof(int16_t) : 1;
    const struct bnn_mcu_taps ys = bnn_mcu_taps_inside(row, w->stride_h, w->kernel_h, w->pad_top, w->height);
    uint8_t *to = (uint8_t *)out;
    for (size_t column = 0; column < w->out_width; column++, to += w->channels * element) {
        const struct bnn_mcu_taps xs = bnn_mcu_taps_inside(column, w->stride_w, w->kernel_w, w->pad_left, w->width);
        const uint8_t *first = (const uint8_t *)x + (ys.begin * w->row + xs.begin * w->channels) * element;
        pool(w, first, ys.end - ys.begin, xs.end - xs.begin, to, mean, shorts);
    }
}

void bnn_mcu_max_bytes(const struct bnn_mcu_windows *windows, size_t row, const uint8_t *x, uint8_t *out)
{
    pool_row(windows, row, x, out, 0, 0);
}

void bnn_mcu_max_shorts(const struct bnn_mcu_windows *windows, size_t row, const int16_t *x, int16_t *out)
{
    pool_row(windows, row, x, out, 0, 1);
}

void bnn_mcu_mean_bytes(const struct bnn_mcu_windows *windows, size_t row, const uint8_t *x, uint8_t *out)
{
    pool_row(windows, row, x, out, 1, 0);
}

void bnn_mcu_mean_shorts(const struct bnn_mcu_windows *windows, size_t row, const int16_t *x, int16_t *out)
{
    pool_row(windows, row, x, out, 1, 1);
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
