# SPDX-License-Identifier: Apache-2.0
"""Quantizers of several bits against Keras: every step of them, and layers that read them, whose sums are exact."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

import bnn
from bnn.ir.graph import Graph
from bnn.passes import lower
from seed import some

from .models import import_model

L = tf.keras.layers
CHANNELS = 40


def model(shape: tuple[int, ...], *stack: Any) -> Any:
    return tf.keras.Sequential([L.Input(shape), *stack])


def lowered(keras: Any) -> Graph:
    return lower(import_model(keras))


def around_steps(k: int) -> np.ndarray:  # type: ignore[type-arg]
    """Floats on, just below and just above every point at which a quantizer of k bits may step; ends; zeros."""
    top = 2**k - 1
    points = np.concatenate([(np.arange(top + 2) + half) / top for half in (-0.5, 0.0)]).astype(np.float32)
    ends = np.array([-np.inf, -2, -1e-40, -0.0, 0.0, 1e-40, 1, 2, np.inf], np.float32)
    near = [points]
    for towards in (-np.inf, np.inf):
        x = points
        for _ in range(4):
            x = np.nextafter(x, np.float32(towards))
            near.append(x)
    return np.concatenate([ends, *near])


@pytest.mark.parametrize("k", range(1, 9))
def test_every_step_of_dorefa(k: int) -> None:
    """The values are Keras' own, at the ties of its rounding and beside them."""
    line = around_steps(k)
    keras = model((len(line), 1), L.Activation(lq.quantizers.DoReFa(k_bit=k)))
    graph = lowered(keras)
    levels = [n.type.shape[-1] for n in graph.schedule if n.op in ("binarize", "binarize_levels")]
    assert levels == ([1] if k == 1 else [32 * k] if k <= 4 else [])  # many, which no layer reads: they are rounded
    array = line.reshape(1, -1, 1)
    np.testing.assert_array_equal(bnn.compile(keras)(array), keras(array).numpy())


WHOLE: dict[str, Callable[[Any], Any]] = {
    "floor of a clip": lambda x: tf.floor(tf.clip_by_value(x, 0.0, 1.0) * 3.0) / 3.0,
    "clip of a floor": lambda x: tf.clip_by_value(tf.floor(x * 3.0 + 0.5), -1.0, 2.0),
    "ceil of a clip": lambda x: tf.math.ceil(tf.clip_by_value(x, -1.0, 1.0) * 3.0),
    "clip of a ceil": lambda x: tf.clip_by_value(tf.math.ceil(x * 3.0 - 0.5) * 0.5, 0.0, 1.5),
}


@pytest.mark.parametrize("name", WHOLE)
def test_every_step_of_floor_and_ceil(name: str) -> None:
    line = np.concatenate([around_steps(2), -around_steps(2)])
    keras = model((len(line), 1), L.Activation(WHOLE[name]))
    ops = [n.op for n in lowered(keras).schedule]
    assert {"binarize", "binarize_levels"} & set(ops) and "round" not in ops
    array = line.reshape(1, -1, 1)
    np.testing.assert_array_equal(bnn.compile(keras)(array), keras(array).numpy())


def test_floor_and_ceil_of_any_number(rng: np.random.Generator) -> None:
    """No quantizers, since they have no end: floats, and Keras' own."""
    line = np.concatenate([around_steps(2), rng.normal(0, 2.0 ** rng.integers(-30, 30, 500))]).astype(np.float32)
    for function in (tf.floor, tf.math.ceil, tf.round):
        keras = model((len(line), 1), L.Lambda(function))
        compiled = bnn.compile(keras)(line.reshape(1, -1, 1))
        np.testing.assert_array_equal(compiled, keras(line.reshape(1, -1, 1)).numpy())


def fraction(k: int) -> Callable[[Any], Any]:
    """k bits whose levels are multiples of a power of two, so that Keras' sums are exact."""
    scale = 2.0 ** (k - 1)
    return lambda x: tf.round(tf.clip_by_value(x, 0.0, 2.0 - 1 / scale) * scale) / scale


