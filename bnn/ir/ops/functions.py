# SPDX-License-Identifier: Apache-2.0
"""Functions that the C library computes, or a part of which it computes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..graph import Attrs
from .elementwise import same_type
from .record import SMALLEST_NORMAL, Array, Level, NoAttrs, Op, Reference, plain, stored


@dataclass(frozen=True)
class PowAttrs(Attrs):
    exponent: float = stored(1.0, "exponent")


def softmax(x: Array) -> Array:
    """Over the last axis, shifted by the maximum."""
    with np.errstate(invalid="ignore"):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return np.asarray(e / e.sum(axis=-1, keepdims=True))


def elu(x: Array) -> Array:
    """exp(x) - 1 where x < 0, else x."""
    return np.asarray(np.where(x < 0, np.exp(np.minimum(x, np.float32(0))) - np.float32(1), x))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    with np.errstate(over="ignore"):
        return np.asarray(np.float32(1) / (np.float32(1) + np.exp(-x)))


def exp(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(x))


def log1p(x: Array) -> Array:
    """log(1 + x), not-a-number below -1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log1p(x))


def erf(x: Array) -> Array:
    """The error function."""
    return np.asarray(np.vectorize(math.erf, otypes=[x.dtype])(x))


def erfc(x: Array) -> Array:
    """1 - erf(x), the complementary error function."""
    return np.asarray(np.vectorize(math.erfc, otypes=[x.dtype])(x))


def _flushed(x: Array) -> Array:
    """Denormals as zeros, as TensorFlow takes them."""
    return np.where(np.abs(x) < SMALLEST_NORMAL, x * 0, x)


def sqrt(x: Array) -> Array:
    """The square root; denormals count as zero, here and in the powers below, which take them far from it."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(_flushed(x)))


def rsqrt(x: Array) -> Array:
    """1 / sqrt(x)."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.float32(1) / sqrt(x))


def pow(x: Array, exponent: float) -> Array:
    """x ** exponent."""
    with np.errstate(all="ignore"):
        return np.asarray(_flushed(x) ** np.float32(exponent))


def _function(name: str, opcode: int, reference: Reference, attrs: type[Attrs] = NoAttrs) -> Op:
    """The row of a function of one float that the C library computes."""
    return Op(name, opcode, attrs, same_type, reference, Level.ALL, elementwise=True, library=True)


RECORDS = (
    Op("softmax", 15, NoAttrs, same_type, plain(softmax), Level.ALL),
    _function("sigmoid", 22, plain(sigmoid)),
    _function("tanh", 31, plain(np.tanh)),
    _function("elu", 32, plain(elu)),
    _function("exp", 38, plain(exp)),
    _function("log1p", 39, plain(log1p)),
    _function("erfc", 40, plain(erfc)),
    _function("erf", 44, plain(erf)),
    _function("sqrt", 41, plain(sqrt)),
    _function("rsqrt", 42, plain(rsqrt)),
    _function("pow", 43, lambda x, a: pow(x, a.exponent), PowAttrs),
)
