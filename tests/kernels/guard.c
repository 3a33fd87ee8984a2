/* SPDX-License-Identifier: Apache-2.0 */
#define _DEFAULT_SOURCE
#include "guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_BUFFERS = 4096 };

#ifdef __wasm__
/* WebAssembly has no pages that cannot be touched: a margin of junk on either side shows what was written there. */
enum { MARGIN = 1024, JUNK = 0xa5 };

static struct {
    unsigned char *start;
    size_t bytes;
} buffers[MAX_BUFFERS];
static size_t buffer_count;

void *guard_alloc(size_t bytes, int at_start)
{
    (void)at_start;
    unsigned char *start = buffer_count < MAX_BUFFERS ? malloc(bytes + 2 * MARGIN) : NULL;
    if (start == NULL) {
        fprintf(stderr, "cannot allocate %zu bytes\n", bytes);
        exit(2);
    }
    memset(start, JUNK, bytes + 2 * MARGIN);
    buffers[buffer_count].start = start;
    buffers[buffer_count++].bytes = bytes;
    return start + MARGIN;
}

void guard_free_all(void)
{
    while (buffer_count > 0) {
        unsigned char *start = buffers[--buffer_count].start, *end = start + MARGIN + buffers[buffer_count].bytes;
        for (size_t i = 0; i < MARGIN; i++)
            if (start[i] != JUNK || end[i] != JUNK) {
                printf("written outside a buffer of %zu bytes\n", buffers[buffer_count].bytes);
                exit(1);
            }
        free(start);
    }
}
#else
#include <sys/mman.h>
#include <unistd.h>

static struct {
    void *start;
    size_t size;
} buffers[MAX_BUFFERS];
static size_t buffer_count;

void *guard_alloc(size_t bytes, int at_start)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inside = (bytes + page - 1) / page * page, size = inside + 2 * page;
    unsigned char *start = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED || buffer_count == MAX_BUFFERS ||
        (inside > 0 && mprotect(start + page, inside, PROT_READ | PROT_WRITE) != 0)) {
        fprintf(stderr, "cannot map %zu bytes\n", size);
        exit(2);
    }
    memset(start + page, 0xa5, inside);
    buffers[buffer_count].start = start;
    buffers[buffer_count++].size = size;
    return at_start ? start + page : start + page + inside - bytes;
}

void guard_free_all(void)
{
    while (buffer_count > 0) {
        buffer_count--;
        munmap(buffers[buffer_count].start, buffers[buffer_count].size);
    }
}
#endif
