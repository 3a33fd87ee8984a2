# SPDX-License-Identifier: Apache-2.0
"""Networks that ONNX Runtime's own tool quantized to eight bits: integers here, and the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import bnn
from bnn._types import Array

from .small import session_of

Rng = np.random.Generator
quantization = pytest.importorskip("onnxruntime.quantization")


class Images(quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: Array) -> None:
        self._left = iter(images)

    def get_next(self) -> dict[str, Array] | None:
        image = next(self._left, None)
        return None if image is None else {"x": image[None]}


def network(rng: Rng, first: int = 1) -> tuple[onnx.ModelProto, tuple[int, int, int], int]:
    """Convolutions with ReLU or without, a shortcut, a mean and a dense layer; the image's shape, and the layers.
    ``first``: the least kernel of the first."""
    shape = (int(rng.integers(1, 5)), int(rng.integers(6, 14)), int(rng.integers(6, 14)))
    nodes, weights, value, channels, layers = [], {}, "x", shape[0], 0

    def layer(op: str, outputs: int, kernel: tuple[int, ...], **attrs: Any) -> str:
        nonlocal layers
        layers += 1
        w = rng.normal(size=(outputs, channels, *kernel)) * np.sqrt(2 / (channels * np.prod(kernel)))
        weights[f"w{layers}"] = w.astype(np.float32)
        weights[f"b{layers}"] = rng.normal(0, 0.1, outputs).astype(np.float32)
        nodes.append(
            helper.make_node(op, [value, f"w{layers}", f"b{layers}"], [f"l{layers}"], f"layer{layers}", **attrs)
        )
        return f"l{layers}"

    for _ in range(int(rng.integers(2, 5))):
        kernel, stride, outputs = int(rng.choice([1, 3])), int(rng.choice([1, 1, 2])), int(rng.integers(4, 40))
        kernel = kernel if layers else max(kernel, first)
        before, same = value, stride == 1 and outputs == channels
        value = layer("Conv", outputs, (kernel, kernel), pads=[kernel // 2] * 4, strides=[stride] * 2)
        channels = outputs
        if same:
            nodes.append(helper.make_node("Add", [value, before], [f"s{layers}"], f"sum{layers}"))
            value = f"s{layers}"
        if rng.random() < 0.7:
            nodes.append(helper.make_node("Relu", [value], [f"r{layers}"], f"relu{layers}"))
            value = f"r{layers}"
    nodes += [helper.make_node("GlobalAveragePool", [value], ["mean"], "mean"),
              helper.make_node("Flatten", ["mean"], ["flat"], "flat")]  # fmt: skip
    value = "flat"
    layer("Gemm", 10, (), transB=1)
    nodes[-1].output[0] = "y"
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, ["N", *shape])],
        [helper.make_tensor_value_info("y", 1, ["N", 10])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), shape, layers


def check(rng: Rng, folder: Path) -> None:
    proto, shape, layers = network(rng)
    images = rng.normal(size=(12, *shape)).astype(np.float32)
    onnx.save(proto, folder / "float.onnx")
    signed = quantization.QuantType.QInt8
    kind = signed if rng.random() < 0.5 else quantization.QuantType.QUInt8
    quantization.quantize_static(
        folder / "float.onnx", folder / "int8.onnx", Images(images), quant_format=quantization.QuantFormat.QDQ,
        activation_type=kind, weight_type=signed, per_channel=bool(rng.random() < 0.5),
    )  # fmt: skip
    model = bnn.compile(folder / "int8.onnx")
    found = [op.op for op in model.ops if "conv2d" in op.op]  # filters of one or two weights are signs
    assert len(found) >= layers and found.count("qconv2d") > layers / 2 and "conv2d" not in found, found
    assert {op.note for op in model.ops if op.op == "qconv2d"} == {"integers: its data and weights were trained to be"}
    report = bnn.verify(folder / "int8.onnx", model, images)
    assert report.ok and report.quantized == 0, str(report)
    (theirs,) = session_of(onnx.load(folder / "int8.onnx")).run(None, {"x": images})
    steps = np.abs(model(images) - theirs) / np.diff(np.unique(theirs)).min()
    # A sum on the middle of two levels may be rounded to either, here and there, and move an output by a step.
    assert np.mean(steps > 0.5) < 0.1 and steps.max() < 3.5, steps.max()


def test_quantized_by_onnx_runtime(rng: Rng, tmp_path: Path) -> None:
    for _ in range(4):
        check(rng, tmp_path)


def without_floats(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The network from the bytes of its input to the bytes of its output."""
    graph, producers = proto.graph, {y: node for node in proto.graph.node for y in node.output}
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "x")
    last = producers[graph.output[0].name]
    zeros = {t.name: t.data_type for t in graph.initializer}
    for value, node, name in ((graph.input[0], first, first.output[0]), (graph.output[0], last, last.input[0])):
        value.name, value.type.tensor_type.elem_type = name, zeros[node.input[2]]
        graph.node.remove(node)
    return proto


@pytest.mark.parametrize("signed", [False, True])
def test_bytes_in_and_bytes_out(signed: bool, rng: Rng, tmp_path: Path) -> None:
    proto, shape, layers = network(rng, first=3)
    images, path = rng.normal(size=(40, *shape)).astype(np.float32), tmp_path / "int8.onnx"
    onnx.save(proto, tmp_path / "float.onnx")
    kind = quantization.QuantType.QInt8
    quantization.quantize_static(
        tmp_path / "float.onnx", path, Images(images), quant_format=quantization.QuantFormat.QDQ, weight_type=kind,
        activation_type=kind if signed else quantization.QuantType.QUInt8, per_channel=True,
    )  # fmt: skip
    proto = without_floats(onnx.load(path))
    onnx.save(proto, path)
    info = np.iinfo(np.int8 if signed else np.uint8)
    x = rng.integers(info.min, info.max, images.shape, info.dtype, endpoint=True)
    model = bnn.compile(path)
    found = [op.op for op in model.ops if "conv2d" in op.op]
    assert found == ["qconv2d"] * layers, model.summary()
    report = bnn.verify(path, model, x)
    assert report.ok and report.quantized == 0, str(report)
    (theirs,) = session_of(proto).run(None, {proto.graph.input[0].name: x})
    whole = bnn.calibrate(model, x, integer_only=True).model
    assert "lookup" not in [op.op for op in whole.ops[-3:]], "numbers are those of the bytes"
    for net in (model, whole):
        steps = np.abs(net(x) - theirs)
        # As above, and a float product may be rounded across the middle of two levels.
        assert np.mean(steps > 0) < 0.05 and steps.max() < 2.5, (net.summary(), steps.max(), np.mean(steps > 0))


@pytest.mark.slow
@pytest.mark.drawn
def test_many_quantized_by_onnx_runtime(rng: Rng, tmp_path: Path) -> None:
    for _ in range(40):
        check(rng, tmp_path)
