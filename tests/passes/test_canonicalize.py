# SPDX-License-Identifier: Apache-2.0
"""What graphs look like before the other passes see them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bnn._types import Array
from bnn.ir import interpret
from bnn.ir.graph import Node
from bnn.ir.ops import (
    INF,
    ClampAttrs,
    ConvAttrs,
    PadAttrs,
    PadChannelsAttrs,
    ReshapeAttrs,
    SliceAttrs,
    constant,
    input_node,
    make,
)
from bnn.passes.canonicalize import canonicalize

from .build import graph


def canonical(*outputs: Node) -> list[str]:
    return [n.op for n in canonicalize(graph(*outputs)).nodes() if n.op not in ("input", "constant")]


def test_what_changes_nothing_is_dropped() -> None:
    x = input_node("x", (1, 4, 6))
    idle = make("pad_channels", make("pad", make("slice", x, attrs=SliceAttrs(0, 6))), attrs=PadChannelsAttrs(0, 0))
    assert canonical(make("sigmoid", idle)) == ["sigmoid"]


def test_operands_that_are_reshaped_alike_are_reshaped_later() -> None:
    a, b, c = (make("reshape", input_node(n, (4, 6)), attrs=ReshapeAttrs((1, 4, 6))) for n in "abc")
    difference = make("sub", a, b)
    assert canonical(make("mul", difference, make("maximum", c, constant(2.0)))) == ["sub", "maximum", "mul", "reshape"]
    other = make("reshape", input_node("other", (6, 4)), attrs=ReshapeAttrs((1, 4, 6)))
    assert canonical(make("add", a, other)) == ["reshape", "reshape", "add"]
    column, row = (
        make("reshape", input_node(n, (4,)), attrs=ReshapeAttrs(s)) for n, s in (("a", (4, 1)), ("b", (1, 4)))
    )
    assert canonical(make("add", column, row)) == ["reshape", "reshape", "add"]


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (np.broadcast_to([1.0, 2.0, 3.0], (4, 5, 3)), (3,)),
        (np.broadcast_to([[[1.0], [2.0]]], (4, 2, 3)), (2, 1)),
        (np.full((4, 5, 3), 2.0), (1,)),
        (np.arange(4.0)[:, None, None] * np.ones((4, 5, 3)), (4, 1, 1)),
        (np.broadcast_to([[0.0], [-0.0]], (4, 2, 3)), (2, 1)),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_constants_do_not_repeat_themselves(value: Array, shape: tuple[int, ...], turned: bool) -> None:
    x = input_node("x", value.shape)
    before = graph(make("div", *(constant(value), x)[:: -1 if turned else 1]))
    after = canonicalize(before)
    (small,) = (n for n in after.nodes() if n.is_constant)
    assert small.type.shape == shape
    data = np.random.default_rng(1).normal(size=(2, *value.shape)).astype(np.float32)
    with np.errstate(divide="ignore"):
        (a,), (b,) = (interpret.outputs(g, [data]) for g in (before, after))
    assert np.array_equal(a, b)


def test_a_constant_that_repeats_the_data_stays() -> None:
    (y,) = canonicalize(graph(make("add", input_node("x", (1, 1, 3)), constant(np.ones((4, 5, 3)))))).outputs
    assert y.type.shape == (4, 5, 3)


@pytest.mark.parametrize("size", [(3,), (1, 1, 1)])
def test_a_constant_that_repeats_what_was_reshaped_comes_after_it(size: tuple[int, ...]) -> None:
    column = make("reshape", input_node("x", (1, 1, 3)), attrs=ReshapeAttrs((3, 1)))
    assert canonical(make("mul", column, constant(np.full(size, 2.0)))) == ["reshape", "mul"]


def test_the_one_slope_of_one_channel_is_that_of_many_before_a_reshape() -> None:
    one = make("reshape", input_node("x", (4, 6)), attrs=ReshapeAttrs((4, 6, 1)))
    (y,) = canonicalize(graph(make("prelu", one, constant([0.25])))).outputs
    assert [n.op for n in (y, y.inputs[0])] == ["reshape", "prelu"]
    assert y.inputs[0].inputs[1].value.tolist() == [0.25] * 6


def test_two_constants_stay_as_they_are() -> None:
    """Their order is nobody's concern; a rule that turned them round would never end."""
    source = graph(make("add", constant([1.0]), constant([2.0])))
    assert canonicalize(source) is source


