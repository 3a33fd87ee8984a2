"""Find the activation quantizers: by structure, proven by evaluation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..interpret import evaluate
from ..ir import Graph, Node
from ..reference import LOWEST, SMALLEST_NORMAL
from ..rewrite import Match, Pattern, Rule, remade, rewrite

# Elementwise ops that are monotone in their first operand for any scalar constant (mul: for a positive one).
MONOTONE = frozenset({"add", "sub", "mul", "clamp", "sign", "maximum", "minimum"})

_NORMAL = SMALLEST_NORMAL
_DENORMAL = np.nextafter(np.float32(SMALLEST_NORMAL), np.float32(0))  # flushed to zero, as TensorFlow does
_POINTS = np.array([-np.inf, LOWEST, -1.0, -_NORMAL, -_DENORMAL, -0.0, 0.0, _DENORMAL, 1.0, -LOWEST, np.inf], np.float32)
_STEP = np.array([-1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1], np.float32)


def recognize_quantizers(graph: Graph) -> Graph:
    """Every subgraph that is the step (+1 where x >= 0, else -1) becomes unpack(binarize(x)).

    Precondition: SOURCE.  Postcondition: no such subgraph is left; the graph computes the same.

    A candidate is a chain of elementwise ops with scalar constants that ends in a sign: Larq's quantizers are
    sign(sign(x) + 0.1).  Each op of the chain is monotone, so the chain is; a monotone function that is -1 from
    -infinity to the negative normal float nearest to zero, and +1 from the next float to infinity, is the step.  What only looks like a sign does
    not pass: a bare sign is 0 at 0, a ternary quantizer's sign(sign(x) + c) jumps elsewhere.
    """
    return rewrite(graph, [Rule(Pattern(("sign",)), _recognize)])


def _recognize(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    chain = [node]
    while _continues(chain[-1].inputs[0]):
        chain.append(chain[-1].inputs[0])
    while chain:  # the longest chain that is a step
        if is_step(chain):
            x = chain[-1].inputs[0]
            return remade(node, "unpack", remade(node, "binarize", x))
        chain.pop()
    return None


def _continues(node: Node) -> bool:
    if node.op not in MONOTONE or not node.inputs or node.inputs[0].is_constant:
        return False
    if len(node.inputs) == 2:
        scalar = node.inputs[1]
        if not scalar.is_constant or scalar.value.size != 1:
            return False
        if node.op == "mul" and not scalar.value.reshape(-1)[0] > 0:
            return False
    return True


def is_step(chain: list[Node]) -> bool:
    """Whether a monotone chain (its result first) is exactly the step at zero."""
    values = _POINTS
    for node in reversed(chain):
        values = evaluate(node, [values, *(i.value.reshape(-1) for i in node.inputs[1:])])
    return bool(np.array_equal(values, _STEP))
