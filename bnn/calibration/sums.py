# SPDX-License-Identifier: Apache-2.0
"""Convolutions in whole numbers: sums of bytes or bits that become bytes, or bits by thresholds."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .._types import Array
from ..ir.graph import DType, Node
from ..ir.monotone import function, integer_thresholds
from ..ir.ops import (
    INF,
    MOST_BYTE_PRODUCTS,
    REQUANTIZATION,
    ConvAttrs,
    ReshapeAttrs,
    constant,
    conv_attrs,
    make,
)
from ..ir.ops.bits import numbers
from ..ir.ops.conv import epilogue
from ..ir.ops.int16 import WidthAttrs
from ..ir.ops.requantize import INT16, MOST_BIAS
from ..ir.quantization import BYTES, bits_numbers, convolution, filters_multipliers, lookup
from .translation import Channels, Made, Results, Translation, unsupported, why
from .units import linear
from .weights import whole_filters

_MOST_RIGHT = 21  # bits; sums are below 2**30


class _Sums(NamedTuple):
    """Of a convolution, the sums of bytes that become its sums: v = scale * (weights * (data - zeros)) + offset."""

    data: Node
    zeros: Array | int
    scale: float
    weights: Array  # (O, kh, kw, I / groups), float64
    offset: Array  # (O)


def _sums(of: Translation, conv: Node) -> _Sums:
    none = np.zeros(conv.type.shape[-1])
    if conv.op == "bconv2d":
        return _level_sums(of, conv)
    weights = _filters(conv)
    if conv.op == "conv2d":
        x = of.channels(conv.inputs[0])
        scale, groups = float(x.scales.max()), conv_attrs(conv).groups
        shares, more = (
            np.repeat(n.reshape(groups, 1, 1, -1), len(weights) // groups, axis=0) for n in (x.scales / scale, x.more)
        )
        offset = (weights * more).sum(axis=(1, 2, 3))
        return _Sums(x.node, x.bytes_of_zero, scale, weights * shares, offset)
    zeros = conv.inputs[2].value
    if not np.isin(zeros, np.arange(256)).all():
        raise unsupported(conv, "its data are bytes around numbers that are no bytes")
    return _Sums(of.raw[conv.inputs[0]], zeros, 1.0, weights, none)


def reads_bytes(conv: Node) -> bool:
    return conv.op != "bconv2d" or conv_attrs(conv).planes > 1


def level_bytes(of: Translation, bits: Node, unit: int = 1) -> Node:
    """Numbers of levels, ``unit`` times, as bytes, which stand for planes of bits."""
    x, q = of.bytes_of[bits.inputs[0]]
    levels = unit * numbers(q.values, bits.inputs[1].value)
    readers = [n for n in of.units.order if bits in n.data]
    if levels.max() > 255 or not all(n.op == "bconv2d" and conv_attrs(n).planes > 1 for n in readers):
        raise unsupported(bits, why(bits))
    return lookup(x, levels, bits.name)


def _level_sums(of: Translation, conv: Node) -> _Sums:
    """Of planes of bits: levels times signs.  The sum over planes is that of 2 * level - top, and a pixel outside the
    image is ``pad_value`` * top: its level is the zero, or half a level, which counts the levels in halves."""
    bits, attrs = conv.inputs[0], conv_attrs(conv)
    if bits.op != "binarize_levels":
        raise unsupported(conv, why(bits))
    top = 2**attrs.planes - 1
    unit = 1 if attrs.pad_value else 2
    zero = unit * top * (1 + attrs.pad_value) // 2
    weights = conv.inputs[1].value.astype(np.float64)
    offset = (2 * zero / unit - top) * weights.sum(axis=(1, 2, 3))
    return _Sums(level_bytes(of, bits, unit), zero, 2 / unit, weights, offset)


def known_thresholds(of: Translation, conv: Node) -> Node:
    """Of planes of bits, whose sums have thresholds: 2 / unit * sum + offset >= threshold."""
    sums, slots = _sums(of, conv), conv_attrs(conv).operands
    threshold = conv.inputs[2 + slots.index("threshold")].value
    at = np.clip(np.ceil((threshold - sums.offset) / sums.scale), -(2**31), 2**31 - 1)
    falling = conv.inputs[2 + slots.index("negated")].value < 0 if "negated" in slots else np.zeros(len(at), bool)
    weights = np.where(falling[:, None, None, None], -sums.weights, sums.weights)
    return _compared(conv, sums.data, sums.zeros, weights, at, falling, conv_attrs(conv))


def _filters(conv: Node) -> Array:
    """The weights (O, kh, kw, I / groups) of a convolution of floats or bytes."""
    w: Array = conv.inputs[1].value.astype(np.float64)
    if conv.op == "iconv2d":
        w = w.reshape(*w.shape[:3], -1, conv.inputs[0].type.shape[-1]).mean(axis=3)
    if not np.isfinite(w).all():
        raise unsupported(conv, "its weights are not all finite")
    return w


def convolved(of: Translation, node: Node, core: Node) -> Made | Channels | Node:
    factor, term = linear(core)
    x, zeros, scale, weights, offset = _sums(of, core)
    weights, term = weights * factor[:, None, None, None], term + factor * offset
    return of.made(node, requantized(of, node, x, zeros, scale, weights, term, conv_attrs(core)))


def requantized(
    of: Translation, node: Node, x: Node, zeros: Array | int, scale: float, weights: Array, term: Array,
    attrs: ConvAttrs, target: Results | None = None,
) -> Node:  # fmt: skip
    """A convolution whose sums are requantized: to what results of the node are, or to a target."""
    after = target or of.target(node)
    halves = np.zeros(1, bool)
    if target is None and after.out is DType.u8:
        after, weights, term, halves = _in_bytes(of, node, weights, term)
    products = math.prod(weights.shape[1:])
    if products > MOST_BYTE_PRODUCTS:
        raise unsupported(node, f"{products:,} products a sum are more than {MOST_BYTE_PRODUCTS:,}")
    # Coarser steps: where a term is far above the sums, so that it has its place beside them; and where a result is
    # hardly there, so that kernels shift all sums to the right by a moderate number of bits.
    least = np.maximum(np.abs(term) / (scale * (MOST_BIAS - 1)), after.scale / scale * 2.0**-_MOST_RIGHT)
    whole, steps = whole_filters(weights, least)
    exact = term / (scale * steps)
    # A sum of 0, as of a black image, is half a byte above one: more than that whatever its multiplier is rounded to.
    bias = np.where(halves, np.floor(exact) + 2, np.rint(exact)).astype(np.int64)
    multipliers, shifts = filters_multipliers(scale, steps, after.scale)
    if after.out is DType.i16:
        most = 255 * np.abs(whole.astype(np.int64)).reshape(len(whole), -1).sum(axis=1) + np.abs(bias)
        if ((most << np.maximum(shifts, 0)) >= 2**31).any():
            raise unsupported(node, "32 bits do not hold its sums in steps of int16")
    plain = ConvAttrs(attrs.stride, attrs.dilation, attrs.pads, groups=attrs.groups)
    numbers = (bias, multipliers, shifts)
    once = int(after.out is DType.u8)
    return convolution(x, whole, zeros, numbers, (*after.range_of, once), plain, node.name, after.out)


def _in_bytes(of: Translation, node: Node, weights: Array, term: Array) -> tuple[Results, Array, Array, Array]:
    """The bytes of a node, its weights (O, ...) and terms (O) for them, and whether half a byte stands for 0.

    Where channels have scales of their own, these are in units of them, and there is one zero for all channels: the
    terms contain what is between it and the channel's."""
    if node not in of.own:
        q, after = of.ranges[node], Results(of.ranges[node].scale, *of.range_of(node))
        return after, weights, term - q.half / 2 * q.scale, np.array(q.half)
    zeros, scales = of.own[node]
    zero = 128 if zeros.any() else 0
    low = 0 if of.units.limits(node)[0] == -INF else zero
    weights = weights / scales.reshape(-1, *[1] * (weights.ndim - 1))
    return Results(1.0, zero, low, 255), weights, term / scales + zeros - zero, zeros % 1 > 0


