/* SPDX-License-Identifier: Apache-2.0 */
/* What a model says about itself. */
#include "model/validate.h"

const char *bnn_op_name(const bnn_op_row *op)
{
    return op->name;
}

uint32_t bnn_input_count(const bnn_model *model)
{
    return model->input_count;
}

uint32_t bnn_output_count(const bnn_model *model)
{
    return model->output_count;
}

uint32_t bnn_op_count(const bnn_model *model)
{
    return model->op_count;
}

uint32_t bnn_tensor_count(const bnn_model *model)
{
    return model->tensor_count;
}

uint32_t bnn_input_tensor(const bnn_model *model, uint32_t input)
{
    return input < model->input_count ? model->input_tensors[input] : UINT32_MAX;
}

uint32_t bnn_output_tensor(const bnn_model *model, uint32_t output)
{
    return output < model->output_count ? model->output_tensors[output] : UINT32_MAX;
}

size_t bnn_arena_bytes(const bnn_model *model)
{
    return model->arena;
}

uint64_t bnn_model_work(const bnn_model *model)
{
    return model->work;
}

int bnn_channels_first(const bnn_model *model)
{
    return model->channels_first;
}

const char *bnn_model_use(const bnn_model *model, size_t *length)
{
    *length = bnn_load32(model->file + 112);
    return (const char *)model->file + bnn_load64(model->file + 64) + bnn_load32(model->file + 108);
}

int bnn_whole_batch(const bnn_model *model)
{
    return model->whole_batch;
}

bnn_status bnn_get_tensor(const bnn_model *model, uint32_t tensor, bnn_tensor_info *info)
{
    if (model == NULL || tensor >= model->tensor_count || info == NULL)
        return BNN_ERROR_ARGUMENT;
    const struct bnn_tensor *t = &model->tensors[tensor];
    const uint32_t all[4] = {t->o, t->h, t->w, t->c};
    *info = (bnn_tensor_info){
        .dtype = t->dtype,
        .storage = t->storage,
        .encoding = t->encoding,
        .rank = t->rank,
        .halo = {t->top, t->left, t->bottom, t->right},
        .offset = t->storage == BNN_CONSTANT ? (size_t)(t->stored - model->file) : t->offset,
        .bytes = t->bytes,
        .name = t->name,
        .name_length = t->name_length,
        .origin = t->origin,
        .origin_length = t->origin_length,
    };
    /* Constants: all four.  Activations: the last rank of h, w, c, starting at dims[0]. */
    uint32_t skip = t->storage == BNN_CONSTANT ? 0 : 4 - t->rank;
    for (uint32_t i = 0; i + skip < 4; i++)
        info->dims[i] = all[i + skip];
    return BNN_OK;
}

bnn_status bnn_get_op(const bnn_model *model, uint32_t op, bnn_op_info *info)
{
    if (model == NULL || op >= model->op_count || info == NULL)
        return BNN_ERROR_ARGUMENT;
    const struct bnn_op *o = &model->ops[op];
    *info = (bnn_op_info){
        .op = o->row->name,
        .layer = o->layer,
        .layer_length = o->layer_length,
        .note = o->note,
        .note_length = o->note_length,
        .input_count = o->input_count,
        .inputs = o->inputs,
        .output = o->output,
        .work = o->work,
    };
    for (uint32_t i = 0; i < o->input_count; i++) {
        const struct bnn_tensor *t = bnn_op_input(model, o, i);
        if (t->storage == BNN_CONSTANT)
            info->weight_bytes += (uint64_t)t->o * t->image * 4;
    }
    struct bnn_products products = bnn_op_products(model, o);
    info->binary_macs = products.binary;
    info->byte_macs = products.byte;
    info->float_macs = products.floating;
    if (bnn_is_conv(o)) {
        const struct bnn_conv_attrs *a = o->attrs;
        info->planes = (uint32_t)a->planes;
        info->slots = (uint32_t)a->slots;
        info->layer_slots = (uint32_t)a->layer_slots;
    }
    return BNN_OK;
}
