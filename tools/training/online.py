# SPDX-License-Identifier: Apache-2.0
"""A classifier of two layers of spiking neurons that learns image by image: the engine behind train_online.py, free of
any command line.

    result = online.learn(Settings("fashion-mnist", Path("runs/online")))

Each pixel becomes two inputs, which send one spike if it is brighter, or darker, than its surroundings, the sooner the
larger the difference.  Images of one data set share much of their light and little of their contrast; without this
every update would change the answers to all images.

In the last steps of an image the class with the highest readout, the right one lowered by a margin, is compared with
the right one.  Their difference is the readout's error, and the hidden neurons' signal is that error times weights that
are random and stay so.  An image that is recognized by the margin changes nothing.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn.runtime.files import replacing
from bnn.snn import SpikingModel, build
from bnn.snn.learning import Feedback
from bnn.snn.network import Network, Population, Projection
from bnn.snn.rules import RULES, Dynamics, Emits, Reset
from training import UserError, datasets

FILES = ("model.snn", "history.json")
AROUND = 3  # pixels on each side that a pixel is compared with
LEAST = 0.05  # of contrast, for a spike
DECAY = 15 / 16
LEARNED = ("first", "second")  # projections
GATE = 64.0  # what lets the answer send its spike, above all readouts
TESTED = 1000  # validation images at the end of an interval


@dataclass(frozen=True)
class Settings:
    """All that a run depends on besides the code.  ``taught``: how many of an image's last steps it learns from."""

    dataset: str
    out: Path
    data: Path | None = None
    hidden: int = 200
    images: int = 55000
    steps: int = 20
    taught: int = 5
    rate: float = 1e-4  # of learning at the beginning; at the end it is 0
    margin: float = 1.0
    every: int = 5000
    seed: int = 1


@dataclass(frozen=True)
class Interval:
    """``images`` seen until its end; ``accuracy`` of some validation images; processor time to learn from an image."""

    images: int
    accuracy: float
    milliseconds: float


@dataclass(frozen=True)
class Result:
    """``accuracy`` of the ``tested`` test images, with weights as they are at the end."""

    settings: Settings
    history: tuple[Interval, ...]
    accuracy: float
    tested: int

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def network(inputs: int, classes: int, settings: Settings, rate: float) -> Network:
    """Two layers that learn, and what computes their signals: silent unless a target is given."""
    rng, hidden = np.random.default_rng(settings.seed), settings.hidden

    def numbers(**changes: float) -> dict[str, NDArray[np.float32]]:
        return {k: np.full(1, v, np.float32) for k, v in ({"threshold": 1, "reset": 0, "initial": 0} | changes).items()}

    def values(name: str, size: int, rule: str = "relay", **changes: float) -> Population:
        return Population(name, (size,), Dynamics(RULES[rule], emits=Emits.VALUES), numbers(**changes))

    leaky, highest = Dynamics(RULES["decay"], Reset.LATE_SUBTRACT), Dynamics(RULES["relay"], winner=True)
    readout = values("readout", classes, "decay", beta=DECAY)
    readout.output = True
    populations = [
        Population("contrast", (inputs,)),
        Population("hidden", (hidden,), leaky, numbers(beta=DECAY)),
        readout,
        Population("target", (classes,), input_emits=Emits.VALUES),
        Population("answer", (classes,), highest, numbers(threshold=GATE / 2)),
        values("error", classes),
        values("signal", hidden),
    ]
    one, right = np.ones(1, np.float32), np.eye(classes)
    weights = rng.normal(0, 3 / np.sqrt(inputs), (inputs, hidden))
    return Network(
        populations,
        [
            Projection(0, 1, "dense", weights.astype(np.float32), name="first", learning=Feedback(6, rate, DECAY)),
            Projection(
                1, 2, "dense", np.zeros((hidden, classes), np.float32), name="second",
                learning=Feedback(5, rate, DECAY),
            ),
            Projection(2, 4, "diagonal", one),
            Projection(3, 4, "dense", (GATE - settings.margin * right).astype(np.float32), name="gate"),
            Projection(3, 5, "diagonal", one),
            Projection(4, 5, "diagonal", -one),
            Projection(5, 6, "dense", rng.normal(0, 1, (classes, hidden)).astype(np.float32), name="feedback"),
        ],
    )  # fmt: skip


