# SPDX-License-Identifier: Apache-2.0
"""A small ReLU network as converters like it: batch norm, ReLU, average pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from training import _tf, datasets


def network(shape: tuple[int, ...], classes: int) -> Any:
    """The input is image / scale."""
    _, keras, _ = _tf.load()
    layers = keras.layers

    def normal(x: Any) -> Any:
        return layers.BatchNormalization()(x)

    def conv(x: Any, filters: int) -> Any:
        return normal(layers.Conv2D(filters, 3, padding="same", use_bias=False)(x))

    x = image = keras.Input(shape=shape, name="image")
    for filters in (16, 32):
        x = layers.AveragePooling2D(2)(layers.ReLU()(conv(x, filters)))
    x = layers.ReLU()(conv(x, 32))
    x = layers.Flatten()(x)
    x = layers.ReLU()(normal(layers.Dense(64, use_bias=False)(x)))
    return keras.Model(image, layers.Activation("softmax")(layers.Dense(classes)(x)))


def train(out: str, epochs: int) -> None:
    """Train on Fashion-MNIST, and save a .keras file."""
    _, keras, _ = _tf.load()
    keras.utils.set_random_seed(1)
    data = datasets.load("fashion-mnist")
    model = network(data.input_shape, len(data.class_names))
    steps = epochs * len(data.train) // 128
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    scale = np.float32(data.scale)
    model.fit(
        data.train.images / scale, data.train.labels, 128, epochs, verbose=2,
        validation_data=(data.validation.images / scale, data.validation.labels),
    )  # fmt: skip
    model.save(out)
