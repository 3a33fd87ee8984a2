/* SPDX-License-Identifier: Apache-2.0 */
/* A mutator that knows the .bnn format, so that most of what it makes opens.
 *
 * A file is taken apart, edited, and put together with the sizes and offsets that belong to it; then, now and then,
 * damaged.  Files that do not come apart are edited as bytes.  Targets put the checksum right: what stands there is
 * their seed. */
#include "sketch.h"

#include <string.h>

enum { MOST_INPUT = 1 << 16, MOST_JOINED = 6144 }; /* bytes */

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *data1, size_t size1, const uint8_t *data2, size_t size2, uint8_t *out,
                                 size_t max_size, unsigned seed);

static uint64_t state;

static uint32_t draw(size_t below)
{
    state ^= state << 13; /* xorshift64 */
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 20) % (below == 0 ? 1 : below));
}

/* A number that overflows, contradicts or nearly fits, made of the one that stood there. */
static uint32_t other_number(uint32_t value)
{
    static const uint32_t odd[] = {
        0,          1,          2,          3,          4,           7,           31,         32,
        33,         63,         64,         65,         127,         128,         255,        256,
        4095,       65535,      65536,      0x7FFFFFFF, 0x80000000u, 0xFFFFFFFFu, 0xFFFFFFC0, 0x00800000,
        0x007FFFFF, 0x3F800000, 0xBF800000, 0x7FC00000, 0x7F800000u, 0x4B800000u, 0x3FFFFFFF, 16777216};
    switch (draw(6)) {
    case 0:
        return odd[draw(sizeof odd / sizeof *odd)];
    case 1:
        return value ^ 1u << draw(32);
    case 2:
        return draw(2) ? value * 2 : value / 2;
    case 3:
        return draw(4);
    default:
        return value + draw(9) - 4;
    }
}

/* Most often one that a small network has. */
static uint32_t small_number(uint32_t value)
{
    return draw(4) ? draw(draw(4) ? 9 : 70) : other_number(value);
}

static uint32_t some_opcode(void)
{
    static const uint32_t opcodes[] = {
#define BNN_CODE(opcode, ...) opcode,
        BNN_OP_LIST(BNN_CODE)
#undef BNN_CODE
    };
    return opcodes[draw(sizeof opcodes / sizeof *opcodes)];
}

static struct op *some_op(struct sketch *s)
{
    return &s->ops[draw(s->op_count)];
}

/* Another size along one axis: of one tensor, or of all that have the same. */
static void edit_size(struct sketch *s)
{
    const struct tensor *t = &s->tensors[draw(s->tensor_count)];
    size_t axis = draw(4);
    uint32_t old = t->dims[axis], new = small_number(old);
    for (uint32_t i = 0, alone = draw(3) == 0; i < s->tensor_count; i++)
        if (&s->tensors[i] == t || (!alone && s->tensors[i].dims[axis] == old && s->tensors[i].rank >= 4 - axis))
            s->tensors[i].dims[axis] = new;
}

static void edit_kind(struct sketch *s)
{
    struct tensor *t = &s->tensors[draw(s->tensor_count)];
    switch (draw(5)) {
    case 0:
        t->dtype = (uint8_t)draw(6);
        break;
    case 1:
        t->storage = (uint8_t)draw(4);
        break;
    case 2:
        t->rank = (uint8_t)draw(6);
        break;
    case 3:
        t->encoding = (uint8_t)draw(7);
        break;
    default:
        t->halo[draw(4)] = (uint16_t)(draw(8) ? draw(4) : draw(65536));
    }
}

static void edit_attribute(struct sketch *s)
{
    for (int i = 0; i < 4; i++) { /* many ops have none */
        struct op *op = some_op(s);
        uint32_t words = attribute_words(op->opcode), *word = &op->attrs[draw(words)];
        if (words > 0) {
            *word = draw(8) ? small_number(*word) : op->attrs[draw(words)];
            return;
        }
    }
}

static void edit_operands(struct sketch *s)
{
    struct op *op = some_op(s);
    uint32_t at = draw(op->input_count), other = draw(s->tensor_count);
    switch (draw(5)) {
    case 0:
        if (op->input_count < BNN_MAX_INPUTS)
            op->inputs[op->input_count++] = other;
        break;
    case 1:
        op->input_count -= op->input_count > 1;
        break;
    case 2:
        op->output = other;
        break;
    default:
        op->inputs[at] = other;
    }
}

