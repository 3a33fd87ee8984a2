# SPDX-License-Identifier: Apache-2.0
"""Numbers that grow with the batch, values that it shares, elements that move: by hand, and in graphs without Keras."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from bnn._types import Array
from bnn.errors import CompileError, UnsupportedOpError
from bnn.importers.common.moves import Layout, Moved, arrange, in_order, start
from bnn.importers.common.reduce import Shared, without_ones
from bnn.importers.tensorflow import counts
from bnn.importers.tensorflow.counts import keeps_its_place, multiple
from bnn.importers.tensorflow.frozen import MOVES
from bnn.ir import interpret, ops

from .models import frozen, import_model

NAN = np.nan


@pytest.mark.parametrize(("value", "slope", "images", "expected"), [
    (3, 1, 3, 1), (6, 2, 3, 2), (15, 5, 3, 5), (1.5, 0.5, 3, 0), (4.5, 1.5, 3, 0), (0, 0, 3, 0), (-3, -1, 3, 0),
    (4, 1, 3, 0), ([3], [1], 3, 0), ([3, 3], [1, 1], 3, 0), (3, NAN, 3, 0),
])  # fmt: skip
def test_multiples_of_the_images(value: float, slope: Any, images: int, expected: int) -> None:
    assert multiple(np.asarray(value), np.asarray(slope, np.float64), images) == expected


@pytest.mark.parametrize(("slope", "places"), [
    ([1, 0, 0], {"BroadcastTo", "Reshape", "Slice", "StridedSlice"}), ([1, NAN], set()), ([NAN, 0], set()), ([], None),
    ([0, 1], {"BroadcastTo", "Reshape"}), ([[1, 0]], {"BroadcastTo", "Reshape"}), (1, {"BroadcastTo", "Reshape"}),
])  # fmt: skip
def test_numbers_that_say_where(slope: Any, places: set[str] | None) -> None:
    found = {op for op in MOVES if keeps_its_place(op, np.asarray(slope, np.float64))}
    assert found == ({"BroadcastTo", "Reshape", "Slice", "StridedSlice"} if places is None else places)


@pytest.mark.parametrize(("now", "value", "more", "slope", "expected"), [
    ([1, 4], [3, 4], -2, None, [1, 0]), ([-1, 4], [3, 4], -2, None, [2, 0]), ([2.5], [3.5], -2, None, [0.5]),
    ([3, 4], [3, 4], 7, None, [0, 0]), ([3, 5], [3, 4], 7, None, [0, NAN]), ([3, 11], [3, 4], 7, [0, 1], [0, 1]),
    ([3, 12], [3, 4], 7, [0, 1], [0, NAN]), ([3, 9], [3, 4], 7, [0, NAN], [0, NAN]),
    (None, [3, 4], 7, [0, 1], [NAN, NAN]),
    ([False], [True], -2, None, [NAN]), ([True], [True], 7, None, [0]), ([1], [1, 1, 1], -2, None, [0, 0, 0]),
    ([1, 1, 1], [1, 1], 7, None, [0, 0]), ([1, 1, 2], [1, 1], 7, None, [NAN, NAN]),
    ([1, 1, 1], [1, 2], 7, None, [NAN, NAN]), ([1, 1, 1], [1, 1], 7, [0, 0], [NAN, NAN]),
    ([[1], [1]], [[1, 1]], 7, None, [[NAN, NAN]]), ([1], [], 7, None, []),
])  # fmt: skip
def test_slopes(now: Any, value: Any, more: int, slope: Any, expected: Any) -> None:
    known = None if slope is None else np.asarray(slope, np.float64)
    found = counts.next_slope(np.asarray(value), None if now is None else np.asarray(now), more, known)
    assert np.array_equal(found, np.asarray(expected, np.float64), equal_nan=True)


def test_a_line_is_as_exact_as_its_type() -> None:
    """Numbers of images times elements that float32 rounds."""
    value, now = np.float32(3 * 100_001), np.float32(1012 * 100_001)
    slope = counts.next_slope(value, np.float32(100_001), -2, None)
    assert counts.next_slope(value, now, 1009, slope) == 100_001
    assert np.isnan(counts.next_slope(value, np.nextafter(now, np.float32(0)), 1009, slope))


def test_shapes_without_ones() -> None:
    for shape, expected in (((1, 1, 2, 1), (2, 1)), ((2, 1), (2, 1)), ((1, 1), ()), ((), ()), ((1, 3), (3,))):
        assert without_ones(shape) == expected


@pytest.mark.parametrize(("shape", "rank", "expected"), [
    ((3, 2), 2, (3, 2)), ((3, 2), 3, (1, 3, 2)), ((2,), 3, (1, 1, 2)), ((1, 3, 2), 2, (3, 2)), ((1, 1, 2), 1, (2,)),
    ((2, 3, 2), 2, None), ((1, 3, 2), 1, None), ((3, 1, 2), 2, None),
])  # fmt: skip
def test_values_of_the_batch_as_an_images(shape: Any, rank: int, expected: Any) -> None:
    source = SimpleNamespace(
        make=lambda op, x, attrs, final: (op, attrs.shape), unsupported=lambda why: UnsupportedOpError(why)
    )
    node = SimpleNamespace(type=SimpleNamespace(shape=(3, 2)))
    shared = Shared(node, shape)  # type: ignore[arg-type]
    if expected is None:
        with pytest.raises(UnsupportedOpError, match="of the whole batch, and one of an image"):
            shared.of_rank(source, rank)  # type: ignore[arg-type]
    else:
        found = shared.of_rank(source, rank)  # type: ignore[arg-type]
        assert found is node if expected == (3, 2) else found == ("reshape", expected)


X = ops.input_node("x", (2, 3))
WHOLE = np.arange(18).reshape(3, 2, 3)


@pytest.mark.parametrize(("index", "images", "expected"), [
    (WHOLE, 3, WHOLE[0]), (WHOLE[:, ::-1], 3, WHOLE[0, ::-1]), (WHOLE[:, 0], 3, WHOLE[0, 0]), (WHOLE[:2], 3, None),
    (WHOLE[[0, 1, 2, 2]], 3, None), (WHOLE[:0], 3, None), (WHOLE[0, 0, 0], 3, None), (WHOLE[::-1], 3, None), (WHOLE[:,
    :0], 3, None), (WHOLE[:, 0, 0], 3, None),
    (WHOLE + 1, 3, None), (WHOLE - 1, 3, None), (WHOLE[[0, 0, 0]], 3, None), (WHOLE[[0, 1, 1]], 3, None),
    (WHOLE[:, :, [2, 2, 2]], 3, WHOLE[0][:, [2, 2, 2]]),
])  # fmt: skip
def test_what_every_image_does(index: Array, images: int, expected: Array | None) -> None:
    found = Layout(index, images).per_image(6)
    assert found is None if expected is None else found is not None and np.array_equal(found, expected)


def test_what_batches_do_alike() -> None:
    moved = start(X, (3, 5))
    assert moved.size == 6 and np.array_equal(moved.per_image(), WHOLE[0])  # type: ignore[arg-type]
    assert moved.like(start(X, (3, 5)))
    first, second = moved.layouts
    for other in (Layout(second.index[:, ::-1], 5), Layout(second.index[:4], 5), Layout(second.index[::-1], 5)):
        broken = Moved(X, (first, other))
        assert broken.per_image() is None and not broken.like(moved) and not moved.like(broken)
    flat = moved.mapped(lambda a: a.index.reshape(-1, 3))
    assert flat.like(flat) and not flat.like(moved) and flat.per_image() is None
    assert not moved.mapped(lambda a: a.index.reshape(a.images, -1)).like(moved)
    assert not moved.like(start(ops.input_node("y", (3, 2)), (3, 5)))


def test_rows_in_order() -> None:
    """What mixes images, or has rows that are none of an image, is not."""
    for index, fine in (
        (WHOLE, True),
        (WHOLE.reshape(-1, 9), False),
        (WHOLE[:, :, [0, 0, 0]], True),
        (WHOLE[::-1], False),
    ):
        source: Any = SimpleNamespace(make=lambda op, x, *_, **__: x, inner=lambda x: x, layer="layer")
        assert (in_order(source, Moved(X, (Layout(index, 3),))) is not None) == fine
    wider = Layout(np.arange(24).reshape(2, 2, 6), 4)
    assert in_order(source, Moved(X, (Layout(WHOLE, 3), wider))) is None


@pytest.mark.parametrize(("index", "expected"), [
    (WHOLE[0], ["reshape"]), (WHOLE[0].reshape(3, 2), ["reshape"]), (WHOLE[0, :, 1:], ["slice"]), (WHOLE[0, ::-1],
    ["gather"]),
    (WHOLE[0, :, ::2], ["gather"]), (WHOLE[0, 0], ["gather"]), (WHOLE[0, 1:], ["gather"]), (WHOLE[0][None, ::-1],
    ["gather"]),
    (WHOLE[0][None, None, ::-1], ["gather", "reshape"]), (WHOLE[0, :, :1], ["slice"]),
])  # fmt: skip
def test_how_elements_are_arranged(index: Array, expected: list[str]) -> None:
    made: list[str] = []
    source: Any = SimpleNamespace(make=lambda op, x, *_, **__: made.append(op) or x, layer="layer")
    arrange(source, X, np.asarray(index))
    assert made == expected


def images(count: int, shape: tuple[int, ...]) -> Array:
    return (np.random.default_rng(count).integers(-8, 9, (count, *shape)) / 8).astype(np.float32)


SHARED: dict[str, Callable[[Any], Any]] = {
    "the mean": lambda x: x - tf.reduce_mean(x), "the sum": lambda x: x * tf.reduce_sum(x),
    "of each position": lambda x: x - tf.reduce_mean(x, -3), "of each channel": lambda x: tf.reduce_sum(x, [-2,
        -3]) - x,
    "kept": lambda x: x - tf.reduce_mean(x, [0, 1], keepdims=True),
    "of what came of it": lambda x: x * (1.0 + tf.nn.relu(tf.reduce_mean(x, 0)) * tf.reduce_mean(x, [0, 1])),
    "with the number": lambda x: x * tf.cast(tf.shape(x)[0] * 2, tf.float32) - tf.reduce_sum(x, 0),
    "with all numbers": lambda x: x * tf.cast(tf.size(x), tf.float32) + tf.cast(tf.reduce_prod(tf.shape(x)),
        tf.float32),
    "divided": lambda x: x / tf.cast(tf.shape(x)[0] - 2 * tf.shape(x)[0] + 3 * tf.shape(x)[0], tf.float32),
    "moved by it": lambda x: tf.reshape(tf.reshape(x, [tf.shape(x)[0] * 2, 4]), [-1, 2, 4])[:, ::-1],
    "spread": lambda x: x * tf.fill(tf.shape(x), 2.0) + tf.broadcast_to(np.float32([1, 2, 3, 4]), tf.shape(x)),
    "spread over images": lambda x: x - tf.tile(np.float32([[[1, 2, 3, 4]]]), tf.stack([tf.shape(x)[0], 1, 1])),
    "a part": lambda x: tf.slice(x, [0, 1, 0], tf.stack([tf.shape(x)[0], 1, 3])),
    "broadcast": lambda x: tf.broadcast_to(x[:, :1], tf.stack([tf.shape(x)[0], 3, 4])),
}  # fmt: skip


@pytest.mark.parametrize("name", SHARED)
def test_values_of_a_batch(name: str) -> None:
    graph = import_model(frozen(SHARED[name], (2, 4)))
    for count in (1, 2, 3, 8):
        x = images(count, (2, 4))
        np.testing.assert_allclose(interpret.outputs(graph, [x])[0], SHARED[name](x), rtol=1e-5, atol=1e-6)


OTHERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "axes apart": (lambda x: x - tf.reduce_mean(x, [0, 2], keepdims=True), r"over the batch and axes \[2\]; supported"),
    "the largest": (lambda x: x - tf.reduce_max(x, 0), "it reduces over the batch"),
    "no elementwise": (lambda x: x - tf.nn.relu(tf.reduce_mean(x, 0)) @ np.eye(4, dtype="f4"), "only elementwise"),
    "as an output": (lambda x: tf.reduce_sum(x, 0), "an output of the whole batch"),
    "more numbers": (lambda x: x * tf.cast(tf.shape(x)[0] + 1, tf.float32), "number of images in the batch"),
    "fewer numbers": (lambda x: x * tf.cast(-tf.shape(x)[0], tf.float32), "number of images in the batch"),
    "a square": (lambda x: x * tf.cast(tf.shape(x)[0] * tf.shape(x)[0], tf.float32), "number of images in the batch"),
    "an inverse": (lambda x: x * (3.0 / tf.cast(tf.shape(x)[0], tf.float32)), "number of images in the batch"),
    "tiled": (lambda x: tf.tile(x, [1, tf.shape(x)[0], 1]), "number of images in the batch"),
    "gathered": (lambda x: tf.gather(x, tf.shape(x)[0] - 2, axis=1), "number of images in the batch"),
    "cut by it": (lambda x: x[:, : tf.shape(x)[0] - 1], "number of images in the batch"),
    "the images mixed": (lambda x: tf.nn.relu(tf.transpose(x, [1, 0, 2])), "does not keep the batch as its first"),
    "constants of all rows": (
        lambda x: tf.reshape(tf.reshape(x, (-1, 4)) + np.ones((6, 4), "f4"), (-1, 2, 4)),
        "does not keep the batch as its"
    ),
    "beyond what is tried": (lambda x: x * tf.cast(tf.shape(x)[0] > 20, tf.float32), "number of images in the batch"),
    "in as many parts": (lambda x: tf.concat(tf.split(x, 3, 0), 0), "where its elements go depends on the number"),
    "the images in reverse": (lambda x: x[::-1], "number of images|batch as its first"),
    "images twice": (lambda x: tf.concat([x, x], 0)[1 : tf.shape(x)[0] + 1], "batch as its first|constant"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_values_of_a_batch(name: str) -> None:
    function, message = OTHERS[name]
    with pytest.raises(CompileError, match=message):
        import_model(frozen(function, (2, 4)))
