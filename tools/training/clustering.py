# SPDX-License-Identifier: Apache-2.0
"""Diehl & Cook's network (2015), which learns without labels: the engine behind cluster.py, free of any command line.

    result = clustering.learn(Settings("fashion-mnist", Path("runs/cluster")))

Pixels are inputs that spike at random, at rates by their brightness.  Each neuron has weights from all of them, which
change by the times of spikes alone (STDP); a neuron that spikes silences the others through inhibitory neurons, and
its threshold rises, so that the neurons come to stand for different images.  Labels only name the neurons afterwards.

A sample's spikes are drawn from (seed, number of the sample).  So a run that is resumed, from the last interval that
was finished, computes what an uninterrupted one does, bit for bit.
"""

from __future__ import annotations

import dataclasses
import io
import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn.errors import BnnError
from bnn.runtime.files import replacing
from bnn.snn import SpikingModel, build
from bnn.snn.learning import Learning
from bnn.snn.network import Network, Population, Projection
from bnn.snn.rules import RULES, Dynamics, Reset
from training import UserError, datasets, drawing

FILES = ("model.snn", "history.json", "fields.png")
CHECKPOINT = "checkpoint.npz"
PIXELS = 784  # for which the weights' numbers are meant; fewer inputs get larger weights

Floats = NDArray[np.float32]
Spikes = NDArray[np.bool_]


class ClusteringError(UserError):
    """The settings are wrong, contradict the run that is resumed, or its checkpoint is damaged."""


@dataclass(frozen=True)
class Settings:
    """All that a run depends on besides the code.  A step is a millisecond."""

    dataset: str
    out: Path
    data: Path | None = None
    neurons: int = 100
    images: int = 6000
    steps: int = 250
    intensity: float = 128.0
    inhibition: float = 120.0
    every: int = 500
    seed: int = 1

    @staticmethod
    def from_json(values: dict[str, Any]) -> Settings:
        paths = {k: Path(values[k]) for k in ("out", "data") if values.get(k) is not None}
        return Settings(**{**values, **paths})


#: What a run that is resumed may change.
CHANGEABLE = ("out", "data", "images")


@dataclass(frozen=True)
class Interval:
    """``images`` seen until its end; ``accuracy`` of its images by the labels that neurons had from the interval before
    (None: the first has none); ``spikes`` of the neurons per image; processor time per image."""

    images: int
    accuracy: float | None
    spikes: float
    milliseconds: float


@dataclass(frozen=True)
class Result:
    """``labels``: the class of each neuron; ``accuracy``: of the test images, with fixed weights."""

    settings: Settings
    history: tuple[Interval, ...]
    labels: NDArray[np.int64]
    accuracy: float
    tested: int
    model: SpikingModel

    def to_json(self) -> dict[str, Any]:
        values = {k: getattr(self, k) for k in ("accuracy", "tested")}
        history = [dataclasses.asdict(x) for x in self.history]
        return {
            "settings": dataclasses.asdict(self.settings),
            "history": history,
            "labels": self.labels.tolist(),
        } | values


