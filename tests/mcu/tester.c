/* SPDX-License-Identifier: Apache-2.0 */
/* Compares functions of csrc/mcu/conv.h, pool.h and requantize.h with naive computations, on random layers in memory of
 * exactly the size that they need.  SEED and CASES are macros; exit status 0: equal.  Prints a checksum of all that was
 * written: it is the same everywhere: no expression draws two random numbers in an order that compilers choose. */
#include "../kernels/random.h"
#include "mcu/conv.h"
#include "mcu/pool.h"
#include "mcu/requantize.h"
#include "epilogue.h"
#include "memory.h"
#include "target.h"

#include <math.h>
#include <string.h>

uint64_t random_state = SEED;
static uint32_t checksum;

static int fail(const char *what, size_t row, size_t column, size_t channel)
{
    target_print(what);
    target_print(" differs\n");
    target_number("row", row);
    target_number("column", column);
    target_number("channel", channel);
    return 1;
}

static void note(uint32_t word)
{
    checksum = (checksum ^ word) * 16777619u;
}

static uint32_t *random_words(size_t count)
{
    uint32_t *words = memory_take(count * sizeof *words), all = one_in(4) ? UINT32_MAX : 0;
    for (size_t i = 0; i < count; i++)
        words[i] = (uint32_t)random_bits() | all; /* the greatest counts, too */
    return words;
}

static size_t words_of(size_t bits)
{
    return (bits + 31) / 32;
}

static unsigned bit_of(const uint32_t *words, size_t i)
{
    return words[i / 32] >> i % 32 & 1u;
}

/* A random layer: what all kinds have in common. */
struct layer {
    struct bnn_mcu_shape shape;
    size_t height, window, elements; /* output rows; elements of a window, and of the image */
    uint8_t *classes;
    size_t class_count;
};

/* The class of a pixel. */
static size_t class_of(const struct layer *l, size_t row, size_t column)
{
    return l->classes == NULL ? 0 : (size_t)l->classes[row] + l->classes[l->height + column];
}

/* An element of a window in the image. */
static size_t place(const struct layer *l, size_t row, size_t column, size_t i)
{
    const struct bnn_mcu_shape *s = &l->shape;
    size_t k = i % s->length, tap = i / s->length % s->taps, r = i / s->length / s->taps;
    return row * s->row + column * s->pixel + r * s->window_row + tap * s->tap + k;
}

/* Windows of rows x taps x length elements; distances at random, so that windows overlap or do not. */
static struct layer random_layer(size_t rows, size_t taps, size_t length, size_t out_elements)
{
    struct layer l = {.height = between(1, 3), .window = rows * taps * length, .class_count = 1};
    struct bnn_mcu_shape *s = &l.shape;
    s->width = (uint16_t)between(1, 4);
    s->rows = (uint16_t)rows;
    s->taps = (uint16_t)taps;
    s->length = (uint16_t)length;
    s->out_pixel = (uint16_t)(out_elements + between(0, 2));
    s->tap = (uint32_t)(length + between(0, 3));
    s->window_row = (uint32_t)(taps * s->tap + between(0, 9));
    s->pixel = (uint32_t)between(1, 2 * length);
    s->row = (uint32_t)between(1, 2 * s->window_row);
    l.elements = place(&l, l.height - 1, s->width - 1u, l.window - 1) + 1;
    if (one_in(3))
        return l;
    size_t row_classes = between(1, 3), column_classes = between(1, 3);
    l.classes = memory_take(l.height + s->width);
    for (size_t i = 0; i < l.height; i++)
        l.classes[i] = (uint8_t)(between(0, row_classes - 1) * column_classes);
    for (size_t i = 0; i < s->width; i++)
        l.classes[l.height + i] = (uint8_t)between(0, column_classes - 1);
    l.class_count = row_classes * column_classes;
    return l;
}

/* Elements of an output row. */
static size_t out_size(const struct layer *l, size_t out_elements)
{
    return (l->shape.width - 1u) * l->shape.out_pixel + out_elements;
}

/* One row of outputs in memory of its own, filled with junk. */
static uint32_t *junk(size_t count)
{
    uint32_t *out = memory_take(count * sizeof *out);
    for (size_t i = 0; i < count; i++)
        out[i] = 0xa5a5a5a5u;
    return out;
}