/* Numbers of a constant. */
static void edit_data(struct sketch *s)
{
    struct tensor *t = &s->tensors[draw(s->tensor_count)];
    for (uint32_t i = 0; i < s->tensor_count && t->size < 4; i++)
        t = &s->tensors[i];
    for (uint32_t i = 1 + draw(4); i > 0 && t->size >= 4; i--) {
        unsigned char *at = t->data + draw(t->size / 4) * 4;
        uint32_t word = other_number(bnn_load32(at));
        memcpy(at, &word, sizeof word);
    }
}

/* The op that writes a tensor, or -1. */
static int writer_of(const struct sketch *s, uint32_t tensor)
{
    for (uint32_t i = 0; i < s->op_count; i++)
        if (s->ops[i].output == tensor)
            return (int)i;
    return -1;
}

static int is_read(const struct sketch *s, uint32_t tensor)
{
    for (uint32_t i = 0; i < s->op_count; i++) {
        for (uint32_t k = 0; k < s->ops[i].input_count; k++)
            if (s->ops[i].inputs[k] == tensor)
                return 1;
    }
    return 0;
}

/* A new op behind a tensor, most often one that keeps its shape; some of those who read the tensor read it instead. */
static void insert_op(struct sketch *s)
{
    uint32_t from = draw(s->tensor_count), to = s->tensor_count;
    if (s->tensor_count == MOST_TENSORS || s->op_count == MOST_OPS || s->tensors[from].storage == BNN_CONSTANT)
        return;
    const struct op like = *some_op(s);
    struct op new = {.opcode = some_opcode(), .output = to, .input_count = 1, .inputs = {from}};
    struct tensor *t = &s->tensors[s->tensor_count++];
    *t = s->tensors[from];
    if (draw(3) == 0) { /* one more like one that there is */
        new = like;
        new.inputs[0] = from;
        new.output = to;
        *t = s->tensors[like.output];
    }
    t->storage = BNN_ARENA;
    t->dtype = new.opcode == BNN_OP_binarize ? BNN_B1 : new.opcode == BNN_OP_unpack ? BNN_F32 : t->dtype;
    for (uint32_t i = 0; i < attribute_words(new.opcode) && new.opcode != like.opcode; i++)
        new.attrs[i] = draw(3);
    uint32_t at = (uint32_t)(writer_of(s, from) + 1);
    memmove(&s->ops[at + 1], &s->ops[at], (s->op_count - at) * sizeof *s->ops);
    s->ops[at] = new;
    s->op_count++;
    for (uint32_t i = at + 1; i < s->op_count; i++) {
        for (uint32_t k = 0; k < s->ops[i].input_count; k++)
            if (s->ops[i].inputs[k] == from && draw(3) != 0)
                s->ops[i].inputs[k] = to;
    }
}

static void remove_tensor(struct sketch *s, uint32_t tensor, uint32_t instead)
{
    for (uint32_t i = 0; i < s->op_count; i++) {
        struct op *op = &s->ops[i];
        for (uint32_t k = 0; k <= op->input_count; k++) {
            uint32_t *number = k < op->input_count ? &op->inputs[k] : &op->output;
            *number = *number == tensor ? instead : *number;
            *number -= *number > tensor;
        }
    }
    s->tensor_count--;
    memmove(&s->tensors[tensor], &s->tensors[tensor + 1], (s->tensor_count - tensor) * sizeof *s->tensors);
}

/* Who read what an op wrote reads its first input instead; constants that are not read any more go, too. */
static void remove_op(struct sketch *s)
{
    uint32_t at = draw(s->op_count);
    const struct op op = s->ops[at];
    if (s->op_count == 1 || op.inputs[0] == op.output || s->tensors[op.output].storage != BNN_ARENA)
        return;
    s->op_count--;
    memmove(&s->ops[at], &s->ops[at + 1], (s->op_count - at) * sizeof *s->ops);
    remove_tensor(s, op.output, op.inputs[0]);
    for (uint32_t i = s->tensor_count; i-- > 0;)
        if (s->tensors[i].storage == BNN_CONSTANT && !is_read(s, i))
            remove_tensor(s, i, 0);
}

