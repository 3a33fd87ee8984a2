/* SPDX-License-Identifier: Apache-2.0 */
#define _DEFAULT_SOURCE
#include "guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_BUFFERS = 4096 };

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
