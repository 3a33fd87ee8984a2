# SPDX-License-Identifier: Apache-2.0
"""Networks to measure: the layers of tools/training/networks.py, untrained, for images of bytes."""

from __future__ import annotations

from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import DType, Graph, Node
from bnn.passes import lower
from bnn.runtime import Model
from conftest import Builder


def _pooled(x: Node) -> Node:
    return ops.make("max_pool", x, attrs=ops.PoolAttrs((2, 2), (2, 2)))


def _network(side: int, filters: tuple[tuple[int, bool], ...]) -> Model:
    """Convolutions of 3x3; whether a max-pool follows."""
    build = Builder(1)
    image = ops.input_node("image", (side, side, 1), DType.u8)
    h = ops.make("cast", image, name="image")
    for number, (count, pooled) in enumerate(filters, 1):
        h = build.conv(h, count, f"conv{number}")
        h = build.norm(_pooled(h) if pooled else h, f"norm{number}")
        h = build.sign(h, f"sign{number}")
    h = build.norm(build.dense(h, 10, "dense"), "norm")
    return Model.from_bytes(encode(lower(Graph((image,), (h,), ("logits",)))))


def digits() -> Model:
    return _network(8, ((32, False), (64, True), (64, True)))


def plain() -> Model:
    return _network(28, ((64, True), (64, True), (128, False), (128, True)))
