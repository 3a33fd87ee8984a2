# SPDX-License-Identifier: Apache-2.0
"""Rows of several ops in turn: which ops, when, and how many rows are kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import op_graphs
from bnn.errors import VerifierError
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.ops import OPS, ConvAttrs, Level, PoolAttrs, ReshapeAttrs, constant, input_node, make, sums_rows
from bnn.ir.spec import verify
from bnn.passes.choose_layout import choose_layout
from bnn.passes.interleave_rows import interleave_rows, longest_chains
from bnn.passes.plan_arena import plan_arena
from bnn.passes.schedule import schedule

from .plans import check_rows, window

Rng = np.random.Generator
X = input_node("x", (20, 6, 4))
ROWS = [name for name, op in OPS.items() if op.by_rows or op.elementwise]


def scheduled(*outputs: Node) -> Graph:
    return schedule(choose_layout(Graph((X,), outputs)))


def conv(x: Node, kernel: int = 3, stride: int = 1, pad: int = 1, dilation: int = 1) -> Node:
    filters = constant(np.ones((4, kernel, 1, x.type.shape[2]), np.float32))
    return make("conv2d", x, filters, attrs=ConvAttrs((stride, 1), (dilation, 1), (pad, 0, pad, 0)))


def kept(graph: Graph) -> list[tuple[str, int, int, int]]:
    return [(n.op, turn.first, turn.every, turn.kept) for chain in graph.chains for n, turn in chain.items()]


def test_rows_of_windows_and_of_a_shortcut() -> None:
    """A value is read by a convolution of three rows, and by a sum one row later; a pool takes every second row."""
    first = conv(make("tanh", X))
    total = make("add", conv(first), first)
    graph = scheduled(make("exp", conv(make("max_pool", total, attrs=PoolAttrs((2, 1), (2, 1))))))
    planned = interleave_rows(graph)
    assert kept(planned) == [
        ("tanh", 0, 1, 3), ("conv2d", 1, 1, 3), ("conv2d", 2, 1, 1), ("add", 2, 1, 2), ("max_pool", 3, 2, 3),
        ("conv2d", 5, 2, 1), ("exp", 5, 2, 0),
    ]  # fmt: skip
    # Rows of 6 x 4 floats; that of the second convolution is needed in the tick that computes it alone, and so is that
    # of the last.
    assert planned.arena_bytes == (3 + 3 + 1 + 2 + 3) * 96
    check_rows(planned)
    verify(planned, Level.RUNTIME)
    assert planned.arena_bytes < plan_arena(graph).arena_bytes


def test_rows_that_a_dilated_window_skips_are_kept() -> None:
    planned = interleave_rows(scheduled(make("exp", conv(make("tanh", X), 3, 2, 0, 4))))
    assert kept(planned) == [("tanh", 0, 1, 9), ("conv2d", 8, 2, 1), ("exp", 8, 2, 0)]
    check_rows(planned)


def test_rows_that_are_read_at_once_share_memory() -> None:
    """Not those that have a rim, which is cleared once, nor those that a reader of two values reads later."""
    wide = ConvAttrs(pads=(0, 1, 0, 1))
    filters = constant(np.ones((4, 1, 3, 4), np.float32))
    first = make("conv2d", make("tanh", make("exp", X)), filters, attrs=wide)
    pool = make("max_pool", first, attrs=PoolAttrs((2, 1), (2, 1)))
    total = make("add", pool, conv(first, 4, 2))
    planned = interleave_rows(scheduled(make("exp", make("tanh", total))))
    at_once = [(n.op, turn.at_once) for chain in planned.chains for n, turn in chain.items()]
    assert at_once == [
        ("exp", True), ("tanh", False), ("conv2d", False), ("max_pool", False), ("conv2d", True), ("add", True),
        ("tanh", True), ("exp", False),
    ]  # fmt: skip
    check_rows(planned)


def test_values_that_something_reads_later_are_whole() -> None:
    first = make("tanh", X)
    graph = scheduled(make("exp", conv(conv(first))), make("reshape", first, attrs=ReshapeAttrs((480,))))
    planned = interleave_rows(graph, longest_chains(graph)[:1])
    (chain,) = planned.chains
    assert [turn.kept for node, turn in chain.items() if node.op == "tanh"] == [0]
    check_rows(planned)


def test_what_needs_a_whole_value_ends_a_chain() -> None:
    """A gate reads all rows of what it multiplies; a reshape moves rows."""
    data = make("tanh", make("exp", X))
    gate = make("sigmoid", make("avg_pool", data, attrs=PoolAttrs((20, 6), (1, 1))))
    turned = make("reshape", make("mul", data, gate), attrs=ReshapeAttrs((10, 12, 4)))
    graph = scheduled(make("tanh", make("exp", turned)))
    spans = [[node.op for node in graph.schedule[slice(*span)]] for span in longest_chains(graph)]
    assert spans == [["exp", "tanh", "avg_pool", "sigmoid"], ["exp", "tanh"]]
    check_rows(interleave_rows(graph, longest_chains(graph)))
    gate = make("sigmoid", make("avg_pool", X, attrs=PoolAttrs((20, 6), (1, 1))))
    graph = scheduled(make("exp", make("mul", X, gate)))  # all rows of the input are there, and the gate is not
    assert [node.op for node in graph.schedule[slice(*longest_chains(graph)[0])]] == ["avg_pool", "sigmoid"]


def test_sums_of_all_rows_grow_row_by_row(rng: Rng) -> None:
    """A mean over an image needs no image: of its data there is a row at once, and the sums stay."""
    graph = op_graphs.means(rng)
    planned = interleave_rows(graph, longest_chains(graph))
    turns = {node: turn for chain in planned.chains for node, turn in chain.items()}
    mean = next(node for node in graph.schedule if node.op == "qconv2d")
    assert sums_rows(mean) and turns[mean].kept == 0 and turns[mean.inputs[0]].kept == 1
    assert planned.placements[mean].bytes >= 5 * np.prod(mean.type.shape)
    check_rows(planned)


def test_chains_that_save_nothing_are_none() -> None:
    """One row, or values that are the largest by themselves."""
    x = input_node("x", (1, 64, 8))
    row = make("exp", make("tanh", make("exp", x)))
    for graph in (schedule(choose_layout(Graph((x,), (row,)))), scheduled(make("exp", X))):
        assert not interleave_rows(graph).chains


def test_overlapping_rows_are_refused() -> None:
    planned = interleave_rows(scheduled(make("exp", conv(conv(make("tanh", X))))))
    first, second, third = [node for chain in planned.chains for node in chain][:3]
    for node, over in ((second, first), (third, second)):
        places = {**planned.placements, node: replace(planned.placements[node], offset=planned.placements[over].offset)}
        with pytest.raises(VerifierError, match="overlap in the arena"):
            verify(replace(planned, placements=places), Level.RUNTIME)


@pytest.mark.drawn
@pytest.mark.parametrize("name", ROWS)
def test_rows_are_made_of_their_windows(name: str, rng: Rng) -> None:
    """Other numbers in all rows that an op is not said to read leave a row of its value as it is."""
    dtype, compared = OPS[name].takes[0], 0
    for _ in range(30):
        x = input_node("x", (7, 3, 5), dtype)
        maker = OPS[name].maker
        assert maker is not None
        node = maker(rng, x)
        data = list(dict.fromkeys(i for i in node.inputs if not i.is_constant))
        if node.op != name or any(len(i.type.shape) != 3 for i in (node, *data)):
            continue
        image = op_graphs.values_of(rng, 2, x) if dtype is not DType.b1 else rng.choice([-1, 1], (2, *x.type.shape))
        values = dict(zip(data, interpret.outputs(Graph((x,), tuple(data)), [image]), strict=True))
        row = int(rng.integers(node.type.shape[0]))
        found = []
        for _ in range(2):
            operands = [i.value if i.is_constant else values[i] for i in node.inputs]
            found.append(np.asarray(OPS[name].reference(*operands, a=node.attrs))[:, row])
            for operand, array in values.items():
                read = {q for i, other in enumerate(node.inputs) if other is operand for q in window(node, i, row)}
                others = sorted(set(range(operand.type.shape[0])) - read)
                values[operand] = array.copy()
                values[operand][:, others] = rng.permuted(array, axis=1)[:, others]
        np.testing.assert_array_equal(*found)
        compared += 1
    assert compared >= 5
