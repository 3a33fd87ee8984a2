# SPDX-License-Identifier: Apache-2.0
"""An independent check of a memory plan: run the schedule in a simulated arena."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnn.ir.graph import DType, Graph, Node, Storage
from bnn.ir.ops import PoolAttrs
from bnn.passes.plan_arena import RUNTIME, ArenaMemory


def needed(node: Node, graph: Graph) -> int:
    """Bytes of one image of a value, halo included."""
    *spatial, channels = node.type.shape
    h, w = [1, 1, *spatial][-2:]
    halo = graph.placements[node].halo
    pixel = {DType.f32: 4 * channels, DType.u8: channels}.get(node.type.dtype, 4 * -(-channels // 32))
    return (h + halo.top + halo.bottom) * (w + halo.left + halo.right) * pixel


def check_plan(graph: Graph, memory: ArenaMemory = RUNTIME) -> None:
    """Every operand is still whole in the arena when it is read; sizes, alignment and the total are right.

    (An op reads before it writes here, so that a value may be over its operand.  A passed value's rows, and what it is
    made of, are read again when the next op has written.)"""
    unit = memory.alignment
    owner = np.full(graph.arena_bytes, -1, np.int64)
    number = {node: i for i, node in enumerate(graph.schedule)}
    total = 0
    rows: dict[Node, int] = {}  # bytes of those that are passed, in the arena

    def read(operands: Sequence[Node]) -> None:
        for operand in operands:
            at = graph.placements[operand]
            size = at.bytes if at.storage is Storage.ARENA else rows.get(operand, 0)
            whole = owner[at.offset : at.offset + size] == number.get(operand)
            assert whole.all(), f"{operand.name} was overwritten"

    before: Node | None = None
    for node in graph.schedule:
        place = graph.placements[node]
        read(node.inputs)
        for operand in node.inputs:
            at = graph.placements[operand]
            if node.op in ("conv2d", "bconv2d") and operand is node.inputs[0]:
                top, left, bottom, right = node.attrs.pads
                halo = at.halo
                assert halo.top >= top and halo.left >= left and halo.bottom >= bottom and halo.right >= right
        if place.storage is Storage.ARENA:
            assert place.offset % unit == place.bytes % unit == 0 and place.bytes >= needed(node, graph)
            assert place.bytes < needed(node, graph) + unit
            assert place.offset >= 0 and place.offset + place.bytes <= graph.arena_bytes
            owner[place.offset : place.offset + place.bytes] = number[node]
            total += place.bytes
        elif place.storage is Storage.PASSED:
            assert place.bytes == needed(node, graph) and not place.halo
            assert memory.band is None or place.offset == 0
            if memory.band is None:
                attrs = graph.schedule[number[node] + 1].attrs
                once = attrs.kernel[0] if isinstance(attrs, PoolAttrs) else 1
                rows[node] = place.bytes // node.type.shape[0] * min(once, node.type.shape[0])
                assert place.offset % unit == 0 and place.offset + rows[node] <= graph.arena_bytes
                owner[place.offset : place.offset + rows[node]] = number[node]
                total += -(-rows[node] // unit) * unit
        else:
            assert place.storage is Storage.OUTPUT and not place.halo and place.bytes == needed(node, graph)
        if before is not None and graph.placements[before].storage is Storage.PASSED:
            assert node.inputs[0] is before and node.op in ("max_pool", "quantize", "binarize_levels")
            read([*node.inputs, *before.inputs])
        before = node
    assert graph.arena_bytes <= total
    for storage, nodes in ((Storage.INPUT, graph.inputs), (Storage.OUTPUT, graph.outputs)):
        for i, node in enumerate(nodes):
            assert graph.placements[node].storage is storage and graph.placements[node].offset == i
            assert node.type.dtype is DType.f32
