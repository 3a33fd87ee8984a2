/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the header, a tensor or an op of a .bnn file.  Nothing that is read is believed: every number is checked
 * before it is used, sizes with overflow checks, so that after bnn_model_open all later code can do plain
 * arithmetic. */
#include "model/coding.h"
#include "model/validate.h"

#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "constants are used in place: the processor must be little-endian, as the file is"
#endif

static const unsigned char signature[8] = {0x89, 'B', 'N', 'N', '\r', '\n', 0x1A, '\n'};

static uint32_t load16(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

/* b is not zero. */
static int multiply(uint64_t a, uint64_t b, uint64_t *product)
{
    if (a > UINT64_MAX / b) {
        return 0;
    }
    *product = a * b;
    return 1;
}

static bnn_status header_error(bnn_problem *problem, bnn_status status, const char *what, uint64_t found,
                               uint64_t expected)
{
    return bnn_report(problem, status, "header", BNN_NEVER, NULL, 0, what, bnn_shown(found), bnn_shown(expected));
}

int bnn_checksum_matches(const unsigned char *file, size_t size, bnn_problem *problem)
{
    uint32_t stated = bnn_load32(file + 12);
    uint32_t computed = bnn_crc32(bnn_crc32(0, file, 12), file + 16, size - 16);
    if (stated != computed) {
        header_error(problem, BNN_ERROR_CHECKSUM, "checksum", stated, computed);
    }
    return stated == computed;
}

struct section {
    const char *offset_name, *size_name;
    uint64_t offset, size;
    size_t *offset_to, *size_to;
};

bnn_status bnn_read_header(const unsigned char *file, size_t size, struct bnn_header *h, bnn_problem *problem)
{
    size_t compared = size < sizeof signature ? size : sizeof signature;
    if (memcmp(file, signature, compared) != 0) {
        return header_error(problem, BNN_ERROR_MAGIC, "first byte of the signature", file[0], signature[0]);
    }
    if (size < BNN_HEADER_BYTES) {
        return header_error(problem, BNN_ERROR_TRUNCATED, "file size", size, BNN_HEADER_BYTES);
    }
    uint32_t version = bnn_load32(file + 8);
    if (version != BNN_FORMAT_VERSION) {
        return header_error(problem, BNN_ERROR_VERSION, "version", version, BNN_FORMAT_VERSION);
    }
    uint64_t stated = bnn_load64(file + 16);
    if (stated != size) {
        return header_error(problem, BNN_ERROR_TRUNCATED, "file size", size, stated);
    }

    const struct {
        const char *name;
        uint32_t *to, limit;
    } counts[] = {
        {"number of tensors", &h->tensor_count, BNN_MAX_TENSORS},
        {"number of ops", &h->op_count, BNN_MAX_OPS},
        {"number of inputs", &h->input_count, BNN_MAX_TENSORS},
        {"number of outputs", &h->output_count, BNN_MAX_TENSORS},
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        uint32_t n = bnn_load32(file + 24 + 4 * i);
        if (n == 0) {
            return header_error(problem, BNN_ERROR_FORMAT, counts[i].name, 0, 1);
        }
        if (n > counts[i].limit) {
            return header_error(problem, BNN_ERROR_LIMIT, counts[i].name, n, counts[i].limit);
        }
        *counts[i].to = n;
    }

    size_t tensors_size;
    const struct section sections[] = {
        {"offset of the tensor table", "size of the tensor table", bnn_load64(file + 40),
         (uint64_t)h->tensor_count * BNN_TENSOR_BYTES, &h->tensors, &tensors_size},
        {"offset of the op section", "size of the op section", bnn_load64(file + 48), bnn_load64(file + 56), &h->ops,
         &h->ops_size},
        {"offset of the string section", "size of the string section", bnn_load64(file + 64), bnn_load64(file + 72),
         &h->strings, &h->strings_size},
        {"offset of the data section", "size of the data section", bnn_load64(file + 80), bnn_load64(file + 88),
         &h->data, &h->data_size},
    };
    uint64_t end = BNN_HEADER_BYTES; /* of the section before; never above size */
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        const struct section *s = &sections[i];
        if (s->offset % BNN_ALIGNMENT != 0 || s->offset < end || s->offset > size) {
            return header_error(problem, BNN_ERROR_FORMAT, s->offset_name, s->offset,
                                (end + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT);
        }
        if (s->size > size - s->offset) {
            return header_error(problem, BNN_ERROR_FORMAT, s->size_name, s->size, size - s->offset);
        }
        *s->offset_to = (size_t)s->offset;
        *s->size_to = (size_t)s->size;
        end = s->offset + s->size;
    }
    if (end != size) {
        return header_error(problem, BNN_ERROR_FORMAT, "end of the data section", end, size);
    }

    uint64_t arena = bnn_load64(file + 96);
    if (arena % BNN_ALIGNMENT != 0) {
        return header_error(problem, BNN_ERROR_FORMAT, "arena bytes (a multiple of 64)", arena,
                            arena / BNN_ALIGNMENT * BNN_ALIGNMENT);
    }
    if (arena > SIZE_MAX / 2) {
        return header_error(problem, BNN_ERROR_LIMIT, "arena bytes", arena, SIZE_MAX / 2);
    }
    h->arena = (size_t)arena;
    for (size_t i = 104; i < BNN_HEADER_BYTES; i += 8) {
        if (bnn_load64(file + i) != 0) {
            return header_error(problem, BNN_ERROR_FORMAT, "reserved bytes", bnn_load64(file + i), 0);
        }
    }
    return BNN_OK;
}

/* A string field: (offset, length) into the string section. */
static int read_string(const unsigned char *file, const struct bnn_header *h, const unsigned char *field,
                       const char **text, uint32_t *length)
{
    uint32_t offset = bnn_load32(field), n = bnn_load32(field + 4);
    if (n > h->strings_size || offset > h->strings_size - n) {
        return 0;
    }
    *text = (const char *)file + h->strings + offset;
    *length = n;
    return 1;
}

/* Fails with the tensor's number and name before the text. */
static bnn_status tensor_error(const struct bnn_tensor *t, uint32_t number, bnn_problem *problem, bnn_status status,
                               const char *what, uint64_t found, uint64_t expected)
{
    return bnn_report(problem, status, "tensor", number, t->name, t->name_length, what, bnn_shown(found),
                      bnn_shown(expected));
}

#define WANT(condition, status, what, found, expected)                                                      \
    do {                                                                                                    \
        if (!(condition)) {                                                                                 \
            return tensor_error(t, number, problem, status, what, (uint64_t)(found), (uint64_t)(expected)); \
        }                                                                                                   \
    } while (0)

static uint64_t whole_lines(uint64_t bytes)
{
    return (bytes + BNN_ALIGNMENT - 1) / BNN_ALIGNMENT * BNN_ALIGNMENT;
}

/* The bytes of one image (a constant: of all its elements), unless they overflow. */
static int tensor_bytes(struct bnn_tensor *t, uint64_t *bytes)
{
    uint64_t height = (uint64_t)t->top + t->h + t->bottom, width = (uint64_t)t->left + t->w + t->right;
    uint64_t row = width * t->words, image, elements; /* dimensions are below 2^31 */
    if (!multiply(row, height, &image) || !multiply(image, t->o, &elements) || !multiply(elements, t->element, bytes) ||
        *bytes > SIZE_MAX / 2) {
        return 0;
    }
    t->row = (size_t)row;
    t->image = (size_t)image;
    t->interior = (size_t)(t->top * row) + (size_t)t->left * t->words;
    if (t->storage == BNN_ARENA) {
        *bytes = whole_lines(*bytes);
        t->image = (size_t)*bytes / t->element;
    }
    return 1;
}

bnn_status bnn_read_tensor(const unsigned char *file, const struct bnn_header *h, uint32_t number, struct bnn_tensor *t,
                           bnn_problem *problem)
{
    const unsigned char *record = file + h->tensors + (size_t)number * BNN_TENSOR_BYTES;
    memset(t, 0, sizeof *t);
    t->written = BNN_NEVER;
    WANT(read_string(file, h, record + 48, &t->name, &t->name_length), BNN_ERROR_FORMAT, "end of the name",
         (uint64_t)bnn_load32(record + 48) + bnn_load32(record + 52), h->strings_size);
    WANT(read_string(file, h, record + 56, &t->origin, &t->origin_length), BNN_ERROR_FORMAT, "end of the origin",
         (uint64_t)bnn_load32(record + 56) + bnn_load32(record + 60), h->strings_size);

    uint32_t dtype = record[0], storage = record[1], rank = record[2], encoding = record[3];
    WANT(dtype <= BNN_I8, BNN_ERROR_FORMAT, "dtype (at most)", dtype, BNN_I8);
    WANT(storage <= BNN_CONSTANT, BNN_ERROR_FORMAT, "storage (at most)", storage, BNN_CONSTANT);
    WANT(dtype != BNN_I32 || storage == BNN_CONSTANT, BNN_ERROR_FORMAT, "storage of an i32", storage, BNN_CONSTANT);
    WANT(dtype != BNN_U8 || storage == BNN_INPUT || storage == BNN_ARENA, BNN_ERROR_FORMAT, "storage of a u8", storage,
         BNN_INPUT);
    WANT(dtype != BNN_I8 || storage == BNN_INPUT, BNN_ERROR_FORMAT, "storage of an i8", storage, BNN_INPUT);
    WANT(dtype == BNN_F32 || dtype == BNN_U8 || dtype == BNN_I8 || storage == BNN_ARENA || storage == BNN_CONSTANT,
         BNN_ERROR_FORMAT, "dtype of an input or output", dtype, BNN_F32);
    WANT(rank >= 1, BNN_ERROR_FORMAT, "rank (at least)", rank, 1);
    WANT(rank <= (storage == BNN_CONSTANT ? 4u : 3u), BNN_ERROR_FORMAT, "rank (at most)", rank,
         storage == BNN_CONSTANT ? 4 : 3);
    WANT(encoding <= BNN_TABLE_8, BNN_ERROR_FORMAT, "encoding (at most)", encoding, BNN_TABLE_8);
    WANT(encoding == BNN_PLAIN || (storage == BNN_CONSTANT && dtype == BNN_F32), BNN_ERROR_FORMAT,
         "encoding of what is not a constant of floats", encoding, BNN_PLAIN);
    t->dtype = (bnn_dtype)dtype;
    t->storage = (bnn_storage)storage;
    t->encoding = (bnn_encoding)encoding;
    t->rank = rank;

    uint32_t *const dims[4] = {&t->o, &t->h, &t->w, &t->c};
    uint32_t *const halo[4] = {&t->top, &t->left, &t->bottom, &t->right};
    for (uint32_t i = 0; i < 4; i++) {
        *dims[i] = bnn_load32(record + 4 + 4 * i);
        WANT(*dims[i] != 0, BNN_ERROR_FORMAT, "a dimension is zero", 0, 1);
        WANT(*dims[i] <= BNN_MAX_SIZE, BNN_ERROR_LIMIT, "dimension (at most)", *dims[i], BNN_MAX_SIZE);
        WANT(i >= 4 - rank || *dims[i] == 1, BNN_ERROR_FORMAT, "dimension before those of the rank", *dims[i], 1);
        *halo[i] = load16(record + 20 + 2 * i);
        WANT(storage == BNN_ARENA || *halo[i] == 0, BNN_ERROR_FORMAT, "halo of a tensor outside the arena", *halo[i],
             0);
    }
    WANT(bnn_load32(record + 28) == 0, BNN_ERROR_FORMAT, "reserved bytes", bnn_load32(record + 28), 0);
    t->element = dtype == BNN_U8 || dtype == BNN_I8 ? 1 : 4;
    t->words = dtype == BNN_B1 ? (t->c + 31) / 32 : t->c;

    if (storage != BNN_CONSTANT) {
        uint64_t height = (uint64_t)t->top + t->h + t->bottom, width = (uint64_t)t->left + t->w + t->right;
        WANT(height <= BNN_MAX_PIXELS, BNN_ERROR_LIMIT, "height with its halo (at most)", height, BNN_MAX_PIXELS);
        WANT(width <= BNN_MAX_PIXELS, BNN_ERROR_LIMIT, "width with its halo (at most)", width, BNN_MAX_PIXELS);
    }

    uint64_t offset = bnn_load64(record + 32), stated = bnn_load64(record + 40), bytes;
    WANT(tensor_bytes(t, &bytes), BNN_ERROR_LIMIT, "its size overflows", stated, 0);
    if (storage == BNN_INPUT || storage == BNN_OUTPUT) {
        uint32_t count = storage == BNN_INPUT ? h->input_count : h->output_count;
        WANT(offset < count, BNN_ERROR_FORMAT, "index of an input or output (below)", offset, count);
    } else {
        size_t room = storage == BNN_ARENA ? h->arena : h->data_size;
        WANT(offset % BNN_ALIGNMENT == 0, BNN_ERROR_FORMAT, "offset (a multiple of 64)", offset,
             offset / BNN_ALIGNMENT * BNN_ALIGNMENT);
        WANT(stated <= room && offset <= room - stated, BNN_ERROR_FORMAT,
             storage == BNN_ARENA ? "end in the arena (at most)" : "end in the data section (at most)",
             offset > UINT64_MAX - stated ? UINT64_MAX : offset + stated, room);
    }
    if (storage == BNN_CONSTANT) {
        WANT(bytes <= h->most, BNN_ERROR_LIMIT, "bytes of its elements (max_bytes)", bytes, h->most);
        t->stored = file + h->data + offset;
        t->data = encoding == BNN_PLAIN ? t->stored : NULL;
        bytes = whole_lines(bnn_coded_bytes(t->encoding, bytes / 4, t->image, t->stored, stated));
    }
    WANT(stated == bytes, BNN_ERROR_FORMAT, "bytes", stated, bytes);
    t->bytes = (size_t)bytes;
    t->offset = (size_t)offset;
    return BNN_OK;
}

#undef WANT

#define BNN_ATTRS_ASSERT(code, name, attrs, count) \
    _Static_assert((count) == 0 || sizeof(struct attrs) == 4 * (count), "attributes of " #name " are 32-bit words");
BNN_OP_LIST(BNN_ATTRS_ASSERT)
#undef BNN_ATTRS_ASSERT

#define BNN_ROW_CASE(code, name, attrs, count) \
    case code:                                 \
        *words = (count);                      \
        return &bnn_op_row_##name;

/* The row of an opcode and the words of its attributes; NULL for an unknown one. */
static const struct bnn_op_row *find_row(uint32_t opcode, uint32_t *words)
{
    switch (opcode) {
        BNN_OP_LIST(BNN_ROW_CASE)
    default:
        break;
    }
    return NULL;
}

#undef BNN_ROW_CASE

bnn_status bnn_read_op(const unsigned char *file, const struct bnn_header *h, uint32_t number, size_t *offset,
                       struct bnn_op *op, bnn_problem *problem)
{
    const unsigned char *record = file + *offset;
    size_t room = h->ops + h->ops_size - *offset;
    memset(op, 0, sizeof *op);
#define WANT(condition, status, what, found, expected)                                                            \
    do {                                                                                                          \
        if (!(condition)) {                                                                                       \
            return bnn_report(problem, status, "op", number, op->layer, op->layer_length, what, bnn_shown(found), \
                              bnn_shown(expected));                                                               \
        }                                                                                                         \
    } while (0)
    WANT(room >= BNN_OP_BYTES, BNN_ERROR_FORMAT, "bytes left in the op section", room, BNN_OP_BYTES);
    WANT(read_string(file, h, record + 16, &op->layer, &op->layer_length), BNN_ERROR_FORMAT, "end of the layer's name",
         (uint64_t)bnn_load32(record + 16) + bnn_load32(record + 20), h->strings_size);
    WANT(read_string(file, h, record + 24, &op->note, &op->note_length), BNN_ERROR_FORMAT, "end of the note",
         (uint64_t)bnn_load32(record + 24) + bnn_load32(record + 28), h->strings_size);
    uint32_t opcode = bnn_load32(record), bytes = bnn_load32(record + 4), inputs = bnn_load32(record + 8), words = 0;
    op->row = find_row(opcode, &words);
    WANT(op->row != NULL, BNN_ERROR_OPCODE, "opcode", opcode, 0);
    WANT(inputs >= 1, BNN_ERROR_FORMAT, "number of inputs", inputs, 1);
    WANT(inputs <= BNN_MAX_INPUTS, BNN_ERROR_LIMIT, "number of inputs (at most)", inputs, BNN_MAX_INPUTS);
    uint32_t wanted = (BNN_OP_BYTES + 4 * inputs + 4 * words + 7) / 8 * 8;
    WANT(bytes == wanted, BNN_ERROR_FORMAT, "bytes of the record", bytes, wanted);
    WANT(bytes <= room, BNN_ERROR_FORMAT, "bytes left in the op section", room, bytes);
    op->input_count = inputs;
    op->inputs = (const uint32_t *)(const void *)(record + BNN_OP_BYTES);
    op->attrs = record + BNN_OP_BYTES + 4 * inputs;
    op->output = bnn_load32(record + 12);
    for (uint32_t i = 0; i < inputs; i++) {
        WANT(op->inputs[i] < h->tensor_count, BNN_ERROR_FORMAT, "tensor number of an input (below)", op->inputs[i],
             h->tensor_count);
    }
    WANT(op->output < h->tensor_count, BNN_ERROR_FORMAT, "tensor number of the output (below)", op->output,
         h->tensor_count);
    *offset += bytes;
    WANT(number + 1 < h->op_count || *offset == h->ops + h->ops_size, BNN_ERROR_FORMAT,
         "bytes of the op section after the last op", h->ops + h->ops_size - *offset, 0);
#undef WANT
    return BNN_OK;
}
