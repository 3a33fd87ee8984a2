# SPDX-License-Identifier: Apache-2.0
"""Which layers become binary, and which just do not; what happens to levels on their way."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from bnn.ir import interpret
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.ops import (
    INF,
    ClampAttrs,
    ConvAttrs,
    DequantizeAttrs,
    PadAttrs,
    PoolAttrs,
    SliceAttrs,
    constant,
    input_node,
    make,
)
from bnn.passes.binarize import binarize
from bnn.passes.explain import explain
from bnn.passes.levels import Levels

from .build import graph

MODULE = importlib.import_module("bnn.passes.binarize")  # the package has the pass by this name
X = input_node("x", (4, 4, 2))
BITS = make("binarize", X)


def numbers(x: Node, thresholds: list[float], values: list[float]) -> Node:
    bits = make("binarize_levels", x, constant(np.float32(thresholds)))
    return make("dequantize", bits, constant(np.float32(values)), attrs=DequantizeAttrs(x.type.shape[-1]))


def counted(x: Node, thresholds: list[float], values: list[float]) -> Node:
    channels = x.type.shape[-1]
    never = constant(np.full(channels, -1), DType.b1)
    planes = [make("binarize", x, constant(np.full(channels, t, np.float32)), never) for t in thresholds]
    return make("dequantize", make("concat", *planes), constant(np.float32(values)), attrs=DequantizeAttrs())


def check(y: Node) -> list[str]:
    """The result is what it was; gives its ops."""
    before = graph(y)
    after = binarize(before)
    data = np.resize(np.float32([-9, -1, -0.5, 0, 0.5, 1, 1.5, 2, 9]), (9, *before.inputs[0].type.shape))
    assert np.array_equal(*(interpret.outputs(g, [data])[0] for g in (before, after)))
    return [n.op for n in after.nodes() if n.op not in ("input", "constant")]


@pytest.mark.parametrize(
    ("values", "channels", "repeats", "most"),
    [
        ([-1, 1], 0, 1, 2**24 - 1),
        ([-1, 1], 0, 2, 2**23 - 1),
        ([-1, 0, 1], 0, 1, 2**23 - 1),
        ([0, 1, 2, 3], 2, 1, (2**24 - 1) // 6),  # numbers add twice their largest
        (list(range(256)), 2, 7, (2**24 - 1) // (255 * 2 * 7)),
    ],
)
def test_products_of_which_sums_are_exact(values: list[int], channels: int, repeats: int, most: int) -> None:
    x = Levels(BITS, np.float32(values), channels)
    one = np.float32(1)
    assert MODULE.why_not_exact(x, np.broadcast_to(one, (9, 1, 1, most)), repeats) == ""
    for shape in ((1, 1, 1, most + 1), (1, most + 1, 1, 1), (1, 2, 1, most // 2 + 1)):
        reason = MODULE.why_not_exact(x, np.broadcast_to(one, shape), repeats)
        assert f"products of {len(values)} levels are not exact in float32" in reason


@pytest.mark.parametrize(
    ("groups", "width", "reason"),
    [
        (32, 2, ""),
        (33, 2, "33 groups of 2 channels, which are not whole 32-bit words"),
        (33, 32, ""),
        (2, 1, "it is depthwise: one product a tap"),
        (1, 1, ""),
    ],
)
def test_groups(groups: int, width: int, reason: str) -> None:
    x = input_node("x", (1, 1, groups * width))
    w = constant(np.ones((groups, 1, 1, width)))
    layer = make("conv2d", make("unpack", make("binarize", x)), w, attrs=ConvAttrs(groups=groups), name="layer")
    (result,) = explain(binarize(graph(layer))).outputs
    assert (result.op == "conv2d", result.note) == (bool(reason), reason)


@pytest.mark.parametrize("make_levels", [counted, numbers])
@pytest.mark.parametrize("values", [[0, 1, 2, 3], [3, 2, 1, 0], [0, 2, 1, 3]], ids=["rising", "falling", "neither"])
def test_the_largest_level(make_levels: object, values: list[float]) -> None:
    """Of bits, only where levels rise with them."""
    levels = make_levels(X, [-0.5, 0.5, 1.5], values)  # type: ignore[operator]
    found = check(make("max_pool", levels, attrs=PoolAttrs((2, 2), (2, 2))))
    assert (found[-1] == "dequantize") == (values == sorted(values))


@pytest.mark.parametrize("make_levels", [counted, numbers])
@pytest.mark.parametrize("value", [5.0, 0.0, 1.0, 2.0, 7.0])
def test_padding_with_every_level(make_levels: object, value: float) -> None:
    """The lowest is one that no float stands for; 7 is none."""
    levels = make_levels(X, [-np.inf, 0.5, 1.5], [5, 0, 1, 2])  # type: ignore[operator]
    found = check(make("pad", levels, attrs=PadAttrs((1, 0, 0, 1), value)))
    held = (5.0, 2.0) if make_levels is counted else (0.0, 1.0, 2.0)
    assert (found[-1] == "dequantize") == (value in held)


def test_levels_side_by_side() -> None:
    """Of one code, and numbers by the same thresholds."""
    limits, values = [-0.5, 0.5, 1.5], [0.0, 1, 2, 3]
    other = make("mul", X, constant(2.0))
    for first, second, joined in (
        (numbers(X, limits, values), numbers(other, limits, values), True),
        (counted(X, limits, values), counted(other, limits, values), True),
        (counted(X, limits, values), counted(other, [0, 1, 2], values), True),
        (numbers(X, limits, values), numbers(other, [0, 1, 2], values), False),
        (numbers(X, limits, values), counted(other, limits, values), False),
        (counted(X, limits, values), numbers(other, limits, values), False),
        (counted(X, limits, values), counted(other, limits, [0.0, 1, 2, 4]), False),
    ):
        assert (check(make("concat", first, second))[-1] == "dequantize") == joined


@pytest.mark.parametrize("make_levels", [counted, numbers])
def test_a_slope_is_a_table_where_it_is_one(make_levels: object) -> None:
    for channels, last in ((1, "dequantize"), (2, "prelu")):
        x = input_node("x", (4, 4, channels))
        levels = make_levels(x, [-0.5, 0.5, 1.5], [-2, -1, 0, 1])  # type: ignore[operator]
        assert check(make("prelu", levels, constant(np.float32([0.5, -3][:channels]))))[-1] == last


def test_levels_with_a_float_stay() -> None:
    assert check(make("add", counted(X, [0, 1], [0, 1, 2]), X))[-1] == "add"
    graph_of_two = Graph((X,), (make("add", counted(X, [0, 1], [0, 1, 2]), numbers(X, [0, 1, 2], [0, 1, 2, 3])),))
    assert binarize(graph_of_two).outputs[0].op == "dequantize", "two staircases of one float"


@pytest.mark.parametrize("side", range(4))
def test_a_rim_on_any_side(side: int) -> None:
    """Of zeros, which some levels have and some have not."""
    pads = tuple(int(i == side) for i in range(4))
    w = constant(np.resize(np.float32([1, -1, -1]), (3, 2, 2, 2)))
    for values, held in (([0, 1, 2, 3], True), ([1, 2, 3, 4], False), ([-1, 0, 1], True), ([-3, 1, 3], False)):
        levels = counted(X, [-0.5, 0.5, 1.5][: len(values) - 1], [float(v) for v in values])
        found = check(make("conv2d", levels, w, attrs=ConvAttrs(pads=pads)))
        assert ("conv2d" in found) != held and ("bconv2d" in found) == held


@pytest.mark.parametrize("values", [[-1.0, 1.0], [-1.0, 0.0, 1.0]])
@pytest.mark.parametrize("width", [2, 32, 64])
def test_groups_of_several_planes(values: list[float], width: int) -> None:
    """Planes of bits, and of weights: those of a group lie apart, whole words or not."""
    x, rng = input_node("x", (2, 2, 2 * width)), np.random.default_rng(width)
    for data in (make("unpack", make("binarize", x)), counted(x, [-0.5, 0.5], [-1.0, 0.0, 1.0])):
        w = rng.choice(values, (6, 1, 1, width)) * np.float32([1, 0.5, 1, 2, 1, 1]).reshape(6, 1, 1, 1)
        found = check(make("conv2d", data, constant(w), attrs=ConvAttrs(groups=2)))
        assert "conv2d" not in found and "bconv2d" in found


@pytest.mark.parametrize(("value", "moves"), [(1.0, True), (-1.0, True), (0.0, False), (0.5, False)])
def test_padded_signs(value: float, moves: bool) -> None:
    found = check(make("pad", make("unpack", make("binarize", X)), attrs=PadAttrs((1, 0, 0, 1), value)))
    assert (found[-1] == "unpack") == moves


WIDE = input_node("x", (4, 5, 8))
EVEN = {"two": [-0.25, 1.25], "three": [0.5, 1.0, 1.5], "from zero": [0.0, 1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("make_levels", "levels"),
    [*((counted, name) for name in EVEN), (numbers, "three"), (numbers, "from zero")],
)
@pytest.mark.parametrize("values", [2, 3, 8, 16, 17, 32, 33])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 0, 2, 1)])
def test_weights_with_an_offset(
    make_levels: object, levels: str, values: int, pads: tuple[int, int, int, int], rng: np.random.Generator
) -> None:
    """Other evenly spaced values in each filter, and zero padding that is none of the levels: as many convolutions as
    the weights have bits, and one by ones."""
    number = rng.integers(0, values, (6, 3, 2, 8))
    number[:2, 0, 0, :2] = 0, values - 1
    scale, offset = rng.choice([0.25, 0.5, 1], (2, 6, 1, 1, 1)) * [[[[[1.0]]]], [[[[-1.25]]]]]
    number[5] = 0  # a filter of one value
    known = EVEN[levels]
    thresholds = np.linspace(-0.5, 1.5, len(known) - 1).tolist()
    x = make_levels(WIDE, thresholds, known)  # type: ignore[operator]
    layer = make("conv2d", x, constant(number * scale + offset), attrs=ConvAttrs((2, 1), (1, 2), pads))
    found = check(layer)
    planes = (values - 1).bit_length()
    coded = len(known) - 1 if make_levels is counted else (len(known) - 1).bit_length()
    assert found.count("bconv2d") == (planes + 1 if planes <= 5 and planes * coded <= 25 else 0)
    assert found.count("conv2d") == (planes > 5 or planes * coded > 25)


@pytest.mark.parametrize("levels", EVEN)
def test_weights_with_an_offset_of_a_dense_layer(levels: str, rng: np.random.Generator) -> None:
    """Of values, without an image around them: the middle of the levels is added, too."""
    known = EVEN[levels]
    x = counted(input_node("x", (48,)), np.linspace(-0.5, 1.5, len(known) - 1).tolist(), known)
    weights = rng.choice([-0.25, 1.0], (6, 1, 1, 48))
    assert check(make("conv2d", x, constant(weights))).count("bconv2d") == 2


def scaled(op: str, size: int, pads: int, scale: tuple[int, int, int], first: bool = True) -> list[str]:
    """The ops of a convolution of levels times, or divided by, numbers of this shape that depend on the data."""
    levels, positive = (
        numbers(WIDE, [-0.5, 0.25, 1.5], [0.0, 1.0, 2.0, 3.0]),
        make("clamp", WIDE, attrs=ClampAttrs(0.5, INF)),
    )
    window = (4 // scale[0], 5 // scale[1])
    number = make("avg_pool", positive, attrs=PoolAttrs(window, window))
    number = make("slice", number, attrs=SliceAttrs(0, scale[2])) if scale[2] < 8 else number
    x = make(op, levels, number) if first else make(op, number, levels)
    signs = np.random.default_rng(1).choice([-1.0, 1.0], (6, size, size, 8))
    before = graph(make("conv2d", x, constant(signs), attrs=ConvAttrs(pads=(pads,) * 4)))
    after = binarize(before)
    data = np.resize(np.float32([-9, -1, -0.5, 0, 0.5, 1, 1.5, 2, 9, 3]), (9, *WIDE.type.shape))
    expected, found = (interpret.outputs(g, [data])[0] for g in (before, after))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)  # each product was scaled, and is no more
    return [n.op for n in after.nodes()]


@pytest.mark.parametrize("op", ["mul", "div"])
@pytest.mark.parametrize(("size", "pads", "scale"), [(3, 0, (1, 1, 1)), (3, 1, (1, 1, 1)), (1, 0, (4, 5, 1))])
def test_a_scale_that_depends_on_the_data(op: str, size: int, pads: int, scale: tuple[int, int, int]) -> None:
    found = scaled(op, size, pads, scale)
    assert "bconv2d" in found and "conv2d" not in found


@pytest.mark.parametrize(
    ("op", "size", "scale", "first"),
    [
        ("mul", 3, (4, 5, 1), True),  # taps of other scales
        ("mul", 1, (1, 1, 8), True),  # channels of other scales
        ("div", 1, (1, 1, 1), False),  # not a scale: s / x
    ],
)
def test_other_scales_stay(op: str, size: int, scale: tuple[int, int, int], first: bool) -> None:
    found = scaled(op, size, 0, scale, first)
    assert "conv2d" in found and "bconv2d" not in found


def test_weights_that_only_look_evenly_spaced(rng: np.random.Generator) -> None:
    """Short filters, in groups, and of a value between the others."""
    x = make("unpack", make("binarize", WIDE))
    for shape, change in (((6, 1, 1, 8), 0.0), ((6, 3, 3, 4), 0.0), ((6, 3, 3, 8), 1e-3)):
        w = rng.choice([-0.3, 1.25], shape)
        w[1, 0, 0, 0] += change
        layer = make("conv2d", x, constant(w), attrs=ConvAttrs(groups=8 // shape[3] if shape[1] == 3 else 1))
        assert binarize(graph(layer)).outputs[0].op == "conv2d", shape
