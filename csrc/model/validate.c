/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the header, a tensor or an op of a .bnn file. */
#include "model/coding.h"
#include "model/validate.h"

static const struct bnn_format bnn = {
    .signature = {0x89, 'B', 'N', 'N', '\r', '\n', 0x1A, '\n'},
    .version = BNN_FORMAT_VERSION,
    .counts = 4,
    .needed = 4,
    .channels_first = 104,
    .text = 108,
    .record = {BNN_TENSOR_BYTES},
    .most = {BNN_MAX_TENSORS, BNN_MAX_OPS, BNN_MAX_TENSORS, BNN_MAX_TENSORS},
    .names = BNN_NAMES(.text = "end of the use",
                       .counts = {"number of tensors", "number of ops", "number of inputs", "number of outputs"},
                       .offsets = {"offset of the tensor table", "offset of the op section",
                                   "offset of the string section", "offset of the data section"},
                       .sizes = {"size of the tensor table", "size of the op section", "size of the string section",
                                 "size of the data section"})};

/* In a function of a subject s. */
#define WANT(...) BNN_WANT(s, __VA_ARGS__)

static uint32_t load16(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}

bnn_status bnn_read_header(const void *file, size_t size, struct bnn_header *h, bnn_problem *problem)
{
    const struct bnn_subject *s = BNN_ABOUT("header", BNN_NEVER, problem);
    BNN_TRY(bnn_read_container(&h->in, &bnn, file, size, problem));
    uint64_t arena = bnn_load64(h->in.file + 96);
    WANT(arena % BNN_ALIGNMENT == 0, BNN_ERROR_FORMAT, "arena bytes (a multiple of 64)", arena,
         arena / BNN_ALIGNMENT * BNN_ALIGNMENT);
    WANT(arena <= SIZE_MAX / 2, BNN_ERROR_LIMIT, "arena bytes", arena, SIZE_MAX / 2);
    h->arena = (size_t)arena;
    WANT(h->in.text_length <= BNN_MAX_USE, BNN_ERROR_LIMIT, "bytes of the use (at most)", h->in.text_length,
         BNN_MAX_USE);
    return BNN_OK;
}

