# SPDX-License-Identifier: Apache-2.0
"""Single operators and small files, in a process whose end, memory and time are seen."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from conftest import Limit
from seed import SEED, seeds

pytest.importorskip("onnx", reason="the package onnx is not installed: pip install -e '.[onnx]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install -e '.[onnx]'")

import onnx

import bnn
from bnn.errors import CompileError
from bnn.importers.onnx.load import open_onnx
from bnn.importers.onnx.protos import from_model
from bnn.importers.onnx.run import OnnxRunner
from bnn.importers.onnx.sizes import RULES
from bnn.passes.canonicalize import canonicalize
from single_ops import watch

from .random_ops import MAKERS
from .size_cases import NAMES
from .small import model, node

SEEDS = seeds(2000)


@pytest.mark.drawn
def test_random_operators() -> None:
    """None ends the process, none raises anything but a BnnError, and every result has the size that its rule says."""
    tally = watch("importers.onnx.random_ops", SEEDS.start, len(SEEDS))
    assert not tally.findings, f"repeat with BNN_TEST_SEED={SEED}\n{tally}"
    assert tally.counts["ran"] > len(SEEDS) // 4 or len(SEEDS) < 100, str(tally)


def test_small_files_that_ask_for_much() -> None:
    """All are refused, in 10 seconds and 256 MiB."""
    tally = watch("importers.onnx.size_cases", 0, len(NAMES))
    assert not tally.findings and tally.counts == {"refused": len(NAMES)}, f"{NAMES}\n{tally}"


@pytest.mark.slow
def test_what_the_driver_sees() -> None:
    """Without its rule, GatherND ends the process, and one case per kind of finding is found."""
    tally = watch("importers.onnx.unchecked", 0, 5)
    assert [(f.case, f.what) for f in tally.findings] == [(0, "signal"), (1, "memory"), (2, "error"), (3, "memory")]
    assert tally.counts == {"ran": 1}


def test_every_operator_has_a_case() -> None:
    others = {op for op in RULES if op not in MAKERS}
    assert MAKERS.keys() <= RULES.keys() and {op for op in others if RULES[op] is not RULES["Relu"]} == {
        "NonZero",
        "Size",
    }


@pytest.mark.parametrize("kind", [onnx.AttributeProto.TENSOR, onnx.AttributeProto.FLOAT])
@pytest.mark.parametrize("op", ["Constant", "ConstantOfShape"])
def test_weights_that_an_attribute_names(op: str, kind: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read from the folder in which the program happens to run."""
    (tmp_path / "secret").write_bytes(bytes(16))
    monkeypatch.chdir(tmp_path)
    tensor = onnx.load_from_string(_outside("secret")).graph.initializer[0]
    made = node(op, "s" if op == "ConstantOfShape" else "", "c")
    made.attribute.append(onnx.AttributeProto(name="value", type=kind, t=tensor))
    proto = model([made, node("Add", "x c")], {"s": np.array([4])}, ("N", 4), rank=2)
    with pytest.raises(CompileError, match="is in another file|has another type|its attributes"):
        bnn.compile(proto)


def _outside(location: str) -> bytes:
    proto = model([node("Add", "x w")], {}, ("N", 4), rank=2)
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.append(onnx.StringStringEntryProto(key="location", value=location))
    proto.graph.initializer.append(tensor)
    return proto.SerializeToString()


def test_values_at_once(limit: Limit) -> None:
    """Verifying holds no more than it says."""
    limit("bnn.importers.onnx.run.MOST_HELD", 1000)
    proto = model([node("Relu", "x", "a"), node("Neg", "x", "b"), node("Add", "a b")], {}, ("N", 8), rank=2)
    compiled, x = bnn.compile(proto), np.zeros((16, 8), np.float32)
    assert bnn.verify(proto, compiled, x[:8]).images == 8
    with pytest.raises(
        CompileError, match="values of 1,024 bytes are needed at once; at most 1,000 are held; use smaller batches"
    ):
        bnn.verify(proto, compiled, x)


