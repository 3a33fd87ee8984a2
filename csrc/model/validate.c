/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the header, a tensor or an op of a .bnn file.  Nothing in the file is trusted: every number is checked before
 * use, and sizes are checked for overflow, so that all code after bnn_model_open can do plain arithmetic. */
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

/* Whom an error is about: the header, or a tensor or op by its number and, once they are read, its name. */
struct subject {
    const char *kind;
    uint32_t number;
    const char *name;
    uint32_t name_length;
    bnn_problem *problem;
};

static bnn_status error_of(const struct subject *s, bnn_status status, const char *what, uint64_t found,
                           uint64_t expected)
{
    return bnn_report(s->problem, status, s->kind, s->number, s->name, s->name_length, what, bnn_shown(found),
                      bnn_shown(expected));
}

/* In a function of a subject s. */
#define WANT(condition, status, what, found, expected)                                 \
    do {                                                                               \
        if (!(condition))                                                              \
            return error_of(s, status, what, (uint64_t)(found), (uint64_t)(expected)); \
    } while (0)

static bnn_status check_checksum(const unsigned char *file, size_t size, const struct subject *s)
{
    uint32_t stated = bnn_load32(file + 12);
    uint32_t computed = bnn_crc32(bnn_crc32(0, file, 12), file + 16, size - 16);
    WANT(stated == computed, BNN_ERROR_CHECKSUM, "checksum", stated, computed);
    return BNN_OK;
}

int bnn_checksum_matches(const unsigned char *file, size_t size, bnn_problem *problem)
{
    const struct subject header = {"header", BNN_NEVER, NULL, 0, problem};
    return check_checksum(file, size, &header) == BNN_OK;
}

/* What can be told from the first bytes: the signature, the version and the length. */
static bnn_status check_start(const unsigned char *file, size_t size, const struct subject *s)
{
    for (size_t i = 0; i < sizeof signature && i < size; i++)
        WANT(file[i] == signature[i], BNN_ERROR_MAGIC, "first wrong byte of the signature", file[i], signature[i]);
    WANT(size >= BNN_HEADER_BYTES, BNN_ERROR_TRUNCATED, "file size", size, BNN_HEADER_BYTES);
    uint32_t version = bnn_load32(file + 8);
    WANT(version == BNN_FORMAT_VERSION, BNN_ERROR_VERSION, "version", version, BNN_FORMAT_VERSION);
    uint64_t stated = bnn_load64(file + 16);
    WANT(stated == size, BNN_ERROR_TRUNCATED, "file size", size, stated);
    return BNN_OK;
}

static bnn_status read_counts(const unsigned char *file, struct bnn_header *h, const struct subject *s)
{
    const struct {
        const char *name;
        uint32_t *to, limit;
    } counts[] = {
        {BNN_TEXT("number of tensors"), &h->tensor_count, BNN_MAX_TENSORS},
        {BNN_TEXT("number of ops"), &h->op_count, BNN_MAX_OPS},
        {BNN_TEXT("number of inputs"), &h->input_count, BNN_MAX_TENSORS},
        {BNN_TEXT("number of outputs"), &h->output_count, BNN_MAX_TENSORS},
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        uint32_t n = bnn_load32(file + 24 + 4 * i);
        WANT(n != 0, BNN_ERROR_FORMAT, counts[i].name, 0, 1);
        WANT(n <= counts[i].limit, BNN_ERROR_LIMIT, counts[i].name, n, counts[i].limit);
        *counts[i].to = n;
    }
    return BNN_OK;
}

