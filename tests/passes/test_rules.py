# SPDX-License-Identifier: Apache-2.0
"""The special cases that the passes must get right, each by itself."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bnn.errors import CompileError, VerifierError
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph, Halo, Node, Placement, Storage, TensorType
from bnn.ir.ops import (
    ClampAttrs,
    ConvAttrs,
    PadAttrs,
    PadChannelsAttrs,
    PoolAttrs,
    ReshapeAttrs,
    SliceAttrs,
    constant,
    input_node,
    make,
)
from bnn.ir.ops.record import Level
from bnn.ir.spec import verify
from bnn.passes import PIPELINE, lower
from bnn.passes.choose_layout import choose_layout
from bnn.passes.explain import explain
from bnn.passes.plan_arena import arrange, physical_bytes, plan_arena
from bnn.passes.schedule import schedule

from .build import bits, bn, channel, conv, dense, graph, pool, quantizer
from .plans import check_plan

X = input_node("x", (4, 4, 2))
BY_NAME = {f.__name__: f for f, _ in PIPELINE}
LINE = np.array([-np.inf, -2, -1, -1e-30, -0.0, 0.0, 1e-30, 1, 2, np.inf], np.float32)


def ops(result: Graph) -> list[str]:
    return [n.op for n in (result.schedule or result.nodes())]


def lowered(*outputs: Node, until: str | None = None) -> Graph:
    return lower(graph(*outputs), until=until)


# -- quantizers ---------------------------------------------------------------------------------------------------


def step(x: Node, *chain: tuple[str, float]) -> Node:
    for op, c in chain:
        x = make(op, x) if op == "sign" else make(op, x, constant(c))
    return x


STEPS: dict[str, Callable[[Node], Node]] = {
    "larq": quantizer,
    "constant first": lambda x: make("sign", make("add", constant(0.1), make("sign", x))),
    "a wide margin": lambda x: quantizer(x, 0.999),
    "subtraction": lambda x: step(x, ("sign", 0), ("sub", -0.5), ("sign", 0)),
    "doubled": lambda x: step(x, ("sign", 0), ("mul", 2.0), ("add", 0.1), ("sign", 0)),
    "twice": lambda x: quantizer(quantizer(x)),
    "clipped": lambda x: step(make("clamp", make("sign", x), attrs=ClampAttrs(-1, 1)), ("add", 0.5), ("sign", 0)),
    "scalar of rank 3": lambda x: make("sign", make("add", make("sign", x), constant(np.full((1, 1, 1), 0.1)))),
}

LOOKALIKES: dict[str, Callable[[Node], Node]] = {
    "bare": lambda x: make("sign", x),
    "ternary above": lambda x: quantizer(x, 1.5),
    "ternary below": lambda x: quantizer(x, -0.1),
    "jump at -1": lambda x: quantizer(x, 1.0),
    "nothing added": lambda x: quantizer(x, 0.0),
    "shifted step": lambda x: step(x, ("sub", 0.5), ("sign", 0), ("add", 0.1), ("sign", 0)),
    "step shifted down": lambda x: step(x, ("add", 0.5), ("sign", 0), ("add", 0.1), ("sign", 0)),
    "falling": lambda x: step(x, ("mul", -1.0), ("sign", 0), ("add", 0.1), ("sign", 0)),
    "scaled by zero": lambda x: step(x, ("mul", 0.0), ("sign", 0), ("add", 0.1), ("sign", 0)),
    "from a constant": lambda x: make("sign", make("sub", constant(0.1), make("sign", x))),
    "per channel": lambda x: make("sign", make("add", make("sign", x), channel([0.1, 1.5]))),
    "after relu": lambda x: make("sign", make("clamp", x)),
    "heaviside": lambda x: make("sign", make("maximum", make("sign", x), constant(0.0))),
    "a gap, by a difference": lambda x: gap(x, lambda a, b: make("sub", a, b)),
    "a gap, by a negative factor": lambda x: gap(x, lambda a, b: make("add", a, make("mul", b, constant(-1.0)))),
    "a gap, by a negative factor that comes first": lambda x: gap(
        x, lambda a, b: make("add", a, make("mul", make("sign", constant(np.full((1, 1, 1), -2.0))), b))
    ),
}


def gap(x: Node, minus: Callable[[Node, Node], Node]) -> Node:
    """The step, but for a few floats around 2, where it falls back."""
    around = minus(make("sign", make("sub", x, constant(1.9))), make("sign", make("sub", x, constant(2.1))))
    return make("sign", make("add", minus(make("sign", x), around), constant(0.1)))


@pytest.mark.parametrize("name", STEPS)
def test_steps_are_recognized(name: str) -> None:
    x = input_node("x", (1, len(LINE), 2))
    result = lowered(STEPS[name](x), until="binarize")
    assert ops(result) == ["input", "binarize", "unpack"]
    array = np.repeat(LINE[None, None, :, None], 2, axis=3)
    (found,) = interpret.outputs(result, [array])
    assert np.array_equal(found, np.where(array >= 0, 1, -1)), "sign(0) = sign(-0) = +1"


@pytest.mark.parametrize("name", LOOKALIKES)
def test_lookalikes_are_not(name: str) -> None:
    result = lowered(LOOKALIKES[name](X), until="recognize_quantizers")
    nodes = result.nodes()
    assert all(n.inputs[0].op != "input" for n in nodes if n.op == "binarize" and len(n.inputs) == 1)
    array = np.resize(LINE[1:-1], (3, 4, 4, 2))
    before = interpret.outputs(graph(LOOKALIKES[name](X)), [array])[0]
    assert np.array_equal(before, interpret.outputs(result, [array])[0])


def test_signs_that_are_only_added_stay_floats() -> None:
    """As planes they would be put together again at once; their sum's sign is what has levels."""
    other = make("mul", X, channel([2.0, -1.0]))
    total = make("add", make("sign", X), make("sign", other))
    result = lowered(make("sign", total), until="recognize_quantizers")
    assert ops(result).count("sign") == 2 and ops(result)[-1] == "dequantize"
    array = np.resize(LINE[1:-1], (3, 4, 4, 2))
    before = interpret.outputs(graph(make("sign", total)), [array])[0]
    assert np.array_equal(before, interpret.outputs(result, [array])[0])


