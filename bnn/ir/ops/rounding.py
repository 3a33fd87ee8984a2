# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of rounding errors, for the bounds of the records.

A bound gets a node, the operands of one computation, and the largest differences from the operands of another: arrays
like the operands, in float64, or ``NOTHING``.  It returns how far the results can differ.

A sum of K products has a relative error of at most gamma(K) = K u / (1 - K u) of the sum of their magnitudes, in any
order, with or without fused multiply-adds; u = 2^-24.  If all products are multiples of one power of two that is at
least 2^-24 of that sum, every partial sum is a float, and the error is zero.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..._types import Array
from ..graph import Node
from .record import OPS, SMALLEST_NORMAL, Operands

UNIT = 2.0**-24  # the largest relative error of one float32 operation
NOTHING = np.zeros((), np.float32)
TINY = float(SMALLEST_NORMAL)  # smaller values are flushed to zero in one of the computations
# The largest error of exponentials and similar functions, for results up to 1: ours is at most one unit in the last
# place, as tests/ops/test_functions.py measures; TensorFlow's is what is left.
FUNCTION = 2 * UNIT + 14 * UNIT


def gamma(products: int) -> float:
    """The largest error of a float32 sum of ``products`` terms, as a share of the sum of their magnitudes."""
    return products * UNIT / (1 - products * UNIT)


def magnitude(x: Array) -> Array:
    """Magnitudes; infinity and NaN must be equal in both computations, and no difference is allowed for them."""
    return np.where(np.isfinite(x), np.abs(x), 0).astype(np.float64)


def rounded(error: Array, size: Array) -> Array:
    """A difference after one more operation on both sides, with results of this size; equal results stay equal."""
    return np.where(error == 0, 0, error + 2 * UNIT * (size + error))


def spacing(x: Array) -> Array:
    """Per row of float32 numbers, the largest power of two that divides them all; infinity where all are zero."""
    size = np.abs(x.reshape(len(x), math.prod(x.shape[1:])).astype(np.float32))
    size[~np.isfinite(size)] = 0
    bits = size.view(np.uint32)
    # Without the lowest bit of its fraction a number is smaller by the power that is asked for.
    rest = np.where(bits & 0x7FFFFF, bits & (bits - 1), 0).view(np.float32)
    lowest = np.subtract(size, rest, dtype=np.float64)
    return np.asarray(lowest.min(axis=1, initial=np.inf, where=lowest > 0))


def step(size: Array, error: Array, operand: Array, passed: Array, scales: bool) -> tuple[Array, Array]:
    """One operation with a constant or a residual."""
    size, error = (size * operand, error * operand) if scales else (size + operand, error + passed)
    return size, rounded(error, size)


def clamped(size: Array, error: Array, limits: tuple[float, float]) -> tuple[Array, Array]:
    lo, hi = limits
    return np.minimum(size, max(abs(lo), abs(hi))), np.minimum(error, hi - lo)


def moved(node: Node, operands: Operands, errors: Operands) -> Array:
    """Ops that move values unchanged: differences move with the values; padding is equal in both computations."""
    attrs = replace(node.attrs, value=0.0) if hasattr(node.attrs, "value") else node.attrs  # type: ignore[call-arg]
    pairs = zip(operands, errors, node.inputs, strict=True)
    moved = [x if i.is_constant else np.broadcast_to(e, x.shape) for x, e, i in pairs]
    return np.asarray(OPS[node.op].reference(*moved, a=attrs))


def looked_up(x: Array, table: Array, errors: Array) -> Array:
    """By table (256): differences of bytes are whole, and every entry between is possible."""
    off = np.ceil(errors).astype(np.int64)
    path = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(table.astype(np.float64))))])  # from the table's start
    low, here, high = (path[np.clip(x.astype(np.int64) + d, 0, 255)] for d in (-off, np.zeros_like(off), off))
    return np.asarray(np.maximum(here - low, high - here))


def passed_on(node: Node, operands: Operands, errors: Operands) -> Array:
    """Bits: the verifier judges a flip by the values that the bit compares."""
    return errors[0]


def no_difference(node: Node, operands: Operands, errors: Operands) -> Array:
    """Whole numbers, exactly those of the source."""
    return NOTHING
