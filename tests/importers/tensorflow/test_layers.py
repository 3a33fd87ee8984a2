# SPDX-License-Identifier: Apache-2.0
"""Layers, one by one and in small models, against Keras called eagerly."""

from __future__ import annotations

import itertools
from typing import Any

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

import bnn
from seed import some

from .models import check, ops, scramble

keras = tf.keras
layers = tf.keras.layers
BINARY = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}


def sequential(shape: tuple[int, ...], *stack: Any) -> Any:
    return scramble(keras.Sequential([layers.Input(shape), *stack]))


FLOAT = {
    "conv": lambda: [layers.Conv2D(5, 3)],
    "conv same stride": lambda: [layers.Conv2D(5, (3, 2), strides=2, padding="same")],
    "conv larger than image": lambda: [layers.Conv2D(5, (12, 11), padding="same")],
    "conv dilated": lambda: [layers.Conv2D(5, 3, dilation_rate=(2, 3), padding="same", use_bias=False)],
    "conv dilated valid": lambda: [layers.Conv2D(5, 3, dilation_rate=2)],
    "conv grouped": lambda: [layers.Conv2D(6, 3, groups=2, padding="same", activation="relu")],
    "depthwise": lambda: [layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, padding="same")],
    "depthwise dilated": lambda: [layers.DepthwiseConv2D(3, dilation_rate=2, padding="same")],
    "separable": lambda: [layers.SeparableConv2D(4, 3, padding="same")],
    "batch norm": lambda: [layers.BatchNormalization(epsilon=1e-5), layers.ReLU()],
    "batch norm unfused": lambda: [layers.BatchNormalization(fused=False), layers.ReLU(6.0)],
    "batch norm in part": lambda: [layers.BatchNormalization(scale=False), layers.BatchNormalization(center=False)],
    "batch norm over an axis of W": lambda: [layers.BatchNormalization(axis=2)],
    "relu": lambda: [layers.ReLU(), layers.Activation("relu6")],
    "tanh": lambda: [layers.Activation("tanh"), layers.Conv2D(2, 3, activation="tanh")],
    "elu": lambda: [layers.ELU(), layers.Conv2D(2, 3, activation="elu"), layers.ELU(0.5)],
    "selu": lambda: [layers.Activation("selu"), layers.Conv2D(2, 3, activation="softsign")],
    "swish": lambda: [layers.Activation("swish"), layers.Conv2D(2, 3, activation="hard_sigmoid")],
    "softplus": lambda: [layers.Activation("softplus"), layers.Conv2D(2, 3, activation="exponential")],
    "gelu": lambda: [layers.Activation("gelu"), layers.Activation("mish")],
    "layer norm": lambda: [layers.LayerNormalization(), layers.LayerNormalization(axis=[1, 2, 3], scale=False)],
    "layer norm of vectors": lambda: [
        layers.Reshape((90, 4)), layers.LayerNormalization(center=False), layers.Flatten(), layers.Dense(5),
        layers.LayerNormalization(epsilon=0.1), layers.Reshape((1, 5)), layers.Permute((2, 1)),
        layers.LayerNormalization(),
    ],
    "unit norm": lambda: [layers.UnitNormalization(), layers.UnitNormalization(axis=[1, 2])],
    "sums": lambda: [
        layers.Lambda(lambda x: x / (1.0 + tf.reduce_sum(tf.abs(x), 3, keepdims=True))),
        layers.Lambda(lambda x: tf.reduce_sum(x, [1, 2]) + tf.reduce_sum(tf.math.reduce_std(x, 1), 1)),
    ],
    "max pool": lambda: [layers.MaxPool2D(2), layers.MaxPool2D(3, 2, padding="same")],
    "average pool": lambda: [layers.AveragePooling2D(2), layers.AveragePooling2D(3, 2, padding="same")],
    "global average": lambda: [layers.GlobalAveragePooling2D(), layers.Dense(3)],
    "global average keepdims": lambda: [layers.GlobalAveragePooling2D(keepdims=True), layers.Conv2D(3, 1)],
    "global max": lambda: [layers.GlobalMaxPooling2D(), layers.Dense(3, activation="softmax")],
    "resize": lambda: [layers.UpSampling2D((2, 3), interpolation="bilinear"), layers.Resizing(5, 7)],
    "means": lambda: [
        layers.Lambda(lambda x, a=a: x + tf.reduce_mean(x, a, keepdims=True)) for a in (1, 2, -1, [1, 2, 3])
    ],
    "extremes": lambda: [
        layers.Lambda(lambda x: tf.reduce_max(x, [2, 3], keepdims=True) - tf.reduce_min(x, 1, keepdims=True) * x),
        layers.Lambda(lambda x: tf.concat([x, tf.reduce_max(x, 3, keepdims=True)], 3)),
        layers.Conv2D(3, 2),
    ],
    "zero padding": lambda: [layers.ZeroPadding2D(((1, 2), (0, 3))), layers.Conv2D(4, 3, strides=2)],
    "flatten": lambda: [layers.Flatten(), layers.Dense(7, activation="relu"), layers.Dense(3), layers.Softmax()],
    "reshape": lambda: [layers.Reshape((9, 40)), layers.Reshape((3, 3, 40)), layers.Conv2D(4, 2)],
    "reshape to four": lambda: [layers.Reshape((3, 3, 5, 8)), layers.Flatten(), layers.Dense(4)],
    "only in training": lambda: [layers.Dropout(0.5), layers.GaussianNoise(0.1), layers.Conv2D(2, 1)],
    "lambda": lambda: [layers.Lambda(lambda x: 2 * x - 0.5), layers.Conv2D(2, 1)],
}  # fmt: skip


