# SPDX-License-Identifier: Apache-2.0
"""Elementwise arithmetic, and functions of one float."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._types import Array
from ...errors import CompileError
from ..graph import Attrs, DType, Node, TensorType
from . import functions
from .functions import flushed
from .record import (
    INF,
    OPS,
    SMALLEST_NORMAL,
    Bound,
    Infer,
    InPlace,
    Least,
    Level,
    Maker,
    NoAttrs,
    Op,
    Operands,
    Reference,
    Rises,
    Rng,
    Truth,
    Types,
    make,
    not_negative,
    not_negative_like_it,
    plain,
    stored,
    want,
)
from .rounding import FUNCTION, NOTHING, TINY, UNIT, clamped, gamma, magnitude, rounded, step
from .sources import constant, integers, per_channel, plain_maker

_LARGEST_EXPONENT = 104.0  # exp(-104) is zero


@dataclass(frozen=True)
class ClampAttrs(Attrs):
    lo: float = stored(0.0, "lo")
    hi: float = stored(INF, "hi")


@dataclass(frozen=True)
class RoundAttrs(Attrs):
    direction: int = stored(0, "direction")  # 0: to the nearest whole number, halves to even; -1: down; 1: up


def same_type(types: Types, _: Attrs) -> TensorType:
    (x,) = types
    want(x.dtype is DType.f32, f"expected f32, found {x}")
    return x


def broadcast_type(types: Types, _: Attrs) -> TensorType:
    a, b = types
    want(a.dtype is DType.f32 and b.dtype is DType.f32, f"expected two f32 operands, found {a} and {b}")
    try:
        return TensorType(tuple(int(d) for d in np.broadcast_shapes(a.shape, b.shape)), DType.f32)
    except ValueError:
        raise CompileError(f"shapes {a} and {b} do not broadcast") from None


def round_type(types: Types, a: RoundAttrs) -> TensorType:
    want(a.direction in (-1, 0, 1), f"cannot round in direction {a.direction}")
    return same_type(types, a)


def per_channel_type(count: int, what: str) -> Infer:
    """The type of an op on data and ``count`` operands with one number per channel."""

    def infer(types: Types, _: Attrs) -> TensorType:
        x, *operands = types
        wanted = [TensorType(x.shape[-1:], DType.f32)] * count
        want(operands == wanted, f"expected {what} per channel of {x}, found {', '.join(map(str, operands))}")
        return same_type((x,), _)

    return infer


def clamp(x: Array, lo: float, hi: float) -> Array:
    """min(max(x, lo), hi) in float32; NaN stays."""
    return np.minimum(np.maximum(x, np.float32(lo)), np.float32(hi))


def maximum(x: Array, y: Array) -> Array:
    """The larger; of two zeros the first, which NumPy leaves open; NaN stays."""
    return np.asarray(np.where((x >= y) | (x != x), x, y))


def minimum(x: Array, y: Array) -> Array:
    """The smaller; of two zeros the first; NaN stays."""
    return np.asarray(np.where((x <= y) | (x != x), x, y))


def sign(x: Array) -> Array:
    """TensorFlow's sign: -1, 0 or +1; zeros of either sign, and denormals, give 0."""
    return np.asarray(np.where(np.abs(x) < SMALLEST_NORMAL, np.float32(0), np.sign(x)))


def round(x: Array, direction: int) -> Array:
    """Round to the nearest whole number, halves to even (0); down (-1); up (1).  Denormals count as zero."""
    x = np.where(np.abs(x) < SMALLEST_NORMAL, np.copysign(np.float32(0), x), x)
    return np.asarray(np.rint(x) if direction == 0 else np.floor(x) if direction < 0 else np.ceil(x))


def prelu(x: Array, slope: Array) -> Array:
    """x where x >= 0, else x * slope[c]."""
    return np.asarray(np.where(x < 0, x * slope, x))


def affine(x: Array, sub: Array, mul: Array, add: Array) -> Array:
    """(x - sub[c]) * mul[c] + add[c], each step one float32 operation."""
    return np.asarray((x - sub) * mul + add)


def _sum_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    a, b = (magnitude(x) for x in operands)
    return rounded(errors[0] + errors[1], a + b)


def _mul_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    a, b = (magnitude(x) for x in operands)
    return rounded(a * errors[1] + b * errors[0] + errors[0] * errors[1], a * b)


