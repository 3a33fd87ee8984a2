# SPDX-License-Identifier: Apache-2.0
"""Full-integer networks of Keras, converted by TensorFlow Lite with calibration: every byte of every output is that of
TensorFlow Lite's reference kernels."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.importers import open_source
from seed import half, some

from .build import in_tensorflow_lite

tf = pytest.importorskip("tensorflow")
IMAGES = 4
# Applications of Keras, with fewer of the same blocks where they take that: of their module, the size of an image and
# the range of its numbers.
APPLICATIONS: dict[str, tuple[Callable[..., Any], int, tuple[int, int]]] = {
    "MobileNetV2": (lambda m, **o: m.MobileNetV2(alpha=0.35, **o), 32, (-1, 1)),
    "MobileNetV3Small": (lambda m, **o: m.MobileNetV3Small(alpha=0.35, **o), 32, (0, 255)),
    "EfficientNetB0": (
        lambda m, **o: m.EfficientNetB0(blocks_args=[{**b, "repeats": 1} for b in m.DEFAULT_BLOCKS_ARGS], **o),
        32, (0, 255),
    ),
    "DenseNet121": (lambda m, **o: m.DenseNet([2, 2, 2, 2], **o), 32, (-1, 1)),
    "ResNet50": (
        lambda m, **o: m.ResNet(lambda x: m.stack1(m.stack1(x, 64, 2, 1, "a"), 128, 2, 2, "b"), False, True, **o),
        32, (-100, 100),
    ),
}  # fmt: skip


def small() -> Any:
    """With what the applications are made of: inverted residuals, gates for channels, batch norms that no convolution
    takes in, joined channels, cropping and pools."""
    layers = tf.keras.layers
    image = layers.Input((16, 16, 3))

    def normed(x: Any) -> Any:
        return layers.BatchNormalization()(x)

    def hard_swish(x: Any) -> Any:
        return x * tf.nn.relu6(x + 3) * (1 / 6)

    x = hard_swish(normed(layers.Conv2D(16, 3, strides=2, padding="same")(image)))
    wide = tf.nn.relu6(normed(layers.Conv2D(24, 1)(x)))
    wide = normed(layers.DepthwiseConv2D(3, padding="same")(wide))
    gate = layers.GlobalAveragePooling2D(keepdims=True)(wide)
    gate = tf.nn.sigmoid(layers.Conv2D(24, 1)(layers.Conv2D(6, 1, activation="relu")(gate)))
    x = x + normed(layers.Conv2D(16, 1)(wide * gate))
    x = tf.concat([x, tf.nn.tanh(normed(layers.Conv2D(8, 3, padding="same")(x)))], axis=-1)
    x = layers.AveragePooling2D(2)(tf.nn.leaky_relu(normed(x)))
    x = tf.nn.silu(layers.Cropping2D(((1, 0), (0, 1)))(layers.ZeroPadding2D(1)(x)))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return tf.keras.Model(image, layers.Dense(10, activation="softmax")(x))


def converted(model: Any, rng: np.random.Generator, limits: tuple[int, int], ends: str) -> bytes:
    """With random statistics of the batch norms; ``ends``: the type of inputs and outputs."""
    for layer in model.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    shape = (1, *model.input_shape[1:])
    images = [rng.uniform(*limits, shape).astype(np.float32) for _ in range(8)]
    converter.representative_dataset = lambda: ([x] for x in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = getattr(tf, ends)
    return bytes(converter.convert())


def check(data: bytes, rng: np.random.Generator, limits: tuple[int, int], ends: str, path: Path) -> None:
    path.write_bytes(data)
    model = bnn.compile(path)
    shape = (IMAGES, *model.input_shapes[0])
    images: Array = rng.uniform(*limits, shape).astype(np.float32)
    if ends != "float32":
        images = rng.integers(np.iinfo(ends).min, np.iinfo(ends).max + 1, shape).astype(ends)
    source = open_source(path)
    (expected,) = in_tensorflow_lite(data, [images], source.network.outputs, "BUILTIN_REF")  # type: ignore[attr-defined]
    found = model(images)
    assert np.count_nonzero(found != expected) == 0 and len(np.unique(expected)) > 1
    report = bnn.verify(path, model, images)
    assert report.ok and sum(layer.kind == "bytes" for layer in report.layers) > 20, str(report)
    assert {op.op for op in model.ops if op.kind != "integer"} <= {"quantize"}


@pytest.mark.drawn
@pytest.mark.parametrize("ends", some(["int8", "uint8", "float32"]))
def test_small(ends: str, rng: np.random.Generator, tmp_path: Path) -> None:
    tf.keras.utils.set_random_seed(int(rng.integers(2**31)))
    check(converted(small(), rng, (-1, 1), ends), rng, (-1, 1), ends, tmp_path / "net.tflite")


@pytest.mark.slow
@pytest.mark.parametrize("name", half(APPLICATIONS))
def test_applications(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    make, size, limits = APPLICATIONS[name]
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(int(rng.integers(2**31)))
    module = sys.modules[getattr(tf.keras.applications, name).__module__]
    model = make(module, input_shape=(size, size, 3), weights=None, classes=20)
    check(converted(model, rng, limits, "int8"), rng, limits, "int8", tmp_path / "net.tflite")