/* The sections follow each other, and the last ends with the file. */
static bnn_status read_sections(const unsigned char *file, size_t size, struct bnn_header *h, const struct subject *s)
{
    size_t tensors_size;
    const struct {
        const char *offset_name, *size_name;
        uint64_t offset, size;
        size_t *offset_to, *size_to;
    } sections[] = {
        {BNN_TEXT("offset of the tensor table"), BNN_TEXT("size of the tensor table"), bnn_load64(file + 40),
         (uint64_t)h->tensor_count * BNN_TENSOR_BYTES, &h->tensors, &tensors_size},
        {BNN_TEXT("offset of the op section"), BNN_TEXT("size of the op section"), bnn_load64(file + 48),
         bnn_load64(file + 56), &h->ops, &h->ops_size},
        {BNN_TEXT("offset of the string section"), BNN_TEXT("size of the string section"), bnn_load64(file + 64),
         bnn_load64(file + 72), &h->strings, &h->strings_size},
        {BNN_TEXT("offset of the data section"), BNN_TEXT("size of the data section"), bnn_load64(file + 80),
         bnn_load64(file + 88), &h->data, &h->data_size},
    };
    uint64_t end = BNN_HEADER_BYTES; /* of the section before; never above size */
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        uint64_t offset = sections[i].offset, bytes = sections[i].size;
        WANT(offset % BNN_ALIGNMENT == 0 && offset >= end && offset <= size, BNN_ERROR_FORMAT, sections[i].offset_name,
             offset, bnn_lines(end));
        WANT(bytes <= size - offset, BNN_ERROR_FORMAT, sections[i].size_name, bytes, size - offset);
        *sections[i].offset_to = (size_t)offset;
        *sections[i].size_to = (size_t)bytes;
        end = offset + bytes;
    }
    WANT(end == size, BNN_ERROR_FORMAT, "end of the data section", end, size);
    return BNN_OK;
}

bnn_status bnn_read_header(const unsigned char *file, size_t size, struct bnn_header *h, bnn_problem *problem)
{
    const struct subject header = {"header", BNN_NEVER, NULL, 0, problem}, *s = &header;
    BNN_TRY(check_start(file, size, s));
    BNN_TRY(read_counts(file, h, s));
    BNN_TRY(read_sections(file, size, h, s));
    uint64_t arena = bnn_load64(file + 96);
    WANT(arena % BNN_ALIGNMENT == 0, BNN_ERROR_FORMAT, "arena bytes (a multiple of 64)", arena,
         arena / BNN_ALIGNMENT * BNN_ALIGNMENT);
    WANT(arena <= SIZE_MAX / 2, BNN_ERROR_LIMIT, "arena bytes", arena, SIZE_MAX / 2);
    h->arena = (size_t)arena;
    uint32_t channels_first = bnn_load32(file + 104);
    WANT(channels_first <= 1, BNN_ERROR_FORMAT, "whether the source has channels first (1: yes)", channels_first, 1);
    h->channels_first = (int)channels_first;
    uint32_t use = bnn_load32(file + 108), use_bytes = bnn_load32(file + 112);
    WANT(use_bytes <= h->strings_size && use <= h->strings_size - use_bytes, BNN_ERROR_FORMAT, "end of the use",
         (uint64_t)use + use_bytes, h->strings_size);
    WANT(use_bytes <= BNN_MAX_USE, BNN_ERROR_LIMIT, "bytes of the use (at most)", use_bytes, BNN_MAX_USE);
    WANT((bnn_load32(file + 116) | bnn_load32(file + 120) | bnn_load32(file + 124)) == 0, BNN_ERROR_FORMAT,
         "reserved bytes", bnn_load32(file + 116) | bnn_load64(file + 120), 0);
    return BNN_OK;
}

/* A string field: (offset, length) into the string section. */
static bnn_status read_string(const unsigned char *file, const struct bnn_header *h, const unsigned char *field,
                              const char *what, const struct subject *s, const char **text, uint32_t *length)
{
    uint32_t offset = bnn_load32(field), n = bnn_load32(field + 4);
    uint64_t end = (uint64_t)offset + n;
    WANT(end <= h->strings_size, BNN_ERROR_FORMAT, what, end, h->strings_size);
    *text = (const char *)file + h->strings + offset;
    *length = n;
    return BNN_OK;
}

