/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for one case at a time: on machines with an operating system blocks of their own, in which a sanitizer sees
 * every access outside; on others one block, with guards between the parts. */
#ifndef MEMORY_H
#define MEMORY_H

#include "target.h"

#include <stdlib.h>

enum { MEMORY_BLOCKS = 512, MEMORY_SIZE = 512 << 10 };
#define MEMORY_GUARD 0x5afec0deu

static void *memory_blocks[MEMORY_BLOCKS];
static size_t memory_count;

#ifdef TARGET_BARE
static uint32_t memory[MEMORY_SIZE / sizeof(uint32_t)];
static size_t memory_used;

static void *memory_take(size_t size)
{
    size_t words = (size + 3) / 4;
    if (memory_count == MEMORY_BLOCKS || memory_used + words + 1 > sizeof memory / sizeof *memory) {
        target_print("too little memory\n");
        __builtin_trap();
    }
    uint32_t *start = memory + memory_used;
    memory_used += words + 1;
    memory_blocks[memory_count++] = start + words;
    start[words] = MEMORY_GUARD;
    return start;
}

/* Ends the case; 0: a guard was overwritten. */
static int memory_give_back(void)
{
    int whole = 1;
    while (memory_count > 0)
        whole &= *(uint32_t *)memory_blocks[--memory_count] == MEMORY_GUARD;
    memory_used = 0;
    if (!whole)
        target_print("wrote beyond the end\n");
    return whole;
}
#else
static void *memory_take(size_t size)
{
    void *start = malloc(size > 0 ? size : 1);
    if (start == NULL || memory_count == MEMORY_BLOCKS)
        abort();
    return memory_blocks[memory_count++] = start;
}

static int memory_give_back(void)
{
    while (memory_count > 0)
        free(memory_blocks[--memory_count]);
    return 1;
}
#endif

#endif
