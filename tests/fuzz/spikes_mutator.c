/* SPDX-License-Identifier: Apache-2.0 */
/* A mutator that knows where the numbers of a .snn file are; other bytes are libFuzzer's. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

enum { HEADER = 128, RECORD = 128 };

static uint32_t load(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const uint32_t odd[] = {0, 1, 2, 3, 4, 31, 32, 33, 255, 4096, 65536, 0x7FFFFFFF, 0xFFFFFFFFu, 1u << 24};
    uint64_t state = seed * UINT64_C(2862933555777941757) + 3037000493;
    uint64_t records = size < HEADER ? 0 : (uint64_t)load(data + 24) + load(data + 28);
    uint64_t bytes = records > 4096 ? 0 : records * RECORD;
    if (seed % 4 == 0 || bytes == 0 || HEADER + bytes > size)
        return LLVMFuzzerMutate(data, size, max_size);
    for (unsigned edits = 1 + (unsigned)(state >> 60) % 3; edits > 0; edits--) {
        state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
        uint8_t *record = data + HEADER + (state >> 20) % records * RECORD;
        unsigned place = (unsigned)(state >> 40) % 124, kind = (unsigned)(state >> 50) % 8;
        if (place < 5) { /* bytes: rule, reset, what it sends, flags, rank */
            record[place] = (uint8_t)((state >> 8) % 22);
            continue;
        }
        uint32_t value = load(record + place / 4 * 4);
        value = kind == 0   ? odd[(state >> 8) % (sizeof odd / sizeof *odd)]
                : kind == 1 ? value ^ UINT32_C(1) << (state >> 8) % 32
                : kind < 5  ? value + (uint32_t)((state >> 8) % 5) - 2
                            : (uint32_t)((state >> 8) % 9);
        memcpy(record + place / 4 * 4, &value, sizeof value);
    }
    return size;
}
