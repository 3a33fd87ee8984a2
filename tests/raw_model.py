# SPDX-License-Identifier: Apache-2.0
"""Files of the .bnn format, written field by field as docs/reference/model-format.md has it: right ones, and ones with
a field changed.

`Net` writes a file from tensors and ops, and checks nothing of them.  `Fields` gives the fields of a file names, to
read them and to change them.  `opened` says what the runtime answers.  Nothing of the compiler is used.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bnn._native import ffi, lib
from bnn._types import Array
from file.reader import documented_ops, documented_slots

F32, B1, I32, U8, I8, I16 = range(6)
INPUT, OUTPUT, ARENA, CONSTANT, PASSED = range(5)
OPS = {name: (code, attributes) for code, (name, attributes) in documented_ops().items()}
SLOTS = {name: 1 << bit for name, bit in documented_slots().items()}
LINE = 64

HEADER = {
    "version": (8, "I"), "checksum": (12, "I"), "size": (16, "Q"),
    "tensors": (24, "I"), "ops": (28, "I"), "inputs": (32, "I"), "outputs": (36, "I"),
    "tensor_table": (40, "Q"), "op_section": (48, "Q"), "op_bytes": (56, "Q"),
    "strings": (64, "Q"), "string_bytes": (72, "Q"), "data": (80, "Q"), "data_bytes": (88, "Q"),
    "arena": (96, "Q"), "channels_first": (104, "I"), "use": (108, "I"), "use_length": (112, "I"),
    "zero_0": (116, "I"), "zero_1": (120, "Q"),
}  # fmt: skip
TENSOR = {
    "dtype": (0, "B"), "storage": (1, "B"), "rank": (2, "B"), "encoding": (3, "B"),
    "o": (4, "I"), "h": (8, "I"), "w": (12, "I"), "c": (16, "I"),
    "top": (20, "H"), "left": (22, "H"), "bottom": (24, "H"), "right": (26, "H"), "zero": (28, "I"),
    "offset": (32, "Q"), "bytes": (40, "Q"),
    "name": (48, "I"), "name_length": (52, "I"), "origin": (56, "I"), "origin_length": (60, "I"),
}  # fmt: skip
OP = {
    "opcode": (0, "I"), "bytes": (4, "I"), "inputs": (8, "I"), "output": (12, "I"),
    "layer": (16, "I"), "layer_length": (20, "I"), "note": (24, "I"), "note_length": (28, "I"),
}  # fmt: skip


def lines(count: int) -> int:
    """Rounded up to whole lines of 64 bytes."""
    return -(-count // LINE) * LINE


def with_checksum(data: bytearray) -> bytes:
    """A .bnn or .snn file with the checksum that fits, also in place."""
    struct.pack_into("<I", data, 12, zlib.crc32(data[16:], zlib.crc32(data[:12])))
    return bytes(data)


@dataclass
class Tensor:
    """What a file says of a tensor; shape: the last rank of o, h, w, c.  Constants without a value are zeros."""

    dtype: int
    shape: tuple[int, ...]
    storage: int = ARENA
    halo: tuple[int, int, int, int] = (0, 0, 0, 0)
    value: Array | None = None  # of a constant: floats, integers, or words of bits
    name: str = ""
    origin: str = ""
    encoding: int = 0
    raw: bytes | None = None  # of a coded constant: its bytes

    @property
    def dims(self) -> tuple[int, ...]:
        return (1,) * (4 - len(self.shape)) + tuple(self.shape)

    def bytes(self) -> int:
        o, h, w, c = self.dims
        top, left, bottom, right = self.halo
        words = -(-c // 32) if self.dtype == B1 else c
        return o * (h + top + bottom) * (w + left + right) * words * {U8: 1, I8: 1, I16: 2}.get(self.dtype, 4)

    def stored(self) -> bytes:
        """Of a constant, in the data section."""
        if self.raw is not None:
            return self.raw
        if self.value is None:
            return bytes(self.bytes())
        kind = {F32: "<f4", B1: "<u4", I32: "<i4", U8: "u1", I8: "i1", I16: "<i2"}[self.dtype]
        return np.resize(self.value, self.bytes() // np.dtype(kind).itemsize).astype(kind).tobytes()


@dataclass
class Op:
    name: str
    inputs: Sequence[Tensor]
    output: Tensor
    attrs: Mapping[str, Any] = field(default_factory=dict)
    layer: str = ""
    note: str = ""


class Net:
    """A file in the making: the ops in order; their tensors are numbered as they come up."""

    def __init__(self, ops: Sequence[Op], extra: Sequence[Tensor] = ()) -> None:
        """``extra``: tensors that no op reads or writes."""
        self.ops = list(ops)
        seen = [tensor for op in self.ops for tensor in (*op.inputs, op.output)] + list(extra)
        self.tensors = list({id(tensor): tensor for tensor in seen}.values())
        self.number = {id(tensor): i for i, tensor in enumerate(self.tensors)}
        self._strings = bytearray()
        self._data = bytearray()
        self._known: dict[bytes, int] = {}

    def _string(self, text: str) -> tuple[int, int]:
        raw = text.encode()
        at = self._strings.find(raw)
        if at < 0:
            at = len(self._strings)
            self._strings += raw
        return (at if raw else 0), len(raw)

    def _tensors(self) -> tuple[bytes, int, dict[int, int]]:
        """(the table, bytes of the arena, how many of each storage)"""
        table, arena, ports = bytearray(), 0, {INPUT: 0, OUTPUT: 0}
        for t in self.tensors:
            offset, size = 0, t.bytes()
            if t.storage in ports:
                offset = ports[t.storage]
                ports[t.storage] += 1
            elif t.storage == ARENA:
                offset, size = arena, lines(size)
                arena += size
            elif t.storage == CONSTANT:
                raw = t.stored()
                size = lines(len(raw))
                offset = self._known.setdefault(raw, len(self._data))
                if offset == len(self._data):
                    self._data += raw.ljust(size, b"\0")
            strings = (*self._string(t.name), *self._string(t.origin))
            head = (t.dtype, t.storage, len(t.shape), t.encoding, *t.dims, *t.halo, 0, offset, size)
            table += struct.pack("<4B4I4HI2Q4I", *head, *strings)
        return bytes(table), arena, ports

    def _op(self, op: Op) -> bytes:
        code, attributes = OPS[op.name]
        words = b"".join(
            struct.pack("<i" if kind == "i32" else "<f", op.attrs.get(name, 0)) for name, kind in attributes
        )
        inputs = struct.pack(f"<{len(op.inputs)}I", *(self.number[id(t)] for t in op.inputs))
        size = -(-(32 + len(inputs) + len(words)) // 8) * 8
        strings = (*self._string(op.layer), *self._string(op.note))
        head = struct.pack("<8I", code, size, len(op.inputs), self.number[id(op.output)], *strings)
        return (head + inputs + words).ljust(size, b"\0")

    def bytes(self) -> bytes:
        table, arena, ports = self._tensors()
        ops = b"".join(map(self._op, self.ops))
        sections = (table, ops, bytes(self._strings), bytes(self._data))
        at = [128]
        for section in sections[:-1]:
            at.append(lines(at[-1] + len(section)))
        size = at[-1] + len(self._data)
        counts = (len(self.tensors), len(self.ops), ports[INPUT], ports[OUTPUT])
        places = (at[0], at[1], len(ops), at[2], len(self._strings), at[3], len(self._data), arena)
        data = bytearray(size)
        for offset, section in zip(at, sections, strict=True):
            data[offset : offset + len(section)] = section
        data[:128] = struct.pack("<8sIIQ4I8Q24x", bytes.fromhex("89424e4e0d0a1a0a"), 2, 0, size, *counts, *places)
        return with_checksum(data)


class Fields:
    """The fields of a file by name: `header.arena`, `tensor 2.rank`, `op 0.output`, `op 0.input 1`, `op 0.pad_top` (an
    attribute), and of a constant's data `tensor 3.word 5` and `tensor 3.byte 7`."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self._original = bytes(data)
        self.ops = []
        at = self["header.op_section"]
        for _ in range(self["header.ops"]):
            self.ops.append(at)
            at += struct.unpack_from("<I", data, at + 4)[0]

    def place(self, name: str) -> tuple[int, str]:
        """(offset in the file, struct's letter)"""
        record, _, key = name.partition(".")
        kind, _, number = record.partition(" ")
        if kind == "header":
            return HEADER[key]
        original = self._original
        if kind == "op":
            start = self.ops[int(number)]
            code, _, inputs = struct.unpack_from("<3I", original, start)
            if key in OP:
                return start + OP[key][0], OP[key][1]
            if key.startswith("input "):
                return start + 32 + 4 * int(key[6:]), "I"
            attributes = next(attributes for opcode, attributes in OPS.values() if opcode == code)
            i = [attribute for attribute, _ in attributes].index(key)
            return start + 32 + 4 * inputs + 4 * i, "i" if attributes[i][1] == "i32" else "f"
        start = struct.unpack_from("<Q", original, 40)[0] + LINE * int(number)
        if key in TENSOR:
            return start + TENSOR[key][0], TENSOR[key][1]
        unit, _, index = key.partition(" ")
        data = struct.unpack_from("<Q", original, 80)[0] + struct.unpack_from("<Q", original, start + 32)[0]
        return data + int(index) * (4 if unit == "word" else 1), "I" if unit == "word" else "B"

    def __getitem__(self, name: str) -> Any:
        at, kind = self.place(name)
        return struct.unpack_from(f"<{kind}", self.data, at)[0]

    def __setitem__(self, name: str, value: Any) -> None:
        at, kind = self.place(name)
        struct.pack_into(f"<{kind}", self.data, at, value)

    def names(self) -> Iterator[str]:
        """Of the header, the tensors and the ops, with their inputs and attributes."""
        yield from (f"header.{key}" for key in HEADER)
        for i in range(self["header.tensors"]):
            yield from (f"tensor {i}.{key}" for key in TENSOR)
        for k in range(self["header.ops"]):
            yield from (f"op {k}.{key}" for key in OP)
            yield from (f"op {k}.input {i}" for i in range(self[f"op {k}.inputs"]))
            attributes = next(a for code, a in OPS.values() if code == self[f"op {k}.opcode"])
            yield from (f"op {k}.{key}" for key, _ in attributes)

    def bytes(self) -> bytes:
        """The file with its checksum repaired."""
        return with_checksum(self.data)


