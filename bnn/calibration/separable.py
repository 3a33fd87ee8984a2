# SPDX-License-Identifier: Apache-2.0
"""Values whose channels can have scales of their own, as parts of a concatenation."""

from __future__ import annotations

from collections.abc import Collection

from ..ir.graph import DType, Node
from ..ir.ops import CONVOLUTIONS, INF
from .units import Units, is_mean

MOVES = ("concat", "max_pool", "avg_pool", "slice", "copy", "gather", "reshape")


def _moves_channels(node: Node) -> bool:
    if node.op in ("concat", "slice"):
        return True
    same = node.op in MOVES and node.type.shape[-1] == node.inputs[0].type.shape[-1]
    return same and not (node.op == "avg_pool" and is_mean(node))


def makes_channels(units: Units, node: Node) -> bool:
    """Whether a value can have a scale for each channel: none of its limits is a byte that differs between them."""
    low, high = units.limits(node)
    return units.core(node).op in (*CONVOLUTIONS, "affine") and low in (-INF, 0.0) and high == INF


def separable(units: Units, outputs: Collection[Node]) -> frozenset[Node]:
    """The values whose readers treat every channel by numbers of its own, so that each can have its scale: results of
    layers and batch norms, and what is moved of them."""
    readers = units.readers()
    found: set[Node] = set()

    def treats_each(reader: Node) -> bool:
        if reader in found or units.base[reader] is not reader:
            return reader in found
        core = units.core(reader)
        return core.op in ("conv2d", "affine", "binarize") or core.op == "avg_pool" and is_mean(core)

    for node in reversed(units.order):
        own = node.type.dtype is DType.f32 and node not in outputs and units.base[node] is node
        if own and (_moves_channels(node) or makes_channels(units, node)) and all(map(treats_each, readers[node])):
            found.add(node)
    return frozenset(found)
