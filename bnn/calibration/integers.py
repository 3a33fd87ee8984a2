# SPDX-License-Identifier: Apache-2.0
"""A network of floats as one of bytes: every op becomes its form in whole numbers, and an error says which has none.

The forms are those of full-integer TensorFlow Lite, made by the same functions as its files are read with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .._types import Array
from ..errors import CompileError, UnsupportedOpError
from ..ir.graph import DType, Graph, Node
from ..ir.monotone import function, integer_thresholds
from ..ir.ops import (
    MOST_BYTE_PRODUCTS,
    REQUANTIZATION,
    ConvAttrs,
    PoolAttrs,
    ReshapeAttrs,
    constant,
    conv_attrs,
    make,
)
from ..ir.ops.conv import CONVOLUTIONS, epilogue
from ..ir.ops.requantize import MOST_BIAS
from ..ir.quantization import (
    BYTES,
    SHARES,
    Bytes,
    bits_numbers,
    convolution,
    exponentials,
    filters_multipliers,
    lookup,
    mean,
    multiplied,
    pair,
    sum_tables,
    summed,
    taken,
)
from ..ir.rewrite import with_inputs
from .units import Units, is_mean, line
from .weights import whole_filters

_REMEDY = "calibrate without integer_only (--integer-only), or take the layer out of the network"
_MOST_RIGHT = 21  # bits; sums are below 2**30
Made = tuple[Node, Bytes]


class Integers:
    """The network in whole numbers, value by value.

    ``bytes_of``: what was made of each value of floats, and what its bytes stand for; ``raw``: what was made of values
    of bits and bytes."""

    def __init__(self, units: Units, ranges: Mapping[Node, Bytes]) -> None:
        self.units, self.ranges = units, dict(ranges)
        self.bytes_of: dict[Node, Made] = {}
        self.raw: dict[Node, Node] = {}
        self.outputs: frozenset[Node] = frozenset()

    def graph(self, graph: Graph) -> Graph:
        """The whole graph; its outputs are the numbers of bytes, by a table.

        Raises:
            UnsupportedOpError: an op that has no form in whole numbers; names its layer, the reason and the remedy.
        """
        self.outputs = frozenset(graph.outputs)
        self._share_ranges()
        for node in self.units.order:
            try:
                self._make(node)
            except UnsupportedOpError:
                raise
            except CompileError as error:
                raise unsupported(node, str(error)) from None
        inputs = tuple(self.raw.get(node, node) for node in graph.inputs)
        outputs = tuple(self._output(node) for node in graph.outputs)
        return replace(graph, inputs=inputs, outputs=outputs, schedule=(), placements={}, arena_bytes=0)

    def _share_ranges(self) -> None:
        """The parts of a concatenation have its range from the start: otherwise the first of a chain of them would be
        rounded again by each."""
        for node in reversed(self.units.order):
            if node.op == "concat" and node in self.ranges:
                self.ranges.update({x: self.ranges[node] for x in node.inputs if x in self.ranges})

    def _output(self, node: Node) -> Node:
        if node not in self.bytes_of:
            return self.raw[node]
        x, q = self.bytes_of[node]
        return make("cast", x, constant(q.values, name=node.name), name=node.name, origin=node.origin, tap=node.tap)

    def _make(self, node: Node) -> None:
        if node.is_constant:
            return
        if node.type.dtype is not DType.f32:
            self.raw[node] = self._raw(node)
            return
        if node.op == "input":
            self.raw[node] = node
        if self.units.base[node] is not node:
            x, q = self.bytes_of[self.units.base[node]]
            results = self.ranges[node].of(_values(node, self.units.base[node], q))
            self.bytes_of[node] = lookup(x, results, node.name), self.ranges[node]
            return
        core = self.units.core(node)
        if core.op not in FORMS:
            raise unsupported(core, _why(core))
        made = FORMS[core.op](self, node, core)
        if isinstance(made, Node):
            self.raw[node] = made
        else:
            self.bytes_of[node] = made

    def _raw(self, node: Node) -> Node:
        """Bits and bytes, which stay what they are, or are made of bytes that stand for floats."""
        base = self.units.base[node]
        if base is not node:
            x, q = self.bytes_of[base]
            return lookup(x, _values(node, base, q), node.name)
        floats = [x for x in node.data if x.type.dtype is DType.f32]
        if node.op == "copy":
            return self.raw[node.inputs[0]]
        if node.op == "binarize" and floats:
            return _bits(node, *self.bytes_of[floats[0]])
        if node.op in ("conv2d", "iconv2d", "qconv2d") and node.type.dtype is DType.b1 and not _is_whole(node):
            return _thresholds(self, node)
        if floats or node.op == "bconv2d" and not _is_whole(node):
            raise unsupported(node, _why(node))
        return with_inputs(node, tuple(i if i.is_constant else self.raw[i] for i in node.inputs))

    def range_of(self, node: Node) -> tuple[int, int, int]:
        """The byte of 0, the lowest and the highest that a value takes."""
        q, (low, high) = self.ranges[node], self.units.limits(node)
        return q.zero, int(q.of(low)), int(q.of(high))


def unsupported(node: Node, why: str, remedy: str = _REMEDY) -> UnsupportedOpError:
    return UnsupportedOpError(f"layer '{node.name}' ({node.op}) would stay float: {why}; {remedy}")


def _why(node: Node) -> str:
    if node.op == "bconv2d":
        return "its bits are no threshold of its sums"
    if any(i.type.dtype is DType.b1 for i in node.data) or node.type.dtype is DType.b1:
        return "no op turns bits into bytes, or bytes into planes of bits"
    if len(node.data) > 1:
        return "no op computes it of two tensors of bytes"
    return "no op computes it of bytes"


def _values(node: Node, base: Node, q: Bytes) -> Array:
    """The value of a function of one number for every byte of its operand (256)."""
    with np.errstate(all="ignore"):
        found = function(node, base)(q.values[:, None])
    return np.asarray(found[:, 0])


def _input(of: Integers, node: Node, core: Node) -> Made:
    q = of.ranges[node]
    return make("quantize", node, attrs=q.attrs, name=node.name), q


def _cast(of: Integers, node: Node, core: Node) -> Made:
    x, q = of.raw[core.inputs[0]], line(core)
    if q is not None:
        return x, q
    values = core.inputs[1].value if len(core.inputs) > 1 else np.arange(256)
    return lookup(x, of.ranges[node].of(values), node.name), of.ranges[node]


def _unpack(of: Integers, node: Node, core: Node) -> Node:
    if node not in of.outputs or any(node in reader.data for reader in of.units.order):
        raise unsupported(node, _why(node))
    return make("unpack", of.raw[core.inputs[0]], name=node.name, origin=node.origin)


# -- convolutions -----------------------------------------------------------------------------------------------------


def linear(conv: Node) -> tuple[Array, Array]:
    """Factors and terms (O), float64, of what follows a convolution's sums: v * factor + term."""
    attrs = conv_attrs(conv)
    factor, term = np.ones(conv.type.shape[-1]), np.zeros(conv.type.shape[-1])
    for slot, operand in zip(attrs.operands, conv.inputs[2:], strict=True):
        number = operand.value.astype(np.float64) if operand.is_constant else np.zeros(1)
        if slot in ("pre_mul", "mul"):
            factor, term = factor * number, term * number
        elif slot in ("pre_add", "add"):
            term = term + number
        elif slot == "sub":
            term = term - number
    return factor, term