def changed(data: bytes, changes: Mapping[str, Any]) -> bytes:
    """A file with fields changed and its checksum repaired."""
    fields = Fields(data)
    for name, value in changes.items():
        fields[name] = value
    return fields.bytes()


class Answer(NamedTuple):
    """What bnn_model_open says: the status's name without BNN_ERROR_, and the problem."""

    status: str
    what: str = ""
    found: int = 0
    expected: int = 0


STATUSES = {
    value: name.removeprefix("BNN_ERROR_").removeprefix("BNN_")
    for value, name in ffi.typeof("bnn_status").elements.items()
}


def aligned(size: int, shift: int = 0) -> Any:
    """A pointer to ``size`` bytes, ``shift`` bytes past an aligned address; the memory lives as long as it does."""
    memory = ffi.new("char[]", size + LINE + shift)
    at = -int(ffi.cast("uintptr_t", memory)) % LINE + shift
    pointer = ffi.gc(memory + at, lambda _: memory and None)
    return pointer


def buffer(data: bytes) -> Any:
    """A file in aligned memory."""
    pointer = aligned(len(data))
    ffi.memmove(pointer, data, len(data))
    return pointer


def answer(status: int, problem: Any) -> Answer:
    if status == lib.BNN_OK:
        return Answer("OK")
    what = ffi.string(problem.what).decode(errors="replace")
    return Answer(STATUSES[status], what, problem.found, problem.expected)


