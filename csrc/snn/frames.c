/* SPDX-License-Identifier: Apache-2.0 */
/* Marked blocks of neurons. */
#include "snn/snn.h"

void bnn_snn_widen(uint32_t *marks, uint32_t n)
{
    const uint32_t blocks = (uint32_t)bnn_snn_words(n);
    if (8 * bnn_snn_set_bits(marks, blocks) > blocks)
        bnn_snn_mark_all(marks, n, 1);
}

/* The first block from `block` on that is marked, with `unlike` 0, or that is not, with UINT32_MAX. */
static uint32_t find_block(const uint32_t *marks, uint32_t blocks, uint32_t block, uint32_t unlike)
{
    for (; block < blocks; block = (block / 32 + 1) * 32) {
        const uint32_t rest = (marks[block / 32] ^ unlike) >> block % 32;
        if (rest != 0) {
            block += bnn_lowest_bit(rest);
            return block < blocks ? block : blocks;
        }
    }
    return blocks;
}

int bnn_snn_find_span(const uint32_t *marks, uint32_t n, struct bnn_snn_span *span)
{
    const uint32_t blocks = (uint32_t)bnn_snn_words(n);
    span->block = find_block(marks, blocks, span->end_block, 0);
    span->end_block = find_block(marks, blocks, span->block, UINT32_MAX);
    span->first = span->block * BNN_SNN_LANES;
    span->count = (span->end_block < blocks ? span->end_block * BNN_SNN_LANES : n) - span->first;
    return span->block < blocks;
}
