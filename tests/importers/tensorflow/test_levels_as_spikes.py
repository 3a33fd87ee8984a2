# SPDX-License-Identifier: Apache-2.0
"""Larq's quantizers of several levels, from Keras to neurons: the NIR layers and the event engine."""

from __future__ import annotations

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

from bnn import Model
from bnn.emit.nir.proof import prove
from bnn.emit.nir.write import layers_for
from bnn.events import EventEngine
from bnn.file.write import encode

from .models import check, scramble

layers = tf.keras.layers


@pytest.mark.parametrize(
    "quantizer", [lq.quantizers.SteTern, lq.quantizers.SteHeaviside, lambda: lq.quantizers.DoReFa(2)]
)
@pytest.mark.parametrize("kernel", ["ste_sign", "ste_tern"])
def test_a_network_of_several_levels(rng: np.random.Generator, quantizer: object, kernel: str) -> None:
    """Pooling before batch norm and after it, zero padding, a dense layer behind a flattened image."""

    def quantized(layer: type, units: int, *size: int, **options: object) -> object:
        return layer(units, *size, input_quantizer=quantizer(), kernel_quantizer=kernel, use_bias=False, **options)

    stack = [
        layers.Input((8, 8, 2)),
        lq.layers.QuantConv2D(6, 3, kernel_quantizer="ste_sign", use_bias=False),
        layers.BatchNormalization(),
        quantized(lq.layers.QuantConv2D, 8, 3, padding="same"),
        layers.MaxPooling2D(2),
        layers.BatchNormalization(),
        quantized(lq.layers.QuantConv2D, 7, 2),
        layers.BatchNormalization(),
        layers.Flatten(),
        quantized(lq.layers.QuantDense, 5),
    ]
    graph = check(scramble(tf.keras.Sequential(stack)))
    x = (rng.integers(-16, 17, (4, 8, 8, 2)) / 16).astype(np.float32)
    prove(layers_for(graph, "if"), [x])
    model = Model.from_bytes(encode(graph))
    engine = EventEngine(model)
    for image, expected in zip(x, model(x), strict=True):
        assert np.array_equal(engine.step(image[None]), expected)
