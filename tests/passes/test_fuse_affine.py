# SPDX-License-Identifier: Apache-2.0
"""Batch norm that stands alone becomes one op, and no bit changes."""

from __future__ import annotations

import numpy as np
import pytest

from bnn.ir import interpret
from bnn.ir.graph import Graph, Node
from bnn.ir.ops import ClampAttrs, input_node, make
from bnn.passes.fuse_affine import fuse_affine

from .build import channel, graph

X = input_node("x", (3, 4, 2))
VALUES = [-np.inf, -3.0, -1.0, -1e-40, -0.0, 0.0, 1e-40, 0.3, 1.0, 7.0, np.inf, np.nan]


def chain(*steps: str) -> Node:
    """Operations on X, one layer a step; each has operands of its own, a zero of either sign among them."""
    x: Node = X
    for number, op in enumerate(steps):
        if op == "clamp":
            x = make("clamp", x, attrs=ClampAttrs(-1.0, 4.0), name=f"s{number}")
        else:
            x = make(op, x, channel([1.5 + number, -0.0 if number % 2 else 0.0]), name=f"s{number}")
    return x


def ops(result: Graph) -> list[str]:
    return [n.op for n in result.nodes() if n.op not in ("input", "constant")]


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        (("sub", "mul", "add", "clamp"), ["affine"]),
        (("add", "mul", "sub"), ["affine"]),
        (("mul", "add"), ["affine"]),
        (("mul", "clamp"), ["affine"]),
        (("add", "add"), ["affine"]),
        (("sub", "mul", "add", "sub", "mul", "add"), ["affine", "affine"]),
        (("mul", "mul"), ["mul", "mul"]),
        (("clamp", "clamp"), ["clamp", "clamp"]),
        (("clamp", "add"), ["clamp", "add"]),
        (("mul",), ["mul"]),
    ],
)
def test_chains(steps: tuple[str, ...], wanted: list[str]) -> None:
    before = graph(chain(*steps))
    result = fuse_affine(before)
    assert ops(result) == wanted
    x = np.resize(np.asarray(VALUES, np.float32), (5, 3, 4, 2))
    with np.errstate(invalid="ignore"):
        old, new = (interpret.outputs(g, [x])[0] for g in (before, result))
    assert np.array_equal(old, new, equal_nan=True)
    numbers = ~np.isnan(old)
    assert np.array_equal(np.signbit(old)[numbers], np.signbit(new)[numbers]), "the sign of a zero changed"


def test_a_zero_of_the_other_sign_is_an_operation() -> None:
    """-0 + 0 is 0, and stays so."""
    x = make("add", make("add", X, channel([0.0, 0.0])), channel([-0.0, -0.0]))
    zeros = np.full((1, 3, 4, 2), -0.0, np.float32)
    (result,) = interpret.outputs(fuse_affine(graph(x)), [zeros])
    assert not np.signbit(result).any()


def test_names() -> None:
    (node,) = fuse_affine(graph(chain("sub", "mul", "clamp"))).outputs
    assert (node.name, node.tap) == ("s0", "s2")


def test_values_with_another_user_stay() -> None:
    first = make("sub", X, channel([1, 2]))
    second = make("mul", first, channel([3, 4]))
    assert ops(fuse_affine(graph(second, first))) == ["sub", "mul"]
    assert ops(fuse_affine(graph(make("add", second, first)))) == ["sub", "mul", "add"]


def test_operands_that_are_not_by_channel_stay() -> None:
    rows = make("mul", X, make("avg_pool", X))
    assert ops(fuse_affine(graph(make("add", rows, channel([1, 2]))))) == ["avg_pool", "mul", "add"]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_infinite_operands_stay(value: float) -> None:
    """They make no number of what is finite, which no threshold or pool of bits can say."""
    product = make("mul", X, channel([1.0, value]))
    assert ops(fuse_affine(graph(make("add", product, channel([1, 2]))))) == ["mul", "add"]
