# SPDX-License-Identifier: Apache-2.0
"""Thresholds of binary layers: every filter's bit, at every sum that it can reach."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bnn.ir import interpret
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.ops import ClampAttrs, ConvAttrs, PadAttrs, constant, input_node, make
from bnn.ir.ops.conv import epilogue
from bnn.passes import PIPELINE, lower
from bnn.passes.to_thresholds import reach, thresholds

from .build import bn, channel, conv, graph, quantizer

X = input_node("x", (4, 4, 2))
BY_NAME = {f.__name__: f for f, _ in PIPELINE}


def brute_force(conv_node: Node) -> np.ndarray:  # type: ignore[type-arg]
    """Bits at every accumulator -K to K, (2K + 1, filters), from the unfused operations."""
    reach = int(np.prod(conv_node.inputs[1].type.shape[1:]))
    acc = np.arange(-reach, reach + 1, dtype=np.float32)[:, None]
    value = epilogue(acc, conv_node.attrs, tuple(i.value for i in conv_node.inputs[2:]))
    return np.broadcast_to(value, (len(acc), conv_node.type.shape[-1])) >= 0


def binary(filters: int, taps: int) -> Node:
    w = constant(np.ones((filters, 1, 1, taps)), DType.b1)
    return make("bconv2d", make("binarize", input_node("x", (taps,))), w, name="conv")


def fused(y: Node) -> Node:
    (node,) = lowered_binary(y).outputs
    return node


def lowered_binary(y: Node) -> Graph:
    return BY_NAME["fuse_epilogue"](graph(y))


def check_thresholds(y: Node) -> None:
    node = fused(y)
    found = thresholds(node, make("binarize", node))
    assert node.op == "bconv2d" and found is not None
    limit, falling = found
    reach = int(np.prod(node.inputs[1].type.shape[1:]))
    acc = np.arange(-reach, reach + 1)[:, None]
    assert np.array_equal(np.where(falling, -acc, acc) >= limit, brute_force(node))


@pytest.mark.parametrize(("taps", "filters"), [(5, 245), (2**15 + 1, 70)], ids=["evaluated", "bisected"])
def test_thresholds_equal_brute_force(taps: int, filters: int, rng: np.random.Generator) -> None:
    """Small means, gammas (negative and zero too) and betas, ties included; more than one chunk of filters."""
    means = (-4.0, -1.5, -0.0, 0.0, 0.1, 3.0, 100.0)
    gammas = (-2.0, -0.3, -0.0, 0.0, 1e-30, 0.7, 1.0)
    betas = (-1.0, -0.0, 0.0, 0.1, 2.0)
    table = np.array(list(itertools.product(means, gammas, betas)), np.float32).T
    table = table[:, rng.choice(table.shape[1], filters, replace=False)]
    acc = binary(filters, taps)
    check_thresholds(bn(acc, *table))
    check_thresholds(make("clamp", bn(acc, *table), attrs=ClampAttrs(-1.0, 1.0)))
    relu = make("clamp", make("mul", acc, channel(table[1])))
    check_thresholds(bn(relu, *table))


def test_thresholds_of_random_floats() -> None:
    rng = np.random.default_rng(3)
    for taps in (1, 2, 9, 300, 4609):
        acc = binary(70, taps)
        spread = float(np.sqrt(taps))
        check_thresholds(bn(acc, rng.normal(0, spread, 70), rng.normal(size=70), rng.normal(size=70)))
        check_thresholds(bn(acc, rng.integers(-3, 4, 70), rng.normal(size=70), np.zeros(70)))


def test_constant_channels_are_out_of_reach() -> None:
    node = fused(bn(binary(2, 7), [0, 0], [0, 0], [1, -1]))
    limit, falling = thresholds(node, make("binarize", node)) or (None, None)
    assert limit is not None and limit.tolist() == [-7, 8] and not falling.any()


@pytest.mark.parametrize("taps", [2**15, 2**15 + 1], ids=["all evaluated", "bisected"])
def test_steps_at_the_ends_of_many_sums(taps: int) -> None:
    """At the first sum, the last, and in the middle; where gamma is 0, and just out of reach, there is none."""
    means = [7, 7, taps, 1 - taps, 5, 5, taps + 1, -taps]
    gammas = [1, -1, 1, -1, 0, 0, 1, 1]
    check_thresholds(bn(binary(8, taps), means, gammas, [0, 0, 0, 0, 1, -1, 0, 0]))


def outputs(node: Node, image: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return interpret.outputs(graph(node), [image])[0]


@pytest.mark.parametrize("planes", [1, 2, 8])
def test_the_reach_of_bits(planes: int) -> None:
    """What filters of ones make of bits that are all the same."""
    x = input_node("x", (3, 3, 5 if planes == 1 else 32 * planes), DType.b1)
    node = make("bconv2d", x, constant(np.ones((2, 3, 3, 5)), DType.b1), attrs=ConvAttrs(planes=planes))
    ones = np.ones((1, *x.type.shape), np.int8)
    assert reach(node) == outputs(node, ones).max() == -outputs(node, -ones).min()


@pytest.mark.parametrize("zeros", [[0, 0, 0], [255, 255, 255], [127, 128, 7], [-40, 300, 0]])
def test_the_reach_of_bytes(zeros: list[int]) -> None:
    """What the byte that is farthest from each channel's zero makes of filters of its sign."""
    x = input_node("x", (2, 3, 3), DType.u8)
    far = np.where(np.array(zeros) < 127.5, 255, 0)
    signs = np.broadcast_to(np.where(far > 0, 1, -1), (1, 2, 3, 3))
    node = make("iconv2d", x, constant(signs, DType.b1), channel(zeros), attrs=ConvAttrs(slots=("zeros",)))
    assert reach(node) == outputs(node, np.broadcast_to(far, (1, 2, 3, 3)).astype(np.uint8)).max()


