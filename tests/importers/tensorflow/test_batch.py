# SPDX-License-Identifier: Apache-2.0
"""Quantizers that compute with the whole batch, as Keras has them where they quantize activations."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import larq as lq
import numpy as np
import pytest
import tensorflow as tf

import bnn
from bnn._native import ffi, lib
from bnn._types import Array
from bnn.errors import CompileError, UnsupportedOpError
from bnn.passes import lower
from seed import some

from .models import import_model

keras = tf.keras
layers = tf.keras.layers
TERNARY = lq.quantizers.SteTern(ternary_weight_networks=True)
SIGN = {"kernel_quantizer": "ste_sign"}


def two(shape: tuple[int, ...], first: Callable[[Any], Any]) -> Any:
    """A network of a layer with the quantizer, and a binary one."""
    x = entry = keras.Input(shape)
    x = layers.BatchNormalization()(first(x))
    x = layers.Flatten()(x)
    return keras.Model(entry, lq.layers.QuantDense(7, input_quantizer="ste_sign", **SIGN)(x))


LAYERS: dict[str, tuple[tuple[int, ...], Callable[[Any], Any]]] = {
    "conv": (
        (4, 4, 8),
        lambda q: lq.layers.QuantConv2D(9, 3, padding="same", pad_values=1.0, input_quantizer=q, **SIGN, name="first"),
    ),
    "dense": ((64,), lambda q: lq.layers.QuantDense(9, input_quantizer=q, **SIGN, name="first")),
    "sequence": ((8, 8), lambda q: lq.layers.QuantConv1D(9, 3, input_quantizer=q, **SIGN, name="first")),
    "depthwise": (
        (4, 4, 8),
        lambda q: lq.layers.QuantDepthwiseConv2D(3, input_quantizer=q, depthwise_quantizer="ste_sign", name="first"),
    ),
    "transposed": (
        (4, 4, 8), lambda q: lq.layers.QuantConv2DTranspose(5, 2, strides=2, input_quantizer=q, **SIGN, name="first")
    ),
}  # fmt: skip


def eighths(rng: np.random.Generator, count: int, shape: tuple[int, ...]) -> Array:
    """Sums of them are exact, and means over powers of two."""
    return (rng.integers(-8, 9, (count, *shape)) / 8).astype(np.float32)


@pytest.mark.drawn
@pytest.mark.parametrize(("kind", "quantizer"), some([*itertools.product(LAYERS, ["magnitude_aware_sign", TERNARY])]))
def test_larqs_quantizers(kind: str, quantizer: Any, rng: np.random.Generator) -> None:
    """Whatever the batch, exactly Keras'; ternary layers as bits."""
    shape, layer = LAYERS[kind]
    model = two(shape, layer(quantizer))
    compiled = bnn.compile(model)
    assert compiled.whole_batch
    for count in (1, 2, 4, 8, 16):
        x = eighths(rng, count, shape)
        expected = model(x, training=False).numpy()
        assert np.array_equal(compiled(x), expected), count
        assert np.array_equal(compiled.predict(x, threads=2), expected)
    assert bnn.verify(model, compiled, eighths(rng, 8, shape)).different_bits == 0
    own = [op for op in compiled.ops if op.layer == "first" and "conv2d" in op.op]
    binary = isinstance(quantizer, lq.quantizers.SteTern) and kind != "depthwise"
    assert {op.op for op in own} == {"bconv2d" if binary else "conv2d"}
    if quantizer == "magnitude_aware_sign" and kind != "depthwise":
        assert all("each channel of its bits is scaled by a mean over the batch" in op.note for op in own)
    text = "'first': an image's result depends on the other images of its batch"
    assert sum(text in line for line in compiled.warnings) == 1


OWN: dict[str, Callable[[Any], Any]] = {
    "above the mean": lambda x: tf.where(x >= tf.reduce_mean(x), 1.0, -1.0),
    "mean of each position": lambda x: lq.math.sign(x - tf.reduce_mean(x, axis=0)),
    "kept dimensions": lambda x: lq.math.sign(x - tf.reduce_mean(x, axis=[0, 1, 2], keepdims=True)),
    "of two": lambda x: lq.math.sign(x - tf.reduce_mean(x) * tf.reduce_mean(tf.abs(x), axis=[0, 1, 2])),
    "sum": lambda x: lq.math.sign(x * 64.0 - tf.maximum(tf.reduce_sum(x), 1.0)),
    "number of images": lambda x: lq.math.sign(x * tf.cast(tf.shape(x)[0], tf.float32) - 0.5),
}


