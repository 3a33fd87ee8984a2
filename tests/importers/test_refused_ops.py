# SPDX-License-Identifier: Apache-2.0
"""What every importer says, in the same words, of an op that it does not read, or not like this, or not there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn.errors import UnsupportedOpError
from bnn.importers import open_source
from bnn.importers.common.remedies import CUT, KINDS

Make = Callable[[Path], Any]


def of_tensorflow(function: Callable[[Any, Any], Any]) -> Make:
    def make(folder: Path) -> Any:
        tf = pytest.importorskip("tensorflow")
        pytest.importorskip("keras")
        from importers.tensorflow.models import frozen

        return frozen(lambda x: function(tf, x), (4,))

    return make


def of_onnx(op: str, inputs: str, shape: tuple[int, ...] = (4,), **attrs: Any) -> Make:
    def make(folder: Path) -> Any:
        pytest.importorskip("onnxruntime")
        from importers.onnx.small import model, node

        return model([node(op, inputs, **attrs)], {"w": np.ones(4, np.float32)}, ("N", *shape), rank=1 + len(shape))

    return make


def of_tflite(op: str, out: tuple[int, ...], constant_last: bool = False, **options: Any) -> Make:
    def make(folder: Path) -> Any:
        pytest.importorskip("tflite")
        from importers.tflite.build import Net

        net, path = Net(), folder / "net.tflite"
        operands = [net.input(4), *([net.constant(np.ones((4, 4)))] if constant_last else [])]
        net.op(op, operands, *out, **options)
        path.write_bytes(net.to_bytes())
        return path

    return make


PLACE = r"layer '(\S+)': {} \('(\S+)'\): "
MISSING = rf"layer '(\S+)' uses the {{}} op {{}} \('(\S+)'\), which is not supported; {CUT}; {re.escape(KINDS)}"
CASES: dict[str, tuple[Make, str]] = {
    "TensorFlow: an op": (of_tensorflow(lambda tf, x: tf.sin(x)), MISSING.format("TensorFlow", "Sin")),
    "ONNX: an op": (of_onnx("LRN", "x", (4, 5, 6), size=3), MISSING.format("ONNX", "LRN")),
    "TensorFlow Lite: an op": (of_tflite("COS", (1, 4)), MISSING.format("TensorFlow Lite", "COS")),
    "TensorFlow: an attribute": (
        of_tensorflow(lambda tf, x: tf.cast(x, tf.int32)),
        PLACE.format("Cast") + "a conversion from .*; only float32 .*; ",
    ),
    "ONNX: an attribute": (
        of_onnx("MaxPool", "x", (4, 5, 6), kernel_shape=[2, 2], dilations=[2, 2]),
        PLACE.format("MaxPool") + f"dilations or a storage order; {CUT}",
    ),
    "TensorFlow Lite: an attribute": (
        of_tflite("FULLY_CONNECTED", (1, 4), True, table="FullyConnectedOptions", WeightsFormat=1),
        PLACE.format("FULLY_CONNECTED") + f"weights in format 1; only the plain one is supported; {CUT}",
    ),
    "TensorFlow: a place": (
        of_tensorflow(lambda tf, x: tf.space_to_batch(x[:, None, :, None], [1, 2], [[0, 0], [0, 0]])),
        PLACE.format("SpaceToBatchND") + f"it does not belong to a dilated convolution; {CUT}",
    ),
    "ONNX: a place": (of_onnx("MatMul", "x x", (4, 4)), PLACE.format("MatMul") + f"a product of two values .*; {CUT}"),
    "TensorFlow Lite: a place": (
        of_tflite("RESHAPE", (4, 1)),
        PLACE.format("RESHAPE") + "a result of shape .*; "
        f"expected the batch of 1 as its first dimension, and more; {CUT}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_said(name: str, tmp_path: Path) -> None:
    make, message = CASES[name]
    with pytest.raises(UnsupportedOpError) as caught:
        open_source(make(tmp_path)).graph()
    assert re.fullmatch(message + ".*", str(caught.value)), caught.value
