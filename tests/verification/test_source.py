# SPDX-License-Identifier: Apache-2.0
"""What `verify` reads off the Keras model's graph: where values are, which sums are exact, and whose weights differ."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bnn.importers.tensorflow import load
from bnn.importers.tensorflow.frozen import Frozen
from bnn.importers.tensorflow.load import TensorFlowModel
from bnn.ir import ops
from bnn.ir.graph import DType, Graph, Node
from bnn.verification import source as _verify_source
from bnn.verification.source import accumulators, by_functions, exact_layers, likely_cause, pre_activations

KERAS = TensorFlowModel(Frozen([], [], [], [], [], lambda *_: [], lambda *_: np.zeros(0)))
X = ops.input_node("x", (2,))
BITS = ops.input_node("bits", (2,), DType.b1)
SIGNS = ops.constant(np.ones((2, 1, 1, 2)), DType.b1)


def graph(*outputs: Node) -> Graph:
    return Graph((X,), outputs, tuple("y" * (i + 1) for i in range(len(outputs))))


def test_distances_from_a_threshold() -> None:
    """Of a value of Keras', or of what follows from one; a bit whose value Keras does not name is not known."""
    half, flips = ops.constant([0.5, -1.0]), ops.constant([1.0, 1.0], DType.b1)
    known = ops.make("exp", X, origin="exp:0")
    doubled = ops.make("mul", known, ops.constant([2.0, 2.0]))
    found = pre_activations(
        graph(
            ops.make("binarize", known, origin="a:0"), ops.make("binarize", doubled, half, flips, origin="b:0"),
            ops.make("binarize", known), ops.make("binarize", ops.make("exp", X), origin="c:0"),
        )
    )  # fmt: skip
    assert {k: x.origins for k, x in found.items()} == {"a:0": {"exp:0"}, "b:0": {"exp:0"}}
    keras = {"exp:0": np.float32([[1, 2], [3, 4]])}
    assert found["a:0"].margins(keras, (2, 2)).tolist() == [[1, 2], [3, 4]]
    assert found["b:0"].margins(keras, (2, 1, 2)).tolist() == [[[1.5, 5]], [[5.5, 9]]]


@pytest.mark.parametrize(
    ("kind", "origins", "steps", "offset"),
    [
        ("plain", {"layer": "sums:0"}, [], False), ("no origin", {}, [], False), ("two", {}, [], False),
        ("bytes", {"layer": "sums:0"}, [], False), ("scaled", {"layer": "mul:0"}, ["mul"], False),
        ("shifted", {"layer": "add:0"}, ["mul", "add"], True), ("scaled, but known", {"layer": "sums:0"}, [], False),
        ("bits scaled", {"layer": "sums:0"}, [], False),
    ],
)  # fmt: skip
def test_whose_sums_are_keras(kind: str, origins: dict[str, str], steps: list[str], offset: bool) -> None:
    """Those of a layer of one convolution; of bytes with the scale and the shift that make them Keras'."""
    data = ops.input_node("bytes", (2,), DType.u8)
    zeros, two = ops.constant([0.0, 0.0]), ops.constant([2.0, 2.0])
    attrs, named = ops.ConvAttrs(slots=("zeros",)), kind in ("bytes", "scaled, but known")
    y = ops.make("iconv2d", data, SIGNS, zeros, attrs=attrs, name="layer", origin="sums:0" if named else "")
    if kind in ("plain", "no origin", "two", "bits scaled"):
        y = ops.make("bconv2d", BITS, SIGNS, name="layer", origin="" if kind == "no origin" else "sums:0")
    outputs = [y]
    if kind == "two":
        outputs.append(ops.make("bconv2d", BITS, SIGNS, name="layer", origin="more:0"))
    elif kind not in ("plain", "bytes", "no origin"):
        outputs = [ops.make("mul", y, two, name="layer", origin="" if kind == "shifted" else "mul:0")]
    if kind == "shifted":
        outputs = [ops.make("add", outputs[0], two, name="layer", origin="add:0")]
    found = accumulators(graph(*outputs))
    assert found.origins == origins and [s.op for s in found.steps["layer"]] == steps
    assert found.offset == ({"layer"} if offset else set())


