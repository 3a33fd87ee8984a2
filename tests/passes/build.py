# SPDX-License-Identifier: Apache-2.0
"""Short names for building graphs by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnn.ir.graph import Graph, Node
from bnn.ir.ops import ConvAttrs, PoolAttrs, ReshapeAttrs, constant, make


def graph(*outputs: Node) -> Graph:
    """The graph of these outputs, its inputs found."""
    inputs = [n for n in Graph((), outputs).nodes() if n.op == "input"]
    return Graph(tuple(inputs), outputs, tuple(f"out_{i}" for i in range(len(outputs))))


def channel(values: Sequence[float]) -> Node:
    return constant(np.array(values, np.float32))


def quantizer(x: Node, c: float = 0.1) -> Node:
    return make("sign", make("add", make("sign", x, name="quantizer"), constant(c), name="quantizer"), name="quantizer")


def bits(x: Node) -> Node:
    return make("unpack", make("binarize", x, name="quantizer"), name="quantizer")


def conv(
    x: Node,
    filters: int,
    size: int,
    *,
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    alpha: Sequence[float] | None = None,
    seed: int = 1,
) -> Node:
    """A convolution by random signs, scaled per filter."""
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (filters, size, size, x.type.shape[-1]))
    scale = np.ones(filters) if alpha is None else np.array(alpha)
    return make("conv2d", x, constant(signs * scale[:, None, None, None]), attrs=ConvAttrs(pads=pads), name="conv")


def dense(x: Node, units: int, seed: int = 1) -> Node:
    size = int(np.prod(x.type.shape))
    flat = make("reshape", x, attrs=ReshapeAttrs((size,)), name="flatten")
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], (units, 1, 1, size))
    return make("conv2d", flat, constant(signs), name="dense")


def pool(x: Node, kernel: tuple[int, int]) -> Node:
    return make("max_pool", x, attrs=PoolAttrs(kernel, kernel), name="pool")


def bn(x: Node, mean: Sequence[float], gamma: Sequence[float], beta: Sequence[float]) -> Node:
    for op, values in (("sub", mean), ("mul", gamma), ("add", beta)):
        x = make(op, x, channel(values), name="bn")
    return x
