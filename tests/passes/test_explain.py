# SPDX-License-Identifier: Apache-2.0
"""What the compiler says where an author surely meant a layer to be binary, or a bit to change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bnn._notes import parted
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.ops import (
    INF,
    ClampAttrs,
    ConvAttrs,
    DequantizeAttrs,
    PadAttrs,
    PoolAttrs,
    ReshapeAttrs,
    SliceAttrs,
    constant,
    input_node,
    make,
)
from bnn.ir.rewrite import rebuild
from bnn.passes import PIPELINE, lower
from bnn.passes.explain import explain, least
from graphs import random_graph

X = input_node("x", (40,))


def sign(x: Node) -> Node:
    return make("sign", make("add", make("sign", x), constant([0.1])))


def dense(x: Node, w: np.ndarray, name: str) -> Node:  # type: ignore[type-arg]
    return make("conv2d", x, constant(w.astype(np.float32)), name=name)


def notes(*outputs: Node) -> dict[str, str]:
    return {n.name: n.note for n in lower(Graph((X,), outputs, ("y",) * len(outputs))).schedule if n.note}


def test_float_weights_behind_a_quantizer(rng: np.random.Generator) -> None:
    found = notes(dense(sign(X), rng.normal(size=(8, 1, 1, 40)), "dense"))
    assert found["dense"].splitlines() == [
        "its weights take 320 values", "warning: 'dense': a kernel quantizer would make it binary",
    ]  # fmt: skip


def test_a_relu_makes_every_bit_the_same(rng: np.random.Generator) -> None:
    signs = rng.choice([-1, 1], (8, 1, 1, 40))
    relu = make("clamp", dense(sign(X), signs, "first"), attrs=ClampAttrs(0.0, INF), name="relu")
    step = make("add", make("sign", relu, name="second"), constant([0.1]), name="second")
    known = make("sign", step, name="second", origin="bits", tap="bits")
    for bits, layer, cause in (
        (sign(relu), "first", "every sum of 'first' reaches the threshold that bias, batch norm and activation give"),
        (known, "second", "'relu' before its quantizer gives nothing below 0, as a ReLU does"),
    ):
        found = notes(dense(bits, rng.choice([-1, 1], (3, 1, 1, 8)), "second"))
        assert found == {"first": f"warning: '{layer}': all its bits are +1, whatever the image; {cause}"}
    biased = make("add", dense(sign(X), signs, "first"), constant(np.full(8, 1.0)))
    assert not notes(dense(sign(biased), rng.choice([-1, 1], (3, 1, 1, 8)), "second"))


def test_many_levels(rng: np.random.Generator) -> None:
    def quantized(largest: float) -> Node:
        scaled = make("mul", make("clamp", X, attrs=ClampAttrs(0.0, 1.0)), constant([largest]))
        return make("div", make("round", scaled), constant([largest]))

    signs = rng.choice([-1, 1], (3, 1, 1, 40))
    found = notes(dense(quantized(256.0), signs, "dense"))
    assert found["dense"] == "its input takes more than 256 values"
    assert not notes(dense(quantized(255.0), signs, "dense"))
    halves = [make("slice", quantized(largest), attrs=SliceAttrs(20, 40)) for largest in (511.0, 255.0)]
    found = notes(dense(make("concat", *halves), signs, "moved"))
    assert found["moved"] == "its input takes more than 256 values"
    row = make("reshape", quantized(127.0), attrs=ReshapeAttrs((1, 1, 40)))  # as a layer of one dimension reads it
    padded = make("conv2d", make("pad", row, attrs=PadAttrs((0, 1, 0, 1), -1.0)), constant(np.ones((3, 1, 2, 40))),
                  attrs=ConvAttrs(), name="padded")  # fmt: skip
    assert notes(padded)["padded"] == "its bits are padded with -1"
    added = make("add", quantized(511.0), X)
    assert notes(dense(added, signs, "added"))["added"].startswith("its input is float (no input quantizer)")


def test_levels_that_only_moved_have_a_quantizer(rng: np.random.Generator) -> None:
    """Whatever keeps such a layer from being binary, another quantizer is not what it lacks; behind a scale it is."""
    bits = make("binarize", X, constant(np.zeros(40)), constant(np.full(40, -1), DType.b1))
    levels = make("dequantize", bits, constant([0.0, 1.0]), attrs=DequantizeAttrs())
    square = make("reshape", levels, attrs=ReshapeAttrs((4, 5, 2)))
    w = constant(rng.choice([-1.0, 1.0], (3, 2, 2, 2)))
    for x, hinted in (
        (make("pad", square, attrs=PadAttrs((1, 1, 1, 1), 0.5)), False),
        (make("max_pool", square, attrs=PoolAttrs((2, 2), (1, 1))), False),
        (make("mul", square, constant([0.5, 2.0])), True),
        (make("avg_pool", square, attrs=PoolAttrs((2, 2), (1, 1))), True),
    ):
        graph = explain(Graph((X,), (make("conv2d", x, w, attrs=ConvAttrs()),)))
        assert ("an input quantizer would" in graph.outputs[0].note) == hinted, x.op


def test_a_bound_below() -> None:
    """Padding and joined values count, whatever they are put around."""
    x = make("clamp", input_node("x", (4, 5, 2)), attrs=ClampAttrs(1.0, INF))
    assert least(make("max_pool", x, attrs=PoolAttrs((2, 2), (1, 1)))) == 1.0
    assert least(make("pad", x, attrs=PadAttrs((1, 1, 1, 1), -3.0))) == -np.inf
    assert least(make("concat", x, input_node("y", (4, 5, 2)))) == -np.inf


def bound(low: float) -> Node:
    return make("clamp", X, attrs=ClampAttrs(low, INF))


W = constant(np.ones((40, 1, 1, 40)))
FREE = (X, make("conv2d", X, W), make("tanh", X))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (make("add", bound(-1.0), bound(3.0)), 2.0),
        (make("maximum", bound(-1.0), bound(3.0)), 3.0),
        (make("minimum", bound(-1.0), bound(3.0)), -1.0),
        (make("concat", bound(3.0), bound(-1.0)), -1.0),
        (make("sub", bound(-1.0), bound(3.0)), -np.inf),
        (make("maximum", bound(-1.0), X), -1.0),
        (make("conv2d", X, W, attrs=ConvAttrs(slots=("clamp0",), clamp0=(-2.0, 9.0))), -2.0),
        (make("conv2d", X, W, attrs=ConvAttrs(slots=("clamp1",), clamp1=(-3.0, 9.0))), -3.0),
        (make("conv2d", X, W, attrs=ConvAttrs(slots=("clamp0", "clamp1"), clamp0=(1, 9), clamp1=(-4, 9))), -4.0),
        (make("conv2d", X, W, bound(0.0), attrs=ConvAttrs(slots=("clamp0", "residual"), clamp0=(0.0, 9.0))), -np.inf),
        *((x, -np.inf) for x in FREE),
        *((make(op, X), 0.0) for op in ("sigmoid", "softmax", "exp", "erfc", "sqrt", "rsqrt")),
        (make("unpack", make("binarize", X)), -1.0),
    ],
)  # fmt: skip
def test_bounds(value: Node, expected: float) -> None:
    assert least(value) == expected


@pytest.mark.parametrize(
    ("slots", "said"),
    [
        ({"clamp0": (0.0, 9.0)}, "all its bits are +1"),
        ({"clamp0": (-9.0, -1.0)}, "all its bits are -1"),
        ({"clamp0": (-1.0, 9.0)}, ""),
        ({"clamp0": (0.0, 9.0), "mul": [-1.0] * 40}, ""),  # of either sign at the ends
        ({"mul": [0.0] * 40, "add": [1.0] * 40}, "all its bits are +1"),
        ({"mul": [0.0] * 39 + [1.0], "add": [1.0] * 40}, ""),
        ({"pre_mul": [1.0] * 40, "mul": [0.0] * 40, "add": [-1.0] * 40}, "all its bits are -1"),
        ({"pre_mul": [1.0] * 39 + [4.0], "mul": [0.0] * 40, "add": [-1.0] * 40}, ""),  # where it overflows, no number
        ({"clamp0": (0.0, 9.0), "residual": None}, ""),
    ],
)
def test_bits_of_sums_between_two_ends(slots: dict[str, Any], said: str) -> None:
    operands = [X if v is None else constant(np.float32(v)) for v in slots.values() if not isinstance(v, tuple)]
    clamps = {name: v for name, v in slots.items() if isinstance(v, tuple)}
    layer = make("conv2d", X, W, *operands, attrs=ConvAttrs(slots=tuple(slots), out=DType.b1, **clamps))
    found = hint(layer)
    assert said in found if said else "all its bits" not in found


def test_bits_side_by_side_of_different_values_are_no_planes() -> None:
    """Each of them is a quantizer's own, which may be hinted at; of one value they are asked for together."""
    layers = [make("binarize", make("clamp", x, attrs=ClampAttrs(0.0, INF)), name=n) for x, n in ((X, "a"), (X, "b"))]
    one = layers[0].inputs[0]
    planes = [make("binarize", one, constant(np.zeros(40)), constant([-1] * 40, DType.b1), name=n) for n in "ab"]
    for parts, count in ((layers, 2), (planes, 0)):
        found = explain(Graph((X,), (make("concat", *parts),)))
        assert sum(ONES in n.note for n in found.nodes()) == count


