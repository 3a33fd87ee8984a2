/* SPDX-License-Identifier: Apache-2.0 */
/* The portable family: plain C11.  It defines the interface; every other family is compared with it. */
#include "../bits.h"
#include "../epilogue.h"

#include <string.h>

enum { LANES = 32 };

BNN_PACK(pack_words, uint32_t)
BNN_PACK(pack_values, float)

static void pack_binary(uint32_t *dst, const uint32_t *src, size_t channels, size_t words, size_t length)
{
    (void)length;
    pack_words(dst, src, channels, words, LANES);
}

static void pack_float(float *dst, const float *src, size_t channels, size_t taps)
{
    pack_values(dst, src, channels, taps, LANES);
}

static void count_differing(uint32_t count[LANES], const struct bnn_tile *t, size_t pixel)
{
    const uint32_t *weights = t->weights;
    for (size_t lane = 0; lane < LANES; lane++)
        count[lane] = 0;
    for (size_t s = 0; s < t->segments; s++) {
        const uint32_t *a = (const uint32_t *)t->a + t->at.a[pixel] + t->segment[s];
        for (size_t k = 0; k < t->length; k++, weights += LANES) {
            uint32_t word = a[k];
            for (size_t lane = 0; lane < LANES; lane++)
                count[lane] += bnn_popcount(word ^ weights[lane]);
        }
    }
}

static void take_differing(int32_t *sums, const uint32_t *a, const uint32_t *w, size_t n, size_t stride, size_t filters,
                           int32_t weight)
{
    for (size_t i = 0; i < filters; i++, w += stride)
        for (size_t k = 0; k < n; k++)
            sums[i] -= weight * (int32_t)bnn_popcount(a[k] ^ w[k]);
}

static int binary_bits(const struct bnn_tile *t)
{
    for (size_t i = 0; i < t->pixels; i++) {
        uint32_t count[LANES], word = 0;
        const int32_t *limit = t->limits + t->at.table[i] + t->first;
        count_differing(count, t, i);
        for (size_t lane = 0; lane < t->channels; lane++)
            word |= (uint32_t)((int32_t)count[lane] < limit[lane]) << lane;
        t->bits[t->at.bits[i] + (ptrdiff_t)(t->first / 32)] = word;
    }
    return 0;
}

/* Pixel i of an array of tile t that may be missing. */
#define PLACE(array) (t->array ? t->array + t->at.array[i] : NULL)

/* Bytes or int16 of channels `first` of the block on, by their sums. */
static void requantize_sums(const struct bnn_tile *t, size_t i, const uint32_t *sums, size_t first, size_t channels)
{
    const struct bnn_requantizer *q = t->requantizer;
    for (size_t c = first; c < first + channels; c++) {
        const ptrdiff_t at = t->at.values[i] + (ptrdiff_t)c;
        const int32_t v = bnn_requantize_number((int32_t)sums[c - first], q->multiplier[c], q->shift[c], q);
        if (t->bytes != NULL)
            t->bytes[at] = (uint8_t)v;
        else
            t->shorts[at] = (int16_t)v;
    }
}

static int binary_values(const struct bnn_tile *t)
{
    int nan = 0;
    for (size_t i = 0; i < t->pixels; i++) {
        uint32_t count[LANES];
        float sum[LANES];
        count_differing(count, t, i);
        if (t->requantizer != NULL) {
            const int32_t *whole = t->whole + t->at.table[i] + t->first;
            for (size_t lane = 0; lane < LANES; lane++)
                count[lane] = (uint32_t)whole[lane] - 2 * BNN_BIT_STEPS * count[lane];
            requantize_sums(t, i, count, t->first, t->channels);
            continue;
        }
        const float *correction = t->corrections + t->at.table[i] + t->first;
        for (size_t lane = 0; lane < LANES; lane++)
            sum[lane] = correction[lane] - 2.0f * (float)count[lane]; /* exact */
        nan |= bnn_store(sum, t->epilogue, t->first, t->channels, PLACE(bits), PLACE(values), PLACE(residual));
    }
    return nan;
}

