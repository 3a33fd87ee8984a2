/* SPDX-License-Identifier: Apache-2.0 */
/* The start of a program on a machine without an operating system, Cortex-M or RISC-V: floats are turned on, data copied
 * from flash, and main called; its result is the exit status. What is printed, and the exit, are the C library's affair:
 * newlib's librdimon (--specs=rdimon.specs) passes them by semihosting to QEMU or to a debugger. With board.ld;
 * docs/howto/embedded.md has the commands. */
#include <stdint.h>
#include <stdlib.h>

enum { FAULT = 125 }; /* exit status */

/* Of the linker script. */
extern uint32_t data_begin[], data_end[], data_image[], bss_begin[], bss_end[];
int main(void);
void start(void);
void fault(uintptr_t where);
__attribute__((weak)) void initialise_monitor_handles(void); /* librdimon's, in programs that print */

#ifdef __riscv
__asm__(".section .start, \"ax\"\n"
        "la sp, stack_top\n"
        "la t0, trap\n"
        "csrw mtvec, t0\n"
        "j start\n"
        ".balign 4\n"
        "trap: csrr a0, mepc\n"
        "j fault\n"
        ".text\n");
#else /* Cortex-M */
__asm__(".syntax unified\n.thumb\n"
        ".section .start, \"a\"\n"
        ".word stack_top, start\n"
        ".rept 14\n.word trap\n.endr\n"
        ".text\n"
        ".thumb_func\n"
        "trap: ldr r0, [sp, #24]\n"
        "bl fault\n");
#endif

/* After a fault of the instruction there. A program may have a function of this name instead. */
__attribute__((weak)) void fault(uintptr_t where)
{
    (void)where;
    _Exit(FAULT);
}

void start(void)
{
#ifdef __riscv_flen
    __asm__ volatile("csrs mstatus, %0" : : "r"(1u << 13));
#endif
#ifdef __ARM_FP
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: floats and vectors */
    __asm__ volatile("dsb\nisb");
#endif
    const uint32_t *from = data_image;
    for (uint32_t *to = data_begin; to < data_end;)
        *to++ = *from++;
    for (uint32_t *to = bss_begin; to < bss_end;)
        *to++ = 0;
    if (initialise_monitor_handles != NULL)
        initialise_monitor_handles();
    exit(main());
}
