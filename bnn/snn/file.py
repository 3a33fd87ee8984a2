# SPDX-License-Identifier: Apache-2.0
"""The .snn file: docs/reference/snn-format.md is the specification.  The runtime (csrc/snn/open.c) checks it, too."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from .._types import Array, Floats
from ..file.container import ALIGNMENT, Format, Parts, Section
from .learning import Feedback, Learning
from .network import Kind, Network, Population, Projection, Shape, cycled
from .rules import BY_OPCODE, COMMON, Dynamics, Emits, Reset

LANES = 32  # neurons that the runtime updates together
SLACK = 512  # bytes after weights between event populations, which the runtime reads
ROW = 16  # elements: rows of dense weights have a multiple
POPULATION = struct.Struct("<BBBBB3xIIII2I2I16I2IIII4x")  # 8 parameters
PROJECTION = struct.Struct("<BBBxIIIf2I2I2I2IIIIII2I2I7fI2I")
# The counts, whether channels come first and dt; the simulator.
FORMAT = Format(
    ".snn", b"\x89SNN\r\n\x1a\n", 1, "IIIf",
    (("populations", POPULATION.size), ("projections", PROJECTION.size)), "II32x",
)  # fmt: skip
KINDS: tuple[Kind, ...] = ("dense", "conv", "diagonal", "window", "wires")  # by their numbers


def encode(network: Network) -> bytes:
    """The file's bytes; the same network gives the same bytes.

    Raises CompileError where :meth:`Network.check` does.
    """
    network.check()
    strings, data = Section(), Section(ALIGNMENT)
    projections = sorted(network.projections, key=lambda p: p.target)  # stable: the order of each target's stays
    populations = b"".join(_population(p, strings, data) for p in network.populations)
    table = b"".join(_projection(network, p, strings, data) for p in projections)
    simulator = strings.add(network.simulator.encode())
    counts = (len(network.populations), len(projections), network.channels_first, network.dt)
    return FORMAT.encode(counts, (populations, table, strings.bytes, data.bytes), simulator)


def _array(value: Floats, data: Section) -> tuple[int, int]:
    """(line, period): the values of any LANES neurons in a row are contiguous."""
    value = np.asarray(value, "<f4").reshape(-1)
    return _line(cycled(value, value.size + LANES - 1).tobytes(), data), value.size


def _population(p: Population, strings: Section, data: Section) -> bytes:
    d = p.dynamics
    flags = p.output | (d is not None and d.at_least) << 1 | (d is not None and d.floored) << 2
    flags |= (d is not None and d.winner) << 3
    arrays = [_array(p.parameters[name], data) for name in p.parameter_names]
    arrays += [(0, 0)] * (8 - len(arrays))
    arrays.append(_array(p.adapted, data) if p.adapts else (0, 0))
    cuts = _line(p.cuts.astype("<f4").tobytes(), data) if p.cuts.size else 0
    return POPULATION.pack(
        d.rule.opcode if d else 0, d.reset if d else 0, p.emits, flags, len(p.shape), *p.grid, 0,
        *strings.add(p.name.encode()), *(_array(p.bias, data) if d else (0, 0)), *(n for pair in arrays for n in pair),
        p.origin, p.steps, cuts,
    )  # fmt: skip


def _projection(network: Network, p: Projection, strings: Section, data: Section) -> bytes:
    source = network.populations[p.source]
    kind = "i1" if p.whole else "<u4" if p.kind == "wires" else "<f4"
    weights, row = p.weights, 0
    if p.kind == "dense":
        row = weights.shape[1] + -weights.shape[1] % ROW
        weights = np.pad(weights, ((0, 0), (0, row - weights.shape[1])))
    elif p.kind == "diagonal":
        row = weights.size
    elif p.kind == "wires":
        targets = np.flatnonzero(weights >= 0)
        targets = targets[np.argsort(weights[targets], kind="stable")]
        first = np.searchsorted(weights[targets], np.arange(source.size + 1))
        row, weights = targets.size, np.concatenate([first, targets])
    elif p.kind == "conv":
        weights = weights[:, :, tap_order(weights.shape[2], p)]
    slack = bytes(SLACK) if p.kind == "conv" and source.event else b""
    kernel = p.weights.shape[1:3] if p.kind == "conv" else p.window
    mask = 0
    if p.mask is not None:
        padded = np.zeros(source.size + -source.size % 32, bool)
        padded[: source.size] = p.mask
        mask = _line(np.packbits(padded, bitorder="little").tobytes(), data)
    line = _line(weights.astype(kind).tobytes() + slack, data)
    flags = (p.mask is not None) | (p.bias is not None) << 1
    numbers, signal = np.zeros(7, np.float32), 0
    if isinstance(p.learning, Feedback):
        flags |= 4 | 16
        signal = p.learning.signal
    elif p.learning is not None:
        flags |= 4 | p.learning.added << 3
    if p.learning is not None:
        numbers = p.learning.numbers
    return PROJECTION.pack(
        KINDS.index(p.kind), p.whole, flags, p.source, p.target, p.delay, p.scale,
        *kernel, *p.stride, *p.padding, *p.dilation, p.groups, line, row, mask, p.origin,
        *(_array(p.bias, data) if p.bias is not None else (0, 0)), *strings.add(p.name.encode()), *numbers,
        signal, *(_array(p.scales, data) if p.scales is not None else (0, 0)),
    )  # fmt: skip


def _line(raw: bytes, data: Section) -> int:
    return data.add(raw)[0] // ALIGNMENT


def tap_order(width: int, p: Projection) -> list[int]:
    """The order of a kernel's columns in the file: those that a source reaches are neighbours, as their targets are.

    A source at x reaches the columns of one phase, (x + padding) modulo stride; the last column has the first target.
    """
    if p.dilation[1] != 1 or p.groups != 1:
        return list(range(width))[::-1]
    return [column for phase in range(p.stride[1]) for column in range(phase, width, p.stride[1])[::-1]]


def decode(data: bytes) -> Network:
    """The network of a .snn file that the runtime has opened: what is wrong in one, the runtime says."""
    file = FORMAT.decode(data)
    _, _, first, dt = file.counts
    reader = _Reader(file)
    populations = [reader.population(row) for row in POPULATION.iter_unpack(file.tables[0])]
    projections = [reader.projection(row, populations) for row in PROJECTION.iter_unpack(file.tables[1])]
    return Network(populations, projections, dt, reader.string(*file.rest), bool(first))


class _Reader:
    def __init__(self, file: Parts) -> None:
        self._file = file

    def string(self, offset: int, size: int) -> str:
        return self._file.text(offset, size, errors="replace")

    def values(self, line: int, shape: Shape, dtype: str = "<f4") -> Array:
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self._file.data, dtype, count, ALIGNMENT * line).reshape(shape).copy()

    def population(self, fields: tuple[Any, ...]) -> Population:
        opcode, reset, emits, flags, rank, h, w, c, _, name, length, *pairs, origin, steps, cuts = fields
        shape = (h, w, c)[3 - rank :]
        arrays = list(zip(pairs[::2], pairs[1::2], strict=True))
        if not opcode:
            return Population(
                self.string(name, length), shape, output=bool(flags & 1), input_emits=Emits(emits), steps=steps,
                origin=origin,
            )  # fmt: skip
        rule = BY_OPCODE[opcode]
        dynamics = Dynamics(rule, Reset(reset), Emits(emits), *(bool(flags & bit) for bit in (2, 4, 8)))
        names = (*COMMON, *rule.parameters)
        parameters = {n: self.values(line, (period,)) for n, (line, period) in zip(names, arrays[1:], strict=False)}
        bias = self.values(arrays[0][0], (arrays[0][1],))
        found = Population(self.string(name, length), shape, dynamics, parameters, bias, bool(flags & 1))
        found.origin, found.steps = origin, steps
        if rule.name == "counter":
            found.cuts = self.values(cuts, (c * steps,))
        if found.adapts:
            line, period = arrays[9]
            found.adapted = self.values(line, (period,))
        return found

    def projection(self, fields: tuple[Any, ...], populations: list[Population]) -> Projection:
        kind, whole, flags, source, target, delay, scale = fields[:7]
        kernel, stride, padding, dilation = (fields[i : i + 2] for i in (7, 9, 11, 13))
        groups, line, row, mask, origin, bias, period, name, length, *numbers, signal, scales, count = fields[15:]
        before, after = populations[source], populations[target]
        dtype = "i1" if whole else "<f4"
        found = Projection(
            source, target, KINDS[kind], np.zeros(0, dtype), scale, delay, stride, padding, dilation, groups,
            name=self.string(name, length), origin=origin, window=kernel if KINDS[kind] == "window" else (0, 0),
        )  # fmt: skip
        if found.kind == "dense":
            found.weights = self.values(line, (before.size, row), dtype)[:, : after.size].copy()
        elif found.kind == "diagonal":
            found.weights = self.values(line, (row,), dtype)
        elif found.kind == "wires":
            wires = self.values(line, (before.size + 1 + row,), "<u4").astype(np.int32)
            found.weights = np.full(after.size, -1, np.int32)
            found.weights[wires[before.size + 1 :]] = np.repeat(
                np.arange(before.size), np.diff(wires[: before.size + 1])
            )
        elif found.kind == "conv":
            stored = self.values(line, (before.channels, *kernel, after.channels // groups), dtype)
            found.weights = np.empty_like(stored)
            found.weights[:, :, tap_order(kernel[1], found)] = stored
        if flags & 1:
            words = self.values(mask, (-(-before.size // 32) * 4,), "u1")
            found.mask = np.unpackbits(words, bitorder="little")[: before.size].astype(bool)
        if flags & 2:
            found.bias = self.values(bias, (period,))
        if count:
            found.scales = self.values(scales, (count,))
        if flags & 16:
            found.learning = Feedback(signal, *numbers[1:6])
        elif flags & 4:
            nu_pre, nu_post, decay_pre, decay_post, low, high, norm = numbers
            found.learning = Learning(nu_pre, nu_post, decay_pre, decay_post, bool(flags & 8), low, high, norm)
        return found
