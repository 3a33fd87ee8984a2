/* SPDX-License-Identifier: Apache-2.0 */
/* Instructions that csrc/mcu's functions take for typical layers: lines of a name and a count.  One row of each layer is
 * also computed for 100 random images: if they do not all take the same number, the program fails.  Requantization,
 * additions and maxima may take others, because they branch where they limit a number. */
#include "mcu/conv.h"
#include "mcu/moves.h"
#include "mcu/pool.h"
#include "mcu/requantize.h"
#include "mcu/values.h"
#include "target.h"

enum { ROWS = 16, COLUMNS = 16, OUTPUTS = 64, IMAGES = 100 };

static uint32_t image[42 * 1024 / 4], weights[20 * 1024 / 4], out[ROWS * COLUMNS * OUTPUTS], scratch[128];
static int16_t table[9 * OUTPUTS];
static int32_t wide[9 * OUTPUTS];
static uint8_t classes[ROWS + COLUMNS];

/* A 3 x 3 window over an image with a rim, of pixels of `words` elements: width, outputs, rows, taps, length, out_pixel,
 * row, pixel, window_row, tap. */
#define WINDOW(outputs, words, out_pixel) \
    {COLUMNS, outputs, 3, 1, 3 * (words), out_pixel, (COLUMNS + 2) * (words), words, (COLUMNS + 2) * (words), 0}
/* The same, each tap a run. */
#define TAPS(outputs, words, out_pixel) \
    {COLUMNS, outputs, 3, 3, words, out_pixel, (COLUMNS + 2) * (words), words, (COLUMNS + 2) * (words), words}

static const struct bnn_mcu_conv of_32 = {weights, table, classes, ROWS, 0, WINDOW(32, 1, 1)};
static const struct bnn_mcu_conv of_64 = {weights, table, classes, ROWS, 0, WINDOW(64, 2, 2)};
static const struct bnn_mcu_conv of_64_sums = {weights, table, classes, ROWS, 0, WINDOW(64, 2, 64)};
static const struct bnn_mcu_conv of_128 = {weights, table, classes, ROWS, 0, WINDOW(64, 4, 2)};
static const struct bnn_mcu_conv one_64 = {weights, table, NULL, ROWS, 0, {COLUMNS, 64, 1, 1, 2, 2, 32, 2, 32, 0}};
static const struct bnn_mcu_conv one_128 = {weights, table, NULL, ROWS, 0, {COLUMNS, 64, 1, 1, 4, 2, 64, 4, 64, 0}};
static const struct bnn_mcu_conv of_16 = {weights, table, classes, ROWS, 16, TAPS(16, 1, 1)};
static const struct bnn_mcu_conv dense = {weights, table, NULL, 1, 0, {1, 64, 1, 1, 49, 2, 49, 49, 49, 0}};
static const struct bnn_mcu_planes two_planes = {
    {weights, NULL, classes, ROWS, 0, {COLUMNS, 32, 3, 3, 1, 1, (COLUMNS + 2) * 2, 2, (COLUMNS + 2) * 2, 2}},
    wide,
    1,
    2};
static const struct bnn_mcu_bytes grey = {weights, wide, NULL, ROWS, 1, WINDOW(16, 1, 1)};
static const struct bnn_mcu_bytes grey_64 = {weights, wide, NULL, ROWS, 1, WINDOW(64, 1, 2)};
static const struct bnn_mcu_bytes colour = {weights, wide, NULL, ROWS, 1, WINDOW(32, 3, 1)};
static const struct bnn_mcu_floats of_3 = {(const float *)weights, WINDOW(16, 3, 16)};
static const struct bnn_mcu_floats of_16_floats = {(const float *)weights,
                                                   {COLUMNS, 16, 1, 1, 16, 16, 256, 16, 256, 0}};
static const struct bnn_mcu_int8 int8_1x1 = {
    (const int8_t *)weights, wide, NULL, ROWS, {COLUMNS, 16, 1, 1, 16, 16, 256, 16, 256, 0}};
static const struct bnn_mcu_int8 int8_flat = {
    (const int8_t *)weights, wide, NULL, 1, {1, 10, 1, 1, 784, 10, 784, 784, 784, 0}};
static const struct bnn_mcu_int8 int8_3x3 = {(const int8_t *)weights, wide, NULL, ROWS, WINDOW(16, 16, 16)};
static const struct bnn_mcu_int8 int8_by_channel = {(const int8_t *)weights, wide, NULL, ROWS, TAPS(32, 32, 32)};
static const struct bnn_mcu_depthwise bits_by_channel = {weights, (const uint32_t *)wide, classes, ROWS,
                                                         4,       TAPS(64, 2, 2)};
