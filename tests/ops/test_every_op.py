# SPDX-License-Identifier: Apache-2.0
"""Every op on random data, as its record's maker draws it: runtime, file and oracle agree."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import op_graphs
from bnn.file.read import decode
from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import DType, Storage
from bnn.ir.ops import CONVOLUTIONS, OPS, ClampAttrs, constant, input_node, make, replaced
from bnn.ir.ops.record import Maker, Op
from bnn.runtime import Model, available_kernels

Rng = np.random.Generator
TABLES: dict[str, dict[str, Maker]] = {
    "floats": op_graphs.FLOAT_OPS,
    "bits": op_graphs.BIT_OPS,
    "bytes": op_graphs.BYTE_OPS,
    "int16": op_graphs.SHORT_OPS,
    "functions": op_graphs.FUNCTION_OPS,
    "rounded": op_graphs.ROUNDED_OPS,
}
CASES = [(data, name) for data, table in TABLES.items() for name in table]


@pytest.mark.parametrize(("data", "name"), CASES)
def test_runtime_file_and_oracle_agree(data: str, name: str, rng: Rng) -> None:
    """Bit for bit, except for means; with every family of kernels."""
    rounding = 1e-6 if data == "rounded" else 0.0
    for _ in range(4):
        graph = op_graphs.one_op(rng, name, TABLES[data])
        inputs = [op_graphs.values_of(rng, 3, x) for x in graph.inputs]
        expected = interpret.outputs(graph, inputs)[0]
        file = encode(graph)
        found = decode(file)
        assert encode(found) == file
        np.testing.assert_array_equal(interpret.outputs(found, inputs)[0], expected)
        for family in available_kernels():
            result = Model.from_bytes(file, kernels=family)(*inputs)
            np.testing.assert_allclose(result, expected, rtol=rounding, atol=rounding, err_msg=family)


@pytest.mark.parametrize("name", [op.name for op in OPS.values() if op.in_place and op.name not in CONVOLUTIONS])
def test_in_place(name: str, rng: Rng) -> None:
    """An op over its data, between two others, so that both are in the arena (for convolutions see test_conv.py)."""
    table = next(table for table in TABLES.values() if name in table)
    for _ in range(8):
        x = op_graphs.one_op(rng, name, table).inputs[0]
        data = make("excess_128" if x.type.dtype is DType.i8 else "copy", x)
        node = table[name](rng, op_graphs.shorts(rng, data) if table is op_graphs.SHORT_OPS else data)
        graph = op_graphs.plan([x], [op_graphs.floats(node)])
        assert graph.placements[node].storage is Storage.ARENA
        assert graph.placements[node] in [graph.placements[o] for o in replaced(node)]
        values = op_graphs.values_of(rng, 3, x)
        expected = interpret.outputs(graph, [values])[0]
        for family in available_kernels():
            np.testing.assert_array_equal(Model.from_bytes(encode(graph), kernels=family)(values), expected)


@pytest.mark.parametrize("first", [False, True])
def test_a_sum_over_either_operand(first: bool, rng: Rng) -> None:
    """Over the one that nothing reads later."""
    for _ in range(4):
        x = input_node("x", op_graphs.random_shape(rng))
        over, kept = make("clamp", x, attrs=ClampAttrs(-2.0, 3.0)), make("copy", x)
        total = make("add", *((over, kept) if first else (kept, over)))
        graph = op_graphs.plan([x], [make("copy", total), make("copy", kept)], rng)
        values = op_graphs.values_of(rng, 3, x)
        places = graph.placements
        if places[over].halo == places[total].halo:
            assert places[total].offset == places[over].offset
        expected = interpret.outputs(graph, [values])
        for family in available_kernels():
            found = Model.from_bytes(encode(graph), kernels=family)(values)
            for result, right in zip(found, expected, strict=True):
                np.testing.assert_array_equal(result, right)


@pytest.mark.parametrize("channels", [1, 3, 16, 40, 70])
def test_arithmetic_with_every_broadcast_shape(channels: int, rng: Rng) -> None:
    """Rows, pixels and channels of either operand: as many as the other's, or one; zeros have signs."""
    shape = (int(rng.integers(2, 6)), int(rng.integers(2, 20)), channels)
    for of in itertools.product(*((1, size) for size in shape)):
        x, y = input_node("x", shape), input_node("y", of)
        values = [rng.choice([-2.0, -0.0, 0.0, 1.5, np.nan], (2, *s)).astype(np.float32) for s in (shape, of)]
        outputs = [make(op, *pair) for op in ("sub", "maximum", "minimum") for pair in ((x, y), (y, x))]
        graph = op_graphs.plan([x, y], outputs, rng)
        expected = interpret.outputs(graph, values)
        for family in available_kernels():
            for found, right in zip(Model.from_bytes(encode(graph), kernels=family)(values), expected, strict=True):
                np.testing.assert_array_equal(found, right, err_msg=f"{family} {of}")
                np.testing.assert_array_equal(np.signbit(found)[found == 0], np.signbit(right)[right == 0])


def test_gathering_by_steps(rng: Rng) -> None:
    """Indices that go along a row by equal steps, and others that almost do."""
    x = input_node("x", (5, 6, 14))
    flat = np.arange(np.prod(x.type.shape), dtype=np.int32).reshape(x.type.shape)
    taken = [flat[..., 1::2], flat[..., ::-3], flat[::2, 1::2], flat[:, ::-1], flat[..., 3:4], flat.transpose(1, 0, 2)]
    other = flat[..., ::2].copy()
    other[-1, -1, -1] -= 1
    nodes = [make("gather", make("copy", x), constant(index, DType.i32)) for index in (*taken, other)]
    graph = op_graphs.plan([x], nodes, rng)
    values = op_graphs.values_of(rng, 2, x)
    for found, right in zip(Model.from_bytes(encode(graph))(values), interpret.outputs(graph, [values]), strict=True):
        np.testing.assert_array_equal(found, right)


def test_every_op_is_drawn() -> None:
    """Those of signed bytes stand before half of the graphs of bytes."""
    drawn = {name for _, name in CASES}
    assert drawn == {op.name for op in OPS.values() if op.opcode is not None} - {"excess_128"}


@pytest.mark.parametrize(
    ("field", "of", "message"),
    [
        ("maker", lambda op: True, r"has no maker of random instances: .* \(maker=\)"),
        ("truth", lambda op: op.library, r"does not say what is true: .* \(truth=\)"),
        ("c", lambda op: op.elementwise, r"does not say how it is emitted as C; give it c="),
    ],
)
def test_a_record_without_what_tests_draw_from_is_refused(field: str, of: Callable[[Op], bool], message: str) -> None:
    records = [op for op in OPS.values() if op.opcode is not None and of(op)]
    for op in records:
        with pytest.raises(NotImplementedError, match=f"{op.name} {message}"):
            replace(op, **{field: None})
    assert records
