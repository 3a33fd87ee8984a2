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
from bnn.ir.ops.rounding import NOTHING, TINY
from bnn.verification import layers
from bnn.verification.layers import _Run, _Verifier
from bnn.verification.report import Comparison, EndToEnd, LayerCheck

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
        source=Graph((x,), (conv,), ("y",)), nodes=[conv], exact_layers=set(),
        sums=SimpleNamespace(origins={}, offset={"layer"} if offset else set()),
        model=SimpleNamespace(
            ops=[SimpleNamespace(op="bconv2d", index=5, output=0, layer="layer")],
            tensors=[SimpleNamespace(origin="", dtype="f32")],
        ),
    )  # fmt: skip
    g = 32 * 2.0**-24 / (1 - 32 * 2.0**-24)
    expected = (2 * g + 4e-6) * 32 * top * (4 if planes > 1 or offset else 1)
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
    assert layers._binary_ops(SimpleNamespace(tensors=tensors, ops=ops_)) == {0: binary}  # type: ignore[arg-type]


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
    assert layers._binary_ops(SimpleNamespace(tensors=tensors, ops=ops_))[1] == binary  # type: ignore[arg-type]


# -- against Keras' values --------------------------------------------------------------------------------------------


def test_values_of_keras_in_the_files_shape() -> None:
    """A tensor without a name, or of another size, is not compared."""
    keras = {"y:0": np.arange(12, dtype=np.float64).reshape(2, 6)}
    found = Verifier._theirs(None, tensor(0, origin="y:0", shape=(2, 3)), keras, 2)
    assert found.shape == (2, 2, 3) and found.dtype == np.float32 and found[1, 0, 0] == 6
    assert Verifier._theirs(None, tensor(0, shape=(2, 3)), keras, 2) is None
    for shape in ((2, 2), (7,), (12,)):
        assert Verifier._theirs(None, tensor(0, origin="y:0", shape=shape), keras, 2) is None


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


class Fed:
    """A run whose results are given; what it is told is kept."""

    def __init__(self, limit: float) -> None:
        self.limit, self.stepper = np.full((2, 1), limit), self
        self.begun: list[Any] = []
        self.errors: dict[int, Array] = {}
        self.poked: dict[int, Array] = {}

    def begin(self, chunk: list[Array]) -> None:
        self.begun.append(chunk)

    def step(self, op: Any, count: int) -> tuple[Array, Array]:
        self.errors[op.output] = self.limit
        return np.full((count, 1), 3.0), self.limit

    def poke(self, index: int, values: Array) -> None:
        self.poked[index] = values


def test_each_layer_is_fed_keras_own_values() -> None:
    """Where there are some, without an error then; the network alone is fed the images."""
    fed, alone, end, ends = Fed(0.5), Fed(0.25), EndToEnd(images_with_different_bits=5), []
    theirs, clean, x = np.full((2, 1), 4.0), np.array([True, False]), [np.ones((2, 1), np.float32)]
    check = LayerCheck("layer", "add", "floats", False)
    known = SimpleNamespace(
        fed=fed, alone=alone, end=end, model=SimpleNamespace(
            tensors=[tensor(0), tensor(1, origin="y:0"), tensor(2)],
            ops=[op(0, "add", [0], 1), op(1, "add", [1], 2)],
        ),
        _sums=lambda op, keras, count: None, _distances=lambda *given: None, _check=lambda op, out: check,
        _theirs=lambda out, keras, count: theirs if out.origin else None,
        _alone=lambda op, out, found, limit, before: clean & before,
        _final=lambda keras, limits, clean: ends.append((limits, clean)),
    )  # fmt: skip
    Verifier._chunk(known, x, {})
    assert fed.begun == alone.begun == [x]
    assert list(fed.poked) == [1] and fed.poked[1] is theirs and not alone.poked
    assert fed.errors[1] is NOTHING and fed.errors[2] is fed.limit and alone.errors[1] is alone.limit
    assert end.images_with_different_bits == 6 and (check.compared, check.beyond) == (2, 2)
    ((limits, left),) = ends
    assert limits == {1: alone.limit, 2: alone.limit} and left.tolist() == [True, False]


# -- end to end -------------------------------------------------------------------------------------------------------


