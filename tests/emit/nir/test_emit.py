# SPDX-License-Identifier: Apache-2.0
"""The spike-equivalent network: NumPy's simulation of the emitted layers against the oracle, and the NIR file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphs
import moves
from bnn._types import Array
from bnn.emit.nir.layered import LayeredNetwork
from bnn.emit.nir.network import spike_network
from bnn.emit.nir.proof import pack_spikes, prove, simulate
from bnn.emit.nir.write import PROFILES, emit, layers_for
from bnn.errors import CompileError, InputError, UnsupportedOpError
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.interpret import run
from bnn.ir.ops import ClampAttrs, ConvAttrs, PadAttrs, PoolAttrs, ReshapeAttrs, SliceAttrs, constant, input_node, make
from bnn.passes import lower
from seed import seeds

Rng = np.random.Generator


def signs(rng: Rng, *shape: int) -> Node:
    return constant(rng.choice([-1, 1], shape), DType.b1)


def bits(shape: tuple[int, ...], name: str = "image") -> Node:
    """An input and its encoder: the sign."""
    return make("binarize", input_node(name, shape), name=f"{name}_sign")


def conv(rng: Rng, x: Node, filters: int, kernel: tuple[int, int] = (3, 3), name: str = "conv", **attrs: Any) -> Node:
    """A binary convolution with thresholds around its usual sums, some of them out of reach."""
    inner = x.type.shape[-1] // attrs.get("groups", 1)
    reach = kernel[0] * kernel[1] * inner
    limit = rng.integers(-int(reach**0.5) - 1, int(reach**0.5) + 2, filters)
    limit[rng.random(filters) < 0.1] = rng.choice([-reach, reach, reach + 1, 10 * reach])
    a = ConvAttrs(slots=("threshold",), out=DType.b1, **attrs)
    return make("bconv2d", x, signs(rng, filters, *kernel, inner), constant(limit, DType.i32), attrs=a, name=name)


def dense(rng: Rng, x: Node, units: int, name: str = "dense") -> Node:
    return make("bconv2d", x, signs(rng, units, 1, 1, x.type.shape[-1]), attrs=ConvAttrs(), name=name)


def flatten(x: Node) -> Node:
    return make("reshape", x, attrs=ReshapeAttrs((int(np.prod(x.type.shape)),)), name="flatten")


def images(rng: Rng, graph: Graph, count: int = 3) -> list[Array]:
    return [rng.normal(size=(count, *n.type.shape)).astype(np.float32) for n in graph.inputs]


def check(rng: Rng, output: Node, *inputs: Node, profile: str = "if") -> LayeredNetwork:
    """The layers of a graph give the oracle's spikes, sums and outputs."""
    graph = Graph(inputs or tuple(n for n in Graph((), (output,)).nodes() if n.op == "input"), (output,))
    chain = layers_for(graph, profile)
    prove(chain, images(rng, graph))
    return chain


@pytest.mark.drawn
@pytest.mark.parametrize("profile", ["if", "flat"])
@pytest.mark.parametrize("level", ["cse", None])
def test_random_graphs(profile: str, level: str | None) -> None:
    """Every random graph either gives exactly the oracle's spikes, or is refused with a reason."""
    proven = 0
    for seed in seeds(60):
        sample = graphs.random_graph(seed)
        try:
            chain = layers_for(lower(sample.graph, until=level), profile)
        except CompileError as error:
            assert "layer" in str(error), seed
            continue
        try:
            prove(chain, sample.inputs)
        except Exception as error:
            raise AssertionError(f"repeat with BNN_TEST_SEED={seed} BNN_TEST_COUNT=1") from error
        proven += 1
    assert proven > 0 or len(seeds(60)) < 30


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("pad_value", [-1, 0, 1])
@pytest.mark.parametrize(
    ("kernel", "attrs"),
    [
        ((3, 3), {"pads": (1, 1, 1, 1)}),
        ((3, 3), {"pads": (0, 0, 1, 1), "stride": (2, 2)}),  # TensorFlow's SAME on an even image
        ((2, 2), {"pads": (0, 0, 1, 1)}),
        ((3, 3), {"pads": (4, 3, 4, 3), "dilation": (4, 3)}),  # taps past the edge
        ((1, 3), {"pads": (0, 1, 0, 1)}),
        ((5, 3), {"pads": (2, 1, 2, 1), "stride": (1, 2)}),
        ((3, 3), {"pads": (1, 1, 1, 1), "groups": 4}),
        ((7, 7), {"pads": (3, 3, 3, 3)}),  # larger than the image
        ((3, 3), {"pads": (8, 9, 7, 8)}),  # windows that lie outside altogether
    ],
)
def test_convolutions(rng: Rng, kernel: tuple[int, int], attrs: dict[str, Any], pad_value: int, profile: str) -> None:
    x = conv(rng, bits((6, 6, 8)), 12, kernel, "conv_a", pad_value=pad_value, **attrs)
    check(rng, dense(rng, flatten(conv(rng, x, 5, (2, 2), "conv_b")), 4), profile=profile)