static int float_values(const struct bnn_tile *t)
{
    int nan = 0;
    for (size_t i = 0; i < t->pixels; i++) {
        float sum[LANES] = {0};
        const float *weights = t->weights;
        for (size_t s = 0; s < t->segments; s++) {
            const float *a = (const float *)t->a + t->at.a[i] + t->segment[s];
            for (size_t k = 0; k < t->length; k++, weights += LANES)
                for (size_t lane = 0; lane < LANES; lane++)
                    sum[lane] += a[k] * weights[lane];
        }
        nan |= bnn_store(sum, t->epilogue, t->first, t->channels, PLACE(bits), PLACE(values), PLACE(residual));
    }
    return nan;
}

static void pack_bytes(uint32_t *dst, const struct bnn_byte_filters *filters)
{
    bnn_pack_bytes(dst, filters, LANES, 1);
}

static int byte_values(const struct bnn_tile *t)
{
    int nan = 0;
    for (size_t i = 0; i < t->pixels; i++) {
        int32_t count[LANES] = {0};
        float sum[LANES];
        const float *correction = t->corrections + t->at.table[i] + t->first;
        const uint32_t *weights = t->weights;
        for (size_t s = 0; s < t->segments; s++) {
            const uint8_t *a = (const uint8_t *)t->a + t->at.a[i] + t->segment[s];
            for (size_t k = 0; k < t->length; k++, weights += LANES)
                for (size_t lane = 0; lane < LANES; lane++)
                    count[lane] += a[k] * (int32_t)weights[lane];
        }
        for (size_t lane = 0; lane < LANES; lane++)
            sum[lane] = (float)count[lane] + correction[lane]; /* exact */
        nan |= bnn_store(sum, t->epilogue, t->first, t->channels, PLACE(bits), PLACE(values), PLACE(residual));
    }
    return nan;
}

static void pack_wide(uint32_t *dst, const struct bnn_byte_filters *filters)
{
    bnn_pack_wide(dst, filters, LANES, 1);
}

/* Bytes, values or bits, likewise. */
static int store_whole(const struct bnn_tile *t, size_t i, const uint32_t *sums, size_t first, size_t channels)
{
    float values[LANES];
    if (t->requantizer != NULL) {
        requantize_sums(t, i, sums, first, channels);
        return 0;
    }
    for (size_t lane = 0; lane < channels; lane++)
        values[lane] = (float)(int32_t)sums[lane];
    return bnn_store(values, t->epilogue, first, channels, PLACE(bits), PLACE(values), PLACE(residual));
}

static int wide_values(const struct bnn_tile *t)
{
    int nan = 0;
    for (size_t i = 0; i < t->pixels; i++) {
        uint32_t count[LANES]; /* modulo 2^32: only the whole sum needs to be below 2^31 */
        const uint32_t *weights = t->weights;
        memcpy(count, t->whole + t->at.table[i] + t->first, sizeof count);
        for (size_t s = 0; s < t->segments; s++) {
            const uint8_t *a = (const uint8_t *)t->a + t->at.a[i] + t->segment[s];
            for (size_t k = 0; k < t->length; k++, weights += LANES)
                for (size_t lane = 0; lane < LANES; lane++)
                    count[lane] += a[k] * weights[lane];
        }
        nan |= store_whole(t, i, count, t->first, t->channels);
    }
    return nan;
}

static int wide_depthwise(const struct bnn_tile *t)
{
    int nan = 0;
    for (size_t i = 0; i < t->pixels; i++)
        for (size_t first = 0; first < t->channels; first += LANES) {
            size_t channels = t->channels - first < LANES ? t->channels - first : LANES;
            uint32_t count[LANES];
            memcpy(count, t->whole + t->at.table[i] + first, sizeof count);
            for (size_t s = 0; s < t->segments; s++) {
                const uint8_t *a = (const uint8_t *)t->a + t->at.a[i] + t->segment[s] + first;
                const uint32_t *weights = (const uint32_t *)t->weights + s * t->length + first;
                for (size_t lane = 0; lane < channels; lane++)
                    count[lane] += a[lane] * weights[lane];
            }
            nan |= store_whole(t, i, count, first, channels);
        }
    return nan;
}

static void requantize(uint8_t *dst, const int32_t *sums, size_t count, const struct bnn_requantizer *q)
{
    for (size_t i = 0; i < count; i++)
        dst[i] = bnn_requantize(sums[i], *q->multiplier, *q->shift, q);
}