/* Whether pixels' bits are expected[column][channel], the tail is zero, and what lies between pixels is untouched. */
static int check_bits(const char *what, const struct layer *l, size_t row, const uint32_t *out, const uint8_t *expected)
{
    const struct bnn_mcu_shape *s = &l->shape;
    size_t words = words_of(s->outputs);
    for (size_t x = 0; x < s->width; x++) {
        for (size_t c = 0; c < words * 32; c++)
            if (bit_of(out + x * s->out_pixel, c) != (c < s->outputs && expected[x * s->outputs + c]))
                return fail(what, row, x, c);
        for (size_t k = 0; k < words; k++)
            note(out[x * s->out_pixel + k]);
        for (size_t k = words; k < s->out_pixel && x + 1 < s->width; k++)
            if (out[x * s->out_pixel + k] != 0xa5a5a5a5u)
                return fail("memory between pixels", row, x, k);
    }
    return 0;
}

static int check_words(const char *what, const struct layer *l, size_t row, const uint32_t *out,
                       const uint32_t *expected)
{
    const struct bnn_mcu_shape *s = &l->shape;
    for (size_t x = 0; x < s->width; x++) {
        for (size_t c = 0; c < s->outputs; c++) {
            note(out[x * s->out_pixel + c]);
            if (out[x * s->out_pixel + c] != expected[x * s->outputs + c])
                return fail(what, row, x, c);
        }
        for (size_t k = s->outputs; k < s->out_pixel && x + 1 < s->width; k++)
            if (out[x * s->out_pixel + k] != 0xa5a5a5a5u)
                return fail("memory between pixels", row, x, k);
    }
    return 0;
}

typedef void bits_function(const struct bnn_mcu_conv *, size_t, const uint32_t *, uint32_t *, uint32_t *);
typedef void sums_function(const struct bnn_mcu_conv *, size_t, const uint32_t *, int32_t *, uint32_t *);

/* The layer by two functions; expected: differing bits [row][column][output]; count: those of a window. */
static int check_conv(const char *what, const struct layer *l, struct bnn_mcu_conv conv, const uint32_t *x,
                      const uint32_t *differing, size_t count, size_t columns, bits_function *bits, sums_function *sums,
                      uint32_t *window)
{
    const struct bnn_mcu_shape *s = &l->shape;
    size_t pixels = s->width * (size_t)s->outputs, words = words_of(s->outputs);
    int16_t *table = memory_take(l->class_count * columns * sizeof *table);
    for (size_t i = 0; i < l->class_count * columns; i++)
        table[i] = one_in(8) ? (int16_t)random_bits() : (int16_t)between(0, count + 1);
    uint8_t *expected_bits = memory_take(pixels);
    uint32_t *expected_sums = memory_take(pixels * sizeof *expected_sums);
    conv.table = table;
    conv.classes = l->classes;
    conv.height = (uint16_t)l->height;
    for (size_t row = 0; row < l->height; row++, differing += pixels) {
        for (size_t i = 0; i < pixels; i++) {
            int32_t value = table[class_of(l, row, i / s->outputs) * columns + i % s->outputs];
            expected_bits[i] = (int32_t)differing[i] < value;
            expected_sums[i] = (uint32_t)(value - 2 * (int32_t)differing[i]);
        }
        conv.shape.out_pixel = (uint16_t)(words + (s->out_pixel - s->outputs));
        struct layer of_bits = *l;
        of_bits.shape = conv.shape;
        uint32_t *out = junk(out_size(&of_bits, words));
        bits(&conv, row, x, out, window);
        if (check_bits(what, &of_bits, row, out, expected_bits))
            return 1;
        conv.shape.out_pixel = s->out_pixel;
        out = junk(out_size(l, s->outputs));
        sums(&conv, row, x, (int32_t *)out, window);
        if (check_words(what, l, row, out, expected_sums))
            return 1;
    }
    return 0;
}

static size_t random_outputs(void)
{
    return one_in(4) ? between(1, 3) * 32 : between(1, 70);
}

/* Differing bits of each pixel and filter, whose weights have the window's words in order, `bits` of them per run. */
static uint32_t *count_differing(const struct layer *l, const uint32_t *x, const uint32_t *weights, size_t filter_words,
                                 size_t bits)
{
    const struct bnn_mcu_shape *s = &l->shape;
    size_t pixels = l->height * s->width;
    uint32_t *differing = memory_take(pixels * s->outputs * sizeof *differing);
    for (size_t p = 0; p < pixels; p++)
        for (size_t o = 0; o < s->outputs; o++) {
            uint32_t count = 0;
            for (size_t i = 0; i < (size_t)s->rows * s->taps * bits; i++) {
                size_t element = i / bits * s->length + i % bits / 32;
                uint32_t word = x[place(l, p / s->width, p % s->width, element)];
                count += (word >> i % bits % 32 & 1) != bit_of(weights + o * filter_words, i);
            }
            differing[p * s->outputs + o] = count;
        }
    return differing;
}

