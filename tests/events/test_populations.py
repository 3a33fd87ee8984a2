# SPDX-License-Identifier: Apache-2.0
"""Lowered networks by themselves: from before the first step, given the encoder's bits or pixels in random parts, every
population has the bits and levels, and every sum the accumulators, that the oracle gives."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import bnn
import graphs
from bnn._types import Array, Floats
from bnn.file.read import decode
from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph, Node
from bnn.passes import lower
from bnn.runtime.handles import SNN, Contents, select_kernels
from bnn.snn.file import encode as encode_network
from bnn.snn.handle import OpenedNetwork, State
from bnn.snn.lowered import lowered
from bnn.snn.network import Population
from bnn.snn.rules import Emits
from seed import some

from . import handmade
from .spiking import random_model, wide_model

Rng = np.random.Generator
PARTS = 4
#: Images that the oracle cannot hold, a constant that it has no batch for, and no bits.
BESIDE = ("windows larger than the image", "bits of a float constant", "no bits")


def levels_of(node: Node, values: dict[Node, Array]) -> Array:
    if node.op == "binarize_levels":
        return np.asarray((values[node.inputs[0]][0][..., None] >= node.inputs[1].value).sum(axis=-1)).reshape(-1)
    return np.asarray(values[node][0] > 0).reshape(-1).astype(int)


def check(rng: Rng, data: bytes) -> None:
    graph = decode(data)
    network = lowered(graph)
    state = State(OpenedNetwork(Contents.of_bytes(encode_network(network), SNN), select_kernels(None)), 2**40)
    inputs = {i: network.populations[i] for i in network.inputs}
    now = {i: np.zeros(p.size, np.float32) for i, p in inputs.items()}
    for _ in range(2):
        images = [image_of(rng, node) for node in graph.inputs]
        values = interpret.run(graph, images)
        part = {i: rng.integers(0, PARTS, p.size) for i, p in inputs.items()}
        for k in range(PARTS):
            for i, p in inputs.items():
                want = wanted(p, graph, images, values)
                for neuron in np.flatnonzero((part[i] == k) & (now[i] != want)):
                    state.send(i, int(neuron), float(want[neuron] - now[i][neuron]))
                    now[i][neuron] = want[neuron]
            state.run([None] * len(inputs), 1)
        for i, p in enumerate(network.populations):
            if p.rule not in ("input", "sum") and p.origin:
                node = graph.schedule[p.origin - 1]
                assert np.array_equal(state.get(i, "level"), levels_of(node, values)), p.name
            elif p.rule == "sum":
                assert np.array_equal(state.get(i, "v"), sums_of(graph, network.into(i), values)), p.name


def image_of(rng: Rng, node: Node) -> Array:
    if node.type.dtype is DType.f32:
        return np.asarray(rng.integers(-16, 17, (1, *node.type.shape)) / 16, np.float32)
    return rng.integers(0, 100, (1, *node.type.shape)).astype(node.type.dtype.numpy)


def wanted(p: Population, graph: Graph, images: list[Array], values: dict[Node, Array]) -> Floats:
    if p.emits == Emits.VALUES:
        return np.asarray(images[p.origin - 1].reshape(-1), np.float32)
    return levels_of(graph.schedule[p.origin - 1], values).astype(np.float32)


def sums_of(graph: Graph, into: list[bnn.snn.network.Projection], values: dict[Node, Array]) -> Floats:
    """The accumulators of all convolutions that are one sum, and the constant that the last of them adds."""
    total: Array = np.zeros(1)
    for q in into:
        node = graph.schedule[q.origin - 1]
        plain = bnn.ir.ops.conv_attrs(node)
        attrs = bnn.ir.ops.ConvAttrs(
            plain.stride, plain.dilation, plain.pads, plain.pad_value, plain.groups, planes=plain.planes
        )
        bare = bnn.ir.ops.make("bconv2d", *node.inputs[:2], attrs=attrs)
        total = total + interpret.evaluate(bare, [values[i] for i in node.inputs[:2]])[0].reshape(-1)
        residual = [node.inputs[plain.operand("residual")]] if "residual" in plain.slots else []
        if residual and residual[0].is_constant and len(into) > 1:
            total = total + np.broadcast_to(residual[0].value, node.type.shape).reshape(-1)
    return np.asarray(total, np.float32)


@pytest.mark.parametrize("binary_input", [False, True])
def test_random_models(rng: Rng, binary_input: bool) -> None:
    for _ in range(8):
        check(rng, random_model(rng, binary_input).to_bytes())
    check(rng, wide_model(rng).to_bytes())


def levels() -> Iterator[tuple[str, str]]:
    return ((quantizer, kernel) for quantizer in graphs.QUANTIZERS for kernel in graphs.KERNELS)


@pytest.mark.drawn
@pytest.mark.parametrize(("quantizer", "kernel"), some([*levels()]))
def test_activations_of_several_levels(rng: Rng, quantizer: str, kernel: str) -> None:
    check(rng, encode(lower(graphs.levels_graph(rng, quantizer, kernel))))


def test_files_that_no_compiler_writes(rng: Rng) -> None:
    for name, graph in handmade.accepted(rng).items():
        if name not in BESIDE:
            check(rng, encode(graph))
