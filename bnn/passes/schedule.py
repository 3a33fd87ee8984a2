# SPDX-License-Identifier: Apache-2.0
"""The order of execution."""

from __future__ import annotations

from dataclasses import replace

from ..ir.graph import Graph, topological


def schedule(graph: Graph) -> Graph:
    """Precondition: laid out.  Postcondition: ``schedule`` lists every op once, operands before users, in the order in
    which the outputs need them; constants and inputs are not in it."""
    order = topological(graph.outputs)
    return replace(graph, schedule=tuple(n for n in order if n.op not in ("input", "constant")))
