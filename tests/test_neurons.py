"""One neuron a threshold: the form gives the same outputs and the same bits, and leaves what is not exact alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import levels
from bnn import interpret, ops
from bnn.ir import DType, Graph, Node
from bnn.neurons import neuron_form
from bnn.passes import lower

Array = np.ndarray[Any, Any]
Rng = np.random.Generator


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


@pytest.mark.parametrize("quantizer", levels.QUANTIZERS)
@pytest.mark.parametrize("kernel", levels.KERNELS)
def test_every_level_becomes_a_neuron(rng: Rng, quantizer: str, kernel: str) -> None:
    """Pooling before and after batch norm, falling channels, zero and other padding, ternary weights."""
    for _ in range(5):
        graph = levels.network(rng, quantizer, kernel)
        inputs = levels.images(rng, graph, 4)
        for until in (None, "cse"):
            lowered = lower(graph, until=until)
            form = check(lowered, inputs)
            if until is None:
                assert not real_bits(form), "a bit is left that is no neuron"


def test_levels_side_by_side_are_one_layer(rng: Rng) -> None:
    """Two bits an activation: three times the filters, in the order of the planes."""
    form = neuron_form(lower(levels.network(rng, "dorefa2", "signs")))
    assert form.changed and set(form.copies.values()) == {3}
    for node, copies in form.copies.items():
        if node.op == "bconv2d":
            weight = node.inputs[1].value
            plain = np.abs(weight.reshape(copies, -1)).sum(axis=1)
            assert len(weight) % copies == 0 and np.all(plain == plain[0])
    assert set(form.copies) <= set(form.graph.nodes())


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


def side_by_side(rng: Rng, x: Node) -> Node:
    return ops.make("concat", x, x)


@pytest.mark.parametrize("between", [twice, two_layers, round_the_pool, not_finite, pooled_valley, side_by_side])
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
