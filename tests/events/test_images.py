# SPDX-License-Identifier: Apache-2.0
"""A trained network (tools/train.py, data set digits): images event by event, and streams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.events import ORDERS, EventEngine, pixel_order
from events.spiking import mismatches


@pytest.fixture(scope="module")
def digits() -> tuple[bnn.Model, Array, Array]:
    """(network, images as its input, labels)"""
    datasets = pytest.importorskip("sklearn.datasets")
    bunch = datasets.load_digits()
    images = (bunch.images[..., None] / 16).astype(np.float32)
    return bnn.load(Path(__file__).parents[2] / "examples/digits.bnn"), images, bunch.target


@pytest.mark.parametrize("order", ORDERS)
def test_an_image_in_every_order(digits: tuple[bnn.Model, Array, Array], order: str) -> None:
    model, images, labels = digits
    engine = EventEngine(model)
    for image, label in zip(images[:20], labels[:20], strict=True):
        run = engine.run_image(image, order=order, label=int(label))
        assert run.events == np.count_nonzero(image) == len(run.outputs) - 1
        assert np.array_equal(run.outputs[-1], model(image[None])[0])
        assert mismatches(engine, image) == {}
        answers = run.answers
        assert np.all(answers[run.final :] == run.answer) and (run.final == 0 or answers[run.final - 1] != run.answer)
        if run.first_correct is not None:
            assert answers[run.first_correct] == label and label not in answers[: run.first_correct]


def test_brightest_first_knows_sooner(digits: tuple[bnn.Model, Array, Array]) -> None:
    """Latency coding: with the bright pixels first the answer is final after fewer events than row by row."""
    model, images, _ = digits
    engine = EventEngine(model)
    shares = {o: np.median([(r := engine.run_image(x, order=o)).final / r.events for x in images[:60]]) for o in ORDERS}
    assert shares["brightest"] < 0.6 * shares["raster"]


def test_orders() -> None:
    x = np.array([[0.5, 0.0], [1.0, 0.5]], np.float32)[..., None]
    assert pixel_order(x, "raster").tolist() == [0, 2, 3]
    assert pixel_order(x, "brightest").tolist() == [2, 0, 3]
    assert sorted(pixel_order(x, "random", 1).tolist()) == [0, 2, 3]
    assert pixel_order(x, "raster", blank=0.5).tolist() == [1, 2]


@pytest.mark.slow
def test_many_images_in_five_orders(digits: tuple[bnn.Model, Array, Array], rng: np.random.Generator) -> None:
    """Every bit of every layer, at rest: raster, brightest, and three random orders."""
    model, images, _ = digits
    engine, wrong = EventEngine(model), 0
    for order in ("raster", "brightest", "random", "random", "random"):
        for image in images[:400]:
            engine.run_image(image, order=order, seed=int(rng.integers(2**32)))
            wrong += sum(mismatches(engine, image).values())
    assert wrong == 0


def moving(images: Array, frames: int) -> Array:
    """A strip of digits passing by, a pixel a frame."""
    strip = np.concatenate(list(images), axis=1)
    width = images.shape[2]
    return np.stack([np.take(strip, range(k, k + width), axis=1, mode="wrap") for k in range(frames)])


@pytest.mark.parametrize("switch", ["never", "auto"])
def test_a_stream_costs_what_changes(digits: tuple[bnn.Model, Array, Array], switch: str) -> None:
    model, images, _ = digits
    engine = EventEngine(model, switch=switch)
    video = np.repeat(moving(images[:5], 20), 3, axis=0)  # every frame three times
    run = engine.run_stream(video)
    assert run.wrong == 0 and run.compared
    assert np.array_equal(run.outputs, model(video))
    still = run.changed == 0
    assert still.any() and np.all(run.synops[still] == 0) and np.all(run.spikes[still] == 0)
    assert run.synops.sum() == run.report.synops and run.report.inferences == len(video) - 1
    if switch == "never":
        assert run.report.share < 0.5
    assert "synchronous" in str(run) and run.as_dict()["wrong"] == 0


def test_a_slow_stream_needs_under_a_third(digits: tuple[bnn.Model, Array, Array]) -> None:
    """A few percent of the inputs change per frame."""
    model, images, _ = digits
    video = np.repeat(images[:1], 30, axis=0).copy()
    for k in range(1, 30):
        video[k:, k // 8 + 2, k % 8] = (k % 17) / 16
    run = EventEngine(model).run_stream(video)
    assert run.wrong == 0
    assert run.changed.mean() / images[0].size < 0.05 and run.report.share < 0.3