static void edit(struct sketch *s)
{
    switch (draw(16)) {
    case 0:
    case 1:
    case 2:
        edit_size(s);
        break;
    case 3:
        edit_kind(s);
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        edit_attribute(s);
        break;
    case 8:
    case 9:
        edit_operands(s);
        break;
    case 10:
        some_op(s)->opcode = some_opcode();
        break;
    case 11:
        insert_op(s);
        break;
    case 12:
        remove_op(s);
        break;
    case 13:
        s->seed = draw(UINT32_MAX);
        break;
    default:
        edit_data(s);
    }
}

/* Numbers of the header, tables and ops. */
static void damage(unsigned char *file, size_t size)
{
    uint64_t names = bnn_load64(file + 64);
    size_t end = names < size && names > BNN_HEADER_BYTES ? (size_t)names : size;
    for (uint32_t i = 1 + draw(2); i > 0; i--) {
        unsigned char *at = file + 16 + draw((end - 16) / 4) * 4;
        uint32_t word = other_number(bnn_load32(at));
        memcpy(at, &word, sizeof word);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static struct sketch s;
    static unsigned char copy[MOST_INPUT];
    size_t file_size = 0;
    state = seed * UINT64_C(2862933555777941757) + 1;
    if (size > sizeof copy || draw(12) == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    memcpy(copy, data, size);
    if (!take_apart(&s, copy, size))
        return LLVMFuzzerMutate(data, size, max_size);
    int script = draw(4) == 0;
    for (uint32_t i = script && draw(2) ? 0 : 1 + draw(3); i > 0; i--)
        edit(&s);
    size_t made = put_together(&s, draw(8) != 0, data, max_size, &file_size);
    if (made == 0) {
        memcpy(data, copy, size);
        return LLVMFuzzerMutate(data, size, max_size);
    }
    if (script && max_size > file_size)
        made = file_size + LLVMFuzzerMutate(data + file_size, made - file_size, max_size - file_size);
    if (draw(5) == 0)
        damage(data, file_size);
    return made;
}

/* The ops of b behind those of a, one of its inputs fed by something of a that has the same shape. */
static int append(struct sketch *a, const struct sketch *b)
{
    uint32_t tensors = a->tensor_count, ops = a->op_count, names = a->names_size;
    if (tensors + b->tensor_count > MOST_TENSORS || ops + b->op_count > MOST_OPS || names + b->names_size > MOST_NAMES)
        return 0;
    memcpy(a->tensors + tensors, b->tensors, b->tensor_count * sizeof *b->tensors);
    memcpy(a->ops + ops, b->ops, b->op_count * sizeof *b->ops);
    memcpy(a->names + names, b->names, b->names_size);
    a->tensor_count += b->tensor_count;
    a->op_count += b->op_count;
    a->names_size += b->names_size;
    for (uint32_t i = tensors; i < a->tensor_count; i++) {
        a->tensors[i].strings[0] += names;
        a->tensors[i].strings[2] += names;
    }
    for (uint32_t i = ops; i < a->op_count; i++) {
        struct op *op = &a->ops[i];
        op->strings[0] += names;
        op->strings[2] += names;
        op->output += tensors;
        for (uint32_t k = 0; k < op->input_count; k++)
            op->inputs[k] += tensors;
    }
    for (uint32_t i = a->tensor_count; i-- > tensors;) {
        struct tensor *in = &a->tensors[i];
        for (uint32_t k = 0, from = draw(tensors); in->storage == BNN_INPUT && k < tensors; k++) {
            const struct tensor *t = &a->tensors[(from + k) % tensors];
            if (t->storage != BNN_CONSTANT && t->dtype == in->dtype && memcmp(t->dims, in->dims, sizeof t->dims) == 0) {
                remove_tensor(a, i, (from + k) % tensors);
                break;
            }
        }
    }
    return 1;
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *data1, size_t size1, const uint8_t *data2, size_t size2, uint8_t *out,
                                 size_t max_size, unsigned seed)
{
    static struct sketch a, b;
    static unsigned char copies[2][MOST_INPUT];
    size_t file_size;
    state = seed * UINT64_C(2862933555777941757) + 1;
    if (size1 > MOST_INPUT || size2 > MOST_INPUT)
        return 0;
    memcpy(copies[0], data1, size1);
    memcpy(copies[1], data2, size2);
    if (!take_apart(&a, copies[0], size1) || !take_apart(&b, copies[1], size2) || !append(&a, &b))
        return 0;
    return put_together(&a, 1, out, max_size < MOST_JOINED ? max_size : MOST_JOINED, &file_size);
}
