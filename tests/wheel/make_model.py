# SPDX-License-Identifier: Apache-2.0
"""Compile a small Larq network and keep Keras' answers: `python make_model.py NET.bnn EXPECTED.npz`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import bnn
from training import _tf


def main(model_path: str, expected_path: str) -> None:
    tf, keras, larq = _tf.load()
    keras.utils.set_random_seed(1)
    binary = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip", "use_bias": False}
    network = keras.Sequential(
        [
            keras.layers.Input((12, 12, 1)),
            larq.layers.QuantConv2D(32, 3, padding="same", **binary),
            keras.layers.BatchNormalization(),
            larq.layers.QuantConv2D(32, 3, padding="same", strides=2, input_quantizer="ste_sign", **binary),
            keras.layers.BatchNormalization(),
            keras.layers.Flatten(),
            larq.layers.QuantDense(10, input_quantizer="ste_sign", **binary),
            keras.layers.Softmax(),
        ]
    )
    x = (np.random.default_rng(1).integers(0, 256, (50, 12, 12, 1)) / 256).astype(np.float32)
    bnn.compile(network).save(model_path)
    np.savez(expected_path, x=x, y=network.predict(x, verbose=0))


if __name__ == "__main__":
    main(*sys.argv[1:])
