# SPDX-License-Identifier: Apache-2.0
"""The parts of `verify`, each alone: what Keras rounds and the compiled network does not, and what is judged."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import bnn
import op_graphs
from bnn.file.write import encode
from bnn.ir import ops
from bnn.ir.graph import Graph
from bnn.ir.ops.rounding import FUNCTION, NOTHING, TINY
from bnn.passes import lower
from bnn.verification import synchronous
from bnn.verification.reference import exact_layers
from bnn.verification.results import Comparison, EndToEnd
from bnn.verification.synchronous import _Verifier

U = 2.0**-24


@pytest.mark.parametrize(("table", "largest"), [([0.25, -0.5], 1.0), ([0.25, -3.0], 3.0)])
@pytest.mark.parametrize(("op", "expected"), [("cast", FUNCTION), ("dequantize", FUNCTION), ("add", 0.0)])
def test_own_rounding_in_tables(table: list[float], largest: float, op: str, expected: float) -> None:
    """Of a library function whose values the compiled network has looked up before."""
    x = ops.input_node("x", (2,))
    curve = ops.make("exp", x, origin="exp:0")
    known = SimpleNamespace(
        source=Graph((x,), (curve,), ("y",)), nodes=[SimpleNamespace(inputs=(x, ops.constant(table)))],
        model=SimpleNamespace(
            ops=[SimpleNamespace(op=op, index=3, output=0, layer="table")],
            tensors=[SimpleNamespace(origin="exp:0", dtype="f32")],
        ),
    )  # fmt: skip
    found = _Verifier._own_rounding(known)  # type: ignore[arg-type]
    assert found == ({3: 16 * U * largest} if expected else {})
    known.model.tensors[0].dtype = "b1"
    assert _Verifier._own_rounding(known) == {3: math.inf}  # type: ignore[arg-type]


@pytest.mark.parametrize(("first", "exact"), [(2.0**24 - 2, True), (2.0**24 - 1, False), (2.0**24, False)])
def test_layers_are_exact_below_2_to_24(first: float, exact: bool) -> None:
    signs = ops.make("sign", ops.input_node("x", (2,)))
    w = ops.constant(np.reshape([first, 1.0], (1, 1, 1, 2)))
    graph = Graph((signs.inputs[0],), (ops.make("conv2d", signs, w, attrs=ops.ConvAttrs(), name="layer"),), ("y",))
    assert exact_layers(lower(graph, until="recognize_quantizers")) == ({"layer"} if exact else set())


def tensor(index: int, storage: str = "output") -> Any:
    return SimpleNamespace(index=index, name="y", origin="y:0", offset=0, storage=storage, dtype="f32")


def test_outputs_are_judged_by_their_limit() -> None:
    """Three images: as far as the limit, beyond it with another class, and beyond it behind a bit that differs."""
    ours = np.float32([[1.5, 0], [0, 1.51], [9, 0]])
    theirs = np.float32([[1, 0], [0.5, 0], [0, 9]])
    known = SimpleNamespace(
        end=EndToEnd(), model=SimpleNamespace(tensors=[tensor(7), tensor(8, "arena")]),
        alone=SimpleNamespace(stepper=SimpleNamespace(peek=lambda index, count: ours)),
        original=SimpleNamespace(outputs=["y:0"]),
    )  # fmt: skip
    _Verifier._final(known, {"y:0": theirs}, {7: np.full((3, 2), 0.5)}, np.array([True, True, False]))  # type: ignore[arg-type]
    assert known.end == EndToEnd(
        images_judged=2, outputs_beyond_rounding=1, classes_different=2, classes_beyond_rounding=1,
        largest_output_difference=9.0,
    )  # fmt: skip


def test_what_comes_after_is_judged_by_what_differs_here() -> None:
    """A float's error is what it differs, up to its limit."""
    amount = np.array([[0.0, 0.125, 0.5, 3.0]])
    known = SimpleNamespace(end_checks={}, binary={0: False}, alone=SimpleNamespace(errors={}))
    found = Comparison(amount > 0, amount > 1, amount)
    op, out = SimpleNamespace(index=0, op="add", layer="layer"), tensor(4, "arena")
    clean = _Verifier._alone(known, op, out, found, np.full(amount.shape, 1.0), np.array([True]))  # type: ignore[arg-type]
    assert clean.tolist() == [True] and known.alone.errors[4].tolist() == [[0, 0.125, 0.5, 1.0]]
    (check,) = known.end_checks.values()
    assert (check.different, check.beyond) == (3, 1)
    none = Comparison(amount < 0, amount < 0, 0 * amount)
    _Verifier._alone(known, op, out, none, np.full(amount.shape, 1.0), np.array([True]))  # type: ignore[arg-type]
    assert known.alone.errors[4] is NOTHING and TINY < 2e-38


