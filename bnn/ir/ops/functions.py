# SPDX-License-Identifier: Apache-2.0
"""Functions that use the C library."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..._types import Array
from ..graph import Attrs, Node
from .draw import plain_maker
from .elementwise import ClampAttrs, same_type
from .record import (
    OPS,
    SMALLEST_NORMAL,
    Bound,
    Least,
    Maker,
    NoAttrs,
    Op,
    Operands,
    Reference,
    Rng,
    make,
    not_negative,
    not_negative_like_it,
    plain,
    stored,
)
from .rounding import FUNCTION, TINY, UNIT, gamma, magnitude

_LARGEST_EXPONENT = 104.0  # exp(-104) is zero


@dataclass(frozen=True)
class PowAttrs(Attrs):
    exponent: float = stored(1.0, "exponent")


def softmax(x: Array) -> Array:
    """Over the last axis, shifted by the maximum."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def elu(x: Array) -> Array:
    """exp(x) - 1 where x < 0, else x."""
    return np.asarray(np.where(x < 0, np.exp(np.minimum(x, np.float32(0))) - np.float32(1), x))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return np.asarray(np.float32(1) / (np.float32(1) + np.exp(-x)))


def _elementwise(function: Callable[[float], float]) -> Reference:
    """The reference of a function of one Python float."""
    return plain(lambda x: np.vectorize(function, otypes=[x.dtype])(x))


def _flushed(x: Array) -> Array:
    """Denormals as zeros, as TensorFlow takes them."""
    return np.where(np.abs(x) < SMALLEST_NORMAL, x * 0, x)


def sqrt(x: Array) -> Array:
    """The square root; denormals count as zero, here and in the powers below, which would map them far from it."""
    return np.asarray(np.sqrt(_flushed(x)))


def rsqrt(x: Array) -> Array:
    """1 / sqrt(x)."""
    return np.asarray(np.float32(1) / sqrt(x))


def pow(x: Array, exponent: float) -> Array:
    """x ** exponent."""
    with np.errstate(all="ignore"):
        return np.asarray(_flushed(x) ** np.float32(exponent))


def _softmax_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    """Exponents that move by d change a share by a factor between exp(-2 d) and exp(2 d)."""
    x = operands[0].astype(np.float64)
    shifted = np.minimum(x.max(axis=-1, keepdims=True) - x, _LARGEST_EXPONENT)
    share = np.exp(-shifted) / np.exp(-shifted).sum(axis=-1, keepdims=True)
    moved = 2 * np.minimum(np.broadcast_to(errors[0], x.shape).max(axis=-1, keepdims=True), _LARGEST_EXPONENT)
    own = 2 * (gamma(x.shape[-1]) + UNIT * shifted.max(axis=-1, keepdims=True) + FUNCTION)
    return np.asarray(np.minimum(share * (np.expm1(moved) + own * np.exp(moved)) + TINY, 1))


def _gentle(slope: float) -> Bound:
    """A library function that nowhere rises faster than ``slope``."""
    return lambda node, operands, errors: slope * errors[0] + FUNCTION


def _curve(size: float) -> Bound:
    """A library function that rises or falls all the way on either side of zero; its own errors are FUNCTION times its
    value, or times ``size`` where that is smaller."""

    def rule(node: Node, operands: Operands, errors: Operands) -> Array:
        x, e = operands[0].astype(np.float64), errors[0]
        here, *ends = (OPS[node.op].reference(v, a=node.attrs) for v in (x, x - e, x + e))
        pole = (np.abs(x) <= e) & (getattr(node.attrs, "exponent", 1) < 0)
        apart = [np.where(np.isnan(end) | pole, np.inf, np.abs(end - here)) for end in ends]  # NaN: outside the domain
        passed = np.where((e > 0) & ~np.isnan(here), np.fmax(*apart), 0)
        return np.asarray(passed + FUNCTION * np.maximum(magnitude(here) + passed, size) + TINY)

    return rule


def _elu_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    return np.asarray(errors[0] + np.where(operands[0] < errors[0], FUNCTION, 0))


def _function(
    name: str,
    opcode: int,
    reference: Reference,
    attrs: type[Attrs] = NoAttrs,
    *,
    bound: Bound,
    maker: Maker | None = None,
    least: Least | None = None,
) -> Op:
    """The record of a function of one float that the C library computes."""
    return Op(
        name, opcode, attrs, same_type, reference, elementwise=True, library=True, bound=bound,
        maker=maker or plain_maker(name), least=least,
    )  # fmt: skip


def _positive(least: float, x: Node) -> Node:
    return make("clamp", x, attrs=ClampAttrs(least, 8.0))


def _make_positive(op: str, least: float) -> Maker:
    """On numbers from ``least`` up, where the op has values."""
    return lambda rng, x: make(op, _positive(least, x))


def _make_pow(rng: Rng, x: Node) -> Node:
    return make("pow", _positive(0.25, x), attrs=PowAttrs(float(rng.choice([-1.5, 0.5, 2.0, 3.0]))))


RECORDS = (
    Op(
        "softmax", 15, NoAttrs, same_type, plain(softmax), bound=_softmax_bound, least=not_negative,
        maker=plain_maker("softmax"), library=True,
    ),
    _function("sigmoid", 22, plain(sigmoid), bound=_gentle(0.25), least=not_negative),
    _function("tanh", 31, plain(np.tanh), bound=_gentle(1.0)),
    _function("elu", 32, plain(elu), bound=_elu_bound),
    _function("exp", 38, plain(np.exp), bound=_curve(0.0), least=not_negative),
    _function(
        "log1p", 39, plain(np.log1p), bound=_curve(1.0), least=not_negative_like_it, maker=_make_positive("log1p", 0.0),
    ),
    _function("erfc", 40, _elementwise(math.erfc), bound=_curve(1.0), least=not_negative),
    _function("erf", 44, _elementwise(math.erf), bound=_curve(0.0)),
    _function("sqrt", 41, plain(sqrt), bound=_curve(0.0), least=not_negative, maker=_make_positive("sqrt", 0.0)),
    _function("rsqrt", 42, plain(rsqrt), bound=_curve(0.0), least=not_negative, maker=_make_positive("rsqrt", 0.25)),
    _function("pow", 43, lambda x, a: pow(x, a.exponent), PowAttrs, bound=_curve(0.0), maker=_make_pow),
)  # fmt: skip
