# SPDX-License-Identifier: Apache-2.0
"""Requantization of integer sums to bytes, and the ops of bytes that no float is part of.

The arithmetic is that of TensorFlow Lite's reference kernels (``MultiplyByQuantizedMultiplier`` with two roundings or
one, whose parts come from gemmlowp's fixedpoint.h).  Bytes hold int8 in excess 128: an int8 v is the byte v + 128.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..._types import Array
from ..graph import Attrs, DType, Node, TensorType
from .record import NoAttrs, Op, Operands, Rng, Types, make, plain, stored, want
from .rounding import NOTHING, looked_up
from .sources import constant

# Of a bias, beside sums below 2**30; of a table's entries that are added, and of those that are multiplied: every
# accumulator is below 2**31.
MOST_BIAS, MOST_ADDED, MOST_MULTIPLIED = 2**30, 2**30 - 1, 2**15
MOST_MULTIPLIER = 2**31 - 1
SHIFTS = (-31, 30)  # the lowest and the highest
INT16 = (-(2**15), 2**15 - 1)


@dataclass(frozen=True)
class RequantizeAttrs(Attrs):
    """The numbers of :func:`requantize`."""

    multiplier: int = stored(0, "multiplier")
    shift: int = stored(0, "shift")
    zero: int = stored(0, "zero")
    low: int = stored(0, "low")
    high: int = stored(255, "high")


def shifted(x: Array, bits: Array | int) -> Array:
    """x / 2**bits, rounded to the nearest, halves away from zero."""
    return np.sign(x) * ((np.abs(x) + ((1 << bits) >> 1)) >> bits)


def multiply(x: Array, multiplier: Array | int, shift: Array | int, once: int = 0) -> Array:
    """int32 numbers times multiplier * 2**(shift - 31), as int64.

    In whole numbers: v = x * 2**shift, modulo 2**32, if the shift is positive; v = v * multiplier / 2**31, rounded to
    the nearest, halves up; then, if the shift is negative, v = v / 2**-shift, rounded to the nearest, halves away from
    zero.  ``once``: v * multiplier / 2**(31 - shift) instead, halves up, if the shift is not positive.
    """
    left, right = np.maximum(shift, 0), np.maximum(np.negative(shift), 0).astype(np.int64)
    v = (np.asarray(x).astype(np.int64) << left).astype(np.int32).astype(np.int64)
    v = v * np.asarray(multiplier, np.int64)
    if once:
        bits = 31 + right
        return np.asarray((v + np.left_shift(np.int64(1), bits - 1)) >> bits)
    return np.asarray(shifted((v + 2**30) >> 31, right))


def requantize(
    accumulator: Array,
    multiplier: Array | int,
    shift: Array | int,
    zero: int,
    low: int,
    high: int,
    once: int = 0,
    out: DType = DType.u8,
) -> Array:
    """The bytes, or int16, of int32 accumulators: :func:`multiply`, plus zero, at least low and at most high."""
    return np.asarray(np.clip(multiply(accumulator, multiplier, shift, once) + zero, low, high)).astype(out.numpy)


def requantized_error(error: Array, multiplier: Array | int, shift: Array | int, most: int = 255) -> Array:
    """How far bytes, or int16, may differ of accumulators that differ by ``error``, ``most`` at most: what does not
    differ stays equal."""
    scale = np.asarray(multiplier, np.float64) * 2.0 ** (np.asarray(shift, np.float64) - 31)
    return np.where(error > 0, np.minimum(np.ceil(error * scale) + 1, most), 0.0)


def want_requantized(
    multiplier: Array | int,
    shift: Array | int,
    zero: int,
    low: int,
    high: int,
    once: int = 0,
    out: DType = DType.u8,
) -> None:
    """Raise :class:`CompileError` unless :func:`requantize` is defined for these."""
    m, s = np.asarray(multiplier), np.asarray(shift)
    want(bool((m >= 0).all()) and int(m.max()) <= MOST_MULTIPLIER, f"multipliers are from 0 to 2**31 - 1, found {m}")
    inside = SHIFTS[0] <= int(s.min()) and int(s.max()) <= SHIFTS[1]
    want(inside, f"shifts are from {SHIFTS[0]} to {SHIFTS[1]}, found {s}")
    least, most = (0, 255) if out is DType.u8 else INT16
    want(0 <= zero <= most * (out is DType.u8), f"a zero is a byte, or 0 of int16, found {zero}")
    want(0 <= once <= (out is DType.u8), f"once is 0 or 1, or 0 of int16, found {once}")
    want(least <= low <= high <= most, f"limits are from {least} to {most}, the lowest first, found {low} and {high}")


def lookup_type(types: Types, _: Attrs) -> TensorType:
    x, table = types
    wanted = TensorType((256,), DType.u8)
    want(x.dtype is DType.u8 and table == wanted, f"expected u8 data and a table {wanted}, found {x} and {table}")
    return x


def pair_type(types: Types, a: RequantizeAttrs) -> TensorType:
    """Two data, whose second may be repeated, and a table of numbers for the bytes of each."""
    x, y, *tables = types
    want(x.dtype is DType.u8 and y.dtype is DType.u8, f"expected u8 data, found {x} and {y}")
    wanted = TensorType((256,), DType.i32)
    want(tables == [wanted] * 2, f"expected two tables {wanted}, found {', '.join(map(str, tables))}")
    channels = len(y.shape) in (1, len(x.shape)) and all(n == 1 for n in y.shape[:-1])
    repeated = channels and y.shape[-1] in (1, x.shape[-1])
    want(y.shape == x.shape or repeated, f"{y} is neither of the shape of {x}, nor one pixel of it, nor one number")
    want_requantized(a.multiplier, a.shift, a.zero, a.low, a.high)
    return x


def lookup(x: Array, table: Array) -> Array:
    """The table's byte (256) for every byte."""
    return np.asarray(table[x])


