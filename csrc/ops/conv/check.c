/* SPDX-License-Identifier: Apache-2.0 */
/* The rules for convolutions in a file: the same as `_conv` and `_slots` in bnn/ir/ops. */
#include "ops/conv/conv.h"
#include "run/window.h"

static const int64_t MAX_PRODUCTS = (1 << 24) - 1; /* sums up to here are exact in float32 */
/* Of bytes: exact with their corrections; by int8 weights they are below 2^30. */
static const int64_t MAX_BYTE_PRODUCTS = ((1 << 24) - 1) / (2 * 255);

static bnn_status check_attrs(struct bnn_prepare *p, const struct bnn_op *op, const struct bnn_conv_attrs *a,
                              const struct bnn_conv_shape *shape)
{
    BNN_CHECK(a->stride_h >= 1, "vertical stride", a->stride_h, 1);
    BNN_CHECK(a->stride_w >= 1, "horizontal stride", a->stride_w, 1);
    BNN_CHECK(a->dilation_h >= 1, "vertical dilation", a->dilation_h, 1);
    BNN_CHECK(a->dilation_w >= 1, "horizontal dilation", a->dilation_w, 1);
    BNN_CHECK(a->pad_top >= 0, "padding at the top", a->pad_top, 0);
    BNN_CHECK(a->pad_left >= 0, "padding at the left", a->pad_left, 0);
    BNN_CHECK(a->pad_bottom >= 0, "padding at the bottom", a->pad_bottom, 0);
    BNN_CHECK(a->pad_right >= 0, "padding at the right", a->pad_right, 0);
    int least = shape->binary ? -1 : 0, most = shape->binary ? 1 : 0;
    BNN_CHECK(a->pad_value >= least && a->pad_value <= most, "padding value", a->pad_value, 0);
    int zeros = ((uint32_t)a->slots & BNN_SLOT_ZEROS) != 0;
    BNN_CHECK(zeros == shape->bytes, "operand of zeros (1: it is there)", zeros, shape->bytes);
    BNN_CHECK(a->groups >= 1, "groups", a->groups, 1);
    BNN_CHECK(a->groups == 1 || !shape->bytes || op->row->opcode == BNN_OP_qconv2d, "groups of a convolution of bytes",
              a->groups, 1);
    BNN_CHECK(a->planes >= 1 && a->planes <= (shape->binary ? BNN_MOST_PLANES : 1), "planes", a->planes, 1);
    BNN_CHECK(a->slots >= 0 && a->slots < 1 << BNN_SLOT_COUNT, "slots", a->slots, (1 << BNN_SLOT_COUNT) - 1);
    BNN_CHECK(a->layer_slots >= 0 && a->layer_slots < 1 << BNN_SLOT_COUNT, "slots of the layer", a->layer_slots,
              (1 << BNN_SLOT_COUNT) - 1);
    int ordered = a->clamp0_lo <= a->clamp0_hi && a->clamp1_lo <= a->clamp1_hi; /* false for NaN, too */
    BNN_CHECK(ordered, "bounds of a clamp in order (1: yes)", 0, 1);
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
        BNN_CHECK(input < op->input_count, "number of inputs for the slots", op->input_count, input + 1);
        const struct bnn_tensor *t = bnn_op_input(p->model, op, input++);
        bnn_dtype dtype = slot & (BNN_SLOT_THRESHOLD | BNN_WHOLE_SLOTS) ? BNN_I32
                          : slot == BNN_SLOT_NEGATED                    ? BNN_B1
                                                                        : BNN_F32;
        BNN_CHECK(t->dtype == dtype, "element type of a slot's operand", t->dtype, dtype);
        uint32_t channels = slot == BNN_SLOT_ZEROS ? shape->x->c : slot == BNN_SLOT_RANGE ? 4 : y->c;
        BNN_CHECK(t->o == 1 && t->c == channels, "channels of a slot's operand", t->c, channels);
        if (slot == BNN_SLOT_RESIDUAL) {
            BNN_CHECK(t->rank == y->rank, "rank of the residual", t->rank, y->rank);
            BNN_CHECK(t->h == y->h, "height of the residual", t->h, y->h);
            BNN_CHECK(t->w == y->w, "width of the residual", t->w, y->w);
        } else {
            BNN_CHECK(t->storage == BNN_CONSTANT, "storage of a slot's operand (3: constant)", t->storage,
                      BNN_CONSTANT);
            BNN_CHECK(t->rank == 1, "rank of a slot's operand", t->rank, 1);
        }
    }
    BNN_CHECK(input == op->input_count, "number of inputs for the slots", op->input_count, input);
    if ((slots & BNN_SLOT_THRESHOLD) || ((slots & BNN_SLOT_NEGATED) && !(slots & BNN_WHOLE_SLOTS))) {
        BNN_CHECK((slots & ~(BNN_SLOT_NEGATED | BNN_SLOT_ZEROS)) == BNN_SLOT_THRESHOLD,
                  "slots beside a threshold, which stands alone", slots, BNN_SLOT_THRESHOLD);
        BNN_CHECK(shape->binary || shape->bytes, "threshold on sums of floats (1: there is one)", 1, 0);
        BNN_CHECK(y->dtype == BNN_B1, "output of a threshold (1: bits)", y->dtype, BNN_B1);
    }
    return bnn_is_whole(y) || (slots & BNN_WHOLE_SLOTS) != 0 ? bnn_conv_check_requantizer(p, op, shape) : BNN_OK;
}