static const struct bnn_mcu_floats by_channel = {(const float *)weights, TAPS(32, 32, 32)};
static const struct bnn_mcu_pool pool = {NULL, ROWS, COLUMNS, COLUMNS / 2, 2, 2, 2, 2, 2, 0, 0, COLUMNS * 2};

static void bits_2(size_t row)
{
    bnn_mcu_conv_bits_2(&one_64, row, image, out, scratch);
}

static void bits_4(size_t row)
{
    bnn_mcu_conv_bits_4(&one_128, row, image, out, scratch);
}

static void bits_9(size_t row)
{
    bnn_mcu_conv_bits_9(&of_32, row, image, out, scratch);
}

static void bits_18(size_t row)
{
    bnn_mcu_conv_bits_18(&of_64, row, image, out, scratch);
}

static void bits_18_any(size_t row)
{
    bnn_mcu_conv_bits(&of_64, row, image, out, scratch);
}

static void bits_9_any(size_t row)
{
    bnn_mcu_conv_bits(&of_32, row, image, out, scratch);
}

static void bits_36(size_t row)
{
    bnn_mcu_conv_bits_36(&of_128, row, image, out, scratch);
}

static void quads_9(size_t row)
{
    bnn_mcu_conv_bits_quads_9(&of_32, row, image, out, scratch);
}

static void quads_9_any(size_t row)
{
    bnn_mcu_conv_bits_quads(&of_32, row, image, out, scratch);
}

static void quads_any(size_t row)
{
    bnn_mcu_conv_bits_quads(&of_64, row, image, out, scratch);
}

static void quads_dense(size_t row)
{
    bnn_mcu_conv_bits_quads(&dense, row, image, out, scratch);
}

static void bits_dense(size_t row)
{
    bnn_mcu_conv_bits(&dense, row, image, out, scratch);
}

static void sums_18(size_t row)
{
    bnn_mcu_conv_sums_18(&of_64_sums, row, image, (int32_t *)out, scratch);
}

static void bits_shared_any(size_t row)
{
    bnn_mcu_conv_bits_shared(&of_16, row, image, out, scratch);
}

static void bits_shared(size_t row)
{
    bnn_mcu_conv_bits_shared_5(&of_16, row, image, out, scratch);
}

static void quads_36(size_t row)
{
    bnn_mcu_conv_bits_quads_36(&of_128, row, image, out, scratch);
}

static void quads_18(size_t row)
{
    bnn_mcu_conv_bits_quads_18(&of_64, row, image, out, scratch);
}

static void planes_bits(size_t row)
{
    bnn_mcu_planes_bits(&two_planes, row, image, out, scratch);
}

static void bytes_grey(size_t row)
{
    bnn_mcu_bytes_bits_9(&grey, row, (const uint8_t *)image, out, (int32_t *)scratch);
}

static void bytes_grey_64(size_t row)
{
    bnn_mcu_bytes_bits_9(&grey_64, row, (const uint8_t *)image, out, (int32_t *)scratch);
}

static void bytes_colour(size_t row)
{
    bnn_mcu_bytes_bits_27(&colour, row, (const uint8_t *)image, out, (int32_t *)scratch);
}

static void bytes_any(size_t row)
{
    bnn_mcu_bytes_bits(&grey, row, (const uint8_t *)image, out, (int32_t *)scratch);
}

static void bytes_any_64(size_t row)
{
    bnn_mcu_bytes_bits(&grey_64, row, (const uint8_t *)image, out, (int32_t *)scratch);
}

static void bytes_any_colour(size_t row)
{
    bnn_mcu_bytes_bits(&colour, row, (const uint8_t *)image, out, (int32_t *)scratch);
}

static void floats_1x1(size_t row)
{
    bnn_mcu_conv_floats(&of_16_floats, row, (const float *)image, (float *)out);
}

static void finish(size_t row)
{
    const float *w = (const float *)weights;
    const struct bnn_epilogue norm = {NULL, NULL, w, w + 32, w + 64, 0.0f, 0.0f, 0.0f, 0.0f, 0, 0};
    (void)row;
    bnn_mcu_finish((float *)out, (const float *)image, &norm, NULL, COLUMNS, 32);
}

static void signs(size_t row)
{
    (void)row;
    bnn_mcu_signs(out, (const float *)image, COLUMNS, 32);
}

static void sum_signs(size_t row)
{
    (void)row;
    bnn_mcu_sum_signs(out, (const int32_t *)image, wide, COLUMNS, 32);
}

static void floats(size_t row)
{
    bnn_mcu_conv_floats(&of_3, row, (const float *)image, (float *)out);
}

static void int8_few(size_t row)
{
    bnn_mcu_int8_pairs(&int8_1x1, row, (const uint8_t *)image, (int32_t *)out, (uint8_t *)scratch);
}