/* What a tensor is, and where it may be. */
static bnn_status read_kind(const unsigned char *record, struct bnn_tensor *t, const struct subject *s)
{
    uint32_t dtype = record[0], storage = record[1], rank = record[2], encoding = record[3];
    int constant = storage == BNN_CONSTANT;
    WANT(dtype <= BNN_I8, BNN_ERROR_FORMAT, "dtype (at most)", dtype, BNN_I8);
    WANT(storage <= BNN_PASSED, BNN_ERROR_FORMAT, "storage (at most)", storage, BNN_PASSED);
    WANT(dtype != BNN_I32 || constant, BNN_ERROR_FORMAT, "storage of an i32", storage, BNN_CONSTANT);
    WANT(dtype != BNN_U8 || storage == BNN_INPUT || storage == BNN_ARENA, BNN_ERROR_FORMAT, "storage of a u8", storage,
         BNN_INPUT);
    WANT(dtype != BNN_I8 || storage == BNN_INPUT, BNN_ERROR_FORMAT, "storage of an i8", storage, BNN_INPUT);
    WANT(dtype != BNN_B1 || storage > BNN_OUTPUT, BNN_ERROR_FORMAT, "dtype of an input or output", dtype, BNN_F32);
    WANT(rank >= 1, BNN_ERROR_FORMAT, "rank (at least)", rank, 1);
    WANT(rank <= (constant ? 4u : 3u), BNN_ERROR_FORMAT, "rank (at most)", rank, constant ? 4 : 3);
    WANT(encoding <= BNN_TABLE_8, BNN_ERROR_FORMAT, "encoding (at most)", encoding, BNN_TABLE_8);
    WANT(encoding == BNN_PLAIN || (constant && dtype == BNN_F32), BNN_ERROR_FORMAT,
         "encoding of what is not a constant of floats", encoding, BNN_PLAIN);
    t->dtype = (bnn_dtype)dtype;
    t->storage = (bnn_storage)storage;
    t->encoding = (bnn_encoding)encoding;
    t->rank = (uint8_t)rank;
    return BNN_OK;
}

static bnn_status read_dims(const unsigned char *record, struct bnn_tensor *t, const struct subject *s)
{
    uint32_t *const dims[4] = {&t->o, &t->h, &t->w, &t->c};
    uint16_t *const halo[4] = {&t->top, &t->left, &t->bottom, &t->right};
    for (uint32_t i = 0; i < 4; i++) {
        *dims[i] = bnn_load32(record + 4 + 4 * i);
        WANT(*dims[i] != 0, BNN_ERROR_FORMAT, "dimension (at least)", 0, 1);
        WANT(*dims[i] <= BNN_MAX_SIZE, BNN_ERROR_LIMIT, "dimension (at most)", *dims[i], BNN_MAX_SIZE);
        WANT(i + t->rank >= 4 || *dims[i] == 1, BNN_ERROR_FORMAT, "dimension before those of the rank", *dims[i], 1);
        *halo[i] = (uint16_t)load16(record + 20 + 2 * i);
        WANT(t->storage == BNN_ARENA || *halo[i] == 0, BNN_ERROR_FORMAT, "halo of a tensor outside the arena", *halo[i],
             0);
    }
    WANT(bnn_load32(record + 28) == 0, BNN_ERROR_FORMAT, "reserved bytes", bnn_load32(record + 28), 0);
    t->element = t->dtype == BNN_U8 || t->dtype == BNN_I8 ? 1 : 4;
    t->words = t->dtype == BNN_B1 ? (t->c + 31) / 32 : t->c;
    if (t->storage != BNN_CONSTANT) {
        uint64_t height = (uint64_t)t->top + t->h + t->bottom, width = (uint64_t)t->left + t->w + t->right;
        WANT(height <= BNN_MAX_PIXELS, BNN_ERROR_LIMIT, "height with its halo (at most)", height, BNN_MAX_PIXELS);
        WANT(width <= BNN_MAX_PIXELS, BNN_ERROR_LIMIT, "width with its halo (at most)", width, BNN_MAX_PIXELS);
    }
    return BNN_OK;
}

