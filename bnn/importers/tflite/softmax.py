# SPDX-License-Identifier: Apache-2.0
"""The terms of SOFTMAX of int8 numbers, as TensorFlow Lite's reference kernel computes them, in 31 bits.

The arithmetic is that of gemmlowp's fixedpoint.h: a number x with n integer bits is held as x * 2**(31 - n).
"""

from __future__ import annotations

import math

import numpy as np

from ..._types import Array
from ...ir.ops.requantize import shifted
from ...ir.ops.softmax import product
from .quantized import LOW, multiplier, of, of_result
from .step import Step

_INTEGER_BITS = 5  # of the difference from the largest
_MOST = 2**31 - 1
# exp(-1/4), exp(-1/2), ... exp(-16) as fractions of 31 bits
_POWERS = [math.floor(math.exp(-(2.0**k)) * 2**31 + 0.5) for k in range(-2, 5)]


def _exp(x: Array) -> Array:
    """exp of numbers x <= 0 with 5 integer bits, as fractions: of the remainder, by its series around -1/8; times exp
    of each power of two in x."""
    quarter = 2 ** (31 - _INTEGER_BITS - 2)
    inside = (x & (quarter - 1)) - quarter  # from -1/4
    v = (inside << _INTEGER_BITS) + 2**28
    v2 = product(v, v)
    v3, v4 = product(v2, v), product(v2, v2)
    rest = shifted(product(shifted(v4, 2) + v3, math.floor(2**31 / 3 + 0.5)) + v2, 1)
    start = math.floor(math.exp(-1 / 8) * 2**31 + 0.5)
    found = start + product(v + rest, start)
    remainder = inside - x
    for k, power in enumerate(_POWERS):
        found = np.where(remainder & (quarter << k), product(found, power), found)
    return np.where(x == 0, _MOST, found)


def exponentials(s: Step) -> Array:
    """exp of minus 0 to 255 steps of the operand's scale, times beta, as fractions of 31 bits (256,), int64; 0 where
    the kernel does not count it."""
    q = of_result(s)
    if (float(q.scale), q.zero_point) != (1 / 256, LOW):
        raise s.unsupported(f"a result of scale {q.scale:g} and zero point {q.zero_point}; expected 1/256 and -128")
    beta, scale = float(np.float32(s.option("beta"))), float(of(s, 0).scale)
    if not beta > 0 or math.isinf(beta):
        raise s.unsupported(f"beta {beta:g}; expected a finite number above 0")
    number, shift = multiplier(s, min(beta * scale * 2 ** (31 - _INTEGER_BITS), 2.0**31 - 1))
    if shift < 1:
        raise s.unsupported(f"a scale of {scale:g} and beta {beta:g}, whose product is less than 2**-26")
    radius = math.floor((2**_INTEGER_BITS - 1) * 2 ** (31 - _INTEGER_BITS) / 2**shift)
    steps = np.arange(256, dtype=np.int64)
    x = np.maximum(-steps, -radius) << shift
    return np.where(steps <= radius, _exp(product(x, number)), 0)
