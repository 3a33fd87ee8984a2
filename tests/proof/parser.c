/* SPDX-License-Identifier: Apache-2.0 */
/* Proves with CBMC that reading any header, and any tensor and op of a .bnn file, stays inside the file, and that what
 * was accepted fulfils what the rest of the runtime takes for granted.
 *
 * The file is any FILE_BYTES bytes and any size up to that.  Undefined behaviour (bounds, pointers, signed overflow,
 * shifts, division) is cbmc's to find; the assertions below are the postconditions of container.h and validate.h. */
#include "model/coding.h"
#include "model/validate.h"

#include <assert.h>
#include <stdlib.h>

#ifndef FILE_BYTES
#define FILE_BYTES 512 /* a header, two tensors, two ops, and some strings and data */
#endif

size_t nondet_size(void);
uint32_t nondet_number(void);
struct bnn_format nondet_format(void);

/* What prepare functions do is not part of it: an op's row says only how many words of attributes it has. */
#define BNN_STUB_ROW(code, name, attrs, number, ...) \
    const struct bnn_op_row bnn_op_row_##name = {.opcode = (code), .words = (number)};
BNN_OP_LIST(BNN_STUB_ROW)
#undef BNN_STUB_ROW

#define BNN_STUB(code, name, ...) &bnn_op_row_##name,
static const struct bnn_op_row *const rows[] = {BNN_OP_LIST(BNN_STUB)};
#undef BNN_STUB

static void text_holds(const struct bnn_container *c, const char *text, uint32_t length)
{
    size_t at = (size_t)((const unsigned char *)text - c->sections[BNN_STRINGS].start);
    assert(at <= c->sections[BNN_STRINGS].bytes && length <= c->sections[BNN_STRINGS].bytes - at);
}

static void container_holds(const struct bnn_container *c)
{
    size_t end = BNN_HEADER_BYTES; /* of the section before */
    for (size_t i = 0; i < BNN_SECTIONS; i++) {
        size_t at = (size_t)(c->sections[i].start - c->file);
        assert(at % BNN_ALIGNMENT == 0 && at >= end && at <= c->size && c->sections[i].bytes <= c->size - at);
        end = at + c->sections[i].bytes;
    }
    assert(end == c->size);
    text_holds(c, c->text, c->text_length);
}

static void header_holds(const struct bnn_header *h)
{
    const uint32_t *counts = h->in.counts;
    assert(counts[BNN_TENSORS] >= 1 && counts[BNN_TENSORS] <= BNN_MAX_TENSORS);
    assert(counts[BNN_OPS] >= 1 && counts[BNN_OPS] <= BNN_MAX_OPS);
    assert(counts[BNN_INPUTS] >= 1 && counts[BNN_OUTPUTS] >= 1);
    container_holds(&h->in);
    assert(h->in.sections[BNN_TENSORS].bytes == (size_t)counts[BNN_TENSORS] * BNN_TENSOR_BYTES);
    assert(h->arena % BNN_ALIGNMENT == 0 && h->arena <= SIZE_MAX / 2);
    assert(h->in.text_length <= BNN_MAX_USE);
    /* As bnn_model_use reads them. */
    assert(bnn_load64(h->in.file + 64) == (size_t)(h->in.sections[BNN_STRINGS].start - h->in.file));
    assert(bnn_load32(h->in.file + 108) ==
           (size_t)((const unsigned char *)h->in.text - h->in.sections[BNN_STRINGS].start));
    assert(bnn_load32(h->in.file + 112) == h->in.text_length);
}