/* The bytes of one image (for a constant, of all its elements), unless they overflow. */
static int tensor_bytes(struct bnn_tensor *t, uint64_t *bytes)
{
    uint64_t height = (uint64_t)t->top + t->h + t->bottom, width = (uint64_t)t->left + t->w + t->right;
    uint64_t row = width * t->words, image; /* dimensions are below 2^31 */
    image = bnn_times(row, height);
    *bytes = bnn_times(bnn_times(image, t->o), t->element);
    if (*bytes > SIZE_MAX / 2)
        return 0;
    t->row = (size_t)row;
    t->image = (size_t)image;
    if (t->storage == BNN_ARENA) {
        *bytes = bnn_lines(*bytes);
        t->image = (size_t)*bytes / t->element;
    }
    return 1;
}

/* Where it lies: an index, or bytes of the arena or of the data section. */
static bnn_status read_place(const unsigned char *file, const struct bnn_header *h, const unsigned char *record,
                             struct bnn_tensor *t, const struct subject *s)
{
    uint64_t offset = bnn_load64(record + 32), stated = bnn_load64(record + 40), bytes;
    WANT(tensor_bytes(t, &bytes), BNN_ERROR_LIMIT, "bytes of an image overflow (1: yes)", 1, 0);
    if (t->storage == BNN_INPUT || t->storage == BNN_OUTPUT) {
        uint32_t count = t->storage == BNN_INPUT ? h->input_count : h->output_count;
        WANT(offset < count, BNN_ERROR_FORMAT, "index of an input or output (below)", offset, count);
    } else if (t->storage == BNN_PASSED) {
        WANT(offset == 0, BNN_ERROR_FORMAT, "offset of a passed tensor", offset, 0);
    } else {
        size_t room = t->storage == BNN_ARENA ? h->arena : h->data_size;
        WANT(offset % BNN_ALIGNMENT == 0, BNN_ERROR_FORMAT, "offset (a multiple of 64)", offset,
             offset / BNN_ALIGNMENT * BNN_ALIGNMENT);
        WANT(bnn_plus(offset, stated) <= room, BNN_ERROR_FORMAT,
             t->storage == BNN_ARENA ? "end in the arena (at most)" : "end in the data section (at most)",
             bnn_plus(offset, stated), room);
    }
    if (t->storage == BNN_CONSTANT) {
        WANT(bytes <= h->most, BNN_ERROR_LIMIT, "bytes of its elements (max_bytes)", bytes, h->most);
        t->stored = file + h->data + offset;
        t->data = t->encoding == BNN_PLAIN ? t->stored : NULL;
        bytes = bnn_lines(bnn_coded_bytes(t->encoding, bytes / 4, t->image, t->stored, stated));
    }
    WANT(stated == bytes, BNN_ERROR_FORMAT, "bytes stated for its shape", stated, bytes);
    t->bytes = (size_t)bytes;
    t->offset = (size_t)offset;
    return BNN_OK;
}

bnn_status bnn_read_tensor(const unsigned char *file, const struct bnn_header *h, uint32_t number, struct bnn_tensor *t,
                           bnn_problem *problem)
{
    const unsigned char *record = file + h->tensors + (size_t)number * BNN_TENSOR_BYTES;
    struct subject s = {"tensor", number, NULL, 0, problem};
    memset(t, 0, sizeof *t);
    t->written = BNN_NEVER;
    BNN_TRY(read_string(file, h, record + 48, "end of the name", &s, &t->name, &t->name_length));
    s.name = t->name;
    s.name_length = t->name_length;
    BNN_TRY(read_string(file, h, record + 56, "end of the origin", &s, &t->origin, &t->origin_length));
    BNN_TRY(read_kind(record, t, &s));
    BNN_TRY(read_dims(record, t, &s));
    return read_place(file, h, record, t, &s);
}