def test_an_images_first_bits_alone_are_judged() -> None:
    """Images: equal; one that differs first here, beyond rounding; one that differed before."""
    different = np.array([[False, False], [True, True], [True, False]])
    amount = np.array([[0.0, 0], [0.5, 1e-6], [7.0, 0]])
    found = Comparison(different, amount > 1e-5, amount)
    known = SimpleNamespace(
        end_checks={}, binary={0: True}, end=EndToEnd(largest_distance=0.25),
        alone=SimpleNamespace(errors={4: np.ones(1)}), model=SimpleNamespace(whole_batch=False),
    )  # fmt: skip
    bits, layer = tensor(4, "b1"), op(0, "binarize", [0], 4)
    clean = Verifier._alone(known, layer, bits, found, NOTHING, np.array([True, True, False]))
    assert clean.tolist() == [True, False, False] and known.alone.errors[4] is NOTHING
    (check,) = known.end_checks.values()
    assert (check.compared, check.different, check.beyond, check.largest) == (6, 3, 1, 7.0)
    end = known.end
    assert (end.first_differences, end.beyond_rounding, end.largest_distance) == (2, 1, 0.5)
    Verifier._alone(known, layer, bits, found._replace(amount=amount / 100), NOTHING, np.array([True, True, False]))
    assert (end.first_differences, end.beyond_rounding, end.largest_distance) == (4, 2, 0.5)


def test_floats_are_judged_in_images_without_a_different_bit() -> None:
    amount = np.array([[0.0, 0.125], [9.0, 9.0]])
    known = SimpleNamespace(end_checks={}, binary={0: False}, alone=SimpleNamespace(errors={}))
    clean = np.array([True, False])
    found = Comparison(amount > 0, amount > 0.1, amount)
    limit = np.full(amount.shape, 0.125)
    assert Verifier._alone(known, op(0, "add", [0], 4), tensor(4), found, limit, clean) is clean
    (check,) = known.end_checks.values()
    assert (check.compared, check.different, check.beyond, check.largest) == (2, 1, 1, 0.125)
    zero = np.zeros(amount.shape)
    tiny = Comparison(amount > 0, amount < 0, np.full(amount.shape, TINY))
    Verifier._alone(known, op(0, "add", [0], 4), tensor(4), tiny, zero, clean)
    assert (known.alone.errors[4] == np.float32(TINY)).all()  # which counts as equal, and may grow


def final(outputs: list[Array], theirs: dict[str, Array], limit: float, clean: Array, end: EndToEnd) -> EndToEnd:
    tensors = [tensor(7 + i, storage="output", offset=i) for i in range(len(outputs))]
    known = SimpleNamespace(
        end=end, model=SimpleNamespace(tensors=tensors[::-1]),
        alone=SimpleNamespace(stepper=SimpleNamespace(peek=lambda index, count: outputs[index - 7])),
        original=SimpleNamespace(framework="Keras", outputs=list(theirs)),
    )  # fmt: skip
    Verifier._final(known, theirs, {7 + i: np.full(y.shape, limit) for i, y in enumerate(outputs)}, clean)
    return end


def test_the_class_is_the_first_outputs() -> None:
    """Of three images the first differs in output 0 alone, the second in output 1 alone, the third in none."""
    a, b = np.float32([[1, 0], [1, 0], [1, 0]]), np.float32([[[0], [1]]] * 3)
    theirs = {"a:0": np.float32([[0, 1], [1, 0], [1, 0]]), "b:0": np.float32([[0, 1], [1, 0], [0, 1]])}
    end = EndToEnd(largest_output_difference=0.5)
    for times in (1, 2):
        final([a, b], theirs, 0.5, np.array([True, True, True]), end)
        assert (end.images_judged, end.outputs_beyond_rounding) == (3 * times, 2 * times)
        assert (end.classes_different, end.classes_beyond_rounding) == (times, times)
    assert end.largest_output_difference == 1
    end = final([a, b], theirs, 0.5, np.array([False, True, True]), EndToEnd())
    assert (end.images_judged, end.outputs_beyond_rounding, end.classes_different) == (2, 1, 1)
    assert end.classes_beyond_rounding == 0
    end = final([a, b], theirs, 1.0, np.array([True, True, True]), EndToEnd())
    assert (end.outputs_beyond_rounding, end.classes_different, end.classes_beyond_rounding) == (0, 1, 0)


def test_one_number_is_no_class() -> None:
    end = final([np.float32([[1], [2]])], {"a:0": np.float32([[2], [1]])}, 0.0, np.array([True, True]), EndToEnd())
    assert (end.classes_different, end.outputs_beyond_rounding) == (0, 2)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3), (1, 4), (4, 1)])
def test_outputs_of_another_size(shape: tuple[int, ...]) -> None:
    y = np.zeros((2, 2), np.float32)
    with pytest.raises(bnn.InputError, match=r"output 't7': the Keras model gives .* for 2 images, the file \(2, 2\)"):
        final([y], {"a:0": np.zeros(shape, np.float32)}, 0.0, np.ones(2, bool), EndToEnd())
