# SPDX-License-Identifier: Apache-2.0
"""Every pass on random graphs: the oracle's result before and after is the same, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from bnn.file.write import encode
from bnn.ir import interpret, spec
from bnn.ir.graph import Graph, Node
from bnn.passes import PIPELINE, lower
from bnn.passes.interleave_rows import interleave_rows, whole_above
from graphs import Array, Sample, random_graph
from seed import seeds

from .plans import check_plan, check_rows

SEEDS = seeds(200)
GROUP = 10  # graphs a test


def check_sample(sample: Sample) -> Graph:
    """Run the pipeline; after each pass outputs, and every value that names a source tensor, are what they were."""
    graph = sample.graph
    values = interpret.run(graph, sample.inputs)
    expected = [values[n] for n in graph.outputs]
    source = {n.origin: v for n, v in values.items() if n.origin}
    for function, level in PIPELINE:
        where = f"seed {sample.seed}, {function.__name__}"
        graph = function(graph)
        spec.verify(graph, level, function.__name__)
        values = interpret.run(graph, sample.inputs)
        for i, (node, before) in enumerate(zip(graph.outputs, expected, strict=True)):
            assert np.array_equal(values[node], before, equal_nan=True), f"{where}: output {i} changed"
        for node, value in values.items():
            if node.origin:
                assert same_values(value, source[node.origin]), f"{where}: {node.op} is not {node.origin}"
    return graph


def same_values(a: Array, b: Array) -> bool:
    """Equal up to a reshape, bits compared as +1 and -1."""
    return np.array_equal(a.reshape(-1).astype(np.float32), b.reshape(-1), equal_nan=True)


@pytest.mark.drawn
@pytest.mark.parametrize("first", SEEDS[::GROUP])
def test_passes_change_no_bit(first: int) -> None:
    for seed in range(first, min(first + GROUP, SEEDS.stop)):
        graph = check_sample(random_graph(seed))
        check_plan(graph)
        planned = interleave_rows(graph)
        check_rows(planned)
        check_rows(whole_above(planned))


def test_deep_graphs_change_no_bit() -> None:
    for seed in SEEDS[:10]:
        check_plan(check_sample(random_graph(seed, blocks=12)))


def test_same_graph_same_bytes() -> None:
    for seed in SEEDS[:20]:
        assert encode(lower(random_graph(seed).graph)) == encode(lower(random_graph(seed).graph)), f"seed {seed}"


@pytest.mark.slow
def test_random_graphs_are_worth_it() -> None:
    """The generator makes what the passes are about: else the tests above prove nothing."""
    wanted = {"threshold", "negated", "residual", "mask", "pad -1", "pad 1", "pad 0", "groups", "dilation"}
    wanted |= {"numbers", "planes of numbers", "planes"}
    wanted |= {"float bits", "note", "pre_mul", "pre_add", "clamp0", "sub", "mul", "add", "clamp1"}
    seen: set[str] = set()
    for seed in range(400):
        for node in lower(random_graph(seed).graph).schedule:
            seen |= traits(node)
        if seen >= wanted:
            break
    assert seen >= wanted, wanted - seen


def traits(node: Node) -> set[str]:
    if node.op == "max_pool" and len(node.inputs) == 2:
        return {"mask"}
    if node.op == "conv2d":
        return {"float bits"} if node.type.dtype.name == "b1" else {"note"} if node.note else set()
    if node.op != "bconv2d":
        return {"planes" if node.attrs.channels == 0 else "numbers"} if node.op == "dequantize" else set()
    attrs = node.attrs
    found = set(attrs.slots)
    if attrs.planes > 1:
        found.add("planes of numbers")
    if any(attrs.pads):
        found.add(f"pad {attrs.pad_value}")
    if attrs.groups > 1:
        found.add("groups")
    return found | ({"dilation"} if attrs.dilation != (1, 1) else set())
