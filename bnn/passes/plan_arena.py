# SPDX-License-Identifier: Apache-2.0
"""Addresses: values that are not alive at the same time share memory."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from ..errors import CompileError
from ..file.bits import words
from ..file.coding import aligned
from ..ir.graph import DType, Graph, Node, Placement, Storage
from ..ir.ops import PoolAttrs, replaced, takes_rows

_FEWEST_PIXELS = 128  # of a passed value: convolutions of smaller images are faster on several images at once
_LEAST_BYTES = 16384  # of one: a smaller one is in the nearest cache, and each band costs a call
_LEAST_BAND = 2048  # bytes that the runtime always takes for rows


def plan_arena(graph: Graph) -> Graph:
    """Precondition: scheduled.  Postcondition: every arena value has an offset, those alive together do not overlap,
    and ``arena_bytes`` is the space they need.  A value takes the place of an operand that nothing reads later, where
    its op allows it.  What a convolution gives to the max-pool after it is passed, not placed, if that saves space.
    """
    passed = [
        n
        for n in passable(graph)
        if math.prod(n.type.shape[:2]) >= _FEWEST_PIXELS and physical_bytes(n, graph.placements[n]) >= _LEAST_BYTES
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
    return [n for n, pool in pairs if takes_rows(pool, n) and uses[n] == 1 and not places[n].halo]


def arrange(graph: Graph, passed: Collection[Node]) -> tuple[Graph, int]:
    """The plan in which these values are passed, and its bytes: of the arena, and of the rows that exist at once.  What
    a passed value is made of must last until the next op has run.

    Greedy by size, largest first, each at the lowest address that is free for its whole life (the rule of TensorFlow
    Lite's planner): within a few percent of the best on networks of this kind.
    """
    placements = {
        n: replace(place, storage=Storage.PASSED) if n in passed else place for n, place in graph.placements.items()
    }
    position = {node: i for i, node in enumerate(graph.schedule)}
    last = dict(position)
    for node in graph.schedule:
        for operand in node.inputs:
            if operand in position:
                last[operand] = position[node] + (node in passed)
    sizes = {n: physical_bytes(n, placements[n]) for n in placements}
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last
    arena = 0
    members = [n for n in graph.schedule if placements[n].storage is Storage.ARENA]
    chains: dict[Node, list[Node]] = {}  # by their last member: values that take each other's place
    for node in members:
        over = (
            o
            for o in replaced(node)
            if o in chains and last[o] == position[node] and placements[o].halo == placements[node].halo
        )
        taken = next(over, None)
        chains[node] = [*(chains.pop(taken) if taken is not None else ()), node]
    for chain in sorted(chains.values(), key=lambda c: (-sizes[c[0]], position[c[0]])):
        first, until, size = position[chain[0]], last[chain[-1]], sizes[chain[0]]
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
            placements[node] = replace(placements[node], offset=index)
    placements = {n: replace(p, bytes=sizes[n]) for n, p in placements.items()}
    pairs = zip(graph.schedule, graph.schedule[1:], strict=False)
    rows = (max(_band(n, pool, sizes[n]), _LEAST_BAND) for n, pool in pairs if n in passed)
    return replace(graph, placements=placements, arena_bytes=arena), arena + max(rows, default=0)


def _band(node: Node, pool: Node, size: int) -> int:
    """Bytes of the rows of a window."""
    assert isinstance(pool.attrs, PoolAttrs)
    return size // node.type.shape[0] * pool.attrs.kernel[0]


def physical_bytes(node: Node, place: Placement) -> int:
    """Bytes of one image of a value in memory; arena values and constants take whole cache lines."""
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
    return aligned(size) if place.storage in (Storage.ARENA, Storage.CONSTANT) else size
