# SPDX-License-Identifier: Apache-2.0
"""Random inputs: floats or bytes, as they are, rescaled or normalized."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from .quantizers import Array, Rng, Value

L = tf.keras.layers
BATCH = 3
# What is done to bytes, and the largest value that comes of it.
_RESCALINGS = ((1 / 128, -1.0, 1.0), (1 / 256, 0.0, 1.0), (1 / 64, -1.0, 3.0), (-1 / 128, 1.0, 1.0))
_SIGNED = ((1 / 128, 0.0, 1.0), (1 / 64, 1.0, 3.0), (-1 / 128, 0.0, 1.0))


def shape(rng: Rng) -> tuple[int, ...]:
    channels = int(rng.choice([1, 2, 3, 7, 16, 31, 32, 33, 40, 64], p=[0.1] * 9 + [0.1]))
    size = [int(n) for n in (rng.integers(1, 7, 2) if rng.random() < 0.7 else rng.integers(1, 17, 2))]
    return [(*size, channels), (size[0], channels), (channels * size[0],)][rng.choice(3, p=[0.7, 0.15, 0.15])]


def entry(rng: Rng, shape: tuple[int, ...]) -> tuple[str, Any, Array, Value]:
    """(kind, Keras input, array, value)."""
    if rng.random() < 0.7:
        x = tf.keras.Input(shape)
        value = Value(x, 0.125, 1.0)
        return "floats", x, _eighths(rng, shape), _normalized(rng, value) if rng.random() < 0.1 else value
    if rng.random() < 0.15:
        x = tf.keras.Input(shape, dtype="int8")
        scale, offset, bound = _SIGNED[rng.integers(len(_SIGNED))]
        value = Value(L.Rescaling(scale, offset)(x), abs(scale), bound)
        return "signed bytes", x, rng.integers(-128, 128, (BATCH, *shape), np.int8), value
    x = tf.keras.Input(shape, dtype="uint8")
    array = rng.integers(0, 256, (BATCH, *shape), np.uint8)
    draw = rng.random()
    if draw < 0.6:
        scale, offset, bound = _RESCALINGS[rng.integers(len(_RESCALINGS))]
        return "bytes", x, array, Value(L.Rescaling(scale, offset)(x), abs(scale), bound)
    if draw < 0.8:
        offsets = -rng.integers(0, 129, shape[-1]) / 64
        return "bytes by channel", x, array, Value(L.Rescaling(1 / 64, offsets.tolist())(x), 1 / 64, 4.0)
    value = Value(L.Lambda(lambda v: tf.cast(v, tf.float32))(x), 1.0, 255.0)
    return "bytes by channel", x, array, _normalized(rng, value)


def _normalized(rng: Rng, x: Value) -> Value:
    """A mean of each channel, and deviations that are powers of two: equal ones, or one of each channel."""
    channels = x.shape[-1]
    mean = rng.integers(-2, 9, channels) * (x.bound / 8)
    deviation = 2.0 ** (rng.integers(-1, 2, channels) if rng.random() < 0.3 else np.full(channels, 1)) * x.bound / 4
    deviation = 2.0 ** np.round(np.log2(deviation))
    layer = L.Normalization(mean=mean.tolist(), variance=(deviation**2).tolist())
    step = min(x.step, x.bound / 8 if x.bound < 2 else 2.0**-3)
    return Value(layer(x.tensor), step / deviation.max(), (x.bound + np.abs(mean).max()) / deviation.min())


def _eighths(rng: Rng, shape: tuple[int, ...]) -> Array:
    """Eighths from -1 to 1, zeros of both signs among them."""
    x = rng.integers(-8, 9, (BATCH, *shape)) / 8
    return np.where((x == 0) & (rng.random(x.shape) < 0.5), -0.0, x).astype(np.float32)