def _data(of: Integers, conv: Node) -> tuple[Node, Array | int, float]:
    """The bytes that a convolution reads, their zeros, and their scale."""
    if conv.op == "conv2d":
        x, q = of.bytes_of[conv.inputs[0]]
        return x, q.zero, q.scale
    zeros = conv.inputs[2].value
    if not np.isin(zeros, np.arange(256)).all():
        raise unsupported(conv, "its data are bytes around numbers that are no bytes")
    return of.raw[conv.inputs[0]], zeros, 1.0


def _filters(conv: Node) -> Array:
    """The weights (O, kh, kw, I / groups) of a convolution of floats or bytes."""
    w: Array = conv.inputs[1].value.astype(np.float64)
    if conv.op == "iconv2d":
        w = w.reshape(*w.shape[:3], -1, conv.inputs[0].type.shape[-1]).mean(axis=3)
    if not np.isfinite(w).all():
        raise unsupported(conv, "its weights are not all finite")
    return w


def _convolution(of: Integers, node: Node, core: Node) -> Made:
    factor, term = linear(core)
    x, zeros, scale = _data(of, core)
    weights = _filters(core) * factor[:, None, None, None]
    return _requantized(of, node, x, zeros, scale, weights, term, conv_attrs(core)), of.ranges[node]


