# SPDX-License-Identifier: Apache-2.0
"""Levels that are made as bytes: the same ones, of floats next to every threshold, too."""

from __future__ import annotations

import numpy as np
import pytest

from bnn._types import Array
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.ops import DequantizeAttrs, QuantizeAttrs, constant, input_node, make
from bnn.passes.byte_levels import byte_levels

Rng = np.random.Generator


def read_as_bytes(x: Node, thresholds: Array, table: Array, readers: str, scale: float = 1.0) -> Graph:
    """``readers``: of the levels, bytes and perhaps floats; or of the bits, too."""
    bits = make("binarize_levels", x, constant(thresholds))
    levels = make("dequantize", bits, constant(table), attrs=DequantizeAttrs(x.type.shape[-1]), origin="levels")
    byte = make("quantize", levels, attrs=QuantizeAttrs(scale))
    others = {"bytes": [], "floats": [make("tanh", levels)], "bits": [make("unpack", bits)]}[readers]
    return Graph((x,), (make("cast", byte), *others))


def next_to(thresholds: Array) -> Array:
    values = np.float32(thresholds)
    ends = [np.nextafter(values, np.float32(end)) for end in (-np.inf, np.inf)]
    return np.concatenate([values, *ends, np.float32([-np.inf, -1e9, -0.0, 0.0, 1e9, np.inf])])


@pytest.mark.parametrize("readers", ["bytes", "floats"])
@pytest.mark.parametrize("steps", [2, 15, 254, 255])
def test_the_same_numbers(readers: str, steps: int, rng: Rng) -> None:
    scale = np.float32(rng.uniform(0.01, 3))
    ulps = np.spacing(np.float32(steps * scale)) * rng.integers(-2, 3, steps)  # as arithmetic that rounds has them
    thresholds = np.float32((np.arange(steps) + rng.uniform(-3, 1)) * scale + ulps)
    table = np.float32(np.arange(steps + 1) * 0.125)
    images = next_to(thresholds)[:, None]
    graph = read_as_bytes(input_node("x", (1,)), thresholds, table, readers, 8.0)
    changed = byte_levels(graph)
    assert {n.op for n in changed.nodes()}.isdisjoint({"binarize_levels", "dequantize"})
    assert [len(n.inputs) for n in changed.nodes() if n.op == "quantize"] == [2]
    for a, b in zip(interpret.outputs(graph, [images]), interpret.outputs(changed, [images]), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("thresholds", "table", "readers"),
    [
        ([0, 1, 2], [0, 1, 2, 3], "bits"),
        ([0, 1, 4], [0, 1, 2, 3], "bytes"),  # not evenly spaced
        ([1, 1, 1], [0, 1, 2, 3], "bytes"),
        ([0, 1, 2], [0, 1, 3, 4], "bytes"),  # other bytes than the levels' numbers
        ([0, 1, 2], [1, 2, 3, 4], "floats"),
    ],
)
def test_what_stays(thresholds: list[int], table: list[int], readers: str) -> None:
    graph = read_as_bytes(input_node("x", (1,)), np.float32(thresholds), np.float32(table), readers)
    assert byte_levels(graph) is graph


def test_an_input_of_bytes_stays() -> None:
    x = input_node("x", (3,), DType.u8)
    graph = Graph((x,), (make("cast", x),))
    assert byte_levels(graph) is graph