def test_bits_are_not_quantized_again() -> None:
    result = lowered(quantizer(pool(quantizer(X), (2, 2))))
    assert ops(result) == ["binarize", "max_pool", "unpack"]


# -- weights ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("values", [[1, -2.1, 1], [0, 1, 3.5], [np.inf, np.inf, -np.inf], [np.nan, 1, 1]])
def test_other_weights_stay_float_with_the_reason(values: list[float]) -> None:
    x = bits(input_node("x", (3,)))
    result = binarized(make("conv2d", x, constant(np.reshape(values, (1, 1, 1, 3))), name="layer"))
    (node,) = [n for n in result.nodes() if n.op == "conv2d"]
    assert re.fullmatch(r"its weights are .*: not evenly spaced around 0", node.note)


def binarized(*outputs: Node) -> Graph:
    return explain(BY_NAME["binarize"](graph(*outputs)))


def test_reasons() -> None:
    def note(y: Node) -> str:
        (node,) = [n for n in binarized(y).nodes() if n.op == "conv2d"]
        return node.note

    assert note(conv(X, 2, 3)) == "its input is float (no input quantizer)"
    assert note(conv(X, 2, 3, alpha=[1, 2])) == "its input is float (no input quantizer)"
    w = constant(np.reshape([0, 1, 2, 3.3], (2, 1, 1, 2)))
    assert note(make("conv2d", X, w)) == "its input is float (no input quantizer), its weights too"
    half = make("pad", bits(X), attrs=PadAttrs((1, 1, 1, 1), 0.5))
    assert note(conv(half, 2, 3)) == "its bits are padded with 0.5"
    depthwise = make("conv2d", bits(X), constant(np.ones((2, 1, 1, 1))), attrs=ConvAttrs(groups=2))
    assert note(depthwise) == "it is depthwise: one product a tap"