def test_a_level_that_turned_ends_an_image_like_a_bit() -> None:
    """Levels half of whose distance is 0.25: less is rounding."""
    amount = np.array([[0.0, 0.0], [0.2, 0.0], [0.0, 0.5]])
    table = ops.constant(np.array([-1, -0.5, 1], np.float32))
    node = SimpleNamespace(inputs=(None, table))
    known = SimpleNamespace(end_checks={}, binary={0: False}, alone=SimpleNamespace(errors={}), nodes=[node])
    op, out = SimpleNamespace(index=0, op="dequantize", layer="layer"), tensor(4, "arena")
    found = Comparison(amount > 0, amount > 1, amount)
    clean = _Verifier._alone(known, op, out, found, np.ones(amount.shape), np.ones(3, bool))  # type: ignore[arg-type]
    assert clean.tolist() == [True, True, False]


@pytest.mark.parametrize("whole_batch", [False, True])
def test_an_image_is_judged_up_to_its_first_different_bit(whole_batch: bool) -> None:
    """The others are judged on, unless each goes into all."""
    different = np.array([[False, False], [True, False], [False, False]])
    known = SimpleNamespace(
        end_checks={}, binary={0: True}, alone=SimpleNamespace(errors={}), end=EndToEnd(),
        model=SimpleNamespace(whole_batch=whole_batch),
    )  # fmt: skip
    op, out = SimpleNamespace(index=0, op="binarize", layer="layer"), SimpleNamespace(index=4, name="y", dtype="b1")
    clean = np.ones(3, bool)
    for found, left in ((~different & different, [True] * 3), (different, [not whole_batch, False, not whole_batch])):
        comparison = Comparison(found, found & ~found, 0.0 * found)
        clean = _Verifier._alone(known, op, out, comparison, NOTHING, clean)  # type: ignore[arg-type]
        assert clean.tolist() == left
    assert known.end.first_differences == 1


def test_inputs_of_as_many_images_and_of_the_right_shape() -> None:
    x, y = (ops.input_node(name, (3,)) for name in "xy")
    model = bnn.Model.from_bytes(encode(op_graphs.plan([x, y], [ops.make("add", x, y)])))
    for first, second in (((2, 3), (1, 3)), ((1, 3), (2, 3)), ((2, 3), (2, 4)), ((0, 3), (0, 3))):
        with pytest.raises(bnn.InputError, match=r"input '[xy]'(: found (shape|an empty batch)| has [12] images but)"):
            synchronous.verify(None, model, [np.zeros(first, np.float32), np.zeros(second, np.float32)])


@pytest.mark.parametrize(
    ("op", "slots", "layer_slots", "compared"),
    [
        ("bconv2d", 64, 0, True), ("bconv2d", 0, 0, False), ("bconv2d", 4, 4, False), ("bconv2d", 68, 4, False),
        ("iconv2d", 1, 1, True), ("iconv2d", 65, 1, True), ("iconv2d", 5, 5, False), ("conv2d", 64, 0, False),
    ],
)  # fmt: skip
def test_which_layers_are_compared_by_their_sums(op: str, slots: int, layer_slots: int, compared: bool) -> None:
    """Those of which the sums are no result of an op, and to which the layer adds nothing of its own."""
    sums = np.float32([[3, -1], [5, 1]])
    known = SimpleNamespace(
        sums=SimpleNamespace(origins={"layer": "sums:0"}, steps={"layer": []}), checks={},
        fed=SimpleNamespace(stepper=SimpleNamespace(step_raw=lambda index, count: sums)),
    )  # fmt: skip
    info = SimpleNamespace(index=0, op=op, layer="layer", slots=slots, layer_slots=layer_slots)
    _Verifier._sums(known, info, {"sums:0": sums + np.float32([0, 2])}, 2)  # type: ignore[arg-type]
    assert [(c.kind, c.compared, c.beyond) for c in known.checks.values()] == ([("sums", 4, 2)] if compared else [])
