# SPDX-License-Identifier: Apache-2.0
"""Layers that training quantized to several bits, and that are not counted: bytes by int8 weights, in integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .._types import Array
from ..ir.graph import DType, Graph, Node
from ..ir.ops import MOST_BYTE_PRODUCTS, QuantizeAttrs, constant, conv_attrs, make
from ..ir.ops.bits import quantize
from ..ir.rewrite import Rewrite, rewrite
from .levels import MOST_SIGNS, even, levels, sign_planes

_LEAST_STEPS = 3  # two bits; layers that read two or three levels stay as they are, also as spikes
_UNEVEN = 1e-6  # of the largest weight: what rounding in float32 leaves of even spaces
_TRIED = 16  # weights of a filter, before all
_MOST_WEIGHT = 128


def integer_layers(graph: Graph) -> Graph:
    """Precondition and postcondition: BINARY.  A convolution of 4 to 256 evenly spaced levels by weights that are, in
    each filter, whole numbers from -128 to 127 times a scale is a qconv2d, and a multiplication.  A byte of the input
    has 256 levels, if its numbers are evenly spaced and 0 is one of them.

    This is what fake quantization to two to eight bits means (Jacob et al., 2018).  The source sums products of floats,
    each sum rounded; here whole numbers are summed, and rounded once.
    """
    return rewrite(graph, RULES)


def _convolution(node: Node, uses: Mapping[Node, int]) -> Node | None:
    attrs, w = conv_attrs(node), node.inputs[1].value
    x = node.inputs[0]
    if attrs.slots or attrs.groups > 1 or np.prod(w.shape[1:]) > MOST_BYTE_PRODUCTS:
        return None
    if sign_planes(w, MOST_SIGNS) is not None:  # explain.py says why such a layer is not binary
        return None
    data = _input_bytes(x) if x.op == "cast" else _bytes(x)
    filters = data and _int8_filters(w)
    if not data or not filters:
        return None
    whole, scale = filters
    quantized, step, zero = data
    zeros = constant(np.full(x.type.shape[-1], zero))
    value = make(
        "qconv2d", quantized, constant(whole, DType.i8, node.inputs[1].name), zeros,
        attrs=replace(attrs, slots=("zeros",), layer_slots=("zeros",)), name=node.name,
    )  # fmt: skip
    value = make("mul", value, constant(scale * step), name=node.name)
    return replace(value, origin=node.origin, tap=node.tap)


def _input_bytes(x: Node) -> tuple[Node, float, int] | None:
    """Numbers of bytes, as _bytes."""
    values = x.inputs[1].value if len(x.inputs) > 1 else np.arange(256, dtype=np.float32)
    line = _line(values, even(values)) if values.ndim == 1 else None
    return line and (x.inputs[0], *line)


def _line(values: Array, evenly: bool) -> tuple[float, int] | None:
    """The step of rising values, and which of them is 0."""
    zero = np.flatnonzero(values == 0)
    if not evenly or len(zero) != 1 or values[-1] < values[0]:
        return None
    return float(values[-1].astype(np.float64) - values[0]) / (len(values) - 1), int(zero[0])


def _bytes(x: Node) -> tuple[Node, float, int] | None:
    """Levels as bytes u, which stand for (u - zero) * step; the levels' order is that of the bytes."""
    known = levels(x)
    line = _line(known.values, known.even) if known and _LEAST_STEPS <= known.steps < 256 else None
    if not known or not line:
        return None
    step, zero = line
    attrs = QuantizeAttrs(float(np.float32(1 / step)), 0.0, zero)
    if not np.array_equal(quantize(known.values, attrs), np.arange(len(known.values))):
        return None
    return make("quantize", x, attrs=attrs, name=x.name), step, attrs.zero


def _int8_filters(w: Array) -> tuple[Array, Array] | None:
    """Weights as whole numbers from -128 to 127, and the scale of each filter (O); None if they are not even.

    The scale is negative where the numbers would be from -127 to 128.
    """
    rows = w.reshape(len(w), -1).astype(np.float64)
    whole, scale = np.zeros(rows.shape, np.int8), np.ones(len(rows))
    for i, row in enumerate(rows):
        found = _whole(row)
        if found is None:
            return None
        whole[i], scale[i] = found
    return whole.reshape(w.shape), scale


def _whole(row: Array) -> tuple[Array, float] | None:
    """The fewest steps from zero to the largest weight that every weight is a whole number of."""
    largest = np.abs(row).max()
    if not np.isfinite(largest):
        return None
    if largest == 0:
        return row, 1.0
    some = row[:: max(1, len(row) // _TRIED)]
    counts = np.arange(1, _MOST_WEIGHT + 1)
    numbers = counts[:, None] * some / largest
    near = np.abs(numbers - np.rint(numbers)).max(axis=1) <= _UNEVEN * counts
    for count in counts[near]:
        step = largest / count
        numbers = np.rint(row * count / largest)
        if numbers.max() == _MOST_WEIGHT:  # -128 is an int8, and 128 is not
            numbers, step = -numbers, -step
        if numbers.max() < _MOST_WEIGHT and np.abs(numbers * step - row).max() <= _UNEVEN * largest:
            return numbers, float((row * numbers).sum() / (numbers * numbers).sum())
    return None


RULES = (Rewrite(_convolution, ("conv2d",), of=("dequantize", "cast")),)
