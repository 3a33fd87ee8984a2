# SPDX-License-Identifier: Apache-2.0
"""Where a network's inputs may lie in the arena while it runs."""

from __future__ import annotations

import numpy as np

from ..._types import Array
from ...file.container import aligned
from ...ir.graph import Node, Storage
from ...ir.ops import rows_computed, rows_read, sums_rows
from .program import ALIGNMENT, Program


class _Clock:
    """When ops compute rows, as numbers: an op that is in no chain all at once, others in the chain's order."""

    def __init__(self, program: Program) -> None:
        schedule, self.turns = program.graph.schedule, program.turns
        self.number = {node: i for i, node in enumerate(schedule)}
        self.begin = dict(self.number)
        for chain in program.graph.chains:
            self.begin |= dict.fromkeys(chain, min(self.number[node] for node in chain))
        self.tick = len(schedule) + 1
        ticks = (turn.first + turn.every * rows_computed(node) for node, turn in self.turns.items())
        self.op = self.tick * (max(ticks, default=0) + 1)

    def before(self, node: Node) -> int:
        """When it, or its chain, begins."""
        return self.begin[node] * self.op

    def row(self, node: Node, row: int) -> int:
        if node not in self.turns:
            return self.before(node)
        tick = self.turns[node].first + self.turns[node].every * row
        return self.before(node) + (tick + 1) * self.tick + self.number[node]


def input_places(program: Program) -> tuple[list[int], int]:
    """For each input an offset in the arena where it may lie while the network runs, because each of its rows was read
    for the last time before something is written there; and the bytes of the whole arena."""
    clock, inputs = _Clock(program), program.graph.inputs
    views = [program.view(node) for node in inputs]
    never = np.iinfo(np.int64).max
    room = sum(aligned(view.size, ALIGNMENT) for view in views)
    written = np.full(program.arena + room, never)  # of each byte, for the first time
    for begin, end, when in _writes(program, clock):
        np.minimum(written[begin:end], when, out=written[begin:end])
    offsets = []
    for node, view in zip(inputs, views, strict=True):
        size = view.row * view.dtype.element
        free = np.ones(len(written) - view.size + 1, bool)
        first = _least_of(written, size)
        for row, last in enumerate(_last_reads(program, clock, node)):
            free &= first[row * size :][: len(free)] > last
        at = int(np.argmax(free[::ALIGNMENT])) * ALIGNMENT
        written[at : at + view.size] = -1  # an input's own
        offsets.append(at)
    ends = (at + view.size for at, view in zip(offsets, views, strict=True))
    return offsets, aligned(max([program.arena, *ends]), ALIGNMENT)


def _writes(program: Program, clock: _Clock) -> list[tuple[int, int, int]]:
    """Places in the arena, as their first byte and their end, and when something is written there."""
    found = [(at, at + size, clock.row(node, 0)) for node, at, size in program.reserved]
    if program.stream:
        found.append((0, program.stream.bytes, -1))
    for node in program.graph.schedule:
        place, view = program.graph.placements[node], program.view(node)
        if place.storage is not Storage.ARENA:
            continue
        if view.halo or node not in program.turns or program.kept(node) or sums_rows(node):
            when = clock.before(node) if view.halo or sums_rows(node) else clock.row(node, 0)
            found.append((place.offset, place.offset + program.bytes(node), when))
            continue
        size = view.row * view.dtype.element
        rows = ((place.offset + row * size, row) for row in range(view.height))
        found += [(at, at + size, clock.row(node, row)) for at, row in rows]
    return found


def _last_reads(program: Program, clock: _Clock, node: Node) -> list[int]:
    """When each row of an input is read for the last time."""
    height = program.view(node).height
    last = [-1] * height
    for reader in program.graph.schedule:
        for operand, stride, _, above in rows_read(reader):
            if operand is node:
                until = rows_computed(reader) - 1 if reader in program.turns else 0
                rows = [min((q + above) // stride, until) if stride else until for q in range(height)]
                last = [max(when, clock.row(reader, row)) for when, row in zip(last, rows, strict=True)]
    return last


def _least_of(values: Array, width: int) -> Array:
    """The least of each run of ``width`` values; by runs of half the width."""
    least, done = values, 1
    while done < width:
        step = min(done, width - done)
        least = np.minimum(least[: len(least) - step], least[step:])
        done += step
    return least
