/* SPDX-License-Identifier: Apache-2.0 */
/* The interface between the runtime and its kernels.
 *
 * Kernels know words, strides and counts; never tensors, models or ops.  A family is one const struct of functions for
 * one instruction set: a row of kernels.inc.  Compiling a file needs no special flags: functions carry their own target
 * attributes.  All families give the same results bit for bit, including floats if the sums are exact.  Other float sums
 * may be rounded once per term (a fused multiply-add) or twice; where a family fuses, it has portable kernels as well,
 * which round the product and then the sum, and so give the same results as every other family's.
 */
#ifndef BNN_KERNELS_H
#define BNN_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* A float above this is the bit +1: also zeros of either sign, and negative denormals, which TensorFlow's comparisons
 * treat as zero.  It is the negative normal number closest to zero. */
#define BNN_BIT_ABOVE (-1.17549435e-38f)

/* BNN_APART: for a loop that must stay a function of its own: inlined, it would keep some of its pointers on the stack.
 * BNN_INLINE: also under -Os, with the constants of its calls.
 * BNN_OPAQUE: a variable of a loop whose value compilers do not know: they extend no factor to 64 bits before the loop,
 * to multiply with all of them, and compute no pointer again behind it. */
#ifdef __GNUC__
#define BNN_OPAQUE(v) __asm__("" : "+r"(v))
#define BNN_APART __attribute__((noinline))
#define BNN_INLINE static inline __attribute__((always_inline))
#else
#define BNN_OPAQUE(v) (void)(v)
#define BNN_APART
#define BNN_INLINE static inline
#endif

/* The steps from a convolution's accumulator to its value.  Operands are per channel and may be read up to the full
 * width of the last block (the driver pads them); NULL: no such step.  Each step is one float32 operation; nothing may
 * be contracted into a fused multiply-add:
 *   v = acc * pre_mul; v = v + pre_add; v = min(max(v, lo0), hi0); v = v - sub; v = v * mul; v = v + add;
 *   v = v + residual[pixel]; v = min(max(v, lo1), hi1)                              NaN passes through a clamp. */
struct bnn_epilogue {
    const float *pre_mul, *pre_add, *sub, *mul, *add;
    float lo0, hi0, lo1, hi1; /* -inf and +inf if there is no clamp */
    int clamp0, clamp1;       /* whether there is a clamp */
};

/* Of a bias, in a sum of bits that becomes a byte. */
#define BNN_BIT_STEPS 64

/* From integer sums to bytes or int16: see `requantize` of bnn/ir/ops.  A multiplier and a shift per channel, which may be
 * read up to the full width of the last block; three bytes, or int16; and whether a product is rounded once, as those of
 * int16 are not. */
struct bnn_requantizer {
    const int32_t *multiplier, *shift;
    int32_t zero, low, high, once;
};

/* The places of a call's pixels: an offset per array and pixel, in elements.  Lists are made once for a layer and serve
 * all its rows, which differ only in their first elements. */
struct bnn_places {
    const ptrdiff_t *a, *table, *bits, *values, *residual;
};

/* One call computes `pixels` output pixels (any number; the family's tile height divides it best) of one block of
 * output channels.  Pixel i reads, for every segment s, `length` contiguous elements at a + at.a[i] + segment[s]; the
 * block's weights follow each other as [segment][element][lane].
 *
 * The arrays of a pixel begin with the layer's first channel, so one list of places serves every block: a block begins
 * at table + at.table[i] + first, and so on (bits: + first / 32), and at element `first` of the epilogue's operands.
 * Table and operands may be read up to the block's full width; the others are touched only where channels exist.
 * Arrays that are NULL need no places. */
