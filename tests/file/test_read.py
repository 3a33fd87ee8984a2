# SPDX-License-Identifier: Apache-2.0
"""Reading a .bnn file back into a graph."""

from __future__ import annotations

import itertools
import struct
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphs
import op_cases
import op_graphs
from bnn.errors import ModelFormatError
from bnn.file.coding import Encoding
from bnn.file.read import decode
from bnn.file.write import encode
from bnn.ir.graph import DType, Graph
from bnn.ir.interpret import outputs
from bnn.ir.ops import SLOTS, ConvAttrs, Level, constant, input_node, make
from bnn.ir.ops.record import stored_words
from bnn.ir.spec import verify
from bnn.passes import lower
from raw_model import with_checksum
from seed import seeds

HEADER_FIELDS = (("<I", 24), ("<Q", 40), ("<Q", 64), ("<Q", 80))  # tensors, their table, the op section's end, the data


@pytest.mark.drawn
def test_the_same_bytes_come_back() -> None:
    """decode and encode are each other's inverse: types, attributes, constants, names, notes and the memory plan."""
    for seed in seeds(40):
        sample = graphs.random_graph(seed)
        data = encode(lower(sample.graph))
        graph = decode(data)
        assert encode(graph) == data, f"repeat with BNN_TEST_SEED={seed} BNN_TEST_COUNT=1"
        verify(graph, Level.RUNTIME, "decode")
        for ours, theirs in zip(outputs(graph, sample.inputs), outputs(sample.graph, sample.inputs), strict=True):
            np.testing.assert_array_equal(ours.reshape(theirs.shape), theirs)


def test_constants_are_plus_and_minus_one(small: Any) -> None:
    graph = decode(small.data)
    weights = [n.inputs[1].value for n in graph.schedule if n.op == "bconv2d"]
    assert weights and all(w.dtype == np.int8 and np.all(np.abs(w) == 1) for w in weights)
    assert [n.name for n in graph.inputs] == ["image"] and graph.arena_bytes > 0
    assert "conv_b" in {n.name for n in graph.schedule}


def test_damaged_files(small: Any) -> None:
    with pytest.raises(ModelFormatError, match="found 10 bytes, expected a .bnn file's header of 128"):
        decode(small.data[:10])
    with pytest.raises(ModelFormatError, match="signature: .*this is not a .bnn file"):
        decode(b"x" * 500)
    for size, words in ((127, "found 127 bytes, expected a .bnn file's header"), (128, "signature: ")):
        with pytest.raises(ModelFormatError, match=words):
            decode(bytes(size))
    for version in (1, 3):
        data = bytearray(small.data)
        data[8] = version
        with pytest.raises(ModelFormatError, match=f"version: found {version}, expected 2"):
            decode(with_checksum(data))
    data = bytearray(small.data)
    at = data.index(b"conv_b")
    data[at] = 0xFF
    with pytest.raises(ModelFormatError, match=r"string at \d+: not UTF-8"):
        decode(with_checksum(data))
    data = bytearray(small.data)
    data[-1] ^= 1
    with pytest.raises(ModelFormatError, match="checksum: "):
        decode(bytes(data))
    with pytest.raises(ModelFormatError, match="file size: found .* bytes, expected"):
        decode(small.data + b"\0")


def test_every_truncation_is_an_error(small: Any) -> None:
    for size in range(0, len(small.data), 7):
        with pytest.raises(ModelFormatError):
            decode(small.data[:size])


def test_contradictory_fields_are_errors_or_harmless(small: Any, rng: np.random.Generator) -> None:
    """Every 32-bit field of the header, the tensors, the ops and the beginnings of coded filters set to strange values,
    with a checksum that fits: a ModelFormatError, or a graph that verifies; never anything else."""
    rejected = 0
    count, table, end, data_at = (struct.unpack_from(kind, small.data, at)[0] for kind, at in HEADER_FIELDS)
    records = range(table, table + 64 * count, 64)
    coded = [data_at + struct.unpack_from("<Q", small.data, at + 32)[0] for at in records if small.data[at + 3]]
    assert coded
    for at in (*range(16, end, 4), *(start + i for start in coded for i in range(0, 24, 4))):
        for value in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, int(rng.integers(2**32))):
            data = bytearray(small.data)
            struct.pack_into("<I", data, at, value)
            try:
                graph = decode(with_checksum(data))
            except ModelFormatError:
                rejected += 1
            else:
                assert graph.nodes()
    assert rejected > 100


