# SPDX-License-Identifier: Apache-2.0
"""Ops of int16 values: sums of shortcuts, for which the 256 numbers of a byte are too few.

A number times a scale is what it stands for.  Values that are added have one scale: their sum is that of their numbers,
and nothing is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..._types import Array
from ..graph import Attrs, DType, Node, TensorType
from .conv import BIT_STEPS, random_requantization
from .record import NoAttrs, Op, Operands, Rng, Types, make, plain, stored, want
from .requantize import INT16, random_limits, requantize, requantized_error
from .rounding import passed_on
from .sources import constant, signs


@dataclass(frozen=True)
class LimitsAttrs(Attrs):
    low: int = stored(INT16[0], "low")
    high: int = stored(INT16[1], "high")


@dataclass(frozen=True)
class WidthAttrs(Attrs):
    out: DType = DType.i16  # or u8


def add16_type(types: Types, a: LimitsAttrs) -> TensorType:
    x, y = types
    want(x.dtype is DType.i16 and x == y, f"expected two i16 operands of the same shape, found {x} and {y}")
    want(INT16[0] <= a.low <= a.high <= INT16[1], f"limits are int16, the lowest first, found {a}")
    return x


def binarize16_type(types: Types, _: Attrs) -> TensorType:
    x, *operands = types
    want(x.dtype is DType.i16, f"expected i16, found {x}")
    wanted = [TensorType(x.shape[-1:], DType.i16), TensorType(x.shape[-1:], DType.b1)]
    want(operands == wanted, f"expected thresholds and flips {wanted}, found {operands}")
    return TensorType(x.shape, DType.b1)


def requantize16_type(types: Types, a: WidthAttrs) -> TensorType:
    x, *operands = types
    want(x.dtype is DType.i16, f"expected i16, found {x}")
    wanted = [TensorType(shape, DType.i32) for shape in (*[x.shape[-1:]] * 3, (4,))]
    want(operands == wanted, f"expected bias, multiplier, shift and range {wanted}, found {operands}")
    want(a.out in (DType.u8, DType.i16), f"its result is u8 or i16, not {a.out.name}")
    return TensorType(x.shape, a.out)


def add16(x: Array, y: Array, low: int, high: int) -> Array:
    """x + y, at least low and at most high."""
    return np.clip(x.astype(np.int32) + y, low, high).astype(np.int16)


def binarize16(x: Array, threshold: Array, flip: Array) -> Array:
    """+1 if x >= threshold[c], otherwise -1; inverted if flip[c] is +1."""
    return np.where((x >= threshold) != (flip > 0), np.int8(1), np.int8(-1))


def requantize16(
    x: Array, bias: Array, multiplier: Array, shift: Array, range_of: Array, out: DType = DType.i16
) -> Array:
    """64 * x + bias[c], requantized by multiplier[c] and shift[c]: another scale, and a batch norm."""
    zero, low, high, once = range_of.tolist()
    return requantize(BIT_STEPS * x.astype(np.int64) + bias, multiplier, shift, zero, low, high, once, out)


def _add16_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    return np.asarray(errors[0] + errors[1])


def _requantize16_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    multiplier, shift, (_, low, high, _) = operands[2:]
    return requantized_error(BIT_STEPS * errors[0], multiplier, shift, high - low)


def _make_add16(rng: Rng, x: Node) -> Node:
    """With something else that is made of it; many sums leave int16."""
    other = _make_requantize16(rng, x, DType.i16)
    return make("add16", *((x, other) if rng.random() < 0.5 else (other, x)), attrs=LimitsAttrs(*random_limits(rng)))


def _make_binarize16(rng: Rng, x: Node) -> Node:
    channels = x.type.shape[-1]
    some = rng.choice([*INT16, 0], channels)
    thresholds = np.where(rng.random(channels) < 0.2, some, rng.integers(-9999, 10000, channels))
    return make("binarize16", x, constant(thresholds, DType.i16), signs(rng, (channels,)))


def _make_requantize16(rng: Rng, x: Node, out: DType | None = None) -> Node:
    sizes = np.full(x.type.shape[-1], BIT_STEPS * 2.0**15)
    out, numbers = random_requantization(rng, sizes, out)
    return make("requantize16", x, *numbers, attrs=WidthAttrs(out))


RECORDS = (
    Op(
        "add16", 52, LimitsAttrs, add16_type, lambda x, y, a: add16(x, y, a.low, a.high), bound=_add16_bound,
        maker=_make_add16, takes=(DType.i16,), in_place=lambda node: node.inputs, by_rows=True,
    ),
    Op(
        "binarize16", 53, NoAttrs, binarize16_type, plain(binarize16), bound=passed_on, maker=_make_binarize16,
        takes=(DType.i16,), by_rows=True,
    ),
    Op(
        "requantize16", 54, WidthAttrs, requantize16_type, lambda x, b, m, s, r, a: requantize16(x, b, m, s, r, a.out),
        bound=_requantize16_bound, maker=_make_requantize16, takes=(DType.i16,), gives_bytes=True, by_rows=True,
    ),
)  # fmt: skip
