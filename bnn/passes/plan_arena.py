# SPDX-License-Identifier: Apache-2.0
"""Addresses: values that are not alive at the same time share memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import CompileError
from ..file.bits import words
from ..file.coding import aligned
from ..ir.graph import DType, Graph, Node, Placement, Storage
from ..ir.ops import replaced


def plan_arena(graph: Graph) -> Graph:
    """Precondition: scheduled.  Postcondition: every arena value has an offset, those alive together do not overlap,
    and ``arena_bytes`` is the space they need.  A value takes the place of an operand that nothing reads later, where
    its op allows it.

    Greedy by size, largest first, each at the lowest address that is free for its whole life (the rule of TensorFlow
    Lite's planner): within a few percent of the best on networks of this kind.
    """
    position = {node: i for i, node in enumerate(graph.schedule)}
    last = dict(position)
    for node in graph.schedule:
        for operand in node.inputs:
            if operand in position:
                last[operand] = position[node]
    placements = dict(graph.placements)
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
    return replace(graph, placements=placements, arena_bytes=arena)


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
    dense = place.storage in (Storage.INPUT, Storage.OUTPUT)
    return size if dense else aligned(size)