def memory_of(data: bytes) -> tuple[int, int]:
    """Bytes that a valid file's opened model needs, and those of a context for one image and one worker."""
    file, size, model = buffer(data), ffi.new("size_t *"), ffi.new("bnn_model **")
    kernels = lib.bnn_kernels_select(ffi.NULL)
    assert lib.bnn_model_size(file, len(data), kernels, size, ffi.NULL) == lib.BNN_OK
    needed, memory = size[0], aligned(size[0])
    assert lib.bnn_model_open(file, len(data), kernels, memory, needed, model, ffi.NULL) == lib.BNN_OK
    assert lib.bnn_context_size(model[0], 1, 1, size) == lib.BNN_OK
    return needed, size[0]


def measured(data: bytes, max_bytes: int = 0) -> Answer:
    """What bnn_model_size says of a file, which looks at each op by itself and needs no memory for it."""
    limits, file, problem = ffi.new("bnn_limits *", (max_bytes, 0)), buffer(data), ffi.new("bnn_problem *")
    size, kernels = ffi.new("size_t *"), lib.bnn_kernels_select(ffi.NULL)
    return answer(lib.bnn_model_size_within(file, len(data), kernels, limits, size, problem), problem)


def opened(data: bytes, max_bytes: int = 0, max_work: int = 0) -> Answer:
    """What the runtime says of a file.  bnn_model_size, which sees each op by itself, must not contradict it."""
    limits = ffi.new("bnn_limits *", (max_bytes, max_work))
    file, problem, size, model = buffer(data), ffi.new("bnn_problem *"), ffi.new("size_t *"), ffi.new("bnn_model **")
    kernels = lib.bnn_kernels_select(ffi.NULL)
    status = lib.bnn_model_size_within(file, len(data), kernels, limits, size, problem)
    alone = answer(status, problem)
    memory = aligned(size[0] if status == lib.BNN_OK else 0)
    status = lib.bnn_model_open_within(file, len(data), kernels, limits, memory, size[0], model, problem)
    found = answer(status, problem)
    assert alone.status == "OK" or alone == found, f"bnn_model_size says {alone}, bnn_model_open {found}"
    assert (found.status == "OK") == (model[0] != ffi.NULL)
    return found


