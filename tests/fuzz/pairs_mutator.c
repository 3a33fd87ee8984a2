/* SPDX-License-Identifier: Apache-2.0 */
/* A mutator of pairs of files (events.c): of their script, most often, so that the files stay a pair. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* Where a file ends whose size stands in its header. */
static size_t end_of(const uint8_t *data, size_t begin, size_t size)
{
    uint64_t stated = 0;
    if (size - begin >= 128)
        memcpy(&stated, data + begin + 16, sizeof stated);
    return stated < 128 || stated > size - begin ? size : begin + (size_t)stated;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    const size_t end = end_of(data, end_of(data, 0, size), size), script = end + 8;
    if (seed % 4 == 0 || script >= size)
        return LLVMFuzzerMutate(data, size, max_size);
    return script + LLVMFuzzerMutate(data + script, size - script, max_size - script);
}