LAYERS: dict[str, Callable[[Any], list[Any]]] = {
    "conv": lambda q: [lq.layers.QuantConv2D(33, 3, input_quantizer=q, kernel_quantizer="ste_sign")],
    "same": lambda q: [
        lq.layers.QuantConv2D(8, (3, 4), padding="same", strides=2, input_quantizer=q, kernel_quantizer="ste_sign")
    ],
    "dilated": lambda q: [
        lq.layers.QuantConv2D(8, 3, padding="same", dilation_rate=2, input_quantizer=q, kernel_quantizer="ste_sign")
    ],
    "padded with ones": lambda q: [
        lq.layers.QuantConv2D(8, 3, padding="same", pad_values=1.0, input_quantizer=q, kernel_quantizer="ste_sign")
    ],
    "groups": lambda q: [
        lq.layers.QuantConv2D(8, 3, groups=4, padding="same", input_quantizer=q, kernel_quantizer="ste_sign")
    ],
    "groups of words": lambda q: [
        L.Conv2D(64, 1, kernel_initializer="ones", use_bias=False),
        lq.layers.QuantConv2D(8, 2, groups=2, input_quantizer=q, kernel_quantizer="ste_sign"),
    ],
    "dense": lambda q: [L.Flatten(), lq.layers.QuantDense(70, input_quantizer=q, kernel_quantizer="ste_sign")],
    "one dimension": lambda q: [
        L.Reshape((-1, CHANNELS)),
        lq.layers.QuantConv1D(9, 3, padding="causal", input_quantizer=q, kernel_quantizer="ste_sign"),
    ],
    "ternary weights": lambda q: [
        lq.layers.QuantConv2D(8, 3, padding="same", input_quantizer=q, kernel_quantizer=lq.quantizers.SteTern())
    ],
    "transposed": lambda q: [
        lq.layers.QuantConv2DTranspose(
            8, 3, strides=2, padding="same", input_quantizer=q, kernel_quantizer="ste_sign"
        )
    ],
    "pool between": lambda q: [
        L.Activation(q),
        L.MaxPool2D(3, 2, padding="same"),
        lq.layers.QuantConv2D(8, 3, kernel_quantizer="ste_sign"),
    ],
    "moves between": lambda q: [
        L.Activation(q),
        L.ZeroPadding2D(((0, 1), (2, 0))),
        L.Permute((2, 1, 3)),
        lq.layers.QuantConv2D(8, 3, kernel_quantizer="ste_sign"),
    ],
    "bits after it": lambda q: [
        lq.layers.QuantConv2D(33, 3, padding="same", input_quantizer=q, kernel_quantizer="ste_sign"),
        L.BatchNormalization(epsilon=2.0**-10),
        lq.layers.QuantConv2D(8, 3, input_quantizer="ste_sign", kernel_quantizer="ste_sign"),
    ],
}  # fmt: skip


def run(keras: Any, rng: np.random.Generator) -> bnn.Model:
    for layer in keras.layers:
        if isinstance(layer, L.BatchNormalization):
            c = layer.gamma.shape[0]
            mean, variance = rng.integers(-40, 41, c) / 4, 4.0 ** rng.integers(-1, 3, c) - 2.0**-10
            layer.set_weights([rng.choice([-1.0, 0.0, 1.0, 2.0], c), rng.integers(-2, 3, c), mean, variance])
    x = (rng.integers(-64, 160, (3, *keras.input_shape[1:])) / 64).astype(np.float32)
    compiled = bnn.compile(keras)
    np.testing.assert_array_equal(compiled(x), keras(x, training=False).numpy())
    return compiled


@pytest.mark.drawn
@pytest.mark.parametrize(("name", "k"), some([*itertools.product(LAYERS, [2, 3, 4, 5, 8])]))
def test_layers_of_several_bits(name: str, k: int, rng: np.random.Generator) -> None:
    compiled = run(model((7, 6, CHANNELS), *LAYERS[name](fraction(k))), rng)
    kinds = {op.kind for op in compiled.ops if op.op == "bconv2d"}
    assert "multi-bit" in kinds and not any(op.op == "conv2d" and "quant" in op.layer for op in compiled.ops)


def test_macs_count_once_a_bit(rng: np.random.Generator) -> None:
    def macs(k: int) -> int:
        quantizer = fraction(k) if k > 1 else "ste_sign"
        compiled = bnn.compile(model((7, 6, CHANNELS), *LAYERS["conv"](quantizer)))
        assert ("multi-bit" in compiled.summary()) == (k > 1)
        return sum(op.binary_macs for op in compiled.ops)

    assert [macs(k) for k in (1, 2, 5)] == [n * 5 * 4 * 33 * 9 * CHANNELS for n in (1, 2, 5)]