def test_a_file_on_disk(small: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.bnn"
    path.write_bytes(small.data)
    assert encode(decode(path.read_bytes())) == small.data


def spikes() -> bytes:
    """x -> binarize -> bconv2d with a threshold -> unpack: tensors 0 x, 1 filters, 2 thresholds, 3 to 5 the results."""
    x = input_node("x", (2, 3, 5))
    w, limits = constant(np.ones((4, 1, 1, 5)), DType.b1), constant(np.arange(4), DType.i32)
    attrs = ConvAttrs(slots=("threshold",), layer_slots=(), out=DType.b1)
    y = make("bconv2d", make("binarize", x, name="sign"), w, limits, attrs=attrs, name="conv")
    return encode(op_graphs.plan([x], [y]))


SPIKES = spikes()
SECTIONS = {name: struct.unpack_from("<Q", SPIKES, at)[0] for name, at in (
    ("tensors", 40), ("ops", 48), ("ops size", 56), ("strings size", 72), ("data", 80), ("data size", 88),
)}  # fmt: skip


def tensor(number: int, field: int) -> int:
    """Where a field of a tensor stands, by its offset in the record."""
    return SECTIONS["tensors"] + 64 * number + field


def op(number: int, field: int) -> int:
    at = SECTIONS["ops"]
    for _ in range(number):
        at += struct.unpack_from("<I", SPIKES, at + 4)[0]
    return at + field


NAME = struct.unpack_from("<II", SPIKES, tensor(0, 48))
BEFORE_SLOTS = list(itertools.takewhile(lambda name: name != "slots", (f.name for f in fields(ConvAttrs))))
SLOT_WORD = op(1, 32 + 4 * 3) + 4 * sum(len(stored_words(f)) for f in fields(ConvAttrs) if f.name in BEFORE_SLOTS)
# (where, how it is packed, the last value that is taken or None, one that is not, what is said)
DAMAGE: dict[str, tuple[int, str, int | None, int, str]] = {
    "tensor table past the end": (40, "Q", None, len(SPIKES) - 64 * 6 + 1, "tensor table: found 384 bytes at"),
    "op section past the end": (56, "Q", None, len(SPIKES) - SECTIONS["ops"] + 1, "op section: found"),
    "data section past the end": (88, "Q", SECTIONS["data size"], SECTIONS["data size"] + 1, "data section: found"),
    "op section that is too short": (56, "Q", SECTIONS["ops size"], SECTIONS["ops size"] - 1, "found a record of"),
    "name past the strings": (
        tensor(0, 52), "I", SECTIONS["strings size"] - NAME[0], SECTIONS["strings size"] - NAME[0] + 1, "string: found",
    ),
    "type": (tensor(0, 0), "B", None, 6, "found dtype 6, storage 0 and encoding 0, which do not exist"),
    "storage": (tensor(0, 1), "B", None, 5, "found dtype 0, storage 5 and encoding 0, which do not exist"),
    "encoding": (tensor(1, 3), "B", 0, 7, "storage 3 and encoding 7, which do not exist"),
    "encoding of bits": (tensor(1, 3), "B", 0, 1, "tensor 1: found encoding 1, which is for constants of floats"),
    "encoding of an input": (tensor(0, 3), "B", 0, 1, "tensor 0: found encoding 1, which is for constants of floats"),
    "no dimension": (tensor(0, 2), "B", 3, 0, "tensor 0: found 0 dimensions"),
    "four dimensions of an input": (tensor(0, 2), "B", 3, 4, "tensor 0: found 4 dimensions"),
    "five dimensions of a constant": (tensor(1, 2), "B", 4, 5, "tensor 1: found 5 dimensions"),
    "a dimension of 0": (tensor(0, 4), "I", 1, 0, r"tensor 0: found 3 dimensions \(0, 2, 3, 5\)"),
    "constant past the data": (
        tensor(1, 32), "Q", SECTIONS["data size"] - 16, SECTIONS["data size"] - 12, "constant 1: found 16 bytes at",
    ),
    "index of an input": (tensor(0, 32), "Q", 0, 1, r"inputs: found indices \[1\], expected 0 to 0"),
    "number of inputs": (32, "I", 1, 2, r"inputs: found indices \[0\], expected 0 to 1"),
    "an output that no op writes": (28, "I", 3, 2, r"outputs: found indices \[0\], expected 0 to 0, all written"),
    "opcode": (op(0, 0), "I", None, 9999, "op 0: found opcode 9999; install the version"),
    "size of a record": (op(1, 4), "I", None, 8, "op 1 .*found a record of 8 bytes"),
    "tensor that is read": (op(0, 32), "I", 0, 6, "found tensor 6, expected one of 6"),
    "tensor that is not yet written": (op(0, 32), "I", 0, 4, r"reads tensors \[4\] before they are written"),
    "tensor that is written": (op(0, 12), "I", 3, 6, "found tensor 6, expected one of 6"),
    "tensor that is written twice": (op(2, 12), "I", 5, 3, "or writes tensor 3 twice"),
    "input that is written": (op(0, 12), "I", 3, 0, "or writes tensor 0 twice"),
    "slot": (SLOT_WORD, "I", None, 1 << len(SLOTS), r"found slots 0x\w+ with unknown slots"),
    "shape of a result": (tensor(3, 8), "I", 2, 3, r"gives b1\[2, 3, 5\], but its tensor is b1\[3, 3, 5\]"),
    "type of a result": (tensor(3, 0), "B", 1, 0, r"gives b1\[2, 3, 5\], but its tensor is f32\[2, 3, 5\]"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_one_field(name: str) -> None:
    """The last value that is taken, and the first that is refused."""
    at, kind, last, refused, words = DAMAGE[name]
    for value in (last, refused):
        data = bytearray(SPIKES)
        if value is not None:
            struct.pack_into(f"<{kind}", data, at, value)
        if value is refused:
            with pytest.raises(ModelFormatError, match=words):
                decode(with_checksum(data))
        else:
            decode(with_checksum(data))


def test_equal_filters_of_a_small_file_may_take_a_gigabyte(rng: np.random.Generator) -> None:
    """What is more would be filled before anything else could be said of it."""
    x = input_node("x", (1, 1, 64))
    filters = constant(np.tile(rng.normal(size=(1, 1, 1, 64)), (9, 1, 1, 1)))
    data = bytearray(encode(lower(Graph((x,), (make("conv2d", x, filters),)))))
    table = struct.unpack_from("<Q", data, 40)[0]
    assert data[table + 64 + 3] == Encoding.ONE_ROW
    struct.pack_into("<I", data, table + 64 + 4, (2**30 + len(data)) // 256 + 1)
    with pytest.raises(ModelFormatError, match="more than a file of this size may hold"):
        decode(with_checksum(data))


# One operand less: they are another op, as good.
FEWER = {"cast by a table", "masked max_pool", "quantize at thresholds", "threshold on floats"}


@pytest.mark.parametrize("name", op_cases.CASES)
def test_operands_that_are_too_few_or_too_many(name: str) -> None:
    for more in (1, -1):
        case = op_cases.CASES[name]()
        if len(case.inputs) + more == 0 or more < 0 and name in FEWER:
            continue
        case.change("inputs", len(case.inputs) + more)
        number, file = case.file()
        with pytest.raises(
            ModelFormatError, match=rf"^op {number} \({case.op}, layer 'it'\): .*; compile the model again"
        ):
            decode(file)