def test_a_filter_of_zeros() -> None:
    source = graph(conv(bits(X), 2, 3, alpha=[0.0, 2.0]))
    result = binarized(*source.outputs)
    array = np.resize(LINE, (2, 4, 4, 2))
    assert "bconv2d" in ops(result)
    assert np.array_equal(interpret.outputs(source, [array])[0], interpret.outputs(result, [array])[0])


@pytest.mark.parametrize("value", [1.0, -1.0])
def test_padding_with_bits_is_folded(value: float) -> None:
    padded = make("pad", quantizer(X), attrs=PadAttrs((1, 0, 2, 1), value), name="pad")
    result = lowered(conv(padded, 3, 2))
    assert ops(result) == ["binarize", "bconv2d"]
    attrs = result.schedule[1].attrs
    assert isinstance(attrs, ConvAttrs) and attrs.pads == (1, 0, 2, 1) and attrs.pad_value == value
    assert "pad" in ops(lowered(conv(padded, 3, 2, pads=(0, 1, 0, 0)))), "zeros around ones are not one padding"


# -- pools, users, layout -----------------------------------------------------------------------------------------


def test_pools_of_falling_channels_are_anded() -> None:
    y = pool(conv(quantizer(X), 3, 1), (2, 2))
    y = bn(bn(y, [0, 0, 0], [-1, -1, 1], [0, 0, 0]), [0, 0, 0], [1, -1, 0], [0, 0, -1])
    source = graph(quantizer(y))
    result = lower(source)
    (pooled,) = [n for n in result.schedule if n.op == "max_pool"]
    assert pooled.type == TensorType((2, 2, 3), DType.b1)
    assert pooled.inputs[1].value.tolist() == [1, -1, -1], "two negative gammas make a rising channel"
    array = np.random.default_rng(5).normal(size=(16, 4, 4, 2)).astype(np.float32)
    assert np.array_equal(interpret.outputs(source, [array])[0], interpret.outputs(result, [array])[0])


def test_pools_of_channels_with_flips_are_anded(rng: np.random.Generator) -> None:
    """In each combination with a falling batch norm: falling twice is rising."""
    flips = constant([1, -1, 1, -1], DType.b1)
    pooled = bn(pool(conv(X, 4, 1), (2, 2)), [0, 1, 0, 0], [1, 1, -1, -1], [0, 0, 0, 0])
    quantized = make("binarize", pooled, channel([0.5, 1, -2, -0.5]), flips)
    source = graph(make("unpack", quantized))
    result = BY_NAME["sink_sign"](source)
    assert next(n for n in result.nodes() if n.op == "max_pool").type.dtype is DType.b1
    array = rng.integers(-2, 3, (9, 4, 4, 2)).astype(np.float32)
    assert np.array_equal(interpret.outputs(source, [array])[0], interpret.outputs(result, [array])[0])


def test_pools_of_values_with_another_user_stay() -> None:
    pooled = pool(conv(X, 3, 1), (2, 2))
    assert [n.type.dtype for n in lowered(quantizer(pooled), pooled).schedule if n.op == "max_pool"] == [DType.f32]
    moved = make("add", pooled, channel([1, 2, 3]))
    assert [n.type.dtype for n in lowered(quantizer(moved), moved).schedule if n.op == "max_pool"] == [DType.f32]


def test_values_with_two_users_are_not_fused() -> None:
    y = conv(X, 2, 1)
    result = lowered(make("add", y, channel([1, 2])), make("clamp", y))
    assert ops(result) == ["conv2d", "add", "clamp"] and result.schedule[0].attrs.slots == ()  # type: ignore[attr-defined]
    assert "add" in ops(lowered(make("add", y, y)))
    as_output = lowered(make("add", y, channel([1, 2])), y)
    assert "add" in ops(as_output)
    assert ops(lowered(quantizer(y), y)).count("binarize") == 1


def test_residual_of_two_convolutions() -> None:
    result = lowered(make("add", conv(X, 2, 1), conv(X, 2, 1, seed=2), name="sum"))
    assert ops(result) == ["conv2d", "conv2d"]
    assert "residual" in result.schedule[1].attrs.slots  # type: ignore[attr-defined]


