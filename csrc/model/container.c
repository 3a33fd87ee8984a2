/* SPDX-License-Identifier: Apache-2.0 */
/* Reading what every kind of file has.  Nothing in a file is trusted: every number is checked before use, and sizes are
 * checked for overflow, so that all code after opening can do plain arithmetic. */
#include "model/container.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "constants are used in place: the processor must be little-endian, as the file is"
#endif

/* In a function of a subject s. */
#define WANT(...) BNN_WANT(s, __VA_ARGS__)

enum { VERSION_AT = 8, CHECKSUM_AT = 12, SIZE_AT = 16, COUNTS_AT = 24, SECTIONS_AT = 40 };

static void clear(bnn_problem *problem)
{
    if (problem != NULL) /* with BNN_NO_MESSAGES, nothing else is written to it */
        memset(problem, 0, sizeof *problem);
}

static bnn_status argument_error(bnn_problem *problem, bnn_status status, const char *name, const char *what,
                                 size_t found, size_t expected)
{
    clear(problem);
    return bnn_report(BNN_ABOUT(name, BNN_NEVER, problem), status, what, (int64_t)found, (int64_t)expected);
}

bnn_status bnn_missing(bnn_problem *problem, bnn_status status, const char *name)
{
    return argument_error(problem, status, name, "given (1: yes)", 0, 1);
}

static bnn_status check_aligned(const void *pointer, const char *name, bnn_problem *problem)
{
    size_t past = (uintptr_t)pointer % BNN_ALIGNMENT;
    return past == 0 ? BNN_OK
                     : argument_error(problem, BNN_ERROR_MEMORY, name, "bytes past an aligned address", past, 0);
}

bnn_status bnn_check_given(const void *file, const void *kernels, bnn_problem *problem)
{
    clear(problem);
    if (file == NULL)
        return bnn_missing(problem, BNN_ERROR_ARGUMENT, "file");
    if (kernels == NULL)
        return bnn_missing(problem, BNN_ERROR_KERNELS, "kernels");
    return check_aligned(file, "file", problem);
}

bnn_status bnn_check_memory(const void *memory, size_t size, size_t needed, bnn_problem *problem)
{
    if (memory == NULL)
        return bnn_missing(problem, BNN_ERROR_ARGUMENT, "memory");
    BNN_TRY(check_aligned(memory, "memory", problem));
    if (size < needed)
        return argument_error(problem, BNN_ERROR_MEMORY, "memory", "bytes (at least)", size, needed);
    return BNN_OK;
}

bnn_status bnn_check_checksum(const struct bnn_container *c, bnn_problem *problem)
{
    const struct bnn_subject *s = BNN_ABOUT("header", BNN_NEVER, problem);
    uint32_t stated = bnn_load32(c->file + CHECKSUM_AT);
    uint32_t computed = bnn_crc32(bnn_crc32(0, c->file, CHECKSUM_AT), c->file + SIZE_AT, c->size - SIZE_AT);
    WANT(stated == computed, BNN_ERROR_CHECKSUM, "checksum", stated, computed);
    return BNN_OK;
}

/* A contradictory file is usually damaged: if so, report the checksum instead.  Errors of the signature, the version
 * and the length remain, because the first bytes alone show them. */
bnn_status bnn_blame(const struct bnn_container *c, bnn_status status, bnn_problem *problem)
{
    if (status == BNN_ERROR_FORMAT || status == BNN_ERROR_LIMIT || status == BNN_ERROR_OPCODE)
        BNN_TRY(bnn_check_checksum(c, problem));
    return status;
}

/* What can be told from the first bytes: the signature, the version and the length. */
static bnn_status check_start(const struct bnn_container *c, const struct bnn_format *format,
                              const struct bnn_subject *s)
{
    for (size_t i = 0; i < sizeof format->signature && i < c->size; i++)
        WANT(c->file[i] == format->signature[i], BNN_ERROR_MAGIC, "first wrong byte of the signature", c->file[i],
             format->signature[i]);
    WANT(c->size >= BNN_HEADER_BYTES, BNN_ERROR_TRUNCATED, "file size", c->size, BNN_HEADER_BYTES);
    uint32_t version = bnn_load32(c->file + VERSION_AT);
    WANT(version == format->version, BNN_ERROR_VERSION, "version", version, format->version);
    uint64_t stated = bnn_load64(c->file + SIZE_AT);
    WANT(stated == c->size, BNN_ERROR_TRUNCATED, "file size", c->size, stated);
    return BNN_OK;
}

/* The sections follow each other, and the last ends with the file. */
static bnn_status read_sections(struct bnn_container *c, const struct bnn_format *format, const struct bnn_subject *s)
{
    const unsigned char *field = c->file + SECTIONS_AT;
    uint64_t end = BNN_HEADER_BYTES; /* of the section before; never above the file's size */
    for (size_t i = 0; i < BNN_SECTIONS; i++) {
        uint64_t offset = bnn_load64(field), bytes;
        field += 8;
        WANT(offset % BNN_ALIGNMENT == 0 && offset >= end && offset <= c->size, BNN_ERROR_FORMAT,
             format->names->offsets[i], offset, bnn_lines(end));
        if (format->record[i] != 0) {
            bytes = (uint64_t)c->counts[i] * format->record[i];
        } else {
            bytes = bnn_load64(field);
            field += 8;
        }
        WANT(bytes <= c->size - offset, BNN_ERROR_FORMAT, format->names->sizes[i], bytes, c->size - offset);
        c->sections[i].start = c->file + offset;
        c->sections[i].bytes = (size_t)bytes;
        end = offset + bytes;
    }
    WANT(end == c->size, BNN_ERROR_FORMAT, "end of the data section", end, c->size);
    return BNN_OK;
}

bnn_status bnn_read_container(struct bnn_container *c, const struct bnn_format *format, const void *file, size_t size,
                              bnn_problem *problem)
{
    const struct bnn_subject *s = BNN_ABOUT("header", BNN_NEVER, problem);
    c->file = file;
    c->size = size;
    BNN_TRY(check_start(c, format, s));
    for (size_t i = 0; i < format->counts; i++) {
        uint32_t n = c->counts[i] = bnn_load32(c->file + COUNTS_AT + 4 * i);
        WANT(n != 0 || i >= format->needed, BNN_ERROR_FORMAT, format->names->counts[i], n, 1);
        WANT(n <= format->most[i], BNN_ERROR_LIMIT, format->names->counts[i], n, format->most[i]);
    }
    BNN_TRY(read_sections(c, format, s));
    uint32_t channels_first = bnn_load32(c->file + format->channels_first), reserved = 0;
    WANT(channels_first <= 1, BNN_ERROR_FORMAT, "whether the source has channels first (1: yes)", channels_first, 1);
    c->channels_first = (int)channels_first;
    BNN_TRY(bnn_read_string(c, c->file + format->text, BNN_TEXT(format->names->text), s, &c->text, &c->text_length));
    for (size_t at = format->text + 8u; at < BNN_HEADER_BYTES; at += 4)
        reserved |= bnn_load32(c->file + at);
    WANT(reserved == 0, BNN_ERROR_FORMAT, "reserved bytes", reserved, 0);
    return BNN_OK;
}
