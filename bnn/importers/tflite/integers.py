# SPDX-License-Identifier: Apache-2.0
"""What each operator computes on 8-bit tensors, in NumPy: int8 arrays, whole numbers throughout.

The numbers are those of TensorFlow Lite's reference kernels, and the reference of ``verify``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..._types import Array
from ...ir.ops import ConvAttrs
from ...ir.ops.conv import conv_accumulate
from ...ir.ops.moves import pad_spatial
from ...ir.ops.requantize import multiply
from ...ir.ops.softmax import qsoftmax
from ...ir.quantization import SUM_BITS
from ..common.table import entering
from . import quantized
from .quantized import HIGH, LOW, Filters, exponentials, limits, of, of_result
from .step import Step, Window
from .tables import TABLES, table

Evaluator = Callable[[Step, Sequence[Array]], Array]
INTEGERS: dict[str, Evaluator] = {}
evaluator = entering(INTEGERS)


def _limited(s: Step, y: Array, limits_of: tuple[int, int] | None = None) -> Array:
    """With the result's zero point, as the fused activation leaves it."""
    return np.clip(y + of_result(s).zero_point, *(limits_of or limits(s))).astype(np.int8)


@evaluator(*TABLES)
def _table(s: Step, operands: Sequence[Array]) -> Array:
    if operands[0].dtype == np.float32:
        return quantized_floats(s, operands[0])
    return np.asarray(table(s)[operands[0].astype(np.int64) - (0 if operands[0].dtype == np.uint8 else LOW)])


def quantized_floats(s: Step, x: Array) -> Array:
    """QUANTIZE of floats: x / scale in float32, rounded, halves away from zero; NaN gives the least number."""
    q, (low, high) = of_result(s), quantized.range_of_result(s)
    with np.errstate(all="ignore"):
        v = np.nan_to_num((x / q.scale).astype(np.float64), nan=-1e6, posinf=1e6, neginf=-1e6)
    whole = np.copysign(np.floor(np.abs(v) + 0.5), v) + q.zero_point
    return np.clip(whole, low, high).astype(np.int8 if low else np.uint8)


@evaluator("DEQUANTIZE")
def _dequantize(s: Step, operands: Sequence[Array]) -> Array:
    q = of(s, 0)
    return ((operands[0].astype(np.float64) - q.zero_point) * float(q.scale)).astype(np.float32)


@evaluator("LceQuantize")
def _bits(s: Step, operands: Sequence[Array]) -> Array:
    return np.where(operands[0] >= of(s, 0).zero_point, np.float32(1), np.float32(-1))


@evaluator("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
def _filtered(s: Step, operands: Sequence[Array]) -> Array:
    f = Filters(s)
    x = operands[0].astype(np.float64) - of(s, 0).zero_point
    if s.op == "FULLY_CONNECTED":
        y = x.reshape(-1, f.weights.shape[-1]) @ f.weights[:, 0, 0].T.astype(np.float64)
    else:
        y = conv_accumulate(x, f.weights, attributes(f.window, f.groups), np.float64)
    y = multiply(y.astype(np.int64) + f.bias, f.multipliers, f.shifts, f.once)
    return _limited(s, y).reshape(len(x), *s.output().shape[1:])


def attributes(w: Window, groups: int) -> ConvAttrs:
    return ConvAttrs(w.stride, w.dilation, w.pads, 0, groups)


@evaluator("ADD", "SUB")
def _sum(s: Step, operands: Sequence[Array]) -> Array:
    a, b = s.aligned(operands)
    scales, result = quantized.summed(s)
    x, y = (multiply((v.astype(np.int64) - of(s, i).zero_point) << SUM_BITS, *scales[i]) for i, v in enumerate((a, b)))
    return _limited(s, multiply(x + y if s.op == "ADD" else x - y, *result))


@evaluator("MUL")
def _product(s: Step, operands: Sequence[Array]) -> Array:
    a, b = s.aligned(operands)
    y = (a.astype(np.int64) - of(s, 0).zero_point) * (b.astype(np.int64) - of(s, 1).zero_point)
    return _limited(s, multiply(y, *quantized.product(s)))


@evaluator("MAXIMUM", "MINIMUM")
def _extreme(s: Step, operands: Sequence[Array]) -> Array:
    quantized.check_same(s, [0, 1])
    return np.asarray((np.maximum if s.op == "MAXIMUM" else np.minimum)(*operands))


def _windows(s: Step, x: Array, outside: int) -> Array:
    """(N, H, W, C, taps)"""
    w = s.window()
    padded = pad_spatial(x.astype(np.int64), w.pads, outside)
    found: Array = np.lib.stride_tricks.sliding_window_view(padded, w.kernel, axis=(1, 2))  # type: ignore[call-overload]
    found = found[:, :: w.stride[0], :: w.stride[1]]
    return found.reshape(*found.shape[:4], -1)


@evaluator("MAX_POOL_2D")
def _max_pool(s: Step, operands: Sequence[Array]) -> Array:
    quantized.check_same(s, [0])
    return np.clip(_windows(s, operands[0], LOW).max(axis=-1), *limits(s)).astype(np.int8)


def _rounded(sums: Array, counts: Array | int) -> Array:
    """sums / counts, halves away from zero."""
    return np.sign(sums) * ((np.abs(sums) + counts // 2) // counts)


@evaluator("AVERAGE_POOL_2D")
def _average_pool(s: Step, operands: Sequence[Array]) -> Array:
    quantized.check_same(s, [0])
    counts = _windows(s, np.ones((1, *operands[0].shape[1:3], 1), np.int8), 0).sum(axis=-1)
    return np.clip(_rounded(_windows(s, operands[0], 0).sum(axis=-1), counts), *limits(s)).astype(np.int8)


@evaluator("MEAN")
def _mean(s: Step, operands: Sequence[Array]) -> Array:
    x, axes = operands[0].astype(np.int64) - of(s, 0).zero_point, tuple(s.axes(1, operands[0].ndim))
    count = int(np.prod([x.shape[i] for i in axes]))
    y = _limited(s, multiply(x.sum(axis=axes), *quantized.mean(s, count)), (LOW, HIGH))
    return y.reshape(len(x), *s.output().shape[1:])


@evaluator("SOFTMAX")
def _softmax(s: Step, operands: Sequence[Array]) -> Array:
    numbers = operands[0].astype(np.int64) - LOW
    return (qsoftmax(numbers, exponentials(s)).astype(np.int64) + LOW).astype(np.int8)