static void int8_dense(size_t row)
{
    bnn_mcu_int8_sums(&int8_flat, row, (const uint8_t *)image, (int32_t *)out);
}

static void int8_more(size_t row)
{
    bnn_mcu_int8_pairs(&int8_3x3, row, (const uint8_t *)image, (int32_t *)out, (uint8_t *)scratch);
}

static void quantize(size_t row)
{
    const struct bnn_quantizer quantizer = {16.0f, 0.0f, 128};
    (void)row;
    bnn_mcu_quantize((uint8_t *)out, (const float *)image, COLUMNS * 32, &quantizer);
}

static void depthwise_int8(size_t row)
{
    bnn_mcu_depthwise_int8(&int8_by_channel, row, (const uint8_t *)image, (int32_t *)out);
}

static void depthwise_bits(size_t row)
{
    bnn_mcu_depthwise_bits(&bits_by_channel, row, image, out);
}

static void depthwise_bits_4(size_t row)
{
    bnn_mcu_depthwise_bits_4(&bits_by_channel, row, image, out);
}

static int32_t multipliers[32], shifts[32];

static void requantize(size_t row)
{
    const struct bnn_requantizer requantizer = {multipliers, shifts, 3, 0, 255, 0};
    (void)row;
    bnn_mcu_requantize((uint8_t *)out, (const int32_t *)image, &requantizer, COLUMNS, 32);
}

static void requantize_shorts(size_t row)
{
    const struct bnn_requantizer requantizer = {multipliers, shifts, 0, INT16_MIN, INT16_MAX, 0};
    (void)row;
    bnn_mcu_requantize_shorts((int16_t *)out, (const int32_t *)image, &requantizer, COLUMNS, 32);
}

static void requantize_int16(size_t row)
{
    const struct bnn_requantizer requantizer = {multipliers, shifts, 0, INT16_MIN, INT16_MAX, 0};
    (void)row;
    bnn_mcu_requantize_int16_shorts((int16_t *)out, (const int16_t *)image, wide, &requantizer, COLUMNS, 32);
}

static void add_shorts(size_t row)
{
    const int16_t *x = (const int16_t *)image;
    (void)row;
    bnn_mcu_add_shorts((int16_t *)out, x, x + COLUMNS * 32, INT16_MIN, INT16_MAX, COLUMNS * 32);
}

static void short_signs(size_t row)
{
    (void)row;
    bnn_mcu_short_signs(out, (const int16_t *)image, table, weights, COLUMNS, 32);
}

static void max_shorts(size_t row)
{
    static const struct bnn_mcu_windows windows = {ROWS, COLUMNS, 32, COLUMNS / 2, 2, 2, 2, 2, 0, 0, COLUMNS * 32};
    bnn_mcu_max_shorts(&windows, row, (const int16_t *)image, (int16_t *)out);
}

static void move_up(size_t row)
{
    (void)row;
    bnn_mcu_move_up(out, 1024, 1);
}

static uint32_t middle[255]; /* of numbers: keys */

static void quantize_at(size_t row)
{
    (void)row;
    bnn_mcu_quantize_at((uint8_t *)out, (const float *)image, COLUMNS * 32, middle, 8);
}

static void depthwise(size_t row)
{
    bnn_mcu_depthwise_floats(&by_channel, row, (const float *)image, (float *)out);
}

static void max_pool(size_t row)
{
    bnn_mcu_max_pool_bits(&pool, row, image, out);
}

