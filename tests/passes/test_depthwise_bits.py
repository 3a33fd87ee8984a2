# SPDX-License-Identifier: Apache-2.0
"""Depthwise layers of bits, which files have as bytes, as bits again: the same bits, or unchanged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import op_graphs
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph
from bnn.ir.ops import Level, constant, conv_attrs, make
from bnn.ir.spec import verify
from bnn.passes.depthwise_bits import depthwise_bits
from bnn.passes.interleave_rows import interleave_rows

Rng = np.random.Generator


@pytest.mark.drawn
def test_the_same_bits(rng: Rng) -> None:
    for _ in range(40):
        graph = op_graphs.depthwise_bits(rng)
        (layer,) = (node for node in graph.schedule if node.op == "qconv2d")
        padded_twice = any(conv_attrs(layer).pads) and any(node.op == "pad" for node in graph.schedule)
        changed = depthwise_bits(graph)
        assert [n.op for n in changed.schedule] == ["binarize", *["pad"] * padded_twice, "bconv2d", "unpack"]
        verify(interleave_rows(changed), Level.RUNTIME)
        images = [op_graphs.values_of(rng, 2, graph.inputs[0])]
        assert np.array_equal(*(interpret.outputs(g, images)[0] for g in (graph, changed)))


def replaced(graph: Graph, number: int, index: tuple[int, ...], value: int) -> Graph:
    """The graph with another number in an operand of its layer."""
    (conv,) = (node for node in graph.schedule if node.op == "qconv2d")
    numbers = conv.inputs[number].value.copy()
    numbers[index] = value
    operands = [*conv.inputs]
    operands[number] = constant(numbers, conv.inputs[number].type.dtype)
    return op_graphs.plan(graph.inputs, [make("unpack", make("qconv2d", *operands, attrs=conv.attrs))])


def test_what_stays(rng: Rng) -> None:
    """A zero that is not that of bits, filters whose weights differ in size or are 0, and sums without thresholds."""
    graph = op_graphs.depthwise_bits(rng)
    (conv,) = (node for node in graph.schedule if node.op == "qconv2d")
    filters = conv.inputs[1].value
    others = [replaced(graph, 2, (0,), 0), replaced(graph, 1, (0,), 0)]
    if filters[0].size > 1:
        others.append(replaced(graph, 1, (0, 0, 0, 0), abs(int(filters[0, -1, -1, 0])) % 127 + 1))
    sums = make("qconv2d", *conv.inputs[:3], attrs=replace(conv.attrs, slots=("zeros",), out=DType.f32))  # type: ignore[type-var]
    for other in (*others, op_graphs.plan(graph.inputs, [sums])):
        assert depthwise_bits(other) is other


def test_bytes_that_others_read(rng: Rng) -> None:
    """They are computed beside the bits."""
    graph = op_graphs.depthwise_bits(rng)
    (bytes_of,) = (node for node in graph.schedule if node.op == "unpack_bytes")
    graph = op_graphs.plan(graph.inputs, [*graph.outputs, make("cast", bytes_of)])
    changed = depthwise_bits(graph)
    assert sorted(node.op for node in changed.schedule if node.op in ("bconv2d", "unpack_bytes", "qconv2d")) == [
        "bconv2d", "unpack_bytes",
    ]  # fmt: skip
    images = [op_graphs.values_of(rng, 2, graph.inputs[0])]
    for expected, found in zip(*(interpret.outputs(g, images) for g in (graph, changed)), strict=True):
        assert np.array_equal(expected, found)
