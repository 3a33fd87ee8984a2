# SPDX-License-Identifier: Apache-2.0
"""Layers stay bits where levels are moved before they read them, and where weights take several values."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bnn
from seed import SEED, some

tf = pytest.importorskip("tensorflow")
larq = pytest.importorskip("larq")
keras = tf.keras
layers, quant = keras.layers, larq.layers

QUANTIZERS: dict[str, Callable[[], Any]] = {
    "ste_sign": larq.quantizers.SteSign,
    "ste_heaviside": larq.quantizers.SteHeaviside,
    "ste_tern": lambda: larq.quantizers.SteTern(threshold_value=0.25),
    "DoReFa(1)": lambda: larq.quantizers.DoReFa(1),
    "four levels": lambda: lambda x: tf.round(tf.clip_by_value(x, 0.0, 0.75) * 4) / 4,
    "five levels": lambda: lambda x: tf.round(tf.clip_by_value(x, -1.0, 1.0) * 2) / 2,
}


def _activation(quantizer: Any, x: Any) -> Any:
    return layers.Lambda(quantizer)(x)


def _conv(x: Any, **options: Any) -> Any:
    return quant.QuantConv2D(7, 3, padding="same", kernel_quantizer="ste_sign", **options)(x)


def _conv1d(q: Any) -> Any:
    x = layers.Input((9, 16))
    return x, quant.QuantConv1D(7, 3, padding="causal", input_quantizer=q, kernel_quantizer="ste_sign")(x)


def _dense_by_position(q: Any) -> Any:
    x = layers.Input((6, 33))
    return x, quant.QuantDense(7, input_quantizer=q, kernel_quantizer="ste_sign")(x)


def _locally_connected(q: Any) -> Any:
    x = layers.Input((5, 5, 8))
    layer = quant.QuantLocallyConnected2D(4, 3, implementation=2, input_quantizer=q, kernel_quantizer="ste_sign")
    return x, layer(x)


def _reshaped(q: Any) -> Any:
    x = layers.Input((6, 6, 8))
    return x, _conv(layers.Reshape((6, 3, 16))(_activation(q, x)))


def _sliced(q: Any) -> Any:
    x = layers.Input((6, 6, 40))
    return x, _conv(_activation(q, x)[..., 3:37])


def _concatenated(q: Any) -> Any:
    x, y = layers.Input((6, 6, 40)), layers.Input((6, 6, 3))
    return [x, y], _conv(layers.Concatenate()([_activation(q, x), _activation(q, y), _activation(q, x)]))


@pytest.mark.drawn
@pytest.mark.parametrize(
    ("build", "quantizer"),
    some(
        [
            *itertools.product(
                [_conv1d, _dense_by_position, _locally_connected, _reshaped, _sliced, _concatenated], QUANTIZERS
            )
        ]
    ),
)
def test_levels_that_are_moved_stay_bits(build: Callable[[Any], Any], quantizer: str) -> None:
    inputs, output = build(QUANTIZERS[quantizer]())
    model = keras.Model(inputs, output)
    compiled = bnn.compile(model, require_binary=True)
    assert {op.op for op in compiled.ops if "conv" in op.op} == {"bconv2d"}
    rng = np.random.default_rng(3)
    x = [rng.integers(-16, 17, (5, *i.shape[1:])).astype(np.float32) / 8 for i in model.inputs]
    # Sums are multiples of 1/4, so exact in every order.
    np.testing.assert_array_equal(compiled(x if len(x) > 1 else x[0]), model(x, training=False).numpy())


def test_different_quantizers_side_by_side_are_named() -> None:
    x = layers.Input((6, 6, 8))
    parts = [_activation(larq.quantizers.SteSign(), x), _activation(larq.quantizers.SteHeaviside(), x)]
    compiled = bnn.compile(keras.Model(x, _conv(layers.Concatenate()(parts))))
    assert "its input joins what different quantizers made" in compiled.summary()


@pytest.mark.drawn
@pytest.mark.parametrize(("steps", "quantizer"), some([*itertools.product([3, 4, 5, 7], QUANTIZERS)]))
def test_evenly_spaced_weights_are_several_signs(steps: int, quantizer: str) -> None:
    x = layers.Input((6, 6, 12))
    layer = quant.QuantConv2D(5, 3, padding="same", input_quantizer=QUANTIZERS[quantizer](), use_bias=False)
    model = keras.Model(x, layer(x))
    rng = np.random.default_rng(steps)
    layer.set_weights([(rng.integers(0, steps + 1, layer.kernel.shape) - steps / 2).astype(np.float32)])
    compiled = bnn.compile(model, require_binary=True)
    images = rng.integers(-16, 17, (5, 6, 6, 12)).astype(np.float32) / 8
    np.testing.assert_array_equal(compiled(images), model(images, training=False).numpy())


def test_dorefa_weights_of_two_bits_are_bits() -> None:
    x = layers.Input((6, 6, 12))
    kernel = larq.quantizers.DoReFa(k_bit=2, mode="weights")
    model = keras.Model(x, quant.QuantConv2D(5, 3, input_quantizer="ste_sign", kernel_quantizer=kernel)(x))
    compiled = bnn.compile(model, require_binary=True)
    images = np.random.default_rng(0).normal(size=(5, 6, 6, 12)).astype(np.float32)
    # Keras adds up thirds, and rounds each time.
    np.testing.assert_allclose(compiled(images), model(images, training=False).numpy(), atol=2e-5)


def test_weights_of_uneven_values_are_named() -> None:
    x = layers.Input((4, 4, 3))
    layer = quant.QuantConv2D(2, 1, input_quantizer="ste_sign", use_bias=False)
    model = keras.Model(x, layer(x))
    layer.set_weights([np.array([1, -0.4, 1, 1, -0.4, 1], np.float32).reshape(1, 1, 3, 2)])
    assert "its weights are -0.4, 1: not evenly spaced around 0" in bnn.compile(model).summary()


@pytest.mark.parametrize(
    "move",
    [lambda: layers.MaxPooling2D(3, 1, padding="same"), lambda: layers.Lambda(lambda x: x[:, ::-1])],
    ids=["maximum", "turned"],
)
def test_many_levels_that_floats_read_after_a_move(move: Any) -> None:
    """The move comes before the quantizer, whose own value is nowhere then: verify compares no other with it."""
    x = layers.Input((6, 6, 4))
    y = layers.Flatten()(move()(_activation(larq.quantizers.DoReFa(8), layers.Conv2D(4, 1)(x))))
    model = keras.Model(x, layers.Dense(5)(y))
    compiled = bnn.compile(model)
    assert "round" in [op.op for op in compiled.ops]
    report = bnn.verify(model, compiled, np.random.default_rng(SEED).normal(size=(8, 6, 6, 4)).astype(np.float32))
    assert report.ok, str(report)
