# SPDX-License-Identifier: Apache-2.0
"""Data of a few levels: how they are coded, what they are padded with, and where their steps lie."""

from __future__ import annotations

import numpy as np
import pytest

from bnn.ir import interpret
from bnn.ir.graph import DType, Node
from bnn.ir.ops import ClampAttrs, PadAttrs, RoundAttrs, constant, input_node, make
from bnn.passes import lower
from bnn.passes.levels import MOST_STEPS, Levels, Staircase, quantized, thresholds_of
from bnn.passes.recognize_quantizers import recognize_quantizers

from .build import channel, conv, graph

X = input_node("x", (4, 4, 2))
BITS = make("binarize", X)


def staircase(x: Node, lowest: float, highest: float) -> Node:
    """Whole numbers between two."""
    return make("clamp", make("round", x, attrs=RoundAttrs(-1)), attrs=ClampAttrs(lowest, highest))


PADDINGS: dict[str, tuple[int, int, float | None]] = {
    **{f"{n + 1} levels from 0": (0, n, None) for n in (1, 2, 3, 4, 7, 15)},
    **{f"{n + 1} levels up to 0": (-n, 0, None) for n in (1, 2, 3, 4, 6, 7, 15)},
    **{f"{n + 1} levels around 0": (-n // 2, n // 2, None) for n in (2, 4, 6, 8)},
    "none of them 0": (1, 3, None),
    **{f"{value} around 3 levels": (-1, 1, value) for value in (-1, 0, 1, 0.5)},
    **{f"{value} around 5 levels": (0, 4, value) for value in (0, 2, 4, 5)},
}
FLOAT = {"9 levels around 0", "none of them 0", "0.5 around 3 levels", "5 around 5 levels"}


@pytest.mark.parametrize("name", PADDINGS)
def test_padded_levels(name: str, rng: np.random.Generator) -> None:
    """With zeros, by the layer itself, or with a number before it: as bits where they hold it, and always equal."""
    lowest, highest, value = PADDINGS[name]
    x = staircase(X, lowest, highest)
    sides = (1, 0, 2, 1)
    source = graph(
        conv(x, 3, 2, pads=sides) if value is None else conv(make("pad", x, attrs=PadAttrs(sides, value)), 3, 2)
    )
    lowered = lower(source)
    assert ("conv2d" in [n.op for n in lowered.schedule]) == (name in FLOAT)
    data = rng.integers(-2 * abs(lowest) - 1, 2 * abs(highest) + 2, (9, 4, 4, 2)).astype(np.float32)
    assert np.array_equal(interpret.outputs(source, [data])[0], interpret.outputs(lowered, [data])[0])


@pytest.mark.parametrize(
    ("values", "even"),
    [
        ([0, 1 / 3, 2 / 3, 1], True),  # as float32 has them
        ([k / 7 for k in range(8)], True),
        ([-1, 0, 1 + 1e-5], False),
        ([0, 0.5 - 1e-5, 1], False),
        ([-1000, 0, 1000.01], False),
    ],
)
def test_even_levels(values: list[float], even: bool) -> None:
    assert Levels(BITS, np.array(values, np.float32)).even == even


@pytest.mark.parametrize("thresholds", [[0.5], [-1.0, 0.0, 2.5], [-np.inf, -np.inf, 0.0, 0.0, 1.0]])
@pytest.mark.parametrize("code", [0, 2], ids=["counted", "binary"])
def test_thresholds_come_back(thresholds: list[float], code: int) -> None:
    """Those of levels that are never reached, which are equal, too."""
    if code and len(thresholds) == 1:
        return
    limits = np.array(thresholds, np.float32)
    stair = Staircase(X, np.arange(len(limits) + 1.0), limits)
    found = thresholds_of(quantized(make("sign", X), stair, code).inputs[0])
    assert found is not None and found[0] is X and found[1].tolist() == thresholds


@pytest.mark.parametrize(
    ("limits", "flips"),
    [
        ([[0, 0], [1, 1]], [[-1, 1], [-1, -1]]),  # a channel turned around
        ([[0, 0], [1, 2]], [[-1, -1], [-1, -1]]),  # another step in another channel
        ([[1, 1], [0, 0]], [[-1, -1], [-1, -1]]),  # steps that do not rise
    ],
)
def test_planes_that_are_no_steps(limits: list[list[int]], flips: list[list[int]]) -> None:
    planes = [make("binarize", X, channel(t), constant(f, DType.b1)) for t, f in zip(limits, flips, strict=True)]
    assert thresholds_of(make("concat", *planes)) is None


@pytest.mark.parametrize("steps", [15, 16, 200])
@pytest.mark.parametrize("binary", [True, False])
def test_many_levels_are_bits_for_layers_that_read_bits(steps: int, binary: bool) -> None:
    """For the others they are rounded as floats; a factor after them is part of their values."""
    levels = make("mul", staircase(make("mul", X, channel([steps / 4])), 0, steps), channel([4 / steps]), name="levels")
    layer = conv(levels, 3, 2)
    filters = layer.inputs[1].value
    weights = constant(filters if binary else filters + np.random.default_rng(1).random(filters.shape))
    source = graph(make("conv2d", levels, weights, name="conv"))
    lowered = lower(source)
    found = [n.op for n in lowered.schedule]
    assert ("binarize_levels" in found) == (binary or steps == 15)
    assert ("dequantize" in found) == (not binary and steps == 15)
    (layer,) = [n for n in lowered.schedule if n.op == "conv2d"] or [None]
    assert layer is None or "weights" in layer.note and "more than" not in layer.note
    line = np.linspace(-1, 5, 9 * 32, dtype=np.float32).reshape(9, 4, 4, 2)
    expected, found = (interpret.outputs(g, [line])[0] for g in (source, lowered))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("steps", [7, 100])
def test_why_a_layer_of_moved_levels_is_float(steps: int) -> None:
    """The same reason, whether its levels are few or rounded as floats."""
    levels, others = staircase(X, 0, steps), staircase(X, -1, steps)
    for x, reason in (
        (make("pad", levels, attrs=PadAttrs((1, 1, 1, 1), -1.0)), "its bits are padded with -1"),
        (make("concat", levels, others), "its input joins what different quantizers made"),
    ):
        (layer,) = [n for n in lower(graph(conv(x, 3, 2))).schedule if n.op == "conv2d"]
        assert reason in layer.note


@pytest.mark.parametrize("steps", [MOST_STEPS, MOST_STEPS + 1])
def test_as_many_steps_as_bits_hold(steps: int) -> None:
    """Of one staircase, and of two together."""
    for value in (staircase(X, 0, steps), make("add", staircase(X, 0, 200), staircase(X, 200, steps))):
        lowered = lower(graph(value), until="binarize")
        held = [n.op for n in lowered.nodes() if n.op not in ("input", "constant")] == ["binarize_levels", "dequantize"]
        assert held == (steps == MOST_STEPS)
        data = np.resize(np.arange(-0.5, steps + 1, 0.5, np.float32), (33, 4, 4, 2))
        assert np.array_equal(*(interpret.outputs(g, [data])[0] for g in (graph(value), lowered)))


@pytest.mark.parametrize("ends", [("minimum", 3.0, "maximum", 0.0), ("maximum", 0.0, "minimum", 3.0)])
def test_a_staircase_ends_where_both_its_ends_are(ends: tuple[str, float, str, float]) -> None:
    """Between them its steps have no end."""
    first, low, second, high = ends
    y = make(second, make(first, make("round", X, attrs=RoundAttrs(0)), constant(low)), constant(high))
    assert [n.op for n in recognize_quantizers(graph(y)).nodes()][-1] == "dequantize"
    assert recognize_quantizers(graph(y.inputs[0])).outputs[0] is y.inputs[0]


def test_a_constant_that_adds_a_dimension_is_part_of_no_quantizer() -> None:
    """Its value has another shape than what would be quantized."""
    x = input_node("x", (5,))
    wide = make("add", make("sign", x), constant(np.full((1, 1), 0.5)))
    (y,) = recognize_quantizers(graph(make("sign", wide))).outputs
    assert y.type == wide.type and y.type.shape == (1, 5)


def at_least(x: Node, limit: float) -> Node:
    """1 or 0."""
    sign = make("sign", make("add", make("sign", make("sub", x, constant(limit))), constant(0.5)))
    return make("add", make("mul", sign, constant(0.5)), constant(0.5))


@pytest.mark.parametrize("op", ["add", "mul", "maximum"])
@pytest.mark.parametrize(("lowest", "limit"), [(0, 0), (3, 3), (3, 4), (3, 6), (3, 7)])
def test_a_comparison_behind_a_clip_and_one_before_it(op: str, lowest: float, limit: float) -> None:
    """At the lower end of the clip it is always true, at the upper end only from there on."""
    clipped = make("clamp", X, attrs=ClampAttrs(lowest, 6.0))
    both = make(op, at_least(clipped, limit), at_least(X, 5.0))
    data = np.resize(np.float32([-np.inf, -1, -0.0, 0, 1, 2.9, 3, 4, 5, 5.9, 6, 7, np.inf]), (13, 4, 4, 2))
    lowered = lower(graph(both), until="binarize")
    assert np.array_equal(*(interpret.outputs(g, [data])[0] for g in (graph(both), lowered)))


def test_what_levels_are_padded_with() -> None:
    """Counted planes hold the ends, numbers any level that is reached."""
    three = Levels(BITS, np.float32([-1, 0, 1]))
    assert [three.pads(value, 0) for value in (-1, 0, 1, 0.5, 2)] == [True, False, True, False, False]
    five = Levels(BITS, np.arange(5, dtype=np.float32), 2)
    assert [five.pads(value, 2) for value in range(6)] == [False, False, True, True, True, False]


@pytest.mark.parametrize(
    ("values", "counted", "binary"),
    [
        ([0, 1, 2], -1, -1),
        ([-2, -1, 0], 1, None),  # all planes of a number say 3
        ([-3, -2, -1, 0], 1, 1),
        ([-1, 0, 1], 0, None),
        ([-3, -1, 1, 3], 0, 0),
        ([-1, 0, 2], None, None),
    ],
)
def test_what_planes_are_padded_with_for_zero(values: list[float], counted: int | None, binary: int | None) -> None:
    assert Levels(BITS, np.float32(values)).zero == counted
    assert Levels(BITS, np.float32(values), 2).zero == binary
