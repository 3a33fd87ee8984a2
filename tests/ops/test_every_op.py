# SPDX-License-Identifier: Apache-2.0
"""Every op on random data, as its record's maker draws it: runtime, file and oracle agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import op_graphs
from bnn.file.read import decode
from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import Storage
from bnn.ir.ops import CONVOLUTIONS, OPS, ClampAttrs, input_node, make, replaced
from bnn.ir.ops.record import Maker, Op
from bnn.runtime import Model, available_kernels

Rng = np.random.Generator
TABLES: dict[str, dict[str, Maker]] = {
    "floats": op_graphs.FLOAT_OPS,
    "bits": op_graphs.BIT_OPS,
    "bytes": op_graphs.BYTE_OPS,
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
        node = table[name](rng, make("copy", x))
        graph = op_graphs.plan([x], [make("copy", node)])
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