static int test_bits(void)
{
    static const struct {
        size_t words;
        bits_function *bits;
        sums_function *sums;
    } functions[] = {
        {0, bnn_mcu_conv_bits, bnn_mcu_conv_sums},        {2, bnn_mcu_conv_bits_2, bnn_mcu_conv_sums_2},
        {4, bnn_mcu_conv_bits_4, bnn_mcu_conv_sums_4},    {9, bnn_mcu_conv_bits_9, bnn_mcu_conv_sums_9},
        {18, bnn_mcu_conv_bits_18, bnn_mcu_conv_sums_18}, {36, bnn_mcu_conv_bits_36, bnn_mcu_conv_sums_36}};
    size_t i = between(0, 5), rows = between(1, 3), taps = between(1, 3), length = between(1, 9);
    if (i > 0) {
        rows = functions[i].words < 9 ? between(1, 2) : 3;
        taps = one_in(2) || rows < 3 ? 1 : 3;
        length = functions[i].words / rows / taps;
    } else if (one_in(4)) { /* a dense layer */
        rows = taps = 1;
        length = between(1, 70);
    }
    size_t outputs = random_outputs();
    struct layer l = random_layer(rows, taps, length, outputs);
    l.shape.outputs = (uint16_t)outputs;
    uint32_t *x = random_words(l.elements), *weights = random_words(outputs * l.window);
    struct bnn_mcu_conv conv = {.weights = weights, .shape = l.shape};
    const uint32_t *differing = count_differing(&l, x, weights, l.window, length * 32);
    uint32_t *window = rows == 1 && taps == 1 ? NULL : memory_take(l.window * sizeof *window);
    return check_conv("bits", &l, conv, x, differing, l.window * 32, outputs, functions[i].bits, functions[i].sums,
                      window);
}

/* Filters interleaved by fours, and as many columns in the table. */
static int test_quads(void)
{
    static const struct {
        size_t words;
        bits_function *bits;
    } functions[] = {{0, bnn_mcu_conv_bits_quads},
                     {9, bnn_mcu_conv_bits_quads_9},
                     {18, bnn_mcu_conv_bits_quads_18},
                     {36, bnn_mcu_conv_bits_quads_36}};
    size_t i = between(0, 3), rows = between(1, 3), taps = between(1, 3), length = between(1, 9);
    if (i > 0) {
        rows = 3;
        taps = one_in(2) ? 1 : 3;
        length = functions[i].words / rows / taps;
    }
    size_t outputs = random_outputs(), columns = (outputs + 3) / 4 * 4;
    struct layer l = random_layer(rows, taps, length, outputs);
    l.shape.outputs = (uint16_t)outputs;
    uint32_t *x = random_words(l.elements), *weights = random_words(outputs * l.window);
    uint32_t *quads = memory_take(columns * l.window * sizeof *quads);
    memset(quads, 0, columns * l.window * sizeof *quads);
    for (size_t o = 0; o < outputs; o++)
        for (size_t k = 0; k < l.window; k++)
            quads[(o / 4 * l.window + k) * 4 + o % 4] = weights[o * l.window + k];
    struct bnn_mcu_conv conv = {.weights = quads, .shape = l.shape};
    const uint32_t *differing = count_differing(&l, x, weights, l.window, length * 32);
    return check_conv("quads", &l, conv, x, differing, l.window * 32, columns, functions[i].bits,
                      bnn_mcu_conv_sums_quads, memory_take(l.window * sizeof(uint32_t)));
}

static int test_shared(void)
{
    int five = one_in(4); /* words of 3 x 3 taps of 15 to 17 bits */
    size_t bits = one_in(3) ? between(1, 4) * 4 : between(1, 70), outputs = random_outputs();
    size_t rows = between(1, 3), columns = between(1, 3);
    if (five) {
        rows = columns = 3;
        bits = between(15, 17);
    }
    struct layer l = random_layer(rows, columns, words_of(bits), outputs);
    l.shape.outputs = (uint16_t)outputs;
    size_t taps = rows * columns, words = words_of(taps * bits), tail = taps * bits % 32;
    uint32_t *weights = random_words(outputs * words);
    for (size_t o = 0; o < outputs && tail; o++)
        weights[o * words + words - 1] &= (1u << tail) - 1;
    /* Distances such that every run begins at a multiple of its length, and bits beyond `bits` can be cleared. */
    l.shape.tap = l.shape.length;
    l.shape.pixel = l.shape.length * (uint32_t)between(1, 2);
    l.shape.window_row = l.shape.length * (uint32_t)between(1, 4);
    l.shape.row = l.shape.length * (uint32_t)between(1, 4);
    l.elements = place(&l, l.height - 1, l.shape.width - 1u, l.window - 1) + 1;
    uint32_t *x = random_words(l.elements);
    for (size_t i = 0; i < l.elements; i++)
        if (i % l.shape.length + 1u == l.shape.length && bits % 32)
            x[i] &= (1u << bits % 32) - 1;
    struct bnn_mcu_conv conv = {.weights = weights, .bits = (uint16_t)bits, .shape = l.shape};
    const uint32_t *differing = count_differing(&l, x, weights, words, bits);
    return check_conv("shared", &l, conv, x, differing, taps * bits, outputs,
                      five ? bnn_mcu_conv_bits_shared_5 : bnn_mcu_conv_bits_shared,
                      five ? bnn_mcu_conv_sums_shared_5 : bnn_mcu_conv_sums_shared,
                      memory_take(words * sizeof(uint32_t)));
}

