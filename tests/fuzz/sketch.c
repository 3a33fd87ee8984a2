/* SPDX-License-Identifier: Apache-2.0 */
#include "sketch.h"

#include <string.h>

uint32_t attribute_words(uint32_t opcode)
{
    switch (opcode) {
#define BNN_WORDS(opcode, name, attrs, words, ...) \
    case opcode:                                   \
        return words;
        BNN_OP_LIST(BNN_WORDS)
#undef BNN_WORDS
    default:
        return 0;
    }
}

static int read_tensors(struct sketch *s, unsigned char *file, size_t size, uint64_t table, uint64_t data)
{
    for (uint32_t i = 0; i < s->tensor_count; i++) {
        const unsigned char *record = file + table + (size_t)i * BNN_TENSOR_BYTES;
        struct tensor *t = &s->tensors[i];
        uint64_t bytes = bnn_load64(record + 40);
        memset(t, 0, sizeof *t);
        memcpy(&t->dtype, record, 1);
        memcpy(&t->storage, record + 1, 1);
        memcpy(&t->rank, record + 2, 1);
        memcpy(&t->encoding, record + 3, 1);
        memcpy(t->dims, record + 4, sizeof t->dims);
        memcpy(t->halo, record + 20, sizeof t->halo);
        memcpy(t->strings, record + 48, sizeof t->strings);
        t->offset = bnn_load64(record + 32);
        if (t->storage == BNN_CONSTANT) {
            if (t->offset > size - data || bytes > size - data - t->offset)
                return 0;
            t->data = file + data + t->offset;
            t->size = (size_t)bytes;
        }
    }
    return 1;
}

static int read_ops(struct sketch *s, const unsigned char *file, uint64_t at, uint64_t end)
{
    for (uint32_t i = 0; i < s->op_count; i++) {
        struct op *op = &s->ops[i];
        if (at + BNN_OP_BYTES > end)
            return 0;
        const unsigned char *record = file + at;
        uint32_t bytes = bnn_load32(record + 4);
        op->opcode = bnn_load32(record);
        op->input_count = bnn_load32(record + 8);
        op->output = bnn_load32(record + 12);
        memcpy(op->strings, record + 16, sizeof op->strings);
        uint32_t words = attribute_words(op->opcode);
        if (op->input_count > BNN_MAX_INPUTS || BNN_OP_BYTES + 4 * (op->input_count + words) > bytes ||
            bytes > end - at || op->output >= s->tensor_count) {
            return 0;
        }
        memcpy(op->inputs, record + BNN_OP_BYTES, op->input_count * sizeof *op->inputs);
        memset(op->attrs, 0, sizeof op->attrs);
        memcpy(op->attrs, record + BNN_OP_BYTES + 4 * op->input_count, words * sizeof *op->attrs);
        for (uint32_t k = 0; k < op->input_count; k++)
            if (op->inputs[k] >= s->tensor_count)
                return 0;
        at += bytes;
    }
    return 1;
}

int take_apart(struct sketch *s, unsigned char *file, size_t all)
{
    if (all < BNN_HEADER_BYTES)
        return 0;
    uint64_t stated = bnn_load64(file + 16);
    size_t size = stated >= BNN_HEADER_BYTES && stated <= all ? (size_t)stated : all;
    uint64_t table = bnn_load64(file + 40), ops = bnn_load64(file + 48), ops_size = bnn_load64(file + 56);
    uint64_t names = bnn_load64(file + 64), names_size = bnn_load64(file + 72), data = bnn_load64(file + 80);
    s->seed = bnn_load32(file + 12);
    s->tensor_count = bnn_load32(file + 24);
    s->op_count = bnn_load32(file + 28);
    if (s->tensor_count == 0 || s->tensor_count > MOST_TENSORS || s->op_count == 0 || s->op_count > MOST_OPS ||
        table > size || s->tensor_count * BNN_TENSOR_BYTES > size - table || ops > size || ops_size > size - ops ||
        names > size || names_size > size - names || names_size > MOST_NAMES || data > size) {
        return 0;
    }
    s->names_size = (uint32_t)names_size;
    memcpy(s->names, file + names, s->names_size);
    memcpy(s->use, file + 108, sizeof s->use);
    s->script = file + size;
    s->script_size = all - size;
    return read_tensors(s, file, size, table, data) && read_ops(s, file, ops, ops + ops_size);
}

struct writer {
    unsigned char *out;
    size_t size, most;
    int full;
};

/* So many bytes of `from`, zeros where it is NULL. */
static void put(struct writer *w, const void *from, size_t size)
{
    w->full |= size > w->most - w->size;
    if (w->full || size == 0)
        return;
    if (from != NULL)
        memcpy(w->out + w->size, from, size);
    else
        memset(w->out + w->size, 0, size);
    w->size += size;
}

static void align(struct writer *w)
{
    put(w, NULL, (BNN_ALIGNMENT - w->size % BNN_ALIGNMENT) % BNN_ALIGNMENT);
}

static void store(struct writer *w, size_t at, uint64_t value, size_t bytes)
{
    if (!w->full)
        memcpy(w->out + at, &value, bytes);
}

