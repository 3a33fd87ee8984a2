# SPDX-License-Identifier: Apache-2.0
"""Train a binarized network: the engine behind train.py, free of any command line.

    result = fit.train(Settings(dataset="digits", network="digits", out=Path("runs/digits")))

Epochs count from 1. Order and augmentation of an epoch are drawn from (seed, epoch), learning rate
and early stopping follow from the history, so a resumed run does what an uninterrupted one does.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training import _tf, checkpoint, curve, datasets, networks

SCHEDULES = ("cosine", "plateau", "constant")
# Plateau: after this many epochs without a better validation loss, the rate is multiplied so.
PLATEAU_EPOCHS = 3
PLATEAU_FACTOR = 0.3
_EVALUATION_BATCH = 500


class TrainingError(ValueError):
    """The settings are wrong, contradict the run that is resumed, or training diverged."""


@dataclass(frozen=True)
class Settings:
    """All that a run depends on besides the code; written into the checkpoint and history.json."""

    dataset: str
    network: str
    out: Path
    data: Path | None = None
    """Folder of the data set's files; None searches the usual places."""
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 0.01
    """Adam's at the start. Latent weights live in [-1, 1], so it is larger than for float nets."""
    schedule: str = "cosine"
    patience: int = 0
    """Stop after so many epochs without a better validation accuracy; 0 never stops early."""
    shift: int = 0
    """Augmentation: move every image by up to so many pixels both ways, filling with zeros."""
    flip: bool = False
    """Augmentation: mirror every other image, left to right."""
    seed: int = 1

    def check(self) -> None:
        """Raise TrainingError naming the first setting that is out of range."""
        rules = (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 2, "at least 2 (batch norm needs a batch)"),
            ("learning_rate", 0 < self.learning_rate < 10, "above 0 and below 10"),
            ("schedule", self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
            ("patience", self.patience >= 0, "0 (never stop early) or more"),
            ("shift", 0 <= self.shift <= 8, "0 to 8 pixels"),
            ("seed", 0 <= self.seed < 2**32, "0 to 4294967295"),
        )
        for name, good, expected in rules:
            if not good:
                raise TrainingError(f"{name} is {getattr(self, name)!r}, expected {expected}")

    def to_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        return {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Settings:
        paths = {k: Path(values[k]) for k in ("out", "data") if values.get(k) is not None}
        return Settings(**{**values, **paths})


# What --resume may change: the rest would make the history a lie.
CHANGEABLE = ("out", "data", "epochs", "patience")


@dataclass(frozen=True)
class Epoch:
    """One line of the history. Losses are mean cross-entropies, accuracies lie in 0..1."""

    epoch: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class TrainResult:
    """What a finished run is; the files are in `out`, `model` carries the best weights."""

    settings: Settings
    history: tuple[Epoch, ...]
    best_epoch: int
    validation_accuracy: float
    test_loss: float
    test_accuracy: float
    stopped_early: bool
    parameters: int
    seconds: float
    """Training and validation time of all epochs, interrupted epochs not counted."""
    model: Any
    out: Path

    def to_json(self) -> dict[str, Any]:
        """The content of history.json but for the versions."""
        skipped = ("settings", "history", "model", "out")
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            **{k: v for k, v in values.items() if k not in skipped},
            "settings": self.settings.to_json(),
            "history": [dataclasses.asdict(epoch) for epoch in self.history],
            "files": {name: str(self.out / name) for name in FILES},
        }


FILES = ("model.keras", "model.h5", "history.json", "curve.png")


class Progress:
    """What train() tells as it goes; this one ignores it all. Override what is of interest."""

    def started(self, settings: Settings, model: Any, history: Sequence[Epoch]) -> None:
        """Before the first batch; `history` is not empty when a run is resumed."""

    def batch(self, epoch: int, done: int, batches: int, loss: float, accuracy: float) -> None:
        """After each batch: `done` of `batches`; means of the epoch so far."""

    def epoch(self, epoch: Epoch, best_epoch: int) -> None:
        """After each epoch, when its checkpoint is on disk."""


