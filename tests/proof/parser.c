/* SPDX-License-Identifier: Apache-2.0 */
/* Proves with CBMC that reading any header, and any two tensors and ops, stays inside the file, and that what was
 * accepted fulfils what the rest of the runtime takes for granted.
 *
 * The file is any FILE_BYTES bytes and any size up to that.  Undefined behaviour (bounds, pointers, signed overflow,
 * shifts, division) is cbmc's to find; the assertions below are the postconditions of csrc/model/validate.h. */
#include "model/coding.h"
#include "model/validate.h"

#include <assert.h>
#include <stdlib.h>

#ifndef FILE_BYTES
#define FILE_BYTES 512 /* a header, two tensors, two ops, and some strings and data */
#endif

size_t nondet_size(void);
uint32_t nondet_number(void);

/* What prepare functions do is not part of it: an op's row says only how many words of attributes it has. */
#define BNN_STUB_ROW(code, name, attrs, number, ...) \
    const struct bnn_op_row bnn_op_row_##name = {.opcode = (code), .words = (number)};
BNN_OP_LIST(BNN_STUB_ROW)
#undef BNN_STUB_ROW

#define BNN_STUB(code, name, ...) &bnn_op_row_##name,
static const struct bnn_op_row *const rows[] = {BNN_OP_LIST(BNN_STUB)};
#undef BNN_STUB

static void text_holds(const unsigned char *file, const struct bnn_header *h, const char *text, uint32_t length)
{
    size_t at = (size_t)((const unsigned char *)text - file);
    assert(at >= h->strings && at <= h->strings + h->strings_size);
    assert(length <= h->strings + h->strings_size - at);
}

static void header_holds(const unsigned char *file, const struct bnn_header *h, size_t size)
{
    assert(h->tensor_count >= 1 && h->tensor_count <= BNN_MAX_TENSORS);
    assert(h->op_count >= 1 && h->op_count <= BNN_MAX_OPS);
    assert(h->input_count >= 1 && h->output_count >= 1);
    assert(h->tensors >= BNN_HEADER_BYTES && h->tensors % BNN_ALIGNMENT == 0);
    assert(h->tensors <= size && (size_t)h->tensor_count * BNN_TENSOR_BYTES <= size - h->tensors);
    assert(h->ops % BNN_ALIGNMENT == 0 && h->ops >= h->tensors + (size_t)h->tensor_count * BNN_TENSOR_BYTES);
    assert(h->ops <= size && h->ops_size <= size - h->ops);
    assert(h->strings % BNN_ALIGNMENT == 0 && h->strings >= h->ops + h->ops_size);
    assert(h->strings <= size && h->strings_size <= size - h->strings);
    assert(h->data % BNN_ALIGNMENT == 0 && h->data >= h->strings + h->strings_size);
    assert(h->data <= size && h->data_size == size - h->data);
    assert(h->arena % BNN_ALIGNMENT == 0 && h->arena <= SIZE_MAX / 2);
    uint32_t use = bnn_load32(file + 108), length = bnn_load32(file + 112); /* as bnn_model_use reads them */
    text_holds(file, h, (const char *)file + h->strings + use, length);
    assert(length <= BNN_MAX_USE);
}