def _requantization(
    of: Translation, node: Node, factor: Array, term: Array, products: int, target: Results
) -> list[Node]:
    """The operands by which whole numbers up to ``products``, times ``factor`` (O), plus ``term`` (O), become results
    of a node."""
    if target.out is DType.u8:
        target, factor, term, _ = _in_bytes(of, node, factor, term)
    numbers = bits_numbers(factor, term, products, target.scale, target.out)
    once = int(target.out is DType.u8)
    return [constant(n, DType.i32, node.name) for n in (*numbers, (*target.range_of, once))]


def of_shorts(of: Translation, node: Node, x: Node, factor: Array, term: Array, target: Results) -> Node:
    """int16 numbers times ``factor`` (C, not negative), plus ``term`` (C), as results of a node."""
    numbers = _requantization(of, node, factor, term, -INT16[0], target)
    return make("requantize16", x, *numbers, attrs=WidthAttrs(target.out), name=node.name)


def as_bytes(of: Translation, node: Node) -> Made | Channels:
    """The bytes of a value that is int16."""
    x, channels = of.shorts[node], node.type.shape[-1]
    y = of_shorts(of, node, x, np.full(channels, of.steps[node]), np.zeros(channels), Results(1.0, 0, 0, 255))
    made = of.made(node, y)
    assert not isinstance(made, Node)
    return made