def test_middle_levels_pad_with_zero(rng: np.random.Generator) -> None:
    """Five levels around zero are counted planes.  Seventeen are binary numbers, which have no zero: with short
    filters, the layer stays float."""

    def around_zero(steps: int, size: int = 3) -> Any:
        half = steps / 2
        return lq.layers.QuantConv2D(
            8, size, padding="same", kernel_quantizer="ste_sign",
            input_quantizer=lambda x: tf.clip_by_value(tf.round(x * half), -half, half) * 0.5,
        )  # fmt: skip

    for steps in (4, 16):
        assert not any(op.op == "conv2d" for op in run(model((5, 5, CHANNELS), around_zero(steps)), rng).ops)
    compiled = run(model((5, 5, 7), around_zero(16, 2)), rng)
    assert any("zero padding is none of its input's levels" in op.note for op in compiled.ops)


def test_sums_that_are_not_exact_stay_float() -> None:
    keras = model((70000,), *LAYERS["dense"](fraction(8)))
    (op,) = [op for op in bnn.compile(keras).ops if op.op == "conv2d"]
    assert op.note == "sums of 70000 products of 256 levels are not exact in float32"


def halves(x: Any) -> Any:
    """-1.5, -0.5, 0.5, 1.5: no zero among them, and evenly around it."""
    return tf.math.ceil(tf.clip_by_value(x, -1.0, 1.0) * 1.5) - 0.5


def fours(x: Any) -> Any:
    """0 to 4, less 2: zero in the middle of what the layer reads, not of what is rounded."""
    return tf.round(tf.clip_by_value(x, 0.0, 1.0) * 4.0) - 2.0


LOST: dict[str, tuple[Callable[[Any], Any], list[Any], float]] = {
    "below, padded with zero": (halves, [L.ReLU()], 0.0),
    "above, padded with zero": (halves, [L.Lambda(lambda x: tf.minimum(x, 0.0))], 0.0),
    "both, padded with zero": (halves, [L.Lambda(lambda x: tf.clip_by_value(x, -0.2, 0.2))], 0.0),
    "below, padded with it": (lq.quantizers.SteTern(), [L.ReLU()], -1.0),
    "above, padded with it": (lq.quantizers.SteTern(), [L.Lambda(lambda x: tf.minimum(x, 0.0))], 1.0),
    "none, around zero later": (fours, [], 0.0),
    "some, behind others": (fraction(5), [L.Lambda(lambda x: tf.round(x * 3.0) / 3.0)], 0.0),
}


@pytest.mark.parametrize("name", LOST)
def test_levels_that_never_occur(name: str, rng: np.random.Generator) -> None:
    """Where what is left of them cannot be padded, all of them are kept: the layer runs as bits."""
    quantizer, before, pad = LOST[name]
    layer = lq.layers.QuantConv2D(
        8, 3, padding="same", pad_values=pad, input_quantizer=quantizer, kernel_quantizer="ste_sign"
    )
    for first in ([], [lq.layers.QuantConv2D(CHANNELS, 3, input_quantizer="ste_sign", kernel_quantizer="ste_sign")]):
        keras = model((7, 6, CHANNELS), *first, *before, layer)
        compiled = run(keras, rng)
        assert all(op.op == "bconv2d" for op in compiled.ops if "conv2d" in op.op and op.layer == layer.name)
        x = np.array([-np.inf, -1e30, -1, -0.5, -0.0, 0.0, 0.5, 1, 1e30, np.inf], np.float32)
        x = rng.choice(x, (3, *keras.input_shape[1:]))
        np.testing.assert_array_equal(compiled(x), keras(x, training=False).numpy())


def test_levels_that_never_occur_take_no_planes(rng: np.random.Generator) -> None:
    """Where nothing is padded with them, or with one that does occur, they are left out."""
    ternary = {"input_quantizer": lq.quantizers.SteTern(), "kernel_quantizer": "ste_sign"}
    for pad in (0.0, 1.0):
        layer = lq.layers.QuantConv2D(8, 3, padding="same", pad_values=pad, **ternary)
        (op,) = [op for op in run(model((7, 6, CHANNELS), L.ReLU(), layer), rng).ops if op.op == "bconv2d"]
        assert op.binary_macs == 7 * 6 * 8 * 9 * CHANNELS, "one plane"
