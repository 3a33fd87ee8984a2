# SPDX-License-Identifier: Apache-2.0
"""One form for equivalent graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .._types import Array
from ..ir.graph import Graph, Node
from ..ir.ops import (
    INF,
    OPS,
    SMALLEST_NORMAL,
    ClampAttrs,
    PadAttrs,
    ReshapeAttrs,
    constant,
    conv_attrs,
    make,
    unrepeated,
)
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


def merge_reshape(node: Node, uses: Mapping[Node, int]) -> Node | None:
    return remade(node, "reshape", node.inputs[0].inputs[0], attrs=node.attrs)


def drop_idle(node: Node, uses: Mapping[Node, int]) -> Node | None:
    return node.inputs[0] if node.inputs[0].type == node.type else None


def before_reshape(node: Node, uses: Mapping[Node, int]) -> Node | None:
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
            # The scalar's own dimensions could broadcast against the batch; these ops have a number per channel.
            shape = x.type.shape[-1:] if node.op in ("prelu", "affine") else (1,)
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


def _two_slopes(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """where(x >= 0, p * x, n * x) or where(x >= 0, p, n) * x -> prelu(x, n) if p is 1, or else the larger or the
    smaller of p * x and n * x.

    At zero, prelu and the larger or smaller of two zeros give their first operand.  The product of zero and infinity is
    neither larger nor smaller, so a slope of zero stays.
    """
    found = _slopes(node)
    if found is None:
        return None
    x, first, other, strict = found  # the first slope is that of zero
    p, n = (other, first) if strict else (first, other)
    if (p == 1).all() and not (strict and np.signbit(n).any()):
        return remade(node, "prelu", x, constant(n))
    if not all((np.abs(k) >= SMALLEST_NORMAL).all() and np.isfinite(k).all() for k in (p, n)):
        return None
    side = np.where(p >= n, np.float32(1), np.float32(-1))
    if (side == side[0]).all():
        return remade(node, "maximum" if side[0] > 0 else "minimum", *(_scaled(node, x, k) for k in (first, other)))
    larger = make("maximum", *(_scaled(node, x, k * side) for k in (first, other)), name=node.name)
    return remade(node, "mul", larger, constant(side))


def _chosen(node: Node) -> tuple[Node, Node, Node, bool] | None:
    """(x, a, b, False) of what is ``a`` where ``x >= 0``, else ``b``; (x, a, b, True): ``a`` where ``x <= 0``.

    The graph says t * a + (t * -1 + 1) * b, where t is sign(sign(x - 0) +- 0.5) * +-0.5 + 0.5.
    """
    if [i.op for i in (node, *node.inputs)] != ["add", "mul", "mul"]:
        return None
    (truth, a), (opposite, b) = (i.inputs for i in node.inputs)
    two = _without(truth, "add", 0.5)
    if two is None or two.op != "mul" or _factor(_without(opposite, "add", 1.0), truth) != -1:
        return None
    step = two.inputs[0]
    half = _factor(two, step)
    if abs(half) != 0.5 or step.op != "sign":
        return None
    not_strict, three = (_without(step.inputs[0], "add", offset) for offset in (0.5, -0.5))
    three = not_strict or three
    if three is None or three.op != "sign":
        return None
    (x,) = three.inputs
    if x.op == "mul" and _factor(x, x.inputs[0]) > 0:  # signs of denormals
        x = x.inputs[0]
    x = _without(x, "sub", 0.0) or x
    # x >= 0 and x > 0 choose a and b; x < 0 and x <= 0 choose b and a.
    above, below = (a, b) if half > 0 else (b, a)
    return (x, above, below, False) if not_strict else (x, below, above, True)


def _without(node: Node, op: str, number: float) -> Node | None:
    """The other operand of an op with this number."""
    fits = node.op == op and node.inputs[1].is_constant and node.inputs[1].value.tolist() == [number]
    return node.inputs[0] if fits else None


def _factor(node: Node | None, x: Node) -> float:
    """The number by which a node multiplies ``x``; 0 if it does not."""
    if node is None or not _is_product(node, x) or node.inputs[1].value.size != 1:
        return 0.0
    return float(node.inputs[1].value.item())


def _scaled(node: Node, x: Node, factors: Array) -> Node:
    """A value on the way to that of ``node``, computed by its layer."""
    return x if (factors == 1).all() else make("mul", x, constant(factors), name=node.name)


def _slopes(node: Node) -> tuple[Node, Array, Array, bool] | None:
    """(x, its factor where ``x >= 0``, its factor elsewhere, False) or (x, ... where ``x <= 0``, ..., True)."""
    choices = [(node, None)] if node.op == "add" else [node.inputs, node.inputs[::-1]]
    for choice, factor in choices:
        chosen = _chosen(choice)
        if chosen is None or chosen[0].type != node.type or factor not in (None, chosen[0]):
            continue
        x, *values, strict = chosen
        if factor is None:
            values = [constant([1.0]) if i is x else i.inputs[1] for i in values if i is x or _is_product(i, x)]
        channels = node.type.shape[-1:]
        if len(values) == 2 and all(i.is_constant and i.type.shape in ((1,), channels) for i in values):
            first, other = (np.broadcast_to(i.value, channels) for i in values)
            return x, first, other, strict
    return None


def _is_product(node: Node, x: Node) -> bool:
    return _by_constant(node) and node.inputs[0] is x


def _is_relu(node: Node) -> bool:
    return node.attrs == ClampAttrs(0.0, INF) and node.op == "clamp"


def _by_constant(node: Node) -> bool:
    return node.op == "mul" and node.inputs[1].is_constant


RULES = (
    Rewrite(_prelu, ("add",)),
    Rewrite(_two_slopes, ("add", "mul")),
    Rewrite(_shrink_constant, tuple(op.name for op in OPS.values() if op.elementwise)),
    Rewrite(_constant_second, tuple(op.name for op in OPS.values() if op.commutative)),
    Rewrite(_fold_pad, ("conv2d",), of=("pad",)),
    Rewrite(merge_reshape, ("reshape",), of=("reshape",)),
    Rewrite(drop_idle, ("reshape", "pad", "pad_channels", "slice")),
    Rewrite(before_reshape, tuple(op.name for op in OPS.values() if op.elementwise)),
    Rewrite(flatten_to_conv, ("conv2d",), of=("reshape",)),
)