static void tensor_holds(const unsigned char *file, const struct bnn_header *h, const struct bnn_tensor *t)
{
    text_holds(file, h, t->name, t->name_length);
    text_holds(file, h, t->origin, t->origin_length);
    assert(t->dtype <= BNN_I8 && t->storage <= BNN_PASSED && t->encoding <= BNN_TABLE_8);
    assert(t->rank >= 1 && t->rank <= (t->storage == BNN_CONSTANT ? 4u : 3u));
    assert(t->o >= 1 && t->h >= 1 && t->w >= 1 && t->c >= 1);
    assert(t->o <= BNN_MAX_SIZE && t->h <= BNN_MAX_SIZE && t->w <= BNN_MAX_SIZE && t->c <= BNN_MAX_SIZE);
    assert(t->storage == BNN_CONSTANT || t->o == 1);
    assert(t->element == 1 || t->element == 4);
    assert(t->words == (t->dtype == BNN_B1 ? (t->c - 1) / 32 + 1 : t->c));
    assert(t->bytes <= SIZE_MAX / 2);
    if (t->storage == BNN_ARENA)
        assert(t->offset % BNN_ALIGNMENT == 0 && t->bytes <= h->arena && t->offset <= h->arena - t->bytes);
    else
        assert(t->top == 0 && t->left == 0 && t->bottom == 0 && t->right == 0);
    if (t->storage == BNN_PASSED)
        assert(t->offset == 0);
    if (t->storage == BNN_INPUT || t->storage == BNN_OUTPUT) {
        assert(t->offset < (t->storage == BNN_INPUT ? h->input_count : h->output_count));
        assert(t->dtype == BNN_F32 || (t->storage == BNN_INPUT && (t->dtype == BNN_U8 || t->dtype == BNN_I8)));
    }
    if (t->storage == BNN_CONSTANT) {
        size_t at = (size_t)(t->stored - file);
        assert(at >= h->data && at <= h->data + h->data_size && t->bytes <= h->data + h->data_size - at);
        assert(at % BNN_ALIGNMENT == 0);
        assert((t->data == NULL) == (t->encoding != BNN_PLAIN));
    } else {
        assert(t->h + t->top + t->bottom <= BNN_MAX_PIXELS && t->w + t->left + t->right <= BNN_MAX_PIXELS);
        assert(t->encoding == BNN_PLAIN);
    }
}

static void op_holds(const unsigned char *file, const struct bnn_header *h, const struct bnn_op *op, size_t before,
                     size_t offset, uint32_t number)
{
    size_t end = h->ops + h->ops_size, inputs = (size_t)((const unsigned char *)op->inputs - file);
    text_holds(file, h, op->layer, op->layer_length);
    text_holds(file, h, op->note, op->note_length);
    assert(op->row != NULL);
    assert(op->input_count >= 1 && op->input_count <= BNN_MAX_INPUTS);
    assert(offset > before && offset <= end && offset % 8 == 0);
    assert(inputs % 4 == 0 && inputs == before + BNN_OP_BYTES);
    assert((const unsigned char *)op->attrs - file == (ptrdiff_t)(inputs + 4 * (size_t)op->input_count));
    assert((const unsigned char *)op->attrs - file <= (ptrdiff_t)offset);
    assert(number + 1 < h->op_count || offset == end);
    uint32_t any = nondet_number();
    __CPROVER_assume(any < op->input_count);
    assert(op->inputs[any] < h->tensor_count);
    assert(op->output < h->tensor_count);
}

#if PROVE_HEADER
/* Any file of at most FILE_BYTES bytes, in a block of exactly its size; or NULL. */
static unsigned char *any_file(size_t *size)
{
    *size = nondet_size();
    __CPROVER_assume(*size >= 1 && *size <= FILE_BYTES);
    return malloc(*size);
}
#else
/* Any file of exactly FILE_BYTES bytes. */
static unsigned char *any_file(size_t *size)
{
    static unsigned char file[FILE_BYTES];
    __CPROVER_havoc_object(file);
    *size = FILE_BYTES;
    return file;
}
#endif

int main(void)
{
    size_t size;
    unsigned char *file = any_file(&size);
    struct bnn_header h;
    struct bnn_tensor t;
    struct bnn_op op;
    if (file == NULL || bnn_read_header(file, size, &h, NULL) != BNN_OK)
        return 0;
    header_holds(file, &h, size);
#if PROVE_TENSORS
    uint32_t number = nondet_number(); /* any of them */
    __CPROVER_assume(number < h.tensor_count);
    if (bnn_read_tensor(file, &h, number, &t, NULL) == BNN_OK)
        tensor_holds(file, &h, &t);
#endif
#if PROVE_OPS
    /* Any place where a record may begin: the first one's, and, by what is proven here, that after any other. */
    size_t begin = nondet_size(), offset = begin;
    uint32_t number = nondet_number();
    h.rows = rows;
    h.row_count = nondet_size(); /* a program has some of them */
    __CPROVER_assume(h.row_count <= sizeof rows / sizeof *rows);
    __CPROVER_assume(begin >= h.ops && begin <= h.ops + h.ops_size && begin % 8 == 0 && number < h.op_count);
    if (bnn_read_op(file, &h, number, &offset, &op, NULL) == BNN_OK)
        op_holds(file, &h, &op, begin, offset, number);
#endif
    return 0;
}