def _numbers(x: Array, y: Array, first: Array, second: Array) -> tuple[Array, Array]:
    p, q = first[x].astype(np.int64), second[y].astype(np.int64)
    return p, q.reshape((1,) * (p.ndim - q.ndim) + q.shape)  # a constant has no batch


def _sum(*operands: Array, a: RequantizeAttrs) -> Array:
    p, q = _numbers(*operands)
    return requantize(p + q, a.multiplier, a.shift, a.zero, a.low, a.high)


def _product(*operands: Array, a: RequantizeAttrs) -> Array:
    p, q = _numbers(*operands)
    return requantize(p * q, a.multiplier, a.shift, a.zero, a.low, a.high)


def _lookup_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    return looked_up(operands[0], operands[1], errors[0]) if errors[0].any() else NOTHING


def _pair_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    a = node.attrs
    assert isinstance(a, RequantizeAttrs)
    if not errors[0].any() and not errors[1].any():
        return NOTHING
    x, y, first, second = operands
    off = [
        looked_up(data, table, np.broadcast_to(e, data.shape))
        for data, table, e in zip((x, y), (first, second), errors, strict=False)
    ]
    if node.op == "qmul":
        off = [
            off[0] * np.abs(second.astype(np.float64)).max(),
            off[1] * np.abs(first.astype(np.float64)).max(),
        ]
    if y.ndim < x.ndim:
        off[1] = off[1].reshape((1,) * (x.ndim - y.ndim) + y.shape)
    return requantized_error(off[0] + off[1], a.multiplier, a.shift)


def random_multiplier(rng: Rng, most: float) -> tuple[int, int]:
    """A multiplier and a shift by which accumulators up to ``most`` become bytes, about; one in four a power of two, by
    which there are ties."""
    fraction, exponent = np.frexp(rng.uniform(0.2, 4) * 255 / most)
    fraction = 0.5 if rng.random() < 0.25 else fraction
    shift = int(np.clip(exponent, *SHIFTS))
    return int(min(fraction * 2**31, MOST_MULTIPLIER)), shift


def random_range(rng: Rng) -> tuple[int, int, int]:
    """A zero and two limits."""
    zero, (low, high) = int(rng.integers(0, 256)), sorted(rng.integers(0, 256, 2).tolist())
    return (zero, 0, 255) if rng.random() < 0.5 else (zero, low, high)


def random_limits(rng: Rng) -> tuple[int, int]:
    """All of int16, or less."""
    low, high = sorted(rng.integers(INT16[0], INT16[1] + 1, 2).tolist())
    return INT16 if rng.random() < 0.5 else (low, high)


def _make_lookup(rng: Rng, x: Node) -> Node:
    return make("lookup", x, constant(rng.integers(0, 256, 256), DType.u8))


def _make_pair(rng: Rng, x: Node, op: str, most: int) -> Node:
    """With itself through another table, with a pixel or number that is constant."""
    lines, steps = rng.random() < 0.5, rng.integers(-most // 256, most // 256, 2)
    tables = [
        (np.arange(256) - int(rng.integers(0, 256))) * step if lines else rng.integers(-most, most + 1, 256)
        for step in steps
    ]
    y = x
    if rng.random() < 0.5:
        shape = [(1,), x.type.shape[-1:], (1, 1, x.type.shape[-1]), x.type.shape][int(rng.integers(4))]
        y = constant(rng.integers(0, 256, shape), DType.u8)
    else:
        y = make("lookup", x, constant(rng.integers(0, 256, 256), DType.u8))
    multiplier, shift = random_multiplier(rng, float(most) if op == "qadd" else float(most) ** 2)
    attrs = RequantizeAttrs(multiplier, shift, *random_range(rng))
    return make(op, x, y, *(constant(t, DType.i32) for t in tables), attrs=attrs)


RECORDS = (
    Op(
        "lookup", 47, NoAttrs, lookup_type, plain(lookup), bound=_lookup_bound, gives_bytes=True,
        maker=_make_lookup, takes=(DType.u8,), in_place=lambda node: node.inputs[:1], by_rows=True,
    ),
    Op(
        "qadd", 48, RequantizeAttrs, pair_type, _sum, bound=_pair_bound,
        gives_bytes=True, maker=lambda rng, x: _make_pair(rng, x, "qadd", 2**20), takes=(DType.u8,),
        in_place=lambda node: node.inputs[:2], by_rows=True,
    ),
    Op(
        "qmul", 49, RequantizeAttrs, pair_type, _product, bound=_pair_bound,
        gives_bytes=True, maker=lambda rng, x: _make_pair(rng, x, "qmul", 2**10), takes=(DType.u8,),
        in_place=lambda node: node.inputs[:2], by_rows=True,
    ),
)  # fmt: skip
