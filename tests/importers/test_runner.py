# SPDX-License-Identifier: Apache-2.0
"""The walk that runs every importer's models, on nodes made here."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from bnn.errors import UnsupportedOpError
from bnn.importers.common.layer import NamedOp
from bnn.importers.common.runner import executed


@dataclass(frozen=True)
class Node:
    """A node that adds its operands; ``results``: its second result is zero."""

    name: str
    inputs: tuple[str, ...]
    op: str = "Add"
    results: int = 1


def named(node: Node) -> NamedOp:
    return NamedOp(f"layer of {node.name}", node.op, node.name)


def add(node: Node, operands: list[Any]) -> dict[str, Any]:
    total = sum((x for x in operands if x is not None), start=np.zeros(4, np.float32))
    return {node.name: total, "second": np.zeros(4, np.float32)} if node.results == 2 else {node.name: total}


ONE = np.ones(4, np.float32)
# x + x; a + 1, and what nothing but the caller reads; both; the same
NODES = [Node("a", ("x", "x")), Node("b", ("a", "one"), results=2), Node("c", ("a", "b")), Node("d", ("c", "left out"))]


def test_what_is_computed() -> None:
    found = {}
    for _, results in executed(NODES, {"x": 2 * ONE, "one": ONE}, add, named=named):
        found.update(results)
    assert {name: value[0] for name, value in found.items()} == {"a": 4, "b": 5, "c": 9, "d": 9, "second": 0}


def test_what_the_caller_changes_is_read() -> None:
    for node, results in executed(NODES, {"x": ONE, "one": ONE}, add, named=named):
        if node.name == "a":
            results["a"] = 10 * ONE
        last = results
    assert last["d"][0] == 21


def test_values_are_freed_after_their_last_use() -> None:
    alive, seen = dict[str, Any](), []
    for node, results in executed(NODES, {"x": ONE, "one": ONE}, add, named=named):
        alive.update((name, weakref.ref(value)) for name, value in results.items())
        results = {}
        seen.append((node.name, {name for name, value in alive.items() if value() is not None}))
    # Until the next node has run, there are the operands of this one, too.
    assert seen == [("a", {"a"}), ("b", {"a", "b", "second"}), ("c", {"a", "b", "c"}), ("d", {"c", "d"})]


@pytest.mark.parametrize(("op", "held"), [("Add", 48), ("Alias", 32)])
def test_what_is_held(op: str, held: int) -> None:
    """Each result is 16 bytes; c is made of a and b.  What nothing reads is not held, and aliases take no bytes."""
    nodes = [NODES[0], Node("b", ("a", "one"), op), *NODES[2:]]

    def run(most: int) -> int:
        given = {"x": ONE, "one": ONE}
        return len(list(executed(nodes, given, add, named=named, most=most, remedy="take less", aliases={"Alias"})))

    assert run(held) == 4
    what = f"values of {held} bytes are needed at once; at most {held - 1} are held; take less"
    with pytest.raises(UnsupportedOpError, match=rf"^layer 'layer of c': Add \('c'\): {what}$"):
        run(held - 1)