@pytest.mark.parametrize("layers", [1, 8])
def test_memory_of_what_weights_are_made_of(layers: int) -> None:
    """Only the weights that a layer reads stay in memory, and a bias that is expanded to the size of the data takes
    none: neither in memory nor in the file.  Shapes are found, however large the weights are."""
    weight = np.random.default_rng(SEED).choice([-1, 1], (1024, 1024, 1, 1)).astype(np.float32)  # 4 MiB
    nodes, stages = [], ["Abs", "Neg", "Exp", "Abs", "Log", "Abs", "Neg", "Abs"]
    for i in range(layers):
        x, names = f"x{i}" if i else "x", [f"w{i}_{k}" for k in range(len(stages) + 1)]
        nodes += [node("Mul", "w g", names[0]), *map(node, stages, names, names[1:])]
        nodes += [node("Mul", f"{names[-1]} w", f"v{i}"), node("Shape", x, f"s{i}"), node("Expand", f"b s{i}", f"e{i}")]
        nodes += [node("Add", f"{x} e{i}", f"a{i}"), node("Conv", f"a{i} v{i}", f"x{i + 1}")]
    nodes.append(node("Neg", f"x{layers}"))
    given = {"w": weight, "g": np.array(0.5, np.float32), "b": np.linspace(0, 1, 1024, dtype=np.float32)[:, None, None]}
    proto = model(nodes, given, ("N", 1024, 64, 64))
    tracemalloc.start()
    graph = open_onnx(proto).graph()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < (4 + 2 * layers) * weight.nbytes + 2**24, f"{peak:,}"
    assert sum(n.value.nbytes for n in canonicalize(graph).nodes() if n.is_constant) < (layers + 0.1) * weight.nbytes


def test_sessions_serve_nodes_that_are_alike(limit: Limit) -> None:
    attributes = [{"mode": "edge"}, {"mode": "reflect"}, {"mode": "edge"}, {"mode": "wrap"}]
    names = [f"t{i}" for i in range(len(attributes) + 1)]
    nodes = [node("Pad", f"{a} p", b, **given) for a, b, given in zip(names, names[1:], attributes, strict=False)]
    proto = model([node("Identity", "x", "t0"), *nodes], {"p": np.zeros(4, np.int64)}, (2, 3), rank=2, opset=19)
    proto.graph.output[0].name = names[-1]
    graph = from_model(proto)
    runner, operands = OnnxRunner(graph), [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([0, 1, 0, 1])]
    expected = {"edge": [0, 0, 1, 2, 2], "reflect": [1, 0, 1, 2, 1], "wrap": [2, 0, 1, 2, 0]}
    for most, kept in ((10, 3), (2, 2)):
        limit("bnn.importers.onnx.run._MOST_SESSIONS", most)
        runner.sessions.clear()
        for given in graph.nodes[1:]:
            assert runner(given, operands)[0][0].tolist() == expected[given.attrs["mode"]]
        assert len(runner.sessions) == kept


def test_long_chains() -> None:
    """What looks behind nodes, and compares them, does not do so again and again."""
    chain = [node("Cast", f"a{i}" if i else "x", f"a{i + 1}", to=1) for i in range(3000)]
    nodes = [*chain, node("Sign", "a3000", "q")]
    for side in "lr":
        for i in range(8):
            names = [f"{side}{i}_{k}" for k in range(12)] if i else ["x"] * 12
            nodes += [node("Max", " ".join(names), f"{side}{i + 1}_{k}") for k in range(12)]
    nodes += [node("Sub", "q l8_0", "d"), node("Add", "d r8_0")]
    began = time.monotonic()
    bnn.compile(model(nodes, {}, ("N", 4), rank=2))
    assert time.monotonic() - began < 100