/* Of one image, a constant of everything; some number where it overflows, for such a file does not open anyway. */
static uint64_t bytes_of(const struct tensor *t)
{
    uint64_t words = t->dtype == BNN_B1 ? ((uint64_t)t->dims[3] + 31) / 32 : t->dims[3];
    uint64_t height = (uint64_t)t->dims[1] + t->halo[0] + t->halo[2];
    uint64_t width = (uint64_t)t->dims[2] + t->halo[1] + t->halo[3];
    const uint64_t element = t->dtype == BNN_U8 || t->dtype == BNN_I8 ? 1 : t->dtype == BNN_I16 ? 2 : 4;
    return element * words * height * width * t->dims[0];
}

static uint64_t whole_lines(uint64_t bytes)
{
    return (bytes + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT;
}

/* Bits past the channels are zero. */
static void clear_tails(unsigned char *data, uint64_t bytes, uint32_t channels)
{
    uint64_t words = ((uint64_t)channels + 31) / 32;
    for (uint64_t i = words; channels % 32 != 0 && i * 4 <= bytes; i += words) {
        uint32_t word = bnn_load32(data + 4 * (i - 1)) & ((UINT32_C(1) << channels % 32) - 1);
        memcpy(data + 4 * (i - 1), &word, sizeof word);
    }
}

static uint64_t put_constant(struct writer *w, const struct tensor *t)
{
    uint64_t bytes = t->encoding == BNN_PLAIN ? whole_lines(bytes_of(t)) : t->size;
    size_t at = w->size, stored = t->size < bytes ? t->size : (size_t)bytes;
    if (bytes > w->most) {
        w->full = 1;
        return 0;
    }
    put(w, t->data, stored);
    put(w, NULL, (size_t)bytes - stored);
    if (!w->full && t->dtype == BNN_B1)
        clear_tails(w->out + at, bytes, t->dims[3]);
    return bytes;
}

static void put_ops(struct writer *w, const struct sketch *s)
{
    for (uint32_t i = 0; i < s->op_count; i++) {
        const struct op *op = &s->ops[i];
        uint32_t words = attribute_words(op->opcode),
                 bytes = (BNN_OP_BYTES + 4 * (op->input_count + words) + 7) / 8 * 8;
        const uint32_t head[4] = {op->opcode, bytes, op->input_count, op->output};
        put(w, head, sizeof head);
        put(w, op->strings, sizeof op->strings);
        put(w, op->inputs, op->input_count * sizeof *op->inputs);
        put(w, op->attrs, words * sizeof *op->attrs);
        put(w, NULL, bytes - BNN_OP_BYTES - 4 * (op->input_count + words));
    }
}

static void put_record(struct writer *w, size_t at, const struct tensor *t, uint64_t offset, uint64_t bytes)
{
    const unsigned char kinds[4] = {t->dtype, t->storage, t->rank, t->encoding};
    if (w->full)
        return;
    memcpy(w->out + at, kinds, sizeof kinds);
    memcpy(w->out + at + 4, t->dims, sizeof t->dims);
    memcpy(w->out + at + 20, t->halo, sizeof t->halo);
    memcpy(w->out + at + 48, t->strings, sizeof t->strings);
    store(w, at + 32, offset, 8);
    store(w, at + 40, bytes, 8);
}

size_t put_together(const struct sketch *s, int place, unsigned char *out, size_t most, size_t *file_size)
{
    static const unsigned char signature[8] = {0x89, 'B', 'N', 'N', '\r', '\n', 0x1A, '\n'};
    struct writer w = {out, 0, most, 0};
    uint64_t ports[2] = {0, 0}, arena = 0;
    put(&w, NULL, BNN_HEADER_BYTES);
    put(&w, NULL, s->tensor_count * BNN_TENSOR_BYTES);
    size_t ops = w.size;
    put_ops(&w, s);
    size_t ops_size = w.size - ops;
    align(&w);
    size_t names = w.size;
    put(&w, s->names, s->names_size);
    align(&w);
    size_t data = w.size;
    for (uint32_t i = 0; i < s->tensor_count && !w.full; i++) {
        const struct tensor *t = &s->tensors[i];
        uint64_t bytes = bytes_of(t), offset = w.size - data;
        if (t->storage == BNN_CONSTANT) {
            bytes = put_constant(&w, t);
        } else if (t->storage == BNN_ARENA) {
            bytes = whole_lines(bytes);
            offset = place ? arena : t->offset;
            arena = offset + bytes > arena ? offset + bytes : arena;
        } else {
            offset = ports[t->storage == BNN_OUTPUT]++;
        }
        put_record(&w, BNN_HEADER_BYTES + (size_t)i * BNN_TENSOR_BYTES, t, offset, bytes);
    }
    if (w.full)
        return 0;
    memcpy(out, signature, sizeof signature);
    const uint32_t counts[4] = {s->tensor_count, s->op_count, (uint32_t)ports[0], (uint32_t)ports[1]};
    const uint64_t sections[8] = {BNN_HEADER_BYTES, ops,  ops_size,      names,
                                  s->names_size,    data, w.size - data, whole_lines(arena)};
    store(&w, 8, BNN_FORMAT_VERSION, 4);
    store(&w, 12, s->seed, 4);
    store(&w, 16, w.size, 8);
    memcpy(out + 24, counts, sizeof counts);
    memcpy(out + 40, sections, sizeof sections);
    memcpy(out + 108, s->use, sizeof s->use);
    *file_size = w.size;
    put(&w, s->script, s->script_size);
    return w.full ? *file_size : w.size;
}
