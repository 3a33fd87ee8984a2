# SPDX-License-Identifier: Apache-2.0
"""Write an activation of two slopes as a chain of operations on one value, which the runtime makes in one pass."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .._types import Array
from ..ir.graph import Graph, Node
from ..ir.ops import constant, make
from ..ir.rewrite import Rewrite, remade, rewrite


def one_pass_slopes(graph: Graph) -> Graph:
    """Precondition and postcondition: BINARY.  The larger or smaller of x * a and x * b is
    prelu(-prelu(-x, p), n), with the slopes p > 0 of positive x and n of negative x.

    Each number is multiplied once by its slope, as the source does, and twice by -1, which is exact.  So is the sign of
    a zero, if the first operand's slopes are positive.
    """
    return rewrite(graph, RULES)


def _larger_or_smaller(node: Node, uses: Mapping[Node, int]) -> Node | None:
    first, second = (_factor(i) for i in node.inputs)
    if first is None or second is None or node.inputs[0].inputs[0] is not node.inputs[1].inputs[0]:
        return None
    x = node.inputs[0].inputs[0]
    positive, negative = (np.maximum, np.minimum) if node.op == "maximum" else (np.minimum, np.maximum)
    p, n = positive(first, second), negative(first, second)
    if x.type != node.type or not ((first > 0).all() and (p > 0).all() and np.isfinite([p, n]).all()):
        return None

    def turned(y: Node) -> Node:
        return make("mul", y, constant(np.full(1, -1, np.float32)), name=node.name)

    return remade(node, "prelu", turned(make("prelu", turned(x), constant(p), name=node.name)), constant(n))


def _factor(node: Node) -> Array | None:
    """The number per channel by which a value is multiplied."""
    if node.op != "mul" or not node.inputs[1].is_constant:
        return None
    factor, channels = node.inputs[1].value, node.type.shape[-1]
    return np.broadcast_to(factor.reshape(-1), channels).astype(np.float32) if factor.size in (1, channels) else None


RULES = (Rewrite(_larger_or_smaller, ("maximum", "minimum"), of=("mul",)),)
