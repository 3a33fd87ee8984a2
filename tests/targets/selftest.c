/* SPDX-License-Identifier: Apache-2.0 */
/* What a target says of itself: its byte order, data and constants, and the cost of what costs a known amount. */
#include "target.h"

#include <math.h>

static uint32_t data[] = {0x01020304, 5}, zeros[2];
static volatile float two = 2.0f;

/* Where instructions are counted: two per turn, and a load and the return. */
static void loop(void *argument)
{
    uintptr_t turns = *(uintptr_t *)argument;
#if defined(__arm__)
    __asm__ volatile(".syntax unified\n1: subs %0, %0, #1\nbne 1b" : "+l"(turns) : : "cc");
#elif defined(__riscv)
    __asm__ volatile("1: addi %0, %0, -1\nbnez %0, 1b" : "+r"(turns));
#else
    while (turns-- > 0)
        two = 2.0f;
#endif
}

/* The bytes that are written of the stack. */
#ifndef WRITTEN
#define WRITTEN 800
#endif

static void deep(void *argument)
{
    volatile unsigned char array[WRITTEN];
    for (int i = 0; i < WRITTEN; i++)
        array[i] = (unsigned char)i;
    *(unsigned char *)argument = array[WRITTEN - 1];
}

int main(void)
{
    static uintptr_t turns[] = {1, 2, 3, 1000, 1001, 3000000};
    static unsigned char last;
    target_bytes("data", data, sizeof data);
    target_bytes("zeros", zeros, sizeof zeros);
    target_number("root", (uint64_t)(sqrtf(two) * 1e6f));
    target_number("large", UINT64_MAX);
    for (size_t i = 0; i < sizeof turns / sizeof *turns; i++)
        target_number("loop", target_measure(loop, &turns[i]).instructions);
    target_number("deep", target_measure(deep, &last).stack);
#if defined(STATUS)
    return STATUS;
#elif defined(CRASH)
    __builtin_trap();
#elif defined(HANG)
    for (;;) {
    }
#endif
    return 0;
}
