# SPDX-License-Identifier: Apache-2.0
"""From scales and zeros of quantized tensors to the whole numbers that ops of bytes compute with.

The byte u of a tensor stands for (u - zero) * scale.  The whole numbers are those of TensorFlow Lite: multipliers are
made in float64, products of scales in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._types import Array
from ..errors import CompileError
from .graph import DType, Node
from .ops import REQUANTIZATION, ConvAttrs, QuantizeAttrs, RequantizeAttrs, constant, make
from .ops.conv import BIT_STEPS
from .ops.requantize import MOST_BIAS, multiply, shifted
from .ops.softmax import product as fraction

BYTES = np.arange(256, dtype=np.int64)
SUM_BITS = 20  # by which both operands of a sum are shifted to the left
_MOST_LEFT = 29  # bits that a sum is shifted to the left
Multiplier = tuple[int, int]


@dataclass(frozen=True)
class Bytes:
    """What the bytes of a tensor stand for: u for (u - zero) * scale; with ``half``, for half a step more, the middle
    of the values that are rounded down to it: so a byte has their sign."""

    scale: float  # a float32
    zero: int
    half: bool = False

    @classmethod
    def between(cls, low: float, high: float) -> Bytes:
        """255 steps from ``low`` to ``high``, moved so that 0, which is between them, is a byte; from 0 to 1, if both
        are equal."""
        low, high = (low, high) if high > low else (0.0, 1.0)
        scale = float(np.float32((high - low) / 255))
        return cls(scale, int(np.clip(np.rint(-low / scale), 0, 255)))

    @property
    def attrs(self) -> QuantizeAttrs:
        """Of the op that makes such bytes of floats."""
        return QuantizeAttrs(float(np.float32(1) / np.float32(self.scale)), 0.0, self.zero)

    @property
    def numbers(self) -> Array:
        """u - zero of every byte u (256), int64; with ``half``, 1/2 more, float64."""
        return BYTES - self.zero + 0.5 if self.half else BYTES - self.zero

    @property
    def values(self) -> Array:
        """What every byte stands for (256), float32."""
        return (self.numbers * float(self.scale)).astype(np.float32)

    def of(self, values: Any) -> Array:
        """The bytes, uint8, that stand for these values, the nearest ones; halves to even.  With ``half``, rounded
        down."""
        with np.errstate(all="ignore"):
            steps = np.asarray(values, np.float64) / self.scale
            numbers = (np.floor(steps) if self.half else np.rint(steps)) + self.zero
        return np.clip(np.nan_to_num(numbers), 0, 255).astype(np.uint8)


def multiplier(real: float) -> Multiplier:
    """(m, shift) with real about m * 2**(shift - 31), m from 2**30 to 2**31 - 1, or (0, 0) for less than 2**-32.

    Raises:
        CompileError: ``real`` is not a number up to 2**29.
    """
    if not real <= 2**_MOST_LEFT:
        raise CompileError(f"its scales make a multiplier of {real:g}; at most 2**{_MOST_LEFT} is read")
    fraction, shift = math.frexp(real)
    number = math.floor(fraction * 2**31 + 0.5)  # exact: fraction has 53 bits
    if number == 2**31:
        number, shift = 2**30, shift + 1
    if shift < -31 or number == 0:
        return 0, 0
    return number, shift


def summed(first: float, second: float, after: float) -> tuple[list[Multiplier], Multiplier]:
    """Of a sum: the multipliers of both operands, as twice the larger scale stands for 1, and of their sum."""
    most = 2 * float(max(first, second))
    result = multiplier(most / (2**SUM_BITS * float(after)))
    return [multiplier(float(scale) / most) for scale in (first, second)], result


def multiplied(first: float, second: float, after: float) -> Multiplier:
    """Of a product: two operations of float32."""
    with np.errstate(all="ignore"):
        return multiplier(float(np.float32(first) * np.float32(second) / np.float32(after)))


def mean(before: float, after: float, count: int) -> Multiplier:
    """Of a sum of ``count`` numbers: the multiplier of the scales, divided by it."""
    number, shift = multiplier(float(before) / float(after))
    spare = min(count.bit_length() - 1, 32, 31 + shift)
    return (number << spare) // count, shift - spare


def filters_multipliers(before: float, filters: Array, after: float) -> tuple[Array, Array]:
    """Of a convolution: the multipliers and the shifts (O), int64, from the scales of data, filters (O) and result."""
    with np.errstate(all="ignore"):
        found = [multiplier(float(before) * float(scale) / float(after)) for scale in filters]
    numbers, shifts = np.array(found, np.int64).reshape(-1, 2).T
    return numbers, shifts


def bits_numbers(
    factors: Array, terms: Array, products: int, after: float, out: DType = DType.u8
) -> tuple[Array, Array, Array]:
    """Of a convolution of bits, or of int16: the biases, multipliers and shifts (O), int64, by which sums, up to
    ``products``, times ``factors`` (O, not negative), plus ``terms`` (O), become bytes, or int16, of the scale
    ``after``.

    Raises:
        CompileError: 32 bits do not hold a sum beside its term, to half a byte, or beside the numbers.
    """
    # A term far above its sums has its place beside them if they count for more than they are.  That changes no byte
    # where the term alone is beyond all of them.
    least = np.abs(terms) / MOST_BIAS
    steps = np.maximum(factors / BIT_STEPS, least)
    byte = after * 256 ** (out.element - 1)
    off = float((np.minimum(least / byte, 512 / MOST_BIAS) * (steps == least)).max()) * BIT_STEPS * products
    if off >= 0.5:
        raise CompileError(f"{products:,} products a sum, beside a number far above them, change it by {off:.3g} bytes")
    biases = np.rint(np.divide(terms, steps, out=np.zeros_like(terms), where=steps > 0)).astype(np.int64)
    numbers, shifts = filters_multipliers(1.0, steps, after)
    if (((products * BIT_STEPS + np.abs(biases)) << np.maximum(shifts, 0)) >= 2**31).any():
        raise CompileError(f"one step of its sums is {float(factors.max()) / after:.3g} bytes")
    return biases, numbers, shifts


def sum_tables(scales: Sequence[Bytes], multipliers: Sequence[Multiplier]) -> list[Array]:
    """What a sum adds for the bytes of both operands (256 each)."""
    numbers = [np.rint(q.numbers * 2.0**SUM_BITS).astype(np.int64) for q in scales]
    return [multiply(n, *m) for n, m in zip(numbers, multipliers, strict=True)]


def sum_lines(first: Bytes, second: Bytes) -> tuple[list[Array], float]:
    """The tables of a sum where no other framework says how it is rounded, and what 1 of their numbers stands for.

    The numbers of each table, int64, are as far apart, by 16 bits, so kernels multiply and look nothing up.  Of the
    steps that fit, the two are taken whose quotient is nearest to that of the scales.
    """
    most = max(first.scale, second.scale)
    large = np.arange(2**14, 2**15)
    small = large * (min(first.scale, second.scale) / most)
    best = int(np.argmin(np.abs(small - np.rint(small))))
    unit = most / int(large[best])
    steps = [(q, round(q.scale / unit)) for q in (first, second)]
    return [(BYTES - q.zero) * step + q.half * (step + 1) // 2 for q, step in steps], unit


# -- nodes ------------------------------------------------------------------------------------------------------------


def lookup(x: Node, results: Array, name: str) -> Node:
    """Bytes by a table (256); ``x`` itself if it changes nothing."""
    return x if (results == BYTES).all() else make("lookup", x, constant(results, DType.u8, name), name=name)


def convolution(
    x: Node, weights: Array, zeros: Array | int, numbers: Sequence[Any], range_of: Sequence[int], attrs: ConvAttrs,
    name: str, out: DType = DType.u8,
) -> Node:  # fmt: skip
    """A convolution of bytes to bytes, or int16.

    ``weights`` (O, kh, kw, I / groups) int8; ``zeros``: the bytes that stand for 0, one or (C); ``numbers``: bias,
    multiplier and shift, one or (O); ``range_of``: the result's zero, the lowest and the highest byte, and 1 if
    products are rounded once.
    """
    known = constant(np.broadcast_to(zeros, x.type.shape[-1:]), name=name)
    each = [np.broadcast_to(n, len(weights)) for n in numbers]
    operands = [constant(n, DType.i32, name) for n in (*each, range_of)]
    attrs = replace(attrs, slots=("zeros", *REQUANTIZATION), out=out)
    return make("qconv2d", x, constant(weights, DType.i8, name), known, *operands, attrs=attrs, name=name)


def taken(x: Node, rows: tuple[int, int, int], columns: tuple[int, int, int], name: str) -> Node:
    """Some rows and columns of an image of bytes: ``count`` from ``first`` on, ``step`` apart, for each of the two.  It
    is a depthwise convolution whose filters have one tap."""
    kernel, stride = [], []
    for (first, step, count), size in zip((rows, columns), x.type.shape, strict=False):
        after = size - 1 - (first + (count - 1) * step)  # pixels after the last one that is taken
        kernel.append(first + 1 + max(after, 0))
        stride.append(step)
    channels = x.type.shape[2]
    filters = np.zeros((channels, *kernel, 1), np.int8)
    filters[:, rows[0], columns[0]] = 1
    attrs = ConvAttrs(stride=(stride[0], stride[1]), groups=channels)
    middle = 128  # any byte: what is subtracted comes back
    return convolution(x, filters, middle, (0, 2**30, 1), (middle, 0, 255, 0), attrs, name)


def pair(
    op: str, operands: Sequence[Node], tables: Sequence[Array], scale: Multiplier, range_of: Sequence[int], name: str
) -> Node:
    """``qadd`` or ``qmul`` of two operands, each looked up in its table (256).

    One of the operands has the result's shape; ``range_of`` as in :func:`convolution`.

    Raises:
        CompileError: the shapes do not fit.
    """
    parts = [(x, constant(n, DType.i32, name)) for x, n in zip(operands, tables, strict=True)]
    (x, first), (y, second) = parts if not _repeats(*operands) else parts[::-1]
    return make(op, x, y, first, second, attrs=RequantizeAttrs(*scale, *range_of), name=name)


def _repeats(x: Node, y: Node) -> bool:
    """Whether the first operand is the one that is repeated."""
    return x.is_constant or not y.is_constant and math.prod(x.type.shape) < math.prod(y.type.shape)


# -- softmax: the arithmetic of gemmlowp's fixedpoint.h, where n integer bits hold x as x * 2**(31 - n) ----------------

_INTEGER_BITS = 5  # of the difference from the largest
_MOST = 2**31 - 1
# exp(-1/4), exp(-1/2), ... exp(-16) as fractions of 31 bits
_POWERS = [math.floor(math.exp(-(2.0**k)) * 2**31 + 0.5) for k in range(-2, 5)]
SHARES = Bytes(1 / 256, 0)  # what softmax gives


def exponentials(scale: float, beta: float = 1.0) -> Array:
    """The terms of softmax: exp of minus 0 to 255 steps of the operand's scale, times beta, as fractions of 31 bits
    (256,), int64; 0 where TensorFlow Lite's reference kernel does not count it.

    Raises:
        CompileError: the product of both is not from 2**-26 on.
    """
    number, shift = multiplier(min(float(beta) * float(scale) * 2 ** (31 - _INTEGER_BITS), 2.0**31 - 1))
    if shift < 1:
        raise CompileError(f"a scale of {scale:g} and beta {beta:g}, whose product is less than 2**-26")
    radius = math.floor((2**_INTEGER_BITS - 1) * 2 ** (31 - _INTEGER_BITS) / 2**shift)
    x = np.maximum(-BYTES, -radius) << shift
    return np.where(radius >= BYTES, _exp(fraction(x, number)), 0)


def _exp(x: Array) -> Array:
    """exp of numbers x <= 0 with 5 integer bits, as fractions: of the remainder, by its series around -1/8; times exp
    of each power of two in x."""
    quarter = 2 ** (31 - _INTEGER_BITS - 2)
    inside = (x & (quarter - 1)) - quarter  # from -1/4
    v = (inside << _INTEGER_BITS) + 2**28
    v2 = fraction(v, v)
    v3, v4 = fraction(v2, v), fraction(v2, v2)
    rest = shifted(fraction(shifted(v4, 2) + v3, math.floor(2**31 / 3 + 0.5)) + v2, 1)
    start = math.floor(math.exp(-1 / 8) * 2**31 + 0.5)
    found = start + fraction(v + rest, start)
    remainder = inside - x
    for k, power in enumerate(_POWERS):
        found = np.where(remainder & (quarter << k), fraction(found, power), found)
    return np.where(x == 0, _MOST, found)
