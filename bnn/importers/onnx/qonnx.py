# SPDX-License-Identifier: Apache-2.0
"""QONNX's and FINN's operators: checked, and computed by NumPy, for ONNX Runtime does not have them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import CompileError, UnsupportedOpError
from ...ir.ops import INF
from ..common.remedies import CUT
from .call import Shape, Spec
from .protos import OnnxNode

# How many operands each may have.
OPERANDS = {
    "BipolarQuant": (2,), "IntQuant": (4,), "MultiThreshold": (2,), "Quant": (4,), "Trunc": (5, 6),
    "XnorPopcountMatMul": (2,),
}  # fmt: skip
_LEVELS = frozenset({"IntQuant", "Quant"})
_DIRECTIONS = {"ROUND": 0, "HALF_EVEN": 0, "CEIL": 1, "FLOOR": -1}
_ROUNDED = (np.rint, np.ceil, np.floor)  # by direction


def direction(op: str, attrs: Mapping[str, Any]) -> int | None:
    """Where an operator rounds to, as RoundAttrs has it; None for one that is not read."""
    return _DIRECTIONS.get(str(attrs.get("rounding_mode", "FLOOR" if op == "Trunc" else "ROUND")).upper())


def is_read(op: str, attrs: Mapping[str, Any]) -> bool:
    """Whether an operator of QONNX with these attributes is read."""
    return op in OPERANDS and direction(op, attrs) is not None


def _check(node: OnnxNode, operands: Sequence[Spec | None]) -> None:
    """Refuse an operator of QONNX that is not read, and one without what it must have."""
    where = node.where
    if not is_read(node.op, node.attrs):
        raise UnsupportedOpError(
            f"{where} is not supported; of QONNX, {', '.join(OPERANDS)} are, which round to the nearest, up or down; "
            f"{CUT}"
        )
    given, counts = [o for o in operands if o is not None], OPERANDS[node.op]
    if len(given) not in counts or len(operands) != len(given):
        raise CompileError(f"{where} has {len(given)} operands; expected {' or '.join(map(str, counts))}")
    if node.op in _LEVELS and not {"signed", "narrow"} <= node.attrs.keys():
        raise CompileError(f"{where} does not say whether its numbers are signed and narrow")
    for width in given[3:4] + given[-1:] if counts[-1] > 2 else ():
        if math.prod(width.shape) != 1:
            raise UnsupportedOpError(f"{where} has widths of shape {width.shape}; one for all is supported; {CUT}")


def shape(node: OnnxNode, operands: Sequence[Spec | None]) -> Shape:
    """The shape of the result.

    Raises:
        CompileError: operands or attributes that the operator does not have; UnsupportedOpError: it is not read.
    """
    _check(node, operands)
    given = [o.shape for o in operands if o is not None]
    if node.op == "MultiThreshold":
        return _thresholded(node, *given)
    if node.op == "XnorPopcountMatMul":
        if len(given[1]) != 2 or given[0][-1:] != given[1][:1]:
            raise CompileError(f"{node.where}: shapes {given[0]} and {given[1]} do not fit")
        return (*given[0][:-1], given[1][1])
    scales = (*operands[:3], *operands[4 : 5 if len(operands) == 6 else 4])
    shapes = [o.shape for o in scales if o is not None]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise CompileError(f"{node.where}: shapes {', '.join(map(str, shapes))} do not fit") from None


def _thresholded(node: OnnxNode, data: Shape, thresholds: Shape) -> Shape:
    axis = channel_axis(node.attrs, len(data))
    channels = data[axis] if axis < len(data) else 0
    if len(thresholds) != 2 or thresholds[0] not in (1, channels) or not thresholds[1]:
        raise CompileError(
            f"{node.where} has thresholds of shape {thresholds}; expected (1, n) or ({channels}, n), rows of channels"
        )
    return data


def channel_axis(attrs: Mapping[str, Any], rank: int) -> int:
    """The dimension of MultiThreshold's channels: as ``data_layout`` says, or as FINN takes data without one."""
    layout = str(attrs.get("data_layout") or {3: "NWC"}.get(rank, "NC"))
    return layout.index("C") if "C" in layout else 1


