/* SPDX-License-Identifier: Apache-2.0 */
/* A firmware with the runtime: opens the model of model.inc and runs its inputs, one image at a time. */
#include "bnn_ops.h"
#include "target.h"

/* static const: `file`, `inputs`; enum: IMAGES, INPUT_BYTES and OUTPUTS (floats) of an image, MEMORY (bytes); macros:
 * OPS and KERNELS, lists of rows and families, or neither: all of them */
#include "model.inc"

static _Alignas(BNN_ALIGNMENT) unsigned char memory[MEMORY];
static float output[OUTPUTS];
static bnn_status status;
static bnn_context *context;
static bnn_problem problem;

static size_t aligned(size_t size)
{
    return (size + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT;
}

#ifdef OPS
static const bnn_op_row *const ops[] = {OPS};
static const bnn_kernels *const kernels[] = {KERNELS};
static const bnn_selection selection = {ops, sizeof ops / sizeof *ops, kernels, sizeof kernels / sizeof *kernels};

#define SIZE(bytes) bnn_model_size_selected(file, sizeof file, &selection, NULL, bytes, &problem)
#define OPEN(model) bnn_model_open_selected(file, sizeof file, &selection, NULL, memory, sizeof memory, model, &problem)
#else
#define SIZE(bytes) bnn_model_size(file, sizeof file, bnn_kernels_select(NULL), bytes, &problem)
#define OPEN(model) bnn_model_open(file, sizeof file, bnn_kernels_select(NULL), memory, sizeof memory, model, &problem)
#endif

static void open_model(void *argument)
{
    size_t *sizes = argument;
    bnn_model *model;
    status = SIZE(&sizes[0]);
    if (status == BNN_OK)
        status = OPEN(&model);
    if (status == BNN_OK)
        sizes[2] = bnn_arena_bytes(model);
    if (status == BNN_OK)
        status = bnn_context_size(model, 1, 1, &sizes[1]);
    size_t used = aligned(sizes[0]);
    if (status == BNN_OK && used < sizeof memory)
        status = bnn_context_create(model, 1, 1, memory + used, sizeof memory - used, &context);
}

static void run_image(void *argument)
{
    const void *const images[] = {argument};
    float *const outputs[] = {output};
    status = bnn_run(context, images, outputs, 1);
}

static void report(const char *instructions, const char *stack, struct target_cost cost)
{
    target_number(instructions, cost.instructions);
    target_number(stack, cost.stack);
}

int main(void)
{
    size_t sizes[3] = {0, 0, 0};
    report("open_instructions", "open_stack", target_measure(open_model, sizes));
    target_number("model_bytes", sizes[0]);
    target_number("context_bytes", sizes[1]);
    target_number("arena_bytes", sizes[2]);
    for (size_t i = 0; status == BNN_OK && i < IMAGES; i++) {
        report("run_instructions", "run_stack",
               target_measure(run_image, (void *)(uintptr_t)(inputs + i * INPUT_BYTES)));
        target_bytes("output", output, sizeof output);
    }
    if (status != BNN_OK) {
        target_print(bnn_status_text(status));
        target_print(": ");
        target_print(problem.what);
        target_print("\n");
    }
    return (int)status;
}