static void pair_bytes(uint8_t *dst, const uint8_t *x, const uint8_t *y, size_t count, const int32_t *terms,
                       const struct bnn_requantizer *q)
{
    for (size_t i = 0; i < count; i++)
        dst[i] = bnn_requantize((terms[0] + (y[i] & terms[3])) * x[i] + terms[1] * y[i] + terms[2], *q->multiplier,
                                *q->shift, q);
}

static void add_shorts(int16_t *dst, const int16_t *x, const int16_t *y, size_t count, int32_t low, int32_t high)
{
    for (size_t i = 0; i < count; i++)
        dst[i] = bnn_add_shorts(x[i], y[i], low, high);
}

static void requantize_shorts(const struct bnn_short_rows *r)
{
    for (size_t p = 0; p < r->pixels; p++)
        bnn_requantize_shorts(r, p);
}

static void binarize_shorts_at(uint32_t *dst, const int16_t *src, const int16_t *thresholds, const uint32_t *flips,
                               size_t channels, size_t pixels)
{
    for (size_t p = 0; p < pixels; p++)
        for (size_t first = 0; first < channels; first += 32) {
            const size_t left = channels - first < 32 ? channels - first : 32;
            uint32_t word = 0;
            for (size_t i = 0; i < left; i++)
                word |= ((uint32_t)(*src++ >= thresholds[first + i]) ^ (flips[first / 32] >> i & 1)) << i;
            *dst++ = word;
        }
}

static void look_up_bytes(uint8_t *dst, const uint8_t *src, const uint8_t *table, size_t count)
{
    for (size_t i = 0; i < count; i++)
        dst[i] = table[src[i]];
}

static void binarize_bytes_at(uint32_t *dst, const uint8_t *src, const uint8_t *least, const uint32_t *flips,
                              size_t channels, size_t pixels)
{
    for (size_t p = 0; p < pixels; p++)
        for (size_t first = 0; first < channels; first += 32) {
            const size_t left = channels - first < 32 ? channels - first : 32;
            uint32_t word = 0;
            for (size_t c = first; c < first + left; c++)
                word = word >> 1 | (uint32_t)(*src++ >= least[c]) << 31;
            *dst++ = (word ^ flips[first / 32] << (32 - left)) >> (32 - left);
        }
}

static void quantize(uint8_t *dst, const float *src, size_t count, const struct bnn_quantizer *quantizer,
                     const struct bnn_thresholds *thresholds)
{
    for (size_t i = 0; i < count; i++)
        dst[i] = thresholds != NULL ? bnn_number(src[i], quantizer, thresholds) : bnn_quantize(src[i], quantizer);
}

static int depthwise(const struct bnn_tile *t)
{
    int nan = 0;
    for (size_t i = 0; i < t->pixels; i++)
        for (size_t first = 0; first < t->channels; first += LANES) {
            size_t channels = t->channels - first < LANES ? t->channels - first : LANES;
            float sum[LANES] = {0};
            for (size_t s = 0; s < t->segments; s++) {
                const float *a = (const float *)t->a + t->at.a[i] + t->segment[s] + first;
                const float *w = (const float *)t->weights + s * t->length + first;
                for (size_t lane = 0; lane < channels; lane++)
                    sum[lane] += a[lane] * w[lane];
            }
            nan |= bnn_store(sum, t->epilogue, first, channels, PLACE(bits), PLACE(values), PLACE(residual));
        }
    return nan;
}

static int binarize_at(uint32_t *dst, const float *src, const float *thresholds, const uint32_t *flips, size_t channels,
                       size_t pixels)
{
    int nan = 0;
    for (size_t p = 0; p < pixels; p++, src += channels)
        for (size_t first = 0; first < channels; first += 32, dst++) {
            size_t left = channels - first < 32 ? channels - first : 32;
            uint32_t word = 0;
            for (size_t i = 0; i < left; i++) {
                float v = src[first + i];
                word |= (uint32_t)(v >= thresholds[first + i]) << i;
                nan |= v != v;
            }
            *dst = (word ^ flips[first / 32]) & (uint32_t)(UINT64_MAX >> (64 - left));
        }
    return nan;
}

