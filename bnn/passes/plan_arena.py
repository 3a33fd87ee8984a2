# SPDX-License-Identifier: Apache-2.0
"""Addresses: values that are not alive at the same time share memory."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from ..errors import CompileError
from ..file.bits import words
from ..file.container import ALIGNMENT, aligned
from ..ir.graph import DType, Graph, Node, Placement, Storage
from ..ir.ops import replaced, rows_at_once, takes_rows

# A convolution of fewer pixels is faster on several images at once; a smaller value is in the nearest cache, and each
# band costs a call.
FEWEST_PIXELS, LEAST_BYTES = 128, 16384
BAND = 2048  # bytes that there always are for passed rows, beside the arena


def plan_arena(graph: Graph) -> Graph:
    """Precondition: scheduled.  Postcondition: every arena value has an offset, those alive together do not overlap,
    and ``arena_bytes`` is the space they need.  A value takes the place of an operand that nothing reads later, where
    its op allows it.  What a convolution gives to an op after it that takes rows is passed, not placed, if that saves
    space.  A plan that the graph has is replaced.
    """
    passed = [
        n
        for n in passable(graph)
        if math.prod(n.type.shape[:2]) >= FEWEST_PIXELS and physical_bytes(n, graph.placements[n]) >= LEAST_BYTES
    ]
    planned, size = arrange(graph, passed)
    for node in sorted(passed, key=lambda n: planned.placements[n].bytes):
        fewer = [n for n in passed if n is not node]
        other, other_size = arrange(graph, fewer)
        if other_size <= size:
            passed, planned, size = fewer, other, other_size
    return planned


def passable(graph: Graph) -> list[Node]:
    """The values that could be passed."""
    uses, places = graph.use_counts(), graph.placements
    pairs = zip(graph.schedule, graph.schedule[1:], strict=False)
    return [n for n, reader in pairs if takes_rows(reader, n) and uses[n] == 1 and not places[n].halo]


def arrange(graph: Graph, passed: Collection[Node]) -> tuple[Graph, int]:
    """The plan in which these values are passed, and its bytes: of the arena, and of the rows that exist at once.  What
    a passed value is made of must last until the next op has run."""
    placements = {n: replace(place, storage=_storage(place, n in passed)) for n, place in graph.placements.items()}
    placements = {n: replace(place, bytes=physical_bytes(n, place)) for n, place in placements.items()}
    planned = placed(replace(graph, placements=placements))
    pairs = zip(graph.schedule, graph.schedule[1:], strict=False)
    bands = [placements[n].bytes // n.type.shape[0] * rows_at_once(reader) for n, reader in pairs if n in passed]
    return planned, planned.arena_bytes + (max(BAND, *bands) if bands else 0)


def placed(graph: Graph, above: Collection[Node] = (), gap: int = 0) -> Graph:
    """The graph with an offset for every arena value, whose placement has its bytes; and for inputs and outputs their
    numbers.

    Greedy by size, largest first, each at the lowest address that is free for its whole life (the rule of TensorFlow
    Lite's planner): within a few percent of the best on networks of this kind.  The values ``above`` lie above all
    others that there are at the same time, and ``gap`` bytes.
    """
    places, lives = dict(graph.placements), graph.lives()
    position = {node: i for i, node in enumerate(graph.schedule)}
    interleaved = {node for chain in graph.chains for node in chain}
    members = [n for n in graph.schedule if places[n].storage is Storage.ARENA]
    chains: dict[Node, list[Node]] = {}  # by their last member: values that take each other's place
    for node in members:
        over = (
            o
            for o in replaced(node)
            if o in chains and lives[o][1] == position[node] and places[o].halo == places[node].halo
        )
        taken = None if node in interleaved else next(over, None)
        chains[node] = [*(chains.pop(taken) if taken is not None else ()), node]
    taken_places: list[tuple[int, int, int, int]] = []  # offset, end, first, last
    arena = 0
    for chain in sorted(chains.values(), key=lambda c: (c[0] in above, -places[c[0]].bytes, position[c[0]])):
        first, until, size = lives[chain[0]][0], lives[chain[-1]][1], places[chain[0]].bytes
        beside = sorted(place for place in taken_places if place[2] <= until and first <= place[3])
        offset = max((end for _, end, _, _ in beside), default=0) + gap if chain[0] in above else 0
        for start, end, _, _ in beside:
            if start < offset + size and offset < end:
                offset = end
        taken_places.append((offset, offset + size, first, until))
        arena = max(arena, offset + size)
        for node in chain:
            places[node] = replace(places[node], offset=offset)
    for nodes in (graph.inputs, graph.outputs):
        for index, node in enumerate(nodes):
            if places[node].storage is not Storage.ARENA:
                places[node] = replace(places[node], offset=index)
    return replace(graph, placements=places, arena_bytes=arena)


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