static int test_planes(void)
{
    int dense = one_in(3);
    size_t rows = dense ? 1 : between(1, 3), taps = dense ? 1 : between(1, 3), outputs = random_outputs();
    size_t planes = between(1, 4), words = words_of(outputs);
    struct layer l = random_layer(rows, taps, between(1, 9), outputs);
    struct bnn_mcu_planes layer = {.planes = (uint16_t)planes, .plane = (uint32_t)between(1, 2 * l.elements)};
    l.shape.outputs = (uint16_t)outputs;
    uint32_t *x = random_words(l.elements + (planes - 1) * layer.plane), *weights = random_words(outputs * l.window);
    size_t pixels = l.height * l.shape.width * outputs;
    uint32_t *differing = memory_take(pixels * sizeof *differing);
    memset(differing, 0, pixels * sizeof *differing);
    for (size_t plane = 0; plane < planes; plane++) {
        const uint32_t *of_plane =
            count_differing(&l, x + plane * layer.plane, weights, l.window, (size_t)l.shape.length * 32);
        for (size_t i = 0; i < pixels; i++)
            differing[i] += of_plane[i] << plane;
    }
    int32_t *table = memory_take(l.class_count * outputs * sizeof *table);
    for (size_t i = 0; i < l.class_count * outputs; i++)
        table[i] =
            one_in(8) ? (int32_t)(random_bits() >> 40) - (1 << 23) : (int32_t)between(0, l.window << (5 + planes));
    layer.wide = table;
    layer.conv.weights = weights;
    layer.conv.classes = l.classes;
    layer.conv.height = (uint16_t)l.height;
    layer.conv.shape = l.shape;
    uint32_t *window = rows == 1 && taps == 1 ? NULL : memory_take(planes * l.window * sizeof *window);
    size_t row_size = l.shape.width * outputs;
    uint8_t *expected_bits = memory_take(row_size);
    uint32_t *expected_sums = memory_take(row_size * sizeof *expected_sums);
    for (size_t row = 0; row < l.height; row++, differing += row_size) {
        for (size_t i = 0; i < row_size; i++) {
            int32_t value = table[class_of(&l, row, i / outputs) * outputs + i % outputs];
            expected_bits[i] = (int32_t)differing[i] < value;
            expected_sums[i] = (uint32_t)(value - 2 * (int32_t)differing[i]);
        }
        struct layer of_bits = l;
        of_bits.shape.out_pixel = (uint16_t)(words + 1);
        layer.conv.shape.out_pixel = of_bits.shape.out_pixel;
        uint32_t *out = junk(out_size(&of_bits, words));
        bnn_mcu_planes_bits(&layer, row, x, out, window);
        if (check_bits("planes", &of_bits, row, out, expected_bits))
            return 1;
        layer.conv.shape.out_pixel = l.shape.out_pixel;
        out = junk(out_size(&l, outputs));
        bnn_mcu_planes_sums(&layer, row, x, (int32_t *)out, window);
        if (check_words("planes", &l, row, out, expected_sums))
            return 1;
    }
    return 0;
}

