# SPDX-License-Identifier: Apache-2.0
"""Random networks whose activations are bits, of every shape that the event engine runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnn import Model
from bnn._types import Array
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import DType, Graph, Node
from bnn.passes import PIPELINE, lower

from .moves import chain

CHANNELS = (1, 3, 8, 31, 32, 33, 64, 70)


class Network:
    """Builds a SOURCE graph with random weights; inputs are multiples of 1/16, so every sum is exact."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.count = 0

    def pick(self, choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}_{self.count}"

    def sign(self, x: Node) -> Node:
        name = self.name("sign")
        inner = ops.make("add", ops.make("sign", x, name=name), ops.constant(0.1), name=name)
        return ops.make("sign", inner, name=name)

    def norm(self, x: Node, spread: float) -> Node:
        name, channels = self.name("norm"), x.type.shape[-1]
        gamma = self.rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0, 2.0], channels, p=[0.15, 0.1, 0.05, 0.2, 0.3, 0.2])
        for op, values in (
            ("sub", np.rint(self.rng.normal(0, spread, channels))),
            ("mul", gamma),
            ("add", self.rng.choice([0.0, 0.0, -1.0, 0.5], channels)),
        ):
            x = ops.make(op, x, ops.constant(values), name=name)
        return x

    def conv(self, x: Node, filters: int, pad_one: bool = False) -> Node:
        h, w, c = x.type.shape
        name = self.name("conv")
        groups = 2 if c % 64 == 0 and filters % 2 == 0 and self.rng.random() < 0.5 else 1
        kernel = tuple(int(min(self.rng.integers(1, 4), s)) for s in (h, w))
        room = [(k - 1) * 2 < s for k, s in zip(kernel, (h, w), strict=True)]
        dilation = tuple(int(self.rng.integers(1, 3)) if fits else 1 for fits in room)
        stride = self.pick(((1, 1), (1, 1), (2, 2), (2, 1)))
        pads = tuple(int(self.rng.integers(0, 3)) for _ in range(4))
        if pad_one:
            value = self.pick((1.0, -1.0))
            x = ops.make("pad", x, attrs=ops.PadAttrs(pads, value), name=name)
            pads = (0, 0, 0, 0)
        weights = self.rng.choice([-1.0, 1.0], (filters, *kernel, c // groups))
        attrs = ops.ConvAttrs(stride=stride, dilation=dilation, pads=pads, groups=groups)
        return ops.make("conv2d", x, ops.constant(weights), attrs=attrs, name=name)

    def pointwise(self, x: Node, filters: int) -> Node:
        weights = self.rng.choice([-1.0, 1.0], (filters, 1, 1, x.type.shape[-1]))
        return ops.make("conv2d", x, ops.constant(weights), attrs=ops.ConvAttrs(), name=self.name("pointwise"))

    def dense(self, x: Node, units: int) -> Node:
        name = self.name("dense")
        weights = self.rng.choice([-1.0, 1.0], (units, 1, 1, x.type.shape[0]))
        return ops.make("conv2d", x, ops.constant(weights), attrs=ops.ConvAttrs(), name=name)

    def flatten(self, x: Node) -> Node:
        size = int(np.prod(x.type.shape))
        return ops.make("reshape", x, attrs=ops.ReshapeAttrs((size,)), name=self.name("flatten"))

    def pool(self, x: Node) -> Node:
        h, w, _ = x.type.shape
        kernel = (min(2, h), min(int(self.rng.integers(2, 4)), w))
        stride = self.pick((kernel, (1, 1), (2, 1)))
        pads = (0, 0, kernel[0] - 1, 0) if self.rng.random() < 0.3 else (0, 0, 0, 0)
        return ops.make("max_pool", x, attrs=ops.PoolAttrs(kernel, stride, pads), name=self.name("pool"))

    def build(self, binary_input: bool) -> Graph:
        h, w = (int(n) for n in self.rng.integers(3, 9, 2))
        image = ops.input_node("image", (h, w, int(self.pick((1, 2, 3)))))
        x = image
        if binary_input:
            x = self.sign(self.norm(image, 0.0) if self.rng.random() < 0.4 else image)
        if self.rng.random() < 0.15:  # a dense network
            bits = self.sign(self.norm(self.dense(self.flatten(x), int(self.pick(CHANNELS))), 2.0))
            return Graph((image,), (self.dense(self.sign(self.norm(self.dense(bits, 33), 2.0)), 7),), ("scores",))
        x = self.norm(self.conv(x, int(self.pick(CHANNELS))), 1.0)
        for _ in range(int(self.rng.integers(1, 4))):
            bits = self.sign(x)
            if self.rng.random() < 0.2:
                more = self.sign(self.norm(self.pointwise(bits, 8), 3.0))  # a skip connection of spikes
                bits = ops.make("concat", bits, more, bits, name=self.name("concat"))
            if self.rng.random() < 0.3:
                bits = chain(self.rng, bits, int(self.rng.integers(1, 4)))
            y = self.conv(bits, int(self.pick(CHANNELS)), pad_one=self.rng.random() < 0.4)
            if self.rng.random() < 0.4:
                y = self.pool(y)
            x = self.norm(y, 3.0)
        if self.rng.random() < 0.3:
            out = self.conv(self.sign(x), 5)  # a readout with pixels
        else:
            x = self.sign(self.norm(self.dense(self.flatten(self.sign(x)), int(self.pick(CHANNELS))), 3.0))
            out = ops.make("softmax", self.norm(self.dense(x, 10), 1.0), name="softmax")
        return Graph((image,), (out,), ("scores",))


def random_model(rng: np.random.Generator, binary_input: bool = False) -> Model:
    return Model.from_bytes(encode(lower(Network(rng).build(binary_input))))


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
