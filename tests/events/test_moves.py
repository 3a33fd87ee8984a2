# SPDX-License-Identifier: Apache-2.0
"""Bits that are moved: a wire may lead to one neuron, to several, or to none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bnn
import moves
from bnn.events import EventEngine
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import Graph, Node
from bnn.passes import lower

from .spiking import mismatches, random_images

Network = Callable[[np.random.Generator, str], bnn.Model]


@pytest.fixture
def network(builder: Any) -> Network:
    """Moves of a kind between binary layers, behind the encoder and behind bits of bits, or a chain of any kinds."""

    def made(rng: np.random.Generator, move: str) -> bnn.Model:
        net = builder(int(rng.integers(2**32)))

        def moved(x: Node) -> Node:
            return moves.chain(rng, x, int(rng.integers(1, 5))) if move == "chain" else moves.moved(rng, x, move)

        def layer(x: Node, filters: int, name: str, kernel: int = 3) -> Node:
            sums = net.conv(x, filters, name, kernel, stride=int(rng.integers(1, 3)) if kernel > 1 else 1)
            return net.sign(net.norm(sums, f"{name}_norm"), f"{name}_sign")

        image = ops.input_node("image", (5, 6, 2))
        encoded = layer(image, int(rng.choice([12, 32, 40])), "first")
        hidden = moved(layer(moved(encoded), int(rng.choice([4, 9, 36])), "hidden"))
        if rng.random() < 0.5:
            window = tuple(min(2, n) for n in hidden.type.shape[:2])
            hidden = ops.make("max_pool", hidden, attrs=ops.PoolAttrs(window, window), name="pool")
        beside = moved(ops.make("concat", hidden, layer(hidden, 8, "beside", kernel=1), name="join"))
        return bnn.Model.from_bytes(encode(lower(Graph((image,), (net.conv(beside, 5, "last"),)))))

    return made


@pytest.mark.parametrize("move", [*moves.KINDS, "chain"])
def test_moved_bits(rng: np.random.Generator, network: Network, move: str) -> None:
    """Frames, pixels and a reset; all layers and the output."""
    for _ in range(5):
        model = network(rng, move)
        assert any(op.op == "gather" for op in model.ops) or move in ("chain", "crop", "upsample", "strided")
        engine = EventEngine(model)
        for image in random_images(rng, model, 3):
            found = engine.step(image[None])
            assert np.array_equal(found, model(image[None])[0])
            assert mismatches(engine, image) == {}
        image = random_images(rng, model, 1)[0]
        run = engine.run_image(image, order="random", seed=int(rng.integers(2**32)))
        assert run.report.encoder == "incremental"
        assert mismatches(engine, image) == {}
        engine.reset(image[None])
        assert mismatches(engine, image) == {}


@pytest.mark.parametrize("move", [*moves.KINDS, "chain"])
def test_moved_bits_switch(rng: np.random.Generator, network: Network, move: str) -> None:
    """Layers before and behind a move run by events or by kernels, in every kernel family."""
    data = network(rng, move).to_bytes()
    for family in bnn.runtime.available_kernels():
        model = bnn.Model.from_bytes(data, kernels=family)
        frames = random_images(rng, model, 9)
        engine = EventEngine(model, switch="auto")
        assert engine.run_stream(frames).wrong == 0
        for frame in frames:
            for k, layer in enumerate(engine.layers):
                if layer.kind in ("synapses", "encoder", "readout"):
                    engine.handle.set_limit(k, int(rng.choice([0, 10**6])))
            engine.step(frame[None])
            assert mismatches(engine, frame) == {}


def test_wires_to_many_and_to_none(builder: Any) -> None:
    """A spike is counted once where it arrives and as often as it leaves; one that leads nowhere stays."""
    net = builder(0)
    image = ops.input_node("image", (2, 3, 4))
    x = net.sign(image, "sign")
    index = np.array([[[0, 0, 0, 23, 5]]])
    moved = ops.make("gather", x, ops.constant(index, bnn.ir.graph.DType.i32), name="moved")
    model = bnn.Model.from_bytes(encode(lower(Graph((image,), (net.conv(moved, 5, "last"),)))))
    engine = EventEngine(model)
    frame = np.full((1, 2, 3, 4), -1, np.float32)
    engine.reset(frame)
    frame.reshape(-1)[[0, 1, 2, 5]] = 1
    engine.step(frame)
    wire = next(layer for layer in engine.layers if layer.kind == "relay")
    assert (wire.events, wire.spikes_up, wire.spikes_down) == (4, 4, 0)
    assert engine.state(wire.tensor).tolist() == [[[1, 1, 1, -1, 1]]]
