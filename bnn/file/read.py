# SPDX-License-Identifier: Apache-2.0
"""Read a .bnn file back into a RUNTIME graph: docs/reference/model-format.md is the specification.

The runtime does not use this module; it is for code that derives something else from a compiled network.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, fields

import numpy as np

from .._types import Array
from ..errors import CompileError, ModelFormatError
from ..ir.graph import Attrs, DType, Graph, Halo, Node, Placement, Storage, Value
from ..ir.ops import OPS, SLOTS, ConstantAttrs, InputAttrs, Op, make
from ..ir.ops.record import stored_words
from .bits import unpack, words
from .coding import FORMAT, OP, TENSOR, Encoding
from .coding import decode as decode_filters
from .container import aligned, bad

MOST_SHARED = 2**30  # bytes of coded filters, decoded, beyond the file's
_BY_CODE = {op.opcode: op for op in OPS.values() if op.opcode is not None}


def decode(data: bytes) -> Graph:
    """The RUNTIME graph of a .bnn file's bytes: constants unpacked (bits as int8 +1 and -1), attributes, source names,
    notes, schedule and memory plan.  ``encode`` gives the same bytes back.

    Raises :class:`ModelFormatError` where the file is damaged, truncated, of another version or contradicts itself;
    names what was found and expected.
    """
    return _Reader(data).graph()


@dataclass(frozen=True)
class _Tensor:
    """A row of the tensor table."""

    number: int
    dtype: DType
    storage: Storage
    encoding: Encoding
    shape: tuple[int, ...]
    placement: Placement
    name: str
    origin: str


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.file_bytes = len(data)
        self.file = FORMAT.decode(data)
        self.arena_bytes, channels_first, *use = self.file.rest
        if channels_first > 1:
            bad(f"whether the source has channels first: found {channels_first}, expected 0 or 1")
        self.channels_first = bool(channels_first)
        self.use = self.file.text(*use)

    def graph(self) -> Graph:
        _, op_count, input_count, output_count = self.file.counts
        table, section = self.file.tables
        tensors = [self._tensor(i, row) for i, row in enumerate(TENSOR.iter_unpack(table))]
        nodes: dict[int, Node] = {}
        placements: dict[Node, Placement] = {}
        for tensor in tensors:
            if tensor.storage is Storage.INPUT:
                attrs: Attrs = InputAttrs(tensor.name, tensor.shape, tensor.dtype)
                nodes[tensor.number] = make("input", attrs=attrs, name=tensor.name, origin=tensor.origin)
            elif tensor.storage is Storage.CONSTANT:
                attrs = ConstantAttrs(Value(self._constant(tensor)), tensor.dtype)
                nodes[tensor.number] = make("constant", attrs=attrs, name=tensor.name)
        schedule = []
        at = 0
        for number in range(op_count):
            node, output, at = self._op(section, at, number, tensors, nodes)
            nodes[output] = node
            schedule.append(node)
        for number, node in nodes.items():
            placements[node] = tensors[number].placement
        inputs, outputs = (
            self._ends(tensors, nodes, *kind) for kind in ((Storage.INPUT, input_count), (Storage.OUTPUT, output_count))
        )
        names = tuple(n.tap or n.name for n in outputs)
        return Graph(
            inputs, outputs, names, tuple(schedule), placements, self.arena_bytes, self.channels_first, self.use
        )

    def _ends(self, tensors: list[_Tensor], nodes: dict[int, Node], storage: Storage, count: int) -> tuple[Node, ...]:
        """The graph's inputs or outputs, by their index."""
        found = {t.placement.offset: t.number for t in tensors if t.storage is storage}
        whole = len(found) == count and all(i in found and found[i] in nodes for i in range(count))
        if not whole:
            bad(f"{storage.name.lower()}s: found indices {sorted(found)}, expected 0 to {count - 1}, all written")
        return tuple(nodes[found[i]] for i in range(count))

    def _tensor(self, number: int, row: tuple[int, ...]) -> _Tensor:
        dtype, storage, rank, coding = row[:4]
        dims, halo = row[4:8], row[8:12]
        try:
            kind, place, encoding = DType(dtype), Storage(storage), Encoding(coding)
        except ValueError:
            bad(f"tensor {number}: found dtype {dtype}, storage {storage} and encoding {coding}, which do not exist")
        if encoding and (kind is not DType.f32 or place is not Storage.CONSTANT):
            bad(f"tensor {number}: found encoding {coding}, which is for constants of floats")
        most = 4 if place is Storage.CONSTANT else 3
        if not 1 <= rank <= most or any(d < 1 for d in dims):
            bad(f"tensor {number}: found {rank} dimensions {dims}, expected 1 to {most}, each at least 1")
        placement = Placement(place, Halo(*halo), *row[13:15])
        shape = tuple(dims[4 - rank :])
        texts = (self.file.text(*row[at : at + 2]) for at in (15, 17))
        return _Tensor(number, kind, place, encoding, shape, placement, *texts)

    def _constant(self, tensor: _Tensor) -> Array:
        shape = tensor.shape
        pixel = words(shape[-1]) if tensor.dtype is DType.b1 else shape[-1]
        count = math.prod(shape[:-1]) * pixel
        at = tensor.placement.offset
        if tensor.encoding:
            if 4 * count > self.file_bytes + MOST_SHARED:
                bad(f"constant {tensor.number}: found {4 * count} bytes, more than a file of this size may hold")
            try:
                return decode_filters(tensor.encoding, bytes(self.file.data[at : at + tensor.placement.bytes]), shape)
            except ValueError as error:
                bad(f"constant {tensor.number}: {error}")
        size = tensor.dtype.element * count
        if at + size > len(self.file.data):
            bad(f"constant {tensor.number}: found {size} bytes at {at}, expected them inside the data section")
        raw = self.file.data[at : at + size]
        if tensor.dtype is DType.b1:
            return unpack(np.frombuffer(raw, "<u4").reshape(*shape[:-1], pixel), shape[-1])
        kind = {DType.f32: "<f4", DType.i8: "i1", DType.u8: "u1", DType.i16: "<i2"}.get(tensor.dtype, "<i4")
        return np.frombuffer(raw, kind).astype(tensor.dtype.numpy).reshape(shape)

    def _op(
        self, section: memoryview, at: int, number: int, tensors: list[_Tensor], nodes: dict[int, Node]
    ) -> tuple[Node, int, int]:
        """(the node, the tensor it writes, where the next record starts)"""
        if at + OP.size > len(section):
            bad(f"op {number}: its record starts at {at}, past the op section's {len(section)} bytes")
        code, size, operand_count, output, *texts = OP.unpack_from(section, at)
        record = _BY_CODE.get(code)
        if record is None:
            raise ModelFormatError(f"op {number}: found opcode {code}; install the version of bnn that wrote the file")
        layer, note = self.file.text(*texts[:2]), self.file.text(*texts[2:])
        where = f"op {number} ({record.name}, layer '{layer}')"
        wanted = aligned(OP.size + 4 * operand_count + 4 * sum(len(stored_words(f)) for f in fields(record.attrs)), 8)
        if size != wanted or at + size > len(section):
            bad(f"{where}: found a record of {size} bytes, expected {wanted} inside its section of {len(section)}")
        operands = struct.unpack_from(f"<{operand_count}I", section, at + OP.size)
        for i in (*operands, output):
            if i >= len(tensors):
                bad(f"{where}: found tensor {i}, expected one of {len(tensors)}")
        missing = [i for i in operands if i not in nodes]
        target = tensors[output]
        if missing or output in nodes:
            bad(f"{where}: reads tensors {missing} before they are written, or writes tensor {output} twice")
        attrs = _attributes(record, section[at + OP.size + 4 * operand_count : at + size], target, where)
        tap = target.name if target.name != layer else ""
        names = {"name": layer, "origin": target.origin, "tap": tap, "note": note}
        try:
            node = make(record.name, *(nodes[i] for i in operands), attrs=attrs, **names)
        except (CompileError, ValueError, TypeError, IndexError) as error:
            bad(f"{where}: {error}")
        if (node.type.shape, node.type.dtype) != (target.shape, target.dtype):
            bad(f"{where}: gives {node.type}, but its tensor is {target.dtype.name}{list(target.shape)}")
        return node, output, at + size


def _attributes(record: Op, raw: memoryview, target: _Tensor, where: str) -> Attrs:
    """The op's attributes from its words; those that are not in the file follow from the output's type."""
    values: dict[str, object] = {}
    at = 0
    for f in fields(record.attrs):
        kinds = stored_words(f)
        found = struct.unpack_from("<" + "".join("i" if k == "int32_t" else "f" for k, _ in kinds), raw, at)
        at += 4 * len(kinds)
        if f.name in ("slots", "layer_slots"):
            if found[0] >> len(SLOTS):
                bad(f"{where}: found {f.name} {found[0]:#x} with unknown slots")
            values[f.name] = tuple(slot for bit, slot in enumerate(SLOTS) if found[0] >> bit & 1)
        elif kinds:
            values[f.name] = found if isinstance(f.default, tuple) else found[0]
        elif f.name == "out":
            values[f.name] = target.dtype
        elif f.name == "shape":
            values[f.name] = target.shape
    return record.attrs(**values)
