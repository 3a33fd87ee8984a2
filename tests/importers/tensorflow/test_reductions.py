# SPDX-License-Identifier: Apache-2.0
"""Sums, means and extremes over groups of channels, of images with more pixels than an image may be high."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import bnn
from bnn.errors import CompileError
from bnn.importers.common import reduce

from .models import check

keras = tf.keras
layers = tf.keras.layers
GROUPS: dict[str, Callable[[Any], Any]] = {
    "the last axis": lambda x: tf.reduce_mean(tf.reshape(x, (-1, 4, 6, 3, 4)), -1),
    "axis 3": lambda x: tf.reduce_sum(tf.reshape(x, (-1, 4, 6, 4, 3)), 3, keepdims=True)[..., 0, :],
    "the largest": lambda x: tf.reduce_max(tf.reshape(x, (-1, 4, 6, 2, 6)), 3),
    "the smallest": lambda x: tf.reduce_min(x, -1, keepdims=True),
    "two axes": lambda x: tf.reduce_mean(tf.reshape(x, (-1, 4, 6, 2, 3, 2)), [3, 4]),
    "scaled groups": lambda x: tf.reduce_mean(tf.reshape(x, (-1, 4, 6, 3, 4)) * 2.0 + 1.0, -1),
}


def lambdas(function: Any, *shape: int) -> Any:
    return keras.Sequential([layers.Input(shape), layers.Lambda(function, name="own")])


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("most", [75, 48])  # one window in each row, or several
def test_groups_of_channels(name: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (reduce, sys.modules["bnn.passes.regular_gathers"]):
        monkeypatch.setattr(module, "MOST_PIXELS", most)
    graph = check(lambdas(GROUPS[name], 4, 6, 12))
    assert max(max(n.type.shape[:2]) for n in graph.nodes() if len(n.type.shape) == 3) <= most


def test_many_pixels(rng: np.random.Generator) -> None:
    pytest.importorskip("onnxruntime")
    from ..onnx.small import by_onnx_runtime, model, node

    proto = model([node("ReduceMax", "x", axes=[1])], shape=("N", 2, 300, 250))
    x = rng.integers(-9, 9, (1, 2, 300, 250)).astype(np.float32)
    np.testing.assert_array_equal(bnn.compile(proto)(x), by_onnx_runtime(proto, x))
    tf_model = lambdas(lambda y: tf.reduce_mean(tf.reshape(y, (-1, 300, 250, 1, 2)), -1), 300, 250, 2)
    images = np.moveaxis(x, 1, -1)
    np.testing.assert_array_equal(bnn.compile(tf_model)(images), tf_model(images).numpy())


def test_an_image_that_is_too_wide() -> None:
    wide = lambdas(lambda x: tf.reshape(x, (-1, 70_000, 2)) * 2.0, 100, 700, 2)
    with pytest.raises(CompileError, match=r"layer 'own': its \w+ gives 70,000 columns .*at most 65,536.*reshape"):
        bnn.compile(wide)