def test_broadcast_residuals_stay() -> None:
    gate = make("conv2d", input_node("g", (1, 1, 2)), constant(np.ones((2, 1, 1, 2))))
    assert ops(lowered(make("add", conv(X, 2, 1), gate))).count("add") == 1
    for shape in ((4, 4, 2), (4, 4, 1)):
        values = constant(np.arange(math.prod(shape)).reshape(shape))
        assert ops(lowered(make("add", conv(X, 2, 1), values))) == ["conv2d", "add"], shape


def test_parallel_quantizers_become_one() -> None:
    y = bn(conv(X, 2, 1), [0, 0], [1, 1], [0, 0])
    result = lowered(conv(quantizer(y), 3, 1), conv(quantizer(y), 3, 3))
    assert ops(result) == ["conv2d", "bconv2d", "bconv2d"]


def test_equal_inputs_stay_apart() -> None:
    a, b = input_node("same", (3,)), input_node("same", (3,))
    first, second = make("sigmoid", a), make("sigmoid", b, origin="second:0")
    result = lower(Graph((a, b), (first, second), ("first", "second")))
    assert [n.origin for n in result.outputs] == ["", "second:0"]
    assert [n.inputs[0] for n in result.outputs] == list(result.inputs)


def test_names_survive() -> None:
    y = make("add", channel([1, 2]), conv(X, 2, 1), name="layer", origin="o:0", tap="layer/add")
    flat = make("reshape", y, attrs=ReshapeAttrs((32,)), name="flat")
    last = make("conv2d", flat, constant(np.ones((1, 1, 1, 32))), name="dense", origin="d:0", tap="dense/MatMul")
    result = lowered(make("softmax", last, name="softmax"))
    assert [(n.name, n.origin, n.tap) for n in result.schedule if n.op == "conv2d"] == [
        ("conv", "o:0", "layer/add"),
        ("dense", "d:0", "dense/MatMul"),
    ]


def test_halo_is_the_largest_padding_of_all_readers() -> None:
    y = quantizer(X)
    result = lowered(conv(y, 2, 3, pads=(1, 0, 2, 0)), conv(y, 2, 3, pads=(0, 2, 1, 1), seed=2))
    check_plan(result)
    halo = result.placements[result.schedule[0]].halo
    assert (halo.top, halo.left, halo.bottom, halo.right) == (1, 2, 2, 1)


@pytest.mark.parametrize("pads", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)])
def test_a_rim_on_any_side_is_a_copys(pads: tuple[int, int, int, int]) -> None:
    """Inputs and outputs lie in the caller's memory, which has none."""
    y = conv(X, 2, 1, pads=pads)
    result = lowered(y, conv(y, 2, 1, pads=pads, seed=2))
    check_plan(result)
    assert ops(result) == ["copy", "conv2d", "copy", "conv2d"]


def test_outputs_are_dense_floats_of_their_own() -> None:
    y = quantizer(X)
    z = conv(y, 2, 3, pads=(1, 1, 1, 1))
    result = lowered(y, y, z, z, X)
    check_plan(result)
    assert len(set(result.outputs)) == 5
    assert {n.type.dtype for n in result.outputs} == {DType.f32}


def test_what_the_runtime_cannot_hold_is_the_users_error() -> None:
    four = make("reshape", X, attrs=ReshapeAttrs((2, 2, 4, 2)), name="four")
    with pytest.raises(CompileError, match=r"layer 'four'.*one to three dimensions"):
        lowered(four)
    with pytest.raises(CompileError, match=r"layer 'none' \(input\) gives f32\[\]: the runtime supports one to three"):
        lowered(make("sigmoid", input_node("none", ())))
    with pytest.raises(CompileError, match=r"output 'out_1' does not depend on the input"):
        lowered(make("sigmoid", X), constant([1.0]))
    huge = make("pad", X, attrs=PadAttrs((20000, 20000, 20000, 20000)), name="huge")
    with pytest.raises(CompileError, match=r"layer 'huge' needs \d+ bytes for one image"):
        lowered(make("sigmoid", huge))
    with pytest.raises(CompileError, match="no pass is called 'dce'; expected one of import, canonicalize"):
        lower(graph(X), "dce")


