# SPDX-License-Identifier: Apache-2.0
"""Pool bits instead of floats: move the quantizer before the max-pool."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..ir.graph import DType, Graph, Node, reached
from ..ir.ops import CONVOLUTIONS, constant, make
from ..ir.rewrite import Rewrite, is_elementwise, rewrite


def sink_sign(graph: Graph) -> Graph:
    """binarize(f(max_pool(x))) -> max_pool(binarize(f(x))), the decreasing channels of f marked in the pool's mask.

    Precondition: f is a chain of per-channel affine operations and clamps, and x comes from a convolution, or from a
    concatenation of convolutions, through such operations, each with one user.  Postcondition: the pool works on bits.

    Each operation of f rounds a monotone function, so f is monotone in every channel: where it increases,
    f(max x) = max f(x) and the bits are ORed; where it decreases (a negative gamma), f(max x) = min f(x) and they are
    ANDed.  Both hold exactly, rounding included.
    """
    return rewrite(graph, [Rewrite(_sink, ("binarize",))])


def is_channel_operation(node: Node) -> bool:
    """Whether the op is affine or a clamp, with one finite constant per channel."""
    if node.op == "clamp":
        return True
    if node.op not in ("add", "sub", "mul") or not node.inputs[1].is_constant:
        return False
    channels = node.inputs[1].type.shape in ((), (1,), node.inputs[0].type.shape[-1:])
    return channels and bool(np.all(np.isfinite(node.inputs[1].value)))


def channel_operations(x: Node, uses: Mapping[Node, int]) -> tuple[list[Node], Node]:
    """(The per-channel operations with one user that make x, the last first; the value that they start from.)"""
    chain = []
    while is_channel_operation(x) and uses.get(x, 1) == 1:
        chain.append(x)
        x = x.inputs[0]
    return chain, x


def _sink(node: Node, uses: Mapping[Node, int]) -> Node | None:
    chain, x = channel_operations(node.inputs[0], uses)
    if x.op != "max_pool" or uses.get(x, 1) != 1 or not from_convolution(x.inputs[0], uses):
        return None
    decreasing = np.zeros(node.type.shape[-1], bool)
    value = x.inputs[0]
    for step in reversed(chain):
        if step.op == "mul":
            decreasing ^= np.broadcast_to(step.inputs[1].value < 0, decreasing.shape)
        value = make(step.op, value, *step.inputs[1:], attrs=step.attrs, name=step.name)
    if len(node.inputs) > 1:  # a flip reverses the direction
        decreasing ^= node.inputs[2].value > 0
    bits = make("binarize", value, *node.inputs[1:], name=node.name)
    operands: tuple[Node, ...] = (bits,)
    if decreasing.any():
        operands += (constant(np.where(decreasing, 1, -1), DType.b1),)
    return make("max_pool", *operands, attrs=x.attrs, name=x.name, tap=node.tap or node.name, origin=node.origin)


def from_convolution(x: Node, uses: Mapping[Node, int]) -> bool:
    """Whether the ops after x can join a convolution: a single one, or the parts of a concatenation."""

    def before(node: Node) -> tuple[Node, ...]:
        if uses.get(node, 1) != 1:
            return ()
        return node.inputs[:1] if is_elementwise(node) else node.inputs if node.op == "concat" else ()

    return any(node.op in CONVOLUTIONS and uses.get(node, 1) == 1 for node in reached([x], before))
