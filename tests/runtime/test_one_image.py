# SPDX-License-Identifier: Apache-2.0
"""Calls with one image, which leave most checks out after the first: the same results and errors as any other call."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from seed import SEED

DIGITS = Path(__file__).resolve().parents[2] / "examples/digits.bnn"


@pytest.fixture
def model() -> Iterator[bnn.Model]:
    with bnn.load(str(DIGITS)) as opened:
        yield opened


@pytest.fixture
def images() -> Array:
    return np.random.default_rng(SEED).random((64, 8, 8, 1), np.float32)


def test_the_results_are_those_of_a_batch(model: bnn.Model, images: Array) -> None:
    together = model(images)
    apart = [model(image[None]) for image in images]
    assert np.array_equal(np.concatenate(apart), together)
    assert len({y.ctypes.data for y in apart}) == len(images), "a result is an array of its own"


def test_other_arrays_are_copied(model: bnn.Model, images: Array) -> None:
    expected = model(images[:1])
    odd = np.frombuffer(b"\0" + images[:1].tobytes() + b"\0" * 3, np.uint8)[1:-3].view(np.float32).reshape(1, 8, 8, 1)
    assert not odd.flags.aligned
    wide = np.repeat(images[:1], 2, axis=2)
    for x in (odd, wide[:, :, ::2], np.asfortranarray(images[:1]), images[:1].tolist(), images[:1].view(np.recarray)):
        if isinstance(x, list):
            x = np.array(x, np.float32)
        assert np.array_equal(model(x), expected)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda x: x.astype(np.float64), bnn.InputTypeError, "float64"),
        (lambda x: x.astype(">f4"), bnn.InputTypeError, ">f4"),
        (lambda x: x[0], bnn.InputError, "x[None]"),
        (lambda x: x.reshape(1, 1, 64, 1), bnn.InputError, r"(1, 1, 64, 1)"),
        (lambda x: "image.png", bnn.InputTypeError, "image.png"),
    ],
)
def test_errors_stay(model: bnn.Model, images: Array, change: Any, error: type[Exception], text: str) -> None:
    model(images[:1])
    with pytest.raises(error) as caught:
        model(change(images[:1]))
    assert text in str(caught.value)


def test_other_calls_between(model: bnn.Model, images: Array) -> None:
    expected = model(images[:1])
    out = np.empty_like(expected)
    assert model(images[:1], out=out) is out and np.array_equal(out, expected)
    assert np.array_equal(model.predict(images[:1], threads=2), expected)
    assert np.array_equal(model([images[:1]]), expected)
    assert np.array_equal(model(images[:1]), expected)
    assert model(images[:0]).shape == (0, 10)
    model.close()
    with pytest.raises(bnn.ClosedModelError):
        model(images[:1])


def test_several_threads(model: bnn.Model, images: Array) -> None:
    expected = model(images)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            found = list(pool.map(lambda i: model(images[i : i + 1]), range(len(images))))
            assert np.array_equal(np.concatenate(found), expected)


def test_images_with_channels_first_keep_their_layout() -> None:
    onnx = pytest.importorskip("onnx")
    helper, rng = onnx.helper, np.random.default_rng(SEED)
    values = [helper.make_tensor_value_info(name, 1, ["N", 2, 3, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "network", values[:1], values[1:])
    model = bnn.compile(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    x = rng.normal(size=(1, 2, 3, 4)).astype(np.float32)
    for _ in range(3):
        assert np.array_equal(model(x), np.abs(x))