def _div_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    a, b = (magnitude(x) for x in operands)
    passed = a * errors[1] + b * errors[0]
    smallest = np.maximum(b - errors[1], 0)  # divisor of the other computation; anything may result from 0
    return np.where(passed > 0, rounded(passed / (b * smallest), a / b), 0)


def _prelu_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    slope = np.maximum(np.abs(operands[1]), 1)
    return rounded(slope * errors[0], slope * magnitude(operands[0]))


def _either_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    return np.maximum(errors[0], errors[1])


def _clamp_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    return np.minimum(errors[0], node.attrs.hi - node.attrs.lo)  # type: ignore[attr-defined]


def _affine_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    size, error = magnitude(operands[0]), errors[0]
    for operand, scales in zip(operands[1:], (False, True, False), strict=True):
        size, error = step(size, error, magnitude(operand), NOTHING, scales)
    attrs = node.attrs
    return clamped(size, error, (attrs.lo, attrs.hi))[1]  # type: ignore[attr-defined]


def _jump(height: float) -> Bound:
    """A function with steps, which a difference may cross."""
    return lambda node, operands, errors: np.where(errors[0] > 0, errors[0] + height, 0)


def _make_pair(op: str) -> Maker:
    """Draw other data, or a constant (fewer dimensions, or broadcast), on either side."""

    def maker(rng: Rng, x: Node) -> Node:
        if rng.random() < 0.3:
            return make(op, x, make("clamp", x, attrs=ClampAttrs(-1.0, 2.0)))
        shape = x.type.shape[int(rng.integers(0, 3)) :]
        other = constant(integers(rng, [d if rng.random() < 0.6 else 1 for d in shape]))
        return make(op, x, other) if rng.random() < 0.5 else make(op, other, x)

    return maker


def _make_clamp(rng: Rng, x: Node) -> Node:
    return make("clamp", x, attrs=ClampAttrs(float(rng.integers(-3, 1)), float(rng.integers(1, 4))))


def _make_prelu(rng: Rng, x: Node) -> Node:
    return make("prelu", x, per_channel(rng, x))


def _make_round(rng: Rng, x: Node) -> Node:
    """Rounds integers and numbers halfway between them."""
    return make("round", make("mul", x, constant([0.5])), attrs=RoundAttrs(int(rng.integers(-1, 2))))


def _make_affine(rng: Rng, x: Node) -> Node:
    limits = ClampAttrs(float(rng.choice([-5.0, -np.inf])), float(rng.choice([9.0, np.inf])))
    return make("affine", x, *(per_channel(rng, x) for _ in range(3)), attrs=limits)


def _always(operands: Sequence[float | None]) -> bool:
    return True


def _with_a_positive_constant(operands: Sequence[float | None]) -> bool:
    return any(constant is not None and constant > 0 for constant in operands)


def _pair(
    name: str, opcode: int, function: Callable[..., Any], c: str, bound: Bound, rises: Rises,
    least: Least | None = None, commutative: bool = False, first_of_zeros: bool = False,
    in_place: InPlace | None = None,
) -> Op:  # fmt: skip
    """The record of an op of arithmetic on two operands."""
    return Op(
        name, opcode, NoAttrs, broadcast_type, plain(function), elementwise=True, scales=True, commutative=commutative,
        first_of_zeros=first_of_zeros, rises=rises, least=least, bound=bound, maker=_make_pair(name), c=c,
        in_place=in_place,
    )  # fmt: skip


# -- functions that libraries round as they like ----------------------------------------------------------------------


@dataclass(frozen=True)
class PowAttrs(Attrs):
    exponent: float = stored(1.0, "exponent")


def softmax(x: Array) -> Array:
    """softmax over the last axis, shifted by the maximum; the sum is from the first to the last."""
    e = functions.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / np.cumsum(e, axis=-1)[..., -1:])


def elu(x: Array) -> Array:
    """exp(x) - 1 where x < 0, else x."""
    return np.asarray(np.where(x >= 0, x, functions.exp(x) - np.float32(1)))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return np.asarray(np.float32(1) / (np.float32(1) + functions.exp(-x)))


def sqrt(x: Array) -> Array:
    """The square root; denormals count as zero, here and in the powers below, which would map them far from it."""
    return np.asarray(np.sqrt(flushed(x)))


