# SPDX-License-Identifier: Apache-2.0
"""The only definition of the bit convention.

A set bit is +1, and a spike; a clear bit is -1.  Channels are packed little-endian into 32-bit words: channel c is bit
c % 32 of word c // 32.  Tail bits are zero in both operands of a product, so XOR ignores them:
dot(a, w) = K - 2 popcount(a ^ w).
"""

from __future__ import annotations

import numpy as np

from .._types import Array

WORD = 32


def words(channels: int) -> int:
    """The number of words for ``channels`` channels."""
    return -(-channels // WORD)


def pack(x: Array) -> Array:
    """Pack the last axis of +1/-1 values: (..., C) of any real type -> (..., ceil(C / 32)) little-endian uint32."""
    x = np.asarray(x)
    bits = np.zeros(x.shape[:-1] + (words(x.shape[-1]) * WORD,), np.uint8)
    bits[..., : x.shape[-1]] = x > 0
    return np.ascontiguousarray(np.packbits(bits, axis=-1, bitorder="little")).view("<u4")


def unpack(packed: Array, channels: int) -> Array:
    """The inverse: (..., words) uint32 -> (..., channels) int8 of +1 and -1."""
    octets = np.ascontiguousarray(packed, dtype="<u4").view(np.uint8)
    bits = np.unpackbits(octets, axis=-1, bitorder="little")[..., :channels]
    return (bits.astype(np.int8) * 2 - 1).astype(np.int8)
