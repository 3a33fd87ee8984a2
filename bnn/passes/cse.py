# SPDX-License-Identifier: Apache-2.0
"""Common subexpression elimination."""

from __future__ import annotations

from dataclasses import replace

from ..ir.graph import Attrs, Graph, Node
from ..ir.rewrite import rebuild

Key = tuple[str, Attrs, tuple[int, ...]]


def cse(graph: Graph) -> Graph:
    """Precondition: any.  Postcondition: no two nodes have the same op, attributes and operands.

    Inputs stay separate.  Of two equal nodes the first is kept, with the other's origin if it has none.
    """
    seen: dict[Key, Node] = {}
    origins: dict[Node, str] = {}

    def merged(old: Node, node: Node) -> Node:
        if node.op == "input":
            return node
        kept = seen.setdefault((node.op, node.attrs, tuple(id(i) for i in node.inputs)), node)
        origins[kept] = origins.get(kept) or node.origin
        return kept

    def named(old: Node, node: Node) -> Node:
        origin = origins.get(old)
        return replace(node, origin=origin) if origin and not node.origin and not node.is_constant else node

    return rebuild(rebuild(graph, merged), named)
