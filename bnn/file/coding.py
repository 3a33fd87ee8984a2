# SPDX-License-Identifier: Apache-2.0
"""How a .bnn file is stored: its fixed parts, and float filters, losslessly and in fewer than four bytes per number
where possible.

Writers and readers of files both use this module; docs/reference/model-format.md is the specification.
"""

from __future__ import annotations

import enum
import struct

import numpy as np

from .._types import Array
from .container import Format

TENSOR = struct.Struct("<4B4I4HIQQ4I")
OP = struct.Struct("<IIII4I")  # before the operands' numbers and the attributes
# The counts of tensors, ops, inputs and outputs; the arena's bytes, whether channels come first, and the use.
FORMAT = Format(
    ".bnn", b"\x89BNN\r\n\x1a\n", 2, "IIII", (("tensor table", TENSOR.size), ("op section", 0)), "QIII12x"
)  # fmt: skip

CODES = 15  # exponents that a nibble can encode besides 0
LARGEST_BASE = 255 - CODES
_SAMPLE = 4096  # elements whose values are counted before those of all


class Encoding(enum.IntEnum):
    """How a constant is stored, by its number in the file."""

    PLAIN = 0  # its elements, row-major
    ONE_ROW = 1  # one filter for all, which are equal
    COMPACT = 2  # sign and mantissa in three bytes, the exponent in half a byte
    TABLE_1 = 3  # a table of two values, and for each element a bit that says which
    TABLE_2 = 4  # of four values
    TABLE_4 = 5  # of 16
    TABLE_8 = 6  # of 256

    @property
    def code_bits(self) -> int:
        """Bits of an element's code, of tables."""
        return 1 << (self - Encoding.TABLE_1)


def encodings(value: Array) -> dict[Encoding, bytes]:
    """The encodings that can hold float32 filters (O, ...), with the bytes of each."""
    value = np.ascontiguousarray(value, "<f4")
    bits = value.view("<u4").reshape(len(value), -1)
    found = {Encoding.PLAIN: value.tobytes(), Encoding.COMPACT: _compact(bits.reshape(-1))}
    if (bits == bits[0]).all():
        found[Encoding.ONE_ROW] = bits[0].tobytes()
    if len(np.unique(bits.reshape(-1)[:_SAMPLE])) <= 256:
        table, codes = np.unique(bits, return_inverse=True)
        fits = [e for e in Encoding if e >= Encoding.TABLE_1 and len(table) <= 1 << e.code_bits]
        if fits:
            spread = codes.reshape(-1, 1) >> np.arange(fits[0].code_bits) & 1
            packed = np.packbits(spread.astype(np.uint8), bitorder="little")
            found[fits[0]] = table.astype("<u4").tobytes().ljust(4 << fits[0].code_bits, b"\0") + packed.tobytes()
    return found


def _compact(bits: Array) -> bytes:
    exponents = bits >> 23 & 0xFF
    counts = np.bincount(exponents, minlength=256)
    sums = np.concatenate([[0], np.cumsum(counts)])
    base = int(np.argmax(sums[1 + CODES :] - sums[1 : 1 + LARGEST_BASE + 1]))  # covers base + 1 to base + CODES
    codes = np.where(exponents == 0, 0, exponents.astype(np.int64) - base)
    exceptions = np.flatnonzero((codes < 0) | (codes > CODES) | (codes == 0) & (exponents != 0))
    codes[exceptions] = 0
    halves = np.append(codes, 0)[: len(codes) + len(codes) % 2].astype(np.uint8).reshape(2, -1)
    return b"".join(
        (
            struct.pack("<II", base, len(exceptions)),
            np.stack([exceptions, bits[exceptions]], axis=1).astype("<u4").tobytes(),
            bits.astype("<u2").tobytes(),
            (bits >> 16 & 0x7F | bits >> 24 & 0x80).astype(np.uint8).tobytes(),
            (halves[0] | halves[1] << 4).astype(np.uint8).tobytes(),
        )
    )


def decode(encoding: Encoding, raw: bytes, shape: tuple[int, ...]) -> Array:
    """The float32 filters whose bytes begin ``raw``.

    Raises:
        ValueError: ``raw`` is shorter than they are, or contradicts itself.
    """
    count = int(np.prod(shape, dtype=object))
    if encoding is Encoding.COMPACT:
        return _from_compact(raw, count).view("<f4").reshape(shape)
    if encoding >= Encoding.TABLE_1:
        return _from_table(raw, count, encoding.code_bits).view("<f4").reshape(shape)
    stored = count // shape[0] if encoding is Encoding.ONE_ROW else count
    if len(raw) < 4 * stored:
        raise ValueError(f"found {len(raw)} bytes, expected {4 * stored}")
    values = np.frombuffer(raw, "<f4", stored)
    return values.reshape(shape) if encoding is Encoding.PLAIN else np.tile(values, shape[0]).reshape(shape)


def _from_table(raw: bytes, count: int, code_bits: int) -> Array:
    size = (4 << code_bits) + (count * code_bits + 7) // 8
    if len(raw) < size:
        raise ValueError(f"found {len(raw)} bytes, expected {size}")
    table = np.frombuffer(raw, "<u4", 1 << code_bits)
    spread = np.unpackbits(np.frombuffer(raw, np.uint8, size - table.nbytes, table.nbytes), bitorder="little")
    if spread[count * code_bits :].any():
        raise ValueError(f"found codes past its {count} elements")
    codes = spread[: count * code_bits].reshape(count, code_bits) @ (1 << np.arange(code_bits))
    return np.asarray(table[codes], "<u4")


def _from_compact(raw: bytes, count: int) -> Array:
    base, exceptions = struct.unpack_from("<II", raw) if len(raw) >= 8 else (0, 0)
    size = 8 + 8 * exceptions + 3 * count + (count + 1) // 2
    if len(raw) < size:
        raise ValueError(f"found {len(raw)} bytes, expected {size}")
    table = np.frombuffer(raw, "<u4", 2 * exceptions, 8).reshape(-1, 2)
    at = 8 + 8 * exceptions
    low = np.frombuffer(raw, "<u2", count, at).astype(np.uint32)
    high = np.frombuffer(raw, np.uint8, count, at + 2 * count).astype(np.uint32)
    nibbles = np.frombuffer(raw, np.uint8, (count + 1) // 2, at + 3 * count)
    codes = np.concatenate([nibbles & 15, nibbles >> 4]).astype(np.uint32)
    index = table[:, 0].astype(np.int64)
    if base > LARGEST_BASE or codes[count:].any() or (np.diff(index, prepend=-1) < 1).any() or (index >= count).any():
        raise ValueError(f"found the smallest exponent {base} and exceptions at {index[:9]}..., of {count} numbers")
    exponents = np.where(codes[:count] == 0, 0, codes[:count] + np.uint32(base))
    bits = low | (high & 0x7F) << 16 | (high & 0x80) << 24 | exponents.astype(np.uint32) << 23
    bits[index] = table[:, 1]
    return np.asarray(bits, "<u4")
