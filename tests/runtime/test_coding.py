# SPDX-License-Identifier: Apache-2.0
"""Coded filters in the runtime: every family computes with the very floats, and no damaged file gets past opening."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import op_graphs
from bnn import errors
from bnn.events import EventEngine
from bnn.file.coding import Encoding
from bnn.file.read import decode
from bnn.file.write import encode, shortest
from bnn.ir.graph import DType
from bnn.ir.ops import ConvAttrs, constant, input_node, make
from bnn.runtime import Model
from bnn.runtime.handles import available_kernels
from events.spiking import mismatches
from filters import few_values, hostile_filters
from raw_model import with_checksum
from seed import some

# O, kernel height and width, I, groups: dense, odd, grouped, depthwise, and so many taps that they are read in parts
SHAPES = (
    (100, 1, 1, 130, 1),
    (5, 3, 3, 7, 1),
    (6, 2, 3, 5, 2),
    (37, 3, 3, 1, 37),
    (33, 9, 5, 24, 1),
    (3, 40, 30, 1, 3),
)


def one_conv(filters: np.ndarray, groups: int = 1) -> bytes:
    x = input_node("x", (*filters.shape[1:3], filters.shape[3] * groups))
    y = make("conv2d", x, constant(filters), attrs=ConvAttrs(groups=groups))
    return encode(op_graphs.plan([x], [y]))


@pytest.mark.drawn
@pytest.mark.parametrize("kernels", available_kernels())
@pytest.mark.parametrize(
    ("encoding", "shape"), some([*itertools.product([e for e in Encoding if e is not Encoding.PLAIN], SHAPES)])
)
def test_every_tap_is_read_back(
    shape: tuple[int, int, int, int, int], encoding: Encoding, kernels: str, rng: np.random.Generator
) -> None:
    """An image with a single 1 in it gives one tap of each filter: all else is zero, and sums of zeros are exact."""
    outputs, height, width, inner, groups = shape
    filters = hostile_filters(rng, shape[:4], 0.02)
    if encoding >= Encoding.TABLE_1:
        filters = few_values(rng, shape[:4], 2**encoding.code_bits, finite=True)
    if encoding is Encoding.ONE_ROW:
        filters[:] = filters[0]
    filters[~np.isfinite(filters)] = 3e38
    if encoding is Encoding.TABLE_8 and filters.size < 600:
        pytest.skip("a table of 256 floats is no gain")
    assert shortest(constant(filters))[0] is encoding
    model = Model.from_bytes(one_conv(filters, groups), kernels=kernels)
    images = height * width * inner
    found = np.zeros((images, outputs), np.float32)
    for group in range(groups):
        x = np.zeros((images, height, width, groups, inner), np.float32)
        x[:, :, :, group] = np.eye(images).reshape(images, height, width, inner)
        y = model(x.reshape(images, height, width, -1)).reshape(images, outputs)
        found += y
    np.testing.assert_array_equal(found.T.reshape(filters.shape), filters)


@pytest.mark.parametrize("kernels", available_kernels())
def test_any_float_at_all(kernels: str, rng: np.random.Generator) -> None:
    """Filters of one tap: products with 1 are the filters, infinities and not-a-numbers too."""
    filters = hostile_filters(rng, (3001, 1, 1, 1), 0.04)
    assert shortest(constant(filters))[0] is Encoding.COMPACT
    y = Model.from_bytes(one_conv(filters), kernels=kernels)(np.ones((1, 1, 1, 1), np.float32))
    np.testing.assert_array_equal(y.ravel(), filters.ravel())


def records(data: bytes) -> Iterator[int]:
    count, table = struct.unpack_from("<I", data, 24)[0], struct.unpack_from("<Q", data, 40)[0]
    yield from range(table, table + 64 * count, 64)


def coded(data: bytes) -> tuple[int, int]:
    """(record, bytes) of the first coded constant, as positions in the file."""
    record = next(at for at in records(data) if data[at + 3])
    return record, struct.unpack_from("<Q", data, 80)[0] + struct.unpack_from("<Q", data, record + 32)[0]


def put(kind: str, at: Callable[[int, int], int], value: int) -> Callable[[bytearray], None]:
    """Writes a number at a place that follows from where the record and the bytes of the coded constant lie."""
    return lambda data: struct.pack_into(f"<{kind}", data, at(*coded(data)), value)


def encoding_of(storage: int, dtype: int) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        data[next(at for at in records(data) if data[at] == dtype and data[at + 1] == storage) + 3] = 1

    return change


def code_an_operand(data: bytearray) -> None:
    """The bias, one row of 1 x 1 x 1 x 45, as one row of its first dimension, which is 1: its bytes are right."""
    record, _ = coded(data)
    data[record + 64 + 3] = 1


COUNT = 45 * 9 * 3  # odd
DAMAGE = {
    "another encoding": (put("B", lambda r, d: r + 3, 7), "encoding.*found 7, expected 6"),
    "one row, but bytes of compact floats": (put("B", lambda r, d: r + 3, 1), "bytes stated for its shape: found"),
    "a table, but bytes of compact floats": (put("B", lambda r, d: r + 3, 6), "bytes stated for its shape: found"),
    "plain, but bytes of compact floats": (put("B", lambda r, d: r + 3, 0), "bytes stated for its shape: found"),
    "a line less": (
        put("Q", lambda r, d: r + 40, 8 + 16 + COUNT * 7 // 2 + 1 - 64 & ~63),
        "bytes stated for its shape: found",
    ),
    "no bytes": (put("Q", lambda r, d: r + 40, 0), "bytes stated for its shape: found 0"),
    "bytes past the end": (put("Q", lambda r, d: r + 40, 2**63), "end in the data section"),
    "exponents past 255": (put("I", lambda r, d: d, 241), "base of its exponents.*found 241, expected 240"),
    "too many exceptions": (put("I", lambda r, d: d + 4, 2**32 - 1), "bytes stated for its shape: found"),
    "an exception past the end": (put("I", lambda r, d: d + 16, COUNT), f"index.*found {COUNT}, expected {COUNT - 1}"),
    "exceptions out of order": (put("I", lambda r, d: d + 8, COUNT - 1), "index of an exception.*at least"),
    "an exception twice": (put("I", lambda r, d: d + 16, 7), "index of an exception.*found 7, expected 8"),
    "an exponent past the end": (
        lambda data: put("B", lambda r, d: d + 24 + 3 * COUNT + COUNT // 2, 0x10)(data),
        "exponent past its elements: found 1",
    ),
    "coded bits": (encoding_of(3, 1), "encoding of what is not a constant of floats"),
    "a coded activation": (encoding_of(2, 1), "encoding of what is not a constant of floats"),
    "a coded operand": (code_an_operand, "encoding of an input that is not a conv2d's filters"),
}
# Reading what is there needs none of them.
HARMLESS_IN_PYTHON = {
    "one row, but bytes of compact floats",
    "a table, but bytes of compact floats",
    "bytes past the end",
    "a coded operand",
}


@pytest.fixture
def data(rng: np.random.Generator) -> bytes:
    """A convolution with compact filters, two of them exceptions, one operand, and bits behind it."""
    filters = rng.uniform(1, 2, (45, 3, 3, 3)).astype(np.float32)
    filters.reshape(-1)[[7, 700]] = (1e-30, np.inf)
    x = input_node("x", (3, 3, 3))
    operand = constant(rng.normal(size=45))
    y = make("conv2d", x, constant(filters), operand, attrs=ConvAttrs(slots=("pre_add",)))
    y = make("bconv2d", make("binarize", y), constant(rng.choice([-1, 1], (4, 1, 1, 45)), DType.b1))
    return encode(op_graphs.plan([x], [y]))


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_encoding_does_not_open(name: str, data: bytes) -> None:
    change, words = DAMAGE[name]
    damaged = bytearray(data)
    Model.from_bytes(data)
    change(damaged)
    assert damaged != data
    with_checksum(damaged)
    with pytest.raises(errors.ModelFormatError, match=words):
        Model.from_bytes(bytes(damaged))
    if name not in HARMLESS_IN_PYTHON:
        with pytest.raises(errors.ModelFormatError):
            decode(bytes(damaged))


def test_a_code_past_the_elements(rng: np.random.Generator) -> None:
    damaged = bytearray(one_conv(few_values(rng, (45, 3, 3, 3), 4)))
    _, at = coded(damaged)
    damaged[at + 16 + (COUNT * 2 + 7) // 8 - 1] |= 0x80
    with_checksum(damaged)
    with pytest.raises(errors.ModelFormatError, match="code past its elements: found 2, expected 0"):
        Model.from_bytes(bytes(damaged))
    with pytest.raises(errors.ModelFormatError, match="codes past its 1215 elements"):
        decode(bytes(damaged))


@pytest.mark.parametrize("count", [448, 449, 456, 457])
def test_codes_that_just_fill_a_line(count: int, rng: np.random.Generator) -> None:
    """A table of 8 bytes and 56 of codes are a line of 64; one code more begins another."""
    filters = few_values(rng, (count, 1, 1, 1), 2)
    assert shortest(constant(filters))[0] is Encoding.TABLE_1
    y = Model.from_bytes(one_conv(filters))(np.ones((1, 1, 1, 1), np.float32))
    np.testing.assert_array_equal(y.ravel(), filters.ravel())


def test_one_row_for_more_than_a_machine_holds(rng: np.random.Generator) -> None:
    """A small file must not ask for terabytes."""
    filters = np.broadcast_to(rng.normal(size=(1, 3, 3, 8)), (64, 3, 3, 8))
    damaged = bytearray(one_conv(np.ascontiguousarray(filters, np.float32)))
    record, _ = coded(damaged)
    assert damaged[record + 3] == Encoding.ONE_ROW
    struct.pack_into("<I", damaged, record + 4, 2**31 - 1)
    with_checksum(damaged)
    with pytest.raises(errors.ModelFormatError, match="limit.*bytes of its elements"):
        Model.from_bytes(bytes(damaged))
    with pytest.raises(errors.ModelFormatError, match="more than a file of this size may hold"):
        decode(bytes(damaged))


@pytest.mark.parametrize("encoding", list(Encoding))
def test_the_event_engine_reads_them_too(encoding: Encoding, rng: np.random.Generator) -> None:
    """Of an encoder: in parts that do not end where filters do."""
    shape = (40, 3, 3, 5)
    filters = rng.integers(-1000, 1000, shape).astype(np.float32)
    filters[rng.random(shape) < 0.01] *= 2.0**-12
    if encoding >= Encoding.TABLE_1:
        filters = rng.choice(rng.integers(-99, 99, 2**encoding.code_bits), shape).astype(np.float32)
    if encoding is Encoding.ONE_ROW:
        filters[:] = filters[0]
    if encoding is Encoding.PLAIN:
        filters = filters[:, :1, :1, :1]
    if shortest(constant(filters))[0] is not encoding:
        pytest.skip("another encoding is shorter")
    x = input_node("x", (6, 6, filters.shape[3]))
    bits = make("binarize", make("conv2d", x, constant(filters)))
    y = make("bconv2d", bits, constant(rng.choice([-1, 1], (4, *bits.type.shape)), DType.b1))
    model = Model.from_bytes(encode(op_graphs.plan([x], [y])))
    engine = EventEngine(model)
    for _ in range(3):
        image = op_graphs.integers(rng, x.type.shape)
        engine.run_image(image)
        assert mismatches(engine, image) == {}
