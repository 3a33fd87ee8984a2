# SPDX-License-Identifier: Apache-2.0
"""What `verify` compares and what it leaves out, each decision alone: on both sides of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import bnn
import op_graphs
from bnn._types import Array
from bnn.file.read import decode
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import Graph
from bnn.verification import synchronous
from bnn.verification.synchronous import _Run, _Verifier

Verifier: Any = _Verifier  # its methods, of something that has what they read


# -- what is exact, and what is not -----------------------------------------------------------------------------------


def test_an_op_may_be_off_by_what_keras_rounds() -> None:
    """What was in a chunk before is forgotten."""
    x = ops.input_node("x", (3,))
    model = bnn.Model.from_bytes(encode(op_graphs.plan([x], [ops.make("clamp", x, attrs=ops.ClampAttrs(-9, 9))])))
    run = _Run(model, decode(model.to_bytes()).schedule, 2, {0: 0.25})
    for _ in range(2):
        run.begin([np.ones((2, 3), np.float32)])
        assert run.errors == {}
        value, limit = run.step(model.ops[0], 2)
        assert (value == 1).all() and (limit == 0.25).all() and run.errors[model.ops[0].output] is limit


@pytest.mark.parametrize(("planes", "top"), [(1, 1), (2, 3), (3, 7)])
@pytest.mark.parametrize("offset", [False, True])
def test_the_sources_rounding_grows_with_the_levels(planes: int, top: int, offset: bool) -> None:
    x = ops.input_node("x", (32 * planes,), bnn.ir.graph.DType.b1)
    conv = ops.make(
        "bconv2d", x, ops.constant(np.ones((2, 1, 1, 32)), bnn.ir.graph.DType.b1), attrs=ops.ConvAttrs(planes=planes)
    )
    known = SimpleNamespace(
        source=Graph((x,), (conv,), ("y",)), nodes=[conv], exact_layers=set(), shifts={"layer": 5.0},
        sums=SimpleNamespace(origins={}, offset={"layer"} if offset else set()),
        model=SimpleNamespace(
            ops=[SimpleNamespace(op="bconv2d", index=5, output=0, layer="layer")],
            tensors=[SimpleNamespace(origin="", dtype="f32")],
        ),
    )  # fmt: skip
    g = 32 * 2.0**-24 / (1 - 32 * 2.0**-24)
    expected = (2 * g + 4e-6) * 32 * top * (4 if planes > 1 or offset else 1) * 5
    assert Verifier._own_rounding(known) == pytest.approx({5: expected}, rel=1e-12)
    known.sums.origins = {"layer": "y:0"}
    assert Verifier._own_rounding(known) == {}


def op(index: int, name: str, inputs: list[int], output: int, layer: str = "layer", **more: Any) -> Any:
    return SimpleNamespace(index=index, op=name, inputs=inputs, output=output, layer=layer, **more)


def tensor(index: int, dtype: str = "f32", origin: str = "", storage: str = "arena", **more: Any) -> Any:
    return SimpleNamespace(index=index, name=f"t{index}", dtype=dtype, origin=origin, storage=storage, **more)


@pytest.mark.parametrize("origin", ["", "scaled:0"])
def test_what_follows_from_exact_sums(origin: str) -> None:
    """A layer with a scale is not, nor is what reads it, unless it is set to Keras' own."""
    model = SimpleNamespace(
        tensors=[tensor(0), tensor(1, origin=origin), *(tensor(i) for i in range(2, 6))],
        ops=[
            op(0, "bconv2d", [0], 1, "scaled"), op(1, "bconv2d", [0], 2, "whole"), op(2, "add", [1, 2], 3),
            op(3, "add", [2, 1], 4), op(4, "clamp", [2], 5),
        ],
    )  # fmt: skip
    known = SimpleNamespace(model=model, sums=SimpleNamespace(origins={"whole": "whole:0"}))
    behind = bool(origin)
    assert Verifier._exact_ops(known) == {0: False, 1: True, 2: behind, 3: behind, 4: True}