static int test_bytes(void)
{
    size_t outputs = random_outputs(), planes = between(1, 2), words = words_of(outputs);
    static const struct {
        size_t window;
        void (*bits)(const struct bnn_mcu_bytes *, size_t, const uint8_t *, uint32_t *, int32_t *);
    } functions[] = {{0, bnn_mcu_bytes_bits}, {9, bnn_mcu_bytes_bits_9}, {27, bnn_mcu_bytes_bits_27}};
    size_t f = between(0, 2);
    int dense = one_in(4);
    size_t rows = dense ? 1 : between(1, 3), taps = dense ? 1 : between(1, 3), length = between(1, dense ? 150 : 12);
    if (f > 0) {
        rows = dense ? 1 : 3;
        taps = dense || one_in(2) ? 1 : 3;
        length = functions[f].window / rows / taps;
    }
    struct layer l = random_layer(rows, taps, length, outputs);
    l.shape.outputs = (uint16_t)outputs;
    size_t chunks = words_of(l.window), row_size = l.shape.width * outputs;
    uint32_t *weights = random_words(chunks * outputs * planes);
    if (l.window % 32)
        for (size_t i = (chunks - 1) * outputs * planes; i < chunks * outputs * planes; i++)
            weights[i] &= (1u << l.window % 32) - 1;
    uint8_t *x = memory_take(l.elements);
    int greatest = one_in(4);
    for (size_t i = 0; i < l.elements; i++)
        x[i] = greatest ? 255 : (uint8_t)random_bits();
    int32_t *table = memory_take(l.class_count * outputs * sizeof *table);
    for (size_t i = 0; i < l.class_count * outputs; i++)
        table[i] = (int32_t)between(0, 4000) - 2000;
    struct bnn_mcu_bytes layer = {.weights = weights,
                                  .table = table,
                                  .classes = l.classes,
                                  .height = (uint16_t)l.height,
                                  .planes = (uint16_t)planes};
    int bare = one_in(3); /* sums without corrections */
    uint8_t *expected_bits = memory_take(row_size);
    uint32_t *expected_sums = memory_take(row_size * sizeof *expected_sums);
    for (size_t row = 0; row < l.height; row++) {
        for (size_t i = 0; i < row_size; i++) {
            size_t column = i / outputs, o = i % outputs;
            int32_t twice = 0, value = table[class_of(&l, row, column) * outputs + o];
            for (size_t k = 0; k < l.window * planes; k++) {
                size_t element = k / planes;
                int sign = bit_of(weights + (element / 32 * planes + k % planes) * outputs + o, element % 32) ? 1 : -1;
                twice += sign * x[place(&l, row, column, element)];
            }
            int32_t sum = twice / (int32_t)planes;
            expected_bits[i] = sum >= value;
            expected_sums[i] = (uint32_t)(bare ? sum : sum + value);
        }
        struct layer of_bits = l;
        of_bits.shape.out_pixel = (uint16_t)(words + 1);
        layer.shape = of_bits.shape;
        layer.table = table;
        uint32_t *out = junk(out_size(&of_bits, words));
        functions[f].bits(&layer, row, x, out, memory_take(outputs * sizeof(int32_t)));
        if (check_bits("bytes", &of_bits, row, out, expected_bits))
            return 1;
        layer.shape = l.shape;
        layer.table = bare ? NULL : table;
        out = junk(out_size(&l, outputs));
        bnn_mcu_bytes_sums(&layer, row, x, (int32_t *)out);
        if (check_words("bytes", &l, row, out, expected_sums))
            return 1;
    }
    return 0;
}

static float *random_floats(size_t count)
{
    float *floats = memory_take(count * sizeof *floats);
    for (size_t i = 0; i < count; i++)
        floats[i] = one_in(20) ? -0.0f : (float)((int32_t)(random_bits() >> 40) - (1 << 23)) / 65536.0f;
    return floats;
}

static int test_floats(void)
{
    int depthwise = one_in(2);
    size_t outputs = between(1, 20), length = depthwise ? outputs : between(1, 9);
    size_t rows = between(1, 3), taps = between(1, 3);
    struct layer l = random_layer(rows, taps, length, outputs);
    l.shape.outputs = (uint16_t)outputs;
    float *x = random_floats(l.elements), *weights = random_floats(l.window * (depthwise ? 1 : outputs));
    struct bnn_mcu_floats layer = {.weights = weights, .shape = l.shape};
    if (depthwise)
        layer.shape.length = 1; /* is ignored */
    uint32_t *expected = memory_take(l.shape.width * outputs * sizeof *expected);
    for (size_t row = 0; row < l.height; row++) {
        for (size_t i = 0; i < l.shape.width * outputs; i++) {
            size_t column = i / outputs, o = i % outputs, step = depthwise ? outputs : 1;
            volatile float sum = 0.0f;
            for (size_t k = depthwise ? o : 0; k < l.window; k += step) {
                volatile float product =
                    x[place(&l, row, column, k)] * weights[depthwise ? k : o * l.window + k]; /* rounded by itself */
                sum += product;
            }
            float value = sum;
            memcpy(expected + i, &value, sizeof value);
        }
        uint32_t *out = junk(out_size(&l, outputs));
        (depthwise ? bnn_mcu_depthwise_floats : bnn_mcu_conv_floats)(&layer, row, x, (float *)out);
        if (check_words(depthwise ? "depthwise" : "floats", &l, row, out, expected))
            return 1;
    }
    return 0;
}