def test_padding_adds_up() -> None:
    padded = make("pad", input_node("x", (4, 4, 2)), attrs=PadAttrs((1, 2, 3, 4)))
    filters = constant(np.ones((3, 3, 3, 2)))
    (y,) = canonicalize(graph(make("conv2d", padded, filters, attrs=ConvAttrs(pads=(4, 3, 2, 1))))).outputs
    assert y.attrs == ConvAttrs(pads=(5, 5, 5, 5))


@pytest.mark.parametrize("shape", [(24,), (4, 6), (1, 4, 6)])
def test_dense_layers_over_images_alone_are_convolutions(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x, w = input_node("x", shape), constant(rng.integers(-3, 4, (5, 1, 1, 24)).astype(np.float32))
    source = graph(make("conv2d", make("reshape", x, attrs=ReshapeAttrs((24,))), w))
    result = canonicalize(source)
    kernel = next(n.inputs[1].type.shape[1:] for n in result.nodes() if n.op == "conv2d")
    assert kernel == (shape if len(shape) == 3 else (1, 1, 24))
    array = rng.integers(-3, 4, (2, *shape)).astype(np.float32)
    assert np.array_equal(interpret.outputs(source, [array])[0], interpret.outputs(result, [array])[0])


@pytest.mark.parametrize(
    ("size", "order"), [(1, ["add", "reshape"]), (2, ["reshape", "add"]), (12, ["reshape", "add"])]
)
def test_one_value_a_channel_does_not_move_where_channels_become_others(size: int, order: list[str]) -> None:
    y = make("reshape", input_node("x", (4, 6)), attrs=ReshapeAttrs((24 // max(size, 2), max(size, 2))))
    assert canonical(make("add", y, constant(np.arange(size)))) == order


def relu(x: Node, highest: float = INF) -> Node:
    return make("clamp", x, attrs=ClampAttrs(0.0, highest))


def keras_prelu(
    x: Node, slope: Node, *, negated: Node | None = None, factor: float = -1.0, highest: float = INF
) -> Node:
    """relu(x) + slope * relu(-x), or nearly that."""
    negative = make("mul", negated or x, constant(np.full(1, factor)))
    return make("add", relu(x, highest), make("mul", slope, relu(negative, highest)))


X, Y, SLOPE = input_node("x", (3, 4, 2)), input_node("y", (3, 4, 2)), constant(np.float32([-0.25, 3]))
LOOKALIKES: dict[str, Callable[[], Node]] = {
    "a slope for each pixel": lambda: keras_prelu(X, constant(np.arange(24.0).reshape(3, 4, 2))),
    "another value negated": lambda: keras_prelu(X, SLOPE, negated=Y),
    "another factor": lambda: keras_prelu(X, SLOPE, factor=-2.0),
    "relu6": lambda: keras_prelu(X, SLOPE, highest=6.0),
}


@pytest.mark.parametrize("slope", [[-0.25, 3.0], [0.5]])
def test_prelu(slope: list[float]) -> None:
    (y,) = canonicalize(graph(keras_prelu(X, constant(np.float32(slope))))).outputs
    assert y.op == "prelu" and y.inputs[0] is X and np.array_equal(y.inputs[1].value, np.full(2, -np.float32(slope)))


@pytest.mark.parametrize("name", LOOKALIKES)
def test_what_only_looks_like_prelu(name: str) -> None:
    assert "prelu" not in canonical(LOOKALIKES[name]())
