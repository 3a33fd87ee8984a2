# SPDX-License-Identifier: Apache-2.0
"""One neuron a threshold: the form gives the same outputs and the same bits, and leaves what is not exact alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphs
from bnn._types import Array
from bnn.ir import interpret, ops
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.neurons import neuron_form
from bnn.passes import lower
from seed import some

Rng = np.random.Generator
PAIRS = [*itertools.product(graphs.QUANTIZERS, graphs.KERNELS)]


def real_bits(graph: Graph) -> list[Node]:
    """Bits made of numbers that depend on other bits."""
    after: set[Node] = set()
    found = []
    for node in graph.nodes():
        behind = any(i in after for i in node.inputs)
        if node.op == "binarize" and behind:
            found.append(node)
        if behind or node.type.dtype is DType.b1 and not node.is_constant:
            after.add(node)
    return found


def check(graph: Graph, inputs: list[Array]) -> Graph:
    """The form computes what the graph does, output by output and bit by bit."""
    form = neuron_form(graph)
    before, after = interpret.run(graph, inputs), interpret.run(form.graph, inputs)
    for old, new in zip(graph.outputs, form.graph.outputs, strict=True):
        assert np.array_equal(before[old], after[new], equal_nan=True)
    for new, old in form.same.items():
        assert np.array_equal(before[old], after[new]), new
    return form.graph


@pytest.mark.drawn
@pytest.mark.parametrize(("quantizer", "kernel"), some(PAIRS))
def test_every_level_becomes_a_neuron(rng: Rng, quantizer: str, kernel: str) -> None:
    """Pooling before and after batch norm, falling channels, zero and other padding, ternary weights."""
    for _ in range(5):
        graph = graphs.levels_graph(rng, quantizer, kernel)
        inputs = graphs.images(rng, graph, 4)
        for until in (None, "cse"):
            lowered = lower(graph, until=until)
            form = check(lowered, inputs)
            if until is None:
                assert not real_bits(form), "a bit is left that is no neuron"


def test_levels_side_by_side_are_one_layer(rng: Rng) -> None:
    """Two bits an activation: three times the filters, in the order of the planes."""
    form = neuron_form(lower(graphs.levels_graph(rng, "dorefa2", "signs")))
    flattened = {n.inputs[0] for n in form.graph.nodes() if n.op == "reshape"}  # planes follow each other there
    assert form.changed and {c for n, c in form.copies.items() if n not in flattened} == {3}
    for node, copies in form.copies.items():
        if node.op == "bconv2d":
            weight = node.inputs[1].value
            plain = np.abs(weight.reshape(copies, -1)).sum(axis=1)
            assert len(weight) % copies == 0 and np.all(plain == plain[0])
    assert set(form.copies) <= set(form.graph.nodes())


def grouped(rng: Rng, kind: str, kernel: str, channels: int, groups: int) -> Graph:
    """(5, 4, 2) -> (3): two layers in groups, pooled or not; a last one that reads them all."""

    def weights(*shape: int) -> Node:
        return ops.constant(rng.choice([-1.0, 1.0] if kernel == "signs" else [-1.0, 0.0, 1.0], shape))

    image = ops.input_node("image", (5, 4, 2))
    x = ops.make("conv2d", image, ops.constant(rng.choice([-1.0, 1.0], (channels, 1, 1, 2))), name="first")
    for name in ("a", "b"):
        x = graphs.quantized(x, kind, f"levels_{name}")
        attrs = ops.ConvAttrs(pads=(1, 1, 1, 1), groups=groups)
        x = ops.make("conv2d", x, weights(channels, 3, 3, channels // groups), attrs=attrs, name=f"conv_{name}")
        if rng.random() < 0.5:
            x = ops.make("max_pool", x, attrs=ops.PoolAttrs((2, 2), (1, 1)), name=f"pool_{name}")
        gamma = rng.choice([-0.2, 0.0, 0.1, 0.2], channels)
        for op, values in (("sub", rng.integers(-3, 4, channels)), ("mul", gamma), ("add", np.full(channels, 0.5))):
            x = ops.make(op, x, ops.constant(values), name=f"norm_{name}")
    x = graphs.quantized(x, kind, "levels_c")
    return Graph((image,), (ops.make("conv2d", x, weights(3, 1, 1, channels), name="last"),))


@pytest.mark.parametrize(("channels", "groups"), [(6, 2), (12, 4), (64, 2)])
@pytest.mark.drawn
@pytest.mark.parametrize(("quantizer", "kernel"), some(PAIRS))
def test_layers_in_groups(rng: Rng, quantizer: str, kernel: str, channels: int, groups: int) -> None:
    """Groups that are whole words, and those that are convolutions of their own, side by side."""
    for _ in range(2):
        graph = grouped(rng, quantizer, kernel, channels, groups)
        form = check(lower(graph), graphs.images(rng, graph, 3))
        assert not real_bits(form), "a bit is left that is no neuron"
        sums = [n for n in form.nodes() if n.op == "concat" and n.type.dtype is not DType.b1]
        assert not sums, "sums are concatenated"


def test_a_network_of_bits_is_left_alone(small: Any) -> None:
    graph = lower(small.graph)
    form = neuron_form(graph)
    assert form.graph is graph and form.original is graph and not form.changed


def conv(rng: Rng, x: Node, filters: int = 4) -> Node:
    signs = ops.constant(rng.choice([-1, 1], (filters, 1, 1, x.type.shape[-1])), DType.b1)
    return ops.make("bconv2d", x, signs, attrs=ops.ConvAttrs(), name="conv")


def twice(rng: Rng, x: Node) -> Node:
    """Set for small sums and for large ones."""
    return ops.make("sub", ops.make("mul", x, x), ops.constant(np.full(4, 4.0)))


def two_layers(rng: Rng, x: Node) -> Node:
    """Sums of other bits."""
    image = x.inputs[0].inputs[0]
    return ops.make("add", x, conv(rng, ops.make("binarize", ops.make("sub", image, ops.constant(0.5)))))


def round_the_pool(rng: Rng, x: Node) -> Node:
    return ops.make("add", x, ops.make("max_pool", x, attrs=ops.PoolAttrs((3, 3), (1, 1), (1, 1, 1, 1))))


def not_finite(rng: Rng, x: Node) -> Node:
    return ops.make("mul", x, ops.constant(np.full(4, np.inf)))


def by_row(rng: Rng, x: Node) -> Node:
    """As many rows as channels: a number for each row is none for each channel."""
    return ops.make("mul", x, ops.constant(np.float32([-4, 4, 4, 3]).reshape(4, 1, 1)))


def by_column(rng: Rng, x: Node) -> Node:
    return ops.make("add", ops.constant(np.float32([-1, 1, 0, 1]).reshape(4, 1)), x)


def pooled_valley(rng: Rng, x: Node) -> Node:
    """A bit that changes once in the sum, but neither rises nor falls in what is pooled."""
    high = ops.make("mul", x, x)
    pooled = ops.make("max_pool", high, attrs=ops.PoolAttrs((2, 2), (2, 2)))
    return twice(rng, ops.make("sub", pooled, ops.constant(np.full(4, 3.0))))


@pytest.mark.parametrize("op", ["add", "residual"])
def test_two_sums_of_the_same_bits_are_one(rng: Rng, op: str) -> None:
    """As weights of three values are written for activations of several bits."""
    image = ops.input_node("image", (4, 4, 3))
    x = ops.make("binarize", image)
    one, weight = conv(rng, x), conv(rng, x).inputs[1]
    attrs = ops.ConvAttrs(slots=("residual", "clamp1"), clamp1=(-2.0, 3.0))
    fused = ops.make("bconv2d", x, weight, one, attrs=attrs, name="b")
    both = ops.make("add", one, conv(rng, x)) if op == "add" else fused
    bits = ops.make("binarize", both, name="bits")
    graph = Graph((image,), (ops.make("unpack", bits),))
    form = check(graph, [rng.normal(size=(3, 4, 4, 3)).astype(np.float32)])
    assert not real_bits(form)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("count", [3, 5])
def test_many_sums_of_the_same_bits_are_one(rng: Rng, count: int, fused: bool) -> None:
    """As weights of more values are written."""
    image = ops.input_node("image", (4, 4, 3))
    total = conv(rng, ops.make("binarize", image))
    x = total.inputs[0]
    for _ in range(count - 1):
        one = conv(rng, x)
        attrs = ops.ConvAttrs(slots=("residual",))
        total = ops.make("bconv2d", *one.inputs, total, attrs=attrs) if fused else ops.make("add", total, one)
    bits = ops.make("binarize", total, name="bits")
    form = check(Graph((image,), (ops.make("unpack", bits),)), [rng.normal(size=(3, 4, 4, 3)).astype(np.float32)])
    assert not real_bits(form) and [n.op for n in form.nodes()].count("bconv2d") == 1


def test_a_sum_that_has_more_in_it_is_added_whole(rng: Rng) -> None:
    """A shortcut that joined the first of two convolutions is not lost."""
    image = ops.input_node("image", (4, 4, 3))
    one = conv(rng, ops.make("binarize", image))
    shortcut = ops.make("sub", conv(rng, one.inputs[0]), ops.constant(np.full(4, 0.5)))
    first = ops.make("bconv2d", *one.inputs, shortcut, attrs=ops.ConvAttrs(slots=("residual",)), name="first")
    bits = ops.make("binarize", ops.make("add", first, conv(rng, one.inputs[0])), name="bits")
    check(Graph((image,), (ops.make("unpack", bits),)), [rng.normal(size=(9, 4, 4, 3)).astype(np.float32)])


def side_by_side(rng: Rng, x: Node) -> Node:
    return ops.make("concat", x, x)


@pytest.mark.parametrize(
    "between",
    [twice, two_layers, round_the_pool, not_finite, by_row, by_column, pooled_valley, side_by_side],
)
def test_what_is_no_threshold_stays(rng: Rng, between: Callable[[Rng, Node], Node]) -> None:
    image = ops.input_node("image", (4, 4, 3))
    sums = conv(rng, ops.make("binarize", image))
    bits = ops.make("binarize", between(rng, sums), name="bits")
    graph = Graph((image,), (ops.make("unpack", bits),))
    form = neuron_form(graph)
    assert not form.changed and form.graph is graph


def test_constants_after_flattening_are_read_by_channel(rng: Rng) -> None:
    """The same constant at every pixel is one a channel; another at one pixel is not."""
    image = ops.input_node("image", (2, 3, 5))
    sums = conv(rng, ops.make("binarize", image))
    flat = ops.make("reshape", sums, attrs=ops.ReshapeAttrs((24,)), name="flatten")
    for spoil in (0.0, 1.0):
        values = np.tile(rng.integers(-3, 4, 4), 6).astype(np.float32)
        values[7] += spoil
        bits = ops.make("binarize", ops.make("add", flat, ops.constant(values)), name="bits")
        graph = Graph((image,), (ops.make("unpack", bits),))
        check(graph, [rng.normal(size=(3, 2, 3, 5)).astype(np.float32)])
        assert neuron_form(graph).changed == (spoil == 0)


@pytest.mark.parametrize("kind", ["tern", "dorefa2"])
def test_a_pool_behind_a_reshape_pools_what_was_reshaped(rng: Rng, kind: str) -> None:
    """As Conv1D and MaxPooling1D give it: the window lies along the other axis."""

    def weights(*shape: int) -> Node:
        return ops.constant(rng.choice([-1.0, 1.0], shape))

    image = ops.input_node("image", (1, 6, 3))
    x = ops.make("conv2d", image, weights(4, 1, 1, 3), name="first")
    x = ops.make("conv2d", graphs.quantized(x, kind, "a"), weights(5, 1, 1, 4), name="second")
    x = ops.make("reshape", x, attrs=ops.ReshapeAttrs((6, 1, 5)), name="second")
    x = ops.make("max_pool", x, attrs=ops.PoolAttrs((3, 1), (1, 1), (0, 0, 0, 0)), name="pool")
    x = ops.make("mul", x, ops.constant(rng.choice([-0.5, 0.5], 5)), name="norm")
    x = ops.make("conv2d", graphs.quantized(x, kind, "b"), weights(2, 4, 1, 5), name="last")
    graph = Graph((image,), (x,), ("scores",))
    form = check(lower(graph), graphs.images(rng, graph, 4))
    assert not real_bits(form)
