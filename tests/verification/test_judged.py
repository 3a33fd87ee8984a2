# SPDX-License-Identifier: Apache-2.0
"""`verify` of an ONNX network in which one number was changed, against a computation of what differs in NumPy.

All sums are exact, so every difference counts, and rounding excuses none.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.verification import synchronous

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
Weights = dict[str, Array]


def draw(rng: np.random.Generator) -> Weights:
    """Of no sum that a quantizer compares with 0 is 0."""
    return {
        "w1": rng.integers(-4, 5, (6, 8)) / 4, "b1": rng.integers(-4, 4, 8) / 4 + 1 / 32,
        "w2": rng.choice([-1, 1], (8, 7)), "b2": rng.integers(-2, 2, 7) + 0.5,
        "w3": rng.choice([-1, 1], (7, 5)), "b3": rng.integers(-2, 3, 5) / 4,
        "w4": rng.choice([-1, 1], (7, 3)), "b4": rng.integers(-2, 3, 3) / 4,
    }  # fmt: skip


def values(w: Weights, x: Array) -> dict[str, Array]:
    s1 = np.sign(x @ w["w1"] + w["b1"])
    s2 = np.sign(s1 @ w["w2"] + w["b2"])
    return {"s1": s1, "s2": s2, "y": s2 @ w["w3"] + w["b3"], "z": s2 @ w["w4"] + w["b4"]}


def model_of(nodes: list[Any], w: Weights, inputs: int, **outputs: int) -> Any:
    h, one = onnx.helper, onnx.TensorProto.FLOAT
    graph = h.make_graph(
        nodes, "net", [h.make_tensor_value_info("x", one, ["n", inputs])],
        [h.make_tensor_value_info(name, one, ["n", n]) for name, n in outputs.items()],
        [onnx.numpy_helper.from_array(np.asarray(v, np.float32), name) for name, v in w.items()],
    )  # fmt: skip
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)


def network(w: Weights) -> Any:
    h = onnx.helper
    nodes, steps = [], (("x", 1, "s1"), ("s1", 2, "s2"), ("s2", 3, "y"), ("s2", 4, "z"))
    for given, k, out in steps:
        added = out if k > 2 else f"a{k}"
        nodes += [h.make_node("MatMul", [given, f"w{k}"], [f"m{k}"], name=f"dense{k}"),
                  h.make_node("Add", [f"m{k}", f"b{k}"], [added], name=f"bias{k}")]  # fmt: skip
        nodes += [h.make_node("Sign", [added], [out], name=f"sign{k}")] if k < 3 else []
    return model_of(nodes, w, 6, y=5, z=3)


@pytest.mark.parametrize("name", [None, "all of the first", "w1", "b1", "w2", "b2", "w3", "b3", "w4", "b4"])
def test_one_number_of_one_layer(name: str | None, rng: np.random.Generator) -> None:
    """Fed with the source's own values only its layer differs; alone, images are judged up to their first bit."""
    w, x = draw(rng), (rng.integers(-8, 9, (11, 6)) / 4).astype(np.float32)
    other = {k: v.copy() for k, v in w.items()}
    if name == "all of the first":  # whose bits change those of the second
        other["w1"], other["b1"] = -w["w1"], -w["b1"]
    elif name is not None:
        at = tuple(int(rng.integers(n)) for n in w[name].shape)
        other[name][at] = -w[name][at] if name in ("w2", "w3", "w4") else w[name][at] + rng.choice([-8, -1, 1, 8])
    ours, theirs = values(w, x), values(other, x)
    model, done = bnn.compile(network(w), zero=1), list[int]()
    report = bnn.verify(network(other), model, x, zero=1, batch_size=4, progress=done.append, allow_silent=True)
    assert done == [4, 4, 3] and report.images == 11
    bits = {k: ours[k] != theirs[k] for k in ("s1", "s2")}
    dirty = {k: v.any(axis=1) for k, v in bits.items()}
    clean = ~dirty["s1"] & ~dirty["s2"]
    end = report.end_to_end
    assert end.images_with_different_bits == (~clean).sum() and end.images_judged == clean.sum()
    assert end.first_differences == bits["s1"].sum() + bits["s2"][~dirty["s1"]].sum()
    wrong = np.zeros(11, bool)
    for k in ("y", "z"):
        wrong |= (ours[k] != theirs[k]).any(axis=1)
    classes = ours["y"].argmax(axis=1) != theirs["y"].argmax(axis=1)
    assert end.outputs_beyond_rounding == (wrong & clean).sum()
    assert (end.classes_different, end.classes_beyond_rounding) == (classes.sum(), (classes & wrong & clean).sum())
    assert end.largest_output_difference == max(np.abs(ours[k] - theirs[k]).max() for k in ("y", "z"))
    # Each layer, fed with what the source has before it.
    before = {"1": x, "2": theirs["s1"], "3": theirs["s2"], "4": theirs["s2"]}
    sums = {k: v @ w[f"w{k}"] != v @ other[f"w{k}"] for k, v in before.items()}
    added = {k: v @ w[f"w{k}"] + w[f"b{k}"] != v @ other[f"w{k}"] + other[f"b{k}"] for k, v in before.items()}
    fed = {
        "bias1": added["1"], "dense2": sums["2"], "dense3": sums["3"], "dense4": sums["4"], "y": added["3"],
        "z": added["4"], "sign1": bits["s1"] & False,
        "sign2": np.sign(theirs["s1"] @ w["w2"] + w["b2"]) != theirs["s2"],
    }  # fmt: skip
    for check in report.layers:
        found = fed.pop(check.layer)
        assert (check.compared, check.different, check.beyond) == (found.size, found.sum(), found.sum()), check
        assert check.failed == found.any() and check.binary == (check.layer not in ("bias1", "sign1"))
    assert not fed and end.beyond_rounding == end.first_differences
    assert report.ok == (not any(check.failed for check in report.layers) and not (wrong & clean).any() and clean.all())
    assert ("other weights" in report.hint) == (not report.ok)