def rsqrt(x: Array) -> Array:
    """1 / sqrt(x)."""
    return np.asarray(np.float32(1) / sqrt(x))


def _softmax_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    """Exponents that move by d change a share by a factor between exp(-2 d) and exp(2 d)."""
    x = operands[0].astype(np.float64)
    shifted = np.minimum(x.max(axis=-1, keepdims=True) - x, _LARGEST_EXPONENT)
    share = np.exp(-shifted) / np.exp(-shifted).sum(axis=-1, keepdims=True)
    moved = 2 * np.minimum(np.broadcast_to(errors[0], x.shape).max(axis=-1, keepdims=True), _LARGEST_EXPONENT)
    own = 2 * (gamma(x.shape[-1]) + UNIT * shifted.max(axis=-1, keepdims=True) + FUNCTION)
    return np.asarray(np.minimum(share * (np.expm1(moved) + own * np.exp(moved)) + TINY, 1))


def _gentle(slope: float) -> Bound:
    """A function that nowhere rises faster than ``slope``."""
    return lambda node, operands, errors: slope * errors[0] + FUNCTION


def _curve(size: float) -> Bound:
    """A function that rises or falls all the way on either side of zero; its own errors are FUNCTION times its
    value, or times ``size`` where that is smaller."""

    def rule(node: Node, operands: Operands, errors: Operands) -> Array:
        x, e = operands[0].astype(np.float64), errors[0]
        truth = OPS[node.op].truth
        assert truth is not None
        here, *ends = (truth(v, node.attrs) for v in (x, x - e, x + e))
        pole = (np.abs(x) <= e) & (getattr(node.attrs, "exponent", 1) < 0)
        apart = [np.where(np.isnan(end) | pole, np.inf, np.abs(end - here)) for end in ends]  # NaN: outside the domain
        passed = np.where((e > 0) & ~np.isnan(here), np.fmax(*apart), 0)
        return np.asarray(passed + FUNCTION * np.maximum(magnitude(here) + passed, size) + TINY)

    return rule


def _elu_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    return np.asarray(errors[0] + np.where(operands[0] < errors[0], FUNCTION, 0))


def _function(
    name: str, opcode: int, reference: Reference, truth: Truth, attrs: type[Attrs] = NoAttrs, *, bound: Bound,
    maker: Maker | None = None, least: Least | None = None, c: str = "",
) -> Op:  # fmt: skip
    """The record of a function of one float whose last bits no standard fixes."""
    return Op(
        name, opcode, attrs, same_type, reference, elementwise=True, library=True, bound=bound, truth=truth,
        maker=maker or (lambda rng, x: make(name, _inside(truth, x))), least=least, c=c or f"bnn_{name}(out, in, n)",
    )  # fmt: skip


def _inside(truth: Truth, x: Node) -> Node:
    """Numbers where the function has values."""
    return x if truth.domain == (-INF, INF) else make("clamp", x, attrs=ClampAttrs(*truth.domain))


def _make_pow(rng: Rng, x: Node) -> Node:
    return make("pow", _inside(_POWER, x), attrs=PowAttrs(float(rng.choice([-1.5, 0.5, 2.0, 3.0]))))


# NumPy's ** takes a root where the exponent is one number, 1/2, of minus infinity too.
_POWER = Truth(lambda x, a: np.power(flushed(x), np.full_like(x, np.float32(a.exponent))), domain=(0.25, INF))


def _true_softmax(x: Array, a: Attrs) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _each(function: Callable[[float], float]) -> Callable[[Array, Attrs], Array]:
    """Make a function of arrays from Python's own."""
    vector = np.vectorize(function, otypes=[np.float64])
    return lambda x, a: np.asarray(vector(x))


