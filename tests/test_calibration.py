# SPDX-License-Identifier: Apache-2.0
"""Float layers as int8: sums that ONNX Runtime has, too; networks that stay what they were; and verify as the judge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.calibration import METHODS, calibrate
from bnn.file.read import decode
from bnn.file.write import encode
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.interpret import evaluate
from bnn.ir.ops import ConvAttrs, constant, input_node, make
from bnn.ir.ops.conv import random_attrs
from bnn.ir.rewrite import replanned
from bnn.passes import lower
from bnn.passes.choose_layout import choose_layout
from bnn.passes.plan_arena import plan_arena
from bnn.passes.schedule import schedule
from bnn.runtime import Model, available_kernels

Rng = np.random.Generator
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_sums_are_those_of_onnx_runtime(rng: Rng) -> None:
    """ConvInteger, with a zero point."""
    helper = pytest.importorskip("onnx").helper
    runtime = pytest.importorskip("onnxruntime")
    for _ in range(12):
        groups = int(rng.choice([1, 1, 2, 4]))
        c, outputs = groups * int(rng.integers(1, 20)), groups * int(rng.integers(1, 20))
        kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        shape = (int(rng.integers(4, 9)), int(rng.integers(4, 9)), c)
        attrs = replace(random_attrs(rng, shape, kernel, [0]), groups=groups, slots=("zeros",))
        x, zero = rng.integers(0, 256, (2, *shape), np.uint8), int(rng.integers(0, 256))
        w = rng.integers(-128, 128, (outputs, *kernel, c // groups), np.int8)
        operands = (input_node("x", shape, DType.u8), constant(w, DType.i8), constant(np.full(c, zero)))
        node = make("qconv2d", *operands, attrs=attrs)
        ours = evaluate(node, [x, w, operands[2].value])
        conv = helper.make_node(
            "ConvInteger", ["x", "w", "z"], ["y"], strides=attrs.stride, dilations=attrs.dilation, pads=attrs.pads,
            group=groups,
        )  # fmt: skip
        types = [("x", 2, x.transpose(0, 3, 1, 2)), ("w", 3, w.transpose(0, 3, 1, 2)), ("z", 2, np.uint8(zero))]
        inputs = [helper.make_tensor_value_info(name, kind, np.shape(array)) for name, kind, array in types]
        graph = helper.make_graph([conv], "g", inputs, [helper.make_tensor_value_info("y", 6, None)])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=8)
        session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (theirs,) = session.run(None, {name: np.ascontiguousarray(array) for name, _, array in types})
        np.testing.assert_array_equal(ours, theirs.transpose(0, 2, 3, 1).astype(np.float32))


def test_filters_of_any_number_of_bytes(rng: Rng) -> None:
    """Also where they fill no whole words of four."""
    for c in (*range(1, 9), *range(61, 68), 449, 450):
        x = input_node("x", (1, 2, c), DType.u8)
        w = constant(rng.integers(-128, 128, (1, 1, 1, c)), DType.i8)
        graph = planned(make("qconv2d", x, w, constant(np.full(c, 7)), attrs=ConvAttrs(slots=("zeros",))))
        data = rng.integers(0, 256, (2, 1, 2, c), np.uint8)
        expected = ((data.astype(int) - 7) * w.value.astype(int).reshape(-1)).sum(axis=-1, keepdims=True)
        for family in available_kernels():
            found = Model.from_bytes(encode(graph), kernels=family)(data)
            np.testing.assert_array_equal(found, expected.astype(np.float32))


def planned(node: Node) -> Graph:
    return plan_arena(schedule(choose_layout(Graph((node.inputs[0],), (node,), ("y",)))))


@pytest.fixture(scope="module")
def digits() -> tuple[Array, Array]:
    datasets = pytest.importorskip("sklearn.datasets")
    found = datasets.load_digits()
    return (found.images / 16).astype(np.float32)[..., None], found.target


@pytest.mark.parametrize("method", METHODS)
def test_real_images_keep_their_classes(digits: tuple[Array, Array], method: str) -> None:
    images, classes = digits
    model = bnn.load(EXAMPLES / "digits.bnn")
    found = calibrate(model, images[:500], classes[:500], method=method)
    (layer,) = found.layers
    assert layer.layer == "conv1" and not layer.why and layer.snr > 40
    right, before = (net.evaluate(images, classes).accuracy for net in (found.model, model))
    assert right > before - 0.003
    known = tuple(net.evaluate(images[:500], classes[:500]).accuracy for net in (model, found.model))
    assert found.accuracy == known and f"; accuracy {known[1]:.2%} (before: {known[0]:.2%})" in str(found)
    assert found.float_ops == 4 and str(found).endswith(
        "ops of floats: 4"
    )  # the first layer's slots, and the last ones
    assert found.images == 500 and found.same is not None and found.same >= 498
    assert [op.op for op in found.model.ops][:2] == ["quantize", "qconv2d"]
    assert found.model.ops[1].note == f"int8 after training, {layer.snr:.1f} dB"
    assert found.model.labels == model.labels and not any(op.float_macs for op in found.model.ops)
    again = calibrate(found.model, images[:10])  # no layer is left
    assert again.layers == () and again.model.to_bytes() == found.model.to_bytes()


def network(rng: Rng) -> Graph:
    """Two layers of floats, a shortcut, a depthwise one, one of groups, a binary one, and a dense one."""

    def filters(*shape: int) -> Node:
        return constant(rng.normal(size=shape) / np.sqrt(np.prod(shape[1:])))

    x = input_node("x", (12, 11, 3))
    same = ConvAttrs(pads=(1, 1, 1, 1))
    a = make("conv2d", x, filters(24, 3, 3, 3), attrs=same, name="first")
    a = make("maximum", a, constant([0.0]), name="relu")
    b = make("conv2d", a, filters(24, 1, 1, 24), attrs=ConvAttrs(), name="pointwise")
    b = make("add", b, a, name="shortcut")
    b = make("conv2d", b, filters(24, 3, 3, 1), attrs=replace(same, groups=24), name="depthwise")
    b = make("conv2d", b, filters(24, 3, 3, 12), attrs=replace(same, groups=2), name="grouped")
    bits = make("sign", b, name="sign")
    signs = constant(rng.choice([-1.0, 1.0], (40, 3, 3, 24)))
    c = make("conv2d", bits, signs, attrs=ConvAttrs(stride=(3, 3)), name="binary")
    d = make("conv2d", c, filters(17, 2, 3, 40), attrs=ConvAttrs(), name="last")
    return Graph((x,), (d,), ("y",))


def test_layers_one_by_one(rng: Rng) -> None:
    """What each becomes, that nothing else changes, and that every family gives the same bytes."""
    model = Model.from_bytes(encode(lower(network(rng))))
    images = rng.normal(size=(40, 12, 11, 3)).astype(np.float32)
    found = calibrate(model, images, keep_float=["last"])
    kinds = {layer.layer: layer.why for layer in found.layers}
    assert kinds == {"first": "", "pointwise": "", "depthwise": "depthwise", "grouped": "2 groups", "last": "asked for"}
    assert all(layer.snr > 35 for layer in found.layers if not layer.why)
    before, after = ({n.name: n for n in decode(m.to_bytes()).schedule} for m in (model, found.model))
    for name in ("depthwise", "binary", "last"):
        assert before[name].op == after[name].op
        np.testing.assert_array_equal(before[name].inputs[1].value, after[name].inputs[1].value)
    data = found.model.to_bytes()
    results = [Model.from_bytes(data, kernels=family).activations(images[:3]) for family in available_kernels()]
    for name in ("first", "relu", "shortcut", "pointwise"):
        for result in results:
            if name in result:
                np.testing.assert_array_equal(result[name], results[0][name])


@pytest.mark.parametrize("integer_only", [False, True])
def test_ranges_are_those_of_the_method(rng: Rng, integer_only: bool) -> None:
    """Of a layer's data, by all of their values: numbers from 0 on, one of them above the others."""
    x = input_node("x", (16, 16, 4))
    conv = make("conv2d", x, constant(rng.normal(size=(8, 3, 3, 4))), name="conv")
    model = Model.from_bytes(encode(lower(Graph((x,), (conv,), ("y",)))))
    images = rng.random((40, 16, 16, 4), np.float32)
    images[0, 0, 0, 0] = most = 1.03

    def error(high: float) -> float:
        return float(((np.minimum(np.rint(images / (high / 255)), 255) * (high / 255) - images) ** 2).sum())

    highs = {}
    for method in METHODS:
        (layer,) = calibrate(model, images, method=method, integer_only=integer_only).layers
        assert layer.zero == 0
        highs[method] = 255 * layer.scale
    assert highs["minmax"] == pytest.approx(most)
    clipped, more = ((images > highs["percentile"] - part * most).mean() for part in (0, 1 / 2000))
    assert clipped <= 1e-4 < more
    least = min(error(most * part) for part in np.linspace(0.3, 1, 36))
    assert highs["mse"] < 1.02 and error(highs["mse"]) <= 1.001 * least


