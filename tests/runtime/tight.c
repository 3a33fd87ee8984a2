/* SPDX-License-Identifier: Apache-2.0 */
/* Every op in memory of exactly its tensors' sizes: reading past an image is seen, which in an arena hits a neighbour. */
#include "run/context.h"
#include "driver.h"

/* One image of a tensor in a block of its own; constants where they are. */
static struct bnn_view view_of(const struct bnn_tensor *t, void **memory)
{
    struct bnn_view v = {t, (void *)(uintptr_t)t->data, 0};
    *memory = NULL;
    if (t->storage != BNN_CONSTANT) {
        unsigned char *bytes = *memory = block(t->bytes);
        memset(bytes, 0, t->bytes); /* tail bits and halos */
        v.data = bytes + bnn_interior(t) * t->element;
        v.image = t->image;
    }
    return v;
}

static void run_op(const struct bnn_model *m, uint32_t number)
{
    const struct bnn_op *op = &m->ops[number];
    struct bnn_view inputs[BNN_MAX_INPUTS];
    void *memory[BNN_MAX_INPUTS + 1];
    struct bnn_part all = bnn_whole(m, number, 1);
    for (uint32_t i = 0; i < op->input_count; i++)
        inputs[i] = view_of(bnn_op_input(m, op, i), &memory[i]);
    unsigned char *nan = block(1);
    void *scratch = block(op->scratch == 0 ? 1 : op->scratch);
    struct bnn_run r = {.model = m,
                        .op = op,
                        .inputs = inputs,
                        .output = view_of(&m->tensors[op->output], &memory[op->input_count]),
                        .images = 1,
                        .batch = 1,
                        .row_end = all.end[BNN_ROWS],
                        .column_end = all.end[BNN_COLUMNS],
                        .block_end = all.end[BNN_BLOCKS],
                        .nan = nan,
                        .scratch = scratch};
    bnn_run_op(&r);
    for (uint32_t i = 0; i <= op->input_count; i++)
        free(memory[i]);
    free(scratch);
    free(nan);
}

void tight(const char *path)
{
    size_t size;
    unsigned char *file = read_file(path, &size);
    CHECK(file != NULL, "cannot read %s", path);
    const char *name;
    for (size_t k = 0; (name = bnn_kernels_list(k)) != NULL; k++) {
        const bnn_kernels *kernels = bnn_kernels_select(name);
        if (kernels == NULL)
            continue;
        struct opened o = open_model(file, size, kernels);
        for (uint32_t i = 0; i < o.model->op_count; i++)
            run_op(o.model, i);
        free(o.memory);
    }
    free(file);
}