def test_what_rounds_before_a_layer_excuses_nothing_in_it(rng: np.random.Generator) -> None:
    """It is fed with the source's own values: of these no rounding is left."""
    h = onnx.helper
    steps = [("MatMul", "x", "w1", "a"), ("Abs", "a", None, "b"), ("MatMul", "b", "w2", "c"), ("Add", "c", "b2", "y")]
    nodes = [h.make_node(op, [i for i in (x, w) if i], [out], name=out) for op, x, w, out in steps]
    w = {"w1": rng.normal(size=(1000, 4)), "w2": np.diag(np.arange(1.0, 5)), "b2": rng.normal(size=4)}
    x = rng.normal(size=(6, 1000)).astype(np.float32)
    with pytest.warns(bnn.CompileWarning):  # the weights of the second are few
        model = bnn.compile(model_of(nodes, w, 1000, y=4))
    for more, wrong in ((0, []), (0.002, ["y"])):  # far less than the first sums may be off
        report = bnn.verify(model_of(nodes, {**w, "b2": w["b2"] + more}, 1000, y=4), model, x)
        assert [check.layer for check in report.layers if check.failed] == wrong, report
        assert report.ok == (not wrong) and sum(check.beyond for check in report.layers) == 24 * len(wrong)


def test_bits_that_rounding_could_turn_but_hardly_does(rng: np.random.Generator) -> None:
    """The bound of a long sum assumes that all rounding goes one way; a bit far from its threshold, though within the
    bound, was not turned by rounding."""
    h = onnx.helper
    steps = [("MatMul", "x", "w1", "a"), ("Add", "a", "b1", "b"), ("Sign", "b", None, "c"), ("MatMul", "c", "w2", "y")]
    nodes = [h.make_node(op, [i for i in (x, w) if i], [out], name=out) for op, x, w, out in steps]
    w = {"w1": rng.normal(size=(4000, 20)), "b1": rng.normal(size=20), "w2": rng.choice([-1.0, 1.0], (20, 4))}
    x = rng.normal(size=(250, 4000)).astype(np.float32)
    model = bnn.compile(model_of(nodes, w, 4000, y=4), zero=1)
    far = 0.01 * np.sqrt(4000)  # of 0.01 deviations; the bound is twice as far
    for more, ok in ((0, True), (far, False)):
        report = bnn.verify(model_of(nodes, {**w, "b1": w["b1"] + more}, 4000, y=4), model, x, zero=1)
        assert report.ok == (report.end_to_end.beyond_rounding == 0) == ok, report


def test_images_at_a_time(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the layers have room for, here 2^16 times less than 2^24 values, and at most 64."""
    source, done, of = network(draw(rng)), list[int](), synchronous.images_of
    model = bnn.compile(source)
    bnn.verify(source, model, np.ones((70, 6), np.float32), progress=done.append)
    assert done == [64, 6]
    done.clear()

    def less(model: bnn.Model, values: int, most: int) -> int:
        assert values == 2**24
        return of(model, values >> 16, most)

    monkeypatch.setattr(synchronous, "images_of", less)
    bnn.verify(source, model, np.ones((20, 6), np.float32), progress=done.append)
    room = 2**8 // sum(math.prod(t.shape) for t in model.tensors if t.origin)
    assert 1 < room < 20 and set(done[:-1]) == {room} and sum(done) == 20


@pytest.mark.parametrize("shift", [0.1, 300.0])
def test_weights_and_levels_with_offsets(shift: float, rng: np.random.Generator) -> None:
    """As in AdaBin (Tu et al., 2022): float sums of large products round where sums of signs do not."""
    h, one = onnx.helper, onnx.TensorProto.FLOAT
    w = rng.choice([-1, 1], (16, 24, 3, 3)) * rng.uniform(0.5, 1, (16, 1, 1, 1)) + shift * rng.normal(
        size=(16, 1, 1, 1)
    )
    weights = {"w": w, "f": rng.normal(size=(24, 3, 1, 1)), "m": np.array(0.7), "s": np.array(0.7 * shift)}
    nodes = [
        h.make_node("Conv", ["x", "f"], ["a"], name="first"), h.make_node("Sign", ["a"], ["b"], name="sign"),
        h.make_node("Mul", ["b", "m"], ["c"], name="scaled"), h.make_node("Add", ["c", "s"], ["d"], name="shifted"),
        h.make_node("Conv", ["d", "w"], ["y"], name="second", pads=[1, 1, 1, 1]),
    ]  # fmt: skip
    graph = h.make_graph(
        nodes, "net", [h.make_tensor_value_info("x", one, ["n", 3, 9, 9])],
        [h.make_tensor_value_info("y", one, ["n", 16, 9, 9])],
        [onnx.numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in weights.items()],
    )  # fmt: skip
    source, x = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), rng.normal(size=(6, 3, 9, 9))
    for zero in (0, 1):  # three levels, and two
        compiled = bnn.compile(source, zero=zero)
        assert compiled.macs.binary > 0 and compiled.macs.float == 24 * 81 * 3
        report = bnn.verify(source, compiled, x.astype(np.float32), zero=zero)
        assert report.ok, f"{report}"
