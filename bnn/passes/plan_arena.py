# SPDX-License-Identifier: Apache-2.0
"""Addresses: values that are not alive at the same time share memory."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from ..errors import CompileError
from ..file.bits import words
from ..file.container import ALIGNMENT, aligned
from ..ir.graph import DType, Graph, Node, Placement, Storage
from ..ir.ops import replaced, rows_at_once, takes_rows


@dataclass(frozen=True)
class ArenaMemory:
    """What a plan is for.

    ``alignment``: of the values, in bytes.  ``fewest_pixels``, ``least_bytes``: of a value that is passed.  ``band``:
    bytes that there always are for passed rows, in a memory of their own; None: rows lie in the arena, at the offset of
    the passed value.
    """

    alignment: int = ALIGNMENT
    fewest_pixels: int = 0
    least_bytes: int = 0
    band: int | None = None


# Convolutions of smaller images are faster on several images at once; a smaller value is in the nearest cache, and each
# band costs a call.
RUNTIME = ArenaMemory(fewest_pixels=128, least_bytes=16384, band=2048)


def plan_arena(graph: Graph, memory: ArenaMemory = RUNTIME) -> Graph:
    """Precondition: scheduled.  Postcondition: every arena value has an offset, those alive together do not overlap,
    and ``arena_bytes`` is the space they need.  A value takes the place of an operand that nothing reads later, where
    its op allows it.  What a convolution gives to an op after it that takes rows is passed, not placed, if that saves
    space.  A plan that the graph has is replaced.
    """
    passed = [
        n
        for n in passable(graph)
        if math.prod(n.type.shape[:2]) >= memory.fewest_pixels
        and physical_bytes(n, graph.placements[n]) >= memory.least_bytes
    ]
    planned, size = arrange(graph, passed, memory)
    for node in sorted(passed, key=lambda n: planned.placements[n].bytes):
        fewer = [n for n in passed if n is not node]
        other, other_size = arrange(graph, fewer, memory)
        if other_size <= size:
            passed, planned, size = fewer, other, other_size
    return planned


def passable(graph: Graph) -> list[Node]:
    """The values that could be passed."""
    uses, places = graph.use_counts(), graph.placements
    pairs = zip(graph.schedule, graph.schedule[1:], strict=False)
    return [n for n, reader in pairs if takes_rows(reader, n) and uses[n] == 1 and not places[n].halo]


def arrange(graph: Graph, passed: Collection[Node], memory: ArenaMemory = RUNTIME) -> tuple[Graph, int]:
    """The plan in which these values are passed, and its bytes: of the arena, and of the rows that exist at once.  What
    a passed value is made of must last until the next op has run.

    Greedy by size, largest first, each at the lowest address that is free for its whole life (the rule of TensorFlow
    Lite's planner): within a few percent of the best on networks of this kind.
    """
    placements = {n: replace(place, storage=_storage(place, n in passed)) for n, place in graph.placements.items()}
    position = {node: i for i, node in enumerate(graph.schedule)}
    last = replace(graph, placements=placements).last_reads()
    sizes = {n: physical_bytes(n, place, memory.alignment) for n, place in placements.items()}
    pairs = zip(graph.schedule, graph.schedule[1:], strict=False)
    bands = {n: sizes[n] // n.type.shape[0] * rows_at_once(reader) for n, reader in pairs if n in passed}
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last
    arena = 0
    members = [n for n in graph.schedule if placements[n].storage is Storage.ARENA]
    space = sizes
    if memory.band is None:
        members = [n for n in graph.schedule if placements[n].storage in (Storage.ARENA, Storage.PASSED)]
        space = sizes | {n: aligned(band, memory.alignment) for n, band in bands.items()}
    chains: dict[Node, list[Node]] = {}  # by their last member: values that take each other's place
    for node in members:
        over = (
            o
            for o in replaced(node)
            if o in chains and last[o] == position[node] and placements[o].halo == placements[node].halo
        )
        taken = None if node in passed else next(over, None)
        chains[node] = [*(chains.pop(taken) if taken is not None else ()), node]
    for chain in sorted(chains.values(), key=lambda c: (-space[c[0]], position[c[0]])):
        first, until, size = position[chain[0]], last[chain[-1]], space[chain[0]]
        offset = 0
        for start, end, other_first, other_last in sorted(placed):
            if other_first <= until and first <= other_last and start < offset + size and offset < end:
                offset = end
        placed.append((offset, offset + size, first, until))
        arena = max(arena, offset + size)
        for node in chain:
            placements[node] = replace(placements[node], offset=offset)
    for nodes in (graph.inputs, graph.outputs):
        for index, node in enumerate(nodes):
            if placements[node].storage is not Storage.ARENA:
                placements[node] = replace(placements[node], offset=index)
    placements = {n: replace(p, bytes=sizes[n]) for n, p in placements.items()}
    rows = max(memory.band, *bands.values()) if memory.band is not None and bands else 0
    return replace(graph, placements=placements, arena_bytes=arena), arena + rows


def _storage(place: Placement, passed: bool) -> Storage:
    if passed:
        return Storage.PASSED
    return Storage.ARENA if place.storage is Storage.PASSED else place.storage


def physical_bytes(node: Node, place: Placement, alignment: int = ALIGNMENT) -> int:
    """Bytes of one image of a value in memory; those of arena values and constants are aligned."""
    shape = node.type.shape
    channels = shape[-1] if shape else 1
    pixel = words(channels) if node.type.dtype is DType.b1 else channels
    if node.is_constant:
        count = int(np.prod(shape[:-1], dtype=np.int64)) * pixel
    else:
        h, w = (1, 1, *shape)[-3:-1]
        halo = place.halo
        count = (h + halo.top + halo.bottom) * (w + halo.left + halo.right) * pixel
    size = node.type.dtype.element * count
    if size >= 2**31:
        raise CompileError(f"layer '{node.name}' needs {size} bytes for one image; at most 2 GiB are supported")
    return aligned(size, alignment) if place.storage in (Storage.ARENA, Storage.CONSTANT) else size