def test_bits_side_by_side_are_no_ternary_ones(rng: np.random.Generator) -> None:
    """Of different values, whose thresholds are near zero."""
    never = [constant(np.full(c, -1), DType.b1) for c in (40, 30)]
    data = X, make("slice", X, attrs=SliceAttrs(5, 35))
    parts = [make("binarize", x, constant(np.zeros(n.value.size)), n) for x, n in zip(data, never, strict=True)]
    layer = make("bconv2d", make("concat", *parts), constant(rng.choice([-1, 1], (3, 1, 1, 70)), DType.b1))
    assert explain(Graph((X,), (layer,))).outputs[0].note == ""


def hint(node: Node) -> str:
    """The warnings about it, without their beginning."""
    inputs = tuple(n for n in Graph((), (node,)).nodes() if n.op == "input")
    _, lines = parted(explain(Graph(inputs, (node,))).outputs[0].note)
    return "; ".join(line.removeprefix(f"warning: '{node.name}': ") for line in lines)


def threshold_layer(limits: list[int], taps: int = 40) -> Node:
    bits = make("binarize", input_node("x", (taps,)))
    w, attrs = constant(np.ones((len(limits), 1, 1, taps)), DType.b1), ConvAttrs(slots=("threshold",), out=DType.b1)
    return make("bconv2d", bits, w, constant(limits, DType.i32), attrs=attrs)


