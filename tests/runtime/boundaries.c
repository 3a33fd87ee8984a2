/* SPDX-License-Identifier: Apache-2.0 */
/* Files with one thing wrong: cut anywhere, any bit flipped; or, the checksum repaired, any field at its boundaries. */
#include "driver.h"

/* Damage is never taken for a model if the checksum is not repaired.  Copies are cut at each byte, or have one bit flipped,
 * from the `first` on each `every`-th.  Reports how many were tried. */
int damage(const char *path, size_t first, size_t every)
{
    size_t size, tried = 0;
    unsigned char *file = read_file(path, &size);
    CHECK(file != NULL, "cannot read %s", path);
    struct opened o = open_model(file, size, bnn_kernels_select(NULL));
    bnn_model *model;
    for (size_t length = 0; length < size; length++, tried++) {
        unsigned char *copy = copy_of(file, length);
        bnn_status status = bnn_model_open(copy, length, bnn_kernels_select(NULL), o.memory, o.bytes, &model, NULL);
        CHECK(status == BNN_ERROR_TRUNCATED, "%s cut to %zu bytes: %s", path, length, bnn_status_text(status));
        free(copy);
    }
    unsigned char *copy = copy_of(file, size);
    for (size_t bit = first; bit < size * 8; bit += every, tried++) {
        copy[bit / 8] = (unsigned char)(file[bit / 8] ^ 1u << bit % 8);
        bnn_status status = bnn_model_open(copy, size, bnn_kernels_select(NULL), o.memory, o.bytes, &model, NULL);
        bnn_status expected = bit / 8 < 8                     ? BNN_ERROR_MAGIC
                              : bit / 8 < 12                  ? BNN_ERROR_VERSION
                              : bit / 8 >= 16 && bit / 8 < 24 ? BNN_ERROR_TRUNCATED
                                                              : BNN_ERROR_CHECKSUM;
        CHECK(status == expected && model == NULL, "%s, bit %zu: %s, expected %s", path, bit, bnn_status_text(status),
              bnn_status_text(expected));
        copy[bit / 8] = file[bit / 8];
    }
    printf("%zu damaged copies, all refused\n", tried);
    free(copy);
    free(o.memory);
    free(file);
    return 0;
}

struct boundaries {
    const unsigned char *file;
    unsigned char *copy;
    size_t size, tried, opened;
    uint64_t state;
};

/* A field of so many bytes: the ends of its range, signed and not, and the numbers beside its own. */
static void try_field(struct boundaries *b, size_t at, size_t bytes)
{
    uint64_t own = 0, most = bytes == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * bytes) - 1;
    memcpy(&own, b->file + at, bytes); /* little-endian, as the processor is */
    const uint64_t values[] = {
        0,
        1,
        most,
        most - 1,
        most / 2,
        most / 2 + 1,
        own - 1,
        own + 1,
        own - 64,
        own + 64,
        own / 2,
        own * 2,
        64,
        most - 63,
        UINT64_C(0x7FC00000),
        UINT64_C(0xFF800000),
        UINT64_C(0x3F800000), /* not-a-number, -infinity, 1 */
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        uint64_t value = values[i] & most;
        memcpy(b->copy + at, &value, bytes);
        fix_checksum(b->copy, b->size);
        b->opened += try_model(b->copy, b->size, 1, &b->state) == BNN_OK;
        b->tried++;
    }
    memcpy(b->copy + at, b->file + at, bytes);
}

static void try_header(struct boundaries *b)
{
    static const size_t words[] = {8, 24, 28, 32, 36};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        try_field(b, words[i], 4);
    try_field(b, 16, 8);
    for (size_t at = 40; at < BNN_HEADER_BYTES; at += 8)
        try_field(b, at, 8);
}

static void try_tensor(struct boundaries *b, size_t record)
{
    for (size_t at = 0; at < 4; at++)
        try_field(b, record + at, 1);
    for (size_t at = 20; at < 28; at += 2)
        try_field(b, record + at, 2);
    for (size_t at = 4; at < BNN_TENSOR_BYTES; at += at == 16 ? 12 : at == 28 ? 20 : 4)
        try_field(b, record + at, 4); /* 4 to 16, 28, 48 to 60 */
    try_field(b, record + 32, 8);
    try_field(b, record + 40, 8);
}

int boundaries(const char *path, uint64_t seed, int ops_alone)
{
    struct boundaries b = {.state = seed * 2 + 1};
    unsigned char *file = read_file(path, &b.size);
    CHECK(file != NULL, "cannot read %s", path);
    b.file = file;
    b.copy = copy_of(file, b.size);
    CHECK(try_model(file, b.size, 1, &b.state) == BNN_OK, "%s itself does not open", path);
    uint32_t tensors = ops_alone ? 0 : bnn_load32(file + 24), ops = bnn_load32(file + 28);
    if (!ops_alone)
        try_header(&b);
    for (uint32_t i = 0; i < tensors; i++)
        try_tensor(&b, (size_t)bnn_load64(file + 40) + i * (size_t)BNN_TENSOR_BYTES);
    for (size_t k = 0, record = (size_t)bnn_load64(file + 48); k < ops; k++) {
        size_t bytes = bnn_load32(file + record + 4);
        for (size_t at = 0; at < bytes; at += 4)
            try_field(&b, record + at, 4);
        record += bytes;
    }
    printf("%zu changed fields, %zu models among them\n", b.tried, b.opened);
    free(b.copy);
    free(file);
    return 0;
}
