/* SPDX-License-Identifier: Apache-2.0 */
/* Running what opens: any micro-batch, any number of workers, op by op; the result is that of one image at a time. */
#include "fuzz.h"

static void compare_one_by_one(const bnn_model *model, const struct ports *p)
{
    bnn_context *single = fuzz_context(model, 1, 1);
    if (single == NULL)
        return;
    for (size_t image = 0; image < p->batch; image++) {
        const void *in[FUZZ_MOST_PORTS];
        float *out[FUZZ_MOST_PORTS];
        for (uint32_t i = 0; i < p->inputs; i++) {
            bnn_tensor_info t;
            CHECK(bnn_get_tensor(model, bnn_input_tensor(model, i), &t) == BNN_OK, "input %u", i);
            in[i] = (const unsigned char *)p->typed[i] + image * t.bytes;
        }
        for (uint32_t i = 0; i < p->outputs; i++) {
            out[i] = fuzz_block(fuzz_elements(model, bnn_output_tensor(model, i)) * sizeof(float));
            if (out[i] == NULL)
                return;
        }
        CHECK(bnn_run(single, in, out, 1) == BNN_OK, "one image");
        for (uint32_t i = 0; i < p->outputs; i++) {
            size_t count = fuzz_elements(model, bnn_output_tensor(model, i));
            CHECK(fuzz_same(out[i], p->out[i] + image * count, count), "image %zu, output %u: differs alone", image, i);
        }
    }
}

/* Every op on the inputs that were run. */
static void step_through(const bnn_model *model, bnn_context *context, const struct ports *p, size_t images)
{
    for (uint32_t i = 0; i < p->inputs; i++)
        CHECK(bnn_poke(context, bnn_input_tensor(model, i), p->floats[i], images) == BNN_OK, "poke input %u", i);
    for (uint32_t k = 0; k < bnn_op_count(model); k++) {
        bnn_op_info op;
        CHECK(bnn_get_op(model, k, &op) == BNN_OK, "op %u", k);
        float *values = fuzz_block(images * fuzz_elements(model, op.output) * sizeof(float));
        if (values == NULL)
            return;
        CHECK(bnn_step(context, k, images) == BNN_OK, "step");
        CHECK(bnn_peek(context, op.output, values, images) == BNN_OK, "peek");
        CHECK(bnn_poke(context, op.output, values, images) == BNN_OK, "poke");
        bnn_status raw = bnn_step_raw(context, k, values, images);
        CHECK(raw == (op.planes > 0 ? BNN_OK : BNN_ERROR_ARGUMENT), "%s raw: %s", op.op, bnn_status_text(raw));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script script;
    size_t file_size;
    const unsigned char *file = fuzz_split(data, size, &file_size, &script);
    bnn_model *model = file == NULL || file_size == 0 ? NULL : fuzz_open(file, file_size, fuzz_kernels(&script));
    size_t images = 1 + fuzz_draw(&script, 4), workers = 1 + fuzz_draw(&script, 3), batch = fuzz_draw(&script, 7);
    bnn_context *context = model == NULL ? NULL : fuzz_context(model, images, workers);
    struct ports ports;
    if (context != NULL && fuzz_ports(model, &script, batch, &ports)) {
        struct shuffled pool = {&script, workers};
        if (fuzz_draw(&script, 4) != 0)
            bnn_context_set_threads(context, fuzz_parallel_for, &pool);
        int refused = bnn_whole_batch(model) && batch > images;
        CHECK(bnn_run(context, ports.typed, ports.out, batch) == (refused ? BNN_ERROR_BATCH : BNN_OK), "run");
        if (!bnn_whole_batch(model))
            compare_one_by_one(model, &ports);
        step_through(model, context, &ports, batch < images ? batch : images);
    }
    fuzz_release();
    return 0;
}