def test_verify_knows_int8_from_a_mistake(rng: Rng) -> None:
    """Against ONNX Runtime: rounding data and weights to int8 is accepted, a wrong scale is found."""
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper, of_array = onnx.helper, onnx.numpy_helper.from_array
    weights = {"a": (16, 3, 3, 3), "b": (32, 16, 1, 1), "c": (8, 32, 3, 3), "d": (10, 8)}
    arrays = {k: (rng.normal(size=v) / np.sqrt(np.prod(v[1:]))).astype(np.float32) for k, v in weights.items()}
    arrays["c"] = np.where(arrays["c"] < 0, np.float32(-1), np.float32(1))
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["1"], name="first", pads=[1] * 4),
        helper.make_node("Relu", ["1"], ["2"], name="relu"),
        helper.make_node("Conv", ["2", "b"], ["3"], name="second"),
        helper.make_node("Sign", ["3"], ["4"], name="sign"),
        helper.make_node("Conv", ["4", "c"], ["5"], name="binary"),
        helper.make_node("GlobalAveragePool", ["5"], ["6"], name="mean"),
        helper.make_node("Flatten", ["6"], ["7"], name="flat"),
        helper.make_node("Gemm", ["7", "d"], ["y"], name="dense", transB=1),
    ]
    x = helper.make_tensor_value_info("x", 1, ["N", 3, 10, 10])
    y = helper.make_tensor_value_info("y", 1, ["N", 10])
    graph = helper.make_graph(nodes, "g", [x], [y], [of_array(array, name) for name, array in arrays.items()])
    source = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    images = rng.normal(size=(30, 3, 10, 10)).astype(np.float32)
    model = bnn.compile(source, zero=1, calibrate=images)
    assert [op.layer for op in model.ops if op.op == "qconv2d"] == ["first", "second"]
    report = bnn.verify(source, model, images[:6], zero=1)
    assert report.ok and report.quantized == 2, str(report)
    assert "2 layers int8: half a step of their data and weights counts as rounding" in str(report)
    graph = decode(model.to_bytes())
    quantizer = next(n for n in graph.schedule if n.op == "quantize")
    attrs = replace(quantizer.attrs, scale=quantizer.attrs.scale * 1.05)
    wrong = replanned(graph, lambda old, node: replace(node, attrs=attrs) if old is quantizer else node)
    assert not bnn.verify(source, Model.from_bytes(encode(wrong)), images[:6], zero=1).ok


