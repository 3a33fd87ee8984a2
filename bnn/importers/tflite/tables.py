# SPDX-License-Identifier: Apache-2.0
"""Functions of one 8-bit number: their 256 results, by the arithmetic of TensorFlow Lite's reference kernels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..._types import Array
from ...ir.ops.requantize import multiply, shifted
from ..common.table import entering
from . import quantized
from .quantized import LOW, multiplier, of, of_result
from .step import Step

Table = Callable[[Step, Array], Array]
TABLES: dict[str, Table] = {}
"""Each gives the result for every number of the operand, not yet limited to 8 bits."""
of_op = entering(TABLES)
CLAMPS = {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
_LEAST = {"INT8": LOW, "UINT8": 0}


def table(s: Step) -> Array:
    """The result (256,) of every operand, in rising order; in the result's type."""
    low, least = _LEAST[s.input(0).dtype], _LEAST[s.output().dtype]
    with np.errstate(all="ignore"):
        found = TABLES[s.op](s, np.arange(low, low + 256, dtype=np.int64))
    return np.clip(found, least, least + 255).astype(np.int8 if least else np.uint8)


@of_op(*CLAMPS)
def _relu(s: Step, x: Array) -> Array:
    before, after = of(s, 0), of_result(s)
    y = multiply(x - before.zero_point, *multiplier(s, float(before.scale / after.scale))) + after.zero_point
    return np.clip(y, *quantized.limits(s, CLAMPS[s.op]))


@of_op("LEAKY_RELU")
def _leaky_relu(s: Step, x: Array) -> Array:
    before, after, alpha = of(s, 0), of_result(s), np.float32(s.option("alpha"))
    slope = float(before.scale * alpha / after.scale)
    m, shift = multiplier(s, abs(slope))
    v = x - before.zero_point
    plain = multiply(v, *multiplier(s, float(before.scale / after.scale)))
    return np.where(v >= 0, plain, multiply(v, m if slope >= 0 else -m, shift)) + after.zero_point


@of_op("QUANTIZE")
def _requantize(s: Step, x: Array) -> Array:
    before, after = of(s, 0), of_result(s)
    real = float(before.scale) / float(after.scale)
    return multiply(x - before.zero_point, *multiplier(s, real)) + after.zero_point


def _of_floats(s: Step, x: Array, function: Callable[[Array], Array]) -> Array:
    """A function of float32, each operation rounded."""
    before, after = of(s, 0), of_result(s)
    y = function(before.scale * (x - before.zero_point).astype(np.float32)) * (np.float32(1) / after.scale)
    return (np.copysign(np.floor(np.abs(y) + np.float32(0.5)), y) + np.float32(after.zero_point)).astype(np.int64)


@of_op("LOGISTIC")
def _logistic(s: Step, x: Array) -> Array:
    if (float(of_result(s).scale), of_result(s).zero_point) != (1 / 256, LOW):
        raise s.unsupported(
            f"a result of scale {of_result(s).scale:g} and zero point {of_result(s).zero_point}; expected 1/256, -128"
        )
    one = np.float32(1)
    return _of_floats(s, x, lambda v: one / (one + np.exp(-v.astype(np.float64)).astype(np.float32)))


@of_op("TANH")
def _tanh(s: Step, x: Array) -> Array:
    return _of_floats(s, x, lambda v: np.tanh(v.astype(np.float64)).astype(np.float32))


def _half(s: Step, real: np.float32) -> tuple[int, int]:
    """A multiplier of 16 bits."""
    m, shift = multiplier(s, float(real))
    return min((m + 2**15) >> 16, 2**15 - 1), shift


def _high(x: Array, m: int) -> Array:
    """The product's high 16 bits, doubled and rounded, halves up."""
    return np.minimum((x * m + 2**14) >> 15, 2**15 - 1)


def _sixteen(x: Array) -> Array:
    return np.clip(x, -(2**15), 2**15 - 1)


@of_op("HARD_SWISH")
def _hard_swish(s: Step, x: Array) -> Array:
    """x * clip(x + 3, 0, 6) / 6 in 16 bits: x at 128 times its scale, the other factor as a fraction of 15 bits."""
    before, after = of(s, 0), of_result(s)
    fine = np.float32(1 / 128) * before.scale
    m, shift = _half(s, fine / after.scale)
    if shift > 0:
        raise s.unsupported(f"a result whose scale, {after.scale:g}, is less than 1/128 of {before.scale:g}")
    v = (x - before.zero_point) << 7
    wide = _high(v, m)
    third, left = _half(s, fine / np.float32(3 / 32768))
    gate = v
    if left > 0:
        gate = _sixteen(_sixteen(gate << (left - 1)).astype(np.int64))
    gate = _high(gate, third)
    gate = _sixteen(gate << 1) if left > 0 else shifted(gate, -left)
    product = ((gate + 2**15) >> 1) * wide
    truncated = np.sign(product) * (np.abs(product) >> 15)
    return shifted(truncated, -shift) + after.zero_point