@pytest.mark.parametrize("profile", ["if", "flat"])
@pytest.mark.parametrize(
    "pool",
    [
        PoolAttrs((2, 2), (2, 2)),
        PoolAttrs((3, 3), (2, 2), (0, 0, 1, 1)),
        PoolAttrs((3, 3), (1, 1), (1, 1, 1, 1)),
        PoolAttrs((1, 2), (1, 2)),
        PoolAttrs((2, 2), (3, 3)),
    ],
)
def test_pooling_is_or_and_and(rng: Rng, pool: PoolAttrs, profile: str) -> None:
    """Channels of the mask are ANDed; padding counts for neither."""
    x = bits((6, 6, 40))
    for operands in ((x,), (x, signs(rng, 40))):
        pooled = make("max_pool", *operands, attrs=pool, name="pool")
        check(rng, dense(rng, flatten(pooled), 3), profile=profile)


@pytest.mark.parametrize("profile", ["if", "flat"])
@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_padded_bits(rng: Rng, value: float, profile: str) -> None:
    padded = make("pad", bits((4, 4, 3)), attrs=PadAttrs((1, 2, 3, 2), value), name="pad")
    check(rng, dense(rng, flatten(conv(rng, padded, 4)), 3), profile=profile)


@pytest.mark.parametrize("profile", ["if", "flat"])
def test_skip_connections_are_relayed(rng: Rng, profile: str) -> None:
    """Concatenations across several layers, as in a dense network: no edge fans in, a relay carries the spikes."""
    x = bits((5, 5, 6))
    same = {"pads": (1, 1, 1, 1)}
    a = conv(rng, x, 4, name="a", **same)
    b = conv(rng, a, 3, name="b", **same)
    c = conv(rng, make("concat", x, a, b, name="join"), 5, name="c", **same)
    last = make("concat", c, x, name="join_2")
    chain = check(rng, dense(rng, flatten(conv(rng, last, 4, name="d")), 3), profile=profile)
    assert {f.name for layer in chain.layers for f in layer.fields if f.kind == "relay"} == {"image_sign", "a"}


@pytest.mark.parametrize("profile", ["if", "flat"])
def test_slices_of_bits(rng: Rng, profile: str) -> None:
    """A channel split, its halves swapped, and what is cut out of a concatenation and of a flattened image."""
    x = bits((4, 4, 7))
    halves = [make("slice", x, attrs=SliceAttrs(*ends), name="split") for ends in ((0, 3), (3, 7))]
    a = conv(rng, make("concat", halves[1], halves[0]), 6, name="a", pads=(1, 1, 1, 1))
    cut = make("slice", make("concat", a, x), attrs=SliceAttrs(4, 9), name="cut")
    b = make("max_pool", cut, attrs=PoolAttrs((2, 2), (2, 2)), name="pool")
    last = make("slice", flatten(b), attrs=SliceAttrs(3, 17), name="tail")
    check(rng, dense(rng, last, 3), profile=profile)


@pytest.mark.parametrize("move", [*moves.KINDS, "chain"])
def test_moved_bits(rng: Rng, move: str) -> None:
    """Before a convolution, a pool, a padding and a dense layer, beside others, and as outputs; as matrices always."""

    def moved(x: Node) -> Node:
        y = moves.chain(rng, x, 3) if move == "chain" else moves.moved(rng, x, move)
        return y if np.prod(y.type.shape) <= 600 else x

    for _ in range(3):
        x = bits((4, 5, 8))
        y = moved(make("concat", moved(x), moved(x)) if move in ("channel_shuffle", "flip") else moved(x))
        pooled = make("max_pool", moved(y), attrs=PoolAttrs((1, 1), (2, 1)), name="pool")
        padded = make("pad", moved(pooled), attrs=PadAttrs((1, 0, 0, 1), 1.0), name="pad")
        a = conv(rng, moved(padded), 8, (1, 1), "a")
        outputs = (dense(rng, flatten(moved(a)), 3), make("unpack", moved(a), name="spikes"))
        graph = Graph((x.inputs[0],), outputs)
        prove(layers_for(graph, "flat"), images(rng, graph))


