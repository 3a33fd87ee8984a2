/* SPDX-License-Identifier: Apache-2.0 */
/* Cutting an op into parts of bounded work. */
#include "run/context.h"

struct bnn_part bnn_whole(const struct bnn_model *m, uint32_t number, size_t images)
{
    const struct bnn_op *op = &m->ops[number];
    return (struct bnn_part){.end = {[BNN_BLOCKS] = op->blocks,
                                     [BNN_COLUMNS] = op->columns,
                                     [BNN_ROWS] = m->tensors[op->output].h,
                                     [BNN_IMAGES] = images}};
}

struct bnn_cut bnn_cut_op(const struct bnn_model *m, uint32_t op, size_t images, uint64_t most)
{
    /* A dense layer's weights are read once for all images, so images are divided late. */
    static const int order[BNN_AXES] = {BNN_ROWS, BNN_BLOCKS, BNN_IMAGES, BNN_COLUMNS};
    struct bnn_cut cut = {.whole = bnn_whole(m, op, images), .work = bnn_times(bnn_load(m, op), images)};
    uint64_t wanted = bnn_parts(cut.work, most);
    for (int i = 0; i < BNN_AXES; i++) {
        size_t size = cut.whole.end[order[i]], parts = wanted < size ? (size_t)wanted : size;
        size_t step = parts > 1 ? (size_t)bnn_parts(size, parts) : size;
        uint64_t got = bnn_parts(size, step);
        cut.step[order[i]] = step;
        cut.work = bnn_parts(cut.work, got);
        wanted = bnn_parts(wanted, got);
    }
    return cut;
}

int bnn_next_part(struct bnn_cut *cut, struct bnn_part *part)
{
    int axis = 0; /* the first axis that advances; the axes before it start again */
    if (!cut->begun) {
        cut->begun = 1;
        *part = cut->whole;
        axis = BNN_AXES;
    }
    while (axis < BNN_AXES && part->end[axis] == cut->whole.end[axis]) {
        axis++;
        if (axis == BNN_AXES)
            return 0;
    }
    for (int i = 0; i <= axis && i < BNN_AXES; i++) {
        part->begin[i] = i == axis ? part->end[i] : 0;
        size_t left = cut->whole.end[i] - part->begin[i];
        part->end[i] = part->begin[i] + (left < cut->step[i] ? left : cut->step[i]);
    }
    return 1;
}
