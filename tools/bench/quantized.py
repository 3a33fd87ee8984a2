# SPDX-License-Identifier: Apache-2.0
"""A quantized network rebuilt in Keras: what networks of counters are compared with, made without the engine's code.

Every layer is one of Keras' own; all numbers are whole and below 2^24, so float32 computes each of them exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bnn._types import Array
from bnn.snn.quantize import CounterLayer, Edge, Quantized
from training import _tf


def keras_values(quantized: Quantized, images: Array) -> dict[str, Array]:
    """The values of all layers but the input, (N, h, w, c), by name: model(x), batch by batch.

    Not predict(), whose graph TensorFlow optimizes: it would multiply by the rounded inverse of a threshold.
    """
    model, found = keras_model(quantized), []
    for i in range(0, len(images), 50):
        values = model(np.asarray(images[i : i + 50], np.float32))
        found.append([np.asarray(v) for v in (values if isinstance(values, list) else [values])])
    names = [layer.name for layer in quantized.layers[1:]]
    return {name: np.concatenate([part[k] for part in found]) for k, name in enumerate(names)}


def keras_model(quantized: Quantized) -> Any:
    """Images (N, *shape), whole numbers as float32, channels last -> the values of all layers but the input."""
    _, keras, _ = _tf.load()
    image = keras.Input(shape=quantized.shape, name="image")
    first = keras.layers.Reshape(quantized.layers[0].grid)(image)
    values = [first]
    for layer in quantized.layers[1:]:
        values.append(_layer(layer, values))
    return keras.Model(image, values[1:])


def _layer(layer: CounterLayer, values: list[Any]) -> Any:
    tf, keras, _ = _tf.load()
    if layer.kind == "max":
        (edge,) = layer.edges
        signs = np.where(layer.falling, -1, 1).astype(np.float32)
        window = layer.window
        x = keras.layers.ZeroPadding2D(_pads(window.pads))(values[edge.source])
        x = keras.layers.MaxPooling2D(window.kernel, window.stride)(x * signs)
        return x * signs
    parts = [_edge(edge, values[edge.source]) for edge in layer.edges]
    total = sum(parts[1:], parts[0])
    total = total + layer.offset.astype(np.float32)[None]
    if layer.kind == "sums":
        return total
    return tf.clip_by_value(tf.floor(total / layer.threshold.astype(np.float32)), 0.0, float(layer.most))


def _edge(edge: Edge, x: Any) -> Any:
    _, keras, _ = _tf.load()
    if edge.pool is not None:  # sums; an average would round
        ones = keras.layers.DepthwiseConv2D(
            edge.pool.kernel, edge.pool.stride, use_bias=False, depthwise_initializer="ones"
        )
        x = ones(x)
    x = keras.layers.ZeroPadding2D(_pads(edge.pads))(x)
    height, width, _, filters = edge.weights.shape
    conv = keras.layers.Conv2D(
        filters, (height, width), edge.stride, dilation_rate=edge.dilation, groups=edge.groups, use_bias=False
    )
    y = conv(x)
    conv.set_weights([edge.weights.astype(np.float32)])
    return y


def _pads(pads: tuple[int, int, int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    top, left, bottom, right = pads
    return (top, bottom), (left, right)