@pytest.mark.parametrize("name", OWN)
def test_quantizers_of_ones_own(name: str, rng: np.random.Generator) -> None:
    model = two((4, 4, 8), lq.layers.QuantConv2D(9, 3, input_quantizer=OWN[name], **SIGN, name="first"))
    compiled = bnn.compile(model)
    for count in (1, 2, 8):
        x = eighths(rng, count, (4, 4, 8))
        assert np.array_equal(compiled(x), model(x, training=False).numpy()), count
    assert all(op.op == "bconv2d" for op in compiled.ops if op.layer == "first" and "conv2d" in op.op)


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "an output": (lambda x: tf.reduce_mean(x, axis=0), r"'mine'.*an output of the whole batch"),
    "largest": (lambda x: x - tf.reduce_max(x), r"'mine': Max.*only sums and means over the batch are supported"),
    "some axes": (lambda x: x - tf.reduce_mean(x, [0, 3], keepdims=True), r"'mine'.*over the batch and axes \[3\]"),
    "moved": (lambda x: x - tf.reverse(tf.reduce_mean(x, 0), [0]), r"'mine': Reverse.*only elementwise"),
    "a mean of it": (lambda x: x - tf.reduce_mean(tf.reduce_mean(x, 0)), r"'mine': Mean.*only elementwise"),
    "another dimension before": (
        lambda x: tf.reshape(x, (-1, 32)) - tf.reduce_mean(tf.reshape(x, (-1, 1, 1, 32)), 0, keepdims=True)[0],
        r"'mine'.*only elementwise|'mine'.*keep the batch as its first",
    ),
    "more dimensions": (
        lambda x: tf.reshape(x, (-1, 32)) - tf.reduce_mean(tf.reshape(x, (-1, 1, 32)), [0, 1], keepdims=True),
        r"'mine'.*keep the batch as its first",
    ),
    "too large": (
        lambda x: x - tf.reduce_mean(x, 0)[:, :, :1] * tf.reduce_mean(x, 0), r"'mine': StridedSlice.*elementwise"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    function, message = REFUSED[name]
    model = keras.Sequential([layers.Input((4, 4, 3)), layers.Conv2D(2, 1), layers.Lambda(function, name="mine")])
    with pytest.raises(CompileError, match=message):
        lower(import_model(model))


def test_calls_of_a_model(rng: np.random.Generator) -> None:
    """All images of a call are one batch; predict cuts them as Keras does; whatever looks inside takes one, too."""
    shape, layer = LAYERS["conv"]
    model = two(shape, layer("magnitude_aware_sign"))
    compiled = bnn.compile(model)
    x = eighths(rng, 32, shape)
    parts = np.concatenate([model(x[i : i + 8], training=False).numpy() for i in range(0, 32, 8)])
    assert np.array_equal(compiled.predict(x, batch_size=8), parts)
    assert not np.array_equal(compiled.predict(x), parts)
    assert np.array_equal(compiled.predict(x, batch_size=64, threads=3), compiled(x))
    (last,) = [name for name in compiled.activations(x) if name == compiled.output_names[0]]
    assert np.array_equal(compiled.activations(x)[last], compiled(x))
    assert len(compiled.profile(x[:16], repeats=1)) == len(compiled.ops)
    assert compiled(x[:0]).shape == (0, 7)
    assert not bnn.compile(two(shape, layer("ste_sign"))).whole_batch


def images(x: Any) -> Any:
    return tf.cast(tf.shape(x)[0], tf.float32)


COUNTED: dict[str, Callable[[Any], Any]] = {
    "a product": lambda x: x * images(x),
    "size": lambda x: x / tf.cast(tf.size(x), tf.float32),
    "of several": lambda x: x / (tf.cast(tf.reduce_prod(tf.shape(x)), tf.float32) * 2.0),
    "a shape": lambda x: tf.reshape(x, tf.stack([tf.shape(x)[0], 2, 2])),
    "a part": lambda x: tf.slice(x, [0, 1], [tf.shape(x)[0], 2]),
    "ones": lambda x: x + tf.ones_like(x),
    "ones, summed": lambda x: x / tf.reduce_sum(tf.ones_like(x), axis=-1, keepdims=True),
    "all ones, summed": lambda x: x / tf.reduce_sum(tf.ones_like(x)),
    "one of several": lambda x: x + tf.one_hot(tf.fill(tf.shape(x)[:-1], 2), 4),
    "repeated": lambda x: tf.repeat(x, [1, 2, 1, 1], axis=1),
    "ones, computed with": lambda x: x * tf.sqrt(tf.maximum(tf.ones_like(x) * 4.0, 1.0)),
    "a mean by a constant of more dimensions": lambda x: x - tf.reduce_mean(x) * tf.ones((1, 4)),
    "kept dimensions": lambda x: x - tf.reduce_mean(x, 0, keepdims=True) * tf.reduce_mean(x, [0, 1], keepdims=True),
}


@pytest.mark.parametrize("name", COUNTED)
def test_numbers_of_images(name: str, rng: np.random.Generator) -> None:
    """What is a multiple of the number of images is so for every batch."""
    model = keras.Sequential([layers.Input((4,)), layers.Lambda(COUNTED[name], name="mine")])
    compiled = bnn.compile(model)
    for count in (1, 2, 4, 8, 64):
        x = eighths(rng, count, (4,))
        assert np.array_equal(compiled(x), model(x, training=False).numpy()), count


UNKNOWN: dict[str, Callable[[Any], Any]] = {
    "one more": lambda x: x * (images(x) + 1.0),
    "a part of it": lambda x: x * (images(x) * 0.25),
    "its opposite": lambda x: x * -images(x),
    "at most three": lambda x: x * tf.minimum(images(x), 3.0),
    "at least two": lambda x: x * tf.maximum(images(x), 2.0),
    "a choice": lambda x: x * tf.where(tf.shape(x)[0] > 4, 0.25, -0.25),
    "ones as large": lambda x: x / (tf.ones_like(x) * images(x)),
    "a product of twos": lambda x: x * tf.reduce_prod(tf.fill([tf.shape(x)[0]], 2.0)),
    "the fourth of so many ones": lambda x: x + tf.concat([tf.ones([tf.shape(x)[0]]), [5.0] * 9], 0)[3],
    "a size of at most nine": lambda x: x + tf.cast(tf.size(tf.range(tf.minimum(tf.shape(x)[0], 9))), tf.float32),
    "the first images": lambda x: x[:3],
    "as many as there may be": lambda x: x[:9],
    "filled with it": lambda x: x * tf.fill(tf.shape(x), images(x)),
    "its square": lambda x: x * (images(x) * images(x)),
    "a half": lambda x: tf.reshape(x, [tf.shape(x)[0] // 2 * 2, -1]),
    "as many elements": lambda x: x[:, : tf.shape(x)[0]],
    "indices": lambda x: tf.gather(x, tf.range(tf.shape(x)[0]) % 4, axis=1),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_other_numbers_of_images(name: str) -> None:
    """What is known for some batches alone is refused."""
    model = keras.Sequential([layers.Input((4,)), layers.Lambda(UNKNOWN[name], name="mine")])
    with pytest.raises(UnsupportedOpError, match=r"'mine': .*depends on the number of images in the batch"):
        import_model(model)


def test_not_a_number_that_bits_hide(rng: np.random.Generator) -> None:
    """It is in the sums over the batch, though the bits before them have forgotten it."""
    model = keras.Sequential([
        layers.Input((16,)), lq.layers.QuantDense(8, input_quantizer="ste_sign", **SIGN),
        lq.layers.QuantDense(5, input_quantizer=TERNARY, **SIGN),
    ])  # fmt: skip
    compiled = bnn.compile(model)
    x = eighths(rng, 8, (16,))
    x[1, 3] = np.nan
    assert np.isnan(model(x, training=False).numpy()).all()
    assert np.isnan(compiled(x)).all() and np.isnan(compiled.predict(x, threads=3)).all()
    report = bnn.verify(model, compiled, x, batch_size=4)
    assert report.ok and report.images_with_nan == 4, "the other four are a batch of their own"


def test_memory(rng: np.random.Generator) -> None:
    """One arena, however many threads: a batch is not spread over several."""
    shape, layer = LAYERS["conv"]
    compiled = bnn.compile(two(shape, layer("magnitude_aware_sign")))
    opened = compiled._open()
    sizes = [bnn.runtime.handles.Context(opened, 64, workers)._memory.size for workers in (1, 8)]
    assert sizes[1] < 1.5 * sizes[0]
    for count in (3, 5, 9):
        compiled(eighths(rng, count, shape))
    assert list(compiled._idle) == [(9, 1)]


def test_a_context_that_is_too_small(rng: np.random.Generator) -> None:
    """The C runtime says so; it does not compute another batch's result."""
    shape, layer = LAYERS["conv"]
    compiled = bnn.compile(two(shape, layer(TERNARY)))
    opened = compiled._open()
    x, y = eighths(rng, 3, shape), np.empty((3, 7), np.float32)
    inputs = ffi.new("const void *[]", [ffi.from_buffer(x)])
    outputs = ffi.new("float *[]", [ffi.from_buffer("float[]", y)])
    for images, status in ((2, lib.BNN_ERROR_BATCH), (3, lib.BNN_OK), (4, lib.BNN_OK)):
        context = bnn.runtime.handles.Context(opened, images, 1)
        assert lib.bnn_run(context.pointer, inputs, outputs, 3) == status
        assert (status == lib.BNN_OK) == np.array_equal(y, compiled(x))
        y[:] = 0


def test_no_spikes(tmp_path: Path) -> None:
    """Spikes are of one image."""
    shape, layer = LAYERS["conv"]
    for quantizer in ("magnitude_aware_sign", TERNARY):
        compiled = bnn.compile(two(shape, layer(quantizer)))
        message = "layer 'first': it computes with all images of a batch.*use a quantizer that treats every image alone"
        with pytest.raises(UnsupportedOpError, match=message):
            bnn.emit_nir(compiled, tmp_path / "net.nir")
        with pytest.raises(UnsupportedOpError, match=message):
            bnn.events.EventEngine(compiled)


def test_not_a_number_in_one_image(rng: np.random.Generator) -> None:
    """What one image has in it reaches the others, as in Keras."""
    shape, layer = LAYERS["conv"]
    model = two(shape, layer("magnitude_aware_sign"))
    x = eighths(rng, 4, shape)
    x[1, 0, 0, 0] = np.nan
    assert np.isnan(bnn.compile(model)(x)).all()