@pytest.mark.parametrize("storage", [Storage.INPUT, Storage.ARENA])
def test_two_gigabytes_are_too_many(storage: Storage) -> None:
    size = 2**29 - 16  # floats: a cache line less
    assert physical_bytes(input_node("x", (size,)), Placement(storage)) == 2**31 - 64
    with pytest.raises(CompileError, match="layer 'x' needs 2147483648 bytes for one image; at most"):
        physical_bytes(input_node("x", (size + 16,)), Placement(storage))


def test_dense_layers_in_groups_stay_dense() -> None:
    flat = make("reshape", X, attrs=ReshapeAttrs((32,)))
    y = make("conv2d", flat, constant(np.arange(32.0).reshape(2, 1, 1, 16)), attrs=ConvAttrs(groups=2))
    array = np.random.default_rng(1).integers(-4, 5, (3, 4, 4, 2)).astype(np.float32)
    assert np.array_equal(interpret.outputs(graph(y), [array])[0], interpret.outputs(lowered(y), [array])[0])


def test_long_chains_need_little_memory() -> None:
    """A chain needs its two largest neighbours, not the sum."""
    y: Node = input_node("x", (16, 16, 8))
    for _ in range(30):
        y = make("max_pool", make("sigmoid", y), attrs=PoolAttrs((3, 3), (1, 1), (1, 1, 1, 1)))
    result = lowered(make("sigmoid", y))
    assert result.arena_bytes == 2 * 4 * 16 * 16 * 8


def test_deep_graphs_need_no_recursion() -> None:
    y: Node = input_node("x", (2,))
    for i in range(1400):  # Python's limit is 1,000
        y = make("add", y, channel([i, 1]))
    assert len(lowered(y).schedule) == 700  # two an affine op


def test_dense_over_bits_reads_packed_pixels() -> None:
    result = lowered(dense(quantizer(input_node("x", (4, 4, 32))), 5))
    assert ops(result) == ["binarize", "bconv2d", "reshape"]
    assert result.schedule[1].inputs[1].type.shape == (5, 4, 4, 32)


@pytest.mark.parametrize(
    ("steps", "slots", "own"),
    [
        # Bias and scale of the layer itself, then batch norm's; the layer's own end where another's begin.
        ("conv.mul conv.add conv.clamp", "pre_mul pre_add clamp0", 3),
        ("conv.add conv.mul", "pre_add mul", 2),
        ("bn.add conv.mul", "pre_add mul", 0),
        ("conv.add bn.sub conv.mul", "pre_add sub mul", 1),
        ("bn.sub bn.sub", "sub add", 0),  # x - c is x + (-c)
        ("bn.mul bn.sub bn.sub bn.sub", "pre_mul sub add", 0),  # and then there is no other
        ("bn.add bn.add bn.add", "pre_add add", 0),
        ("bn.mul bn.mul bn.mul", "pre_mul mul", 0),
        ("bn.clamp bn.clamp bn.clamp", "clamp0 clamp1", 0),
        ("bn.clamp bn.mul", "clamp0 mul", 0),
        ("bn.clamp bn.clamp bn.mul", "clamp0 clamp1", 0),
    ],
)
def test_slots_take_operations_in_their_order(steps: str, slots: str, own: int, rng: np.random.Generator) -> None:
    y = conv(X, 3, 1)
    for i, (layer, op) in enumerate(step.split(".") for step in steps.split()):
        operands = () if op == "clamp" else (channel([1 + i, -2, 0.5]),)
        y = make(op, y, *operands, attrs=ClampAttrs(-3.0, 4.0 - i) if op == "clamp" else None, name=layer)
    source = graph(y)
    result = BY_NAME["fuse_epilogue"](source)
    attrs = next(n.attrs for n in result.nodes() if n.op == "conv2d")
    assert isinstance(attrs, ConvAttrs)
    assert attrs.slots == tuple(slots.split()) and attrs.layer_slots == attrs.slots[:own]
    array = rng.normal(size=(2, 4, 4, 2)).astype(np.float32)
    assert np.array_equal(interpret.outputs(source, [array])[0], interpret.outputs(result, [array])[0])