static void tensor_holds(const struct bnn_header *h, const struct bnn_tensor *t)
{
    text_holds(&h->in, t->name, t->name_length);
    text_holds(&h->in, t->origin, t->origin_length);
    assert(t->dtype <= BNN_I16 && t->storage <= BNN_PASSED && t->encoding <= BNN_TABLE_8);
    assert(t->rank >= 1 && t->rank <= (t->storage == BNN_CONSTANT ? 4u : 3u));
    assert(t->o >= 1 && t->h >= 1 && t->w >= 1 && t->c >= 1);
    assert(t->o <= BNN_MAX_SIZE && t->h <= BNN_MAX_SIZE && t->w <= BNN_MAX_SIZE && t->c <= BNN_MAX_SIZE);
    assert(t->storage == BNN_CONSTANT || t->o == 1);
    assert(t->element == 1 || t->element == 2 || t->element == 4);
    assert(t->words == (t->dtype == BNN_B1 ? (t->c - 1) / 32 + 1 : t->c));
    assert(t->bytes <= SIZE_MAX / 2);
    if (t->storage == BNN_ARENA)
        assert(t->offset % BNN_ALIGNMENT == 0 && t->bytes <= h->arena && t->offset <= h->arena - t->bytes);
    else
        assert(t->top == 0 && t->left == 0 && t->bottom == 0 && t->right == 0);
    if (t->storage == BNN_PASSED)
        assert(t->offset == 0);
    if (t->storage == BNN_INPUT || t->storage == BNN_OUTPUT) {
        assert(t->offset < h->in.counts[t->storage == BNN_INPUT ? BNN_INPUTS : BNN_OUTPUTS]);
        assert(t->dtype == BNN_F32 || (t->storage == BNN_INPUT && (t->dtype == BNN_U8 || t->dtype == BNN_I8)));
    }
    if (t->storage == BNN_CONSTANT) {
        size_t at = (size_t)(t->stored - h->in.sections[BNN_DATA].start), size = h->in.sections[BNN_DATA].bytes;
        assert(at <= size && t->bytes <= size - at);
        assert(at % BNN_ALIGNMENT == 0);
        assert((t->data == NULL) == (t->encoding != BNN_PLAIN));
    } else {
        assert(t->h + t->top + t->bottom <= BNN_MAX_PIXELS && t->w + t->left + t->right <= BNN_MAX_PIXELS);
        assert(t->encoding == BNN_PLAIN);
    }
}

static void op_holds(const struct bnn_header *h, const struct bnn_op *op, const unsigned char *before,
                     const unsigned char *after, uint32_t number)
{
    const unsigned char *end = h->in.sections[BNN_OPS].start + h->in.sections[BNN_OPS].bytes;
    const unsigned char *inputs = (const unsigned char *)op->inputs, *attrs = op->attrs;
    text_holds(&h->in, op->layer, op->layer_length);
    text_holds(&h->in, op->note, op->note_length);
    assert(op->row != NULL);
    assert(op->input_count >= 1 && op->input_count <= BNN_MAX_INPUTS);
    assert(after > before && after <= end && (after - h->in.file) % 8 == 0);
    assert(inputs == before + BNN_OP_BYTES && (inputs - h->in.file) % 4 == 0);
    assert(attrs == inputs + 4 * (size_t)op->input_count && attrs <= after);
    assert(number + 1 < h->in.counts[BNN_OPS] || after == end);
    uint32_t any = nondet_number();
    __CPROVER_assume(any < op->input_count);
    assert(op->inputs[any] < h->in.counts[BNN_TENSORS]);
    assert(op->output < h->in.counts[BNN_TENSORS]);
}

#if PROVE_HEADER || PROVE_CONTAINER
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
#if PROVE_CONTAINER /* of any format: .snn files, too */
    static const struct bnn_format_names names;
    struct bnn_format format = nondet_format();
    format.names = &names;
    format.record[BNN_STRINGS] = format.record[BNN_DATA] = 0;
    __CPROVER_assume(format.counts <= BNN_COUNTS && format.channels_first <= BNN_HEADER_BYTES - 4);
    __CPROVER_assume(format.text >= 88 && format.text <= BNN_HEADER_BYTES - 8 && format.text % 4 == 0);
    if (file != NULL && bnn_read_container(&h.in, &format, file, size, NULL) == BNN_OK)
        container_holds(&h.in);
    return 0;
#endif
    struct bnn_tensor t;
    struct bnn_op op;
    if (file == NULL || bnn_read_header(file, size, &h, NULL) != BNN_OK)
        return 0;
    header_holds(&h);
#if PROVE_TENSORS
    uint32_t number = nondet_number(); /* any of them */
    __CPROVER_assume(number < h.in.counts[BNN_TENSORS]);
    if (bnn_read_tensor(&h, number, &t, NULL) == BNN_OK)
        tensor_holds(&h, &t);
#endif
#if PROVE_OPS
    /* Any place where a record may begin: the first one's, and, by what is proven here, that after any other. */
    size_t begin = nondet_size();
    uint32_t number = nondet_number();
    h.rows = rows;
    h.row_count = nondet_size(); /* a program has some of them */
    __CPROVER_assume(h.row_count <= sizeof rows / sizeof *rows);
    __CPROVER_assume(begin <= h.in.sections[BNN_OPS].bytes && begin % 8 == 0 && number < h.in.counts[BNN_OPS]);
    const unsigned char *before = h.in.sections[BNN_OPS].start + begin, *after = before;
    if (bnn_read_op(&h, number, &after, &op, NULL) == BNN_OK)
        op_holds(&h, &op, before, after, number);
#endif
    return 0;
}
