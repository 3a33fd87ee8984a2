# SPDX-License-Identifier: Apache-2.0
"""The .bnn file, read and run by an independent reader made from pages of docs/reference alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bnn.errors import CompileError
from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph, Storage
from bnn.ir.ops import OPS, SLOTS, ConvAttrs, constant, input_node, make
from bnn.passes import lower
from graphs import random_graph
from seed import seeds

from .reader import CONSTANT, File, documented_ops, documented_slots

SEEDS = seeds(80)


def test_document_lists_every_op_and_slot() -> None:
    assert {code: name for code, (name, _) in documented_ops().items()} == {
        op.opcode: op.name for op in OPS.values() if op.opcode is not None
    }
    assert documented_slots() == {name: bit for bit, name in enumerate(SLOTS)}


@pytest.mark.drawn
@pytest.mark.parametrize("first", SEEDS[::10])
def test_files_by_the_document(first: int) -> None:
    """Every field of the file, and what it computes, against the graph it came from."""
    for seed in range(first, min(first + 10, SEEDS.stop)):
        sample = random_graph(seed)
        graph = lower(sample.graph)
        file = File(encode(graph))
        check_fields(file, graph)
        expected = interpret.outputs(sample.graph, sample.inputs)
        for i, (found, wanted) in enumerate(zip(file.run(sample.inputs), expected, strict=True)):
            if "softmax" in [n.op for n in graph.nodes()]:
                np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7, err_msg=f"seed {seed}, output {i}")
            else:
                assert np.array_equal(found, wanted), f"seed {seed}, output {i}"


def check_fields(file: File, graph: Graph) -> None:
    assert file.arena_bytes == graph.arena_bytes
    constants = [n for n in graph.placements if n.is_constant]
    used = dict.fromkeys(i for n in graph.schedule for i in n.inputs if i.is_constant)
    nodes = [*graph.inputs, *used, *graph.schedule]
    outputs = dict(zip(graph.outputs, graph.output_names, strict=True))
    assert len(nodes) == len(file.tensors) and set(used) <= set(constants)
    for node, tensor in zip(nodes, file.tensors, strict=True):
        place = graph.placements[node]
        assert (tensor.dtype, tensor.storage) == (node.type.dtype.value, place.storage.value)
        assert tensor.shape == (node.type.shape or (1,))
        halo = place.halo
        assert tensor.halo == (halo.top, halo.left, halo.bottom, halo.right)
        assert tensor.name == (outputs.get(node) or node.tap or node.name)
        if tensor.storage == CONSTANT:
            assert tensor.value is not None  # a threshold may be nan
            assert np.array_equal(tensor.value.reshape(node.type.shape), node.value, equal_nan=True)
        else:
            assert (tensor.offset, tensor.bytes, tensor.origin) == (place.offset, place.bytes, node.origin)
    number = {node: i for i, node in enumerate(nodes)}
    for node, op in zip(graph.schedule, file.ops, strict=True):
        assert (op.name, op.layer, op.note) == (node.op, node.name, node.note)
        assert op.inputs == [number[i] for i in node.inputs] and op.output == number[node]


def test_names_of_any_script() -> None:
    x = input_node("entrée", (3,))
    y = make("sigmoid", x, name="слой", origin="層:0", tap="слой/знак")
    file = File(encode(lower(Graph((x,), (y,)))))
    assert [(t.name, t.origin) for t in file.tensors] == [("entrée", ""), ("слой/знак", "層:0")]
    assert file.ops[0].layer == "слой"


def test_outputs_have_names_of_their_own() -> None:
    x = input_node("x", (3,))
    y, z = (make(op, x, name="layer") for op in ("sigmoid", "tanh"))
    for given, expected in (((), ["layer", "layer_1", "layer_2"]), (("a", "", "layer"), ["a", "layer", "layer_1"])):
        file = File(encode(lower(Graph((x,), (y, z, y), given))))
        assert sorted(t.name for t in file.tensors if t.storage == Storage.OUTPUT.value) == expected


def test_equal_constants_share_their_data() -> None:
    x, values = input_node("x", (2, 2, 35)), np.arange(70)
    row, column = (constant(values.reshape(shape)) for shape in ((2, 35), (2, 1, 35)))
    y = make("mul", make("sub", x, row), column)
    file = File(encode(lower(Graph((x,), (y,), ("y",)))))
    first, second = (t for t in file.tensors if t.storage == CONSTANT)
    assert first.offset == second.offset


def test_the_widest_rim() -> None:
    """Sixteen bits hold it."""
    for width in (2**16 - 1, 2**16):
        attrs = ConvAttrs(pads=(0, width, 0, 0))
        y = make("conv2d", input_node("x", (1, 1, 1)), constant(np.ones((1, 1, 1, 1))), attrs=attrs, name="wide")
        graph = lower(Graph((y.inputs[0],), (y,)))
        if width < 2**16:
            assert File(encode(graph)).tensors[-2].halo == (0, width, 0, 0)
        else:
            with pytest.raises(CompileError, match="padding by 65536 pixels; at most 65535 is supported"):
                encode(graph)


def test_needs_a_plan() -> None:
    x = input_node("x", (3,))
    with pytest.raises(CompileError, match="no memory plan.*plan_arena"):
        encode(Graph((x,), (make("sigmoid", x),)))
    planned = lower(Graph((x,), (make("sigmoid", x),)))
    for half in (replace(planned, schedule=()), replace(planned, placements={})):
        with pytest.raises(CompileError, match="no memory plan.*plan_arena"):
            encode(half)


def test_small_file_byte_by_byte() -> None:
    """The header and the one op of the smallest model, as numbers."""
    x = input_node("x", (3,))
    graph = lower(Graph((x,), (make("sigmoid", x, name="s"),)))
    raw = encode(graph)
    assert graph.placements[x].storage is Storage.INPUT and x.type.dtype is DType.f32
    assert len(raw) == 128 + 128 + 64 + 64  # header, two tensors, one op of 40 bytes, "xs" of two, no data
    assert raw[24:40] == bytes([2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0])
    assert raw[256:296] == bytes([22, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, *[0] * 19])
    assert raw[320:322] == b"xs"
