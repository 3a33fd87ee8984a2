/* SPDX-License-Identifier: Apache-2.0 */
/* The runtime as a WebAssembly module without imports, for bnn.js: one opened model per instance.  Every function with a
 * status returns a bnn_status; what it fills or points to is read from the module's memory. */
#include "bnn.h"

#define EXPORT(name) __attribute__((export_name(#name))) name

enum { MAX_ARRAYS = 16, PAGE = 65536 };

/* In words of 32 bits, as all of this processor's pointers and sizes are. */
struct described_op {
    const char *op; /* ends in a zero */
    const char *layer;
    size_t layer_length;
    uint32_t tensor; /* number of its result */
};

struct described_tensor {
    const char *name;
    size_t name_length;
    uint32_t dtype, rank, dims[3]; /* dims: the first `rank` */
};

extern unsigned char __heap_base;
static uintptr_t top; /* of what is taken; 0: nothing */
static bnn_model *model;
static bnn_context *context;
static bnn_problem problem;
static struct described_op described_op;
static struct described_tensor described_tensor;
static void *inputs[MAX_ARRAYS];
static float *outputs[MAX_ARRAYS], *values; /* values: of any one tensor */

/* Memory that is never given back, aligned to BNN_ALIGNMENT; NULL if the browser has none left. */
void *EXPORT(web_take)(size_t bytes)
{
    uint64_t start = top != 0 ? top : (uintptr_t)&__heap_base;
    start = (start + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT;
    uint64_t end = start + bytes, size = (uint64_t)__builtin_wasm_memory_size(0) * PAGE;
    if (end > UINT32_MAX ||
        (end > size && __builtin_wasm_memory_grow(0, (size_t)((end - size + PAGE - 1) / PAGE)) == SIZE_MAX))
        return NULL;
    top = (uintptr_t)end;
    return (void *)(uintptr_t)start;
}

static size_t elements(const bnn_tensor_info *t)
{
    size_t count = 1;
    for (uint32_t i = 0; i < t->rank; i++)
        count *= t->dims[i];
    return count;
}

static bnn_status take_floats(uint32_t tensor, float **floats)
{
    bnn_tensor_info t;
    bnn_status status = bnn_get_tensor(model, tensor, &t);
    if (status == BNN_OK && (*floats = web_take(elements(&t) * sizeof(float))) == NULL)
        status = BNN_ERROR_MEMORY;
    return status;
}

/* Inputs, outputs, and `values`, which fits the largest tensor. */
static bnn_status take_arrays(void)
{
    if (bnn_input_count(model) > MAX_ARRAYS || bnn_output_count(model) > MAX_ARRAYS)
        return BNN_ERROR_LIMIT;
    bnn_status status = BNN_OK;
    for (uint32_t i = 0; status == BNN_OK && i < bnn_input_count(model); i++) {
        float *floats;
        status = take_floats(bnn_input_tensor(model, i), &floats);
        inputs[i] = floats; /* smaller types fit as well */
    }
    for (uint32_t i = 0; status == BNN_OK && i < bnn_output_count(model); i++)
        status = take_floats(bnn_output_tensor(model, i), &outputs[i]);
    uint32_t largest = 0;
    size_t most = 0;
    for (uint32_t i = 0; i < bnn_tensor_count(model); i++) {
        bnn_tensor_info t;
        if (bnn_get_tensor(model, i, &t) == BNN_OK && t.storage != BNN_CONSTANT && elements(&t) > most) {
            most = elements(&t);
            largest = i;
        }
    }
    return status == BNN_OK ? take_floats(largest, &values) : status;
}

/* `file` is in memory that web_take gave, and stays there unchanged. */
bnn_status EXPORT(web_open)(const void *file, size_t size)
{
    const bnn_kernels *kernels = bnn_kernels_select(NULL);
    size_t bytes;
    void *memory;
    bnn_status status = bnn_model_size(file, size, kernels, &bytes, &problem);
    if (status != BNN_OK)
        return status;
    if ((memory = web_take(bytes)) == NULL)
        return BNN_ERROR_MEMORY;
    status = bnn_model_open(file, size, kernels, memory, bytes, &model, &problem);
    if (status == BNN_OK)
        status = bnn_stepping_size(model, 1, 1, &bytes); /* layers are run one by one, too */
    if (status != BNN_OK)
        return status;
    if ((memory = web_take(bytes)) == NULL)
        return BNN_ERROR_MEMORY;
    status = bnn_context_create(model, 1, 1, memory, bytes, &context);
    return status == BNN_OK ? take_arrays() : status;
}

/* Texts end in a zero. */
const char *EXPORT(web_status)(bnn_status status)
{
    return bnn_status_text(status);
}

/* The field that web_open complains about, or an empty text; what it found, and what it expected. */
const char *EXPORT(web_problem)(void)
{
    return problem.what;
}

double EXPORT(web_found)(void)
{
    return (double)problem.found;
}

double EXPORT(web_expected)(void)
{
    return (double)problem.expected;
}

const char *EXPORT(web_kernels)(void)
{
    return bnn_kernels_name(bnn_kernels_select(NULL));
}

uint32_t EXPORT(web_input_count)(void)
{
    return bnn_input_count(model);
}

uint32_t EXPORT(web_output_count)(void)
{
    return bnn_output_count(model);
}

uint32_t EXPORT(web_op_count)(void)
{
    return bnn_op_count(model);
}

/* Numbers of tensors. */
uint32_t EXPORT(web_input_tensor)(uint32_t input)
{
    return bnn_input_tensor(model, input);
}

uint32_t EXPORT(web_output_tensor)(uint32_t output)
{
    return bnn_output_tensor(model, output);
}

/* NULL if there is no such op.  Valid until the next call, as for tensors. */
const struct described_op *EXPORT(web_op)(uint32_t op)
{
    bnn_op_info info;
    if (bnn_get_op(model, op, &info) != BNN_OK)
        return NULL;
    described_op = (struct described_op){info.op, info.layer, info.layer_length, info.output};
    return &described_op;
}

/* NULL if there is no such tensor, or if it has more dimensions than a value: a constant. */
const struct described_tensor *EXPORT(web_tensor)(uint32_t tensor)
{
    bnn_tensor_info t;
    if (bnn_get_tensor(model, tensor, &t) != BNN_OK || t.rank > 3)
        return NULL;
    described_tensor =
        (struct described_tensor){t.name, t.name_length, t.dtype, t.rank, {t.dims[0], t.dims[1], t.dims[2]}};
    return &described_tensor;
}

/* Where web_run reads and writes one image: arrays of (h, w, c) of the tensor's type; outputs are float32. */
void *EXPORT(web_input)(uint32_t input)
{
    return inputs[input];
}

float *EXPORT(web_output)(uint32_t output)
{
    return outputs[output];
}

/* Where web_poke reads and web_peek writes: bits as +1 and -1. */
float *EXPORT(web_values)(void)
{
    return values;
}

bnn_status EXPORT(web_run)(void)
{
    return bnn_run(context, (const void *const *)inputs, outputs, 1);
}

bnn_status EXPORT(web_poke)(uint32_t tensor)
{
    return bnn_poke(context, tensor, values, 1);
}

bnn_status EXPORT(web_step)(uint32_t op)
{
    return bnn_step(context, op, 1);
}

bnn_status EXPORT(web_peek)(uint32_t tensor)
{
    return bnn_peek(context, tensor, values, 1);
}
