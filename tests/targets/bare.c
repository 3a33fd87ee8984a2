/* SPDX-License-Identifier: Apache-2.0 */
/* A machine without an operating system in QEMU, Cortex-M or RISC-V, which examples/board/start.c starts: output and exit
 * by semihosting, what target.h measures. QEMU's clock advances by a fixed time per instruction: option -icount. */
#include "target.h"

enum { WRITE0 = 0x04, EXIT_EXTENDED = 0x20, APPLICATION_EXIT = 0x20026 }; /* of Arm's semihosting */
enum { PAINT = 0x5AC0FFEE, FAULT = 125 };

extern uint32_t stack_bottom[]; /* of the linker script */
_Noreturn void _exit(int status);
void fault(uintptr_t where);
void probe(void *stack_pointer); /* writes it there, in PROBE instructions */

#ifdef __riscv
enum { PROBE = 2 };

__asm__(".text\n"
        ".globl probe\n"
#if __riscv_xlen == 64
        "probe: sd sp, 0(a0)\n"
#else
        "probe: sw sp, 0(a0)\n"
#endif
        "ret\n");

static void semihost(uintptr_t operation, const void *block)
{
    register uintptr_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = block;
    __asm__ volatile(".option push\n.option norvc\n.balign 16\nslli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
}

/* With -icount shift=0, instructions. */
struct instant {
    uintptr_t high, low;
};

static struct instant now(void)
{
    struct instant t = {0, 0};
#if __riscv_xlen == 64
    __asm__ volatile("csrr %0, minstret" : "=r"(t.low));
#else
    uintptr_t again;
    do
        __asm__ volatile("csrr %0, minstreth\ncsrr %1, minstret\ncsrr %2, minstreth"
                         : "=r"(t.high), "=r"(t.low), "=r"(again));
    while (t.high != again);
#endif
    return t;
}

static uint64_t instructions(struct instant from, struct instant to)
{
    return ((uint64_t)to.high << 32 | to.low) - ((uint64_t)from.high << 32 | from.low);
}

#else /* Cortex-M */
enum { PROBE = 3 };

__asm__(".syntax unified\n.thumb\n"
        ".text\n"
        ".thumb_func\n"
        ".globl probe\n"
        "probe: mov r1, sp\n"
        "str r1, [r0]\n"
        "bx lr\n");

static void semihost(uintptr_t operation, const void *block)
{
    register uintptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = block;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

/* SysTick would wrap every 24 bits, and the interrupt's instructions and stack would count. The boards count seconds,
 * too, two words below the ticks. */
struct instant {
    uint32_t seconds, ticks;
};

static struct instant now(void)
{
#ifdef TARGET_COUNTER
    const volatile uint32_t *ticks = (const volatile uint32_t *)TARGET_COUNTER;
    uint32_t seconds = ticks[-2];
    return (struct instant){seconds, *ticks};
#else
    return (struct instant){0, 0};
#endif
}

/* With -icount shift=8, 256 ns are an instruction: several ticks, so that rounding finds the number. */
static uint64_t instructions(struct instant from, struct instant to)
{
#ifdef TARGET_COUNTER
    /* Of all numbers that end in the difference of the ticks, the one that the seconds say. */
    uint64_t least = (uint64_t)(to.seconds - from.seconds) * TARGET_HERTZ - 2 * (uint64_t)TARGET_HERTZ;
    uint64_t ticks = least + (uint32_t)(to.ticks - from.ticks - (uint32_t)least);
    return (ticks * (1000000000 / TARGET_HERTZ) + 128) >> 8;
#else
    (void)from, (void)to;
    return 0;
#endif
}

#endif

void target_print(const char *text)
{
    semihost(WRITE0, text);
}

/* The C library calls it after `main`. */
_Noreturn void _exit(int status)
{
    const uintptr_t block[] = {APPLICATION_EXIT, (uintptr_t)status};
    semihost(EXIT_EXTENDED, block);
    for (;;) {
    }
}

void fault(uintptr_t where)
{
    target_number("fault", where);
    _exit(FAULT);
}

static void (*volatile called)(void *argument);
static struct instant before, after;

/* The same instructions around every function: the compiler knows none of them. */
__attribute__((noinline)) static void timed(void *argument)
{
    before = now();
    called(argument);
    after = now();
}

struct target_cost target_measure(void (*function)(void *argument), void *argument)
{
    uint32_t *top, *lowest = stack_bottom;
    called = probe;
    timed(&top);
    uint64_t around = instructions(before, after);
    for (volatile uint32_t *p = stack_bottom; p < top; p++)
        *p = PAINT;
    called = function;
    timed(argument);
    while (*(volatile uint32_t *)lowest == PAINT) /* at once: other calls would use that stack */
        lowest++;
    if (lowest == stack_bottom) {
        target_print("stack overflow\n");
        _exit(FAULT);
    }
    uint64_t cost = around == 0 ? 0 : instructions(before, after) - around + PROBE;
    return (struct target_cost){cost, (size_t)((char *)top - (char *)lowest)};
}
