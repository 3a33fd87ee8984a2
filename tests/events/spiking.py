# SPDX-License-Identifier: Apache-2.0
"""Models for the event engine, and how its state is compared with the synchronous engine's."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphs
from bnn import Model
from bnn._types import Array
from bnn.file.read import decode
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import DType, Graph, Node
from bnn.passes import PIPELINE, lower
from bnn.runtime.handles import SNN, Contents, select_kernels
from bnn.snn import file as snn_file
from bnn.snn.handle import OpenedNetwork
from bnn.snn.lowered import lowered


def random_model(rng: np.random.Generator, binary_input: bool = False) -> Model:
    return Model.from_bytes(encode(lower(graphs.spiking_graph(rng, binary_input))))


def wide_model(rng: np.random.Generator) -> Model:
    """One pixel of several hundred channels, all of which may turn at once, through layers with groups and without."""
    image = ops.input_node("image", (1, 1, 320))
    bits, groups = ops.make("binarize", image, name="sign"), int(rng.choice([1, 2, 5]))
    filters = ops.constant(rng.choice([-1, 1], (70, 1, 1, 320 // groups)), DType.b1)
    limits = ops.constant(rng.integers(-9, 10, 70), DType.i32)
    attrs = ops.ConvAttrs(groups=groups, slots=("threshold",), out=DType.b1)
    hidden = ops.make("bconv2d", bits, filters, limits, attrs=attrs, name="hidden")
    more = ops.make("concat", bits, hidden, ops.make("concat", bits, bits), name="join")
    readout = ops.constant(rng.choice([-1, 1], (5, 1, 1, more.type.shape[2])), DType.b1)
    return Model.from_bytes(encode(planned(image, ops.make("bconv2d", more, readout, attrs=ops.ConvAttrs()))))


def populations(data: bytes) -> bytes:
    """The .snn file of a .bnn file; UnsupportedOpError where there is none."""
    return snn_file.encode(lowered(decode(data)))


def opened_populations(data: bytes) -> OpenedNetwork:
    """The same, opened."""
    return OpenedNetwork(Contents.of_bytes(populations(data), SNN), select_kernels(None))


def planned(image: Node, *outputs: Node) -> Graph:
    """The RUNTIME graph of a BINARY one."""
    graph = Graph((image,), outputs)
    for function, _ in PIPELINE[-3:]:
        graph = function(graph)
    return graph


def random_images(rng: np.random.Generator, model: Model, count: int) -> Array:
    return (rng.integers(-16, 17, (count, *model.input_shapes[0])) / 16).astype(np.float32)


def mismatches(engine: Any, *images: Array) -> dict[str, int]:
    """Tensors whose state differs from the synchronous engine's on an image (one array an input), and how often."""
    model = engine.network
    stepper = model.stepper(1)
    spiking = {layer.tensor for layer in engine.layers}
    names = {t.name: t.index for t in model.tensors if t.storage == "input"}
    for name, x in zip(model.input_names, images, strict=True):
        stepper.poke(names[name], x[None])
    wrong, seen = {}, set()
    for op in model.ops:
        want = stepper.step(op.index, 1)[0]
        if op.output in spiking:
            seen.add(op.output)
            found = engine.state(op.output)
            if not np.array_equal(found, want):
                wrong[f"{op.index} {op.op} {op.layer}"] = int(np.count_nonzero(found != want))
    assert seen == spiking
    return wrong
