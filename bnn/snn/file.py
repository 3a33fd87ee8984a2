# SPDX-License-Identifier: Apache-2.0
"""Write the .snn file; docs/snn-format.md is the specification.  The runtime (csrc/snn/open.c) reads it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

import numpy as np

from .._types import Array, Floats
from .network import Network, Population, Projection

SIGNATURE = b"\x89SNN\r\n\x1a\n"
VERSION = 1
ALIGNMENT = 64
LANES = 32  # neurons that the runtime updates together
ROW = 16  # elements: rows of dense weights have a multiple
# counts, channels first, dt, offset of the populations, of the projections, strings, data, simulator
HEADER = struct.Struct("<8sIIQIIIfQQQQQQ2I32x")
POPULATION = struct.Struct("<BBBBB3xIIII2I2I16I2I16x")  # 8 parameters
PROJECTION = struct.Struct("<BBBxIIIf2I2I2I2IIIII4x2I2I7f12x")
LINE_OF_WEIGHTS, LINE_OF_ADAPTED = 56, 104  # in their records
KINDS = {"dense": 0, "conv": 1, "diagonal": 2}


class _Data:
    """A section that holds each text or array once."""

    def __init__(self, alignment: int) -> None:
        self.bytes = bytearray()
        self._alignment = alignment
        self._known: dict[bytes, int] = {}

    def add(self, raw: bytes) -> int:
        """Its offset, in units of the alignment."""
        if raw not in self._known:
            self._known[raw] = self.add_apart(raw)
        return self._known[raw]

    def add_apart(self, raw: bytes) -> int:
        """The same of what nothing else may share, because it can be replaced."""
        offset = len(self.bytes) // self._alignment
        self.bytes += raw + bytes(-len(raw) % self._alignment)
        return offset


def encode(network: Network) -> bytes:
    """The file's bytes; the same network gives the same bytes.

    Raises CompileError where :meth:`Network.check` does.
    """
    network.check()
    strings, data = _Data(1), _Data(ALIGNMENT)
    projections = sorted(network.projections, key=lambda p: p.target)  # stable: the order of each target's stays
    populations = b"".join(_population(p, strings, data) for p in network.populations)
    table = b"".join(_projection(network, p, strings, data) for p in projections)
    simulator = _string(network.simulator, strings)
    sections = [populations, table, bytes(strings.bytes), bytes(data.bytes)]
    offsets, end = [], HEADER.size
    for section in sections:
        offsets.append(end + -end % ALIGNMENT)
        end = offsets[-1] + len(section)
    head = HEADER.pack(
        SIGNATURE, VERSION, 0, end, len(network.populations), len(projections), network.channels_first, network.dt,
        offsets[0], offsets[1], offsets[2], len(sections[2]), offsets[3], len(sections[3]), *simulator,
    )  # fmt: skip
    out = bytearray(end)
    for offset, section in zip([0, *offsets], [head, *sections], strict=True):
        out[offset : offset + len(section)] = section
    sign(out)
    return bytes(out)


def _string(text: str, strings: _Data) -> tuple[int, int]:
    raw = text.encode()
    return (strings.add(raw) if raw else 0), len(raw)


def _array(value: Floats, data: _Data) -> tuple[int, int]:
    """(line, period)"""
    return data.add(_repeated(value)), value.size


def _repeated(value: Floats) -> bytes:
    """So that the values of any LANES neurons in a row are contiguous."""
    value = np.asarray(value, "<f4").reshape(-1)
    return np.resize(value, value.size + LANES - 1).tobytes()


def _population(p: Population, strings: _Data, data: _Data) -> bytes:
    d = p.dynamics
    flags = p.output | (d is not None and d.at_least) << 1 | (d is not None and d.floored) << 2
    flags |= (d is not None and d.winner) << 3
    arrays = [_array(p.parameters[name], data) for name in p.parameter_names]
    arrays += [(0, 0)] * (8 - len(arrays))
    arrays.append((data.add_apart(_repeated(p.per_neuron(p.adapted))), p.size) if p.adapts else (0, 0))
    return POPULATION.pack(
        d.rule.opcode if d else 0, d.reset if d else 0, p.emits, flags, len(p.shape), *p.grid, 0,
        *_string(p.name, strings), *(_array(p.bias, data) if d else (0, 0)), *(n for pair in arrays for n in pair),
    )  # fmt: skip


def _projection(network: Network, p: Projection, strings: _Data, data: _Data) -> bytes:
    source = network.populations[p.source]
    kind = np.int8 if p.whole else np.dtype("<f4")
    weights, row = p.weights, 0
    if p.kind == "dense":
        weights = _rows(weights)
        row = weights.shape[1]
    elif p.kind == "diagonal":
        row = weights.size
    else:
        weights = weights[:, :, tap_order(weights.shape[2], p)]
    kernel = p.weights.shape[1:3] if p.kind == "conv" else (0, 0)
    mask = 0
    if p.mask is not None:
        padded = np.zeros(source.size + -source.size % 32, bool)
        padded[: source.size] = p.mask
        mask = data.add(np.packbits(padded, bitorder="little").tobytes())
    raw = np.ascontiguousarray(weights.astype(kind)).tobytes()
    flags = (p.mask is not None) | (p.bias is not None) << 1
    numbers = np.zeros(7, np.float32)
    if p.learning is not None:
        flags |= 4 | p.learning.added << 3
        numbers = p.learning.numbers
    return PROJECTION.pack(
        KINDS[p.kind], p.whole, flags, p.source, p.target, p.delay, p.scale,
        *kernel, *p.stride, *p.padding, *p.dilation, p.groups, (data.add_apart if p.learning else data.add)(raw), row,
        mask, *(_array(p.bias, data) if p.bias is not None else (0, 0)), *_string(p.name, strings), *numbers,
    )  # fmt: skip


def _rows(weights: Array) -> Array:
    """Of dense weights, each padded to whole vectors."""
    return np.pad(weights, ((0, 0), (0, -weights.shape[1] % ROW)))


def with_learned(file: bytes, weights: Mapping[int, Floats], adapted: Mapping[int, Floats]) -> bytes:
    """A checked file with other weights, (sources, targets) by the number of a projection that learns, and other starts
    of adapting thresholds, (n,) by the number of the population."""
    out = bytearray(file)
    populations, projections, data = (HEADER.unpack_from(file)[k] for k in (8, 9, 12))
    places = [(projections + i * PROJECTION.size + LINE_OF_WEIGHTS, _rows(w).tobytes()) for i, w in weights.items()]
    places += [(populations + i * POPULATION.size + LINE_OF_ADAPTED, _repeated(a)) for i, a in adapted.items()]
    for record, raw in places:
        begin = data + ALIGNMENT * int.from_bytes(file[record : record + 4], "little")
        out[begin : begin + len(raw)] = raw
    sign(out)
    return bytes(out)


def sign(out: bytearray) -> None:
    """Write the checksum."""
    struct.pack_into("<I", out, 12, zlib.crc32(out[16:], zlib.crc32(out[:12])))


def tap_order(width: int, p: Projection) -> list[int]:
    """The order of a kernel's columns in the file: those that a source reaches are neighbours, as their targets are.

    A source at x reaches the columns of one phase, (x + padding) modulo stride; the last column has the first target.
    """
    if p.dilation[1] != 1 or p.groups != 1:
        return list(range(width))[::-1]
    return [column for phase in range(p.stride[1]) for column in range(phase, width, p.stride[1])[::-1]]
