# SPDX-License-Identifier: Apache-2.0
"""The rewriter: a rule says which nodes it is for and what becomes of them, and is applied until nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import VerifierError
from .graph import Attrs, Graph, Node, reached
from .ops import OPS, make

Action = Callable[[Node, Mapping[Node, int]], Node | None]


@dataclass(frozen=True)
class Rewrite:
    """A rule for nodes of ``ops`` whose first operand is one of the ops ``of``; empty: any.

    ``action`` gets such a node and the use counts; it returns the new node, or None.
    """

    action: Action
    ops: tuple[str, ...] = ()
    of: tuple[str, ...] = ()

    def fits(self, node: Node) -> bool:
        return (not self.ops or node.op in self.ops) and (not self.of or node.inputs[0].op in self.of)


def with_inputs(node: Node, inputs: tuple[Node, ...]) -> Node:
    """The node with these operands; the same object if they are its own."""
    if all(a is b for a, b in zip(node.inputs, inputs, strict=True)):
        return node
    return remade(node, node.op, *inputs, attrs=node.attrs)


def remade(node: Node, op: str, *inputs: Node, attrs: Attrs | None = None) -> Node:
    """The same value, computed in another way: it keeps its layer, origin, tap and note."""
    return make(op, *inputs, attrs=attrs, name=node.name, origin=node.origin, tap=node.tap, note=node.note)


def fused(first: Node, node: Node, op: str, *inputs: Node, attrs: Attrs | None = None) -> Node:
    """The value of a node, computed by the layer of the ``first`` of several nodes that become one."""
    return make(op, *inputs, attrs=attrs, name=first.name, tap=node.tap or node.name, origin=node.origin)


def rebuild(graph: Graph, function: Callable[[Node, Node], Node]) -> Graph:
    """Map every node, operands first; ``function`` gets a node, and the same node with its new operands.

    If no node changed, returns ``graph`` itself.
    """
    new = _made(graph, function)
    return graph if all(old is made for old, made in new.items()) else graph.mapped(new)


def replanned(graph: Graph, function: Callable[[Node, Node], Node]) -> Graph:
    """:func:`rebuild` for nodes whose types and places do not change: the graph keeps its plan."""
    new = _made(graph, function)
    return replace(
        graph.mapped(new),
        schedule=tuple(new[n] for n in graph.schedule),
        placements={new[n]: place for n, place in graph.placements.items()},
        arena_bytes=graph.arena_bytes,
    )


def _made(graph: Graph, function: Callable[[Node, Node], Node]) -> dict[Node, Node]:
    new: dict[Node, Node] = {}
    for old in graph.nodes():
        new[old] = function(old, with_inputs(old, tuple(new[i] for i in old.inputs)))
    return new


def rewrite(graph: Graph, rules: Sequence[Rewrite], limit: int = 1000) -> Graph:
    """Apply the rules, operands before users, until none applies.

    Raises:
        VerifierError: some rule still applies after ``limit`` sweeps.
    """
    for _ in range(limit):
        changed = _sweep(graph, rules)
        if changed is graph:
            return graph
        graph = changed
    raise VerifierError(f"rewriting did not end within {limit} sweeps")


def _sweep(graph: Graph, rules: Sequence[Rewrite]) -> Graph:
    old_uses = graph.use_counts()
    uses: dict[Node, int] = {}

    def visit(old: Node, node: Node) -> Node:
        for rule in rules:
            new = rule.action(node, uses) if rule.fits(node) else None
            if new is not None and new is not node:
                if new.type != node.type:
                    raise VerifierError(f"a rule changed {node.op} of '{node.name}' from {node.type} to {new.type}")
                node = new
                break
        uses[node] = uses.get(node, 0) + old_uses[old]
        return node

    return rebuild(graph, visit)


def is_elementwise(node: Node) -> bool:
    """Whether the op treats every element separately."""
    return OPS[node.op].elementwise


def by_scalars(node: Node) -> bool:
    """Whether the op's constant operands are single numbers."""
    return all(i.value.size == 1 for i in node.inputs if i.is_constant)


def sources(x: Node, past: Callable[[Node], bool]) -> set[Node]:
    """The non-constant origins of data: the nodes where a walk up the operands ends; it continues past those that
    ``past`` accepts."""
    return {node for node in reached([x], lambda node: node.data if past(node) else ()) if not past(node)}