def test_what_library_functions_make() -> None:
    """Moves and elementwise ops of it too, and nothing that sums it up."""
    curve = ops.make("exp", X, origin="exp:0")
    scaled = ops.make("mul", curve, ops.constant([2.0, 2.0]), origin="mul:0")
    moved = ops.make("reshape", scaled, attrs=ops.ReshapeAttrs((1, 1, 2)), origin="reshape:0")
    pooled = ops.make("avg_pool", moved, origin="pool:0")
    plain = ops.make("mul", X, ops.constant([2.0, 2.0]), origin="plain:0")
    soft = ops.make("softmax", ops.make("reshape", X, attrs=ops.ReshapeAttrs((2,)), origin="still:0"), origin="soft:0")
    assert by_functions(graph(pooled, plain, soft)) == {"exp:0", "mul:0", "reshape:0", "soft:0"}


def levels(*values: float) -> Node:
    return ops.make("dequantize", ops.input_node("bits", (2 * (len(values) - 1),), DType.b1), ops.constant(values))


def padded(value: float) -> Node:
    return ops.make("pad_channels", levels(0.0, 1.0), attrs=ops.PadChannelsAttrs(1, 0, value))


def conv(x: Node, *weights: float, name: str = "layer") -> Node:
    return ops.make("conv2d", x, ops.constant(np.reshape(weights, (1, 1, 1, -1))), name=name)


@pytest.mark.parametrize(
    ("make", "exact"),
    [
        (lambda: conv(levels(-1.0, 1.0), 0.5, 2.0), True),
        (lambda: conv(levels(-1.0, 1.0), 0.1, 2.0**24), False),
        (lambda: conv(levels(0.0, np.inf), 1.0, 0.0), False),
        (lambda: conv(X, 1.0, 1.0), False),
        (lambda: conv(ops.make("mul", levels(0.0, 1.0), ops.constant([3.0])), 1.0, 2.0), True),
        (lambda: conv(ops.make("mul", levels(0.0, 1.0), ops.constant([3.0, 3.0])), 1.0, 2.0), False),
        (lambda: conv(ops.make("exp", levels(0.0, 1.0)), 1.0, 2.0**20), False),
        (lambda: conv(ops.make("add", levels(0.0, 1.0), X), 1.0, 2.0), False),
        (lambda: conv(padded(0.0), 1.0, 2.0, 3.0), True),
        (lambda: conv(padded(0.1), 1.0, 2.0, 3.0), False),
    ],
)  # fmt: skip
def test_layers_whose_sums_are_exact(make: Any, exact: bool) -> None:
    """Of levels, moved, padded with zeros, or computed with scalars."""
    assert exact_layers(graph(make())) == ({"layer"} if exact else set())


def test_all_convolutions_of_a_layer_must_be_exact() -> None:
    good, bad = conv(levels(-1.0, 1.0), 1.0, 2.0), conv(X, 1.0, 1.0)
    for both in ((good, bad), (bad, good)):
        assert exact_layers(graph(*both)) == set()
    assert exact_layers(graph(good, conv(X, 1.0, 1.0, name="other"))) == {"layer"}


def nodes(*names: str, value: float = 1.0, shape: tuple[int, ...] = (2,)) -> list[Node]:
    constant = ops.constant(np.full(2, value, np.float32).reshape(shape))
    return [SimpleNamespace(name=n, inputs=(X, constant)) for n in names]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("file", "model", "says"),
    [
        (nodes("a", value=2.0), nodes("a"), "the file in 'a': was"),
        (nodes("a", shape=(1, 2)), nodes("a"), "the file in 'a': was"),
        (nodes("a"), nodes("b"), "the file in 'a', 'b': was"),
        (nodes("a", "a"), nodes("a"), "the file in 'a': was"),
        (nodes(*"abc", value=2.0), nodes(*"abc"), "the file in 'a', 'b', 'c': was"),
        (nodes(*"abcd", value=2.0), nodes(*"abcd"), "the file in 'a', 'b', 'c' and 1 more layers: was"),
    ],
)  # fmt: skip
def test_layers_with_other_constants_are_named(file: Any, model: Any, says: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(_verify_source, "lower", lambda source: SimpleNamespace(schedule=model))
    found = likely_cause(KERAS, graph(X), file)
    assert f"than {says} the file compiled from this model" in found


@pytest.mark.parametrize(("given", "says"), [("0", "a bug of bnn"), ("1", "run with oneDNN"), (None, "with oneDNN")])
def test_equal_constants_leave_two_causes(given: str | None, says: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(_verify_source, "lower", lambda source: SimpleNamespace(schedule=nodes("a", "b")))
    monkeypatch.setattr(load, "os", SimpleNamespace(environ={"TF_ENABLE_ONEDNN_OPTS": given} if given else {}))
    assert says in likely_cause(KERAS, graph(X), nodes("a", "b"))