static const struct kernel {
    const char *name;
    void (*row)(size_t row);
    size_t rows;
    int varies; /* with the data: 1, where floats are software; 2, everywhere */
} kernels[] = {{"conv_bits_2,1x1,16x16x64->64", bits_2, ROWS, 0},
               {"conv_bits_4,1x1,16x16x128->64", bits_4, ROWS, 0},
               {"conv_bits_9,3x3,16x16x32->32", bits_9, ROWS, 0},
               {"conv_bits_18,3x3,16x16x64->64", bits_18, ROWS, 0},
               {"conv_bits,3x3,16x16x32->32", bits_9_any, ROWS, 0},
               {"conv_bits,3x3,16x16x64->64", bits_18_any, ROWS, 0},
               {"conv_bits_36,3x3,16x16x128->64", bits_36, ROWS, 0},
               {"conv_bits,1568->64", bits_dense, 1, 0},
               {"conv_sums_18,3x3,16x16x64->64", sums_18, ROWS, 0},
               {"conv_bits_shared,3x3,16x16x16->16", bits_shared_any, ROWS, 0},
               {"conv_bits_shared_5,3x3,16x16x16->16", bits_shared, ROWS, 0},
               {"conv_bits_quads_18,3x3,16x16x64->64", quads_18, ROWS, 0},
               {"conv_bits_quads_36,3x3,16x16x128->64", quads_36, ROWS, 0},
               {"planes_bits,3x3,16x16x32x2->32", planes_bits, ROWS, 0},
               {"bytes_bits_9,3x3,16x16x1->16", bytes_grey, ROWS, 0},
               {"bytes_bits_9,3x3,16x16x1->64", bytes_grey_64, ROWS, 0},
               {"bytes_bits_27,3x3,16x16x3->32", bytes_colour, ROWS, 0},
               {"conv_floats,3x3,16x16x3->16", floats, ROWS, 1},
               {"conv_floats,1x1,16x16x16->16", floats_1x1, ROWS, 1},
               {"conv_int8,1x1,16x16x16->16", int8_few, ROWS, 0},
               {"conv_int8,3x3,16x16x16->16", int8_more, ROWS, 0},
               {"int8_sums,784->10", int8_dense, 1, 0},
               {"depthwise_int8,3x3,16x16x32", depthwise_int8, ROWS, 0},
               {"depthwise_bits,3x3,16x16x64", depthwise_bits, ROWS, 0},
               {"depthwise_bits_4,3x3,16x16x64", depthwise_bits_4, ROWS, 0},
               {"requantize,16x16x32", requantize, ROWS, 2},
               {"move_up,16x1024", move_up, ROWS, 0},
               {"quantize,16x16x32", quantize, ROWS, 1},
               {"quantize_at,16x16x32", quantize_at, ROWS, 0},
               {"finish,16x16x32", finish, ROWS, 1},
               {"signs,16x16x32", signs, ROWS, 1},
               {"sum_signs,16x16x32", sum_signs, ROWS, 0},
               {"bytes_bits,3x3,16x16x1->16", bytes_any, ROWS, 0},
               {"bytes_bits,3x3,16x16x1->64", bytes_any_64, ROWS, 0},
               {"bytes_bits,3x3,16x16x3->32", bytes_any_colour, ROWS, 0},
               {"conv_bits_quads_9,3x3,16x16x32->32", quads_9, ROWS, 0},
               {"conv_bits_quads,3x3,16x16x32->32", quads_9_any, ROWS, 0},
               {"conv_bits_quads,3x3,16x16x64->64", quads_any, ROWS, 0},
               {"conv_bits_quads,1568->64", quads_dense, 1, 0},
               {"depthwise_floats,3x3,16x16x32", depthwise, ROWS, 1},
               {"max_pool_bits,2x2,16x16x64", max_pool, ROWS / 2, 0},
               {"requantize_shorts,16x16x32", requantize_shorts, ROWS, 2},
               {"requantize_int16_shorts,16x16x32", requantize_int16, ROWS, 2},
               {"add_shorts,16x16x32", add_shorts, ROWS, 2},
               {"short_signs,16x16x32", short_signs, ROWS, 0},
               {"max_shorts,2x2,16x16x32", max_shorts, ROWS / 2, 2}};

static void run_rows(void *argument)
{
    const struct kernel *kernel = argument;
    for (size_t row = 0; row < kernel->rows; row++)
        kernel->row(row);
}

static void run_row(void *argument)
{
    const struct kernel *kernel = argument;
    kernel->row(0);
}

static uint32_t state = 1;

/* Words that are also finite floats. */
static void fill(uint32_t *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        words[i] = state & ~0x40000000u;
    }
}

int main(void)
{
#if defined(__ARM_FP) || defined(__riscv_flen)
    const int software = 0; /* whether floats are: its branches depend on data */
#else
    const int software = 1;
#endif
    fill(weights, sizeof weights / sizeof *weights);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        table[i] = 288;
        wide[i] = 100;
    }
    for (size_t i = 0; i < sizeof shifts / sizeof *shifts; i++) {
        multipliers[i] = 0x40000000 + (int32_t)i * 12345678;
        shifts[i] = -(int32_t)(i % 20) - 2;
    }
    for (uint32_t i = 0; i < sizeof middle / sizeof *middle; i++)
        middle[i] = 0x70000000u + (i << 20);
    for (size_t i = 0; i < ROWS; i++) {
        size_t class = i == 0 ? 0 : i == ROWS - 1 ? 2 : 1;
        classes[i] = (uint8_t)(3 * class);
        classes[ROWS + i] = (uint8_t)class;
    }
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        struct kernel kernel = kernels[k];
        fill(image, sizeof image / sizeof *image);
        target_number(kernel.name, target_measure(run_rows, &kernel).instructions);
        uint64_t first = target_measure(run_row, &kernel).instructions;
        for (size_t i = 0; i < IMAGES && kernel.varies <= !software; i++) {
            fill(image, sizeof image / sizeof *image);
            if (target_measure(run_row, &kernel).instructions != first) {
                target_print("depends on data\n");
                return 1;
            }
        }
    }
    return 0;
}