RECORDS = (
    _pair(
        "add", 7, np.add, "x + y", _sum_bound, _always, lambda a, of: sum(of), commutative=True,
        in_place=lambda node: node.inputs,
    ),
    _pair("sub", 8, np.subtract, "x - y", _sum_bound, lambda of: of[0] is None and of[1] is not None),
    _pair(
        "mul", 9, np.multiply, "x * y", _mul_bound, _with_a_positive_constant, not_negative_like_it, commutative=True,
    ),
    _pair("div", 10, np.divide, "x / y", _div_bound, lambda of: of[0] is None and (of[1] or 0) > 0),
    _pair(
        "maximum", 11, maximum, "x >= y || x != x ? x : y", _either_bound, _always, lambda a, of: max(of),
        commutative=True, first_of_zeros=True,
    ),
    _pair(
        "minimum", 12, minimum, "x <= y || x != x ? x : y", _either_bound, _always, lambda a, of: min(of),
        commutative=True, first_of_zeros=True,
    ),
    Op(
        "clamp", 13, ClampAttrs, same_type, lambda x, a: clamp(x, a.lo, a.hi), elementwise=True, bound=_clamp_bound,
        scales=True, rises=_always, least=lambda a, of: a.lo, maker=_make_clamp, c="bnn_clamp(x, {lo}, {hi})",
    ),
    Op(
        "sign", 14, NoAttrs, same_type, plain(sign), elementwise=True, bound=_jump(2), rises=_always,
        maker=plain_maker("sign"), c="bnn_sign(x)",
    ),
    Op(
        "prelu", 21, NoAttrs, per_channel_type(1, "one slope"), plain(prelu), elementwise=True, bound=_prelu_bound,
        scales=True, maker=_make_prelu, c="bnn_prelu(x, y)",
    ),
    Op(
        "round", 23, RoundAttrs, round_type, lambda x, a: round(x, a.direction), elementwise=True, bound=_jump(1),
        rises=_always, maker=_make_round, c="bnn_rounded(x, {direction})",
    ),
    Op(
        "affine", 27, ClampAttrs, per_channel_type(3, "three numbers"), lambda *x, a: clamp(affine(*x), a.lo, a.hi),
        Level.BINARY | Level.RUNTIME, elementwise=True, bound=_affine_bound, scales=True, least=lambda a, of: a.lo,
        maker=_make_affine, c="bnn_clamp((x - y) * z + w, {lo}, {hi})", in_place=lambda node: node.inputs[:1],
    ),
    Op(
        "softmax", 15, NoAttrs, same_type, plain(softmax), bound=_softmax_bound, least=not_negative,
        truth=Truth(_true_softmax, 100.0, 0.25), maker=plain_maker("softmax"), library=True,
        c="bnn_softmax(out, in, n)", by_rows=True,
    ),
    _function(
        "sigmoid", 22, plain(sigmoid), Truth(lambda x, a: 1 / (1 + np.exp(-x)), 4.0, 2.0**-102), bound=_gentle(0.25),
        least=not_negative,
    ),
    _function("tanh", 31, plain(functions.tanh), Truth(lambda x, a: np.tanh(x)), bound=_gentle(1.0)),
    _function(
        "elu", 32, plain(elu), Truth(lambda x, a: np.where(x < 0, np.expm1(x), x), 1.5, 1.0), bound=_elu_bound,
    ),
    _function(
        "exp", 38, plain(functions.exp), Truth(lambda x, a: np.exp(x)), bound=_curve(0.0), least=not_negative,
    ),
    _function(
        "log1p", 39, plain(functions.log1p), Truth(lambda x, a: np.log1p(x), domain=(-0.75, INF)), bound=_curve(1.0),
        least=not_negative_like_it,
    ),
    _function("erfc", 40, plain(functions.erfc), Truth(_each(math.erfc)), bound=_curve(1.0), least=not_negative),
    _function("erf", 44, plain(functions.erf), Truth(_each(math.erf)), bound=_curve(0.0)),
    _function(
        "sqrt", 41, plain(sqrt), Truth(lambda x, a: np.sqrt(flushed(x)), 0.5, domain=(0.0, INF)), bound=_curve(0.0),
        least=not_negative, c="sqrtf(bnn_flushed(x))",
    ),
    _function(
        "rsqrt", 42, plain(rsqrt), Truth(lambda x, a: 1 / np.sqrt(flushed(x)), 1.5, domain=(0.25, INF)),
        bound=_curve(0.0), least=not_negative, c="1.0f / sqrtf(bnn_flushed(x))",
    ),
    _function(
        "pow", 43, lambda x, a: functions.pow(x, a.exponent),
        _POWER, PowAttrs, bound=_curve(0.0), maker=_make_pow,
        c="bnn_pow(out, in, n, {exponent})",
    ),
)  # fmt: skip