/* Limits from 0 to one more than there are taps: no bit, and all. */
static int test_depthwise_bits(void)
{
    const size_t fixed = one_in(2), channels = random_outputs(), length = words_of(channels);
    const size_t rows = fixed ? 3 : between(1, 5), taps = fixed ? between(3, 4) : between(1, 15);
    struct layer l = random_layer(rows, taps, length, length);
    uint16_t planes = 1;
    while (rows * taps + 1 >= (size_t)1 << planes)
        planes++;
    l.shape.outputs = (uint16_t)channels;
    const uint32_t *x = random_words(l.elements), *weights = random_words(l.window);
    uint32_t *limits = memory_take(l.class_count * length * 32 * sizeof *limits);
    uint32_t *table = memory_take(l.class_count * length * planes * sizeof *table);
    for (size_t i = 0; i < l.class_count * length * 32; i++) {
        limits[i] = i % (length * 32) < channels ? (uint32_t)between(0, rows * taps + 1) : 0;
        for (size_t p = 0; p < planes; p++) {
            uint32_t *digits = table + i / 32 * planes + p, digit = limits[i] >> p & 1u;
            *digits = (i % 32 > 0 ? *digits : 0) | digit << i % 32;
        }
    }
    const struct bnn_mcu_depthwise layer = {weights, table, l.classes, (uint16_t)l.height, planes, l.shape};
    uint8_t *expected = memory_take(l.shape.width * channels);
    for (size_t row = 0; row < l.height; row++) {
        for (size_t i = 0; i < l.shape.width * channels; i++) {
            const size_t column = i / channels, c = i % channels;
            uint32_t differing = 0;
            for (size_t k = 0; k < rows * taps; k++) {
                uint32_t word = x[place(&l, row, column, k * length + c / 32)];
                differing += ((word ^ weights[c / 32 * rows * taps + k]) >> c % 32) & 1u;
            }
            expected[i] = differing < limits[class_of(&l, row, column) * length * 32 + c];
        }
        uint32_t *out = junk(out_size(&l, length));
        (fixed ? bnn_mcu_depthwise_bits_4 : bnn_mcu_depthwise_bits)(&layer, row, x, out);
        if (check_bits("depthwise bits", &l, row, out, expected))
            return 1;
    }
    return 0;
}

/* `way`: one pixel at a time, two, or each channel by itself. */
static int test_int8(void)
{
    const size_t way = between(0, 2), outputs = between(1, 20), length = way == 2 ? outputs : between(1, 20);
    const size_t rows = between(1, 3), taps = between(1, 3);
    struct layer l = random_layer(rows, taps, length, outputs);
    const size_t filter = way == 2 ? l.window : (l.window + 3) / 4 * 4, filters = way == 2 ? 1 : outputs;
    l.shape.outputs = (uint16_t)outputs;
    uint8_t *x = memory_take(l.elements);
    for (size_t i = 0; i < l.elements; i++)
        x[i] = (uint8_t)random_bits();
    int8_t *weights = memory_take(filter * filters);
    for (size_t i = 0; i < filter * filters; i++)
        weights[i] = i % filter >= l.window ? 0 : one_in(8) ? -128 : (int8_t)((int)between(0, 255) - 128);
    int32_t *table = memory_take(l.class_count * outputs * sizeof *table);
    for (size_t i = 0; i < l.class_count * outputs; i++)
        table[i] = (int32_t)between(0, 1 << 24) - (1 << 23);
    const struct bnn_mcu_int8 layer = {weights, table, l.classes, (uint16_t)l.height, l.shape};
    uint8_t *window = memory_take(2 * ((filter + 15) / 16 * 16));
    uint32_t *expected = memory_take(l.shape.width * outputs * sizeof *expected);
    for (size_t row = 0; row < l.height; row++) {
        for (size_t i = 0; i < l.shape.width * outputs; i++) {
            const size_t column = i / outputs, o = i % outputs, step = way == 2 ? outputs : 1;
            int32_t sum = table[class_of(&l, row, column) * outputs + o];
            for (size_t k = way == 2 ? o : 0; k < l.window; k += step)
                sum += x[place(&l, row, column, k)] * weights[way == 2 ? k : o * filter + k];
            expected[i] = (uint32_t)sum;
        }
        uint32_t *out = junk(out_size(&l, outputs));
        if (way == 1)
            bnn_mcu_int8_pairs(&layer, row, x, (int32_t *)out, window);
        else
            (way == 0 ? bnn_mcu_int8_sums : bnn_mcu_depthwise_int8)(&layer, row, x, (int32_t *)out);
        if (check_words("sums by int8", &l, row, out, expected))
            return 1;
    }
    return 0;
}

