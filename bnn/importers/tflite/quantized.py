# SPDX-License-Identifier: Apache-2.0
"""Numbers of quantized tensors: from scales and zero points to the integers that TensorFlow Lite computes with.

A tensor's number q stands for scale * (q - zero point).  What is a float here is one in TensorFlow Lite, too, and has
the same precision: float32 scales, and multipliers in float64.
"""

from __future__ import annotations

import math

import numpy as np

from ..._types import Array
from ...ir.ops.requantize import MOST_BIAS
from .file import Quantization
from .step import Step, Window

LOW, HIGH = -128, 127
_MOST_LEFT = 29  # bits that a sum is shifted to the left
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


def multiplier(s: Step, real: float) -> tuple[int, int]:
    """(m, shift) with real about m * 2**(shift - 31), m from 2**30 to 2**31 - 1, or (0, 0) for less than 2**-32."""
    if not real <= 2**_MOST_LEFT:
        raise s.unsupported(f"its scales make a multiplier of {real:g}; at most 2**{_MOST_LEFT} is read", SCALES)
    fraction, shift = math.frexp(real)
    number = math.floor(fraction * 2**31 + 0.5)  # exact: fraction has 53 bits
    if number == 2**31:
        number, shift = 2**30, shift + 1
    if shift < -31 or number == 0:
        return 0, 0
    return number, shift


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


SUM_BITS = 20  # by which both operands of a sum are shifted to the left


def summed(s: Step) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Of ADD and SUB: the multipliers of both operands, as twice the larger scale stands for 1, and of their sum."""
    scales, after = [of(s, i).scale for i in range(2)], of_result(s).scale
    most = 2 * float(max(scales))
    result = multiplier(s, most / (2**SUM_BITS * float(after)))
    return [multiplier(s, float(scale) / most) for scale in scales], result


def product(s: Step) -> tuple[int, int]:
    """Of MUL: two operations of float32."""
    with np.errstate(all="ignore"):
        return multiplier(s, float(of(s, 0).scale * of(s, 1).scale / of_result(s).scale))


def mean(s: Step, count: int) -> tuple[int, int]:
    """Of MEAN, of a sum of ``count`` numbers: the multiplier of the scales, divided by it."""
    number, shift = multiplier(s, float(of(s, 0).scale) / float(of_result(s).scale))
    spare = min(count.bit_length() - 1, 32, 31 + shift)
    return (number << spare) // count, shift - spare


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
        before, after = of(s, 0).scale, of_result(s).scale
        scales = per_filter(s, 1, count, 3 if s.op == "DEPTHWISE_CONV_2D" else 0)
        with np.errstate(all="ignore"):
            found = [multiplier(s, float(before) * float(scale) / float(after)) for scale in scales]
        self.multipliers, self.shifts = np.array(found, np.int64).T