/* Blocks of LANES targets: the last reads beyond the end, into the slack. */
static void add_rows(int16_t *m, const struct bnn_rows *rows, size_t offset, size_t count)
{
    for (size_t first = 0; first < count; first += LANES) {
        int16_t sum[LANES] = {0};
        for (size_t k = 0; k < rows->plus; k++)
            for (size_t lane = 0; lane < LANES; lane++)
                sum[lane] = (int16_t)(sum[lane] + rows->added[k][offset + first + lane]);
        for (size_t k = 0; k < rows->minus; k++)
            for (size_t lane = 0; lane < LANES; lane++)
                sum[lane] = (int16_t)(sum[lane] - rows->taken[k][offset + first + lane]);
        for (size_t lane = 0; lane < LANES && first + lane < count; lane++)
            m[first + lane] = (int16_t)(m[first + lane] + sum[lane]);
    }
}

static void add_floats(float *a, const float *row, float delta, size_t count)
{
    for (size_t i = 0; i < count; i++)
        a[i] += row[i] * delta;
}

static uint64_t crossed(const int16_t *m, const uint32_t *bits, uint32_t *changed, size_t words)
{
    uint64_t differ = 0;
    for (size_t k = 0; k < words; k++) {
        uint32_t word = 0;
        for (size_t i = 0; i < 32; i++)
            word |= (uint32_t)(m[32 * k + i] >= 0) << i;
        changed[k] = word ^ bits[k];
        differ |= (uint64_t)(changed[k] != 0) << k;
    }
    return differ;
}

static void halve(int16_t *m, const float *accumulators, const int32_t *thresholds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int32_t twice = (int32_t)accumulators[i] - thresholds[i];
        m[i] = (int16_t)((twice - (twice & 1)) / 2);
    }
}

#define TARGET
#include "../neurons.inc"
#include "../elements.inc"

/* Spikes, not values: four rows at a time load and store a sum once. */
static void sum_rows(float *sums, const float *rows, size_t stride, const uint32_t *index, const float *values,
                     size_t n, size_t count)
{
    size_t k = 0;
    for (; values == NULL && n - k >= 4; k += 4) {
        const float *a = rows + index[k] * stride, *b = rows + index[k + 1] * stride;
        const float *c = rows + index[k + 2] * stride, *d = rows + index[k + 3] * stride;
        for (size_t i = 0; i < count; i++)
            sums[i] = sums[i] + a[i] + b[i] + c[i] + d[i];
    }
    for (; k < n; k++, values = values == NULL ? NULL : values + 1) {
        const float *row = rows + index[k] * stride, value = values == NULL ? 1 : *values;
        for (size_t i = 0; i < count; i++)
            sums[i] += row[i] * value;
    }
}

static void add_runs(float *sums, ptrdiff_t step, const float *rows, ptrdiff_t stride, size_t runs, size_t count,
                     float value)
{
    for (; runs > 0; runs--, sums += step, rows += stride)
        for (size_t i = 0; i < count; i++)
            sums[i] += rows[i] * value;
}

static void add_byte_runs(uint32_t *sums, ptrdiff_t step, const int8_t *rows, ptrdiff_t stride, size_t runs,
                          size_t count, uint32_t value)
{
    for (; runs > 0; runs--, sums += step, rows += stride)
        for (size_t i = 0; i < count; i++)
            sums[i] += (uint32_t)rows[i] * value;
}

static BNN_APART void add_four(uint32_t *sums, const int8_t *a, const int8_t *b, const int8_t *c, const int8_t *d,
                               size_t count)
{
    for (size_t i = 0; i < count; i++)
        sums[i] += (uint32_t)(a[i] + b[i] + c[i] + d[i]);
}

static void sum_byte_rows(uint32_t *sums, const int8_t *rows, size_t stride, const uint32_t *index,
                          const uint32_t *values, size_t n, size_t count)
{
    for (; values == NULL && n >= 4; n -= 4, index += 4)
        add_four(sums, rows + index[0] * stride, rows + index[1] * stride, rows + index[2] * stride,
                 rows + index[3] * stride, count);
    for (; n > 0; n--, values = values == NULL ? NULL : values + 1)
        add_byte_runs(sums, 0, rows + *index++ * stride, 0, 1, count, values == NULL ? 1 : *values);
}

