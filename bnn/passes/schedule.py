# SPDX-License-Identifier: Apache-2.0
"""The order of execution."""

from __future__ import annotations

from dataclasses import replace

from ..ir.graph import Graph, Node, topological
from ..ir.ops import OPS


def schedule(graph: Graph) -> Graph:
    """Precondition: laid out.  Postcondition: ``schedule`` lists every op once, operands before users, in the order in
    which the outputs need them; constants and inputs are not in it.  Arithmetic comes right after the arithmetic whose
    result it alone reads, where this costs no memory: the runtime computes the two in one pass."""
    uses = graph.use_counts()

    def operands(node: Node) -> tuple[Node, ...]:
        record = OPS[node.op]
        taken = node.inputs[: 2 if record.swaps else 1] if record.elementwise else ()
        last = [o for o in taken if OPS[o.op].elementwise and uses[o] == 1 and o.type == node.type][:1]
        others = tuple(o for o in node.inputs if o not in last)
        # Others of its size, unless they are made of the same values, would be one more in memory meanwhile.
        small = all(o.type != node.type or set(o.data) <= set(last[0].data) for o in others if last)
        return (*others, *last) if small else node.inputs

    order = topological(graph.outputs, operands)
    return replace(graph, schedule=tuple(n for n in order if n.op not in ("input", "constant")))
