/* SPDX-License-Identifier: Apache-2.0 */
/* The rules for convolutions in a file: the same as `_conv` and `_slots` in bnn/ir/ops. */
#include "ops/conv/conv.h"

#define CHECK(condition, what, found, expected)                                                    \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return bnn_fail(p, op, BNN_ERROR_FORMAT, what, (int64_t)(found), (int64_t)(expected)); \
    } while (0)

static const int64_t MAX_PRODUCTS = (1 << 24) - 1;                    /* sums up to here are exact in float32 */
static const int64_t MAX_BYTE_PRODUCTS = ((1 << 24) - 1) / (2 * 255); /* of bytes, with their corrections */

/* Length of one spatial axis of the output; 0 or less if the kernel does not fit. */
static int64_t output_size(uint32_t size, uint32_t kernel, int32_t stride, int32_t dilation, int32_t before,
                           int32_t after)
{
    int64_t room = (int64_t)size + before + after - ((int64_t)kernel - 1) * dilation - 1;
    return room < 0 ? 0 : room / stride + 1;
}

static bnn_status check_attrs(struct bnn_prepare *p, const struct bnn_op *op, const struct bnn_conv_attrs *a,
                              const struct bnn_conv_shape *shape)
{
    CHECK(a->stride_h >= 1, "vertical stride", a->stride_h, 1);
    CHECK(a->stride_w >= 1, "horizontal stride", a->stride_w, 1);
    CHECK(a->dilation_h >= 1, "vertical dilation", a->dilation_h, 1);
    CHECK(a->dilation_w >= 1, "horizontal dilation", a->dilation_w, 1);
    CHECK(a->pad_top >= 0, "padding at the top", a->pad_top, 0);
    CHECK(a->pad_left >= 0, "padding at the left", a->pad_left, 0);
    CHECK(a->pad_bottom >= 0, "padding at the bottom", a->pad_bottom, 0);
    CHECK(a->pad_right >= 0, "padding at the right", a->pad_right, 0);
    int least = shape->binary ? -1 : 0, most = shape->binary ? 1 : 0;
    CHECK(a->pad_value >= least && a->pad_value <= most, "padding value", a->pad_value, 0);
    int zeros = ((uint32_t)a->slots & BNN_SLOT_ZEROS) != 0;
    CHECK(zeros == shape->bytes, "operand of zeros (1: it is there)", zeros, shape->bytes);
    CHECK(a->groups >= 1, "groups", a->groups, 1);
    CHECK(a->groups == 1 || !shape->bytes, "groups of a convolution of bytes", a->groups, 1);
    CHECK(a->planes >= 1 && a->planes <= (shape->binary ? BNN_MOST_PLANES : 1), "planes", a->planes, 1);
    CHECK(a->slots >= 0 && a->slots < 1 << BNN_SLOT_COUNT, "slots", a->slots, (1 << BNN_SLOT_COUNT) - 1);
    CHECK(a->layer_slots >= 0 && a->layer_slots < 1 << BNN_SLOT_COUNT, "slots of the layer", a->layer_slots,
          (1 << BNN_SLOT_COUNT) - 1);
    int ordered = a->clamp0_lo <= a->clamp0_hi && a->clamp1_lo <= a->clamp1_hi; /* false for NaN, too */
    CHECK(ordered, "bounds of a clamp in order (1: yes)", 0, 1);
    return BNN_OK;
}

static bnn_status check_operands(struct bnn_prepare *p, const struct bnn_op *op, const struct bnn_conv_shape *shape)
{
    const struct bnn_tensor *y = shape->y;
    uint32_t slots = (uint32_t)shape->attrs->slots, input = 2;
    for (uint32_t bit = 0; bit < BNN_SLOT_COUNT; bit++) {
        uint32_t slot = 1u << bit;
        if (!(slots & slot & BNN_SLOTS_WITH_OPERAND))
            continue;
        CHECK(input < op->input_count, "number of inputs for the slots", op->input_count, input + 1);
        const struct bnn_tensor *t = bnn_op_input(p->model, op, input++);
        bnn_dtype dtype = slot == BNN_SLOT_THRESHOLD ? BNN_I32 : slot == BNN_SLOT_NEGATED ? BNN_B1 : BNN_F32;
        CHECK(t->dtype == dtype, "element type of a slot's operand", t->dtype, dtype);
        uint32_t channels = slot == BNN_SLOT_ZEROS ? shape->x->c : y->c;
        CHECK(t->o == 1 && t->c == channels, "channels of a slot's operand", t->c, channels);
        if (slot == BNN_SLOT_RESIDUAL) {
            CHECK(t->rank == y->rank, "rank of the residual", t->rank, y->rank);
            CHECK(t->h == y->h, "height of the residual", t->h, y->h);
            CHECK(t->w == y->w, "width of the residual", t->w, y->w);
        } else {
            CHECK(t->storage == BNN_CONSTANT, "storage of a slot's operand (3: constant)", t->storage, BNN_CONSTANT);
            CHECK(t->rank == 1, "rank of a slot's operand", t->rank, 1);
        }
    }
    CHECK(input == op->input_count, "number of inputs for the slots", op->input_count, input);
    if (slots & (BNN_SLOT_THRESHOLD | BNN_SLOT_NEGATED)) {
        CHECK((slots & ~(BNN_SLOT_NEGATED | BNN_SLOT_ZEROS)) == BNN_SLOT_THRESHOLD,
              "slots beside a threshold, which stands alone", slots, BNN_SLOT_THRESHOLD);
        CHECK(shape->binary || shape->bytes, "threshold on sums of floats (1: there is one)", 1, 0);
        CHECK(y->dtype == BNN_B1, "output of a threshold (1: bits)", y->dtype, BNN_B1);
    }
    return BNN_OK;
}