def _requantized(
    of: Integers, node: Node, x: Node, zeros: Array | int, scale: float, weights: Array, term: Array, attrs: ConvAttrs,
    after: Bytes | None = None,
) -> Node:  # fmt: skip
    """A convolution whose sums are requantized: to bytes of ``after``, by default those of the node."""
    range_of = (after.zero, 0, 255) if after else of.range_of(node)
    after = after or of.ranges[node]
    products = math.prod(weights.shape[1:])
    if products > MOST_BYTE_PRODUCTS:
        raise unsupported(node, f"{products:,} products a sum are more than {MOST_BYTE_PRODUCTS:,}")
    # Coarser steps: where a term is far above the sums, so that it has its place beside them; and where a result is
    # hardly there, so that kernels shift all sums to the right by a moderate number of bits.
    least = np.maximum(np.abs(term) / (scale * (MOST_BIAS - 1)), after.scale / scale * 2.0**-_MOST_RIGHT)
    whole, steps = whole_filters(weights, least)
    bias = np.rint(term / (scale * steps)).astype(np.int64)
    numbers = (bias, *filters_multipliers(scale, steps, after.scale))
    plain = ConvAttrs(attrs.stride, attrs.dilation, attrs.pads, groups=attrs.groups)
    return convolution(x, whole, zeros, numbers, (*range_of, 0), plain, node.name)


def _binary(of: Integers, node: Node, core: Node) -> Made:
    """Sums of bits become bytes.  Where the factor is negative, the filter is negated, and so are its sums; the slot
    "negated" records which."""
    attrs, filters = conv_attrs(core), core.inputs[1]
    factor, term = linear(core)
    numbers = bits_numbers(np.abs(factor), term, math.prod(filters.type.shape[1:]), of.ranges[node].scale)
    operands = [constant(n, DType.i32, node.name) for n in (*numbers, (*of.range_of(node), 1))]
    slots: tuple[str, ...] = REQUANTIZATION
    if (negated := factor < 0).any():
        filters = constant(np.where(negated[:, None, None, None], -1, 1) * filters.value, DType.b1, filters.name)
        operands.insert(0, constant(np.where(negated, 1, -1), DType.b1, node.name))
        slots = ("negated", *slots)
    attrs = ConvAttrs(attrs.stride, attrs.dilation, attrs.pads, attrs.pad_value, attrs.groups, slots, out=DType.u8)
    y = make("bconv2d", of.raw[core.inputs[0]], filters, *operands, attrs=attrs, name=node.name)
    return y, of.ranges[node]


def _thresholds(of: Integers, node: Node) -> Node:
    """A convolution whose scaled sums only a sign reads: an integer threshold per filter."""
    x, zeros, scale = _data(of, node)
    w = _filters(node)
    whole, steps = whole_filters(w, np.zeros(len(w)))
    attrs = conv_attrs(node)
    slots = {s: i.value for s, i in zip(attrs.operands, node.inputs[2:], strict=True)}

    def bits(sums: Array, part: slice) -> Array | None:
        sums = (sums.astype(np.float64) * (scale * steps[part])).astype(np.float32)
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


def _bits(node: Node, x: Node, q: Bytes) -> Node:
    """A sign of bytes compares them with the byte of 0, or with that of a threshold for each channel."""
    channels, values = x.type.shape[-1], q.values
    thresholds, falling = np.zeros(channels, np.float32), np.zeros(channels, bool)
    if len(node.inputs) > 1:
        thresholds, falling = node.inputs[1].value, node.inputs[2].value > 0
    first = np.searchsorted(values, thresholds)  # the least byte whose value reaches it
    at = np.where(falling, 1 - (first - q.zero), first - q.zero)
    ones = np.ones((channels, 1, 1, 1), np.int8)
    image = _image(x)
    return _shaped(_compared(node, image, q.zero, ones, at, falling, ConvAttrs(groups=channels)), x.type.shape)


def _image(x: Node) -> Node:
    """Of two dimensions: an image of one row."""
    if len(x.type.shape) != 2:
        return x
    return make("reshape", x, attrs=ReshapeAttrs((1, *x.type.shape)), name=x.name)


def _shaped(x: Node, shape: tuple[int, ...]) -> Node:
    return x if x.type.shape == shape else make("reshape", x, attrs=ReshapeAttrs(shape), name=x.name)


# -- arithmetic -------------------------------------------------------------------------------------------------------