#define BNN_ATTRS_ASSERT(opcode, name, attrs, words, ...) \
    _Static_assert((words) == 0 || sizeof(struct attrs) == 4 * (words), "attributes of " #name " are 32-bit words");
BNN_OP_LIST(BNN_ATTRS_ASSERT)
#undef BNN_ATTRS_ASSERT

/* Opcodes are counted from 1 on. */
#define BNN_PLACE(opcode, name, ...) PLACE_##name,
enum { PLACE_NONE, BNN_OP_LIST(BNN_PLACE) PLACE_END };
#undef BNN_PLACE
#define BNN_PLACE_ASSERT(opcode, name, ...) _Static_assert(PLACE_##name == (opcode), "opcodes have no gaps");
BNN_OP_LIST(BNN_PLACE_ASSERT)
#undef BNN_PLACE_ASSERT

enum { LAST_OPCODE = PLACE_END - 1 };

static const struct bnn_op_row *find_row(const struct bnn_header *h, uint32_t opcode)
{
    for (size_t i = 0; i < h->row_count; i++)
        if (h->rows[i]->opcode == opcode)
            return h->rows[i];
    return NULL;
}

bnn_status bnn_read_op(const unsigned char *file, const struct bnn_header *h, uint32_t number, size_t *offset,
                       struct bnn_op *op, bnn_problem *problem)
{
    const unsigned char *record = file + *offset;
    size_t room = h->ops + h->ops_size - *offset;
    struct subject subject = {"op", number, NULL, 0, problem}, *s = &subject;
    memset(op, 0, sizeof *op);
    WANT(room >= BNN_OP_BYTES, BNN_ERROR_FORMAT, "bytes left in the op section", room, BNN_OP_BYTES);
    BNN_TRY(read_string(file, h, record + 16, "end of the layer's name", s, &op->layer, &op->layer_length));
    s->name = op->layer;
    s->name_length = op->layer_length;
    BNN_TRY(read_string(file, h, record + 24, "end of the note", s, &op->note, &op->note_length));
    uint32_t opcode = bnn_load32(record), bytes = bnn_load32(record + 4), inputs = bnn_load32(record + 8);
    WANT(opcode - 1 < LAST_OPCODE, BNN_ERROR_OPCODE, "opcode (1 to the last one known)", opcode, LAST_OPCODE);
    op->row = find_row(h, opcode);
    if (op->row == NULL)
        return bnn_lack_op(problem, op, number, opcode);
    WANT(inputs >= 1, BNN_ERROR_FORMAT, "number of inputs", inputs, 1);
    WANT(inputs <= BNN_MAX_INPUTS, BNN_ERROR_LIMIT, "number of inputs (at most)", inputs, BNN_MAX_INPUTS);
    uint32_t wanted = (BNN_OP_BYTES + 4 * inputs + 4 * op->row->words + 7) / 8 * 8;
    WANT(bytes == wanted, BNN_ERROR_FORMAT, "bytes of the record", bytes, wanted);
    WANT(bytes <= room, BNN_ERROR_FORMAT, "bytes left in the op section", room, bytes);
    op->input_count = inputs;
    op->inputs = (const uint32_t *)(const void *)(record + BNN_OP_BYTES);
    op->attrs = record + BNN_OP_BYTES + 4 * inputs;
    op->output = bnn_load32(record + 12);
    for (uint32_t i = 0; i < inputs; i++)
        WANT(op->inputs[i] < h->tensor_count, BNN_ERROR_FORMAT, "tensor number of an input (below)", op->inputs[i],
             h->tensor_count);
    WANT(op->output < h->tensor_count, BNN_ERROR_FORMAT, "tensor number of the output (below)", op->output,
         h->tensor_count);
    *offset += bytes;
    size_t left = h->ops + h->ops_size - *offset;
    WANT(number + 1 < h->op_count || left == 0, BNN_ERROR_FORMAT, "bytes of the op section after the last op", left, 0);
    return BNN_OK;
}