def test_pools_of_a_layer_that_something_else_reads_stay() -> None:
    """Its quantizer could not join it, and would be computed for every pixel that is pooled."""
    y = conv(X, 3, 1)
    source = graph(make("binarize", pool(y, (2, 2))), y)
    assert BY_NAME["sink_sign"](source) is source
    source = graph(make("binarize", pool(make("clamp", y), (2, 2))), y)
    assert BY_NAME["sink_sign"](source) is source
    assert BY_NAME["sink_sign"](graph(make("binarize", pool(y, (2, 2))))).outputs[0].op == "max_pool"


def test_a_gap_of_just_the_size_is_filled() -> None:
    """The last of four values finds its place between two that are still needed: where the first was."""
    x = input_node("x", (64,))
    p, q, r, s = (make("slice", x, attrs=SliceAttrs(0, size)) for size in (64, 48, 48, 16))
    outputs = make("tanh", p), make("concat", q, r, s)
    order = (p, q, outputs[0], r, s, outputs[1])
    placements = {n: Placement(Storage.OUTPUT if n in outputs else Storage.ARENA) for n in order}
    placed = plan_arena(Graph((x,), outputs, schedule=order, placements={x: Placement(Storage.INPUT), **placements}))
    assert [placed.placements[n].offset for n in (p, q, r, s)] == [0, 256, 0, 192] and placed.arena_bytes == 448


def residual_plan(*, later: bool = False, twice: bool = False, halo: bool = False) -> tuple[Graph, Node, Node]:
    """A planned graph in which a convolution adds a residual to its sums, and the two.  later: something reads the
    residual after it; twice: it is the convolution's data, too; halo: a convolution with padding reads the sum."""
    x = input_node("x", (4, 4, 3))
    residual, weights = make("tanh", x), constant(np.ones((3, 1, 1, 3), np.float32))
    data = residual if twice else x
    y = make("conv2d", data, weights, residual, attrs=ConvAttrs(slots=("residual",)))
    wide = ConvAttrs(pads=(1, 1, 1, 1) if halo else (0, 0, 0, 0))
    outputs = [make("conv2d", y, weights, attrs=wide), *([make("exp", residual)] if later else [])]
    order = [residual, y, *outputs]
    storages = {x: Storage.INPUT, weights: Storage.CONSTANT, **dict.fromkeys(order, Storage.ARENA)}
    storages |= dict.fromkeys(outputs, Storage.OUTPUT)
    places = {n: Placement(s, Halo(1, 1, 1, 1) if halo and n is y else Halo()) for n, s in storages.items()}
    return plan_arena(Graph((x,), tuple(outputs), schedule=tuple(order), placements=places)), residual, y


def test_a_sum_replaces_its_residual() -> None:
    planned, residual, y = residual_plan()
    assert planned.placements[residual] == planned.placements[y]
    assert planned.arena_bytes == planned.placements[y].bytes
    check_plan(planned)
    verify(planned, Level.RUNTIME)


@pytest.mark.parametrize("case", ["later", "twice", "halo"])
def test_a_residual_that_stays(case: str) -> None:
    """Something reads it later, the convolution reads it elsewhere, too, or the two differ in their layout."""
    planned, residual, y = residual_plan(**{case: True})
    first, second = planned.placements[residual], planned.placements[y]
    assert planned.arena_bytes == first.bytes + second.bytes
    check_plan(planned)
    verify(planned, Level.RUNTIME)
    over = {**planned.placements, y: replace(second, offset=first.offset)}
    with pytest.raises(VerifierError, match="overlap in the arena"):
        verify(replace(planned, placements=over), Level.RUNTIME)


def test_sums_in_a_row_share_one_place() -> None:
    """As in a residual network: each sum is the residual of the next."""
    x = input_node("x", (4, 4, 3))
    weights = constant(np.ones((3, 1, 1, 3), np.float32))
    order = [make("tanh", x)]
    for _ in range(3):
        order.append(make("conv2d", x, weights, order[-1], attrs=ConvAttrs(slots=("residual",))))
    out = make("exp", order[-1])
    places = {n: Placement(Storage.ARENA) for n in order} | {out: Placement(Storage.OUTPUT)}
    places |= {x: Placement(Storage.INPUT), weights: Placement(Storage.CONSTANT)}
    planned = plan_arena(Graph((x,), (out,), schedule=(*order, out), placements=places))
    assert {planned.placements[n].offset for n in order} == {0} and planned.arena_bytes == 192


