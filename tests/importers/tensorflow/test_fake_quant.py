# SPDX-License-Identifier: Apache-2.0
"""Fake quantization, as training for eight bits and fewer writes it: equal to TensorFlow's own kernels."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

import bnn
from bnn._types import Array
from bnn.file.read import decode
from raw_model import with_checksum
from seed import SEED, seeds, some

L = tf.keras.layers


def args(low: Array, high: Array, bits: int, narrow: bool) -> Callable[[Any], Any]:
    return lambda x: tf.quantization.fake_quant_with_min_max_args(x, float(low[0]), float(high[0]), bits, narrow)


def limits(low: Array, high: Array, bits: int, narrow: bool) -> Callable[[Any], Any]:
    return lambda x: tf.quantization.fake_quant_with_min_max_vars(x, low[0], high[0], bits, narrow)


def channels(low: Array, high: Array, bits: int, narrow: bool) -> Callable[[Any], Any]:
    return lambda x: tf.quantization.fake_quant_with_min_max_vars_per_channel(x, low, high, bits, narrow)


def at_ties(rng: np.random.Generator, low: Array, high: Array, steps: int) -> Array:
    """Any numbers, the middles between steps, and their neighbours: images of 8 x 8 pixels."""
    x = rng.uniform(low - 1, high + 1, (40, 8, 8, len(low)))
    step = (high - low) / steps
    x[10:] = (np.round(x[10:] / step) + 0.5) * step
    x = x.astype(np.float32)
    for part, end in ((x[20:30], np.inf), (x[30:], -np.inf)):
        part[:] = np.nextafter(part, np.float32(end))
    return x


@pytest.mark.parametrize("made", [args, limits, channels])
@pytest.mark.parametrize("where", ["around zero", "above", "below", "nothing"])
def test_every_rounding(made: Callable[..., Any], where: str) -> None:
    """Limits around zero, or those that move to it; both zero: nothing else."""
    rng = np.random.default_rng([SEED, len(where)])
    low, high = -rng.uniform(0.1, 8, 4).astype(np.float32), rng.uniform(0.01, 8, 4).astype(np.float32)
    if where == "above":
        low = high / 2
    elif where == "below":
        high = low / 4
    elif where == "nothing" and made is not args:
        low[0] = high[0] = 0
    bits, narrow = int(rng.integers(2, 17)), bool(rng.integers(2))
    model = tf.keras.Sequential([L.Input((8, 8, 4)), L.Lambda(made(low, high, bits, narrow))])
    images = at_ties(rng, low, np.where(high > low, high, 1), 2**bits - 1 - narrow)
    print(f"BNN_TEST_SEED={SEED} {low} {high} {bits} bits, narrow: {narrow}")
    np.testing.assert_array_equal(bnn.compile(model)(images), model(images).numpy())


@pytest.mark.parametrize(("low", "high"), [(1.0, -1.0), (2.0, 2.0), (np.nan, 1.0), (-1.0, np.inf)])
def test_limits_that_are_no_range(low: float, high: float) -> None:
    fake = limits(np.float32([low]), np.float32([high]), 8, False)
    with pytest.raises(bnn.UnsupportedOpError, match=f"limits of {low:g} and {high:g}; expected two finite numbers"):
        bnn.compile(tf.keras.Sequential([L.Input((4, 4, 1)), L.Lambda(fake)]))


def test_between_binary_layers() -> None:
    """As Larq Compute Engine's converter reads such models: floats that are levels of eight bits, and bits."""
    tf.keras.utils.set_random_seed(SEED % 2**31)

    def quantized() -> Any:
        return L.Lambda(lambda x: tf.quantization.fake_quant_with_min_max_args(x, -3.0, 3.0))

    def block(x: Any) -> Any:
        binary = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}
        y = lq.layers.QuantConv2D(32, 3, use_bias=False, padding="same", pad_values=1.0, **binary)(x)
        return quantized()(L.BatchNormalization(beta_initializer="random_normal")(y))

    x = tf.keras.Input((12, 12, 3))
    y = quantized()(L.BatchNormalization()(L.Conv2D(32, 3, padding="same")(quantized()(x))))
    y = quantized()(L.Add()([y, block(y)]))
    model = tf.keras.Model(x, L.Dense(10)(L.GlobalAveragePooling2D()(block(y))))
    compiled = bnn.compile(model)
    images = np.random.default_rng(SEED).normal(size=(8, 12, 12, 3)).astype(np.float32)
    report = bnn.verify(model, compiled, images)
    assert report.ok and compiled.macs.binary > 0.8 * compiled.macs.total, str(report)


def with_thresholds(model: bnn.Model, old: Array, new: Array) -> bnn.Model:
    data = model.to_bytes()
    assert data.count(old.tobytes()) == 1
    return bnn.Model.from_bytes(with_checksum(bytearray(data.replace(old.tobytes(), new.astype(np.float32).tobytes()))))


