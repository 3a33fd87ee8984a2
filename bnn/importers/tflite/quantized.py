# SPDX-License-Identifier: Apache-2.0
"""Numbers of quantized tensors: an operator's scales and zero points, and the integers that come of them.

A tensor's number q stands for scale * (q - zero point).  What is a float here is one in TensorFlow Lite, too, and has
the same precision: float32 scales, and multipliers in float64.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ..._types import Array
from ...errors import CompileError
from ...ir import quantization
from ...ir.ops.requantize import MOST_BIAS
from .file import Quantization
from .step import Step, Window

LOW, HIGH = -128, 127
SCALES = "convert the model again, with other data for its calibration"


def of(s: Step, i: int) -> Quantization:
    """The scale and the zero point of operand i, which are those of the whole tensor."""
    return _whole(s, s.input(i).quantization, s.input(i).name)


def of_result(s: Step, i: int = 0) -> Quantization:
    return _whole(s, s.output(i).quantization, s.output(i).name)


def _whole(s: Step, found: Quantization | None, name: str) -> Quantization:
    if found is None:
        raise s.unsupported(f"'{name}' has no scale; expected a scale and a zero point")
    if len(found.scales) != 1:
        raise s.unsupported(f"'{name}' has {len(found.scales)} scales; only weights may have one per channel")
    return found


def per_filter(s: Step, i: int, filters: int, axis: int) -> Array:
    """The scales (filters,) of operand i, weights, float32; their zero points are 0."""
    found, name = s.input(i).quantization, s.input(i).name
    if found is None:
        raise s.unsupported(f"'{name}' has no scale; expected one, or one per filter")
    if found.zero_points.any():
        raise s.unsupported(f"the weights '{name}' have zero points {_some(found.zero_points)}; expected 0")
    if len(found.scales) > 1 and (found.axis != axis or len(found.scales) != filters):
        raise s.unsupported(
            f"the weights '{name}' have {len(found.scales)} scales along dimension {found.axis}; expected one, or one "
            f"for each of {filters} filters, along dimension {axis}"
        )
    return np.broadcast_to(found.scales, filters)


def _some(numbers: Array) -> str:
    return ", ".join(map(str, numbers[:4].tolist())) + (", ..." if len(numbers) > 4 else "")


def multiplier(s: Step, real: float) -> quantization.Multiplier:
    """:func:`bnn.ir.quantization.multiplier`, whose errors name the operator."""
    with _naming(s):
        return quantization.multiplier(real)


@contextmanager
def _naming(s: Step) -> Iterator[None]:
    try:
        yield
    except CompileError as error:
        raise s.unsupported(str(error), SCALES) from None


def quantized(value: float, q: Quantization) -> int:
    """The number that stands for a float, not clamped: value / scale in float32, rounded, halves away from zero."""
    with np.errstate(all="ignore"):
        number = float(np.float32(value) / q.scale)
    return q.zero_point + int(math.copysign(math.floor(abs(min(max(number, -1e9), 1e9)) + 0.5), number))


def limits(s: Step, activation: tuple[float, float] | None = None) -> tuple[int, int]:
    """The least and the largest number of the result, after the fused activation, or another."""
    low, high = s.clamp() if activation is None else activation
    q = of_result(s)
    least = LOW if math.isinf(low) else max(LOW, quantized(low, q))
    return least, HIGH if math.isinf(high) else min(HIGH, quantized(high, q))


def check_same(s: Step, numbers: list[int]) -> None:
    """Refuse operands whose scale or zero point is not that of the result, which TensorFlow Lite refuses, too."""
    expected = of_result(s)
    for i in numbers:
        found = of(s, i)
        if (found.scale, found.zero_point) != (expected.scale, expected.zero_point):
            raise s.unsupported(
                f"operand {i} has scale {found.scale:g} and zero point {found.zero_point}, the result "
                f"{expected.scale:g} and {expected.zero_point}; expected the same"
            )


def _scale(s: Step, i: int) -> float:
    return float(of(s, i).scale)


def summed(s: Step) -> tuple[list[quantization.Multiplier], quantization.Multiplier]:
    """Of ADD and SUB."""
    with _naming(s):
        return quantization.summed(_scale(s, 0), _scale(s, 1), float(of_result(s).scale))


def product(s: Step) -> quantization.Multiplier:
    """Of MUL."""
    with _naming(s):
        return quantization.multiplied(_scale(s, 0), _scale(s, 1), float(of_result(s).scale))


def mean(s: Step, count: int) -> quantization.Multiplier:
    """Of MEAN, of a sum of ``count`` numbers."""
    with _naming(s):
        return quantization.mean(_scale(s, 0), float(of_result(s).scale), count)


def exponentials(s: Step) -> Array:
    """The terms of SOFTMAX."""
    q, beta = of_result(s), float(np.float32(s.option("beta")))
    if (float(q.scale), q.zero_point) != (1 / 256, LOW):
        raise s.unsupported(f"a result of scale {q.scale:g} and zero point {q.zero_point}; expected 1/256 and -128")
    if not beta > 0 or math.isinf(beta):
        raise s.unsupported(f"beta {beta:g}; expected a finite number above 0")
    with _naming(s):
        return quantization.exponentials(_scale(s, 0), beta)


def range_of_result(s: Step) -> tuple[int, int]:
    return (0, 255) if s.output().dtype == "UINT8" else (LOW, HIGH)


class Filters:
    """The constants of a convolution or a dense layer of bytes.

    ``weights`` (O, kh, kw, I / groups) int8; ``bias`` (O), ``multipliers`` (O) and ``shifts`` (O), int64; ``once``: 1
    if a product is rounded once; ``window``.
    """

    def __init__(self, s: Step) -> None:
        dense = s.op == "FULLY_CONNECTED"
        self.once = int(dense)  # as the reference kernels do it
        self.weights, self.groups = s.filters()
        w, count = self.weights, len(self.weights)
        self.bias = s.per_filter(2, count).astype(np.int64) if s.has(2) else np.zeros(count, np.int64)
        if self.bias.size and int(np.abs(self.bias).max()) > MOST_BIAS:
            raise s.unsupported(f"a bias of {self.bias[np.abs(self.bias).argmax()]:,}; at most 2**30 is read")
        one = (1, 1)
        self.window = Window(one, one, one, (0, 0, 0, 0)) if dense else s.window((w.shape[1], w.shape[2]))
        before, after = _scale(s, 0), float(of_result(s).scale)
        scales = per_filter(s, 1, count, 3 if s.op == "DEPTHWISE_CONV_2D" else 0)
        with _naming(s):
            self.multipliers, self.shifts = quantization.filters_multipliers(before, scales, after)
