# SPDX-License-Identifier: Apache-2.0
"""Concatenations of convolutions: what follows them moves into the parts, and nothing that is computed changes."""

from __future__ import annotations

import numpy as np
import pytest

import graphs
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.interpret import outputs
from bnn.ir.ops import (
    ClampAttrs,
    ConvAttrs,
    PadChannelsAttrs,
    PoolAttrs,
    ReshapeAttrs,
    SliceAttrs,
    constant,
    input_node,
    make,
)
from bnn.passes import lower
from bnn.passes.sink_concat import sink_concat
from graphs import Sample
from seed import numbers

from .build import bn, conv, graph, pool, quantizer
from .test_random_graphs import check_sample

Rng = np.random.Generator
X = input_node("x", (4, 4, 2))
BOTH = make("concat", conv(X, 1, 1), conv(X, 2, 3, pads=(1, 1, 1, 1), seed=2), name="both")


def images(rng: Rng, source: Graph) -> list[np.ndarray]:  # type: ignore[type-arg]
    return [(rng.integers(-16, 17, (3, *n.type.shape)) / 16).astype(np.float32) for n in source.inputs]


def kinds(result: Graph) -> list[str]:
    """The ops, those on bits marked."""
    return [f"{n.op} {n.type.dtype.name}" for n in result.schedule if n.op != "copy"]


def test_constants_are_cut_and_what_follows_moves() -> None:
    y = make("binarize", bn(BOTH, mean=[0, 1, 2], gamma=[1, -1, 0], beta=[0, 0, 1]), name="sign", origin="s:0")
    signs = BOTH.inputs[0].inputs[1].value.reshape(-1).astype(int).tolist()
    assert str(sink_concat(graph(y))).splitlines() == [
        '%0 = input(label=x, shape=(4, 4, 2)) : f32[4, 4, 2]  "x"',
        f'%1 = conv2d(%0, const {signs}) : f32[4, 4, 1]  "conv"',
        '%2 = sub(%1, const [0]) : f32[4, 4, 1]  "bn"',
        '%3 = mul(%2, const [1]) : f32[4, 4, 1]  "bn"',
        '%4 = add(%3, const [0]) : f32[4, 4, 1]  "bn"',
        '%5 = binarize(%4) : b1[4, 4, 1]  "sign"',
        '%6 = conv2d(%0, const <float32 [2, 3, 3, 2]>, pads=(1, 1, 1, 1)) : f32[4, 4, 2]  "conv"',
        '%7 = sub(%6, const [1, 2]) : f32[4, 4, 2]  "bn"',
        '%8 = mul(%7, const [-1, 0]) : f32[4, 4, 2]  "bn"',
        '%9 = add(%8, const [0, 1]) : f32[4, 4, 2]  "bn"',
        '%10 = binarize(%9) : b1[4, 4, 2]  "sign"',
        '%11 = concat(%5, %10) : b1[4, 4, 3]  "both"',
        "return %11",
    ]


def test_bits_are_pooled_and_concatenated() -> None:
    """The quantizer comes before the pool, then into the parts: one pool of all bits, its mask whole."""
    y = bn(pool(BOTH, (2, 2)), mean=[0, 1, 2], gamma=[1, -1, 0.5], beta=[0, 0, 1])
    result = lower(graph(quantizer(y)))
    assert kinds(result) == ["conv2d b1", "conv2d b1", "concat b1", "max_pool b1", "unpack f32"]
    assert next(n for n in result.schedule if n.op == "max_pool").inputs[1].value.tolist() == [-1, 1, -1]


