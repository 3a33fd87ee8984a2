# SPDX-License-Identifier: Apache-2.0
"""A small ReLU network as converters like it: batch norm, ReLU, average pooling.  Trained on Fashion-MNIST.

python -m bench.relu_network OUT.keras --epochs 5
"""

from __future__ import annotations

import argparse
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    _, keras, _ = _tf.load()
    keras.utils.set_random_seed(1)
    data = datasets.load("fashion-mnist")
    model = network(data.input_shape, len(data.class_names))
    steps = options.epochs * len(data.train) // 128
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", ["accuracy"])
    scale = np.float32(data.scale)
    model.fit(
        data.train.images / scale, data.train.labels, 128, options.epochs, verbose=2,
        validation_data=(data.validation.images / scale, data.validation.labels),
    )  # fmt: skip
    model.save(options.out)


if __name__ == "__main__":
    main()
