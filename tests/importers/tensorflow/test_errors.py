# SPDX-License-Identifier: Apache-2.0
"""What cannot be compiled is refused with the layer, the op and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

from bnn.errors import CompileError
from bnn.passes import lower

from .models import import_model

keras = tf.keras
layers = tf.keras.layers


def after_conv(function: Callable[[Any], Any]) -> list[Any]:
    return [layers.Conv2D(2, 1), layers.Lambda(function, name="mine")]


CASES: dict[str, tuple[tuple[int | None, ...], Callable[[], list[Any]], str]] = {
    "unknown op": (
        (4, 4, 3), lambda: [layers.UpSampling2D(interpolation="bicubic", name="up")],
        r"layer 'up' uses the TensorFlow op Resize.*replace the layer, or cut the model before it; supported: conv",
    ),
    "a table": (
        (5,), lambda: [layers.Embedding(9, 4, name="words"), layers.Flatten()],
        r"'words': Cast .* to int32; .*; replace the layer.*\(Embedding\), look them up outside",
    ),
    "three dimensions": (
        (4, 4, 4, 2), lambda: [lq.layers.QuantConv3D(3, 2, input_quantizer="ste_sign", name="deep")],
        r"layer 'deep' uses the TensorFlow op Conv3D.*replace the layer",
    ),
    "loop": ((5, 6), lambda: [layers.LSTM(3)], r"part of a loop.*unroll=True"),
    "python": (
        (4, 4, 3), lambda: after_conv(lambda x: tf.numpy_function(lambda v: v, [x], tf.float32)), r"Py|not supported",
    ),
    "random numbers": (
        (4, 4, 3), lambda: after_conv(lambda x: x + tf.random.normal((1, 4, 4, 2))), r"op Random.*not compiled",
    ),
    "channels first": ((3, 5, 5), lambda: [layers.Conv2D(2, 1, data_format="channels_first")], r"format NCHW.*NHWC"),
    "batch norm channels first": ((4, 4, 4), lambda: [layers.BatchNormalization(axis=1)], r"data format NCHW"),
    "mean of everything": (
        (4, 4, 3), lambda: after_conv(lambda x: tf.reduce_mean(x, [1, 2, 3])),
        r"'mine': Mean.*axes \[1, 2, 3\] of 4.*keepdims=True keeps all",
    ),
    "batch of four": (
        (4, 4, 3), lambda: after_conv(lambda x: tf.slice(x, (0, 0, 0, 0), (4, 4, 4, 2))),
        r"layer 'mine': op Slice.*cannot be executed: .* \(in a batch of 3\)$",
    ),
    "batch moved": (
        (4, 4, 3), lambda: after_conv(lambda x: tf.reshape(x, (-1, 2))), r"'mine'.*batch as its first dimension",
    ),
    "batch fixed": ((4, 4, 3), lambda: after_conv(lambda x: tf.reshape(x, (2, -1))), r"'mine'.*batch"),
    "product of positions": (
        (5, 3), lambda: [layers.Lambda(lambda x: tf.matmul(x, x, transpose_b=True), name="dot")],
        r"'dot': BatchMatMul.*two values that both depend on the data \(Dot, attention\).*cut the model before it",
    ),
    "product with a constant before": (
        (5, 3), lambda: [layers.Lambda(lambda x: tf.matmul(tf.ones((1, 2, 5)), x), name="mixed")],
        r"'mixed': BatchMatMul.*these matrices; supported: data by constant weights, as in a Dense layer",
    ),
    "convolution over time": (
        (5, 4, 4, 3), lambda: [layers.TimeDistributed(layers.Conv2D(2, 3), name="film")],
        r"'film': Conv2D \(.*\): it does not keep the batch as its first.*only moves, dense layers .*cut the model",
    ),
    "four dimensions": (
        (4, 4, 4), lambda: [layers.Reshape((2, 2, 4, 4), name="four")], r"'four'.*one to three dimensions",
    ),
    "four dimensions in": ((2, 2, 4, 4), lambda: [layers.Flatten(), layers.Dense(2)], r"one to three dimensions"),
    "dynamic size": ((None, None, 3), lambda: [layers.Conv2D(2, 3)], r"only the batch size may be unknown: build the"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_refused(name: str) -> None:
    shape, stack, message = CASES[name]
    model = keras.Sequential([layers.Input(shape), *stack()])
    with pytest.raises(CompileError, match=message):
        lower(import_model(model))


def test_output_without_data() -> None:
    x = layers.Input((4,))
    model = keras.Model(x, [layers.Dense(2)(x), layers.Lambda(lambda t: tf.ones((1, 3)))(x)])
    with pytest.raises(CompileError, match="does not depend on the input"):
        lower(import_model(model))


def test_training_mode() -> None:
    x = layers.Input((4, 4, 3))
    model = keras.Model(x, layers.BatchNormalization()(x, training=True))
    with pytest.raises(CompileError, match="batch norm with training=True"):
        import_model(model)


@pytest.mark.parametrize("thing", [5, None, np.zeros(3)])
def test_not_a_model(thing: Any) -> None:
    with pytest.raises(CompileError, match="expected a Keras model, .* or the path of a .keras"):
        import_model(thing)
