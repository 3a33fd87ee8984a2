# SPDX-License-Identifier: Apache-2.0
"""QONNX's operators: checked, and computed by NumPy, for ONNX Runtime does not have them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import CompileError, UnsupportedOpError
from ..common.remedies import CUT
from .call import Shape, Spec
from .protos import OnnxNode


def is_read(op: str, attrs: Mapping[str, Any]) -> bool:
    """Whether an operator of QONNX with these attributes is read."""
    rounding = str(attrs.get("rounding_mode", "ROUND")).upper()
    return op == "BipolarQuant" or op in ("Quant", "IntQuant") and rounding in ("ROUND", "HALF_EVEN")


def _check(node: OnnxNode, operands: Sequence[Spec | None]) -> None:
    """Refuse an operator of QONNX that is not read, and one without what it must have."""
    where, quant = node.where, node.op in ("Quant", "IntQuant")
    if not is_read(node.op, node.attrs):
        raise UnsupportedOpError(
            f"{where} is not supported; of QONNX, BipolarQuant and Quant that rounds to the nearest are; {CUT}"
        )
    given, count = [o for o in operands if o is not None], 4 if quant else 2
    if len(given) != count or len(operands) != count:
        raise CompileError(f"{where} has {len(given)} operands; expected {count}")
    if quant and not {"signed", "narrow"} <= node.attrs.keys():
        raise CompileError(f"{where} does not say whether its numbers are signed and narrow")
    if quant and math.prod(given[3].shape) != 1:
        raise UnsupportedOpError(f"{where} has widths of shape {given[3].shape}; one for all is supported; {CUT}")


def shape(node: OnnxNode, operands: Sequence[Spec | None]) -> Shape:
    """The shape of the result.

    Raises:
        CompileError: operands or attributes that the operator does not have; UnsupportedOpError: it is not read.
    """
    _check(node, operands)
    shapes = [o.shape for o in operands[:3] if o is not None]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise CompileError(f"{node.where}: shapes {', '.join(map(str, shapes))} do not fit") from None


def computed(node: OnnxNode, operands: Sequence[Array | None]) -> Array:
    """The result of an operator with operands that :func:`shape` accepts."""
    attrs, x = node.attrs, [o for o in operands if o is not None]
    if node.op == "BipolarQuant":
        return bipolar_quant(*x)
    data, scale, zero, bits = x
    return quant(data, scale, zero, float(bits.reshape(())), bool(attrs["signed"]), bool(attrs["narrow"]))


def bipolar_quant(x: Array, scale: Array) -> Array:
    """QONNX's BipolarQuant: +scale where x >= 0, else -scale."""
    return np.asarray(np.where(x >= 0, np.float32(1), np.float32(-1)) * scale, np.float32)


def integer_range(width: float, signed: bool, narrow: bool) -> tuple[float, float]:
    """The least and the largest number of QONNX's Quant."""
    low = -(2.0 ** (width - 1)) + narrow if signed else 0.0
    return low, 2.0 ** (width - 1) - 1 if signed else 2.0**width - 1 - narrow


def quant(x: Array, scale: Array, zero: Array, width: float, signed: bool, narrow: bool) -> Array:
    """QONNX's Quant, rounding halves to even, in its order of operations: x / scale + zero, clipped, rounded.  A signed
    number of one bit is +1 or -1."""
    low, high = integer_range(width, signed, narrow)
    number = np.asarray(x / scale + zero, np.float32)
    if signed and width == 1:
        number = np.where(number >= 0, np.float32(1), np.float32(-1))
    else:
        number = np.rint(np.clip(number, np.float32(low), np.float32(high)))
    return np.asarray((number - zero) * scale, np.float32)