bnn_status bnn_conv_check(struct bnn_prepare *p, const struct bnn_op *op, struct bnn_conv_shape *shape)
{
    int quantized = op->row->opcode == BNN_OP_qconv2d, binary = op->row->opcode == BNN_OP_bconv2d;
    int bytes = op->row->opcode == BNN_OP_iconv2d || quantized;
    bnn_dtype dtype = binary ? BNN_B1 : bytes ? BNN_U8 : BNN_F32;
    bnn_dtype filters = quantized ? BNN_I8 : binary || bytes ? BNN_B1 : BNN_F32;
    *shape = (struct bnn_conv_shape){.binary = binary, .bytes = bytes};
    BNN_CHECK(op->input_count >= 2, "number of inputs", op->input_count, 2);
    const struct bnn_tensor *x = bnn_op_input(p->model, op, 0), *w = bnn_op_input(p->model, op, 1);
    const struct bnn_tensor *y = bnn_op_output(p->model, op);
    const struct bnn_conv_attrs *a = op->attrs;

    BNN_TRY(check_attrs(p, op, a, shape));
    BNN_CHECK(x->dtype == dtype, "element type of the data", x->dtype, dtype);
    BNN_CHECK(w->dtype == filters, "element type of the filters", w->dtype, filters);
    int gives = bnn_is_whole(y) ? binary || quantized : y->dtype == BNN_F32 || y->dtype == BNN_B1;
    BNN_CHECK(gives, "element type of the output", y->dtype, BNN_F32);
    BNN_CHECK(w->storage == BNN_CONSTANT, "storage of the filters (3: constant)", w->storage, BNN_CONSTANT);
    BNN_CHECK(w->rank == 4, "rank of the filters", w->rank, 4);
    BNN_CHECK(x->rank == 1 || x->rank == 3, "rank of the data", x->rank, 3);

    uint32_t groups = (uint32_t)a->groups;
    uint32_t signs = bytes && !quantized && w->c == 2 * (uint64_t)x->c ? 2 : 1;
    uint64_t planes = (uint64_t)a->planes, channels = w->c / signs;
    uint64_t wanted = channels * groups;
    if (planes > 1) /* each begins on a word */
        wanted = planes * ((wanted + 31) / 32 * 32);
    BNN_CHECK(wanted == x->c, "channels of the data", x->c, wanted);
    BNN_CHECK(w->o % groups == 0, "filters left over when divided into groups", w->o % groups, 0);
    uint64_t taps = (uint64_t)w->h * w->w, products = taps * channels; /* the file holds a filter, so no overflow */
    uint64_t most = (uint64_t)(bytes ? MAX_BYTE_PRODUCTS : MAX_PRODUCTS);
    BNN_CHECK(products <= most, "products in a sum", products, most);
    /* Several planes: the additions of borders, smaller than the sums themselves, must be exact, too. */
    BNN_CHECK(planes == 1 || products * 2 * ((1u << planes) - 1) <= (uint64_t)MAX_PRODUCTS,
              "products in a sum of several planes", products, MAX_PRODUCTS / (2 * ((INT64_C(1) << planes) - 1)));
    BNN_CHECK(!binary || groups == 1 || w->c % 32 == 0, "channels of a group past a multiple of 32", w->c % 32, 0);

    if (x->rank == 1) {
        BNN_CHECK(w->h == 1 && w->w == 1, "filter taps of a dense layer", taps, 1);
        BNN_CHECK(a->pad_top == 0 && a->pad_left == 0 && a->pad_bottom == 0 && a->pad_right == 0,
                  "padding of a dense layer (1: there is some)", 1, 0);
    }
    uint64_t oh = bnn_window_count(x->h, w->h, a->stride_h, a->dilation_h, a->pad_top, a->pad_bottom);
    uint64_t ow = bnn_window_count(x->w, w->w, a->stride_w, a->dilation_w, a->pad_left, a->pad_right);
    BNN_CHECK(oh > 0, "height of the padded image, less than the kernel's", x->h, w->h);
    BNN_CHECK(ow > 0, "width of the padded image, less than the kernel's", x->w, w->w);
    BNN_TRY(bnn_check_output(p, op, x->rank, oh, ow, w->o));
    BNN_CHECK(x->top >= (uint32_t)a->pad_top, "halo above the data", x->top, a->pad_top);
    BNN_CHECK(x->left >= (uint32_t)a->pad_left, "halo left of the data", x->left, a->pad_left);
    BNN_CHECK(x->bottom >= (uint32_t)a->pad_bottom, "halo below the data", x->bottom, a->pad_bottom);
    BNN_CHECK(x->right >= (uint32_t)a->pad_right, "halo right of the data", x->right, a->pad_right);

    int depthwise = (quantized || (!binary && !bytes)) && w->c == 1 && groups > 1 && w->o == groups;
    shape->x = x;
    shape->w = w;
    shape->y = y;
    shape->attrs = a;
    shape->sign_planes = signs;
    shape->depthwise = depthwise;
    shape->groups = depthwise ? 1 : groups;
    shape->outputs = depthwise ? w->o : w->o / groups;
    shape->group_words = bytes && !quantized ? x->words : w->words;
    shape->planes = (size_t)planes;
    shape->plane_words = x->words / (size_t)planes;
    return check_operands(p, op, shape);
}