@pytest.mark.parametrize("groups", [2, 4])
def test_a_grouped_layer_gives_bits(groups: int) -> None:
    """Groups of a few channels: thresholds in each, and a second grouped layer reads their bits where they are."""
    w = [constant(np.random.default_rng(i).choice([-1.0, 1.0], (8, 3, 3, 8 // groups))) for i in (1, 2)]
    attrs = ConvAttrs(pads=(1, 1, 1, 1), groups=groups)
    x = quantizer(input_node("x", (4, 4, 8)))
    first = bn(make("conv2d", x, w[0], attrs=attrs, name="a"), range(8), [1, -1] * 4, [0.5] * 8)
    second = make("conv2d", quantizer(first), w[1], attrs=attrs, name="b")
    result = lower(graph(quantizer(second)))
    layers = [n for n in result.schedule if n.op == "bconv2d"]
    assert len(layers) == 2 * groups and all("threshold" in n.attrs.slots for n in layers)  # type: ignore[attr-defined]
    assert all(n.type.dtype is DType.b1 for n in result.schedule if n.op == "concat")
    assert [n.op for n in result.schedule].count("concat") == 1 and "affine" not in [n.op for n in result.schedule]


@pytest.mark.parametrize("other", ["output", "add", "shortcut"])
def test_a_concatenation_with_another_user_stays(other: str) -> None:
    moved = bn(BOTH, [0, 1, 2], [1, -1, 1], [0, 0, 0])
    users = {"output": BOTH, "add": make("add", BOTH, BOTH), "shortcut": make("add", BOTH, moved)}
    for quantized in (moved, BOTH):
        source = graph(make("binarize", quantized), users[other])
        assert sink_concat(source) is source


def test_several_quantizers_all_move() -> None:
    """An activation of three levels is two thresholds on the same values."""
    result = lower(graph(graphs.quantized(bn(BOTH, [0, 1, 2], [1, -1, 1], [0, 0, 0]), "tern", "levels")))
    assert {n.type.dtype for n in result.schedule if n.op == "concat"} == {DType.b1}


def test_a_constant_for_each_pixel_is_cut_too() -> None:
    values = np.arange(48.0).reshape(4, 4, 3)
    result = sink_concat(graph(make("add", BOTH, constant(values))))
    parts = result.outputs[0].inputs
    assert [p.inputs[1].value.tolist() for p in parts] == [values[..., :1].tolist(), values[..., 1:].tolist()]


def test_one_constant_for_all_channels_is_every_parts() -> None:
    values = np.arange(16.0).reshape(4, 4, 1)
    for value in (values, np.full(1, 2.0), np.float32(3)):
        parts = sink_concat(graph(make("mul", BOTH, constant(value)))).outputs[0].inputs
        assert [p.inputs[1].value.tolist() for p in parts] == [np.float32(value).tolist()] * 2


def test_what_two_values_make_stays() -> None:
    """Of another value nobody knows the parts."""
    source = graph(make("add", BOTH, input_node("y", (4, 4, 3))))
    assert sink_concat(source) is source


def test_one_convolution_among_the_parts_is_enough() -> None:
    x = BOTH.inputs[0].inputs[0]
    for parts, moves in (((conv(x, 1, 1), make("tanh", x)), True), ((make("sqrt", x), make("tanh", x)), False)):
        source = graph(make("binarize", make("concat", *parts)))
        assert (sink_concat(source) is not source) == moves


def test_any_slice_of_parts(rng: Rng) -> None:
    """Of one of them it reads that part, of more than one the concatenation."""
    joined = make("concat", make("tanh", X), make("pad_channels", X, attrs=PadChannelsAttrs(1, 0)))
    array = rng.normal(size=(2, 4, 4, 2)).astype(np.float32)
    for begin, end in ((b, e) for e in range(1, 6) for b in range(e)):
        source = graph(make("slice", joined, attrs=SliceAttrs(begin, end)))
        result = sink_concat(source)
        assert ("concat" in {n.op for n in result.nodes()}) == (begin < 2 < end)
        assert np.array_equal(*(interpret.outputs(g, [array])[0] for g in (source, result)))


def test_a_slice_of_two_parts_stays() -> None:
    source = graph(make("slice", BOTH, attrs=SliceAttrs(0, 2)))
    assert sink_concat(source) is source


def random_concat(rng: Rng) -> Node:
    """Convolutions in groups, or branches of which some are no convolutions, nested or not; what follows is drawn."""
    channels = int(rng.choice([4, 6, 8, 32, 64]))
    x = input_node("x", (5, 4, channels))
    data = quantizer(x) if rng.random() < 0.8 else x
    if rng.random() < 0.5:
        groups = 2 if rng.random() < 0.7 else channels // 2
        w = rng.choice([-1.0, 1.0] if rng.random() < 0.7 else [-1.0, 0.0, 1.0], (channels, 3, 3, channels // groups))
        y = make("conv2d", data, constant(w), attrs=ConvAttrs(pads=(1, 1, 1, 1), groups=groups), name="groups")
    else:
        parts = [conv(data, int(rng.integers(1, 6)), 1, seed=int(rng.integers(99))) for _ in range(3)]
        parts += [data, make("max_pool", parts[0], attrs=PoolAttrs((3, 3), (1, 1), (1, 1, 1, 1)), name="branch")]
        chosen = [parts[i] for i in rng.permutation(5)[: int(rng.integers(2, 5))]]
        y = make("concat", *chosen, name="join")
        y = make("concat", y, conv(data, 2, 1, seed=7), name="join_2") if rng.random() < 0.4 else y
    seen = [y]
    for kind in rng.choice(["bn", "bn", "relu", "pool", "prelu"], int(rng.integers(0, 4))):
        c = y.type.shape[-1]
        if kind == "bn":
            drawn = rng.integers(-3, 4, c), rng.choice([-1.0, 0.0, 0.5, 2.0], c), rng.choice([0.0, -0.5, 1.0], c)
            y = bn(y, *(values.tolist() for values in drawn))
        elif kind == "relu":
            y = make("clamp", y, attrs=ClampAttrs(-2.0, 3.0), name="relu")
        elif kind == "prelu":
            y = make("prelu", y, constant(rng.choice([0.0, 0.25, -0.5, 1.0], c)), name="prelu")
        elif y.type.shape[0] > 1:
            y = pool(y, (2, 2))
        seen.append(y)
    quantized = graphs.quantized(y, str(rng.choice(["tern", "five"])), "levels") if rng.random() < 0.4 else quantizer(y)
    last = conv(quantized, 3, 1, seed=5)
    if rng.random() < 0.3:  # another user, anywhere
        other = seen[int(rng.integers(len(seen)))]
        size = int(np.prod(other.type.shape))
        flat = make("reshape", other, attrs=ReshapeAttrs((size,)), name="flat")
        rest = make("reshape", last, attrs=ReshapeAttrs((int(np.prod(last.type.shape)),)), name="rest")
        last = make("concat", flat, rest, name="late")
    return last


@pytest.mark.drawn
def test_random_concatenations_change_no_bit(rng: Rng) -> None:
    """After every pass the oracle gives the same; and bits are what is concatenated, where no one else reads it."""
    of_bits = 0
    for seed in numbers(150):
        source = graph(random_concat(rng))
        lowered = check_sample(Sample(seed, source, images(rng, source)))
        of_bits += any(n.op == "concat" and n.type.dtype is DType.b1 for n in lowered.schedule)
    assert of_bits > len(numbers(150)) // 4


def test_slices_of_one_part_read_that_part(rng: Rng) -> None:
    halves = [quantizer(make("add", X, constant([c]))) for c in (0.0, 0.5)]
    w = constant(rng.choice([-1.0, 1.0], (4, 1, 1, 2)))
    grouped = make("conv2d", make("concat", *halves), w, attrs=ConvAttrs(groups=2), name="groups")
    source = graph(grouped)
    result = lower(source)
    assert not {"concat b1", "slice b1"} & set(kinds(result))
    x = images(rng, source)
    assert np.array_equal(outputs(source, x)[0], interpret.outputs(result, x)[0])