struct bnn_tile {
    const void *a;            /* the first element of a pixel's window: words of bits, bytes or floats */
    const ptrdiff_t *segment; /* segments: offsets in elements */
    size_t segments, length, pixels;
    int slack; /* bytes: three more may be read after a segment of less than four */
    const void *weights;
    const int32_t *limits; /* the table of binary.bits: the bit is (differing bits < limit), limits as low as -2^30 */
    const float *corrections; /* the table of other bits and of bytes: see their kernels; all sums are below 2^24 */
    const int32_t *whole;   /* of bytes, instead: the table of numbers that are added before the sum is a float; of bits
                                 that become bytes: to BNN_BIT_STEPS times -2 * differing bits */
    size_t first, channels; /* the block's first channel, and the number of channels: 1 to the block's width */
    uint32_t *bits;         /* output words; bits of the last word beyond the channels become zero */
    /* Output bytes or int16 at the places of values, of bits or of sums by int8 weights; then both are NULL, and there is
     * a requantizer. */
    uint8_t *bytes;
    int16_t *shorts;
    const struct bnn_requantizer *requantizer;
    float *values;                       /* output values; either may be NULL */
    const float *residual;               /* or NULL */
    const struct bnn_epilogue *epilogue; /* floats only */
    struct bnn_places at;
};

/* Byte filters: signs [channels][segments][pixels] of `planes` times `bytes` bits, each in separate words; a weight is
 * the mean of its planes' signs.  Int8 filters have weights [channels][segments][pixels][bytes] instead. */
struct bnn_byte_filters {
    const uint32_t *signs;
    const int8_t *weights;
    size_t channels, segments, pixels, bytes, planes;
};

/* Rows summed in eight bits before they are added to membranes: at most 127 of them. */
#define BNN_BATCH 126u
/* Membrane kernels may read and write (unchanged) this many bytes beyond the end of rows and membranes. */
#define BNN_SLACK 512u

/* Weight rows of the event engine, to be added to or subtracted from membranes; at most BNN_BATCH in total. */
struct bnn_rows {
    size_t plus, minus;
    const int8_t *added[BNN_BATCH], *taken[BNN_BATCH];
};

/* Floats through the epilogue: values, bits (v > BNN_BIT_ABOVE) or both.  Nonzero: a bit's value was NaN. */
typedef int bnn_tile_kernel(const struct bnn_tile *tile);

/* Kernels that share a layout of packed weights form a group: a family has all of a group or none.  A group's tiles are
 * `pixels` high, and its blocks `lanes` wide: 32 or 64 output channels. */
struct bnn_binary_kernels {
    uint16_t pixels, lanes;
    uint16_t expansion; /* packed words for one of a filter */
    /* src: [channels][words] (a filter's taps in order) -> dst: [block][segment][word][lane], missing lanes zero, for
     * segments of `length` words.  dst has ceil(channels / lanes) * lanes * words * expansion elements; each family
     * chooses its own layout of a segment's words and lanes. */
    void (*pack)(uint32_t *dst, const uint32_t *src, size_t channels, size_t words, size_t length);
    /* bits by limits (values NULL, epilogue ignored) */
    bnn_tile_kernel *bits;
    /* correction - 2 * differing bits; or bytes */
    bnn_tile_kernel *values;
};

struct bnn_float_kernels {
    uint16_t pixels, lanes;
    /* As for bits, without an expansion. */
    void (*pack)(float *dst, const float *src, size_t channels, size_t taps);
    bnn_tile_kernel *values;
    /* depthwise convolution of all channels (first is 0): the sum of channel c is that of a[at.a[i] + segment[s] + c] *
     * weights[s * length + c] over the segments; length is a multiple of lanes, and so are the operands' lengths. */
    bnn_tile_kernel *depthwise;
};

/* Beside tiles, for all bytes. */
struct bnn_byte_loops {
    /* dst[i] = the byte of sums[i], by the first multiplier and shift */
    void (*requantize)(uint8_t *dst, const int32_t *sums, size_t count, const struct bnn_requantizer *requantizer);
    /* dst[i] = the byte of (terms[0] + (y[i] & terms[3])) * x[i] + terms[1] * y[i] + terms[2], likewise; both factors are
     * of 16 bits, and the last term is 0, for sums, or -1, for products.  dst may be x or y. */
    void (*pair)(uint8_t *dst, const uint8_t *x, const uint8_t *y, size_t count, const int32_t *terms,
                 const struct bnn_requantizer *requantizer);
    /* dst[i] = table[src[i]] of 256 bytes; dst may be src */
    void (*look_up)(uint8_t *dst, const uint8_t *src, const uint8_t *table, size_t count);
    /* As `binarize_at` of floats, with the least bytes whose bits are 1. */
    void (*binarize_at)(uint32_t *dst, const uint8_t *src, const uint8_t *least, const uint32_t *flips, size_t channels,
                        size_t pixels);
};

