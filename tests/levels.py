# SPDX-License-Identifier: Apache-2.0
"""Random networks whose activations have several levels, as DoReFa's, ternary and Heaviside quantizers give them."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnn._types import Array
from bnn.ir import ops
from bnn.ir.graph import Graph, Node

Rng = np.random.Generator

QUANTIZERS = ("heaviside", "tern", "dorefa1", "dorefa2", "dorefa3", "dorefa4", "five")
KERNELS = ("signs", "ternary")


def quantizer(x: Node, kind: str, name: str) -> Node:
    """As Larq's and DoReFa's quantizers look in a traced model; "round 17" and "floor 17": 17 levels from 0 to 1."""

    def step(op: str, x: Node, *more: Node, **attrs: Any) -> Node:
        return ops.make(op, x, *more, name=name, **attrs)

    if kind == "heaviside":
        sign = step("sign", step("add", step("sign", x), ops.constant(0.1)))
        return step("clamp", sign, attrs=ops.ClampAttrs(0.0, 1.0))
    if kind == "tern":
        high, low = (step("sign", step("add", x, ops.constant(c))) for c in (0.5, -0.5))
        return step("sign", step("add", high, low))
    how, _, count = kind.partition(" ")
    most = float(count) - 1 if count else 4.0 if kind == "five" else float(2 ** int(kind[-1]) - 1)
    clipped = step("clamp", x, attrs=ops.ClampAttrs(0.0, 1.0))
    direction = ops.RoundAttrs(-1 if how == "floor" else 0)
    whole = step("round", step("mul", clipped, ops.constant(most)), attrs=direction)
    return step("div", whole, ops.constant(most))


def network(rng: Rng, kind: str, kernel: str) -> Graph:
    """(8, 7, 2) -> (5): a first layer, two convolutions with pooling or without, a dense layer."""
    count = 0

    def name(what: str) -> str:
        nonlocal count
        count += 1
        return f"{what}_{count}"

    def weights(*shape: int) -> Node:
        return ops.constant(rng.choice([-1.0, 1.0] if kernel == "signs" else [-1.0, 0.0, 1.0], shape))

    def norm(x: Node, spread: float) -> Node:
        """Most sums lie among the levels; some channels fall, some are constant."""
        label, c = name("norm"), x.type.shape[-1]
        scale = rng.choice([-1.0, 0.0, 0.5, 1.0], c, p=[0.25, 0.05, 0.3, 0.4]) / spread
        for op, values in (
            ("sub", np.rint(rng.normal(0, 1, c))), ("mul", scale), ("add", rng.choice([0.0, 0.25, 0.5], c)),
        ):  # fmt: skip
            x = ops.make(op, x, ops.constant(values), name=label)
        return x

    def pool(x: Node) -> Node:
        pads = (0, 0, 1, 0) if rng.random() < 0.3 else (0, 0, 0, 0)
        return ops.make("max_pool", x, attrs=ops.PoolAttrs((2, 2), (2, 2), pads), name=name("pool"))

    def block(x: Node, filters: int) -> Node:
        pads, groups = ((1, 1, 1, 1), (0, 0, 1, 1))[int(rng.integers(2))], 1
        attrs = ops.ConvAttrs(stride=(1, 1), pads=pads, groups=groups)
        y = ops.make("conv2d", x, weights(filters, 3, 3, x.type.shape[-1]), attrs=attrs, name=name("conv"))
        where = int(rng.integers(3))  # pooling before batch norm, after it, or none
        y = pool(y) if where == 0 else y
        y = norm(y, 6.0)
        return pool(y) if where == 1 else y

    image = ops.input_node("image", (8, 7, 2))
    signs = ops.constant(rng.choice([-1.0, 1.0], (6, 3, 3, 2)))
    x = ops.make("conv2d", image, signs, attrs=ops.ConvAttrs(pads=(1, 1, 1, 1)), name=name("conv"))
    x = norm(x, 1.0)
    for _ in range(2):
        label = name("quantizer")
        x = block(quantizer(x, kind, label), int(rng.integers(3, 9)))
    size = int(np.prod(x.type.shape))
    x = ops.make("reshape", quantizer(x, kind, name("quantizer")), attrs=ops.ReshapeAttrs((size,)), name="flatten")
    x = norm(ops.make("conv2d", x, weights(5, 1, 1, size), attrs=ops.ConvAttrs(), name="dense"), 1.0)
    return Graph((image,), (x,), ("scores",))


def images(rng: Rng, graph: Graph, count: int) -> list[Array]:
    return [(rng.integers(-16, 17, (count, *n.type.shape)) / 16).astype(np.float32) for n in graph.inputs]