/* Quotients by powers of two, as docs/explanation/semantics.md has them: half up, then halves away from zero; or once. */
static int32_t number_of(int32_t sum, int32_t multiplier, int32_t shift, const struct bnn_requantizer *q)
{
    int64_t v = (int64_t)(int32_t)((uint32_t)sum << (shift > 0 ? shift : 0)) * multiplier;
    const int64_t unit = (int64_t)1 << (shift < 0 ? -shift : 0), whole = (int64_t)1 << 31;
    if (q->once && shift < 0) {
        v += whole * unit / 2;
        v = v / (whole * unit) - (v % (whole * unit) < 0);
    } else {
        v += whole / 2;
        v = v / whole - (v % whole < 0);
        v = ((v < 0 ? -v : v) + unit / 2) / unit * (v < 0 ? -1 : 1);
    }
    v += q->zero;
    return (int32_t)(v < q->low ? q->low : v > q->high ? q->high : v);
}

/* Any numbers, or small ones with ties; limits of their own, or those of bytes or of int16. */
static int test_requantize(void)
{
    const size_t pixels = between(1, 9), channels = between(1, 9), count = pixels * channels, of = between(0, 2);
    const int ties = one_in(2), shorts = one_in(2);
    const int32_t least = shorts ? INT16_MIN : 0, most = shorts ? INT16_MAX : 255;
    int32_t *multiplier = memory_take(channels * sizeof *multiplier), *shift = memory_take(channels * sizeof *shift);
    int32_t *biases = memory_take(channels * sizeof *biases), *sums = memory_take(count * sizeof *sums);
    int16_t *in = memory_take(count * sizeof *in);
    for (size_t c = 0; c < channels; c++) {
        multiplier[c] = ties ? 1 << 30 : one_in(8) ? INT32_MAX : (int32_t)(random_bits() >> 33);
        shift[c] = one_in(8) ? (int32_t)between(0, 10) : -(int32_t)between(1, ties ? 4 : 31);
        biases[c] = (int32_t)between(0, 1u << 31) - (1 << 30);
        biases[c] /= ties ? 1 << 20 : 1;
    }
    for (size_t i = 0; i < count; i++) {
        sums[i] = one_in(8) ? INT32_MAX : (int32_t)(uint32_t)(random_bits() >> 32);
        sums[i] /= 1 << between(ties ? 20 : 0, 30);
        sums[i] /= of == 1 ? 2 * BNN_BIT_STEPS : 1; /* and with a bias, still 32 bits */
        in[i] = (int16_t)(one_in(8) ? INT16_MIN : sums[i] >> 16);
    }
    struct bnn_requantizer q = {multiplier, shift, (int32_t)between(0, 255), least, most, one_in(4)};
    if (shorts)
        q.zero = q.once = 0;
    if (one_in(4))
        q.low += (int32_t)between(0, (size_t)(most - least));
    if (one_in(4))
        q.high = q.low + (int32_t)between(0, (size_t)(most - q.low));
    uint8_t *bytes = memory_take(count);
    int16_t *out = memory_take(count * sizeof *out);
    if (of == 0 && shorts)
        bnn_mcu_requantize_shorts(out, sums, &q, pixels, channels);
    else if (of == 0)
        bnn_mcu_requantize(bytes, sums, &q, pixels, channels);
    else if (of == 1 && shorts)
        bnn_mcu_requantize_bits_shorts(out, sums, biases, &q, pixels, channels);
    else if (of == 1)
        bnn_mcu_requantize_bits(bytes, sums, biases, &q, pixels, channels);
    else if (shorts)
        bnn_mcu_requantize_int16_shorts(out, in, biases, &q, pixels, channels);
    else
        bnn_mcu_requantize_int16(bytes, in, biases, &q, pixels, channels);
    for (size_t i = 0; i < count; i++) {
        const size_t c = i % channels;
        const int32_t sum = of == 0 ? sums[i] : (of == 1 ? sums[i] : in[i]) * BNN_BIT_STEPS + biases[c];
        const int32_t found = shorts ? out[i] : bytes[i];
        note((uint32_t)found);
        if (found != number_of(sum, multiplier[c], shift[c], &q))
            return fail("requantized sum", 0, i / channels, c);
        if (bnn_multiply_high_by_halves(sums[i], multiplier[c], 1 << 30) !=
            bnn_multiply_high(sums[i], multiplier[c], 1 << 30))
            return fail("product by halves", 0, i / channels, c);
    }
    return 0;
}

static int16_t *random_shorts(size_t count)
{
    int16_t *values = memory_take(count * sizeof *values);
    for (size_t i = 0; i < count; i++)
        values[i] = (int16_t)(one_in(4) ? (one_in(2) ? INT16_MAX : INT16_MIN) : between(0, 60) - 30u);
    return values;
}

