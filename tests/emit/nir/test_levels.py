# SPDX-License-Identifier: Apache-2.0
"""Activations of several levels as spikes: several neurons, one per threshold."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import graphs
from bnn.emit.nir.proof import prove
from bnn.emit.nir.write import PROFILES, emit, layers_for
from bnn.errors import UnsupportedOpError
from bnn.ir.graph import Graph
from bnn.ir.interpret import run
from bnn.ir.ops import ConvAttrs, ReshapeAttrs, constant, input_node, make
from bnn.passes import lower
from seed import some

Rng = np.random.Generator
PAIRS = [*itertools.product(graphs.QUANTIZERS, graphs.KERNELS)]


@pytest.mark.drawn
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("quantizer", "kernel"), some(PAIRS))
def test_activations_of_several_levels(rng: Rng, quantizer: str, kernel: str, profile: str) -> None:
    """As several neurons, one per threshold: the oracle's spikes, and the outputs of the network as it was compiled."""
    graph = lower(graphs.levels_graph(rng, quantizer, kernel))
    chain = layers_for(graph, profile)
    proof = prove(chain, graphs.images(rng, graph, 3))
    neurons: Counter[str] = Counter()
    for f in (f for layer in chain.layers if layer.neurons for f in layer.fields if f.kind == "layer"):
        neurons[f.name] += f.shape[2]
    planes = {"tern": 2, "dorefa2": 3, "dorefa3": 7, "dorefa4": 15, "five": 7}.get(quantizer, 1)
    assert neurons and all(count % planes == 0 for name, count in neurons.items() if name.startswith("conv"))
    assert np.array_equal(proof["output/scores"], run(graph, [proof["input/image"]])[graph.outputs[0]])


def test_too_many_levels_are_refused(rng: Rng) -> None:
    graph = lower(graphs.levels_graph(rng, "dorefa5", "signs"))
    with pytest.raises(UnsupportedOpError, match="layer 'quantizer_.*32 levels would be 31 neurons each, at most 15"):
        layers_for(graph, "if")


def test_levels_added_as_numbers_are_refused_before_anything_is_written(rng: Rng, tmp_path: Path) -> None:
    """A shortcut of activations: its bits would depend on a number that no spike carries."""
    x = input_node("image", (4, 4, 3))
    first = make("conv2d", x, constant(rng.choice([-1.0, 1.0], (4, 1, 1, 3))), attrs=ConvAttrs(), name="conv_a")
    a = graphs.quantized(first, "dorefa2", "levels_a")
    b = make("conv2d", a, constant(rng.choice([-1.0, 1.0], (4, 1, 1, 4))), attrs=ConvAttrs(), name="conv_b")
    both = graphs.quantized(make("add", a, b, name="shortcut"), "dorefa2", "levels_b")
    flat = make("reshape", both, attrs=ReshapeAttrs((64,)), name="flatten")
    out = make("conv2d", flat, constant(rng.choice([-1.0, 1.0], (3, 1, 1, 64))), attrs=ConvAttrs(), name="dense")
    graph = lower(Graph((x,), (out,), ("scores",)))
    with pytest.raises(UnsupportedOpError, match="layer 'levels_b'.*shortcut"):
        emit(graph, tmp_path / "net.nir")
    assert not list(tmp_path.iterdir())
