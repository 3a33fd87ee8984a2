/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32 (IEEE 802.3, reflected): eight bytes per step in each of three streams, from 8 KiB of tables; or, with
 * BNN_SMALL, half a byte per step, from 64 bytes. */
#include "model/validate.h"

#ifdef BNN_SMALL

uint32_t bnn_crc32(uint32_t crc, const void *data, size_t size)
{
    /* Entry n is the CRC of the four bits n. */
    static const uint32_t nibbles[16] = {
        0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u, 0x4DB26158u, 0x5005713Cu,
        0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu, 0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu,
    };
    const unsigned char *p = data;
    crc = ~crc;
    for (; size > 0; size--) {
        crc ^= *p++;
        crc = crc >> 4 ^ nibbles[crc & 15];
        crc = crc >> 4 ^ nibbles[crc & 15];
    }
    return ~crc;
}

#else

#include <string.h>

/* Entry n of slice k is the CRC of byte n followed by k zero bytes.  A CRC is linear over XOR, so each slice follows
 * from its eight one-bit entries.  Only these are written here; the compiler makes the table. */
#define ENTRY(n, a, b, c, d, e, f, g, h)                                                                            \
    (((n) & 1 ? (a) : 0) ^ ((n) & 2 ? (b) : 0) ^ ((n) & 4 ? (c) : 0) ^ ((n) & 8 ? (d) : 0) ^ ((n) & 16 ? (e) : 0) ^ \
     ((n) & 32 ? (f) : 0) ^ ((n) & 64 ? (g) : 0) ^ ((n) & 128 ? (h) : 0))
#define FOUR(n, ...) \
    ENTRY((n), __VA_ARGS__), ENTRY((n) + 1, __VA_ARGS__), ENTRY((n) + 2, __VA_ARGS__), ENTRY((n) + 3, __VA_ARGS__)
#define SIXTEEN(n, ...) \
    FOUR((n), __VA_ARGS__), FOUR((n) + 4, __VA_ARGS__), FOUR((n) + 8, __VA_ARGS__), FOUR((n) + 12, __VA_ARGS__)
#define SIXTY_FOUR(n, ...)                                                                     \
    SIXTEEN((n), __VA_ARGS__), SIXTEEN((n) + 16, __VA_ARGS__), SIXTEEN((n) + 32, __VA_ARGS__), \
        SIXTEEN((n) + 48, __VA_ARGS__)
#define SLICE(...)                                                                          \
    {SIXTY_FOUR(0, __VA_ARGS__), SIXTY_FOUR(64, __VA_ARGS__), SIXTY_FOUR(128, __VA_ARGS__), \
     SIXTY_FOUR(192, __VA_ARGS__)}

static const uint32_t slices[8][256] = {
    SLICE(0x77073096u, 0xEE0E612Cu, 0x076DC419u, 0x0EDB8832u, 0x1DB71064u, 0x3B6E20C8u, 0x76DC4190u, 0xEDB88320u),
    SLICE(0x191B3141u, 0x32366282u, 0x646CC504u, 0xC8D98A08u, 0x4AC21251u, 0x958424A2u, 0xF0794F05u, 0x3B83984Bu),
    SLICE(0x01C26A37u, 0x0384D46Eu, 0x0709A8DCu, 0x0E1351B8u, 0x1C26A370u, 0x384D46E0u, 0x709A8DC0u, 0xE1351B80u),
    SLICE(0xB8BC6765u, 0xAA09C88Bu, 0x8F629757u, 0xC5B428EFu, 0x5019579Fu, 0xA032AF3Eu, 0x9B14583Du, 0xED59B63Bu),
    SLICE(0x3D6029B0u, 0x7AC05360u, 0xF580A6C0u, 0x30704BC1u, 0x60E09782u, 0xC1C12F04u, 0x58F35849u, 0xB1E6B092u),
    SLICE(0xCB5CD3A5u, 0x4DC8A10Bu, 0x9B914216u, 0xEC53826Du, 0x03D6029Bu, 0x07AC0536u, 0x0F580A6Cu, 0x1EB014D8u),
    SLICE(0xA6770BB4u, 0x979F1129u, 0xF44F2413u, 0x33EF4E67u, 0x67DE9CCEu, 0xCFBD399Cu, 0x440B7579u, 0x8816EAF2u),
    SLICE(0xCCAA009Eu, 0x4225077Du, 0x844A0EFAu, 0xD3E51BB5u, 0x7CBB312Bu, 0xF9766256u, 0x299DC2EDu, 0x533B85DAu),
};

/* The CRC after eight more bytes. */
static inline uint32_t step(uint32_t crc, const unsigned char *p)
{
    uint32_t low, high;
    memcpy(&low, p, 4);
    memcpy(&high, p + 4, 4);
    /* The half that does not depend on the last step's result comes first. */
    uint32_t later =
        slices[3][high & 255] ^ slices[2][high >> 8 & 255] ^ slices[1][high >> 16 & 255] ^ slices[0][high >> 24];
    low ^= crc;
    return (slices[7][low & 255] ^ slices[6][low >> 8 & 255]) ^
           (slices[5][low >> 16 & 255] ^ (slices[4][low >> 24] ^ later));
}

enum { STREAM = 4096 }; /* bytes */

/* The CRC after STREAM zero bytes more: its product with x^(8 * STREAM), modulo the polynomial. */
static uint32_t skip_stream(uint32_t crc)
{
    uint32_t power = 0x09FE548Fu, product = 0;
    for (int bit = 0; bit < 32; bit++) {
        product ^= power & (0u - (crc >> 31));
        crc <<= 1;
        power = power >> 1 ^ (0xEDB88320u & (0u - (power & 1)));
    }
    return product;
}

uint32_t bnn_crc32(uint32_t crc, const void *data, size_t size)
{
    const unsigned char *p = data;
    crc = ~crc;
    /* Each step waits for the previous one, and nothing else takes time: three streams wait at the same time. */
    for (; size >= 3 * STREAM; size -= 3 * STREAM, p += 3 * STREAM) {
        uint32_t first = crc, second = 0, third = 0;
        for (size_t i = 0; i < STREAM; i += 8) {
            first = step(first, p + i);
            second = step(second, p + STREAM + i);
            third = step(third, p + 2 * STREAM + i);
        }
        crc = skip_stream(skip_stream(first) ^ second) ^ third;
    }
    for (; size >= 8; size -= 8, p += 8)
        crc = step(crc, p);
    for (; size > 0; size--)
        crc = slices[0][(crc ^ *p++) & 255] ^ crc >> 8;
    return ~crc;
}

#endif
