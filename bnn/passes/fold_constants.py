# SPDX-License-Identifier: Apache-2.0
"""Compute ops whose operands are all constants."""

from __future__ import annotations

from ..ir.graph import Graph, Node
from ..ir.interpret import evaluate
from ..ir.ops import OPS, constant
from ..ir.rewrite import rebuild


def fold_constants(graph: Graph) -> Graph:
    """Precondition: any level.  Postcondition: no op has only constant operands; the oracle computes the values."""

    def visit(old: Node, node: Node) -> Node:
        inputs = node.inputs
        if not inputs or OPS[node.op].whole_batch or not all(i.is_constant for i in inputs):
            return node
        alike = OPS[node.op].elementwise or node.op == "concat"  # all operands are data, and need no batch
        if alike:
            value = evaluate(node, [i.value for i in inputs])
        else:
            value = evaluate(node, [inputs[0].value[None], *(i.value for i in inputs[1:])])[0]
        return constant(value, node.type.dtype, node.name)

    return rebuild(graph, visit)
