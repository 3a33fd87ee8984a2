# SPDX-License-Identifier: Apache-2.0
"""PokeBNN (Zhang, Zhang and Lew, 2022) in Keras, with the operations of its authors' code: DPReLU with two slopes
and two biases, means over groups of channels through a reshape to five dimensions, tiled and padded shortcuts, gates of
four bits, an input and a last layer of eight, and scales in binary weights and activations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import larq as lq
import numpy as np
import tensorflow as tf
import tf_keras as keras

Tensor = Any
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))  # channels, blocks, and the stride of the first


def signs(x: Tensor) -> Tensor:
    """One bit of [-3, 3]: the middles of its halves."""
    return 1.5 * lq.math.sign(x)


def weight_signs(w: Tensor) -> Tensor:
    return lq.math.sign(w) * tf.reduce_max(tf.abs(w), axis=(0, 1, 2), keepdims=True) / 2


def levels(x: Tensor, bits: int, bound: float, least: int | None = None) -> Tensor:
    """Symmetric around zero, or (least=0) of positive numbers."""
    top = 2 ** (bits - (least is None)) - 1
    return tf.round(tf.clip_by_value(x * (top / bound), -top if least is None else least, top)) * (bound / top)


def weight_levels(w: Tensor, bits: int) -> Tensor:
    top = 2 ** (bits - 1) - 1
    bound = tf.reduce_max(tf.abs(w), axis=tuple(range(len(w.shape) - 1)), keepdims=True)
    return tf.round(w / bound * top) * (bound / top)


class DPReLU(keras.layers.Layer):  # type: ignore[misc]
    def build(self, shape: Any) -> None:
        def add(name: str, value: float) -> Any:
            return self.add_weight(name, shape[-1:], initializer=keras.initializers.Constant(value))

        self.bias_x, self.bias_y = add("bias_x", 0.0), add("bias_y", 0.0)
        self.negative, self.positive = add("negative", 0.25), add("positive", 1.0)

    def call(self, x: Tensor) -> Tensor:
        x = x - self.bias_x
        return tf.where(x >= 0, self.positive, self.negative) * x - self.bias_y


def reshape_add(x: Tensor, r: Tensor, tiles: bool) -> Tensor:
    """A shortcut with as many pixels and channels as ``x``."""
    channels, wanted = r.shape[-1], x.shape[-1]
    if channels > wanted:
        group = channels // wanted
        r = tf.reshape(r[..., : wanted * group], (-1, *r.shape[1:3], wanted, group))
        r = tf.reduce_mean(r, axis=4)
    elif channels < wanted:
        r = tf.tile(r, (1, 1, 1, wanted // channels)) if tiles else tf.pad(r, [[0, 0]] * 3 + [[0, wanted - channels]])
    if r.shape[1] != x.shape[1]:
        r = keras.layers.AveragePooling2D(3, 2, padding="same")(r)
    return x + r


def gate(x: Tensor, channels: int) -> Tensor:
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    weights = partial(weight_levels, bits=4)
    conv = partial(lq.layers.QuantConv2D, kernel_size=1, kernel_quantizer=weights)
    s = conv(x.shape[-1] // 8, input_quantizer=partial(levels, bits=4, bound=2.0))(pooled)
    s = conv(channels, input_quantizer=partial(levels, bits=4, bound=2.0, least=0))(keras.layers.ReLU()(s))
    return tf.minimum(tf.maximum(s + 3.0, 0.0), 6.0) / 6.0


def poke_conv(x: Tensor, r1: Tensor | None, channels: int, size: int, stride: int) -> Tensor:
    y = lq.layers.QuantConv2D(
        channels, size, strides=stride, padding="same", use_bias=False,
        input_quantizer=signs, kernel_quantizer=weight_signs,
    )(x)  # fmt: skip
    y = reshape_add(keras.layers.BatchNormalization(epsilon=1e-5)(y), x, tiles=False)
    y = DPReLU()(y if r1 is None else reshape_add(y, r1, tiles=True))
    return keras.layers.BatchNormalization(epsilon=1e-5)(y * gate(x, channels))


def pokebnn(multiplier: float, side: int, classes: int, stages: Any = STAGES) -> Any:
    """The network, its weights and statistics drawn."""
    eight: Callable[..., Any] = partial(weight_levels, bits=8)
    image = partial(levels, bits=8, bound=3.0)
    inputs = x = keras.layers.Input((side, side, 3))
    for conv in (
        lq.layers.QuantConv2D(32, 4, strides=4, use_bias=False, input_quantizer=image, kernel_quantizer=eight),
        lq.layers.QuantConv2D(
            64, 3, groups=32, padding="same", use_bias=False, input_quantizer=image, kernel_quantizer=eight
        ),
    ):
        x = DPReLU()(keras.layers.BatchNormalization(epsilon=1e-5)(conv(x)))
    for features, blocks, first in stages:
        channels = int(features * multiplier)
        for block in range(blocks):
            r1, stride = x, first if block == 0 else 1
            x = poke_conv(x, None, channels, 1, 1)
            x = poke_conv(x, None, channels, 3, stride)
            x = poke_conv(x, r1, 4 * channels, 1, 1)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = lq.layers.QuantDense(classes, input_quantizer=image, kernel_quantizer=eight)(x)
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(0)
    draws: dict[str, Callable[[Any], Any]] = {
        "gamma": lambda shape: rng.uniform(0.5, 1.5, shape) * rng.choice([1, 1, 1, -1], shape),
        "beta": lambda shape: rng.normal(0, 0.2, shape),
        "bias": lambda shape: rng.normal(0, 1, shape),
        "bias_x": lambda shape: rng.normal(0, 0.2, shape),
        "bias_y": lambda shape: rng.normal(0, 0.2, shape),
        "negative": lambda shape: rng.normal(0.25, 0.1, shape),
        "positive": lambda shape: rng.normal(1, 0.1, shape),
        "moving_mean": lambda shape: rng.normal(0, 1, shape),
        "moving_variance": lambda shape: rng.uniform(0.5, 2, shape),
    }
    for weight in model.weights:
        if draw := draws.get(weight.name.split("/")[-1].split(":")[0]):
            weight.assign(draw(tuple(weight.shape)))
    return model