/* Sums, in the memory of an operand or not; and bits. */
static int test_shorts(void)
{
    const size_t pixels = between(1, 4), channels = between(1, 40), words = words_of(channels);
    const size_t count = pixels * channels;
    const int16_t *x = random_shorts(count), *y = random_shorts(count), *least = random_shorts(channels);
    const int32_t low = one_in(2) ? INT16_MIN : -(int32_t)between(0, 99);
    const int32_t high = one_in(2) ? INT16_MAX : (int32_t)between(0, 99);
    int16_t *sums = memory_take(count * sizeof *sums);
    const int over_x = one_in(3), over_y = !over_x && one_in(2);
    if (over_x || over_y)
        memcpy(sums, over_x ? x : y, count * sizeof *sums);
    bnn_mcu_add_shorts(sums, over_x ? sums : x, over_y ? sums : y, low, high, count);
    uint32_t *rising = random_words(words), *bits = junk(pixels * words);
    if (channels % 32 != 0)
        rising[words - 1] &= ((uint32_t)1 << channels % 32) - 1;
    bnn_mcu_short_signs(bits, x, least, rising, pixels, channels);
    for (size_t i = 0; i < count; i++) {
        const int32_t sum = x[i] + y[i];
        note((uint32_t)sums[i]);
        if (sums[i] != (sum < low ? low : sum > high ? high : sum))
            return fail("sum of int16", 0, i / channels, i % channels);
    }
    for (size_t i = 0; i < pixels * words * 32; i++) {
        const size_t c = i % (words * 32), pixel = i / (words * 32);
        const unsigned wanted = c < channels && (x[pixel * channels + c] >= least[c]) == bit_of(rising, c);
        if (bit_of(bits, i) != wanted)
            return fail("bit of int16", 0, pixel, c);
    }
    return 0;
}

static int test_pool(void)
{
    struct bnn_mcu_pool p;
    p.height = (uint16_t)between(1, 6);
    p.width = (uint16_t)between(1, 6);
    p.words = (uint16_t)between(1, 3);
    p.kernel_h = (uint16_t)between(1, 3);
    p.kernel_w = (uint16_t)between(1, 3);
    p.stride_h = (uint16_t)between(1, 3);
    p.stride_w = (uint16_t)between(1, 3);
    p.pad_top = (uint16_t)between(0, p.kernel_h - 1u);
    p.pad_left = (uint16_t)between(0, p.kernel_w - 1u);
    /* Windows as far as they have a tap inside. */
    size_t height = between(1, (p.height + p.pad_top - 1u) / p.stride_h + 1);
    p.out_width = (uint16_t)between(1, (p.width + p.pad_left - 1u) / p.stride_w + 1);
    p.row = (uint32_t)(p.width * p.words + between(0, 3));
    p.mask = one_in(2) ? random_words(p.words) : NULL;
    uint32_t *x = random_words((p.height - 1u) * p.row + (size_t)p.width * p.words);
    for (size_t row = 0; row < height; row++) {
        uint32_t *out = junk((size_t)p.out_width * p.words);
        bnn_mcu_max_pool_bits(&p, row, x, out);
        for (size_t i = 0; i < (size_t)p.out_width * p.words; i++) {
            size_t column = i / p.words;
            uint32_t any = 0, all = UINT32_MAX, mask = p.mask ? p.mask[i % p.words] : 0;
            for (size_t k = 0; k < (size_t)p.kernel_h * p.kernel_w; k++) {
                ptrdiff_t y = (ptrdiff_t)(row * p.stride_h + k / p.kernel_w) - p.pad_top;
                ptrdiff_t z = (ptrdiff_t)(column * p.stride_w + k % p.kernel_w) - p.pad_left;
                if (y < 0 || z < 0 || y >= p.height || z >= p.width)
                    continue;
                uint32_t word = x[(size_t)y * p.row + (size_t)z * p.words + i % p.words];
                any |= word;
                all &= word;
            }
            note(out[i]);
            if (out[i] != ((any & ~mask) | (all & mask)))
                return fail("max-pool", row, column, i % p.words);
        }
    }
    return 0;
}

static int test_argmax(void)
{
    size_t n = between(1, 12), best = 0;
    float *values = memory_take(n * sizeof *values);
    for (size_t i = 0; i < n; i++) {
        values[i] = one_in(12) ? NAN : (float)between(0, 4) - 2.0f;
        int nan = values[best] != values[best];
        if (!nan && (values[i] != values[i] || values[i] > values[best]))
            best = i;
    }
    note((uint32_t)best);
    return bnn_mcu_argmax(values, n) != best && fail("argmax", 0, 0, best);
}

int main(void)
{
    for (unsigned i = 0; i < CASES; i++)
        if (test_bits() || test_quads() || test_shared() || test_planes() || test_bytes() || test_int8() ||
            test_depthwise_bits() || test_requantize() || test_shorts() || test_floats() || test_pool() ||
            test_argmax() || !memory_give_back())
            return 1;
    target_number("checksum", checksum);
    return 0;
}
