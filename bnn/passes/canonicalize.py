# SPDX-License-Identifier: Apache-2.0
"""One form for equivalent graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..ir.graph import Graph, Node
from ..ir.ops import INF, OPS, ClampAttrs, ConvAttrs, PadAttrs, ReshapeAttrs, constant, conv_attrs
from ..ir.rewrite import Match, Pattern, Rewrite, any_, const, remade, rewrite


def canonicalize(graph: Graph) -> Graph:
    """Precondition: SOURCE.  Postcondition: SOURCE, and constants of commutative ops come second; zero padding is part
    of the convolution after it; every reshape, pad and slice changes something, and no reshape follows another;
    elementwise ops come before reshapes that keep their channels; a dense layer over a flattened image is a convolution
    of the image's size (so it reads packed pixels in place).
    """
    return rewrite(graph, RULES)


def _constant_second(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    a, b = node.inputs
    if not a.is_constant or b.is_constant:
        return None
    return remade(node, node.op, b, a)


def _fold_pad(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    pad, attrs = found["pad"].attrs, node.attrs
    assert isinstance(pad, PadAttrs) and isinstance(attrs, ConvAttrs)
    if pad.value != 0:
        return None
    top, left, bottom, right = (a + b for a, b in zip(pad.pads, attrs.pads, strict=True))
    attrs = replace(attrs, pads=(top, left, bottom, right))
    return remade(node, node.op, found["x"], *node.inputs[1:], attrs=attrs)


def _merge_reshape(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    return remade(node, "reshape", found["x"], attrs=node.attrs)


def _drop_idle(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    return found["x"] if found["x"].type == node.type else None


def _before_reshape(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    """op(reshape(x), reshape(y), c) -> reshape(op(x, y, c)), x and y of the same shape; c is a scalar, or one value per
    channel if the reshape keeps the channels."""
    moved = node.data
    if not moved or any(i.op != "reshape" or i.type != moved[0].type for i in moved):
        return None
    x = moved[0].inputs[0]
    if any(i.inputs[0].type != x.type for i in moved):
        return None
    operands = []
    for operand in node.inputs:
        per_channel = operand.type.shape == x.type.shape[-1:] == node.type.shape[-1:]
        if not operand.is_constant:
            operands.append(operand.inputs[0])
        elif per_channel:
            operands.append(operand)
        elif operand.value.size == 1:
            # The scalar's own dimensions could broadcast against the batch; a slope is one number per channel.
            shape = x.type.shape[-1:] if node.op == "prelu" else (1,)
            operands.append(constant(np.broadcast_to(operand.value.reshape(1), shape)))
        else:
            return None
    return remade(node, "reshape", remade(node, node.op, *operands, attrs=node.attrs), attrs=moved[0].attrs)


def flatten_to_conv(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    """dense(flatten(x: h, w, c)) -> flatten(convolution of x by h x w filters)."""
    x, w, attrs = found["x"], found["w"].value, conv_attrs(node)
    if len(node.type.shape) != 1 or len(x.type.shape) != 3 or attrs.groups != 1:
        return None
    h, width, c = x.type.shape
    filters = constant(np.reshape(w, (w.shape[0], h, width, c)), found["w"].type.dtype, found["w"].name)
    wide = remade(node, node.op, x, filters, attrs=attrs)
    return remade(node, "reshape", wide, attrs=ReshapeAttrs(node.type.shape))


def _prelu(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    """relu(x) + c * relu(x * -1) -> prelu(x, -c): how Keras writes it; the same products, and sums with zero."""
    slope = found["c"].value
    if found["minus"].value.tolist() != [-1.0] or found["x"] is not found["same"]:
        return None
    channels = node.type.shape[-1:]
    if slope.shape not in ((1,), channels):
        return None
    return remade(node, "prelu", found["x"], constant(np.broadcast_to(-slope, channels)))


def _relu(x: Pattern) -> Pattern:
    return Pattern(("clamp",), (x,), where=lambda n: n.attrs == ClampAttrs(0.0, INF))


_NEGATED = Pattern(("mul",), (any_("same"), const("minus")))
_KERAS_PRELU = Pattern(
    ("add",),
    (_relu(any_("x")), Pattern(("mul",), (_relu(_NEGATED), const("c")))),
)

RULES = (
    Rewrite(_KERAS_PRELU, _prelu),
    Rewrite(Pattern(tuple(op.name for op in OPS.values() if op.commutative)), _constant_second),
    Rewrite(Pattern(("conv2d",), (Pattern(("pad",), (any_("x"),), capture="pad"), const("w"))), _fold_pad),
    Rewrite(Pattern(("reshape",), (Pattern(("reshape",), (any_("x"),)),)), _merge_reshape),
    Rewrite(Pattern(("reshape", "pad", "pad_channels", "slice"), (any_("x"),)), _drop_idle),
    Rewrite(Pattern(tuple(op.name for op in OPS.values() if op.elementwise)), _before_reshape),
    Rewrite(Pattern(("conv2d",), (Pattern(("reshape",), (any_("x"),)), const("w"))), flatten_to_conv),
)
