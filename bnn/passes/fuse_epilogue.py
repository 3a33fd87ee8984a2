# SPDX-License-Identifier: Apache-2.0
"""Move bias, batch norm, weight scale, activation and residual into the convolution before them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..ir.graph import DType, Graph, Node
from ..ir.ops import CONVOLUTIONS, OPS, SLOTS, ClampAttrs, constant, conv_attrs
from ..ir.rewrite import Rewrite, fused, rewrite
from .sink_sign import is_channel_operation

_ORDER = list(SLOTS)
# Which slots can take an operation, best first; "-": with the negated operand (x - c = x + (-c) exactly).
_CANDIDATES: dict[str, tuple[str, ...]] = {
    "add": ("pre_add", "add"),
    "sub": ("sub", "-add"),
    "mul": ("pre_mul", "mul"),
    "clamp": ("clamp0", "clamp1"),
}


def fuse_epilogue(graph: Graph) -> Graph:
    """Precondition: convolutions and elementwise ops are separate.  Postcondition: an elementwise op whose operand is a
    convolution with no other user is one of its slots, wherever the slots' order allows it.

    The slots compute the same float32 operations in the same order as the nodes did: nothing is folded or reordered,
    so results do not change by a bit.
    """
    return rewrite(graph, [Rewrite(_fuse, ("add", "sub", "mul", "clamp"))])


def _fuse(node: Node, uses: Mapping[Node, int]) -> Node | None:
    orders = [node.inputs, node.inputs[::-1]] if OPS[node.op].commutative else [node.inputs]
    for inputs in orders:
        conv = inputs[0]
        if conv.op in CONVOLUTIONS and uses.get(conv, 1) == 1:
            new = _into(conv, node, inputs[1:])
            if new is not None:
                return new
    return None


def _into(conv: Node, node: Node, operands: tuple[Node, ...]) -> Node | None:
    attrs = conv_attrs(conv)
    last = max((_ORDER.index(s) for s in attrs.slots), default=-1)
    if is_channel_operation(node):
        candidates = _CANDIDATES[node.op]
    elif node.op == "add" and operands[0].type == conv.type and not operands[0].is_constant:
        candidates = ("residual",)
    else:
        return None
    for candidate in candidates:
        slot = candidate.lstrip("-")
        if _ORDER.index(slot) > last:
            break
    else:
        return None
    new = replace(attrs, slots=(*attrs.slots, slot))
    if isinstance(node.attrs, ClampAttrs):
        limits = (node.attrs.lo, node.attrs.hi)
        new = replace(new, clamp0=limits) if slot == "clamp0" else replace(new, clamp1=limits)
    elif slot != "residual":
        value = operands[0].value.reshape(-1) * np.float32(-1 if candidate != slot else 1)
        operands = (constant(np.broadcast_to(value, conv.type.shape[-1:]), DType.f32, node.name),)
    if node.name == conv.name and attrs.layer_slots == attrs.slots:
        new = replace(new, layer_slots=new.slots)
    return fused(conv, node, conv.op, *conv.inputs, *operands, attrs=new)