static void sum_windows(float *sums, size_t targets, const float *rows, size_t width, const uint32_t *index,
                        const float *values, size_t step, size_t n)
{
    for (; targets > 0; targets--, sums += width, values += step)
        sum_rows(sums, rows, width, index, values, n, width);
}

static void add_scaled(float *dst, const uint32_t *sums, const float *scales, size_t step, size_t count)
{
    const float scale = *scales;
    for (size_t i = 0; step == 0 && i < count; i++) /* a loop of its own: `scale` stays in a register */
        dst[i] += (float)(int32_t)sums[i] * scale;
    for (size_t i = 0; step != 0 && i < count; i++)
        dst[i] += (float)(int32_t)sums[i] * scales[i];
}

static int nonzero(uint32_t *dst, const float *src, size_t count)
{
    int others = 0;
    for (size_t first = 0; first < count; first += 32) {
        uint32_t word = 0;
        for (size_t i = first; i < count && i < first + 32; i++) {
            word |= (uint32_t)(src[i] != 0) << i % 32;
            others |= (src[i] != 0) & (src[i] != 1);
        }
        dst[first / 32] = word;
    }
    return others;
}

static size_t find_bits(uint32_t *index, const uint32_t *words, size_t count)
{
    return bnn_find_bits(index, words, count);
}

static const struct bnn_byte_loops loops = {
    .requantize = requantize, .pair = pair_bytes, .look_up = look_up_bytes, .binarize_at = binarize_bytes_at};

static const struct bnn_short_loops short_loops = {
    .add = add_shorts, .requantize = requantize_shorts, .binarize_at = binarize_shorts_at};

static const struct bnn_byte_kernels wide[3] = {{.pixels = 1,
                                                 .lanes = LANES,
                                                 .taps = 1,
                                                 .pack = pack_wide,
                                                 .values = wide_values,
                                                 .depthwise = wide_depthwise,
                                                 .loops = &loops,
                                                 .short_loops = &short_loops}};

static const struct bnn_spike_kernels spikes = {
    .settle = settle,
    .add_runs = add_runs,
    .add_byte_runs = add_byte_runs,
    .sum_rows = sum_rows,
    .sum_byte_rows = sum_byte_rows,
    .sum_windows = sum_windows,
    .add_scaled = add_scaled,
    .nonzero = nonzero,
    .find_bits = find_bits,
};

static const struct bnn_event_kernels events = {
    .add_rows = add_rows,
    .add_floats = add_floats,
    .crossed = crossed,
    .halve = halve,
    .binarize_at = binarize_at,
};

/* The family, and parts of it: a linker keeps the functions of those that a program names. */
#define BINARY                      \
    .binary = {.pixels = 1,         \
               .lanes = LANES,      \
               .expansion = 1,      \
               .pack = pack_binary, \
               .bits = binary_bits, \
               .values = binary_values}
#define LEAN .take_differing = take_differing
#define BYTES .bytes = {.pixels = 1, .lanes = LANES, .taps = 1, .pack = pack_bytes, .values = byte_values}
#define WIDE .wide = wide, .quantize = quantize
#define FLOATS \
    .floats = {.pixels = 1, .lanes = LANES, .pack = pack_float, .values = float_values, .depthwise = depthwise}
#define ROWS .binarize = bnn_binarize, .binarize_at = binarize_at, .compute = compute
#define SPIKES .spikes = &spikes
#define EVENTS .events = &events

const struct bnn_kernels bnn_kernels_scalar = {
    .name = "scalar", BINARY, LEAN, BYTES, WIDE, FLOATS, ROWS, EVENTS, SPIKES};
const struct bnn_kernels bnn_kernels_scalar_binary = {.name = "scalar", BINARY};
const struct bnn_kernels bnn_kernels_scalar_bytes = {.name = "scalar", BYTES};
const struct bnn_kernels bnn_kernels_scalar_wide = {.name = "scalar", WIDE};
const struct bnn_kernels bnn_kernels_scalar_floats = {.name = "scalar", FLOATS};
const struct bnn_kernels bnn_kernels_scalar_rows = {.name = "scalar", ROWS};
const struct bnn_kernels bnn_kernels_scalar_events = {.name = "scalar", EVENTS};
const struct bnn_kernels bnn_kernels_scalar_spikes = {.name = "scalar", SPIKES};