class Row(NamedTuple):
    """A file, what is changed in it, and what the runtime answers then."""

    base: str
    changes: dict[str, Any]
    answer: Answer

    def __str__(self) -> str:
        return f"{self.base} " + ", ".join(f"{name} = {value}" for name, value in self.changes.items())


def read_rows(table: str, numbers: Mapping[str, float]) -> list[Row]:
    """Rows from a text: a line at the margin names the file of those below it (or files, [a|b]), which read
    `field = number & ... -> STATUS text; found, expected`, or `-> OK`.  Where there are brackets, [a|b|c], a row is
    made of each of what stands in them.  A line that begins with the arrow continues the one before.
    """
    rows, bases = [], [""]
    for line in table.replace("\n        ->", " ->").splitlines():
        if line and not line.startswith(" "):
            bases = line.strip("[]").split("|")
        choices = max((len(brackets.split("|")) for brackets in re.findall(r"\[(.*?)\]", line)), default=1)
        for i in range(choices if line.startswith(" ") else 0):
            left, _, right = re.sub(r"\[(.*?)\]", lambda m, i=i: m[1].split("|")[i], line).strip().partition(" -> ")
            changes = {name.strip(): value for name, value in (change.split("=") for change in left.split(" & "))}
            status, _, rest = right.partition(" ")
            what, _, pair = rest.partition("; ")
            found, expected = eval(pair or "0, 0", dict(numbers))
            evaluated = {name: eval(value, dict(numbers)) for name, value in changes.items()}
            rows += [Row(base, evaluated, Answer(status, what, found, expected)) for base in bases]
    return rows
