# SPDX-License-Identifier: Apache-2.0
"""Single operators and small files, in a process whose end, memory and time are seen."""

from __future__ import annotations

import os
import secrets
import weakref
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the package onnx is not installed: pip install 'bnn-compiler[onnx]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'bnn-compiler[onnx]'")

import bnn
from bnn.errors import CompileError
from bnn.importers.onnx.protos import from_model
from bnn.importers.onnx.run import Runner
from bnn.importers.onnx.sizes import RULES
from single_ops import watch

from .random_ops import MAKERS
from .size_cases import NAMES
from .small import model, node

SEED = int(os.environ.get("BNN_TEST_SEED") or secrets.randbits(31))
COUNT = int(os.environ.get("BNN_TEST_COUNT") or 1500)


def test_random_operators() -> None:
    """None ends the process, none raises anything but a BnnError, and every result has the size that its rule says."""
    tally = watch("importers.onnx.random_ops", SEED, COUNT)
    assert not tally.findings, f"repeat with BNN_TEST_SEED={SEED}\n{tally}"
    assert tally.counts["ran"] > COUNT // 4 or COUNT < 100, str(tally)


def test_small_files_that_ask_for_much() -> None:
    """All are refused, in 10 seconds and 256 MiB."""
    tally = watch("importers.onnx.size_cases", 0, len(NAMES))
    assert not tally.findings and tally.counts == {"refused": len(NAMES)}, f"{NAMES}\n{tally}"


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


@pytest.mark.parametrize(
    ("op", "attrs", "message"),
    [
        ("GatherND", {"batch_dims": -7}, "-7 dimensions of batches"),
        ("GatherND", {"batch_dims": 2**40}, "the attribute 'batch_dims' is out of range"),
        ("GatherND", {"batch_dims": 0.5}, "the attribute 'batch_dims' has another type"),
        ("GatherND", {"nonsense": 1}, "it has no attribute 'nonsense'"),
    ],
)
def test_attributes_are_checked(op: str, attrs: dict[str, object], message: str) -> None:
    indices = np.zeros((2, 1, 1), np.int64)
    proto = model([node(op, "x i", **attrs)], {"i": indices}, (2, 4, 5))
    with pytest.raises(CompileError, match=message):
        bnn.compile(proto)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_inputs_without_an_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(CompileError, match=r"input 'x' has shape \(3?,?\); "):
        bnn.compile(model([node("Relu", "x")], {}, shape, rank=len(shape)))


def test_a_shape_that_depends_on_the_data() -> None:
    nodes = [node("Cast", "x", "i", to=7), node("ReduceMax", "i", "s", axes=[0], keepdims=0), node("Reshape", "x s")]
    proto = model(nodes, {}, (2, 2))
    with pytest.raises(CompileError, match="depends on operand 1, which must be a constant, or follow from shapes"):
        bnn.compile(proto)


def test_values_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifying holds no more than it says."""
    monkeypatch.setattr("bnn.importers.onnx.run.MOST_HELD", 1000)
    proto = model([node("Relu", "x", "a"), node("Neg", "x", "b"), node("Add", "a b")], {}, ("N", 8), rank=2)
    compiled, x = bnn.compile(proto), np.zeros((16, 8), np.float32)
    assert bnn.verify(proto, compiled, x[:8]).images == 8
    with pytest.raises(CompileError, match="1,024 bytes are needed at once; at most 1,000 are: use smaller batches"):
        bnn.verify(proto, compiled, x)


def test_sessions_are_those_of_their_nodes() -> None:
    """A node that is made for a while stays as long as its session: another one at its address would run in it."""
    graph = from_model(model([node("Relu", "x")], {}, (2, 3), rank=2))
    runner, short = Runner(graph), replace(graph.nodes[0])
    runner(short, [np.ones((2, 3), np.float32)])
    kept = weakref.ref(short)
    del short
    assert kept() is not None