def test_a_residual_and_a_threshold_of_floats_stay() -> None:
    x, other, floats = input_node("x", (5,), DType.b1), input_node("other", (2,)), input_node("y", (5,))
    w = constant(np.ones((2, 1, 1, 5)), DType.b1)
    joined = make("bconv2d", x, w, other, attrs=ConvAttrs(slots=("residual",)))
    result = BY_NAME["to_thresholds"](graph(make("binarize", joined))).outputs[0]
    assert result.op == "bconv2d" and result.inputs == joined.inputs and result.type.dtype is DType.b1
    sums = make("conv2d", floats, constant(np.ones((2, 1, 1, 5))))
    own = make("binarize", sums, channel([1, 2]), constant([1, -1], DType.b1))
    assert BY_NAME["to_thresholds"](graph(own)).outputs[0] is own


def test_what_has_no_threshold_keeps_its_epilogue() -> None:
    """Slots round monotonically, except where they give not-a-number."""
    acc = binary(2, 3)
    infinite = make("bconv2d", *acc.inputs, channel([np.inf, 1.0]), attrs=ConvAttrs(slots=("mul",)))
    assert thresholds(infinite, make("binarize", infinite)) is None, "0 * inf is not a number"
    kept = BY_NAME["to_thresholds"](graph(make("binarize", infinite))).outputs[0]
    assert kept.op == "bconv2d" and kept.attrs.slots == ("mul",)  # type: ignore[attr-defined]
    assert kept.type.dtype is DType.b1


def test_falling_thresholds_negate_filters_and_padding() -> None:
    ones = make("pad", quantizer(X), attrs=PadAttrs((1, 1, 1, 1), 1.0))
    cases: tuple[tuple[Node, tuple[int, int, int, int]], ...] = ((ones, (0,) * 4), (quantizer(X), (1,) * 4))
    for padded, pads in cases:
        y = bn(conv(padded, 4, 3, pads=pads), [0, 2, -2, 0], [1, -1, -0.5, 0], [0, 0, 0, -1])
        source = graph(quantizer(y))
        result = lower(source)
        assert [n.attrs.slots for n in result.schedule if isinstance(n.attrs, ConvAttrs)] == [("threshold", "negated")]
        array = np.random.default_rng(5).normal(size=(16, 4, 4, 2)).astype(np.float32)
        assert np.array_equal(interpret.outputs(source, [array])[0], interpret.outputs(result, [array])[0])


def test_layers_that_share_filters_still_do() -> None:
    """Of the same sums, two quantizers behind different norms."""
    acc = binary(3, 7)
    twin = make("bconv2d", *acc.inputs, name="twin")
    layers = [make("binarize", bn(y, [m] * 3, [1] * 3, [0] * 3)) for y, m in ((acc, 0.0), (twin, 2.0))]
    first, second = BY_NAME["to_thresholds"](BY_NAME["fuse_epilogue"](graph(*layers))).outputs
    assert first.attrs.slots == ("threshold",)  # type: ignore[attr-defined]
    assert first.inputs[1] is second.inputs[1]