def network(inputs: int, settings: Settings) -> Network:
    """Numbers of bindsnet.models.DiehlAndCook2015, in mV and ms, but for the inhibition; one spike a step."""
    n, scale = settings.neurons, PIXELS / inputs

    def neurons(name: str, winner: bool, **numbers: float) -> Population:
        values = {k: np.full(1, v, np.float32) for k, v in numbers.items()}
        dynamics = Dynamics(RULES["adaptive"], Reset.VALUE, at_least=True, winner=winner)
        return Population(name, (n,), dynamics, values, output=winner)

    rng = np.random.default_rng(settings.seed)
    weights = (0.3 * scale * rng.random((inputs, n))).astype(np.float32)
    trace = float(np.exp(-1 / 20))
    rule = Learning(1e-4 * scale, 1e-2 * scale, trace, trace, high=scale, norm=78.4)
    return Network(
        [
            Population("pixels", (inputs,)),
            neurons(
                "excitatory", True, threshold=-52, reset=-60, initial=-65, rest=-65, decay=np.exp(-1 / 100), period=5,
                step=0.05, fall=np.exp(-1e-7),
            ),
            neurons(
                "inhibitory", False, threshold=-40, reset=-45, initial=-60, rest=-60, decay=np.exp(-1 / 10), period=2,
                step=0, fall=1,
            ),
        ],
        [
            Projection(0, 1, "dense", weights, delay=1, name="weights", learning=rule),
            Projection(1, 2, "diagonal", np.full(1, 22.5, np.float32), delay=1, name="excitation"),
            Projection(
                2, 1, "dense", (-settings.inhibition * (1 - np.eye(n))).astype(np.float32), delay=1, name="inhibition"
            ),
        ],
        dt=1e-3,
    )  # fmt: skip


def encode(image: NDArray[np.uint8], scale: int, settings: Settings, *number: int) -> Spikes:
    """Spikes (steps, pixels) at random, with a rate of brightness times the intensity; ``number`` is the sample's."""
    rng = np.random.Generator(np.random.SFC64([settings.seed, *number]))
    chances = image.reshape(-1) / scale * settings.intensity / 1000
    bars = np.minimum(np.round(chances * 2**16), 2**16 - 1).astype(np.uint16)
    return np.asarray(rng.integers(0, 2**16, (settings.steps, bars.size), np.uint16) < bars)


def shares(responses: Floats, labels: datasets.Labels, classes: int) -> Floats:
    """(neurons, classes): how a neuron's mean numbers of spikes for each class divide among the classes."""
    means = np.zeros((responses.shape[1], classes), np.float32)
    for label in np.unique(labels):
        means[:, label] = responses[labels == label].mean(axis=0)
    return np.asarray(means / np.maximum(means.sum(axis=1, keepdims=True), np.float32(1e-9)))


def guesses(responses: Floats, found: Floats) -> NDArray[np.int64]:
    """The class of each image: each spike votes for the classes by its neuron's shares."""
    return np.asarray((responses @ found).argmax(axis=1))


class Run:
    """A run at the end of an interval; :meth:`save` and :meth:`load` keep it in one file."""

    def __init__(self, settings: Settings, model: SpikingModel) -> None:
        self.settings, self.model = settings, model
        self.history: list[Interval] = []
        self.shares = np.zeros((settings.neurons, 0), np.float32)

    @property
    def done(self) -> int:
        return self.history[-1].images if self.history else 0

    def save(self) -> None:
        made = io.BytesIO()
        np.savez(
            made,
            settings=np.array(json.dumps(dataclasses.asdict(self.settings), default=str)),
            history=np.array(json.dumps([dataclasses.asdict(x) for x in self.history])),
            model=np.frombuffer(self.model.to_bytes(), np.uint8),
            shares=self.shares,
        )
        with replacing(str(self.settings.out / CHECKPOINT)) as file:
            file.write(made.getvalue())

    @staticmethod
    def load(out: Path) -> Run:
        path = out / CHECKPOINT
        try:
            with np.load(path, allow_pickle=False) as found:
                settings = Settings.from_json(json.loads(str(found["settings"])))
                run = Run(settings, SpikingModel.from_bytes(found["model"].tobytes()))
                run.history = [Interval(**x) for x in json.loads(str(found["history"]))]
                run.shares = found["shares"]
        except FileNotFoundError:
            raise ClusteringError(f"nothing to resume: {path} does not exist") from None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, BnnError) as error:
            raise ClusteringError(f"{path} is damaged ({error}); start again with --overwrite") from error
        return run