def binary(of: Translation, node: Node, core: Node) -> Made | Channels | Node:
    """Sums of bits become bytes, or int16.  Where the factor is negative, the filter is negated, and so are its sums;
    the slot "negated" records which."""
    attrs, filters = conv_attrs(core), core.inputs[1]
    if attrs.planes > 1:
        return convolved(of, node, core)
    factor, term = linear(core)
    target = of.target(node)
    operands = _requantization(of, node, np.abs(factor), term, math.prod(filters.type.shape[1:]), target)
    slots: tuple[str, ...] = REQUANTIZATION
    if (negated := factor < 0).any():
        filters = constant(np.where(negated[:, None, None, None], -1, 1) * filters.value, DType.b1, filters.name)
        operands.insert(0, constant(np.where(negated, 1, -1), DType.b1, node.name))
        slots = ("negated", *slots)
    attrs = ConvAttrs(attrs.stride, attrs.dilation, attrs.pads, attrs.pad_value, attrs.groups, slots, out=target.out)
    y = make("bconv2d", of.raw[core.inputs[0]], filters, *operands, attrs=attrs, name=node.name)
    return of.made(node, y)


def thresholds_of(of: Translation, node: Node) -> Node:
    """A convolution whose scaled sums only a sign reads: an integer threshold per filter."""
    x, zeros, scale, w, offset = _sums(of, node)
    whole, steps = whole_filters(w, np.zeros(len(w)))
    attrs = conv_attrs(node)
    slots = {s: i.value for s, i in zip(attrs.operands, node.inputs[2:], strict=True)}

    def bits(sums: Array, part: slice) -> Array | None:
        sums = (sums.astype(np.float64) * (scale * steps[part]) + offset[part]).astype(np.float32)
        value = epilogue(sums, attrs, tuple(v if s == "zeros" else v[part] for s, v in slots.items()))
        return None if np.isnan(value).any() else np.asarray(value >= 0)

    reach = int(np.abs(whole.astype(np.int64)).reshape(len(whole), -1).sum(axis=1).max()) * 255
    found = integer_thresholds(bits, len(whole), reach, monotone=True)
    if found is None:
        raise unsupported(node, "its bits change more than once")
    return _compared(node, x, zeros, whole, *found, attrs)


