/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of text; on a target with an operating system, everything. */
#include "target.h"

void target_number(const char *name, uint64_t value)
{
    char digits[21] = {0};
    size_t first = sizeof digits - 1;
    do
        digits[--first] = (char)('0' + value % 10);
    while ((value /= 10) != 0);
    target_print(name);
    target_print(" ");
    target_print(digits + first);
    target_print("\n");
}

void target_bytes(const char *name, const void *bytes, size_t size)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *from = bytes;
    target_print(name);
    target_print(" ");
    while (size > 0) {
        char text[65];
        size_t used = 0;
        for (; size > 0 && used < sizeof text - 1; from++, size--) {
            text[used++] = hex[*from >> 4];
            text[used++] = hex[*from & 15];
        }
        text[used] = 0;
        target_print(text);
    }
    target_print("\n");
}

#ifndef TARGET_BARE
#include <stdio.h>

void target_print(const char *text)
{
    fputs(text, stdout);
}

struct target_cost target_measure(void (*function)(void *argument), void *argument)
{
    function(argument);
    return (struct target_cost){0, 0};
}
#endif
