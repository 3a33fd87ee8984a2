# SPDX-License-Identifier: Apache-2.0
"""One form for equivalent graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..ir.graph import Graph, Node
from ..ir.ops import INF, OPS, ClampAttrs, PadAttrs, ReshapeAttrs, constant, conv_attrs, unrepeated
from ..ir.rewrite import Rewrite, remade, rewrite


def canonicalize(graph: Graph) -> Graph:
    """Precondition: SOURCE.  Postcondition: SOURCE, and constants of commutative ops come second; constants of
    elementwise ops do not repeat their values along a dimension; zero padding is part of the convolution after it;
    every reshape, pad and slice changes something, and no reshape follows another; elementwise ops come before reshapes
    that keep their channels; a dense layer over a flattened image is a convolution of the image's size (so it reads
    packed pixels in place).
    """
    return rewrite(graph, RULES)


def _constant_second(node: Node, uses: Mapping[Node, int]) -> Node | None:
    a, b = node.inputs
    if not a.is_constant or b.is_constant:
        return None
    return remade(node, node.op, b, a)


def _shrink_constant(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """A bias that was expanded to a map is one number per channel again."""
    operands = [constant(unrepeated(i.value), name=i.name) if len(i.type.shape) > 1 and i.is_constant else i
                for i in node.inputs]  # fmt: skip
    shapes = [i.type.shape for i in operands]
    if shapes == [i.type.shape for i in node.inputs] or np.broadcast_shapes(*shapes) != node.type.shape:
        return None
    return remade(node, node.op, *operands, attrs=node.attrs)


def _fold_pad(node: Node, uses: Mapping[Node, int]) -> Node | None:
    x, attrs = node.inputs[0], conv_attrs(node)
    assert isinstance(x.attrs, PadAttrs)
    if x.attrs.value != 0:
        return None
    top, left, bottom, right = (a + b for a, b in zip(x.attrs.pads, attrs.pads, strict=True))
    attrs = replace(attrs, pads=(top, left, bottom, right))
    return remade(node, node.op, x.inputs[0], *node.inputs[1:], attrs=attrs)


def _merge_reshape(node: Node, uses: Mapping[Node, int]) -> Node | None:
    return remade(node, "reshape", node.inputs[0].inputs[0], attrs=node.attrs)


def _drop_idle(node: Node, uses: Mapping[Node, int]) -> Node | None:
    return node.inputs[0] if node.inputs[0].type == node.type else None


def _before_reshape(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """op(reshape(x), reshape(y), c) -> reshape(op(x, y, c)), x and y of the same shape; c is a scalar, or one value per
    channel if the reshape keeps the channels."""
    moved = node.data
    if not moved or any(i.op != "reshape" or i.type != moved[0].type for i in moved):
        return None
    x = moved[0].inputs[0]
    if any(i.inputs[0].type != x.type for i in moved) or node.type.shape != moved[0].type.shape:
        return None  # a constant that repeats the reshaped has no place before
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


def flatten_to_conv(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """dense(flatten(x: h, w, c)) -> flatten(convolution of x by h x w filters)."""
    (flat, w), attrs = node.inputs, conv_attrs(node)
    (x,) = flat.inputs
    if len(node.type.shape) != 1 or len(x.type.shape) != 3 or attrs.groups != 1 or not w.is_constant:
        return None
    filters = constant(w.value.reshape(-1, *x.type.shape), w.type.dtype, w.name)
    wide = remade(node, node.op, x, filters, attrs=attrs)
    return remade(node, "reshape", wide, attrs=ReshapeAttrs(node.type.shape))


def _prelu(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """relu(x) + c * relu(x * -1) -> prelu(x, -c): how Keras writes it; the same products, and sums with zero."""
    for above, scaled in (node.inputs, node.inputs[::-1]):
        if not _is_relu(above) or not _by_constant(scaled) or not _is_relu(scaled.inputs[0]):
            continue
        (x,), (negated,), slope = above.inputs, scaled.inputs[0].inputs, scaled.inputs[1].value
        minus = _by_constant(negated) and negated.inputs[0] is x and negated.inputs[1].value.tolist() == [-1.0]
        channels = node.type.shape[-1:]
        if minus and slope.shape in ((1,), channels):
            return remade(node, "prelu", x, constant(np.broadcast_to(-slope, channels)))
    return None


def _is_relu(node: Node) -> bool:
    return node.attrs == ClampAttrs(0.0, INF) and node.op == "clamp"


def _by_constant(node: Node) -> bool:
    return node.op == "mul" and node.inputs[1].is_constant


RULES = (
    Rewrite(_prelu, ("add",)),
    Rewrite(_shrink_constant, tuple(op.name for op in OPS.values() if op.elementwise)),
    Rewrite(_constant_second, tuple(op.name for op in OPS.values() if op.commutative)),
    Rewrite(_fold_pad, ("conv2d",), of=("pad",)),
    Rewrite(_merge_reshape, ("reshape",), of=("reshape",)),
    Rewrite(_drop_idle, ("reshape", "pad", "pad_channels", "slice")),
    Rewrite(_before_reshape, tuple(op.name for op in OPS.values() if op.elementwise)),
    Rewrite(flatten_to_conv, ("conv2d",), of=("reshape",)),
)