@pytest.mark.drawn
@pytest.mark.parametrize(("bits", "narrow"), some([*itertools.product([4, 6, 8], [True, False])]))
def test_layers_of_integers(bits: int, narrow: bool) -> None:
    """Data and weights of several bits: their layers sum integers, and equal TensorFlow."""
    rng = np.random.default_rng([SEED, bits, narrow])
    tf.keras.utils.set_random_seed(SEED % 2**31)

    class Quantized(L.Layer):  # type: ignore[misc]
        def __init__(self, filters: int, size: int, strides: int) -> None:
            super().__init__()
            self.filters, self.size, self.strides = filters, size, strides
            self.each = bool(rng.integers(2))

        def build(self, shape: Any) -> None:
            self.w = self.add_weight("w", (self.size, self.size, shape[-1], self.filters), initializer="he_normal")
            self.b = self.add_weight("b", (self.filters,), initializer="random_normal")

        def call(self, x: Any) -> Any:
            end = tf.reduce_max(tf.abs(self.w), axis=[0, 1, 2] if self.each else None)
            fake = f"fake_quant_with_min_max_vars{'_per_channel' * self.each}"
            w = getattr(tf.quantization, fake)(self.w, -end, end, 8, narrow)
            y = tf.nn.relu(tf.nn.conv2d(x, w, self.strides, "SAME") + self.b)
            return tf.quantization.fake_quant_with_min_max_args(y, 0.0, 4.7, bits, narrow)

    x = tf.keras.Input((12, 12, 3))
    y = tf.quantization.fake_quant_with_min_max_args(x, -1.3, 1.9, bits, narrow)
    for filters, size, strides in ((16, 3, 1), (24, 3, 2), (24, 1, 1)):
        y = Quantized(filters, size, strides)(y)
    model = tf.keras.Model(x, L.Dense(10)(L.GlobalAveragePooling2D()(y)))
    compiled = bnn.compile(model)
    assert [op.op for op in compiled.ops if "conv2d" in op.op] == [*["qconv2d"] * 3, "conv2d"], compiled.summary()
    images = np.random.default_rng(SEED).normal(size=(8, 12, 12, 3)).astype(np.float32)
    report = bnn.verify(model, compiled, images)
    assert report.ok and not report.quantized, str(report)
    assert sum(t.dtype == "u8" for t in compiled.tensors) == 3, compiled.summary()
    judged = [layer for layer in report.layers if layer.op == "quantize" and layer.compared]
    assert len(judged) == 3 and not any(layer.beyond for layer in judged), str(report)
    thresholds = [n.inputs[1].value for n in decode(compiled.to_bytes()).schedule if n.op == "quantize"]
    for values, wrong in ((thresholds[0], judged[:1]), (thresholds[1], judged[1:])):  # the last two share theirs
        found = bnn.verify(model, with_thresholds(compiled, values, values + np.ptp(values) / 2**bits / 32), images)
        names = [layer.layer for layer in found.layers if layer.op == "quantize" and layer.beyond]
        assert not found.ok and names == [layer.layer for layer in wrong], str(found)
    with pytest.raises(bnn.CompileError, match="4 layers are not binary: 'quantized.*': integers: its data and"):
        bnn.compile(model, require_binary=True)


def int8(w: Any, axes: list[int]) -> Any:
    end = np.abs(w).max(axis=tuple(axes), keepdims=True)
    return np.float32(np.rint(w / end * 127) * (end / 127))


@pytest.mark.drawn
@pytest.mark.parametrize("kind", ["conv", "depthwise", "binary"])
@pytest.mark.parametrize("seed", seeds(16))
def test_integers_alone_have_the_levels_of_training(seed: int, kind: str) -> None:
    """Nothing but the sums is rounded, and once: half a unit of a sum decides what differs from TensorFlow."""
    rng = np.random.default_rng(seed)
    tf.keras.utils.set_random_seed(seed % 2**31)
    bits, narrow = int(rng.integers(6, 9)), bool(rng.integers(2))
    x = image = tf.keras.Input((10, 10, 16))
    images = rng.normal(size=(20, *image.shape[1:])).astype(np.float32)
    if kind == "binary":
        images = np.sign(images)
        signs = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}
        x = lq.layers.QuantConv2D(32, 3, padding="same", pad_values=1.0, use_bias=False, **signs)(x)
    else:
        make = L.Conv2D(24, 3, padding="same") if kind == "conv" else L.DepthwiseConv2D(3, padding="same")
        x = make(tf.quantization.fake_quant_with_min_max_args(x, -1.3, 1.9, bits, narrow))
        kernel, bias = make.get_weights()
        axes = [0, 1, 2] if kind == "conv" else [0, 1, 3]
        make.set_weights([int8(kernel, axes), rng.normal(0, 0.1, bias.shape).astype(np.float32)])
    if kind == "binary" or rng.integers(2):
        gamma = (0.02, 0.1) if kind == "binary" else (0.5, 1.5)
        x = L.BatchNormalization(gamma_initializer=tf.keras.initializers.RandomUniform(*gamma))(x)
    x = L.ReLU()(x) if rng.integers(2) else x
    low, high = -2.0 * rng.integers(2), rng.uniform(1, 3)
    model = tf.keras.Model(image, tf.quantization.fake_quant_with_min_max_args(x, low, high, bits, narrow))
    found = bnn.calibrate(bnn.compile(model), images, integer_only=True)
    print(f"BNN_TEST_SEED={SEED} {seed}: {bits} bits, narrow: {narrow}\n{found}\n{found.model.summary()}")
    assert not {op.op for op in found.model.ops[2:]} & {"lookup", "quantize"}
    ours, theirs = found.model.predict(images), model(images).numpy()
    off = np.rint(np.abs(ours - theirs) / np.diff(np.unique(theirs)).min())
    assert off.max() <= 1 and off.mean() < 0.005, f"{off.mean()}, {off.max()}"
