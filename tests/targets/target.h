/* SPDX-License-Identifier: Apache-2.0 */
/* What a program that tests run on a target may call; __init__.py says what targets there are.
 *
 * A program has `int main(void)`, whose result, 0 to 127, is its exit status. It prints lines of a name and a value. */
#ifndef TARGET_H
#define TARGET_H

#include <stddef.h>
#include <stdint.h>

void target_print(const char *text);
/* "name 123\n" */
void target_number(const char *name, uint64_t value);
/* "name 00ff7f\n": the bytes in the order of their addresses */
void target_bytes(const char *name, const void *bytes, size_t size);

/* instructions: those of function(argument), from its first to its return, exactly. They are not cycles.
 * stack: bytes from the lowest one that function(argument) changes up to the stack pointer at its call; an array's lower
 * end that it never writes does not count. Using up all of the stack, or 64 KB, ends the program.
 * Each is 0 where it is not measured: see Target.counts and Target.bare. */
struct target_cost {
    uint64_t instructions;
    size_t stack;
};
struct target_cost target_measure(void (*function)(void *argument), void *argument);

#endif