def learn(
    settings: Settings, resume: bool = False, overwrite: bool = False, tell: Callable[[Interval], None] | None = None
) -> Result:
    """Learn, label the neurons, test; writes FILES and the checkpoint to settings.out.  ``tell`` gets each interval.

    Raises UserError for what the user can put right.
    """
    data = datasets.load(settings.dataset, settings.data)
    classes = len(data.class_names)
    settings.out.mkdir(parents=True, exist_ok=True)
    run = _begun(settings, data, resume, overwrite)
    order = _order(len(data.train), settings)
    while run.done < settings.images:
        chosen = order[run.done : min(run.done + settings.every, settings.images)]
        begun = time.process_time()
        responses = np.array([_learned(run, data, int(i), run.done + k) for k, i in enumerate(chosen)])
        took = (time.process_time() - begun) / len(chosen) * 1000
        labels = data.train.labels[chosen]
        accuracy = float(np.mean(guesses(responses, run.shares) == labels)) if run.shares.size else None
        run.shares = shares(responses, labels, classes)
        run.history.append(Interval(run.done + len(chosen), accuracy, float(responses.sum(axis=1).mean()), took))
        run.save()
        if tell:
            tell(run.history[-1])
    return _finished(run, data, order)


def _order(count: int, settings: Settings) -> NDArray[np.int64]:
    """Which image each sample is."""
    times = -(-settings.images // count)
    return np.concatenate([np.random.default_rng([settings.seed, k]).permutation(count) for k in range(times)])


def _begun(settings: Settings, data: datasets.Dataset, resume: bool, overwrite: bool) -> Run:
    if not resume:
        if (settings.out / CHECKPOINT).exists() and not overwrite:
            raise ClusteringError(f"{settings.out} holds a run already; go on with --resume, or --overwrite it")
        for name in (*FILES, CHECKPOINT):
            (settings.out / name).unlink(missing_ok=True)
        return Run(settings, build(network(data.train.images[0].size, settings)))
    run = Run.load(settings.out)
    now, before = dataclasses.asdict(settings), dataclasses.asdict(run.settings)
    for name in before:
        if name not in CHANGEABLE and now[name] != before[name]:
            raise ClusteringError(
                f"cannot resume {settings.out}: it was started with {name} {before[name]!r}, not {now[name]!r}; "
                "--overwrite starts again"
            )
    if settings.images < run.done:
        raise ClusteringError(f"cannot resume {settings.out}: it has seen {run.done} images, not {settings.images}")
    run.settings = settings
    return run


def _learned(run: Run, data: datasets.Dataset, image: int, number: int) -> Floats:
    """Learn from one image; the spikes of each neuron."""
    found = run.model.run(encode(data.train.images[image], data.scale, run.settings, number), learn=True)
    run.model.normalize()
    return found.scores


def _responses(run: Run, data: datasets.Dataset, images: datasets.Images, part: int) -> Floats:
    """Spikes of each neuron for each image, with weights and thresholds that stay."""
    sent = [
        run.model.run(encode(image, data.scale, run.settings, number, part)).scores
        for number, image in enumerate(images)
    ]
    return np.array(sent, np.float32)


def _finished(run: Run, data: datasets.Dataset, order: NDArray[np.int64]) -> Result:
    """Label by images that were learned from, test on others, write the files."""
    settings, classes = run.settings, len(data.class_names)
    named = order[max(0, settings.images - 2000) : settings.images]
    found = shares(_responses(run, data, data.train.images[named], 1), data.train.labels[named], classes)
    right = guesses(_responses(run, data, data.test.images, 2), found) == data.test.labels
    result = Result(settings, tuple(run.history), found.argmax(axis=1), float(right.mean()), len(right), run.model)
    run.model.save(settings.out / "model.snn")
    shape = data.input_shape[:2]
    drawing.fields(result.to_json(), run.model.weights("weights"), data.class_names, shape, settings.out / "fields.png")
    with replacing(str(settings.out / "history.json")) as file:
        file.write((json.dumps(result.to_json(), indent=2, default=str) + "\n").encode())
    return result
