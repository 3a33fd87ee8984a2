# SPDX-License-Identifier: Apache-2.0
"""How far apart two float32 computations of one op can be: exactly what ``verify`` allows.

Only two kinds of ops may round in more than one way: sums of floats, whose order is free, and the library's functions.
All others are one float32 operation per element (or several in a fixed order): equal operands give equal
results, and the bound is zero.  If the operands already differ, a bound says how much of that difference an op passes
on, and what its own rounding adds on both sides.  The bounds are in the ops' records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from .._types import Array
from ..ir.graph import DType, Node
from ..ir.ops import OPS, ConvAttrs, QuantizeAttrs
from ..ir.ops.bits import plane_channels
from ..ir.ops.rounding import NOTHING, TINY


def bound(node: Node, read: Callable[[], Sequence[Array]], errors: Sequence[Array], own: float = 0.0) -> Array:
    """The largest difference that rounding explains between two results of an op, an array (N, *shape) or ``NOTHING``.

    ``read`` returns the operands of one computation; the operands of the other differ by at most ``errors``.  ``own``:
    how far the other rounds where this one does not: in a binary layer's accumulators, in a table's values; or this one
    where the other does not: an int8 layer's data and weights.  The bound
    of a bit is 2 if it may change, otherwise 0.
    """
    record = OPS[node.op]
    assert record.bound is not None, node.op
    differs = record.library or record.sums or any(e.any() for e in errors)
    if not own and not differs:
        return NOTHING
    operands, errors = read(), [e.astype(np.float64) for e in errors]
    with np.errstate(all="ignore"):
        if isinstance(node.attrs, (ConvAttrs, QuantizeAttrs)):
            result = record.bound(node, operands, errors, own)
        else:
            result = (record.bound(node, operands, errors) if differs else NOTHING) + own
        if node.type.dtype is DType.b1 and (result > 0).any():
            result = np.where(_may_turn(node, operands, result), np.float32(2), np.float32(0))
    images = next(len(a) for a, i in zip(operands, node.inputs, strict=True) if not i.is_constant)
    # Infinity times zero gives NaN: the infinity is a value in both computations, or a difference.
    nan = np.inf if any(np.isinf(e).any() for e in errors) else 0.0
    return np.broadcast_to(np.nan_to_num(result, nan=nan, posinf=np.inf), (images, *node.type.shape))


QUANTIZERS = ("binarize", "binarize_levels")


def margins(node: Node, operands: Sequence[Array]) -> Array:
    """How far the values that one of the ``QUANTIZERS`` compares are from their threshold, the nearest of several."""
    x = operands[0].astype(np.float64)
    if node.op == "binarize":
        return np.asarray(np.abs(x - (operands[1] if operands[1:] else 0)))
    above = np.searchsorted(operands[1], operands[0])
    steps = np.concatenate([[-np.inf], operands[1].astype(np.float64), [np.inf]])
    return np.asarray(np.minimum(x - steps[above], steps[above + 1] - x))


def by_bits(node: Node, values: Array) -> Array:
    """What holds for each value that one of the ``QUANTIZERS`` compares, for each of its bits; 0 between planes."""
    if node.op == "binarize":
        return values
    room = plane_channels(values.shape[-1])
    plane = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, room - values.shape[-1])])
    return np.concatenate([plane] * (node.type.shape[-1] // room), axis=-1)


def _may_turn(node: Node, operands: Sequence[Array], error: Array) -> Array:
    """Which bits may flip if the value that they compare changes by up to an error: those near their threshold."""
    if node.op in QUANTIZERS:
        return by_bits(node, (error > 0) & (margins(node, operands) <= error + TINY))
    if not isinstance(node.attrs, ConvAttrs):
        return error > 0
    slots = tuple(s for s in node.attrs.slots if s not in ("threshold", "negated"))
    value = OPS[node.op].reference(*operands, a=replace(node.attrs, slots=slots, out=DType.f32)).astype(np.float64)
    if "threshold" not in node.attrs.slots:
        return np.asarray((error > 0) & (np.abs(value) <= 2 * error))
    # The source's own threshold is between two integers; this is the larger one.
    threshold = operands[node.attrs.operand("threshold")]
    return np.asarray((error > 0) & (np.abs(value - threshold + 0.5) <= 1.5 + 2 * error))


def rounded_up(x: Array) -> Array:
    """The values as float32, never rounded down."""
    nearest = x.astype(np.float32)
    return np.where(nearest < x, np.nextafter(nearest, np.float32(np.inf)), nearest)