def encode(images: datasets.Images, scale: int, steps: int) -> NDArray[np.bool_]:
    """Spikes (steps, N, 2 * pixels) of images (N, H, W, 1): a contrast of 0.5 or more comes first."""
    n, height, width, _ = images.shape
    x = images.reshape(n, height, width) / scale
    padded = np.pad(x, ((0, 0), (AROUND, AROUND), (AROUND, AROUND)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (1, 2 * AROUND + 1, 2 * AROUND + 1))
    difference = (x - windows.mean(axis=(3, 4, 5))).reshape(n, -1)
    contrast = np.concatenate([difference, -difference], axis=1)
    moment = np.where(contrast > LEAST, np.floor((1 - np.minimum(2 * contrast, 1)) * steps), steps)
    return np.asarray(moment == np.arange(steps)[:, None, None])


def given(data: datasets.Dataset, images: datasets.Images, settings: Settings) -> dict[str, NDArray[Any]]:
    """Inputs of images (N, H, W, 1) that are to be recognized: without targets."""
    targets = np.zeros((settings.steps, len(images), len(data.class_names)), np.float32)
    return {"contrast": encode(images, data.scale, settings.steps), "target": targets}


def learn(settings: Settings, overwrite: bool = False, tell: Callable[[Interval], None] | None = None) -> Result:
    """Learn and test; writes FILES to settings.out after every interval.  ``tell`` gets each.

    Raises UserError for what the user can put right.
    """
    data = datasets.load(settings.dataset, settings.data)
    if not 1 <= settings.taught <= settings.steps:
        raise UserError(f"found {settings.taught} steps that teach, expected 1 to {settings.steps}")
    settings.out.mkdir(parents=True, exist_ok=True)
    if any((settings.out / name).exists() for name in FILES) and not overwrite:
        raise UserError(f"{settings.out} holds a run already; --overwrite it, or give another --out")
    classes = len(data.class_names)
    pixels, weights = data.train.images[0].size, dict[str, NDArray[np.float32]]()
    rng, order = np.random.default_rng([settings.seed, 1]), np.zeros(0, np.int64)
    history: list[Interval] = []
    for begin in range(0, settings.images, settings.every):
        count = min(settings.every, settings.images - begin)
        while len(order) < count:
            order = np.concatenate([order, rng.permutation(len(data.train))])
        model = build(network(2 * pixels, classes, settings, settings.rate * (1 - begin / settings.images)))
        for name, learned in weights.items():
            model.set_weights(name, learned)
        took = sum(_learned(model, data, int(i), settings) for i in order[:count])
        order, weights = order[count:], {name: model.weights(name) for name in LEARNED}
        accuracy = _accuracy(model, data, data.validation, settings, TESTED)
        history.append(Interval(begin + count, accuracy, took / count * 1000))
        _write(model, Result(settings, tuple(history), accuracy, TESTED))
        if tell:
            tell(history[-1])
    tested = len(data.test)
    result = Result(settings, tuple(history), _accuracy(model, data, data.test, settings, tested), tested)
    _write(model, result)
    return result


def _learned(model: SpikingModel, data: datasets.Dataset, image: int, settings: Settings) -> float:
    """Learn from one image; the processor's seconds, without those that make its spikes."""
    x = given(data, data.train.images[image : image + 1], settings)
    x["target"][-settings.taught :, 0, data.train.labels[image]] = 1
    sample = {name: a[:, 0] for name, a in x.items()}
    begun = time.process_time()
    model.run(sample, learn=True)
    return time.process_time() - begun


def _accuracy(
    model: SpikingModel, data: datasets.Dataset, split: datasets.Split, settings: Settings, most: int
) -> float:
    """Of the first images: the highest readout after the last step."""
    right = 0
    for begin in range(0, min(most, len(split)), 250):
        part = slice(begin, min(begin + 250, most))
        found = model.run(given(data, split.images[part], settings)).output[-1]
        right += int((found.argmax(axis=1) == split.labels[part]).sum())
    return right / min(most, len(split))


def _write(model: SpikingModel, result: Result) -> None:
    out = result.settings.out
    model.save(out / "model.snn")
    with replacing(str(out / "history.json")) as file:
        file.write((json.dumps(result.to_json(), indent=2, default=str) + "\n").encode())