def computed(node: OnnxNode, operands: Sequence[Array | None]) -> Array:
    """The result of an operator with operands that :func:`shape` accepts."""
    attrs, x = node.attrs, [o for o in operands if o is not None]
    rounded = _ROUNDED[direction(node.op, attrs) or 0]
    if node.op == "BipolarQuant":
        return bipolar_quant(*x)
    if node.op == "MultiThreshold":
        return multi_threshold(x[0], x[1], attrs)
    if node.op == "XnorPopcountMatMul":
        return np.asarray(((2 * x[0] - 1) @ (2 * x[1] - 1) + np.float32(len(x[1]))) * np.float32(0.5), np.float32)
    if node.op == "Trunc":
        return trunc(x[0], x[2], truncation(attrs, *x[1:]), rounded)
    data, scale, zero, bits = x
    return quant(data, scale, zero, float(bits.reshape(())), bool(attrs["signed"]), bool(attrs["narrow"]), rounded)


def bipolar_quant(x: Array, scale: Array) -> Array:
    """QONNX's BipolarQuant: +scale where x >= 0, else -scale."""
    return np.asarray(np.where(x >= 0, np.float32(1), np.float32(-1)) * scale, np.float32)


def integer_range(width: float, signed: bool, narrow: bool) -> tuple[float, float]:
    """The least and the largest number of QONNX's Quant."""
    low = -(2.0 ** (width - 1)) + narrow if signed else 0.0
    return low, 2.0 ** (width - 1) - 1 if signed else 2.0**width - 1 - narrow


def quant(
    x: Array, scale: Array, zero: Array, width: float, signed: bool, narrow: bool, rounded: Callable[[Array], Array]
) -> Array:
    """QONNX's Quant in its order of operations: x / scale + zero, clipped, rounded.  A signed number of one bit is +1
    or -1."""
    low, high = integer_range(width, signed, narrow)
    number = np.asarray(x / scale + zero, np.float32)
    if signed and width == 1:
        number = np.where(number >= 0, np.float32(1), np.float32(-1))
    else:
        number = rounded(np.clip(number, np.float32(low), np.float32(high)))
    return np.asarray((number - zero) * scale, np.float32)


@dataclass(frozen=True)
class Truncation:
    """What QONNX's Trunc does to x / before + zero, once it is whole: it divides by the power of two ``factor``, clips
    to ``limits`` and rounds; then (y - zero) * after."""

    before: Array
    factor: Array
    limits: tuple[float, float]
    zero: Array
    after: Array


def truncation(attrs: Mapping[str, Any], before: Array, zero: Array, width: Array, *rest: Array) -> Truncation:
    """``rest``: the width of the result; before it, in version 2, the scale of the result."""
    bits = float(rest[-1].reshape(()))
    if len(rest) == 1:
        factor = np.asarray(2.0 ** (float(width.reshape(())) - bits), np.float32)
        return Truncation(before, factor, (-INF, INF), zero, before)
    factor = np.asarray(2 ** np.rint(np.log2(rest[0] / before)), np.float32)
    limits = integer_range(bits, bool(attrs.get("signed", 1)), bool(attrs.get("narrow", 0)))
    return Truncation(before, factor, limits, zero / factor, rest[0])


def trunc(x: Array, zero: Array, to: Truncation, rounded: Callable[[Array], Array]) -> Array:
    """QONNX's Trunc, in its order of operations."""
    whole = np.rint(np.asarray(x / to.before + zero, np.float32)) / to.factor
    low, high = map(np.float32, to.limits)
    return np.asarray((rounded(np.clip(whole, low, high)) - to.zero) * to.after, np.float32)


def multi_threshold(x: Array, thresholds: Array, attrs: Mapping[str, Any]) -> Array:
    """FINN's MultiThreshold: how many of its channel's thresholds x reaches, times ``out_scale``, plus ``out_bias``."""
    axis = channel_axis(attrs, x.ndim)
    y = np.moveaxis(x, axis, -1)
    count = sum(((y >= column).astype(np.float32) for column in thresholds.T), np.zeros(y.shape, np.float32))
    scale, bias = np.float32(attrs.get("out_scale", 1.0)), np.float32(attrs.get("out_bias", 0.0))
    return np.asarray(np.moveaxis(count, -1, axis) * scale + bias, np.float32)
