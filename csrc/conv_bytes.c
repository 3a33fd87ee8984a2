/* What a convolution of bytes needs of its own; see conv.h. */
#include "conv.h"

void bnn_conv_pack_bytes(struct bnn_prepare *p, struct bnn_conv *conv)
{
    const struct bnn_conv_shape *s = &conv->shape;
    const struct bnn_kernels *kernels = p->model->kernels;
    size_t segments = s->w->h * conv->row_segments, taps = kernels->byte_taps;
    size_t segment_words = (conv->length + taps - 1) / taps * conv->lanes;
    conv->row_weights = conv->row_segments * segment_words;
    conv->block_weights = s->w->h * conv->row_weights;
    conv->group_weights = bnn_conv_product(p, conv->block_weights, conv->padded / conv->lanes);
    uint32_t *dst = bnn_reserve(p, conv->group_weights, sizeof *dst);
    conv->weights.words = dst;
    const struct bnn_byte_filters filters = {.signs = s->w->data,
                                             .channels = s->outputs,
                                             .segments = segments,
                                             .pixels = conv->length / s->x->c,
                                             .bytes = s->x->c,
                                             .planes = s->sign_planes};
    if (dst != NULL)
        kernels->pack_bytes(dst, &filters);
}

void bnn_conv_margins(struct bnn_prepare *p, const struct bnn_op *op, struct bnn_conv *conv, size_t count)
{
    const struct bnn_conv_shape *s = &conv->shape;
    if (!((uint32_t)s->attrs->slots & BNN_SLOT_THRESHOLD))
        return;
    const int32_t *thresholds = bnn_op_input(p->model, op, 2)->data;
    int32_t farthest = (int32_t)(s->w->h * s->w->w * s->x->c) * 255 + 1; /* no sum reaches it */
    float *margins = bnn_reserve(p, count, sizeof *margins);
    conv->margins = margins;
    for (size_t i = 0; margins != NULL && i < count; i++) {
        size_t c = i % conv->padded;
        int32_t t = c < s->outputs ? thresholds[c] : farthest;
        t = t > farthest ? farthest : t < -farthest ? -farthest : t;
        margins[i] = conv->corrections[i] - (float)t;
    }
}