def test_what_is_wrong_is_said(rng: Rng) -> None:
    model = Model.from_bytes(encode(lower(network(rng))))
    images = rng.normal(size=(4, 12, 11, 3)).astype(np.float32)
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (images, {"method": "max"}, "method: found 'max', expected one of mse, minmax, percentile"),
        (images, {"keep_float": ["binary"]}, "found 'binary', expected float layers of this network: depthwise, first"),
        (images, {"keep_float": "first"}, "expected a list of layers' names"),
        (images[:0], {}, "expected at least one image"),
        (images[..., :2], {}, r"expected \(N, 12, 11, 3\)"),
        (
            images * np.where(np.arange(4) < 2, 1, np.inf).reshape(4, 1, 1, 1).astype(np.float32),
            {},
            r"found NaN or infinity in 2 of 4, first in number 2 \(from 0\)",
        ),
        (np.sign(images) * np.float32(3e38), {}, "gives infinity or NaN on them"),
    ]
    for given, options, said in cases:
        with pytest.raises(bnn.InputError, match=said):
            calibrate(model, given, **options)
    digits = Path(__file__).resolve().parents[1] / "examples" / "digits.bnn"  # its sums meet a sign alone
    with pytest.raises(bnn.InputError, match="the sums of layer 'conv1' are infinite on them; give images it was"):
        calibrate(digits, np.full((2, 8, 8, 1), 3e38, np.float32))