/* Pixels whose numbers of channel c become those of BNN_BIT_STEPS * src[c] + biases[c]: bytes, or int16 if `bytes` is
 * NULL. */
struct bnn_short_rows {
    uint8_t *bytes;
    int16_t *shorts;
    const int16_t *src;
    const int32_t *biases;
    const struct bnn_requantizer *requantizer;
    size_t channels, pixels;
};

/* int16 values. */
struct bnn_short_loops {
    /* dst[i] = x[i] + y[i], at least low and at most high; dst may be x or y */
    void (*add)(int16_t *dst, const int16_t *x, const int16_t *y, size_t count, int32_t low, int32_t high);
    void (*requantize)(const struct bnn_short_rows *rows);
    /* As `binarize_at` of floats. */
    void (*binarize_at)(uint32_t *dst, const int16_t *src, const int16_t *thresholds, const uint32_t *flips,
                        size_t channels, size_t pixels);
};

struct bnn_byte_kernels {
    uint16_t pixels, lanes;
    uint16_t taps; /* weights in a packed word */
    /* -> dst: [block][segment][word][lane], missing lanes and weights zero; a segment has pixels * bytes weights */
    void (*pack)(uint32_t *dst, const struct bnn_byte_filters *filters);
    /* correction + the sum of products.  Nothing beyond a segment's length is read except slack. */
    bnn_tile_kernel *values;
    /* For int8 weights alone.  As of floats: weights are int32_t [segment][length], and length is a multiple of lanes. */
    bnn_tile_kernel *depthwise;
    const struct bnn_byte_loops *loops;
    const struct bnn_short_loops *short_loops;
};

/* A float's byte: see `quantize` of bnn/ir/ops. */
struct bnn_quantizer {
    float scale, offset;
    int32_t zero;
};

/* Rising thresholds: a float's byte is the number of those that are <= it; 0 for NaN.  A quantizer of zero 0 gives it or
 * the number beside it, and the wrong one only where the float is less than `apart` from the middle of two numbers. */
struct bnn_thresholds {
    const float *first;
    uint32_t count;
    float apart;
};

/* What becomes of a float v by its operand o: bnn/ir/ops says what the ops of these names compute.  set: o.  raise and
 * lower: o if it is greater (less), otherwise v, also if there is a NaN.  nearest and down: the op `round` in these
 * directions, for all pixels by the number BNN_WHOLE. */
enum bnn_arithmetic {
    BNN_STEP_set,
    BNN_STEP_add,
    BNN_STEP_sub,
    BNN_STEP_mul,
    BNN_STEP_div,
    BNN_STEP_maximum,
    BNN_STEP_minimum,
    BNN_STEP_prelu,
    BNN_STEP_raise,
    BNN_STEP_lower,
    BNN_STEP_nearest,
    BNN_STEP_down
};

#define BNN_WHOLE 8388608.0f /* 2^23: floats from there on are integers */

/* The operand of pixel i and channel c is first[i * pixel + c], or first[i * pixel] if it stays. */
struct bnn_step {
    enum bnn_arithmetic op;
    int stays;
    const float *first;
    size_t pixel;
};

enum { BNN_MOST_STEPS = 16 };

/* out[i * channels + c] is what the steps make one after another, each rounded; there is one, and the first is `set`.  An
 * operand may be in the memory of out if its floats have the same places. */
struct bnn_elements {
    float *out;
    size_t pixels, channels;
    const struct bnn_step *steps;
    size_t count;
};

