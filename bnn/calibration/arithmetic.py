# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of bytes: batch norms, sums, products, functions by tables, softmax."""

from __future__ import annotations

import numpy as np

from .._types import Array
from ..errors import CompileError
from ..ir.graph import DType, Node
from ..ir.monotone import function
from ..ir.ops import CONVOLUTIONS, ConvAttrs, constant, make
from ..ir.ops.int16 import LimitsAttrs
from ..ir.ops.requantize import INT16
from ..ir.quantization import (
    BYTES,
    SHARES,
    Bytes,
    exponentials,
    lookup,
    multiplied,
    multiplier,
    pair,
    sum_lines,
)
from .shortcuts import is_addition
from .sums import as_image, of_shorts, requantized, shaped
from .translation import Channels, Made, Results, Translation, unsupported


def function_values(node: Node, base: Node, q: Bytes) -> Array:
    """The value of a function of one number for every byte of its operand (256)."""
    with np.errstate(all="ignore"):
        found = function(node, base)(q.values[:, None])
    return np.asarray(found[:, 0])


def affine(of: Translation, node: Node, core: Node) -> Made | Channels | Node:
    sub, mul, add = (i.value.astype(np.float64) for i in core.inputs[1:])
    return _per_channel(of, node, core, mul, add - sub * mul)


def _per_channel(of: Translation, node: Node, core: Node, factor: Array, term: Array) -> Made | Channels | Node:
    """One number per channel, times the data, and one that is added."""
    factor, term = np.broadcast_arrays(factor, term, np.ones(node.type.shape[-1]))[:2]
    x = core.data[0]
    if x in of.shorts and x.type.shape == node.type.shape and (factor >= 0).all():
        return of.made(node, of_shorts(of, node, of.shorts[x], factor * of.steps[x], term, of.target(node)))
    return of.made(node, _depthwise(of, node, x, factor, term))


def _depthwise(of: Translation, node: Node, x: Node, factor: Array, term: Array, target: Results | None = None) -> Node:
    """The same of bytes: 1 x 1 filters."""
    data = of.channels(x)
    channels, scale = len(data.scales), float(data.scales.max())
    weights, terms = (factor * (data.scales / scale)).reshape(-1, 1, 1, 1), term + factor * data.more
    plain = ConvAttrs(groups=channels)
    y = requantized(of, node, as_image(data.node), data.bytes_of_zero, scale, weights, terms, plain, target)
    return shaped(y, node.type.shape)


def prelu(of: Translation, node: Node, core: Node) -> Made:
    """A slope for each channel: what is above zero, plus the slopes times what is below it."""
    (x, q), slopes, after = of.bytes_of[core.inputs[0]], core.inputs[1].value.astype(np.float64), of.ranges[node]
    lowest = slopes * float(q.values[0])
    below = Bytes.between(min(0.0, float(lowest.min())), max(0.0, float(lowest.max())))
    image = as_image(lookup(x, np.minimum(BYTES, q.zero), node.name))
    weights, plain = slopes.reshape(-1, 1, 1, 1), ConvAttrs(groups=x.type.shape[-1])
    y = requantized(
        of,
        node,
        image,
        q.zero,
        q.scale,
        weights,
        np.zeros(len(weights)),
        plain,
        Results(below.scale, below.zero, 0, 255),
    )
    (first, second), unit = sum_lines(q, below)
    parts, tables = [x, shaped(y, node.type.shape)], [np.maximum(first, 0), second]
    return pair("qadd", parts, tables, multiplier(unit / after.scale), of.range_of(node), node.name), after


def arithmetic(of: Translation, node: Node, core: Node) -> Made | Channels | Node:
    if node in of.steps and is_addition(core):
        return _sum_of_shorts(of, node, core)
    known = next((i for i in core.inputs if i.is_constant), None)
    if known is not None and _is_per_channel(known, core):
        number, one = known.value.astype(np.float64).reshape(-1), np.ones(1)
        first = known is core.inputs[0]
        if core.op == "mul" or core.op == "div" and not first:
            return _per_channel(of, node, core, number if core.op == "mul" else one / number, 0 * one)
        if core.op in ("add", "sub"):
            sign = -one if core.op == "sub" and first else one
            return _per_channel(of, node, core, sign, -number if core.op == "sub" and not first else number)
    if core.op == "div":
        raise unsupported(core, "no op divides bytes")
    return _two(of, node, core), of.ranges[node]


def _is_per_channel(known: Node, core: Node) -> bool:
    one = (*core.type.shape[:-1], 1)  # a channel, to be repeated
    if core.data[0].type.shape not in (core.type.shape, one):
        return False
    return known.value.size in (1, core.type.shape[-1]) and known.type.shape[-1:] in ((1,), core.type.shape[-1:])


def _sum_of_shorts(of: Translation, node: Node, core: Node) -> Node:
    """Bytes are raised to int16 first."""
    after, one = of.target(node), np.ones(node.type.shape[-1])
    whole = after._replace(low=INT16[0], high=INT16[1])
    parts = [of.shorts[x] if x in of.shorts else _depthwise(of, node, x, one, 0 * one, whole) for x in core.inputs]
    parts.sort(key=lambda y: y.op in CONVOLUTIONS)  # the shortcut first: what it is made of needs no memory then
    return make("add16", *parts, attrs=LimitsAttrs(after.low, after.high), name=node.name)


def _two(of: Translation, node: Node, core: Node) -> Node:
    operands = [_operand(of, i, core) for i in core.inputs]
    (first, a), (second, b) = operands
    after = of.ranges[node]
    if core.op == "mul":
        tables, scale = [a.numbers, b.numbers], multiplied(a.scale, b.scale, after.scale)
    else:
        tables, unit = sum_lines(a, b)
        scale = multiplier(unit / after.scale)
        tables[1] = tables[1] if core.op == "add" else -tables[1]
        if after.half:  # half a step less, and so little more that a sum of 0 is above a half after two roundings
            tables[1] = tables[1] + 2 - round(after.scale / (2 * unit))
    try:
        found = pair(
            "qmul" if core.op == "mul" else "qadd", [first, second], tables, scale, of.range_of(node), node.name
        )
    except CompileError:
        found = None
    if found is None or found.type.shape != core.type.shape:
        shapes = " and ".join(str(i.type.shape) for i in core.inputs)
        raise unsupported(
            core, f"operands of shapes {shapes}; expected equal ones, or one pixel for the whole of the other"
        )
    return found


def _operand(of: Translation, x: Node, core: Node) -> Made:
    if not x.is_constant:
        return of.bytes_of[x]
    values = x.value.reshape((1,) * (len(core.type.shape) - x.value.ndim) + x.value.shape)
    q = Bytes.between(min(0.0, float(values.min())), max(0.0, float(values.max())))
    return constant(q.of(values), DType.u8, core.name), q


def softmax(of: Translation, node: Node, core: Node) -> Made:
    x, q = of.bytes_of[core.inputs[0]]
    return make("qsoftmax", x, constant(exponentials(q.scale), DType.i32), name=node.name), SHARES