/* What a tensor is, and where it may be. */
static bnn_status read_kind(const unsigned char *record, struct bnn_tensor *t, const struct bnn_subject *s)
{
    uint32_t dtype = record[0], storage = record[1], rank = record[2], encoding = record[3];
    int constant = storage == BNN_CONSTANT;
    WANT(dtype <= BNN_I16, BNN_ERROR_FORMAT, "dtype (at most)", dtype, BNN_I16);
    WANT(storage <= BNN_PASSED, BNN_ERROR_FORMAT, "storage (at most)", storage, BNN_PASSED);
    WANT(dtype != BNN_I32 || constant, BNN_ERROR_FORMAT, "storage of an i32", storage, BNN_CONSTANT);
    WANT(dtype != BNN_U8 || storage != BNN_OUTPUT, BNN_ERROR_FORMAT, "storage of a u8", storage, BNN_INPUT);
    WANT(dtype != BNN_I8 || storage == BNN_INPUT || constant, BNN_ERROR_FORMAT, "storage of an i8", storage, BNN_INPUT);
    WANT(dtype != BNN_I16 || storage > BNN_OUTPUT, BNN_ERROR_FORMAT, "storage of an i16", storage, BNN_ARENA);
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

static bnn_status read_dims(const unsigned char *record, struct bnn_tensor *t, const struct bnn_subject *s)
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
    t->element = t->dtype == BNN_U8 || t->dtype == BNN_I8 ? 1 : t->dtype == BNN_I16 ? 2 : 4;
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
static bnn_status read_place(const struct bnn_header *h, const unsigned char *record, struct bnn_tensor *t,
                             const struct bnn_subject *s)
{
    uint64_t offset = bnn_load64(record + 32), stated = bnn_load64(record + 40), bytes;
    WANT(tensor_bytes(t, &bytes), BNN_ERROR_LIMIT, "bytes of an image overflow (1: yes)", 1, 0);
    if (t->storage == BNN_INPUT || t->storage == BNN_OUTPUT) {
        uint32_t count = t->storage == BNN_INPUT ? h->in.counts[BNN_INPUTS] : h->in.counts[BNN_OUTPUTS];
        WANT(offset < count, BNN_ERROR_FORMAT, "index of an input or output (below)", offset, count);
    } else if (t->storage == BNN_PASSED) {
        WANT(offset == 0, BNN_ERROR_FORMAT, "offset of a passed tensor", offset, 0);
    } else {
        size_t room = t->storage == BNN_ARENA ? h->arena : h->in.sections[BNN_DATA].bytes;
        WANT(offset % BNN_ALIGNMENT == 0, BNN_ERROR_FORMAT, "offset (a multiple of 64)", offset,
             offset / BNN_ALIGNMENT * BNN_ALIGNMENT);
        WANT(bnn_plus(offset, stated) <= room, BNN_ERROR_FORMAT,
             t->storage == BNN_ARENA ? "end in the arena (at most)" : "end in the data section (at most)",
             bnn_plus(offset, stated), room);
    }
    if (t->storage == BNN_CONSTANT) {
        WANT(bytes <= h->most, BNN_ERROR_LIMIT, "bytes of its elements (max_bytes)", bytes, h->most);
        t->stored = h->in.sections[BNN_DATA].start + offset;
        t->data = t->encoding == BNN_PLAIN ? t->stored : NULL;
        if (t->encoding != BNN_PLAIN)
            bytes = bnn_coded_bytes(t->encoding, bytes / 4, t->image, t->stored, stated);
        bytes = bnn_lines(bytes);
    }
    WANT(stated == bytes, BNN_ERROR_FORMAT, "bytes stated for its shape", stated, bytes);
    t->bytes = (size_t)bytes;
    t->offset = (size_t)offset;
    return BNN_OK;
}

bnn_status bnn_read_tensor(const struct bnn_header *h, uint32_t number, struct bnn_tensor *t, bnn_problem *problem)
{
    const unsigned char *record = h->in.sections[BNN_TENSORS].start + (size_t)number * BNN_TENSOR_BYTES;
    struct bnn_subject s = {"tensor", number, NULL, 0, problem};
    memset(t, 0, sizeof *t);
    t->written = BNN_NEVER;
    BNN_TRY(bnn_read_string(&h->in, record + 48, BNN_TEXT("end of the name"), &s, &t->name, &t->name_length));
    s.name = t->name;
    s.name_length = t->name_length;
    BNN_TRY(bnn_read_string(&h->in, record + 56, BNN_TEXT("end of the origin"), &s, &t->origin, &t->origin_length));
    BNN_TRY(read_kind(record, t, &s));
    BNN_TRY(read_dims(record, t, &s));
    return read_place(h, record, t, &s);
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

bnn_status bnn_read_op(const struct bnn_header *h, uint32_t number, const unsigned char **place, struct bnn_op *op,
                       bnn_problem *problem)
{
    const unsigned char *record = *place;
    size_t left = h->in.sections[BNN_OPS].bytes - (size_t)(record - h->in.sections[BNN_OPS].start);
    struct bnn_subject subject = {"op", number, NULL, 0, problem}, *s = &subject;
    memset(op, 0, sizeof *op);
    WANT(left >= BNN_OP_BYTES, BNN_ERROR_FORMAT, "bytes left in the op section", left, BNN_OP_BYTES);
    BNN_TRY(
        bnn_read_string(&h->in, record + 16, BNN_TEXT("end of the layer's name"), s, &op->layer, &op->layer_length));
    s->name = op->layer;
    s->name_length = op->layer_length;
    BNN_TRY(bnn_read_string(&h->in, record + 24, BNN_TEXT("end of the note"), s, &op->note, &op->note_length));
    uint32_t opcode = bnn_load32(record), bytes = bnn_load32(record + 4), inputs = bnn_load32(record + 8);
    WANT(opcode - 1 < LAST_OPCODE, BNN_ERROR_OPCODE, "opcode (1 to the last one known)", opcode, LAST_OPCODE);
    op->row = find_row(h, opcode);
    if (op->row == NULL)
        return bnn_lack_op(problem, op, number, opcode);
    WANT(inputs >= 1, BNN_ERROR_FORMAT, "number of inputs", inputs, 1);
    WANT(inputs <= BNN_MAX_INPUTS, BNN_ERROR_LIMIT, "number of inputs (at most)", inputs, BNN_MAX_INPUTS);
    uint32_t wanted = (BNN_OP_BYTES + 4 * inputs + 4 * op->row->words + 7) / 8 * 8;
    WANT(bytes == wanted, BNN_ERROR_FORMAT, "bytes of the record", bytes, wanted);
    WANT(bytes <= left, BNN_ERROR_FORMAT, "bytes left in the op section", left, bytes);
    op->input_count = inputs;
    op->inputs = (const uint32_t *)(const void *)(record + BNN_OP_BYTES);
    op->attrs = record + BNN_OP_BYTES + 4 * inputs;
    op->output = bnn_load32(record + 12);
    for (uint32_t i = 0; i < inputs; i++)
        WANT(op->inputs[i] < h->in.counts[BNN_TENSORS], BNN_ERROR_FORMAT, "tensor number of an input (below)",
             op->inputs[i], h->in.counts[BNN_TENSORS]);
    WANT(op->output < h->in.counts[BNN_TENSORS], BNN_ERROR_FORMAT, "tensor number of the output (below)", op->output,
         h->in.counts[BNN_TENSORS]);
    *place += bytes;
    left -= bytes;
    WANT(number + 1 < h->in.counts[BNN_OPS] || left == 0, BNN_ERROR_FORMAT, "bytes of the op section after the last op",
         left, 0);
    return BNN_OK;
}
