/* SPDX-License-Identifier: Apache-2.0 */
#include "digits.h"
#include <stdio.h>

static uint64_t arena[DIGITS_ARENA_BYTES / 8];
static const float image[DIGITS_IMAGE_BYTES / sizeof(float)] = {
#include "seven.inc" /* numbers and commas */
};

int main(void)
{
    float probabilities[DIGITS_PROBABILITIES_COUNT];
    if (digits_run(arena, sizeof arena, image, probabilities) != DIGITS_OK)
        return 1;
    int best = 0;
    for (int i = 1; i < DIGITS_PROBABILITIES_COUNT; i++)
        if (probabilities[i] > probabilities[best])
            best = i;
    printf("class %d\n", best);
    return 0;
}