@pytest.mark.parametrize("profile", ["if", "flat"])
@pytest.mark.parametrize("move", ["channel_shuffle", "crop", "strided", "split"])
def test_moves_that_are_convolutions(rng: Rng, move: str, profile: str) -> None:
    """Channels cost no layer; crops and every second pixel, also as channels side by side, are one."""
    for _ in range(5):
        x = conv(rng, bits((6, 6, 8)), 8, name="before", pads=(1, 1, 1, 1))
        if move == "split":  # pixels as channels
            index = np.arange(288).reshape(3, 2, 3, 2, 8).transpose(0, 2, 1, 3, 4).reshape(3, 3, 32)
        elif move == "crop":
            top, left = rng.integers(0, 4, 2)
            index = np.arange(288).reshape(6, 6, 8)[top : top + 3, left : left + 3]
        else:
            index = moves.KINDS["channel_shuffle"](rng, np.arange(288).reshape(6, 6, 8))
            index = index[1::2, ::2] if move == "strided" else index
        moved = make("gather", x, constant(index, DType.i32), name="moved")
        y = conv(rng, moved, 4, name="after", pads=(1, 1, 1, 1))
        chain = check(rng, dense(rng, flatten(y), 3), profile=profile)
        assert len(chain.layers) == 3 + (move != "channel_shuffle")


@pytest.mark.parametrize("profile", ["if", "flat"])
@pytest.mark.parametrize("move", moves.KINDS)
def test_moves_before_a_dense_layer_cost_nothing(rng: Rng, move: str, profile: str) -> None:
    """Flattened bits have an order that its weights follow; several bits may be one neuron's."""
    x = conv(rng, bits((6, 6, 8)), 8, name="before", pads=(1, 1, 1, 1))
    chain = check(rng, dense(rng, flatten(moves.moved(rng, x, move)), 3), profile=profile)
    assert len(chain.layers) == 2


def test_two_flips_are_none(rng: Rng) -> None:
    x = bits((4, 4, 3))
    index = np.arange(48).reshape(4, 4, 3)[:, ::-1]
    y = make("gather", make("gather", x, constant(index, DType.i32)), constant(index, DType.i32))
    assert len(check(rng, dense(rng, flatten(conv(rng, y, 4)), 3)).layers) == 2


def test_moves_that_no_convolution_does_are_refused(rng: Rng) -> None:
    same = {"pads": (1, 1, 1, 1)}
    for move in ("permute", "upsample", "flip", "depth_to_space"):
        for seed in range(20):  # until it moves pixels
            moved = moves.moved(np.random.default_rng(seed), bits((4, 5, 8)), move, name="the_move")
            try:
                check(rng, dense(rng, flatten(conv(rng, moved, 4, name="a", **same)), 3))
            except UnsupportedOpError as error:
                assert "layer 'the_move': it moves bits as no convolution does" in str(error)
                assert "profile 'flat'" in str(error)
                break
        else:
            raise AssertionError(move)


def test_images_of_two_sizes_need_the_flat_profile(rng: Rng) -> None:
    x = bits((6, 6, 4))
    small = make("max_pool", x, attrs=PoolAttrs((2, 2), (2, 2)), name="pool")
    further = conv(rng, small, 4, name="further", pads=(1, 1, 1, 1))
    late = conv(rng, x, 4, (2, 2), "late", stride=(2, 2))
    later = conv(rng, late, 4, name="later", pads=(1, 1, 1, 1))
    both = dense(rng, flatten(conv(rng, make("concat", further, later), 3, name="joined")), 2)
    check(rng, both, profile="if")  # both branches halve the image in the same layer
    wide = conv(rng, x, 4, name="wide", pads=(1, 1, 1, 1))
    uneven = make("concat", further, conv(rng, wide, 4, (2, 2), "narrow", stride=(2, 2)))
    other = dense(rng, flatten(conv(rng, uneven, 3, name="joined")), 2)
    with pytest.raises(UnsupportedOpError, match="layer '.*6x6.*use the profile 'flat'|layer '.*3x3.*profile 'flat'"):
        check(rng, other, profile="if")
    check(rng, other, profile="flat")


