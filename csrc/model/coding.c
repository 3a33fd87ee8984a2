/* SPDX-License-Identifier: Apache-2.0 */
#include "model/coding.h"
#include "model/validate.h"

#include <string.h>

enum {
    HEAD = 8,      /* bytes of compact floats before the exceptions: the base and the number of exceptions */
    EXCEPTION = 8, /* an index and the float at that index */
    LARGEST_BASE = 255 - 15,
    RUN = 16 /* floats decoded together, in loops that the compiler vectorizes */
};

/* The parts of compact floats. */
struct compact {
    uint32_t base, exceptions;
    const uint32_t *exception; /* pairs: index, bits of the float */
    const uint16_t *low;       /* the lower 16 bits of the floats */
    const unsigned char *high; /* sign and the upper 7 bits of the mantissa */
    size_t half;
    const unsigned char *codes; /* codes of exponents; the first half of the floats has the lower nibbles */
};

/* Bits of an element's code in tables. */
static unsigned code_bits(bnn_encoding encoding)
{
    return 1u << (encoding - BNN_TABLE_1);
}

static size_t table_bytes(bnn_encoding encoding)
{
    return (size_t)4 << code_bits(encoding);
}

static size_t elements_of(const struct bnn_tensor *t)
{
    return t->o * t->image;
}

static struct compact parts(const struct bnn_tensor *t)
{
    size_t elements = elements_of(t);
    struct compact c = {.base = bnn_load32(t->stored), .exceptions = bnn_load32(t->stored + 4)};
    c.exception = (const uint32_t *)(const void *)(t->stored + HEAD);
    const unsigned char *planes = t->stored + HEAD + (size_t)c.exceptions * EXCEPTION;
    c.low = (const uint16_t *)(const void *)planes;
    c.high = planes + 2 * elements;
    c.codes = planes + 3 * elements;
    c.half = elements / 2 + elements % 2;
    return c;
}

uint64_t bnn_coded_bytes(bnn_encoding encoding, uint64_t elements, uint64_t row, const unsigned char *data,
                         uint64_t stored)
{
    if (encoding >= BNN_TABLE_1)
        return table_bytes(encoding) + (elements * code_bits(encoding) + 7) / 8;
    if (encoding == BNN_ONE_ROW)
        return 4 * row;
    uint64_t exceptions = stored >= HEAD ? bnn_load32(data + 4) : 0;
    return HEAD + exceptions * EXCEPTION + 3 * elements + elements / 2 + elements % 2;
}

/* Bits of the last byte that belong to no element are zero. */
static const char *check_table(const struct bnn_tensor *t, int64_t *found, int64_t *expected)
{
    size_t bits = elements_of(t) * code_bits(t->encoding);
    unsigned last = t->stored[table_bytes(t->encoding) + bits / 8 - (bits % 8 == 0)];
    *found = bits % 8 == 0 ? 0 : last >> bits % 8;
    *expected = 0;
    return *found == 0 ? NULL : BNN_TEXT("code past its elements");
}

const char *bnn_check_coded(const struct bnn_tensor *t, int64_t *found, int64_t *expected)
{
    if (t->encoding >= BNN_TABLE_1)
        return check_table(t, found, expected);
    if (t->encoding != BNN_COMPACT)
        return NULL;
    const struct compact c = parts(t);
    size_t elements = elements_of(t);
    if (c.base > LARGEST_BASE) {
        *found = c.base;
        *expected = LARGEST_BASE;
        return BNN_TEXT("base of its exponents (at most)");
    }
    if (elements % 2 != 0 && c.codes[c.half - 1] >> 4 != 0) {
        *found = c.codes[c.half - 1] >> 4;
        *expected = 0;
        return BNN_TEXT("exponent past its elements");
    }
    uint64_t next = 0; /* the smallest index that the next exception may have */
    for (size_t i = 0; i < c.exceptions; i++) {
        uint32_t index = c.exception[2 * i];
        if (index < next || index >= elements) {
            *found = index;
            *expected = (int64_t)(index < next ? next : elements - 1);
            return index < next ? BNN_TEXT("index of an exception (at least)")
                                : BNN_TEXT("index of an exception (at most)");
        }
        next = (uint64_t)index + 1;
    }
    return NULL;
}

static inline uint32_t assemble(uint32_t low, uint32_t high, uint32_t code, uint32_t base)
{
    uint32_t exponent = code != 0 ? base + code : 0;
    return low | (high & 0x7F) << 16 | (high & 0x80) << 24 | exponent << 23;
}

static void read_one(const struct compact *c, size_t i, float *value)
{
    uint32_t code = i < c->half ? c->codes[i] & 15u : (uint32_t)c->codes[i - c->half] >> 4;
    uint32_t bits = assemble(c->low[i], c->high[i], code, c->base);
    memcpy(value, &bits, sizeof bits);
}

/* RUN floats of one half, whose codes are shifted this far in their bytes. */
static void read_run(const uint16_t *low, const unsigned char *high, const unsigned char *codes, int shift,
                     uint32_t base, float *values)
{
    uint32_t bits[RUN];
    for (size_t i = 0; i < RUN; i++)
        bits[i] = assemble(low[i], high[i], (uint32_t)codes[i] >> shift & 15u, base);
    memcpy(values, bits, sizeof bits);
}

/* The first exception whose index is not below `first`; they are in order. */
static size_t find_exception(const struct compact *c, size_t first)
{
    size_t low = 0, high = c->exceptions;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c->exception[2 * middle] < first)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void read_compact(const struct bnn_tensor *t, size_t first, size_t count, float *values)
{
    const struct compact c = parts(t);
    size_t end = first + count;
    for (size_t i = first; i < end;) {
        int upper = i >= c.half;
        size_t left = (i < c.half && c.half < end ? c.half : end) - i; /* in this half */
        if (left >= RUN) {
            read_run(c.low + i, c.high + i, c.codes + (upper ? i - c.half : i), upper ? 4 : 0, c.base,
                     values + (i - first));
            i += RUN;
        } else {
            read_one(&c, i, values + (i - first));
            i++;
        }
    }
    for (size_t k = find_exception(&c, first); k < c.exceptions && c.exception[2 * k] < end; k++)
        memcpy(values + (c.exception[2 * k] - first), &c.exception[2 * k + 1], sizeof *values);
}

static void read_table(const struct bnn_tensor *t, size_t first, size_t count, float *values)
{
    const float *table = (const float *)(const void *)t->stored;
    const unsigned char *codes = t->stored + table_bytes(t->encoding);
    size_t bits = code_bits(t->encoding), mask = ((size_t)1 << bits) - 1;
    for (size_t i = 0, at = first * bits; i < count; i++, at += bits)
        memcpy(values + i, table + (codes[at / 8] >> at % 8 & mask), sizeof *values);
}

void bnn_read_floats(const struct bnn_tensor *t, size_t first, size_t count, float *values)
{
    const float *stored = (const float *)(const void *)t->stored;
    if (t->encoding >= BNN_TABLE_1)
        read_table(t, first, count, values);
    else if (t->encoding == BNN_COMPACT)
        read_compact(t, first, count, values);
    else if (t->encoding == BNN_PLAIN)
        memcpy(values, stored + first, count * sizeof *values);
    else /* one row */
        memcpy(values, stored + first % t->image, count * sizeof *values);
}
