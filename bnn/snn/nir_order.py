# SPDX-License-Identifier: Apache-2.0
"""In which order simulators run the nodes of a NIR graph, and which edges so carry values of the step before.

NIR says neither.  All four simulators import graphs with nirtorch, by one of its two ways; each is repeated here, so
that a network with cycles has the delays that it has in its simulator.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Edge = tuple[str, str]


@dataclass(frozen=True)
class Order:
    """``nodes``: those that run, in their order.  ``late``: edges that carry what their source sent a step before.
    ``problem``: why it gives something else, or nothing."""

    nodes: tuple[str, ...] = ()
    late: frozenset[Edge] = frozenset()
    problem: str = ""


def executor(nodes: Mapping[str, Any], edges: tuple[Edge, ...]) -> Order:
    """nirtorch.load (Norse, sinabs): the graph is walked from its input along each edge to the end before the next
    edge, and a node runs when it is first met, whatever of its inputs has run by then."""
    after: dict[str, list[str]] = {}
    for a, b in edges:
        after.setdefault(a, []).append(b)
        after.setdefault(b, [])
    starts = [name for name in after if not any(name == b for _, b in edges)]
    if len(starts) != 1:
        return Order(problem=f"found {len(starts)} nodes without an input; nirtorch runs only one of them")
    place: dict[str, int] = {}
    waiting = [starts[0]]
    while waiting:
        name = waiting.pop()
        if name not in place:
            place[name] = len(place)
            waiting += reversed(after[name])
    late = frozenset((a, b) for a, b in edges if a in place and place[a] >= place[b])
    last = max(place, key=lambda name: place[name])
    problem = ""
    if getattr(nodes[last], "kind", "") != "Output":
        problem = (
            f"nirtorch runs '{last}' last and returns what it sends, not the output; name the edge to the output last"
        )
    return Order(tuple(place), late, problem)


def interpreter(nodes: Mapping[str, Any], edges: tuple[Edge, ...]) -> Order:
    """nirtorch.nir_to_torch (snnTorch, SpikingJelly): nodes run in the order of the file, each as soon as its inputs
    have run; one of several inputs that is part of a cycle is not waited for."""
    before: dict[str, list[str]] = {name: [] for name in nodes}
    after: dict[str, list[str]] = {name: [] for name in nodes}
    for a, b in edges:
        before[b].append(a)
        after[a].append(b)
    kinds = {name: getattr(node, "kind", "") for name, node in nodes.items()}
    first = [name for name, kind in kinds.items() if kind == "Input"]
    if not first:
        return Order(problem="found no Input")
    order = {first[0]: None}
    names = list(nodes)
    queue = deque(names[names.index(first[0]) + 1 :] + names[: names.index(first[0])])
    late: set[Edge] = set()
    waited = 0
    reach: dict[str, set[str]] = {}
    while queue:
        name = queue.popleft()
        inputs = before[name]
        missing = [a for a in inputs if a not in order]
        if missing and name not in reach:
            reach[name] = _reached(name, after)
        ready = all(len(inputs) > 1 and a in reach[name] for a in missing) and bool(inputs or kinds[name] == "Input")
        if not ready or kinds[name] == "Output" and queue:
            if kinds[name] == "NIRGraph":
                return Order(
                    problem=f"nirtorch fails on the graph '{name}', which comes before its inputs; rename nodes so "
                    "that their names sort in the order in which they run"
                )
            queue.append(name)
            waited += 1
            if waited > 2 * len(queue) + 2:
                return Order(problem=f"nirtorch waits for the inputs of '{name}' without an end")
            continue
        waited = 0
        late |= {(a, name) for a in missing}
        order[name] = None
    return Order(tuple(order), frozenset(late))


def _reached(start: str, after: Mapping[str, list[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(after[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += after[name]
    return found


def in_cycle(edge: Edge, edges: tuple[Edge, ...]) -> bool:
    """Whether a way leads from the end of an edge back to its start."""
    after: dict[str, list[str]] = {}
    for a, b in edges:
        after.setdefault(a, []).append(b)
        after.setdefault(b, [])
    return edge[0] == edge[1] or edge[0] in _reached(edge[1], after)