enum { BNN_FEW_VALUES = 16 };

/* Numbers of channels, as planes of bits that begin on words, `apart` words after each other, and a table of few values;
 * a pixel has `words` words. */
struct bnn_numbers {
    const float *table;
    uint32_t last, planes; /* index of the table's last value, for all numbers from there on: numbers are below 16 */
    int binary;            /* bits of a binary number, the lowest first; otherwise set bits are counted */
    size_t channels, apart, words;
};

struct bnn_neurons;

enum { BNN_STEPS = 4 }; /* of time, which share rows of weights */

/* Spikes over time.  A group of its own, because other networks should not have its pointers in memory. */
struct bnn_spike_kernels {
    /* sums[i] = (..(sums[i] + rows[index[0] * stride + i] * values[0]) + ..) + the last of n rows; each
     * product and sum is rounded.  values NULL: all 1. */
    void (*sum_rows)(float *sums, const float *rows, size_t stride, const uint32_t *index, const float *values,
                     size_t n, size_t count);
    int (*settle)(const struct bnn_neurons *neurons); /* one step of a population: neurons.h, neurons.inc */
    /* For r below runs, i below count: sums[i + r * step] += rows[i + r * stride] * value. */
    void (*add_runs)(float *sums, ptrdiff_t step, const float *rows, ptrdiff_t stride, size_t runs, size_t count,
                     float value);
    /* For t below targets, i below width, the products one after another: sums[t * width + i] += rows[index[k] * width + i]
     * * values[t * step + k], k from 0 to n - 1. */
    void (*sum_windows)(float *sums, size_t targets, const float *rows, size_t width, const uint32_t *index,
                        const float *values, size_t step, size_t n);
    /* For t below BNN_STEPS, i below width, k from 0 to n - 1 where bit k of the words at words + t * step is set:
     * sums[t * width + i] += rows[k * width + i].  No sum may be -0 before.  NULL where no family does it well. */
    void (*sum_steps)(float *sums, const float *rows, size_t width, const uint32_t *words, size_t step, size_t n);
    /* The sums of runs and rows with whole numbers, modulo 2^32. */
    void (*add_byte_runs)(uint32_t *sums, ptrdiff_t step, const int8_t *rows, ptrdiff_t stride, size_t runs,
                          size_t count, uint32_t value);
    void (*sum_byte_rows)(uint32_t *sums, const int8_t *rows, size_t stride, const uint32_t *index,
                          const uint32_t *values, size_t n, size_t count);
    /* dst[i] = dst[i] + (float)(int32_t)sums[i] * scales[i * step], each rounded; step: 0 or 1 */
    void (*add_scaled)(float *dst, const uint32_t *sums, const float *scales, size_t step, size_t count);
    /* bit i of dst = src[i] != 0, tail bits zero; returns whether a value is neither 0 nor 1 */
    int (*nonzero)(uint32_t *dst, const float *src, size_t count);
    /* The numbers of the bits that are set, rising; returns how many.  May write 32 elements beyond them. */
    size_t (*find_bits)(uint32_t *index, const uint32_t *words, size_t count);
};

/* The event engine's membranes.  A group of its own for the same reason. */
struct bnn_event_kernels {
    /* m[i] += sum of added[k][offset + i] - sum of taken[k][offset + i] */
    void (*add_rows)(int16_t *m, const struct bnn_rows *rows, size_t offset, size_t count);
    /* a[i] += delta * row[i] */
    void (*add_floats)(float *a, const float *row, float delta, size_t count);
    /* changed[k] = bits[k] ^ the bits (m >= 0) of 32 membranes from m + 32 k on, for at most 64 words; returns a bit
     * for each word that differs.  Neurons that do not exist may appear changed. */
    uint64_t (*crossed)(const int16_t *m, const uint32_t *bits, uint32_t *changed, size_t words);
    /* m[i] = floor((accumulators[i] - thresholds[i]) / 2); may write 15 more */
    void (*halve)(int16_t *m, const float *accumulators, const int32_t *thresholds, size_t count);
    /* as the family's */
    int (*binarize_at)(uint32_t *dst, const float *src, const float *thresholds, const uint32_t *flips, size_t channels,
                       size_t pixels);
};