def train(
    settings: Settings,
    progress: Progress | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> TrainResult:
    """Train, evaluate the best weights on the test set once, write FILES to settings.out.

    With `resume`, goes on from the checkpoint in settings.out. Sets the global seeds of Python,
    NumPy, TensorFlow and Keras. Raises TrainingError, DatasetError, NetworkError, CheckpointError or
    TensorFlowSetupError for what the user can put right.
    """
    settings.check()
    state = _open(settings, resume, overwrite)
    tf, keras, _ = _tf.load()
    data = datasets.load(settings.dataset, settings.data)
    # Also the generator that Keras keeps for initializers once anything in the process has seeded it.
    keras.utils.set_random_seed(settings.seed)
    model = networks.build(settings.network, data.input_shape, len(data.class_names))
    run = _Run(settings, data, model, tf, keras)
    if state is not None:
        run.restore(state)
    run.save()
    progress = progress or Progress()
    progress.started(settings, model, run.history)
    while len(run.history) < settings.epochs and not should_stop(run.history, settings.patience):
        run.train_epoch(progress)
        run.save()
        progress.epoch(run.history[-1], best_epoch(run.history))
    return run.finish()


def _open(settings: Settings, resume: bool, overwrite: bool) -> checkpoint.Checkpoint | None:
    """The checkpoint to go on from, None to begin; makes sure that settings.out is ready."""
    if resume:
        state = checkpoint.load(settings.out)
        for name, before in state.settings.items():
            now = settings.to_json().get(name)
            if name not in CHANGEABLE and now != before:
                raise TrainingError(
                    f"cannot resume {settings.out}: it was started with {name} {before!r}, "
                    f"not {now!r}; --overwrite starts again"
                )
        return state
    if checkpoint.exists(settings.out) and not overwrite:
        raise TrainingError(f"{settings.out} holds a run already; go on with --resume, or --overwrite it")
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (settings.out / name).unlink(missing_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot write to {settings.out}: {error.strerror}") from None
    return None


def best_epoch(history: Sequence[Epoch]) -> int:
    """The epoch of highest validation accuracy; of equals, of the lowest validation loss."""
    best = max(history, key=lambda e: (e.validation_accuracy, -e.validation_loss))
    return best.epoch


def should_stop(history: Sequence[Epoch], patience: int) -> bool:
    """Whether the last `patience` epochs brought nothing better; never if patience is 0."""
    return bool(patience and history and len(history) - best_epoch(history) >= patience)


def learning_rate(settings: Settings, history: Sequence[Epoch], progress: float) -> float:
    """The rate for the epoch after `history`, `progress` (0..1) through that epoch."""
    if settings.schedule == "cosine":
        fraction = min(1.0, (len(history) + progress) / settings.epochs)
        return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * fraction))
    rate = settings.learning_rate
    if settings.schedule == "plateau":
        lowest, waited = math.inf, 0
        for epoch in history:
            waited = 0 if epoch.validation_loss < lowest else waited + 1
            lowest = min(lowest, epoch.validation_loss)
            if waited == PLATEAU_EPOCHS:
                rate, waited = rate * PLATEAU_FACTOR, 0
    return rate


