# SPDX-License-Identifier: Apache-2.0
"""Write the .bnn file: docs/reference/model-format.md is the specification."""

from __future__ import annotations

import itertools
import struct
from dataclasses import fields

import numpy as np

from ..errors import CompileError
from ..ir.graph import Attrs, DType, Graph, Node, Storage
from ..ir.ops import OPS, SLOTS
from ..ir.ops.record import stored_words
from .bits import pack
from .coding import FORMAT, OP, TENSOR, Encoding, encodings
from .container import ALIGNMENT, Section, aligned

MOST_PIXELS = 2**16  # height or width of an activation with its halo
LARGEST_HALO = 2**16 - 1


def encode(graph: Graph) -> bytes:
    """The file's bytes for a RUNTIME graph; the same graph gives the same bytes.

    Raises :class:`CompileError` where the graph was not planned.
    """
    if not graph.placements or not graph.schedule:
        raise CompileError("the graph has no memory plan: run the passes up to plan_arena first")
    strings, data = Section(), Section(ALIGNMENT)  # constants have cache lines of their own
    tensors = [*graph.inputs, *_constants(graph), *graph.schedule]
    number = {node: i for i, node in enumerate(tensors)}
    filters = _filters(graph)
    names = _names(graph)
    table = b"".join(
        _tensor(graph, node, names.get(node, node.tap or node.name), strings, data, node in filters) for node in tensors
    )
    ops = b"".join(_op(node, number, strings) for node in graph.schedule)
    use = strings.add(graph.use.encode())
    counts = (len(tensors), len(graph.schedule), len(graph.inputs), len(graph.outputs))
    rest = (graph.arena_bytes, graph.channels_first, *use)
    return FORMAT.encode(counts, (table, ops, strings.bytes, data.bytes), rest)


def _constants(graph: Graph) -> list[Node]:
    return list(dict.fromkeys(i for node in graph.schedule for i in node.inputs if i.is_constant))


def _filters(graph: Graph) -> set[Node]:
    """Filters of float convolutions; no other op takes floats of four dimensions.  Only they are coded: the runtime
    repacks them when it opens the file, and reads all other constants in place."""
    return {node.inputs[1] for node in graph.schedule if node.op == "conv2d"}


def shortest(node: Node) -> tuple[Encoding, bytes]:
    """Filters in the encoding that takes the fewest cache lines in the file; on ties, in the first."""
    found = encodings(node.value)
    best = min(found, key=lambda encoding: (aligned(len(found[encoding])), encoding))
    return best, found[best]


def constant_bytes(node: Node) -> bytes:
    """A constant's plain form in the file."""
    value = node.value
    if node.type.dtype is DType.b1:
        return pack(value).astype("<u4").tobytes()
    stored = {DType.f32: "<f4", DType.i8: "i1", DType.u8: "u1", DType.i16: "<i2"}.get(node.type.dtype, "<i4")
    return np.ascontiguousarray(value).astype(stored).tobytes()


def _names(graph: Graph) -> dict[Node, str]:
    """The names of the outputs: from the source model, otherwise from their layers; all different."""
    names: dict[Node, str] = {}
    given = graph.output_names or ("",) * len(graph.outputs)
    for node, name in zip(graph.outputs, given, strict=True):
        plain = name or node.tap or node.name
        tries = (f"{plain}_{i}" for i in itertools.count(1))
        names[node] = plain if plain not in names.values() else next(n for n in tries if n not in names.values())
    return names


def _tensor(graph: Graph, node: Node, name: str, strings: Section, data: Section, coded: bool) -> bytes:
    place = graph.placements[node]
    shape = node.type.shape or (1,)
    halo = (place.halo.top, place.halo.left, place.halo.bottom, place.halo.right)
    if max(halo) > LARGEST_HALO:
        raise CompileError(f"layer '{node.name}': padding by {max(halo)} pixels; at most {LARGEST_HALO} is supported")
    _check_size(node, halo)
    offset, size, encoding, origin = place.offset, place.bytes, Encoding.PLAIN, node.origin
    if place.storage is Storage.CONSTANT:
        encoding, raw = shortest(node) if coded else (Encoding.PLAIN, constant_bytes(node))
        offset, size = data.add(raw)
        origin = ""
    return TENSOR.pack(
        node.type.dtype.value,
        place.storage.value,
        len(shape),
        encoding,
        *(1,) * (4 - len(shape)),
        *shape,
        *halo,
        0,
        offset,
        size,
        *strings.add(name.encode()),
        *strings.add(origin.encode()),
    )


def _check_size(node: Node, halo: tuple[int, ...]) -> None:
    """Refuse an activation that no runtime opens."""
    if node.is_constant:
        return
    h, w, _ = (1, 1, 1, *node.type.shape)[-3:]
    found = {"rows": halo[0] + h + halo[2], "columns": halo[1] + w + halo[3]}
    for what, count in found.items():
        if count > MOST_PIXELS:
            raise CompileError(
                f"layer '{node.name}': its {node.op} gives {count:,} {what} ({node.type}, with padding); at most "
                f"{MOST_PIXELS:,} are supported; reshape the values into more channels, or split the layer"
            )


def _op(node: Node, number: dict[Node, int], strings: Section) -> bytes:
    words = b"".join(attribute_words(node.attrs))
    inputs = struct.pack(f"<{len(node.inputs)}I", *(number[i] for i in node.inputs))
    size = aligned(OP.size + len(inputs) + len(words), 8)
    texts = (*strings.add(node.name.encode()), *strings.add(node.note.encode()))
    head = OP.pack(OPS[node.op].opcode, size, len(node.inputs), number[node], *texts)
    return (head + inputs + words).ljust(size, b"\0")


def attribute_words(attrs: Attrs) -> list[bytes]:
    """The attributes as 32-bit little-endian words, in the order in which they are declared."""
    out = []
    for f in fields(attrs):
        kinds = stored_words(f)
        value = getattr(attrs, f.name)
        if f.name in ("slots", "layer_slots"):
            value = sum(1 << list(SLOTS).index(slot) for slot in value)
        values = value if isinstance(value, tuple) else (value,)
        if kinds:
            out += [struct.pack("<i" if k == "int32_t" else "<f", v) for (k, _), v in zip(kinds, values, strict=True)]
    return out