/* A family.  Members that are NULL come from the next family: see bnn_kernels_complete. */
struct bnn_kernels {
    const char *name;
    const struct bnn_kernels *next; /* the next family, if it comes along with this one where that is chosen alone */
    uint32_t features;              /* bits that the processor must have: BNN_FEATURE_* */
    struct bnn_binary_kernels binary;
    struct bnn_float_kernels floats;
    const struct bnn_float_kernels *portable; /* the same with portable sums; NULL: those of floats are portable */
    int portable_sums;                        /* floats are to be the portable ones: of the family "portable" */
    struct bnn_byte_kernels bytes;            /* for weights of -1, 0 and +1 */
    /* Three: for all weights of 8 bits; then for dense layers by one plane of signs, and by two, whose weights take a bit of
     * memory for each plane.  Segments of these have `taps` bytes or more.  `values` of these is NULL where no family does
     * it well.  (In one array, because a model on a small device is opened with a copy of this struct on its stack.) */
    const struct bnn_byte_kernels *wide;
    /* sums[i] -= weight * (bits that differ between the n words of a and those of filter i, at w + i * stride): for
     * weights that are read where a file has them.  A family with this and without tiles of bits is for little
     * memory. */
    void (*take_differing)(int32_t *sums, const uint32_t *a, const uint32_t *w, size_t n, size_t stride, size_t filters,
                           int32_t weight);
    /* bit i of dst = src[i] > BNN_BIT_ABOVE, tail bits zero; nonzero: there was a NaN */
    int (*binarize)(uint32_t *dst, const float *src, size_t count);
    /* pixels of `channels` floats each: bit c of a pixel = (src[c] >= thresholds[c]) != bit c of flips; each pixel
     * begins a word, tail bits zero; nonzero: there was a NaN */
    int (*binarize_at)(uint32_t *dst, const float *src, const float *thresholds, const uint32_t *flips, size_t channels,
                       size_t pixels);
    void (*compute)(const struct bnn_elements *elements);
    /* thresholds may be NULL */
    void (*quantize)(uint8_t *dst, const float *src, size_t count, const struct bnn_quantizer *quantizer,
                     const struct bnn_thresholds *thresholds);
    /* out[i * channels + c] = the value of the number of pixel i's channel c.  NULL where no family does it well. */
    void (*decode)(float *out, const uint32_t *in, const struct bnn_numbers *numbers, size_t pixels);
    const struct bnn_event_kernels *events;
    const struct bnn_spike_kernels *spikes;
};

#define BNN_FEATURE_AVX2 1u      /* AVX2, FMA, BMI, POPCNT */
#define BNN_FEATURE_AVX512 2u    /* AVX-512 F, BW, DQ, VL */
#define BNN_FEATURE_VPOPCNTDQ 4u /* AVX-512 VPOPCNTDQ */
#define BNN_FEATURE_NEON 8u
#define BNN_FEATURE_VNNI 16u  /* AVX-512 VNNI */
#define BNN_FEATURE_VBMI2 32u /* AVX-512 VBMI2 */

/* Those of this processor. */
uint32_t bnn_processor_features(void);

/* The families compiled in, fastest first, scalar last. */
extern const struct bnn_kernels *const bnn_kernel_families[];
extern const size_t bnn_kernel_family_count;

/* The fastest family, but with portable sums of floats: it is in no table, and all of its kernels come from others. */
extern const struct bnn_kernels bnn_kernels_portable;

/* A family with all functions and groups: missing ones come from the next family that has them and that this processor
 * can run.  A family that is not in the table comes before all others. */
void bnn_kernels_complete(const struct bnn_kernels *family, struct bnn_kernels *complete);
/* The same from these families alone: what none of them has is NULL. */
void bnn_kernels_join(const struct bnn_kernels *const *families, size_t count, struct bnn_kernels *joined);

#endif
