# SPDX-License-Identifier: Apache-2.0
"""Float filters in the file: never another number, and as few bytes as the document promises."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from bnn.file.coding import LARGEST_BASE, Encoding, decode, encodings
from bnn.file.write import encode, shortest
from bnn.ir.graph import Graph
from bnn.ir.ops import ConvAttrs, constant, input_node, make
from bnn.passes import lower
from filters import few_values, hostile_filters, same_bits

from .reader import CONSTANT, File

SHAPES = ((1, 1, 1, 1), (1, 1, 1, 37), (5, 3, 3, 7), (64, 3, 3, 1), (40, 1, 1, 50))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_encoding_gives_every_bit_back(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    for wild in (0.0, 0.01, 0.3, 1.0):
        for equal in (False, True):
            value = hostile_filters(rng, shape, wild)
            value = np.broadcast_to(value[:1], shape) if equal else value
            found = encodings(value)
            assert (Encoding.ONE_ROW in found) == (equal or shape[0] == 1)
            for encoding, raw in found.items():
                for more in (0, 60):
                    assert same_bits(decode(encoding, raw + bytes(more), shape), value), encoding
                if raw:
                    with pytest.raises(ValueError, match=f"found {len(raw) - 1} bytes"):
                        decode(encoding, raw[:-1], shape)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 255, 256, 257])
def test_few_values_are_codes(count: int, rng: np.random.Generator) -> None:
    value = few_values(rng, (13, 3, 3, 11), count)
    distinct = len(np.unique(value.view("<u4")))
    tables = {e: raw for e, raw in encodings(value).items() if e >= Encoding.TABLE_1}
    assert len(tables) == (distinct <= 256)
    for encoding, raw in tables.items():
        bits = encoding.code_bits
        assert distinct <= 2**bits and (bits == 1 or distinct > 2 ** (bits // 2))
        assert len(raw) == 4 * 2**bits + (value.size * bits + 7) // 8
        assert same_bits(decode(encoding, raw, value.shape), value)


def test_the_independent_reader_agrees(rng: np.random.Generator) -> None:
    for shape in SHAPES:
        for kind in (0.0, 0.02, 2, 3, 9, 200):
            value = few_values(rng, shape, kind) if kind >= 1 else hostile_filters(rng, shape, kind)
            x = input_node("x", (*shape[1:3], shape[3]))
            tensors = File(encode(lower(Graph((x,), (make("conv2d", x, constant(value)),), ("y",))))).tensors
            (found,) = (t.value for t in tensors if t.storage == CONSTANT)
            assert found is not None and same_bits(found.reshape(shape), value)


def test_compact_floats_take_seven_bytes_for_two(rng: np.random.Generator) -> None:
    """And eight for each number whose exponent is none of the fifteen most frequent in a row."""
    value = rng.normal(size=(64, 3, 3, 8)).astype(np.float32)
    exponents = value.view("<u4") >> 23
    value[exponents < exponents.max() - 14] = 0  # so that none is an exception
    assert len(encodings(value)[Encoding.COMPACT]) == 8 + value.size * 7 // 2
    value[3, 1, 1, :5] = 1e30
    assert len(encodings(value)[Encoding.COMPACT]) == 8 + value.size * 7 // 2 + 5 * 8
    assert shortest(constant(value))[0] is Encoding.COMPACT


def test_the_shortest_is_chosen(rng: np.random.Generator) -> None:
    plain, compact, one_row = Encoding.PLAIN, Encoding.COMPACT, Encoding.ONE_ROW
    normal = rng.normal(size=(64, 3, 3, 8))
    assert shortest(constant(normal))[0] is compact
    assert shortest(constant(np.broadcast_to(normal[:1], normal.shape)))[0] is one_row
    assert shortest(constant(normal[:9].reshape(1, 9, 9, 8)))[0] is compact  # one filter: one row is no gain
    assert shortest(constant(np.sign(normal)))[0] is Encoding.TABLE_1
    assert shortest(constant(np.round(normal, 1)))[0] is Encoding.TABLE_8
    assert shortest(constant(normal[:1, :1, :1]))[0] is plain  # no cache line less
    assert shortest(constant(hostile_filters(rng, normal.shape, 1.0)))[0] is plain
    signs = np.sign(normal[:2, :1, :1])  # 64 bytes, one cache line; as a table they are shorter, but a line too
    assert shortest(constant(signs))[0] is plain


def test_only_filters_are_coded(rng: np.random.Generator) -> None:
    """What else reads a constant reads it where it is."""
    x = input_node("x", (1, 1, 64))
    filters = constant(rng.normal(size=(64, 1, 1, 64)))
    operand = constant(rng.normal(size=64))
    y = make("conv2d", x, filters, operand, attrs=ConvAttrs(slots=("pre_add",)))
    y = make("softmax", make("sub", make("sigmoid", y), constant(np.ones(64))))
    file = File(encode(lower(Graph((x,), (y,), ("y",)))))
    found = {(t.shape, t.encoding) for t in file.tensors if t.storage == CONSTANT}
    assert found == {((64, 1, 1, 64), Encoding.COMPACT), ((64,), Encoding.PLAIN)}


def test_what_contradicts_itself_is_no_filters() -> None:
    """Three floats of which one is an exception: the last value of each field that is taken, and one that is not."""
    value = np.float32([[1, 2, 1e30]])
    raw = encodings(value)[Encoding.COMPACT]
    base, exceptions, index = struct.unpack_from("<III", raw)
    assert (exceptions, index) == (1, 2) and base <= LARGEST_BASE
    last = len(raw) - 1  # half of it is the code of no float
    for at, kind, taken, refused in ((0, "I", LARGEST_BASE, LARGEST_BASE + 1), (8, "I", 2, 3), (last, "B", 1, 0x10)):
        data = bytearray(raw)
        struct.pack_into(f"<{kind}", data, at, taken)
        decode(Encoding.COMPACT, bytes(data), value.shape)
        struct.pack_into(f"<{kind}", data, at, refused)
        with pytest.raises(ValueError, match="of 3 numbers"):
            decode(Encoding.COMPACT, bytes(data), value.shape)
    twice = encodings(np.float32([[1, 1e30, 1e-30]]))[Encoding.COMPACT]
    for first, second, right in ((1, 2, True), (2, 2, False), (2, 1, False)):
        data = bytearray(twice)
        struct.pack_into("<I", data, 8, first)
        struct.pack_into("<I", data, 16, second)
        if right:
            decode(Encoding.COMPACT, bytes(data), value.shape)
        else:
            with pytest.raises(ValueError, match="of 3 numbers"):
                decode(Encoding.COMPACT, bytes(data), value.shape)
    for size in (7, 8, len(raw) - 1):
        expected = len(raw) - 8 * (size < 8)  # which says how many exceptions there are
        with pytest.raises(ValueError, match=f"found {size} bytes, expected {expected}"):
            decode(Encoding.COMPACT, raw[:size], value.shape)


@pytest.mark.parametrize("encoding", [e for e in Encoding if e >= Encoding.TABLE_1])
def test_tables_that_contradict_themselves(encoding: Encoding) -> None:
    """Three codes; what is left of the last byte is zero."""
    bits = encoding.code_bits
    codes = np.packbits(np.ones(3 * bits, np.uint8), bitorder="little").tobytes()
    table = np.arange(1 << bits, dtype="<f4").tobytes()
    assert decode(encoding, table + codes, (3, 1)).tolist() == [[2.0**bits - 1]] * 3
    assert decode(encoding, table + codes + b"\xff", (3, 1)).size == 3  # bytes of what comes after
    with pytest.raises(ValueError, match=f"found {len(table + codes) - 1} bytes, expected {len(table + codes)}"):
        decode(encoding, (table + codes)[:-1], (3, 1))
    if 3 * bits % 8:
        with pytest.raises(ValueError, match="found codes past its 3 elements"):
            decode(encoding, table + codes[:-1] + bytes([codes[-1] | 0x80]), (3, 1))