class _Run:
    """A model in training, with its optimizer, best weights and history."""

    def __init__(self, settings: Settings, data: datasets.Dataset, model: Any, tf: Any, keras: Any) -> None:
        self.settings, self.data, self.model = settings, data, model
        self.history: list[Epoch] = []
        self.best: list[NDArray[Any]] = model.get_weights()
        self.optimizer = keras.optimizers.Adam(settings.learning_rate)
        self.optimizer.build(model.trainable_variables)
        self._compile_steps(tf, keras)

    def _compile_steps(self, tf: Any, keras: Any) -> None:
        model, optimizer, scale = self.model, self.optimizer, self.data.scale
        cross_entropy = keras.losses.SparseCategoricalCrossentropy()
        batch = (
            tf.TensorSpec((None, *self.data.input_shape), tf.uint8),
            tf.TensorSpec((None,), tf.int32),
        )

        def score(images: Any, labels: Any, training: bool) -> tuple[Any, Any]:
            # As datasets.to_input: 1 / scale is a power of two, so this is exact.
            predicted = model(tf.cast(images, tf.float32) * (1.0 / scale), training=training)
            right = tf.argmax(predicted, axis=1, output_type=tf.int32) == labels
            return cross_entropy(labels, predicted), tf.reduce_sum(tf.cast(right, tf.int32))

        def train_step(images: Any, labels: Any, rate: Any) -> tuple[Any, Any]:
            optimizer.learning_rate.assign(rate)
            with tf.GradientTape() as tape:
                loss, right = score(images, labels, True)
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            return loss, right

        self._train_step = tf.function(train_step, input_signature=(*batch, tf.TensorSpec((), tf.float32)))
        self._test_step = tf.function(lambda x, y: score(x, y, False), input_signature=batch)

    def restore(self, state: checkpoint.Checkpoint) -> None:
        """Set weights, optimizer and history; raises CheckpointError if the shapes differ."""
        variables = self.optimizer.variables
        pairs = ((state.weights, self.best), (state.best, self.best), (state.optimizer, variables))
        for stored, expected in pairs:
            if [a.shape for a in stored] != [tuple(v.shape) for v in expected]:
                raise checkpoint.CheckpointError(
                    f"the checkpoint in {self.settings.out} was made by another version of network "
                    f"{self.settings.network!r}; start again with --overwrite"
                )
        self.model.set_weights(state.weights)
        for variable, value in zip(variables, state.optimizer, strict=True):
            variable.assign(value)
        self.best = list(state.best)
        self.history = [Epoch(**epoch) for epoch in state.history]

    def save(self) -> None:
        checkpoint.save(
            self.settings.out,
            checkpoint.Checkpoint(
                settings=self.settings.to_json(),
                history=[dataclasses.asdict(epoch) for epoch in self.history],
                weights=self.model.get_weights(),
                optimizer=[variable.numpy() for variable in self.optimizer.variables],
                best=self.best,
            ),
        )

    def train_epoch(self, progress: Progress) -> None:
        """Train on every training image once, then validate and append to the history."""
        started = time.perf_counter()
        settings, split, number = self.settings, self.data.train, len(self.history) + 1
        generator = np.random.default_rng([settings.seed, number])
        images = datasets.augment(split.images, settings.shift, settings.flip, generator)
        # Batches of nearly equal size, so that none is too small for batch norm.
        batches = np.array_split(generator.permutation(len(split)), max(1, round(len(split) / settings.batch_size)))
        first_rate = learning_rate(settings, self.history, 0.0)
        loss_sum, right_sum, seen = 0.0, 0, 0
        for index, batch in enumerate(batches):
            rate = learning_rate(settings, self.history, index / len(batches))
            loss, right = self._train_step(images[batch], split.labels[batch], np.float32(rate))
            seen += len(batch)
            loss_sum += float(loss) * len(batch)
            right_sum += int(right)
            if not math.isfinite(loss_sum):
                raise TrainingError(
                    f"the loss is no longer finite in epoch {number}; "
                    f"lower the learning rate ({settings.learning_rate:g})"
                )
            progress.batch(number, index + 1, len(batches), loss_sum / seen, right_sum / seen)
        validation_loss, validation_accuracy = self.evaluate(self.data.validation)
        self.history.append(
            Epoch(
                epoch=number,
                loss=loss_sum / seen,
                accuracy=right_sum / seen,
                validation_loss=validation_loss,
                validation_accuracy=validation_accuracy,
                learning_rate=first_rate,
                seconds=time.perf_counter() - started,
            )
        )
        if best_epoch(self.history) == number:
            self.best = self.model.get_weights()

    def evaluate(self, split: datasets.Split) -> tuple[float, float]:
        """(mean loss, accuracy) of the present weights."""
        loss_sum, right_sum = 0.0, 0
        for start in range(0, len(split), _EVALUATION_BATCH):
            part = slice(start, start + _EVALUATION_BATCH)
            loss, right = self._test_step(split.images[part], split.labels[part])
            loss_sum += float(loss) * len(split.labels[part])
            right_sum += int(right)
        return loss_sum / len(split), right_sum / len(split)

    def finish(self) -> TrainResult:
        """Put the best weights into the model, test it, write the files."""
        out, best = self.settings.out, best_epoch(self.history)
        self.model.set_weights(self.best)
        test_loss, test_accuracy = self.evaluate(self.data.test)
        result = TrainResult(
            settings=self.settings,
            history=tuple(self.history),
            best_epoch=best,
            validation_accuracy=self.history[best - 1].validation_accuracy,
            test_loss=test_loss,
            test_accuracy=test_accuracy,
            stopped_early=len(self.history) < self.settings.epochs,
            parameters=int(self.model.count_params()),
            seconds=sum(epoch.seconds for epoch in self.history),
            model=self.model,
            out=out,
        )
        _write(result)
        return result


def _write(result: TrainResult) -> None:
    """Write FILES, each to a temporary name first, history.json last."""
    out = result.out
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns that .h5 is a legacy format
        for suffix in ("keras", "h5"):
            temporary = out / f"unfinished.{suffix}"
            result.model.save(temporary)
            os.replace(temporary, out / f"model.{suffix}")
    curve.draw(result.to_json(), out / "curve.png")
    tf, _, larq = _tf.load()
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "tensorflow": tf.__version__,
        "larq": getattr(larq, "__version__", "unknown"),
    }
    temporary = out / "history.json.tmp"
    temporary.write_text(json.dumps({**result.to_json(), "versions": versions}, indent=2) + "\n")
    os.replace(temporary, out / "history.json")