@pytest.mark.parametrize(
    ("name", "inputs", "output", "binary"),
    [
        ("bconv2d", [1, 4], 6, True), ("iconv2d", [2, 4], 6, True), ("max_pool", [3, 4], 6, True),
        ("bconv2d", [1, 4, 5], 6, True), ("add", [0, 1], 6, False), ("unpack", [1], 6, True), ("add", [5, 1], 6, False),
        ("cast", [2], 6, False), ("conv2d", [1, 4], 6, False), ("binarize", [1], 7, False),
        ("excess_128", [3], 2, False),
    ],
)  # fmt: skip
def test_which_layers_are_of_bits(name: str, inputs: list[int], output: int, binary: bool) -> None:
    """By the data that they read first: bits, bytes, or floats."""
    tensors = [tensor(0), tensor(1, "b1"), tensor(2, "u8"), tensor(3, "i8"), tensor(4, "f32", storage="constant"),
               tensor(5), tensor(6), tensor(7, "b1"), tensor(8, "b1"), tensor(9, "b1", "bits:0")]  # fmt: skip
    ops_ = [op(0, name, inputs, output)]
    assert synchronous.binary_ops(SimpleNamespace(tensors=tensors, ops=ops_)) == {0: binary}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dtype", "origin", "first", "binary"),
    [
        ("b1", "", "add", False), ("b1", "bits:0", "add", True), ("b1", "", "bconv2d", True),
        ("f32", "sums:0", "bconv2d", False), ("f32", "sums:0", "add", False),
    ],
)  # fmt: skip
def test_layers_behind_bits(dtype: str, origin: str, first: str, binary: bool) -> None:
    """Of bits where these are Keras' own, or follow from such."""
    tensors = [tensor(0), tensor(1, "b1"), tensor(2, dtype, origin), tensor(3)]
    ops_ = [op(0, first, [0 if first == "add" else 1], 2), op(1, "copy", [2], 3)]
    assert synchronous.binary_ops(SimpleNamespace(tensors=tensors, ops=ops_))[1] == binary  # type: ignore[arg-type]


# -- against Keras' values --------------------------------------------------------------------------------------------


def test_distances_that_are_not_known_are_infinite() -> None:
    values = np.array([[1.0, -2.0], [4.0, 3.0]])
    margin = SimpleNamespace(
        x=SimpleNamespace(type=SimpleNamespace(shape=(2,))), margins=lambda keras, shape: values.reshape(shape)
    )
    known = SimpleNamespace(margins={"bits:0": margin})
    for shape, origin, finite in (((2, 2), "bits:0", True), ((2, 1, 2), "bits:0", True), ((2, 2), "other:0", False),
                                  ((2, 3), "bits:0", False)):  # fmt: skip
        found = Verifier._distances(known, tensor(0, "b1", origin), {}, shape)
        assert found.shape == shape and np.isfinite(found).all() == finite == (not np.isinf(found).all())


SUMS = np.float32([[3, -1], [5, 1]])
X2 = ops.input_node("x", (2,))
MUL, ADD = ops.make("mul", X2, ops.constant([2.0, 3.0])), ops.make("add", X2, ops.constant([1.0, -1.0]))


@pytest.mark.parametrize(
    ("steps", "slots", "layer_slots", "expected"),
    [
        ([MUL], 2, 2, SUMS), ([ADD], 4, 4, SUMS), ([MUL, ADD], 6, 6, SUMS), ([MUL, ADD], 7, 7, SUMS),
        ([MUL, ADD], 2, 2, None), ([MUL], 6, 6, None), ([ADD], 2, 2, None), ([MUL], 4, 4, None),
        ([MUL], 64, 0, SUMS * np.float32([2, 3])), ([ADD], 64, 1, SUMS + np.float32([1, -1])),
        ([MUL, ADD], 64, 0, SUMS * np.float32([2, 3]) + np.float32([1, -1])),
    ],
)  # fmt: skip
def test_sums_with_the_steps_that_make_them_keras(
    steps: list[Any], slots: int, layer_slots: int, expected: Array | None
) -> None:
    """Done by the layer itself, or here; where the layer does others, there is nothing to compare."""
    known = SimpleNamespace(
        sums=SimpleNamespace(origins={"layer": "sums:0"}, steps={"layer": steps}), checks={},
        fed=SimpleNamespace(stepper=SimpleNamespace(step_raw=lambda index, count: SUMS.copy())),
    )  # fmt: skip
    info = op(0, "iconv2d", [0], 1, slots=slots, layer_slots=layer_slots)
    theirs = SUMS if expected is None else expected
    Verifier._sums(known, info, {"sums:0": theirs}, 2)
    if expected is None:
        assert not known.checks
        return
    (check,) = known.checks.values()
    assert (check.compared, check.different, check.beyond, check.largest) == (4, 0, 0, 0)
    Verifier._sums(known, info, {"sums:0": theirs + np.float32([0, 2.0**-20])}, 2)
    assert (check.compared, check.different, check.beyond, check.kind, check.binary) == (8, 2, 2, "sums", True)
    known.checks.clear()
    Verifier._sums(known, info, {"sums:0": theirs[:, :1]}, 2)
    assert not known.checks  # of another size


# -- end to end -------------------------------------------------------------------------------------------------------