ONES, MINUS_ONES, ZEROS = "all its bits are +1", "all its bits are -1", "every threshold of its bits is 0"


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ([-40, -41], ONES),
        ([-40, -39], ""),
        ([-38, -38], ""),
        ([41, 99], MINUS_ONES),
        ([41, 40], ""),
        ([40, 40], ""),
        ([0, 0], ZEROS),
        ([0], ""),
        ([0, 1], ""),
    ],
)
def test_thresholds_that_no_sum_crosses(limits: list[int], said: str) -> None:
    found = hint(threshold_layer(limits))
    assert found.startswith(said) if said else not found


@pytest.mark.parametrize(
    ("least_value", "threshold", "flip", "said"),
    [
        (0.0, None, -1, ONES),
        (-1e-6, None, -1, ""),
        (1.0, [1.0, 0.5], -1, ONES),
        (1.0, [1.0, 1.5], -1, ""),
        (1.0, [1.0, 0.5], 1, MINUS_ONES),
        (-9.0, [-np.inf, -np.inf], -1, ONES),
        (-9.0, [-np.inf, 1.0], -1, ""),
    ],
)
def test_bits_of_floats_from_a_bound_on(
    least_value: float, threshold: list[float] | None, flip: int, said: str
) -> None:
    x = make("clamp", input_node("x", (2,)), attrs=ClampAttrs(least_value, INF))
    own = () if threshold is None else (constant(threshold), constant([flip] * 2, DType.b1))
    found = hint(make("binarize", x, *own))
    assert found.startswith(said) if said else not found


@pytest.mark.parametrize(("values", "hinted"), [(256, False), (257, True)])
def test_weights_that_somebody_may_have_quantized(values: int, hinted: bool) -> None:
    bits = make("unpack", make("binarize", input_node("x", (300,))))
    w = constant(np.resize(np.arange(values), (1, 1, 1, 300)))
    assert ("a kernel quantizer would" in hint(make("conv2d", bits, w))) == hinted


@pytest.mark.parametrize(("zeros", "hinted"), [(0, True), (2, True), (3, False)])
def test_few_zeros(zeros: int, hinted: bool) -> None:
    """One in twenty of the forty weights."""
    bits = make("binarize", X)
    first, second = np.ones((2, 1, 1, 1, 40))
    second[..., :zeros] = -1
    layer = make("bconv2d", make("concat", bits, bits), constant(np.concatenate([first, second], 3), DType.b1))
    assert ("few of its weights are 0" in hint(layer)) == hinted


def test_bounds_of_products() -> None:
    at_least = {low: make("clamp", input_node("x", (4,)), attrs=ClampAttrs(low, INF)) for low in (-1.0, 0.0, 2.0)}
    assert least(make("mul", at_least[0.0], at_least[2.0])) == 0.0
    assert least(make("mul", at_least[-1.0], at_least[2.0])) == -np.inf


def test_the_sign_that_is_0_at_0() -> None:
    """And a quantizer whose 0 stands for more."""

    def note(x: Node) -> str:
        return notes(dense(x, np.ones((3, 1, 1, 40)), "dense")).get("dense", "")

    assert "its input is a sign that is 0 at 0" in note(make("sign", X))
    for low, high, said in ((-1e-38, 1e-38, True), (0.0, 1e-38, True), (1e-38, 1e-38, False), (1e-38, 0.0, False)):
        never = constant([-1] * 40, DType.b1)
        planes = [make("binarize", X, constant(np.full(40, t, np.float32)), never) for t in (low, high)]
        layer = make("bconv2d", make("concat", *planes), constant(np.ones((3, 1, 1, 80)), DType.b1))
        assert ("its input is a sign that is 0 at 0" in hint(layer)) == said
    wide = [make("sign", make("add", X, constant([c]))) for c in (0.5, -0.5)]
    assert "tf.sign" not in note(make("sign", make("add", *wide)))


@pytest.mark.parametrize("first", [0, 10])
def test_passes_neither_write_nor_read_notes(first: int) -> None:
    """So what notes say cannot change what is computed."""
    for seed in range(first, first + 10):
        source = random_graph(seed).graph
        noted = rebuild(source, lambda old, node: replace(node, note="said"))
        plain = lowered(source)
        assert not any(n.note for n in plain.nodes())
        assert str(lowered(noted)) == str(plain) == str(lower(source))


def lowered(graph: Graph) -> Graph:
    for function, _ in PIPELINE:
        graph = function(graph)
    return graph