@pytest.mark.parametrize("profile", ["if", "flat"])
def test_sums_of_whole_numbers_are_exact(rng: Rng, profile: str) -> None:
    """Shortcuts that carry bits or raw sums: one neuron adds the paths; a batch norm after the sum is a threshold."""
    x = bits((5, 5, 8))
    same = ConvAttrs(pads=(1, 1, 1, 1))
    inner = conv(rng, x, 8, name="inner", pads=(1, 1, 1, 1))
    raw = make("bconv2d", inner, signs(rng, 8, 3, 3, 8), attrs=same, name="raw")
    total = make("add", raw, make("unpack", x, name="image_sign"), name="add")
    gamma = rng.choice([-2.0, -0.3, 0.0, 0.7], 8)
    normed = make("mul", make("sub", total, constant(rng.integers(-4, 5, 8)), name="bn"), constant(gamma), name="bn")
    spikes = make("binarize", normed, name="sign")
    check(rng, dense(rng, flatten(spikes), 3), profile=profile)
    fused = make(
        "bconv2d", inner, signs(rng, 8, 3, 3, 8), raw,
        attrs=replace(same, slots=("residual",), out=DType.b1), name="fused",
    )  # fmt: skip
    check(rng, dense(rng, flatten(fused), 3), profile=profile)


@pytest.mark.parametrize("profile", ["if", "flat"])
def test_sums_side_by_side_are_whole_numbers_too(rng: Rng, profile: str) -> None:
    """A shortcut of bits round a layer in groups: its sums are concatenated before they are added."""
    x = bits((5, 5, 8))
    halves = [make("slice", x, attrs=SliceAttrs(*ends)) for ends in ((0, 4), (4, 8))]
    attrs = ConvAttrs(pads=(1, 1, 1, 1), pad_value=1)
    groups = [make("bconv2d", half, signs(rng, 4, 3, 3, 4), attrs=attrs, name="group") for half in halves]
    total = make("add", make("concat", *groups), make("unpack", x, name="image_sign"), name="add")
    check(rng, dense(rng, flatten(make("binarize", total, name="sign")), 3), profile=profile)


def test_several_inputs_and_outputs(rng: Rng) -> None:
    """Spikes that are outputs, beside sums that are."""
    left, right = bits((4, 4, 3), "left"), bits((4, 4, 5), "right")
    a = conv(rng, make("concat", left, right), 6, name="a", pads=(1, 1, 1, 1))
    b = conv(rng, a, 4, name="b", pads=(1, 1, 1, 1))
    sums = make("bconv2d", b, signs(rng, 2, 1, 1, 4), attrs=ConvAttrs(), name="sums")
    outputs = (make("unpack", a, name="spikes"), sums)
    inputs = (left.inputs[0], right.inputs[0])
    for graph in (Graph(inputs, outputs), Graph(inputs, outputs[:1])):
        for profile in ("if", "flat"):
            prove(layers_for(graph, profile), images(rng, graph))


@pytest.mark.parametrize("profile", PROFILES)
def test_membranes_keep_their_margin(small: Any, profile: str) -> None:
    """0 < v < 2, never within the margin of the threshold, and float32 gives v exactly in any order of summation."""
    graph = lower(small.graph)
    chain = layers_for(graph, profile)
    inputs = small.inputs(4)
    x = pack_spikes(chain.inputs, run(graph, inputs), 4, chain.flat)
    for layer in chain.layers:
        if layer.neurons:
            v = simulate(replace(layer, neurons=False), x)
            assert v.min() >= 0 and v.max() < 2
            margin = min(f.margin for f in layer.fields)
            assert np.abs(v - 1).min() >= margin > 0
            units = layer.weight.astype(np.float64) * 2 * max(max(f.T) for f in layer.fields)
            assert np.array_equal(units, np.rint(units))
            assert np.abs(units).reshape(len(units), -1).sum(axis=1).max() < 2**24
        x = simulate(layer, x)


# -- what is refused --------------------------------------------------------------------------------------------------


def prelu(x: Node, slopes: Array) -> Node:
    """As Keras writes it, with a slope for each pixel or channel."""
    negative = make("clamp", make("mul", x, constant(-1.0)), attrs=ClampAttrs(0.0, np.inf))
    positive = make("clamp", x, attrs=ClampAttrs(0.0, np.inf))
    return make("add", positive, make("mul", negative, constant(-slopes)), name="prelu")


