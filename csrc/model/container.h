/* SPDX-License-Identifier: Apache-2.0 */
/* What .bnn and .snn files have in common: a header, sections, strings and a checksum (docs/reference/container.md); and
 * how a problem with a file is reported.  A kind of file is data, a struct bnn_format. */
#ifndef BNN_CONTAINER_H
#define BNN_CONTAINER_H

#include "model/internal.h"

#include <string.h>

#define BNN_HEADER_BYTES 128u
#define BNN_NEVER UINT32_MAX /* no number */

/* The sections of every file: two tables, strings and data. */
enum { BNN_STRINGS = 2, BNN_DATA, BNN_SECTIONS, BNN_COUNTS = 4 };

/* A kind of file. */
struct bnn_format {
    unsigned char signature[8], version;
    unsigned char counts, needed;       /* how many there are; the first ones must not be zero */
    unsigned char channels_first;       /* where it says whether the source has them */
    unsigned char text;                 /* where its last string is; only zeros follow */
    unsigned char record[BNN_SECTIONS]; /* bytes of one of its records; 0: the header has the section's bytes */
    uint32_t most[BNN_COUNTS];          /* of each count */
    const struct bnn_format_names {
        const char *text, *counts[BNN_COUNTS], *offsets[BNN_SECTIONS], *sizes[BNN_SECTIONS];
    } *names; /* for messages */
};

#ifdef BNN_NO_MESSAGES
#define BNN_NAMES(...) NULL
#else
#define BNN_NAMES(...) (&(const struct bnn_format_names){__VA_ARGS__})
#endif

/* A file whose header has been checked: sections lie in it, one after the other. */
struct bnn_container {
    const unsigned char *file;
    size_t size;
    uint32_t counts[BNN_COUNTS];
    struct {
        const unsigned char *start;
        size_t bytes;
    } sections[BNN_SECTIONS];
    int channels_first;
    const char *text;
    uint32_t text_length;
};

/* Whom an error is about: the header, or a record by its number and, once they are read, its name. */
struct bnn_subject {
    const char *kind;
    uint32_t number; /* or BNN_NEVER */
    const char *name;
    uint32_t name_length;
    bnn_problem *problem;
};

/* Without a name. */
#define BNN_ABOUT(kind, number, problem) (&(struct bnn_subject){kind, number, NULL, 0, problem})

/* crc: 0, or the result for the preceding bytes. */
uint32_t bnn_crc32(uint32_t crc, const void *data, size_t size);

/* Numbers in a file, which need not be aligned. */
static inline uint32_t bnn_load32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t bnn_load64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* For bnn_problem: larger numbers are shown as INT64_MAX. */
static inline int64_t bnn_shown(uint64_t v)
{
    return v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

#ifdef BNN_NO_MESSAGES
#define bnn_report(s, status, what, found, expected) \
    (BNN_UNUSED(s), BNN_UNUSED(what), BNN_UNUSED(found), BNN_UNUSED(expected), (status))
#else
/* Fill its problem (if not NULL): "<kind> <number> (<name>): <what>"; just kind if number is BNN_NEVER.  Returns
 * status. */
bnn_status bnn_report(const struct bnn_subject *s, bnn_status status, const char *what, int64_t found,
                      int64_t expected);
#endif

/* Return an error about the subject, unless the condition holds. */
#define BNN_WANT(subject, condition, status, what, found, expected)                                                  \
    do {                                                                                                             \
        if (!(condition))                                                                                            \
            return bnn_report(subject, status, what, bnn_shown((uint64_t)(found)), bnn_shown((uint64_t)(expected))); \
    } while (0)

/* An argument of an entry point is NULL. */
bnn_status bnn_missing(bnn_problem *problem, bnn_status status, const char *name);
/* What opening is given: clears the problem; neither may be NULL, and the file is aligned. */
bnn_status bnn_check_given(const void *file, const void *kernels, bnn_problem *problem);
/* Checks the caller's memory: there, aligned, and of the size that is needed. */
bnn_status bnn_check_memory(const void *memory, size_t size, size_t needed, bnn_problem *problem);

/* Fills the container from its header, without the checksum. */
bnn_status bnn_read_container(struct bnn_container *c, const struct bnn_format *format, const void *file, size_t size,
                              bnn_problem *problem);
/* Checks the checksum of a file whose start is right. */
bnn_status bnn_check_checksum(const struct bnn_container *c, bnn_problem *problem);
/* The status, or that of the checksum if it is why a file contradicts itself. */
bnn_status bnn_blame(const struct bnn_container *c, bnn_status status, bnn_problem *problem);

/* A field of two words: offset and length in the string section. */
static inline bnn_status bnn_read_string(const struct bnn_container *c, const unsigned char *field, const char *what,
                                         const struct bnn_subject *s, const char **text, uint32_t *length)
{
    uint32_t offset = bnn_load32(field), n = bnn_load32(field + 4);
    uint64_t end = (uint64_t)offset + n;
    BNN_WANT(s, end <= c->sections[BNN_STRINGS].bytes, BNN_ERROR_FORMAT, what, end, c->sections[BNN_STRINGS].bytes);
    *text = (const char *)c->sections[BNN_STRINGS].start + offset;
    *length = n;
    return BNN_OK;
}

#endif