def _affine(of: Integers, node: Node, core: Node) -> Made:
    sub, mul, add = (i.value.astype(np.float64) for i in core.inputs[1:])
    return _per_channel(of, node, core, mul, add - sub * mul)


def _per_channel(of: Integers, node: Node, core: Node, factor: Array, term: Array) -> Made:
    """One number per channel, times the data, and one that is added: depthwise 1 x 1 filters."""
    x, q = of.bytes_of[core.data[0]]
    channels = x.type.shape[-1]
    weights = np.broadcast_to(factor, channels).reshape(-1, 1, 1, 1)
    terms, image = np.broadcast_to(term, channels), _image(x)
    y = _requantized(of, node, image, q.zero, q.scale, weights, terms, ConvAttrs(groups=channels))
    return _shaped(y, x.type.shape), of.ranges[node]


def _prelu(of: Integers, node: Node, core: Node) -> Made:
    """A slope for each channel: what is above zero, plus the slopes times what is below it."""
    (x, q), slopes, after = of.bytes_of[core.inputs[0]], core.inputs[1].value.astype(np.float64), of.ranges[node]
    lowest = slopes * float(q.values[0])
    below = Bytes.between(min(0.0, float(lowest.min())), max(0.0, float(lowest.max())))
    image = _image(lookup(x, np.minimum(BYTES, q.zero), node.name))
    weights, plain = slopes.reshape(-1, 1, 1, 1), ConvAttrs(groups=x.type.shape[-1])
    y = _requantized(of, node, image, q.zero, q.scale, weights, np.zeros(len(weights)), plain, below)
    scales, scale = summed(q.scale, below.scale, after.scale)
    first, second = sum_tables([q, below], scales)
    parts, tables = [x, _shaped(y, x.type.shape)], [np.maximum(first, 0), second]
    return pair("qadd", parts, tables, scale, of.range_of(node), node.name), after


def _arithmetic(of: Integers, node: Node, core: Node) -> Made:
    known = next((i for i in core.inputs if i.is_constant), None)
    if known is not None and core.data[0].type.shape == core.type.shape and _is_per_channel(known, core):
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
    return known.value.size in (1, core.type.shape[-1]) and known.type.shape[-1:] in ((1,), core.type.shape[-1:])


def _two(of: Integers, node: Node, core: Node) -> Node:
    operands = [_operand(of, i, core) for i in core.inputs]
    (first, a), (second, b) = operands
    after = of.ranges[node]
    if core.op == "mul":
        tables, scale = [a.numbers, b.numbers], multiplied(a.scale, b.scale, after.scale)
    else:
        scales, scale = summed(a.scale, b.scale, after.scale)
        tables = sum_tables([a, b], scales)
        tables[1] = tables[1] if core.op == "add" else -tables[1]
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


def _operand(of: Integers, x: Node, core: Node) -> Made:
    if not x.is_constant:
        return of.bytes_of[x]
    values = x.value.reshape((1,) * (len(core.type.shape) - x.value.ndim) + x.value.shape)
    q = Bytes.between(min(0.0, float(values.min())), max(0.0, float(values.max())))
    return constant(q.of(values), DType.u8, core.name), q


# -- pools and moves --------------------------------------------------------------------------------------------------


def _pool(of: Integers, node: Node, core: Node) -> Made:
    x, q = of.bytes_of[core.inputs[0]]
    attrs, channels = core.attrs, x.type.shape[-1]
    assert isinstance(attrs, PoolAttrs)
    if core.op == "avg_pool" and not is_mean(core):
        return make("avg_pool", x, attrs=attrs, name=node.name), q
    ones = np.ones((channels, *attrs.kernel, 1), np.int8)
    if math.prod(attrs.kernel) > MOST_BYTE_PRODUCTS:
        raise unsupported(core, f"a sum of {math.prod(attrs.kernel):,} pixels; at most {MOST_BYTE_PRODUCTS:,}")
    count = math.prod(attrs.kernel) if core.op == "avg_pool" else 1
    numbers = (0, *mean(q.scale, of.ranges[node].scale, count))
    window = ConvAttrs(attrs.stride, pads=attrs.pads, groups=channels)
    y = convolution(x, ones, q.zero, numbers, (*of.range_of(node), 0), window, node.name)
    return y, of.ranges[node]


def _move(of: Integers, node: Node, core: Node) -> Made:
    x, q = of.bytes_of[core.inputs[0]]
    return make(core.op, x, attrs=core.attrs, name=node.name), q