def pooled(
    size: int = 32, *, kernel: int = 2, stride: int = 2, users: int = 1, filters: int = 8
) -> tuple[Graph, Node, Node]:
    """A scheduled graph of a copy, a convolution, a max-pool and tanh; the convolution and the pool."""
    x = input_node("x", (size, size, 3))
    data = make("copy", x)
    conv = make("conv2d", data, constant(np.ones((filters, 1, 1, 3), np.float32)))
    pool = make("max_pool", conv, attrs=PoolAttrs((kernel, kernel), (stride, stride)))
    outputs = (make("tanh", pool), *(make("tanh", conv) for _ in range(users - 1)))
    return schedule(choose_layout(Graph((x,), outputs))), conv, pool


def test_a_value_is_passed_if_that_saves_memory() -> None:
    graph, conv, pool = pooled()
    planned = plan_arena(graph)
    places = planned.placements
    assert places[conv] == Placement(Storage.PASSED, bytes=32 * 32 * 8 * 4)
    assert planned.arena_bytes == places[conv.inputs[0]].bytes + places[pool].bytes
    check_plan(planned)
    verify(planned, Level.RUNTIME)


@pytest.mark.parametrize(
    "case",
    [{"size": 10, "filters": 64}, {"filters": 1}, {"kernel": 3}, {"users": 2}],
    ids=["few pixels", "few bytes", "windows that share rows", "two readers"],
)
def test_a_value_that_is_not_passed(case: dict[str, int]) -> None:
    graph, conv, _ = pooled(**case)
    planned = plan_arena(graph)
    assert planned.placements[conv].storage is Storage.ARENA
    check_plan(planned)


def test_a_value_that_would_save_nothing_is_not_passed() -> None:
    """A larger one is alive elsewhere."""
    x = input_node("x", (32, 32, 3))
    wide = make("tanh", make("pad_channels", x, attrs=PadChannelsAttrs(0, 61)))
    conv = make("conv2d", wide, constant(np.ones((8, 1, 1, 64), np.float32)))
    pool = make("max_pool", conv, attrs=PoolAttrs((2, 2), (2, 2)))
    planned = plan_arena(schedule(choose_layout(Graph((x,), (make("tanh", pool),)))))
    assert planned.placements[conv].storage is Storage.ARENA


@pytest.mark.parametrize("case", [{"kernel": 3}, {"users": 2}], ids=["windows that share rows", "two readers"])
def test_what_may_not_be_passed_is_refused(case: dict[str, int]) -> None:
    graph, conv, _ = pooled(**case)
    planned, _ = arrange(graph, [conv])
    with pytest.raises(VerifierError, match="is passed, but no op after it takes its rows"):
        verify(planned, Level.RUNTIME)


def test_what_a_passed_value_is_made_of_lasts_until_the_pool_has_run() -> None:
    graph, conv, pool = pooled()
    planned = plan_arena(graph)
    over = replace(planned.placements[pool], offset=planned.placements[conv.inputs[0]].offset)
    with pytest.raises(VerifierError, match="overlap in the arena"):
        verify(replace(planned, placements={**planned.placements, pool: over}), Level.RUNTIME)


def test_arithmetic_comes_right_after_what_it_takes_up() -> None:
    """The other product, of the same value, is made before; but another value of that size not earlier than needed."""
    x = input_node("x", (4, 4, 3))
    v = make("tanh", x, name="v")
    a, b = (make("mul", v, constant([1.0, 2.0, 3.0]), name=name) for name in "ab")
    d = make("tanh", make("tanh", v, name="c"), name="d")
    for other, order in ((b, "vbay"), (d, "vacdy")):
        laid = choose_layout(Graph((x,), (make("maximum", a, other, name="y"),)))
        assert "".join(node.name for node in schedule(laid).schedule) == order
