# SPDX-License-Identifier: Apache-2.0
"""Signs that are never zero: proven by evaluating every sum that the layer before them can reach."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .._types import Array
from ..ir.graph import Node
from ..ir.interpret import evaluate
from ..ir.ops import OPS
from ..ir.ops.rounding import gamma
from .levels import JUST_BELOW_ZERO, Levels, Staircase, levels, sign_planes

_MOST_SUMS = 2**16
_CHUNK = 64  # channels evaluated at once
_SIGN = [-1.0, 0.0, 1.0]


def without_zero(stair: Staircase, new: Mapping[Node, Node]) -> Staircase:
    """-1, 0 or +1 as a step from -1 to +1, if zero never occurs; otherwise the staircase as it is.

    ``new``: the nodes in which earlier quantizers are recognized.  The sums of a layer of such levels by weights of
    two values are whole numbers times a scale; what follows up to the sign, one operation per channel after another,
    is evaluated at all of them.  Max-pools pass on values as they are.  Where the scale is not a power of two, the
    source may round each sum, so both ends of what its rounding allows are evaluated: the operations never fall, or
    never rise, in between.
    """
    if stair.values.tolist() != _SIGN:
        return stair
    chain: list[Node] = []
    x = new[stair.x]
    while x.op != "conv2d":
        if not (_is_per_channel(x) or x.op in ("max_pool", "reshape")) or len(x.data) != 1:
            return stair
        chain.append(x)
        x = x.data[0]
        if x.type.shape[-1] != stair.x.type.shape[-1]:
            return stair
    reached = _sums(x)
    if reached is None:
        return stair
    sums, scale = reached
    low, high = stair.thresholds
    plain = True
    for begin in range(0, len(scale), _CHUNK):
        part = slice(begin, min(begin + _CHUNK, len(scale)))
        at = [_follow(chain, end, part) for end in _ends(sums, scale[part])]
        if any(np.isnan(a).any() for a in at):
            return stair
        negative = [a < low for a in at]
        if not all((n | (a >= high)).all() for a, n in zip(at, negative, strict=True)):
            return stair
        if (negative[0] != negative[-1]).any():
            return stair
        plain = plain and all(((a < JUST_BELOW_ZERO) == n).all() for a, n in zip(at, negative, strict=True))
    step = np.array([JUST_BELOW_ZERO if plain else high], np.float32)
    return Staircase(stair.x, np.array([-1, 1], np.float32), step)


def _is_per_channel(x: Node) -> bool:
    """An elementwise op on data and constants with one number, or one per channel, that never turns in between."""
    record = OPS[x.op]
    constants = [i for i in x.inputs if i.is_constant]
    small = all(i.value.size == 1 or i.value.size == i.value.shape[-1] for i in constants)
    return record.elementwise and small and x.op in ("add", "sub", "mul", "div", "clamp", "maximum", "minimum", "prelu")


def _sums(conv: Node) -> tuple[Array, Array] | None:
    """(every whole number that a sum can be, the scale per filter) of a layer; None if it does not sum levels."""
    known, w = levels(conv.inputs[0]), conv.inputs[1]
    split = sign_planes(w.value) if w.is_constant else None
    unit = 0.0 if known is None else _unit(known)
    if known is None or split is None or not unit:
        return None
    most = int(np.prod(w.value.shape[1:])) * round(float(np.abs(known.values).max()) / unit)
    if most > _MOST_SUMS:
        return None
    return np.arange(-most, most + 1, dtype=np.float64), split[0].astype(np.float64) * unit


def _unit(known: Levels) -> float:
    """The number that all levels are multiples of: their distance, or half of it, as for -1 and +1; 0: none."""
    distance = float(known.values[-1] - known.values[0]) / known.steps
    if not known.even:
        return 0.0
    return distance if (known.values == 0).any() else distance / 2 if known.centred else 0.0


def _ends(sums: Array, scale: Array) -> list[Array]:
    """The values of sums (n, 1) in a layer (n, filters): the least and the largest that rounding allows."""
    exact = sums[:, None] * scale
    rounds = np.frexp(scale)[0] != 0.5
    error = gamma(len(sums)) * len(sums) * np.abs(scale) * rounds
    ends = (exact - error, exact + error) if rounds.any() else (exact,)
    return [end.astype(np.float32) for end in ends]


def _follow(chain: list[Node], values: Array, part: slice) -> Array:
    for node in reversed(chain):
        if node.op in ("max_pool", "reshape"):
            continue
        operands = []
        for i in node.inputs:
            flat = i.value.reshape(-1) if i.is_constant else values
            operands.append(flat[part] if i.is_constant and flat.size > 1 else flat)
        values = evaluate(node, operands)
    return values