def _copy(of: Integers, node: Node, core: Node) -> Made:
    return of.bytes_of[core.inputs[0]]


def _pad(of: Integers, node: Node, core: Node) -> Made:
    x, q = of.bytes_of[core.inputs[0]]
    attrs: Any = core.attrs
    if attrs.value != 0:
        x, q = _rescaled(x, q, of.ranges[node], node), of.ranges[node]
    return make(core.op, x, attrs=replace(attrs, value=float(q.of(attrs.value))), name=node.name), q


def _gather(of: Integers, node: Node, core: Node) -> Made:
    """Rows and columns at even distances, as of cropping."""
    (x, q), index = of.bytes_of[core.inputs[0]], core.inputs[1].value
    if len(x.type.shape) != 3 or index.ndim != 3 or index.shape[2] != x.type.shape[2]:
        raise unsupported(core, "it moves numbers as no op of bytes does")
    places = np.unravel_index(index, x.type.shape)
    cuts = []
    for axis, place in enumerate(places):
        line = np.moveaxis(place, axis, 0)[:, 0, 0]
        step = int(line[1] - line[0]) if len(line) > 1 else 1
        cuts.append((int(line[0]), step, len(line)))
    even = np.meshgrid(*(first + step * np.arange(count) for first, step, count in cuts), indexing="ij")
    if (
        min(step for _, step, _ in cuts) < 1
        or cuts[2][:2] != (0, 1)
        or any((a != b).any() for a, b in zip(places, even, strict=True))
    ):
        raise unsupported(core, "it moves numbers as no op of bytes does")
    return taken(x, cuts[0], cuts[1], node.name), q


def _concat(of: Integers, node: Node, core: Node) -> Made:
    q = of.ranges[node]
    parts = [_rescaled(*of.bytes_of[x], q, node) for x in core.inputs]
    return make("concat", *parts, name=node.name), q


def _rescaled(x: Node, before: Bytes, after: Bytes, node: Node) -> Node:
    return x if before == after else lookup(x, after.of(before.values), node.name)


def _softmax(of: Integers, node: Node, core: Node) -> Made:
    x, q = of.bytes_of[core.inputs[0]]
    return make("qsoftmax", x, constant(exponentials(q.scale), DType.i32), name=node.name), SHARES


# Each gets the value and the op that computes it, which differ by a clamp that joined the op.
FORMS: dict[str, Callable[[Integers, Node, Node], Made | Node]] = {
    "input": _input,
    "cast": _cast,
    "unpack": _unpack,
    "conv2d": _convolution,
    "bconv2d": _binary,
    "iconv2d": _convolution,
    "qconv2d": _convolution,
    "affine": _affine,
    "add": _arithmetic,
    "sub": _arithmetic,
    "mul": _arithmetic,
    "div": _arithmetic,
    "prelu": _prelu,
    "avg_pool": _pool,
    "sum_pool": _pool,
    "max_pool": _move,
    "reshape": _move,
    "slice": _move,
    "copy": _copy,
    "pad": _pad,
    "pad_channels": _pad,
    "gather": _gather,
    "concat": _concat,
    "softmax": _softmax,
}


# -- what is left -----------------------------------------------------------------------------------------------------

_WHOLE = {"zeros", "threshold", "negated", *REQUANTIZATION}


def _is_whole(conv: Node) -> bool:
    """Whether no slot of a convolution computes with floats, nor a sign of floats behind its sums."""
    slots = conv_attrs(conv).slots
    return {*slots} <= _WHOLE and (conv.type.dtype is not DType.b1 or "threshold" in slots)


def float_ops(graph: Graph) -> list[Node]:
    """The ops that compute with floats: convolutions with slots of floats, and all other ops that read or give floats.
    Two kinds do not count: what turns the network's input into bytes, and what looks up the network's output."""

    def computes(node: Node) -> bool:
        if node.op in CONVOLUTIONS and not _is_whole(node):
            return True
        reads = any(i.type.dtype is DType.f32 for i in node.data)
        if node.op == "quantize" and node.inputs[0].op == "input" and len(node.inputs) == 1:
            return False
        gives = node.type.dtype is DType.f32 and not (node.op in ("cast", "unpack") and node in graph.outputs)
        return reads or gives

    return [node for node in graph.nodes() if node.op not in ("input", "constant") and computes(node)]
