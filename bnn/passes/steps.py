# SPDX-License-Identifier: Apache-2.0
"""Monotone functions of one float: found in a graph by structure, known exactly by evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .._types import Array
from ..ir.graph import Node, topological
from ..ir.interpret import evaluate
from ..ir.ops import OPS

LARGEST = np.finfo(np.float32).max
_DEEPEST = 24  # nodes of a quantizer


def order(value: Any) -> Array:
    """Floats as integers in the same order; -0 stands just below 0."""
    bits = np.asarray(value, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF) - 1, bits)


def floats(ordered: Any) -> Array:
    """The inverse of :func:`order`."""
    ordered = np.asarray(ordered, np.int64)
    bits = np.where(ordered < 0, (-ordered - 1) | 0x80000000, ordered)
    return bits.astype(np.uint32).view(np.float32)


def rising(node: Node) -> bool:
    """Whether the op is monotone and never falls in its operands, its constants being scalars."""
    rises = OPS[node.op].rises
    if rises is None or any(i.is_constant and i.value.size != 1 for i in node.inputs):
        return False
    return rises([float(i.value.reshape(-1)[0]) if i.is_constant else None for i in node.inputs])


def regions(root: Node) -> Iterator[Node]:
    """Nodes x, nearest first, such that ``root`` is a function of x alone through rising ops: sums and compositions of
    functions that never fall, which never falls itself."""
    depth = {n: i for i, n in enumerate(topological([root]))}
    frontier = {root}
    for _ in range(_DEEPEST):
        node = max(frontier, key=lambda n: depth[n])
        if not rising(node):
            return
        frontier.remove(node)
        frontier |= {i for i in node.inputs if not i.is_constant}
        if len(frontier) == 1:
            yield next(iter(frontier))


def function(root: Node, x: Node) -> Callable[[Array], Array]:
    """``root`` as a function of the values of x, an array (n)."""
    nodes = topological([root])
    inside = {x}
    body = []
    for node in nodes:
        if node is not x and any(i in inside for i in node.inputs):
            inside.add(node)
            body.append(node)

    def run(values: Array) -> Array:
        known = {x: values}
        for node in body:
            operands = [known[i] if i in known else i.value.reshape(-1) for i in node.inputs]
            known[node] = evaluate(node, operands)
        return known[root]

    return run


def staircase(f: Callable[[Array], Array], most: int) -> tuple[Array, Array] | None:
    """The steps of a function that never falls: (values (m + 1), thresholds (m)), f(x) = values[number of thresholds
    that are <= x], for every float but not-a-number.  None where there are more than ``most`` steps, or none.

    Found by bisection of the floats in their order, infinities included, in all pieces that hold a step at once.
    """
    ends = np.array([-np.inf, np.inf], np.float32)
    low, high = (int(v) for v in order(ends))
    values = f(ends)
    if np.isnan(values).any() or values[0] == values[1]:
        return None
    a, b, at_a, at_b = np.array([low]), np.array([high]), values[:1], values[1:]
    while (b - a > 1).any():  # every piece holds at least one step
        middle = (a + b) // 2
        value = f(floats(middle))
        if np.isnan(value).any():
            return None
        left, right = (value != at_a) & (b - a > 1), (value != at_b) | (b - a == 1)
        a, b, at_a, at_b = (
            np.concatenate([x[left], y[right]]) for x, y in ((a, middle), (middle, b), (at_a, value), (value, at_b))
        )
        if len(a) > most:
            return None
    thresholds = floats(np.sort(b))
    return np.concatenate([values[:1], f(thresholds)]).astype(np.float32), thresholds