bnn_status bnn_conv_check(struct bnn_prepare *p, const struct bnn_op *op, enum bnn_conv_kind kind,
                          struct bnn_conv_shape *shape)
{
    int binary = kind == BNN_CONV_BITS, bytes = kind == BNN_CONV_BYTES;
    bnn_dtype dtype = (bnn_dtype)kind, filters = binary || bytes ? BNN_B1 : BNN_F32;
    *shape = (struct bnn_conv_shape){.binary = binary, .bytes = bytes};
    CHECK(op->input_count >= 2, "number of inputs", op->input_count, 2);
    const struct bnn_tensor *x = bnn_op_input(p->model, op, 0), *w = bnn_op_input(p->model, op, 1);
    const struct bnn_tensor *y = &p->model->tensors[op->output];
    const struct bnn_conv_attrs *a = op->attrs;

    bnn_status status = check_attrs(p, op, a, shape);
    if (status != BNN_OK)
        return status;
    CHECK(x->dtype == dtype, "element type of the data", x->dtype, dtype);
    CHECK(w->dtype == filters, "element type of the filters", w->dtype, filters);
    CHECK(y->dtype == BNN_F32 || y->dtype == BNN_B1, "element type of the output", y->dtype, BNN_F32);
    CHECK(w->storage == BNN_CONSTANT, "storage of the filters (3: constant)", w->storage, BNN_CONSTANT);
    CHECK(w->rank == 4, "rank of the filters", w->rank, 4);
    CHECK(x->rank == 1 || x->rank == 3, "rank of the data", x->rank, 3);
    CHECK(y->rank == x->rank, "rank of the output", y->rank, x->rank);

    uint32_t groups = (uint32_t)a->groups;
    uint64_t planes = (uint64_t)a->planes, signs = bytes && w->c == 2 * (uint64_t)x->c ? 2 : 1, channels = w->c / signs;
    uint64_t wanted = channels * groups;
    if (planes > 1) /* each begins on a word */
        wanted = planes * ((wanted + 31) / 32 * 32);
    CHECK(wanted == x->c, "channels of the data", x->c, wanted);
    CHECK(w->o % groups == 0, "filters left over when divided into groups", w->o % groups, 0);
    uint64_t taps = (uint64_t)w->h * w->w, products = taps * channels; /* the file holds a filter, so no overflow */
    uint64_t most = (uint64_t)(bytes ? MAX_BYTE_PRODUCTS : MAX_PRODUCTS);
    CHECK(products <= most, "products in a sum", products, most);
    /* Several planes: the additions of borders, smaller than the sums themselves, must be exact, too. */
    CHECK(planes == 1 || products * 2 * ((1u << planes) - 1) <= (uint64_t)MAX_PRODUCTS,
          "products in a sum of several planes", products, MAX_PRODUCTS / (2 * ((INT64_C(1) << planes) - 1)));
    CHECK(!binary || groups == 1 || w->c % 32 == 0, "channels of a group past a multiple of 32", w->c % 32, 0);

    if (x->rank == 1) {
        CHECK(w->h == 1 && w->w == 1, "filter taps of a dense layer", taps, 1);
        CHECK(a->pad_top == 0 && a->pad_left == 0 && a->pad_bottom == 0 && a->pad_right == 0,
              "padding of a dense layer (1: there is some)", 1, 0);
    }
    int64_t oh = output_size(x->h, w->h, a->stride_h, a->dilation_h, a->pad_top, a->pad_bottom);
    int64_t ow = output_size(x->w, w->w, a->stride_w, a->dilation_w, a->pad_left, a->pad_right);
    CHECK(oh > 0, "height of the padded image, less than the kernel's", x->h, w->h);
    CHECK(ow > 0, "width of the padded image, less than the kernel's", x->w, w->w);
    CHECK(y->h == oh, "height of the output", y->h, oh);
    CHECK(y->w == ow, "width of the output", y->w, ow);
    CHECK(y->c == w->o, "channels of the output", y->c, w->o);
    CHECK(x->top >= (uint32_t)a->pad_top, "halo above the data", x->top, a->pad_top);
    CHECK(x->left >= (uint32_t)a->pad_left, "halo left of the data", x->left, a->pad_left);
    CHECK(x->bottom >= (uint32_t)a->pad_bottom, "halo below the data", x->bottom, a->pad_bottom);
    CHECK(x->right >= (uint32_t)a->pad_right, "halo right of the data", x->right, a->pad_right);

    int depthwise = !binary && !bytes && w->c == 1 && groups > 1 && w->o == groups;
    *shape = (struct bnn_conv_shape){
        .x = x,
        .w = w,
        .y = y,
        .attrs = a,
        .binary = binary,
        .bytes = bytes,
        .sign_planes = (uint32_t)signs,
        .depthwise = depthwise,
        .groups = depthwise ? 1 : groups,
        .outputs = depthwise ? w->o : w->o / groups,
        .group_words = bytes ? x->words : w->words,
        .planes = (size_t)planes,
        .plane_words = x->words / (size_t)planes,
    };
    return check_operands(p, op, shape);
}
