# SPDX-License-Identifier: Apache-2.0
"""Monotone functions of one number: structure finds them in a graph, evaluation finds where they change.

The number is any float, in the order of all floats, or a whole number that a sum can reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import ArrayLike

from .._types import Array
from .graph import Node, topological
from .interpret import evaluate
from .ops import OPS

LARGEST = np.finfo(np.float32).max
_DEEPEST = 24  # nodes of a quantizer
_PARTS = 64  # of an interval of floats: two would take five times as many calls of NumPy
_CHUNK = 64  # channels evaluated at once, to bound the memory
_MOST_EVALUATED = 2**15  # up to this reach all sums are evaluated
# Bits (n, channels of a part) of numbers (n, channels of the part), or None where they are not known.
PartOfBits = Callable[[Array, slice], "Array | None"]


# -- floats -----------------------------------------------------------------------------------------------------------


def order(value: ArrayLike) -> Array:
    """Floats as integers in the same order; -0 is just below 0."""
    bits = np.asarray(value, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF) - 1, bits)


def floats(ordered: ArrayLike) -> Array:
    """The inverse of :func:`order`."""
    ordered = np.asarray(ordered, np.int64)
    bits = np.where(ordered < 0, (-ordered - 1) | 0x80000000, ordered)
    return bits.astype(np.uint32).view(np.float32)


def rising(node: Node) -> bool:
    """Whether the op never falls in any operand that is data; its constants must be scalars."""
    rises = OPS[node.op].rises
    if rises is None or any(i.is_constant and i.value.size != 1 for i in node.inputs):
        return False
    return rises([float(i.value.reshape(-1)[0]) if i.is_constant else None for i in node.inputs])


def regions(root: Node) -> Iterator[Node]:
    """Nodes x, nearest first, such that ``root`` depends on x only, through rising ops: sums and compositions of
    functions that never decrease never decrease either."""
    depth = {n: i for i, n in enumerate(topological([root]))}
    frontier = {root}
    for _ in range(_DEEPEST):
        node = max(frontier, key=lambda n: depth[n])
        if not rising(node):
            return
        frontier.remove(node)
        frontier |= set(node.data)
        if len(frontier) == 1:
            yield next(iter(frontier))


def between(root: Node, x: Node) -> list[Node]:
    """The nodes that compute ``root`` from x, operands first."""
    found = {x: None}
    for node in topological([root]):
        if any(i in found for i in node.inputs):
            found[node] = None
    return list(found)[1:]


def function(root: Node, x: Node) -> Callable[..., Array]:
    """``root`` as a function of the values of x, an array (n) or (n, channels); with a slice, only for those channels.

    Between the two are only reshapes that keep the channels, and ops whose other operands are constants: one number, or
    one per channel.
    """
    body = between(root, x)

    def constant(node: Node, part: slice) -> Array:
        value = node.value.reshape(-1)
        return value[part] if value.size > 1 else value

    def run(values: Array, part: slice = slice(None)) -> Array:
        known = {x: values}
        for node in body:
            operands = [known[i] if i in known else constant(i, part) for i in node.inputs]
            known[node] = operands[0] if node.op == "reshape" else evaluate(node, operands)
        return known[root]

    return run


def staircase(f: Callable[[Array], Array], most: int) -> tuple[Array, Array] | None:
    """The steps of a function that never decreases: (values (m + 1), thresholds (m)): f(x) = values[number of
    thresholds that are <= x], for every float except NaN.  None if there are more than ``most`` steps, or none.

    Found by bisection over the ordered floats, infinities included: intervals with a step are divided into many parts
    each, all at the same time.
    """
    ends = np.array([-np.inf, np.inf], np.float32)
    low, high = (int(v) for v in order(ends))
    values = f(ends)
    if np.isnan(values).any() or values[0] == values[1]:
        return None
    a, b = np.array([low]), np.array([high])
    while (b - a > 1).any():  # every interval holds at least one step
        cuts = a[:, None] + (b - a)[:, None] * np.arange(_PARTS + 1) // _PARTS
        value = f(floats(cuts.reshape(-1))).reshape(cuts.shape)
        if np.isnan(value).any():
            return None
        stepped = value[:, :-1] != value[:, 1:]
        a, b = cuts[:, :-1][stepped], cuts[:, 1:][stepped]
        if len(a) > most:
            return None
    thresholds = floats(b)
    return np.concatenate([values[:1], f(thresholds)]).astype(np.float32), thresholds


# -- one change per channel -------------------------------------------------------------------------------------------


def first_change(
    bits_of: Callable[[Array], Array | None], low: Array, high: Array
) -> tuple[Array, Array, Array] | None:
    """Bisect bits (1, channels) that change at most once: (the bits at ``low``, the bits at ``high``, the first numbers
    with the bits of ``high``).  Where a bit does not change, the number is ``low``.

    None if the bits at an end are not known: a function that overflows does so there first.
    """
    first, last = bits_of(low), bits_of(high)
    if first is None or last is None:
        return None
    low, high = low, np.where(first == last, low, high)
    while (high - low > 1).any():
        middle = (low + high) // 2
        bits = bits_of(middle)
        assert bits is not None
        low, high = np.where(bits == last, low, middle), np.where(bits == last, middle, high)
    return first, last, high


def integer_thresholds(bits_of: PartOfBits, channels: int, reach: int, monotone: bool) -> tuple[Array, Array] | None:
    """Where the bits of integers from -reach to reach change: (threshold, whether the bit falls), each (channels).

    A rising bit is number >= threshold; a falling one is -number >= threshold; a constant bit counts as rising, with a
    threshold of -reach or reach + 1.  None if a bit changes more than once, or ``bits_of`` returns None.

    Up to a reach of 2^15, all numbers are evaluated.  Above it, bits of functions known to be ``monotone`` are found by
    bisection.
    """
    threshold, falling = np.empty(channels, np.int64), np.zeros(channels, bool)
    numbers = np.arange(-reach, reach + 1)[:, None]
    for start in range(0, channels, _CHUNK):
        part = slice(start, min(start + _CHUNK, channels))

        def bits(numbers: Array, part: slice = part) -> Array | None:
            return bits_of(np.broadcast_to(numbers, (len(numbers), part.stop - part.start)).astype(np.float32), part)

        if monotone and reach > _MOST_EVALUATED:
            found = first_change(bits, numbers[:1], numbers[-1:])
            if found is None:
                return None
            first, last, at = found
            falls = first & ~last
            at = np.where(first == last, np.where(last, -reach, reach + 1), np.where(falls, 1 - at, at))
        else:
            every = bits(numbers)
            if every is None or (np.count_nonzero(np.diff(every, axis=0), axis=0) > 1).any():
                return None
            # rising: the first number with a set bit; falling: the last, negated; both are the same formula
            at, falls = reach + 1 - every.sum(axis=0), every[0] & ~every[-1]
        threshold[part], falling[part] = at, falls
    return threshold, falling
