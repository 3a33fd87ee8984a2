# SPDX-License-Identifier: Apache-2.0
"""Common subexpression elimination."""

from __future__ import annotations

from dataclasses import replace

from ..ir.graph import Attrs, Graph, Node, rebuild
from ..ir.rewrite import with_inputs

Key = tuple[str, Attrs, tuple[int, ...]]


def cse(graph: Graph) -> Graph:
    """Precondition: any.  Postcondition: no two nodes have the same op, attributes and operands.

    Inputs stay apart.  Of two equal nodes the first is kept, with the other's origin where it has none.
    """
    seen: dict[Key, Node] = {}

    def visit(old: Node, inputs: tuple[Node, ...]) -> Node:
        node = with_inputs(old, inputs)
        if node.op == "input":
            return node
        key = (node.op, node.attrs, tuple(id(i) for i in node.inputs))
        kept = seen.get(key)
        if kept is None:
            seen[key] = node
            return node
        return kept

    return rebuild(_with_origins(graph), visit)


def _with_origins(graph: Graph) -> Graph:
    """Give the first of several equal nodes an origin that any of them has."""
    number: dict[Key, int] = {}
    ids: dict[Node, int] = {}
    origins: dict[int, str] = {}
    for node in graph.nodes():
        operands = (id(node),) if node.op == "input" else tuple(ids[i] for i in node.inputs)
        ids[node] = number.setdefault((node.op, node.attrs, operands), len(number))
        origins[ids[node]] = origins.get(ids[node]) or node.origin

    def visit(old: Node, inputs: tuple[Node, ...]) -> Node:
        node = with_inputs(old, inputs)
        if old.op != "constant" and not node.origin and origins[ids[old]]:
            return replace(node, origin=origins[ids[old]])
        return node

    return rebuild(graph, visit)
