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


def network(rng: Rng) -> tuple[onnx.ModelProto, tuple[int, int, int], int]:
    """Convolutions with ReLU or without, a shortcut, a mean and a dense layer; the image's shape, and the layers."""
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


@pytest.mark.slow
@pytest.mark.drawn
def test_many_quantized_by_onnx_runtime(rng: Rng, tmp_path: Path) -> None:
    for _ in range(40):
        check(rng, tmp_path)
