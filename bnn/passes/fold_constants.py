# SPDX-License-Identifier: Apache-2.0
"""Constants of constants."""

from __future__ import annotations

from ..ir.graph import Graph, Node, rebuild
from ..ir.interpret import evaluate
from ..ir.ops import CONVOLUTIONS, OPS, constant
from ..ir.rewrite import with_inputs

# Ops that count on a batch in front of their first operand.
BATCHED = frozenset({*CONVOLUTIONS, "max_pool", "avg_pool", "sum_pool", "pad", "reshape", "gather", "resize_bilinear"})


def fold_constants(graph: Graph) -> Graph:
    """Precondition: any level.  Postcondition: no op has constant operands only; values are the oracle's own."""

    def visit(old: Node, inputs: tuple[Node, ...]) -> Node:
        node = with_inputs(old, inputs)
        if not inputs or OPS[node.op].whole_batch or not all(i.is_constant for i in inputs):
            return node
        if node.op in BATCHED:
            value = evaluate(node, [inputs[0].value[None], *(i.value for i in inputs[1:])])[0]
        else:
            value = evaluate(node, [i.value for i in inputs])
        return constant(value, node.type.dtype, node.name)

    return rebuild(graph, visit)
