# SPDX-License-Identifier: Apache-2.0
"""Layers that move values, or lose the batch dimension on the way and get it back; transposed convolutions; choices."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

from bnn.errors import CompileError
from bnn.ir import interpret
from bnn.ir.graph import DType, Graph
from bnn.passes import lower
from seed import some

from .models import check, import_model, ops, scramble

keras = tf.keras
L = keras.layers
BINARY = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign"}
Shape = tuple[int, ...]


def compiled(shape: Shape, *layers: Any) -> Graph:
    return check(scramble(keras.Sequential([L.Input(shape), *layers])))


MOVES: dict[str, tuple[Shape, Callable[[Any], Any]]] = {
    "transpose": ((3, 4, 5), lambda x: tf.transpose(x, (0, 3, 1, 2))),
    "turned": ((3, 4, 5), lambda x: x[:, :, ::-1]),
    "cropped": ((4, 4, 5), lambda x: x[:, 1:3, :-1]),
    "every other channel": ((3, 4, 6), lambda x: x[..., ::2]),
    "a run of channels": ((3, 4, 6), lambda x: x[..., 1:4]),
    "depth to space": ((3, 4, 8), lambda x: tf.nn.depth_to_space(x, 2)),
    "space to depth": ((4, 6, 3), lambda x: tf.nn.space_to_depth(x, 2)),
    "nearest": ((3, 4, 5), lambda x: tf.image.resize(x, (5, 7), "nearest")),
    "tile": ((3, 4, 2), lambda x: tf.tile(x, (1, 2, 1, 3))),
    "stack": ((3, 4), lambda x: tf.stack([x, x + 1.0], axis=2)),
    "unstack": ((3, 4, 5), lambda x: tf.unstack(x, axis=1)[1]),
    "gather": ((3, 4, 5), lambda x: tf.gather(x, [3, 0, 0], axis=2)),
    "over height": ((3, 4, 5), lambda x: tf.concat([x, x * 2.0], axis=1)),
    "split over width": ((3, 4, 5), lambda x: tf.split(x, 2, axis=2)[1]),
    "mirrored": ((3, 4, 2), lambda x: tf.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0)), "REFLECT")),
    "batch lost and found": ((3, 4, 5), lambda x: tf.reshape(tf.reshape(x, (-1, 20))[:, 3:8], (-1, 3, 5))),
    "many parts": ((3, 4, 2), lambda x: tf.concat([x * float(i) for i in range(70)], axis=-1)),
}


@pytest.mark.parametrize("name", MOVES)
def test_moves(name: str) -> None:
    shape, function = MOVES[name]
    compiled(shape, L.Lambda(function))
    dense = lq.layers.QuantDense(3, **BINARY)
    compiled(shape, L.Activation(lq.quantizers.ste_sign), L.Lambda(function), L.Flatten(), dense)


def test_a_run_of_channels_is_a_slice() -> None:
    assert ops(compiled((3, 4, 6), L.Lambda(lambda x: x[..., 1:4]))) == ["slice"]


def test_bits_move_as_bits() -> None:
    layers = [L.Activation(q := lq.quantizers.SteSign()), L.Permute((2, 1, 3)), lq.layers.QuantConv2D(4, 3, **BINARY)]
    assert q.precision == 1
    assert ops(compiled((5, 6, 7), *layers)) == ["binarize", "gather", "bconv2d"]


@pytest.mark.drawn
@pytest.mark.parametrize(
    ("strides", "size", "padding"), some([*itertools.product([1, 2, (3, 2)], [1, 2, 3, (4, 5)], ["same", "valid"])])
)
def test_transposed(strides: int | Shape, size: int | Shape, padding: str) -> None:
    layer = {"kernel_size": size, "strides": strides, "padding": padding}
    made = ops(compiled((4, 5, 6), lq.layers.QuantConv2DTranspose(3, **layer, **BINARY)))
    assert "bconv2d" in made and "conv2d" not in made
    compiled((4, 5, 6), L.Conv2DTranspose(3, **layer))


def test_transposed_output_padding() -> None:
    compiled((4, 4, 3), L.Conv2DTranspose(2, 3, strides=2, padding="valid", output_padding=1))


@pytest.mark.parametrize("shape", [(5, 6), (4, 5, 6)])
def test_dense_of_every_position(shape: Shape) -> None:
    made = ops(compiled(shape, lq.layers.QuantDense(4, **BINARY)))
    assert "bconv2d" in made and "gather" not in made


@pytest.mark.parametrize("activation", ["relu", "softmax", "swish", lambda x: tf.clip_by_value(0.5 * x - 1.0, -1, 1)])
def test_dense_over_time(activation: Any) -> None:
    """Keras 2 takes images times steps for the batch."""
    dense = [L.Dense(3, activation=activation), lq.layers.QuantDense(4, use_bias=True, **BINARY)]
    made = ops(compiled((5, 6), *map(L.TimeDistributed, dense), L.TimeDistributed(L.BatchNormalization())))
    assert "bconv2d" in made and "gather" not in made
    compiled((5, 6), L.TimeDistributed(keras.Sequential([L.Input((6,)), *dense, L.PReLU()])))


@pytest.mark.parametrize("layers", [
    lambda: [L.Activation("relu")], lambda: [L.LayerNormalization()], lambda: [lq.layers.QuantDense(4, **BINARY)],
    lambda: [lq.layers.QuantDense(4, input_quantizer=lambda x: tf.where(x > 0.25, 1.0, -1.0))],
    lambda: [lq.layers.QuantDense(4, input_quantizer=lambda x: tf.cast(tf.not_equal(tf.sign(x), -1.0), tf.float32))],
])  # fmt: skip
@pytest.mark.parametrize("move", [
    lambda: L.Permute((2, 1)), lambda: L.Cropping1D(1), lambda: L.Lambda(lambda x: tf.concat([x, x[:, ::-1]], 2)),
])  # fmt: skip
def test_over_time_behind_moves(layers: Callable[[], Any], move: Callable[[], Any]) -> None:
    compiled((5, 6), move(), *map(L.TimeDistributed, layers()))


@pytest.mark.parametrize(("shape", "function"), [
    ((6,), lambda x: tf.reshape(tf.reshape(x, (-1, 3)) + [1.0, 2.0, 3.0], (-1, 6))),
    ((5, 6), lambda x: tf.reshape(tf.reshape(x, (-1, 6)) + tf.reshape(x[:, ::-1], (-1, 6)), (-1, 5, 6))),
])  # fmt: skip
def test_elementwise_ops_in_another_order(shape: Shape, function: Callable[[Any], Any]) -> None:
    compiled(shape, L.Lambda(function))


@pytest.mark.parametrize(("channels", "function"), [
    (3, lambda x: tf.reshape(tf.nn.softmax(tf.reshape(x, (1, 3, -1))), (-1, 3))),
    (3, lambda x: tf.reshape(tf.reshape(x, (1, 3, -1)), (3, -1))),
    (4, lambda x: tf.reshape(tf.nn.relu(tf.roll(tf.reshape(x, (-1, 2)), 6, 0)), (-1, 4))),
    (4, lambda x: tf.nn.relu(tf.reshape(x, (-1, 2))[0:6])), (4, lambda x: tf.gather(tf.reshape(x, (-1, 2)), [0, 2, 4])),
    (4, lambda x: 2.0 * x[:3]), (4, lambda x: 2.0 * x[:60]), (4, lambda x: tf.reshape(x, (-1, 2))[:100:2]),
])  # fmt: skip
def test_moves_that_depend_on_the_number_of_images(channels: int, function: Callable[[Any], Any]) -> None:
    """As many channels as images are looked at, or a part of the batch that they all are in."""
    with pytest.raises(CompileError, match="'mine'.*(number of images|batch as its first)"):
        import_model(keras.Sequential([L.Input((channels,)), L.Lambda(function, name="mine")]))


def test_elementwise_ops_on_rows_of_several_images() -> None:
    function = L.Lambda(lambda x: tf.transpose(tf.transpose(x, (1, 0, 2)) + 1.0, (1, 0, 2)), name="mine")
    with pytest.raises(CompileError, match=r"'mine'.*does not keep the batch as its first"):
        import_model(keras.Sequential([L.Input((5, 6)), function]))


@pytest.mark.drawn
@pytest.mark.parametrize("implementation", some([1, 2, 3]))
def test_locally_connected(implementation: int) -> None:
    same = {"implementation": implementation, **BINARY}
    compiled((7, 4), lq.layers.QuantLocallyConnected1D(3, 3, strides=2, **same))
    compiled((5, 4, 3), lq.layers.QuantLocallyConnected2D(3, (2, 3), **same))
    compiled((12, 11, 2), lq.layers.QuantLocallyConnected2D(2, 3, **same))
    if implementation > 1:
        made = ops(compiled((6, 7, 4), lq.layers.QuantLocallyConnected2D(3, 3, padding="same", strides=2, **same)))
        assert "bconv2d" in made and "conv2d" not in made


@pytest.mark.parametrize("padding", ["same", "valid", "causal"])
def test_dilated_in_one_dimension(padding: str) -> None:
    assert "bconv2d" in ops(compiled((9, 4), lq.layers.QuantConv1D(3, 3, dilation_rate=2, padding=padding, **BINARY)))


CHOICES: dict[str, Callable[[Any], Any]] = {
    "where": lambda x: tf.where(x > 0.25, 1.0, -1.0),
    "where of tensors": lambda x: tf.where(x >= 0, tf.ones_like(x), -tf.ones_like(x)),
    "where less": lambda x: tf.where(x < 0.5, -1.0, 1.0),
    "where at most": lambda x: tf.where(x <= 0.5, 2.0, 3.0),
    "cast": lambda x: tf.cast(x > 0, tf.float32),
    "both": lambda x: tf.cast((x > -0.5) & (x > 0.25), tf.float32),
    "either, or not": lambda x: tf.where((x > 0.25) | tf.logical_not(x < 0.5), 1.0, -1.0),
    "outside": lambda x: tf.where((x > -0.5) & (x < 0.25), 0.0, tf.where(x > 0.0, 1.0, -1.0)),
    "levels": lambda x: tf.clip_by_value(x // 0.25, -2.0, 1.0) * 0.25,
    "not": lambda x: tf.cast(tf.logical_not(x > 0), tf.float32) * 2.0 - 1.0,
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices_are_bits(name: str) -> None:
    layer = lq.layers.QuantConv2D(4, 3, input_quantizer=CHOICES[name], kernel_quantizer="ste_sign")
    assert "conv2d" not in ops(compiled((5, 6, 7), layer))


@pytest.mark.parametrize("before", [
    L.ReLU, lambda: L.Lambda(lambda x: tf.cast(x > 0.0, tf.float32)), lq.quantizers.SteTern, L.MaxPool2D,
    lambda: L.Lambda(lambda x: tf.clip_by_value(x, -1.0, 1.0)),
])  # fmt: skip
@pytest.mark.parametrize("name", ["both", "either, or not"])
def test_choices_behind_others_are_bits(name: str, before: Callable[[], Any]) -> None:
    """One of the comparisons always has the same result there, or its steps are those of what lies before."""
    layer = lq.layers.QuantConv2D(4, 2, input_quantizer=CHOICES[name], kernel_quantizer="ste_sign")
    assert "conv2d" not in ops(compiled((5, 6, 7), before(), layer))


@pytest.mark.parametrize("function", [
    lambda x: tf.where(x > 0, x, 0.5 * x), lambda x: tf.abs(x), lambda x: x + tf.zeros_like(x),
    lambda x: tf.where(x > 0.25 * x + 0.1, x * 2.0, 1.0 - x),
    lambda x: tf.where((x > -0.5) & (x < 0.5), x, 0.0), lambda x: tf.where((x < -0.5) | (x >= 0.5), x, 1.0),
    lambda x: tf.cast(tf.equal(tf.sign(x), 1.0), tf.float32) - tf.cast(x != 0.0, tf.float32),
    lambda x: x // 0.25 + tf.add_n([x, 2.0 * x, x * x]), lambda x: tf.roll(x, 1, -1),
])  # fmt: skip
def test_choices_of_floats(function: Callable[[Any], Any]) -> None:
    compiled((3, 4, 2), L.Lambda(function))
    compiled((5,), L.Lambda(function))


def test_a_condition_without_data_is_refused() -> None:
    model = keras.Sequential([L.Input((4,)), L.Lambda(lambda x: tf.where(tf.shape(x)[0] > 1, x, 1.0 - x))])
    with pytest.raises(CompileError, match="Select"):
        import_model(model)


@pytest.mark.parametrize("layer", [
    L.GlobalAveragePooling1D(), L.GlobalMaxPool1D(keepdims=True), L.AveragePooling1D(2), L.MaxPool1D(3, padding="same"),
])  # fmt: skip
def test_pools_in_one_dimension(layer: Any) -> None:
    compiled((7, 4), layer)
    compiled((1, 4), layer if not isinstance(layer, L.AveragePooling1D) else L.GlobalAveragePooling1D())


def test_pixels() -> None:
    """Integer images that are rescaled first."""
    layers = [L.Rescaling(1 / 128, -1), lq.layers.QuantConv2D(4, 3, **BINARY)]
    model = keras.Sequential([L.Input((4, 5, 3), dtype="uint8"), *layers])
    source = import_model(scramble(model))
    x = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    assert source.inputs[0].type.dtype is DType.u8
    assert np.array_equal(interpret.outputs(source, [x])[0], model(x).numpy())
    assert np.array_equal(interpret.outputs(lower(source), [x])[0], model(x).numpy())
    floats = import_model(model, input_dtype="float32")
    assert np.array_equal(interpret.outputs(floats, [x.astype(np.float32)])[0], model(x).numpy())