@pytest.mark.parametrize("name", FLOAT)
def test_float_layers(name: str) -> None:
    check(sequential((9, 10, 4), *FLOAT[name]()))


def test_convolution_over_one_dimension() -> None:
    stack = [layers.Conv1D(5, 3, padding="same"), layers.MaxPooling1D(2), layers.Flatten(), layers.Dense(3)]
    check(sequential((16, 3), *stack))


def bn(**options: Any) -> Any:
    return layers.BatchNormalization(**options)


LARQ = {
    "pad 0": lambda: [lq.layers.QuantConv2D(8, 3, padding="same", **BINARY), bn()],
    "pad 1": lambda: [lq.layers.QuantConv2D(8, 3, padding="same", pad_values=1.0, strides=2, **BINARY), bn()],
    "dilated": lambda: [lq.layers.QuantConv2D(8, 3, padding="same", dilation_rate=2, **BINARY), bn()],
    "bias": lambda: [lq.layers.QuantConv2D(8, 3, use_bias=True, **BINARY), bn(fused=False)],
    "pool before": lambda: [lq.layers.QuantConv2D(8, 3, use_bias=False, **BINARY), layers.MaxPool2D(2), bn()],
    "pool after": lambda: [lq.layers.QuantConv2D(8, 3, use_bias=False, **BINARY), bn(), layers.MaxPool2D(2)],
    "pool same": lambda: [lq.layers.QuantConv2D(8, 3, **BINARY), layers.MaxPool2D(3, 2, padding="same"), bn()],
    "relu": lambda: [lq.layers.QuantConv2D(8, 3, use_bias=False, **BINARY), layers.ReLU(), bn()],
}


@pytest.mark.parametrize("name", LARQ)
def test_binary_convolutions(name: str) -> None:
    model = sequential((10, 9, 35), *LARQ[name](), lq.layers.QuantConv2D(40, 2, use_bias=False, **BINARY))
    graph = check(model)
    assert "conv2d" not in ops(graph) and ops(graph).count("bconv2d") == 2
    assert sum("threshold" in n.attrs.slots for n in graph.schedule if n.op == "bconv2d") == 1
    assert ops(graph).count("binarize") == 1, "the input's quantizer alone stays"


@pytest.mark.parametrize("quantizer", ["ste_sign", "approx_sign", "swish_sign"])
@pytest.mark.parametrize("kernel", ["ste_sign", "magnitude_aware_sign"])
def test_quantizers(quantizer: str, kernel: str) -> None:
    options = {"input_quantizer": quantizer, "kernel_quantizer": kernel, "kernel_constraint": "weight_clip"}
    conv = lq.layers.QuantConv2D(9, 3, padding="same", use_bias=False, **options)
    graph = check(sequential((8, 8, 33), conv, bn(), layers.Flatten(), lq.layers.QuantDense(5, **options)))
    assert ops(graph).count("bconv2d") == 2 and "conv2d" not in ops(graph)


LEVELS = ["ste_tern", "ste_heaviside", "dorefa_quantizer"]


