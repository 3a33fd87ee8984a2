# SPDX-License-Identifier: Apache-2.0
"""An independent check of a memory plan: run the schedule in a simulated arena."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnn.ir.graph import DType, Graph, Node, Storage
from bnn.ir.ops import ConvAttrs, PadAttrs, PoolAttrs, rows_computed, sums_rows

RUNTIME, FIRMWARE = 64, 8  # alignments


def needed(node: Node, graph: Graph) -> int:
    """Bytes of one image of a value, halo included."""
    *spatial, channels = node.type.shape
    h, w = [1, 1, *spatial][-2:]
    halo = graph.placements[node].halo
    pixel = {DType.f32: 4 * channels, DType.u8: channels}.get(node.type.dtype, 4 * -(-channels // 32))
    return (h + halo.top + halo.bottom) * (w + halo.left + halo.right) * pixel


def check_plan(graph: Graph) -> None:
    """Every operand is still whole in the arena when it is read; sizes, alignment and the total are right.

    (An op reads before it writes here, so that a value may be over its operand.  A passed value's rows, and what it is
    made of, are read again when the next op has written.)"""
    unit = RUNTIME
    owner = np.full(graph.arena_bytes, -1, np.int64)
    number = {node: i for i, node in enumerate(graph.schedule)}
    total = 0

    def read(operands: Sequence[Node]) -> None:
        for operand in operands:
            at = graph.placements[operand]
            size = at.bytes if at.storage is Storage.ARENA else 0
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
            assert place.offset == 0
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


def window(node: Node, number: int, row: int) -> range:
    """The rows of an operand that are read for a row of the value, some of which may be outside the image."""
    if isinstance(node.attrs, PadAttrs):
        return range(row - node.attrs.pads[0], row - node.attrs.pads[0] + 1)
    if number > 0 or not isinstance(node.attrs, ConvAttrs | PoolAttrs):
        return range(row, row + 1)
    stride, top = node.attrs.stride[0], node.attrs.pads[0]
    kernel, step = node.inputs[1].type.shape[1] if isinstance(node.attrs, ConvAttrs) else node.attrs.kernel[0], 1
    if isinstance(node.attrs, ConvAttrs):
        step = node.attrs.dilation[0]
    return range(row * stride - top, row * stride - top + (kernel - 1) * step + 1, step)


def check_rows(graph: Graph) -> None:
    """Run the schedule, and chains tick by tick, in a simulated arena: every row is there, where the plan says, when it
    is read."""
    owner = np.full((graph.arena_bytes, 2), -1, np.int64)  # of each byte: the value and the row
    number = {node: i for i, node in enumerate(graph.schedule)}
    newest: dict[Node, int] = {}
    turns = {node: turn for chain in graph.chains for node, turn in chain.items()}

    def height(node: Node) -> int:
        return node.type.shape[0] if len(node.type.shape) == 3 else 1

    def size(node: Node) -> int:
        halo = graph.placements[node].halo
        return needed(node, graph) // (halo.top + height(node) + halo.bottom)

    def bytes_of(node: Node, row: int) -> slice:
        place, kept = graph.placements[node], turns[node].kept if node in turns else 0
        slot = kept - 1 - (newest[node] - row) if kept else place.halo.top + row
        rows = kept or place.halo.top + height(node) + place.halo.bottom
        assert 0 <= slot < rows, f"row {row} of {node.name} is not kept"
        assert place.offset % FIRMWARE == 0 and place.offset + rows * size(node) <= graph.arena_bytes
        return slice(place.offset + slot * size(node), place.offset + (slot + 1) * size(node))

    def read(node: Node, row: int) -> None:
        for i, operand in enumerate(node.inputs):
            if operand not in number or graph.placements[operand].storage is not Storage.ARENA:
                continue
            if sums_rows(node):
                assert (owner[bytes_of(operand, row)] == (number[operand], row)).all(), f"{operand.name}, row {row}"
                continue
            whole = height(operand) != height(node) and not isinstance(node.attrs, ConvAttrs | PadAttrs | PoolAttrs)
            for q in range(height(operand)) if whole or node not in turns else window(node, i, row):
                if 0 <= q < height(operand) or isinstance(node.attrs, ConvAttrs):
                    assert (owner[bytes_of(operand, q)] == (number[operand], q)).all(), f"{operand.name}, row {q}"

    def write(node: Node, rows: range) -> None:
        if graph.placements[node].storage is Storage.ARENA:
            for row in rows:
                owner[bytes_of(node, row)] = (number[node], row)

    chains = {next(iter(chain)): chain for chain in graph.chains}
    for first in graph.schedule:
        if first not in turns:
            read(first, 0)
            halo = graph.placements[first].halo
            write(first, range(-halo.top, height(first) + halo.bottom))
        chain = chains.get(first, {})
        for node, turn in chain.items():
            halo = graph.placements[node].halo
            newest[node] = -1
            rows = range(-turn.kept, 0) if turn.kept and halo else range(0)
            write(node, rows if turn.kept else [*range(-halo.top, 0), *range(height(node), height(node) + halo.bottom)])
        for tick in range(max((turn.first + turn.every * rows_computed(n) for n, turn in chain.items()), default=0)):
            for node, turn in chain.items():
                row, between = divmod(tick - turn.first, turn.every)
                if row < 0 or between:
                    continue
                if turn.kept:
                    start, step = graph.placements[node].offset, size(node)
                    owner[start : start + (turn.kept - 1) * step] = owner[start + step : start + turn.kept * step]
                    newest[node] = row
                if sums_rows(node):  # they stay from the first row to the last
                    place = graph.placements[node]
                    own = owner[place.offset : place.offset + place.bytes]
                    assert row == 0 or (own == (number[node], 0)).all(), f"sums of {node.name}"
                    own[:] = number[node], 0
                    read(node, row)
                elif row < height(node):
                    read(node, row)
                    write(node, range(row, row + 1))
                elif turn.kept and graph.placements[node].halo.bottom:
                    write(node, range(row, row + 1))
