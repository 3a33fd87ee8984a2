# SPDX-License-Identifier: Apache-2.0
"""What `verify` takes: arrays, models that belong together, and images without what is no number."""

from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.importers import round_plainly
from bnn.importers.tensorflow.frozen import Frozen, TfNode
from bnn.importers.tensorflow.load import TensorFlowModel
from bnn.ir import ops
from bnn.ir.graph import Graph
from bnn.runtime.arrays import check_array
from bnn.verification.results import EndToEnd
from bnn.verification.synchronous import _Verifier

Verifier: Any = _Verifier  # its methods, of something that has what they read
F32 = np.dtype(np.float32)


# -- what goes in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.dtype(np.uint8), np.dtype(np.int8)])
def test_bytes_are_not_made_of_other_numbers(dtype: np.dtype[Any]) -> None:
    x = np.zeros((2, 3), dtype)
    assert check_array(x, "x", (3,), dtype, convert=True).dtype == dtype
    with pytest.raises(bnn.InputError, match=f"x: found dtype float32, expected {dtype}; pass"):
        check_array(x.astype(F32), "x", (3,), dtype, convert=True)
    for other in (x, x.T.astype(np.float64).T):
        found = check_array(other, "x", (3,), F32, convert=True)
        assert found.dtype == F32 and found.flags.c_contiguous
    with pytest.raises(bnn.InputTypeError, match="found dtype complex64"):
        check_array(x.astype(np.complex64), "x", (3,), F32, convert=True)


def test_inputs_must_be_the_files() -> None:
    x = ops.input_node("x", (4, 5))
    graph = Graph((x,), (ops.make("exp", x),), ("y",))

    def source(names: list[str], *shapes: tuple[int, ...]) -> Graph:
        stored = [SimpleNamespace(storage="input", offset=i, shape=shape) for i, shape in enumerate(shapes)]
        model = SimpleNamespace(input_dtypes=[F32] * len(shapes), tensors=stored)
        original = SimpleNamespace(framework="Keras", input_names=names, graph=lambda input_dtype: graph)
        found: Graph = Verifier._source(SimpleNamespace(original=original, model=model))
        return found

    assert source(["x"], (4, 5)) is graph
    for names, shapes in ((["x"], [(4, 5)] * 2), (["x", "y"], [(4, 5)])):
        said = f"found a Keras model with {len(names)} inputs, expected {len(shapes)}"
        with pytest.raises(bnn.InputError, match=said):
            source(names, *shapes)
    for shape in ((5, 4), (4,), (4, 6)):
        with pytest.raises(bnn.InputError, match=r"input 'x': the Keras model takes images \(4, 5\), the file"):
            source(["x"], shape)


def test_what_is_asked_of_the_source() -> None:
    """Values of tensors, of sums, of what bits compare, and the outputs."""
    known = SimpleNamespace(
        model=SimpleNamespace(tensors=[SimpleNamespace(origin=o) for o in ("a:0", "", "q:1")]),
        sums=SimpleNamespace(origins={"layer": "s:0"}), margins={"q:1": SimpleNamespace(origins={"m:7"})},
        original=SimpleNamespace(outputs=["y:0"]),
    )  # fmt: skip
    assert Verifier._wanted(known) == ["a:0", "m:7", "q:1", "s:0", "y:0"]