@pytest.mark.drawn
@pytest.mark.parametrize(
    ("quantizer", "kernel", "padding"),
    some(
        [
            *itertools.product(
                ["ste_tern", "ste_heaviside", "dorefa_quantizer"], ["ste_sign", "ste_tern"], ["valid", "same"]
            )
        ]
    ),
)
def test_quantizers_of_other_levels(quantizer: str, kernel: str, padding: str) -> None:
    first = lq.layers.QuantConv2D(5, 3, input_quantizer=quantizer, kernel_quantizer=kernel, padding=padding)
    last = lq.layers.QuantConv2D(4, 2, input_quantizer=quantizer, kernel_quantizer=kernel)
    graph = check(sequential((6, 6, 4), first, bn(), last))
    assert "conv2d" not in ops(graph) and len({n.name for n in graph.schedule if n.op == "bconv2d"}) == 2


def test_depthwise_and_groups() -> None:
    depthwise = lq.layers.QuantDepthwiseConv2D(
        3, padding="same", pad_values=1.0, input_quantizer="ste_sign", depthwise_quantizer="ste_sign"
    )
    separable = lq.layers.QuantSeparableConv2D(
        64, 3, input_quantizer="ste_sign", depthwise_quantizer="ste_sign", pointwise_quantizer="ste_sign"
    )
    grouped = lq.layers.QuantConv2D(8, 3, groups=2, **BINARY)
    graph = check(sequential((9, 9, 5), depthwise, bn(), separable, bn(), grouped))
    assert graph.schedule[-1].op == "bconv2d" and graph.schedule[-1].attrs.groups == 2
    assert "it is depthwise: one product a tap" in [n.note for n in graph.schedule if n.op == "conv2d"]


def test_first_layer_keeps_its_reason() -> None:
    graph = check(sequential((6, 6, 3), lq.layers.QuantConv2D(4, 3, kernel_quantizer="ste_sign"), bn()))
    assert graph.schedule[0].note == "its input is float (no input quantizer)"
    graph = check(sequential((6, 6, 3), layers.Conv2D(4, 3)))
    assert graph.schedule[0].note == "its input is float (no input quantizer), its weights too"


def test_batch_norm_of_exact_ties() -> None:
    """Pre-activations of exactly 0 are +1, as sign(sign(0) + 0.1) is."""
    model = keras.Sequential(
        [
            layers.Input((5, 5, 32)),
            lq.layers.QuantConv2D(16, 3, use_bias=False, **BINARY),
            bn(scale=False, center=False, epsilon=0.0),
            lq.layers.QuantConv2D(4, 3, use_bias=False, **BINARY),
        ]
    )
    check(model)  # sums of 288 signs around a mean of 0
    for gamma in (-1.0, 0.0, 1.0):
        norm = bn(gamma_initializer=keras.initializers.Constant(gamma), epsilon=0.0)
        check(keras.Sequential([layers.Input((5, 5, 32)), model.layers[0], norm, model.layers[2]]))


@pytest.mark.parametrize("before", [[], ["relu"], ["relu6"]], ids=str)
def test_infinite_input_of_a_gamma_of_zero(before: list[str], rng: np.random.Generator) -> None:
    """Infinity times zero is not a number, though every finite input of that channel gives the same bit."""
    norm = layers.BatchNormalization(epsilon=2.0**-10)
    stack = [*(layers.Activation(b) for b in before), norm, lq.layers.QuantConv2D(8, 2, **BINARY)]
    model = keras.Sequential([layers.Input((4, 4, 33)), *stack])
    norm.set_weights([
        rng.choice([-1.0, 0.0, 2.0], 33), rng.choice([-0.5, 0.0, 0.5], 33), rng.integers(-1, 2, 33),
        np.full(33, 1 - 2.0**-10),
    ])  # fmt: skip
    x = (rng.integers(-8, 9, (64, 4, 4, 33)) / 8).astype(np.float32)
    image = np.arange(32)
    x[image, rng.integers(0, 4, 32), rng.integers(0, 4, 32), image % 33] = rng.choice([-np.inf, np.inf], 32)
    expected = model(x, training=False).numpy()
    lost = np.isnan(expected).any(axis=(1, 2, 3))
    compiled = bnn.compile(model)
    assert [op.op for op in compiled.ops].count("affine") == 0 or before == ["relu"]
    for kernels in bnn.runtime.available_kernels():
        found = bnn.Model.from_bytes(compiled.to_bytes(), kernels=kernels)(x)
        assert np.isnan(found[lost]).all() and np.array_equal(found[~lost], expected[~lost]), kernels