def _compared(
    node: Node, x: Node, zeros: Array | int, weights: Array, thresholds: Array, falling: Array, attrs: ConvAttrs
) -> Node:
    """Bits of sums of bytes; the filters that are ``falling`` are negated."""
    operands = [constant(np.broadcast_to(zeros, x.type.shape[-1:])), constant(thresholds, DType.i32)]
    slots: tuple[str, ...] = ("zeros", "threshold")
    if falling.any():
        slots += ("negated",)
        operands.append(constant(np.where(falling, 1, -1), DType.b1))
        weights = np.where(falling[:, None, None, None], -weights, weights)
    attrs = ConvAttrs(
        attrs.stride, attrs.dilation, attrs.pads, groups=attrs.groups, slots=slots, layer_slots=("zeros",), out=DType.b1
    )
    return make(
        "qconv2d",
        x,
        constant(weights, DType.i8),
        *operands,
        attrs=attrs,
        name=node.name,
        tap=node.tap,
        origin=node.origin,
    )


def bits_of_shorts(of: Translation, node: Node, x: Node) -> Node:
    """A sign of a value that is int16, or of its batch norm: an integer threshold per channel."""
    sign = function(node, x)

    def bits(numbers: Array, part: slice) -> Array:
        return sign((numbers * of.steps[x]).astype(np.float32), part) > 0

    found = integer_thresholds(bits, x.type.shape[-1], INT16[1] + 2, monotone=True)  # one more at either end
    assert found is not None
    least = np.where(found[1], 1 - found[0], found[0])  # of the bits, or of those that fall
    never = least > INT16[1]
    at = np.where(never, INT16[0], np.maximum(least, INT16[0]))
    flips = np.where(found[1] != never, 1, -1)
    operands = constant(at, DType.i16, node.name), constant(flips, DType.b1, node.name)
    return make("binarize16", of.shorts[x], *operands, name=node.name, tap=node.tap, origin=node.origin)


def bits_of(node: Node, data: Channels) -> Node:
    """A sign of bytes compares them with the byte of 0, or with that of a threshold for each channel."""
    (x, halves, scales), zeros, channels = data, data.bytes_of_zero, data.node.type.shape[-1]
    thresholds, falling = np.zeros(channels, np.float32), np.zeros(channels, bool)
    if len(node.inputs) > 1:
        thresholds, falling = node.inputs[1].value, node.inputs[2].value > 0
    values = ((BYTES - halves[:, None]) * scales[:, None]).astype(np.float32)
    first = (values < thresholds[:, None]).sum(axis=1)  # the least byte whose value reaches it
    at = np.where(falling, 1 - (first - zeros), first - zeros)
    ones = np.ones((channels, 1, 1, 1), np.int8)
    image = as_image(x)
    return shaped(_compared(node, image, zeros, ones, at, falling, ConvAttrs(groups=channels)), x.type.shape)


def as_image(x: Node) -> Node:
    """Of two dimensions: an image of one row."""
    if len(x.type.shape) != 2:
        return x
    return make("reshape", x, attrs=ReshapeAttrs((1, *x.type.shape)), name=x.name)


def shaped(x: Node, shape: tuple[int, ...]) -> Node:
    return x if x.type.shape == shape else make("reshape", x, attrs=ReshapeAttrs(shape), name=x.name)


_WHOLE = {"zeros", "threshold", "negated", *REQUANTIZATION}


def is_whole(conv: Node) -> bool:
    """Whether no slot of a convolution computes with floats, nor a sign of floats behind its sums."""
    slots = conv_attrs(conv).slots
    return {*slots} <= _WHOLE and (conv.type.dtype is not DType.b1 or "threshold" in slots)