def frozen_cast() -> Frozen:
    """An input of int32, and its half."""
    nodes = [TfNode("Placeholder", "x", (), {"dtype": "int32"}), TfNode("Halve", "y", (("x", 0),), {})]
    return Frozen(
        nodes, ["x"], ["x"], [("y", 0)], ["y"], lambda node, operands: [operands[0] // 2], lambda *given: given[0]
    )


def test_placeholders_get_their_own_type() -> None:
    values = TensorFlowModel(frozen_cast()).evaluate([np.full((1, 2), 7, np.uint8)], ["x:0", "y:0"])
    assert values["x:0"].dtype == np.int32 and values["y:0"].tolist() == [[3, 3]]


@pytest.mark.parametrize("missing", ["a:0", "y:1", "y:8"])
def test_a_tensor_that_the_source_has_not(missing: str) -> None:
    ops, tensors = [SimpleNamespace(output=0, layer="first")], [SimpleNamespace(origin="a:0")]
    model = SimpleNamespace(ops=ops, tensors=tensors)
    known = SimpleNamespace(wanted=["y:0", missing], original=TensorFlowModel(frozen_cast()), model=model)
    what = "its layer 'first'" if missing == "a:0" else "one of its layers"
    with pytest.raises(bnn.InputError, match=f"not compiled from this Keras model, which lacks {what}; compile"):
        Verifier._values(known, [np.zeros((1, 2), np.uint8)])


@pytest.mark.parametrize("imported", [False, True])
@pytest.mark.parametrize("given", [None, "1"])
def test_onednn_is_off_where_nothing_is_said(imported: bool, given: str | None, monkeypatch: Any) -> None:
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if given:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", given)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    if imported:
        monkeypatch.setitem(sys.modules, "tensorflow", ModuleType("tensorflow"))
    round_plainly()
    found = os.environ.get("TF_ENABLE_ONEDNN_OPTS")
    assert found == (given or (None if imported else "0"))


# -- images with what is no number ------------------------------------------------------------------------------------


class Fake:
    """A model whose outputs are given."""

    def __init__(self, *outputs: Any, bits: bool = True, whole_batch: bool = False) -> None:
        self.outputs, self.whole_batch, self.given = [np.float32(y) for y in outputs], whole_batch, None
        self.tensors = [SimpleNamespace(dtype="f32"), SimpleNamespace(dtype="b1" if bits else "f32")]

    def __call__(self, x: Any) -> Any:
        self.given = x
        return self.outputs if len(self.outputs) > 1 else self.outputs[0]


NAN = np.nan
X = np.float32([[1, 2], [3, NAN], [5, 6]])


@pytest.mark.parametrize(
    ("model", "keras", "asked", "compared"),
    [
        (Fake([[NAN, NAN]]), {}, [1], [True, False, True]),
        (Fake([[NAN, 1]]), {}, [1], [True, True, True]),
        (Fake([[NAN, NAN]], bits=False), {}, None, [True, True, True]),
        (Fake([[NAN], [NAN]]), {"y:0": np.float32([[1], [1], [np.inf]])}, [1, 2], [True, False, False]),
        (Fake([[NAN], [1]]), {"y:0": np.float32([[1, 1], [1, 1], [1, NAN]])}, [1, 2], [True, False, True]),
        (Fake([[NAN]]), {"w:0": np.float32([NAN] * 4)}, [1], [True, False, True]),  # of no image
        (Fake([[NAN]], [[[NAN, 1]]]), {}, [1], [True, True, True]),  # two outputs
        (Fake([[NAN]], [[[NAN, NAN]]]), {}, [1], [True, False, True]),
        (Fake([[NAN]] * 3, whole_batch=True), {}, [0, 1, 2], [False] * 3),
    ],
)
@pytest.mark.parametrize("inputs", [1, 2])
def test_images_whose_outputs_are_no_numbers(
    model: Fake, keras: dict[str, Array], asked: list[int] | None, compared: list[bool], inputs: int
) -> None:
    model.given = None
    found = Verifier._numbers(SimpleNamespace(model=model), [X, X + 1][:inputs], keras)
    assert found.tolist() == compared
    if asked is None:
        assert model.given is None
    else:
        given: Any = model.given if inputs > 1 else [model.given]
        np.testing.assert_array_equal(given, [X[asked], X[asked] + 1][:inputs])


@pytest.mark.parametrize(
    ("numbers", "compared"),
    [
        ([[True] * 4, [True] * 2], [[0, 1, 2, 3], [4, 5]]),
        ([[True, False, True, True], [False, False]], [[0, 2, 3]]),
        ([[False] * 4, [False, True]], [[5]]),
        ([[False] * 4, [False] * 2], None),
    ],
)
def test_only_numbers_are_compared(numbers: list[list[bool]], compared: list[list[int]] | None) -> None:
    """By chunks of four; Keras computes those anew that are compared."""
    seen, left, done = [], [np.array(n) for n in numbers], list[int]()
    known = SimpleNamespace(
        checks={}, changes={}, end_checks={}, end=EndToEnd(), source=None, nodes=[], quantized=0,
        original=SimpleNamespace(framework="Keras", rounding_hint=lambda: ""),
        fed=SimpleNamespace(stepper=SimpleNamespace(images=4)), _values=lambda chunk: chunk[0][:, 0].tolist(),
        _numbers=lambda chunk, keras: left.pop(0),
        _chunk=lambda chunk, keras: seen.append((chunk[0][:, 0].tolist(), keras)),
    )  # fmt: skip
    x = np.arange(6, dtype=np.float32)[:, None]
    if compared is None:
        with pytest.raises(bnn.InputError, match="in every image NaN reaches a quantizer"):
            Verifier.run(known, [x], None)
        return
    report = Verifier.run(known, [x], done.append)
    assert seen == [(chunk, chunk) for chunk in compared] and done == [4, 2]
    assert report.images_with_nan == 6 - sum(map(len, compared)) and report.images == 6
