# SPDX-License-Identifier: Apache-2.0
"""Softmax of bytes in whole numbers, as TensorFlow Lite's reference kernel computes it.

Numbers are fractions of 31 bits: n stands for n / 2**31.  The arithmetic is that of gemmlowp's fixedpoint.h.
"""

from __future__ import annotations

import numpy as np

from ..._types import Array
from ..graph import DType, Node, TensorType
from .record import NoAttrs, Op, Operands, Rng, Types, make, plain, want
from .requantize import shifted
from .rounding import NOTHING
from .sources import constant

LEAST = 2**11  # of the largest byte's term: a sum is not zero
MOST_TERMS = 2**12 - 1  # a sum has 31 bits
_SUM_BITS = 12  # that a sum has above the fraction
_MOST = 2**31 - 1


def product(a: Array, b: Array | int) -> Array:
    """Of fractions, rounded to the nearest, halves up."""
    return np.minimum((a * b + 2**30) >> 31, _MOST)


def reciprocal(x: Array) -> Array:
    """1 / (1 + x), by three of Newton's steps for half of the denominator, whose values have 2 bits above the
    fraction."""
    half = (x + 2**31) >> 1
    y = product(half, -round(2**29 * 32 / 17)) + round(2**29 * 48 / 17)
    for _ in range(3):
        y = y + (product(y, 2**29 - product(half, y)) << 2)
    return np.minimum(y << 1, _MOST)


def qsoftmax(x: Array, table: Array) -> Array:
    """The terms table[largest byte of a pixel - byte], divided by their sum, as bytes: 256 times the quotient, rounded,
    at most 255.  (TensorFlow Lite's reference kernel aborts where the terms add up to 512 or more.)"""
    terms = table.astype(np.int64)[x.max(axis=-1, keepdims=True).astype(np.int64) - x]
    total = shifted(terms, _SUM_BITS).sum(axis=-1, keepdims=True)
    spare = 32 - np.frexp(total.astype(np.float64))[1].astype(np.int64)  # bits above the sum's highest
    inverse = reciprocal((total << spare) - 2**31)
    quotients = shifted(product(terms, inverse), _SUM_BITS - spare + 31 - 8)
    return np.minimum(quotients, 255).astype(np.uint8)


def _type(types: Types, _: NoAttrs) -> TensorType:
    x, table = types
    want(x.dtype is DType.u8 and table == TensorType((256,), DType.i32), f"expected u8 data and 256 i32, found {types}")
    want(x.shape[-1] <= MOST_TERMS, f"{x.shape[-1]} terms; at most {MOST_TERMS} have a sum of 31 bits")
    return x


def fits(table: Array) -> bool:
    """Whether terms are fractions, and their sums are not zero."""
    return bool(table.min() >= 0 and table[0] >= LEAST)


def _bound(node: Node, operands: Operands, errors: Operands) -> Array:
    return np.asarray(255.0) if errors[0].any() else NOTHING


def _make(rng: Rng, x: Node) -> Node:
    """Exponentials of some step, or any terms."""
    table = np.floor(_MOST * np.exp(-np.arange(256) * 2.0 ** rng.integers(-7, 3)))
    if rng.random() < 0.5:
        table = np.append(LEAST, rng.integers(0, 2**31, 255))
    return make("qsoftmax", x, constant(table, DType.i32))


RECORDS = (
    Op(
        "qsoftmax", 50, NoAttrs, _type, plain(qsoftmax), bound=_bound, gives_bytes=True, maker=_make,
        takes=(DType.u8,), in_place=lambda node: node.inputs[:1], by_rows=True,
    ),
)  # fmt: skip