def real_shortcut(rng: Rng) -> Node:
    x = bits((4, 4, 8))
    attrs = ConvAttrs(pads=(1, 1, 1, 1), slots=("mul",))
    one = make("bconv2d", x, signs(rng, 8, 3, 3, 8), constant(rng.random(8)), attrs=attrs, name="block_1")
    two = make(
        "bconv2d", make("binarize", one, name="sign_2"), signs(rng, 8, 3, 3, 8), constant(rng.random(8)),
        attrs=attrs, name="block_2",
    )  # fmt: skip
    return make("binarize", make("add", one, two, name="shortcut"), name="sign_3")


def test_a_real_shortcut_is_refused_before_anything_is_written(rng: Rng, tmp_path: Path) -> None:
    output = dense(rng, flatten(real_shortcut(rng)), 3)
    graph = Graph(tuple(n for n in Graph((), (output,)).nodes() if n.op == "input"), (output,))
    with pytest.raises(UnsupportedOpError, match="layer 'sign_3'.*shortcut of real numbers.*'shortcut'"):
        emit(graph, tmp_path / "net.nir")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (lambda x, rng: make("avg_pool", x, attrs=PoolAttrs((2, 2), (2, 2)), name="pool"), "average pooling"),
        (lambda x, rng: make("mul", x, make("softmax", x, name="gate"), name="gated"), r"are multiplied \(a gate\)"),
        (
            lambda x, rng: make("conv2d", x, constant(rng.normal(size=(4, 1, 1, 4))), attrs=ConvAttrs(), name="float"),
            "a layer of floats",
        ),
        (lambda x, rng: prelu(x, rng.random((4, 4, 4)) - 0.5), r"has a constant for every pixel.*shared_axes=\[1, 2\]"),
        (lambda x, rng: make("sub", prelu(x, np.full(4, -0.5)), constant(0.6)), "falls as well as rises"),
        (lambda x, rng: make("mul", x, constant(rng.normal(size=(4, 4, 4)))), "has a constant for every pixel"),
    ],
)
def test_real_numbers_between_bits_are_refused(rng: Rng, between: Callable[[Node, Rng], Node], reason: str) -> None:
    sums = make("bconv2d", bits((4, 4, 3)), signs(rng, 4, 1, 1, 3), attrs=ConvAttrs(), name="conv")
    spikes = make("binarize", between(sums, rng), name="sign")
    with pytest.raises(UnsupportedOpError, match=reason):
        spike_network(Graph((), (dense(rng, flatten(spikes), 2),)))


def test_numbers_of_many_bits_are_refused(rng: Rng) -> None:
    levels = make("binarize_levels", input_node("x", (40,)), constant(np.arange(16.0)), name="five_bits")
    sums = make("bconv2d", levels, signs(rng, 4, 1, 1, 40), attrs=ConvAttrs(planes=5), name="dense")
    with pytest.raises(UnsupportedOpError, match=r"layer 'five_bits': its activations of 17 levels"):
        spike_network(Graph((), (sums,)))


def test_a_step_up_and_down_is_refused(rng: Rng) -> None:
    sums = make("bconv2d", bits((4, 4, 3)), signs(rng, 4, 1, 1, 3), attrs=ConvAttrs(), name="conv")
    twice = make("mul", sums, sums, name="square")
    spikes = make("binarize", make("sub", twice, constant(np.full(4, 4.0)), name="shift"), name="sign")
    with pytest.raises(UnsupportedOpError, match="layer 'sign'"):
        spike_network(Graph((), (dense(rng, flatten(spikes), 2),)))


def test_other_refusals(rng: Rng, small: Any) -> None:
    with pytest.raises(InputError, match=r"profile: found 'spike', expected one of if, lif, flat, cuba"):
        layers_for(lower(small.graph), "spike")
    x = input_node("image", (4, 4, 3))
    with pytest.raises(CompileError, match="nothing to emit"):
        layers_for(Graph((x,), (make("unpack", make("binarize", x)),)), "if")
    large = make("max_pool", bits((64, 64, 32)), attrs=PoolAttrs((2, 2), (2, 2)), name="pool")
    with pytest.raises(UnsupportedOpError, match="layer 'pool': as a matrix .* profile 'if' or 'lif'"):
        check(rng, dense(rng, flatten(large), 2), profile="flat")
    with pytest.raises(UnsupportedOpError, match="layer 'conv': no square kernel"):
        check(rng, dense(rng, flatten(conv(rng, bits((6, 6, 2)), 2, (2, 3))), 2))


def test_importing_bnn_imports_neither_torch_nor_nir() -> None:
    modules = "('torch', 'nir', 'h5py', 'tensorflow')"
    code = f"import sys, bnn.verification.nir; print([m for m in {modules} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
