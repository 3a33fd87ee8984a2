# SPDX-License-Identifier: Apache-2.0
"""What was fused into convolutions stands apart again where its values get scales of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir.graph import DType, Graph, Node
from ..ir.ops import CONVOLUTIONS, INF, ClampAttrs, ConvAttrs, constant, conv_attrs, make
from ..ir.rewrite import rebuild

_NEUTRAL = {"sub": 0.0, "mul": 1.0, "add": -0.0}  # x - 0, x * 1 and x + -0 change no float


def unfused(graph: Graph) -> Graph:
    """The graph with residuals, and batch norms behind an activation, as ops of their own instead of slots.  It has the
    same float32 operations in the same order, and no plan."""

    def visit(old: Node, node: Node) -> Node:
        return _split(node) if node.op in CONVOLUTIONS and _kept(conv_attrs(node)) != conv_attrs(node).slots else node

    return rebuild(replace(graph, schedule=(), placements={}, arena_bytes=0), visit)


def _kept(attrs: ConvAttrs) -> tuple[str, ...]:
    """The slots up to the first clamp, or the residual."""
    slots = attrs.slots
    if "residual" in slots:
        slots = slots[: slots.index("residual")]
    if "clamp0" in slots:
        slots = slots[: slots.index("clamp0") + 1]
    return slots


def _split(conv: Node) -> Node:
    attrs, operands = conv_attrs(conv), dict(zip(conv_attrs(conv).operands, conv.inputs[2:], strict=True))
    kept = _kept(attrs)
    first = replace(
        attrs, slots=kept, layer_slots=tuple(s for s in attrs.layer_slots if s in kept), out=DType.f32,
        clamp1=attrs.clamp1 if "clamp1" in kept else (-INF, INF),
    )  # fmt: skip
    name = conv.tap or conv.name
    value = make(conv.op, *conv.inputs[:2], *(operands[s] for s in first.operands), attrs=first, name=conv.name)
    rest = attrs.slots[len(kept) :]
    if any(slot in rest for slot in _NEUTRAL):
        channels = value.type.shape[-1]
        numbers = [operands[s] if s in rest else constant(np.full(channels, v)) for s, v in _NEUTRAL.items()]
        value = make("affine", value, *numbers, attrs=ClampAttrs(-INF, INF), name=name)
    if "residual" in rest:
        value = make("add", value, operands["residual"], name=name)
    if "clamp1" in rest:
        value = make("clamp", value, attrs=ClampAttrs(*attrs.clamp1), name=name)
    if attrs.out is DType.b1:
        value = make("binarize", value, name=name)
    return replace(value, origin=conv.origin, tap=conv.tap)
