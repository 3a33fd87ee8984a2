/* SPDX-License-Identifier: Apache-2.0 */
#include "mcu/moves.h"

#include <string.h>

void bnn_mcu_copy(void *out, const void *in, const struct bnn_mcu_runs *runs)
{
    for (size_t y = 0; y < runs->rows; y++) {
        unsigned char *to = (unsigned char *)out + y * runs->out_row;
        const unsigned char *from = (const unsigned char *)in + y * runs->in_row;
        for (size_t x = 0; x < runs->pixels; x++, to += runs->out_pixel, from += runs->in_pixel)
            memcpy(to, from, runs->count);
    }
}

void bnn_mcu_move_up(void *rows, size_t size, size_t count)
{
    for (unsigned char *to = (unsigned char *)rows; count > 0; count--, to += size)
        memcpy(to, to + size, size);
}

void bnn_mcu_add_bits(uint32_t *out, size_t to, const uint32_t *in, size_t from, size_t count)
{
    while (count > 0) {
        size_t room = 32 - to % 32, n = count < room ? count : room; /* fill the word of out */
        uint32_t bits = in[from / 32] >> from % 32;
        if (from % 32 + n > 32)
            bits |= in[from / 32 + 1] << (32 - from % 32);
        if (n < 32)
            bits &= (UINT32_C(1) << n) - 1;
        out[to / 32] |= bits << to % 32;
        to += n;
        from += n;
        count -= n;
    }
}

void bnn_mcu_copy_bits(uint32_t *out, size_t to, const uint32_t *in, size_t from, const struct bnn_mcu_runs *runs)
{
    for (size_t y = 0; y < runs->rows; y++)
        for (size_t x = 0; x < runs->pixels; x++)
            bnn_mcu_add_bits(out, to + y * runs->out_row + x * runs->out_pixel, in,
                             from + y * runs->in_row + x * runs->in_pixel, runs->count);
}

void bnn_mcu_gather_floats(float *out, const float *in, const uint32_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = in[from[i]];
}

void bnn_mcu_gather_bytes(uint8_t *out, const uint8_t *in, const uint32_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = in[from[i]];
}

void bnn_mcu_gather_bits(uint32_t *out, const uint32_t *in, const uint32_t *from, size_t pixels, size_t channels)
{
    for (size_t i = 0; i < pixels; i++)
        for (size_t first = 0; first < channels; first += 32) {
            size_t left = channels - first < 32 ? channels - first : 32;
            uint32_t word = 0;
            for (size_t k = 0; k < left; k++, from++)
                word |= (in[*from / 32] >> *from % 32 & 1) << k;
            *out++ = word;
        }
}

void bnn_mcu_fill(void *out, const uint32_t *pixel, size_t words, size_t count)
{
    unsigned char *to = (unsigned char *)out;
    for (size_t i = 0; i < count; i++, to += words * sizeof *pixel)
        memcpy(to, pixel, words * sizeof *pixel);
}
