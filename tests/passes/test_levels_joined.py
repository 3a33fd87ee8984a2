# SPDX-License-Identifier: Apache-2.0
"""Several staircases of one float, computed with: one staircase."""

from __future__ import annotations

import numpy as np
import pytest

from bnn.ir import interpret
from bnn.ir.graph import Graph, Node
from bnn.ir.ops import ConvAttrs, constant, input_node, make
from bnn.passes import lower
from seed import numbers

CHANNELS = 3
X = input_node("x", (CHANNELS,))
THRESHOLDS = [-1.0, -0.5, 0.0, 0.25, 0.5, 2.0]
Rng = np.random.Generator


def comparison(rng: Rng, x: Node) -> Node:
    """0 or 1, with its step at, or just above, a threshold; or turned around; or a third value at the threshold."""
    three = make("sign", make("sub", x, constant(rng.choice(THRESHOLDS))))
    if rng.random() < 0.2:
        return three
    two = make("sign", make("add", three, constant(rng.choice([-0.5, 0.5]))))
    return make("add", make("mul", two, constant(rng.choice([-0.5, 0.5]))), constant(0.5))


def expression(rng: Rng, x: Node, depth: int) -> Node:
    if depth == 0:
        return comparison(rng, x)
    op = str(rng.choice(["minimum", "maximum", "mul", "add", "sub"]))
    joined = make(op, expression(rng, x, depth - 1), expression(rng, x, int(rng.integers(depth))))
    return joined if rng.random() < 0.7 else make("mul", joined, constant(rng.choice([-2.0, 0.5])))


@pytest.mark.drawn
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_equal_to_what_they_were(depth: int, rng: Rng) -> None:
    line = np.float32([-np.inf, *np.nextafter(np.float32(THRESHOLDS), np.float32(-9)), *THRESHOLDS,
                       *np.nextafter(np.float32(THRESHOLDS), np.float32(9)), -0.0, np.inf])  # fmt: skip
    data = np.repeat(line[:, None], CHANNELS, axis=1)
    for _ in numbers(40):
        graph = Graph((X,), (expression(rng, X, depth),), ("y",))
        expected = interpret.outputs(graph, [data])[0]
        lowered = lower(graph, until="binarize")
        assert np.array_equal(interpret.outputs(lowered, [data])[0], expected)
        ops = [n.op for n in lowered.nodes() if n.op not in ("input", "constant", "binarize", "concat")]
        assert ops in (["dequantize"], ["unpack"], ["binarize_levels", "dequantize"]), ops


def test_one_step_is_one_plane() -> None:
    signs = (make("sign", make("sub", X, constant(c))) for c in (0.25, 1.0))
    first, second = (make("sign", make("add", s, constant(0.5))) for s in signs)
    lowered = lower(Graph((X,), (make("maximum", first, second),), ("y",)), until="binarize")
    assert [n.op for n in lowered.nodes() if n.op not in ("input", "constant")] == ["binarize", "unpack"]


def test_a_layer_reads_a_constant_as_bits() -> None:
    pixel = input_node("x", (1, 1, CHANNELS))
    above, at_least = (make("sign", make("add", make("sign", make("sub", pixel, constant(c))), constant(-0.5)))
                       for c in (2.0, -2.0))  # fmt: skip
    never = make("minimum", above, make("mul", at_least, constant(-1.0)))
    filters = constant(np.ones((4, 1, 1, CHANNELS), np.float32))
    lowered = lower(Graph((pixel,), (make("conv2d", never, filters, attrs=ConvAttrs()),), ("y",)))
    assert [n.op for n in lowered.nodes() if n.op.endswith("conv2d")] == ["bconv2d"]
    data = np.float32([-3, 0, 3]).reshape(3, 1, 1, 1) * np.ones(CHANNELS, np.float32)
    assert np.array_equal(interpret.outputs(lowered, [data])[0], np.full((3, 1, 1, 4), -CHANNELS))
