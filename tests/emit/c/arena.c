/* SPDX-License-Identifier: Apache-2.0 */
/* The network's contract about memory: arenas of every size and alignment, canaries around them, garbage in them, inputs in
 * place.  Exits with the number of what is broken. */
#include "net.h"
#include "net_vectors.h"

#include <stdlib.h>
#include <string.h>

#ifndef FIRST
#define FIRST 0u /* the least size that is tried */
#endif

enum { CANARIES = 64, OUTPUT = sizeof(EXPECTED) / NET_VECTORS };

static unsigned char output[OUTPUT];

static int all(const unsigned char *bytes, size_t count, unsigned char value)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != value)
            return 0;
    return 1;
}

static int run(void *arena, size_t size, const void *image)
{
    return net_run(arena, size, (INPUT_TYPE *)(uintptr_t)image, (OUTPUT_TYPE *)(void *)output);
}

int main(void)
{
    for (size_t size = FIRST; size < NET_ARENA_BYTES; size++) {
        unsigned char *arena = malloc(size + !size); /* a checker sees the byte behind it */
        memset(arena, 0x5a, size);
        memset(output, 0x5a, sizeof output);
        if (run(arena, size, INPUT) != NET_ERROR_ARENA || !all(arena, size, 0x5a) || !all(output, sizeof output, 0x5a))
            return 1;
        free(arena);
    }
    if (run(NULL, NET_ARENA_BYTES, INPUT) != NET_ERROR_ARENA)
        return 2;
    unsigned char *memory = malloc(NET_ARENA_BYTES + 2 * CANARIES);
    for (size_t shift = 1; shift < 8; shift++) {
        memset(memory, 0x5a, NET_ARENA_BYTES + 2 * CANARIES);
        if (run(memory + shift, NET_ARENA_BYTES, INPUT) != NET_ERROR_ARENA ||
            !all(memory, NET_ARENA_BYTES + 2 * CANARIES, 0x5a))
            return 3;
    }
    for (size_t i = 0; i < NET_VECTORS; i++)
        for (unsigned garbage = 0; garbage < 256; garbage += 51) {
            memset(memory, 0x5a, CANARIES);
            memset(memory + CANARIES, (int)garbage, NET_ARENA_BYTES);
            memset(memory + CANARIES + NET_ARENA_BYTES, 0x5a, CANARIES);
            const unsigned char *image = (const unsigned char *)INPUT + i * INPUT_BYTES;
            if (garbage % 2) { /* in place */
                memcpy(net_input(memory + CANARIES), image, INPUT_BYTES);
                image = net_input(memory + CANARIES);
            }
            if (run(memory + CANARIES, NET_ARENA_BYTES, image) != NET_OK)
                return 4;
            if (memcmp(output, (const unsigned char *)EXPECTED + i * OUTPUT, OUTPUT) != 0)
                return 5;
            if (!all(memory, CANARIES, 0x5a) || !all(memory + CANARIES + NET_ARENA_BYTES, CANARIES, 0x5a))
                return 6;
        }
    free(memory);
    unsigned char *exact = malloc(NET_ARENA_BYTES);
    int status = run(exact, NET_ARENA_BYTES, INPUT);
    free(exact);
    return status != NET_OK ? 7 : 0;
}
