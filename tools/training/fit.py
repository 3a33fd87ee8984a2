# SPDX-License-Identifier: Apache-2.0
"""Train a binarized network by Keras' own ``fit``: the engine behind train.py, free of any command line.

    result = fit.train(Settings(dataset="digits", network="digits", out=Path("runs/digits")))

Epochs count from 1.  A run that was killed or stopped by Ctrl-C at any moment can be resumed after its last finished
epoch: BackupAndRestore has kept the weights and the optimizer, ModelCheckpoint the best weights, CSVLogger the figures.
Order and augmentation of an epoch are drawn from (seed, epoch), and the cosine's learning rate follows from the number
of the step.  So a resumed run computes what an uninterrupted one does, up to the order in which TensorFlow's threads
add.  Two counts begin anew, because Keras does not keep them: the epochs without gain of ``patience``, and those of the
schedule "plateau" (whose present rate is kept).
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import platform
import shutil
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnn.runtime.files import replacing
from training import UserError, _tf, datasets, drawing, networks
from training.workers import Workers

SCHEDULES = ("cosine", "plateau", "constant")
# Plateau: after this many epochs without a better validation loss, the rate is multiplied so.
PLATEAU_EPOCHS = 3
PLATEAU_FACTOR = 0.3
FILES = ("model.keras", "model.h5", "history.json", "history.csv", "curve.png")
_EVALUATION_BATCH = 500
# Less than one image of a validation set times any loss that is still worth comparing.
_TIE = 1e-5


class TrainingError(UserError):
    """The settings are wrong, contradict the run that is resumed, its checkpoint is damaged, or training diverged."""


def _setting(help: str, default: Any = dataclasses.MISSING, choices: Iterable[str] = ()) -> Any:
    """A field of Settings; ``help`` and ``choices`` are for a command line, too."""
    return dataclasses.field(default=default, metadata={"help": help, "choices": tuple(choices)})


@dataclass(frozen=True)
class Settings:
    """All that a run depends on besides the code; written into the checkpoint and history.json."""

    dataset: str = _setting("What to learn.", choices=datasets.DATASETS)
    network: str = _setting("What is to learn it.", choices=networks.NETWORKS)
    out: Path = _setting("Folder for the model, the history and the checkpoint.")
    data: Path | None = _setting("Folder with the data set's files, if unusual.", None)
    activation: str = _setting("What all layers but the first do with their inputs.", "sign", networks.ACTIVATIONS)
    levels: int = _setting("Of the activation qcfs: 2 to 256.", 0)
    weights: str = _setting("What the weights of the layers are.", "binary", networks.WEIGHTS)
    epochs: int = 20
    batch_size: int = 128
    # Latent weights live in [-1, 1], so it is larger than for float nets.
    learning_rate: float = _setting("Adam's, at the start.", 0.01)
    schedule: str = _setting("How the learning rate falls.", "cosine", SCHEDULES)
    patience: int = _setting("Stop after this many epochs without a better validation accuracy; 0: never.", 0)
    shift: int = _setting("Augment: move images by up to this many pixels both ways, filling with zeros.", 0)
    flip: bool = _setting("Augment: mirror half of the images, left to right.", False)
    warp: float = _setting("Augment: bend images; their parts move by about this many pixels.", 0.0)
    bfloat16: bool = _setting(
        "Train binary convolutions in bfloat16: faster on processors that have instructions for it.", False
    )
    byte_input: bool = _setting("Export a model that takes images as bytes, for microcontrollers.", False)
    seed: int = 1

    def check(self) -> None:
        """Raise TrainingError naming the first setting that is out of range, or NetworkError."""
        most = networks.MOST_LEVELS
        levels = (2 <= self.levels <= most, f"2 to {most} with the activation 'qcfs'")
        if self.activation != "qcfs":
            levels = (self.levels == 0, f"none with the activation {self.activation!r}; only 'qcfs' has them")
        rules = (
            ("activation", self.activation in networks.ACTIVATIONS, f"one of {', '.join(networks.ACTIVATIONS)}"),
            ("levels", *levels),
            ("weights", self.weights in networks.WEIGHTS, f"one of {', '.join(networks.WEIGHTS)}"),
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 2, "at least 2 (batch norm needs a batch)"),
            ("learning_rate", 0 < self.learning_rate < 10, "above 0 and below 10"),
            ("schedule", self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}"),
            ("patience", self.patience >= 0, "0 (never stop early) or more"),
            ("shift", 0 <= self.shift <= 8, "0 to 8 pixels"),
            ("warp", 0 <= self.warp <= 8, "0 to 8 pixels"),
            ("seed", 0 <= self.seed < 2**32, "0 to 4294967295"),
        )
        for name, good, expected in rules:
            if not good:
                raise TrainingError(f"{name} is {getattr(self, name)!r}, expected {expected}")
        networks.check_variant(self.network, self.variant)
        if self.bfloat16 and not networks.binary_convolutions(self.network, self.variant):
            raise TrainingError(f"bfloat16 is for binary convolutions, and network {self.network!r} would have none")

    @property
    def variant(self) -> networks.Variant:
        return networks.Variant(self.activation, self.levels, self.weights)

    @staticmethod
    def from_json(values: dict[str, Any]) -> Settings:
        paths = {k: Path(values[k]) for k in ("out", "data") if values.get(k) is not None}
        return Settings(**{**values, **paths})


# What --resume may change: the rest would make the history a lie.
CHANGEABLE = ("out", "data", "epochs", "patience", "byte_input")


@dataclass(frozen=True)
class Epoch:
    """One line of the history. Losses are mean cross-entropies, accuracies lie in 0..1; the learning rate is that of
    the last step."""

    epoch: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float

    @property
    def score(self) -> float:
        """The validation accuracy; of equals, the lower validation loss scores higher."""
        return self.validation_accuracy - _TIE * self.validation_loss


@dataclass(frozen=True)
class TrainResult:
    """What a finished run is; the files are in `settings.out`, `model` carries the best weights."""

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

    def to_json(self) -> dict[str, Any]:
        """The content of history.json without the versions; paths are written by ``default=str``."""
        values = dataclasses.asdict(dataclasses.replace(self, model=None))
        del values["model"]
        return {**values, "files": {name: self.settings.out / name for name in FILES}}


class Progress:
    """What train() tells as it goes; this one ignores it all. Override what is of interest."""

    def started(self, settings: Settings, parameters: int, done: int) -> None:
        """Before the first batch; `done` epochs of a run that is resumed are finished."""

    def batch(self, epoch: int, share: float, loss: float, accuracy: float) -> None:
        """After each batch: which share of the epoch is done, and its means so far."""

    def epoch(self, epoch: Epoch, best_epoch: int) -> None:
        """After each epoch, when its checkpoint is on disk."""


def train(
    settings: Settings, progress: Progress | None = None, resume: bool = False, overwrite: bool = False
) -> TrainResult:
    """Train, evaluate the best weights on the test set once, write FILES to settings.out.

    With `resume`, goes on from the checkpoint in settings.out. Sets the global seeds of Python, NumPy, TensorFlow and
    Keras. With TF_CONFIG in the environment, this is the first of several workers; the others call `follow`, and all
    have the folder settings.out. Raises UserError for what the user can put right, and SetupError without TensorFlow,
    Keras 2 or Larq.
    """
    workers = Workers.from_environment()
    data, model = _fitted(settings, progress or Progress(), resume, overwrite, workers)
    if workers.count > 1:  # the other workers are not asked any more
        model = _compiled(settings, data, steps=1, together=False)
    return _finished(settings, data, model)


def follow(settings: Settings, resume: bool = False, overwrite: bool = False) -> None:
    """Do the share of a worker of TF_CONFIG that is not the first; the arguments are those of all the others."""
    _fitted(settings, Progress(), resume, overwrite, Workers.from_environment())


def _fitted(
    settings: Settings, progress: Progress, resume: bool, overwrite: bool, workers: Workers
) -> tuple[datasets.Dataset, Any]:
    settings.check()
    _check_out(settings, resume, overwrite)
    data = datasets.load(settings.dataset, settings.data)
    tf, keras, _ = _tf.load()
    strategy = workers.strategy(tf)
    # Also the generator that Keras keeps for initializers once anything in the process has seeded it.
    keras.utils.set_random_seed(settings.seed)
    steps = max(1, round(len(data.train) / settings.batch_size))
    with strategy.scope():
        model = _compiled(settings, data, steps, workers.count > 1)
    if workers.number == 0:
        _write_settings(settings, resume)
    workers.meet(tf, strategy)
    backup = keras.callbacks.BackupAndRestore(str(_checkpoint(settings.out)), delete_checkpoint=False)
    with strategy.scope():
        history = _restored(settings, model, backup, steps)
    progress.started(settings, model.count_params(), len(history))
    if len(history) == settings.epochs:
        return data, model
    batches = _batches(settings, data, tf, len(history), steps, workers)
    if workers.count > 1:
        batches = strategy.distribute_datasets_from_function(lambda _, own=batches: own)
    try:
        model.fit(
            batches,
            initial_epoch=len(history),
            epochs=settings.epochs,
            steps_per_epoch=steps,
            validation_data=_whole(data, data.validation),
            validation_batch_size=_EVALUATION_BATCH,
            callbacks=_callbacks(settings, keras, model, history, steps, backup, progress, workers),
            verbose=0,
        )
    except tf.errors.OpError as error:
        if workers.count == 1:
            raise
        reason = str(error).split("\n")[0][:200]
        raise TrainingError(f"the workers lost each other ({reason}); start all of them again with --resume") from error
    return data, model


def _compiled(settings: Settings, data: datasets.Dataset, steps: int, together: bool) -> Any:
    """The network before training, of ``steps`` batches an epoch."""
    _, keras, _ = _tf.load()
    classes = len(data.class_names)
    model = networks.build(
        settings.network, data.input_shape, classes,
        variant=settings.variant, together=together, bfloat16=settings.bfloat16,
    )  # fmt: skip
    rate: Any = settings.learning_rate
    if settings.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, settings.epochs * steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _checkpoint(out: Path) -> Path:
    return out / "checkpoint"


def _best_weights(out: Path, epoch: int | str) -> Path:
    return _checkpoint(out) / f"best-{epoch}.h5"


def can_resume(out: Path) -> bool:
    """Whether the folder holds a run."""
    return (_checkpoint(out) / "settings.json").is_file()


def stored_settings(out: Path) -> Settings:
    """Those of the run in a folder; raises TrainingError where there is none."""
    path = _checkpoint(out) / "settings.json"
    try:
        return Settings.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise TrainingError(f"nothing to resume: {path} does not exist") from None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(path, error) from error


def _damaged(what: Path, why: object) -> TrainingError:
    return TrainingError(f"{what} is damaged ({why}); start again with --overwrite")


def read_history(out: Path) -> list[Epoch]:
    """What CSVLogger has written of the run in a folder."""
    path = out / "history.csv"
    if not path.is_file():
        return []
    named = [(field.name, field.name.replace("validation", "val")) for field in dataclasses.fields(Epoch)[1:]]
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return [
                Epoch(int(row["epoch"]) + 1, **{name: float(row[column]) for name, column in named})
                for row in csv.DictReader(file)
            ]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _check_out(settings: Settings, resume: bool, overwrite: bool) -> None:
    """Raise TrainingError where this run must not go to settings.out."""
    if resume:
        now = dataclasses.asdict(settings)
        for name, before in dataclasses.asdict(stored_settings(settings.out)).items():
            if name not in CHANGEABLE and now[name] != before:
                raise TrainingError(
                    f"cannot resume {settings.out}: it was started with {name} {before!r}, "
                    f"not {now[name]!r}; --overwrite starts again"
                )
    elif can_resume(settings.out) and not overwrite:
        raise TrainingError(f"{settings.out} holds a run already; go on with --resume, or --overwrite it")


def _write_settings(settings: Settings, resume: bool) -> None:
    """So that the run can be resumed; what another run left is removed first."""
    folder = _checkpoint(settings.out)
    try:
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            for name in FILES:
                (settings.out / name).unlink(missing_ok=True)
        _write(folder / "settings.json", json.dumps(dataclasses.asdict(settings), default=str))
    except OSError as error:
        raise TrainingError(f"cannot write to {settings.out}: {error.strerror or error}") from None


def _write(path: Path, text: str) -> None:
    with replacing(str(path)) as file:
        file.write(text.encode())


def _restored(settings: Settings, model: Any, backup: Any, steps: int) -> list[Epoch]:
    """Give a compiled model the weights and optimizer of its checkpoint, if there is one; its epochs."""
    folder = _checkpoint(settings.out)
    backup.set_model(model)
    try:
        backup.on_train_begin()
    except Exception as error:  # TensorFlow raises anything: for half a file, or for another network's shapes
        raise _damaged(folder, str(error).split("\n")[0]) from error
    done = int(model.optimizer.iterations.numpy()) // steps
    history = read_history(settings.out)
    if len(history) not in (done, done + 1):
        raise _damaged(folder, f"{done} epochs, but {len(history)} in {settings.out / 'history.csv'}")
    if len(history) > done:  # it ended before the checkpoint was written
        path = settings.out / "history.csv"
        _write(path, "".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[: done + 1]))
    return history[:done]


def _whole(data: datasets.Dataset, split: datasets.Split) -> tuple[NDArray[np.float32], datasets.Labels]:
    return datasets.to_input(split.images, data.scale), split.labels


def _batches(settings: Settings, data: datasets.Dataset, tf: Any, done: int, steps: int, workers: Workers) -> Any:
    """The batches of all epochs to come, one epoch after the other; of several workers, this one's share of each.

    Shares are equal, so that the mean of their means is that of the batch; an image or two may be left out for that.
    """
    images, labels, count = tf.constant(data.train.images), tf.constant(data.train.labels), len(data.train)

    def draw(epoch: Any) -> Any:
        order = tf.random.experimental.stateless_shuffle(tf.range(count), (settings.seed, epoch))

        def batch(step: Any) -> tuple[Any, Any]:
            # Batches have nearly equal sizes, so that none is too small for batch norm.
            chosen = order[step * count // steps : (step + 1) * count // steps]
            seed = (settings.seed, epoch * steps + step)
            found = augment(tf, tf.gather(images, chosen), settings.shift, settings.flip, seed)
            found = warp(tf, found, settings.warp, seed)
            share = slice(workers.number, tf.size(chosen) // workers.count * workers.count, workers.count)
            # As datasets.to_input: 1 / scale is a power of two, so this is exact.
            return tf.cast(found[share], tf.float32) * (1.0 / data.scale), tf.gather(labels, chosen[share])

        return tf.data.Dataset.range(steps).map(batch)

    return tf.data.Dataset.range(done + 1, settings.epochs + 1).flat_map(draw).prefetch(2)


def augment(tf: Any, images: Any, shift: int, flip: bool, seed: Any) -> Any:
    """Images (N, H, W, C), each moved by up to `shift` pixels (zeros come in), half mirrored; `seed`: two numbers."""
    if not shift and not flip:
        return images
    drawn = tf.random.stateless_uniform((tf.shape(images)[0], 3, 1), seed)
    moved = tf.cast(drawn * (2 * shift + 1), tf.int32)
    rows, columns = (moved[:, i] + tf.range(images.shape[1 + i]) for i in (0, 1))
    if flip:
        columns = tf.where(drawn[:, 2] < 0.5, columns[:, ::-1], columns)
    padded = tf.pad(images, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
    return tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)


def warp(tf: Any, images: Any, pixels: float, seed: Any) -> Any:
    """Images (N, H, W, C) of uint8, each bent by a smooth random field of moves and rounded; zeros come in.

    A field is a coarse grid (slants, stretches) and a finer one (bends), in which each move is drawn with a standard
    deviation of `pixels`; `seed`: two numbers.
    """
    if not pixels:
        return images
    n, (height, width) = tf.shape(images)[0], images.shape[1:3]
    places = tf.stack(tf.meshgrid(tf.range(1.0, height + 1), tf.range(1.0, width + 1), indexing="ij"), -1)
    for grid in (2, 4):
        moves = tf.random.stateless_normal((n, grid, grid, 2), (seed[0], seed[1] + grid * 2**20), stddev=pixels)
        places += tf.image.resize(moves, (height, width))
    places = tf.clip_by_value(places, 0.0, [height + 0.999, width + 0.999])  # on the ring of zeros, at most
    padded = tf.pad(tf.cast(images, tf.float32), ((0, 0), (1, 2), (1, 2), (0, 0)))
    corner = tf.floor(places)
    (y, x), (down, right) = (tf.unstack(part, axis=-1) for part in (tf.cast(corner, tf.int32), places - corner))
    found = 0.0
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        share = (down if dy else 1 - down) * (right if dx else 1 - right)
        found += share[..., tf.newaxis] * tf.gather_nd(padded, tf.stack([y + dy, x + dx], -1), batch_dims=1)
    return tf.cast(tf.round(found), images.dtype)


def _callbacks(
    settings: Settings, keras: Any, model: Any, history: list[Epoch], steps: int, backup: Any, progress: Progress,
    workers: Workers,
) -> list[Any]:  # fmt: skip
    """Keras' own, and what they and the user are told; an epoch is finished when the backup is on disk.

    Of several workers one writes: Keras' own callbacks know that, but for CSVLogger.
    """
    out = settings.out
    best = max((epoch.score for epoch in history), default=None)
    begun = 0.0

    def begin(*_: Any) -> None:
        nonlocal begun
        begun = time.perf_counter()

    def measure(_: int, logs: dict[str, float]) -> None:
        logs["seconds"] = time.perf_counter() - begun
        logs["learning_rate"] = float(model.optimizer.learning_rate.numpy())
        logs["score"] = logs["val_accuracy"] - _TIE * logs["val_loss"]

    def batch(number: int, logs: dict[str, float]) -> None:
        epoch = len(history) + 1
        if not math.isfinite(logs["loss"]):
            raise TrainingError(
                f"the loss is no longer finite in epoch {epoch}; lower the learning rate ({settings.learning_rate:g})"
            )
        progress.batch(epoch, (number + 1) / steps, logs["loss"], logs["accuracy"])

    def tell(*_: Any) -> None:
        history[:] = read_history(out)
        progress.epoch(history[-1], best_epoch(history))

    made = keras.callbacks
    monitor: dict[str, Any] = {"monitor": "score", "mode": "max"}
    found = [
        made.LambdaCallback(on_epoch_begin=begin, on_batch_end=batch, on_epoch_end=measure),
        made.ModelCheckpoint(
            str(_best_weights(out, "{epoch}")), save_best_only=True, save_weights_only=True,
            initial_value_threshold=best, **monitor,
        ),
        backup,
    ]  # fmt: skip
    if workers.number == 0:
        found.insert(2, made.CSVLogger(str(out / "history.csv"), append=True))
        found.append(made.LambdaCallback(on_epoch_end=tell))
    if settings.activation == "whetstone":
        from training.activations import Sharpener

        found.append(Sharpener(settings.epochs * steps))
    if settings.schedule == "plateau":
        found.insert(1, made.ReduceLROnPlateau("val_loss", PLATEAU_FACTOR, PLATEAU_EPOCHS, min_delta=0))
    if settings.patience:
        found.append(made.EarlyStopping(patience=settings.patience, baseline=best, **monitor))
    return found


def best_epoch(history: Sequence[Epoch]) -> int:
    """The epoch of highest validation accuracy; of equals, of the lowest validation loss."""
    return max(history, key=lambda epoch: epoch.score).epoch


def _finished(settings: Settings, data: datasets.Dataset, model: Any) -> TrainResult:
    """Put the best weights into the model, test it, write the files."""
    out, history = settings.out, read_history(settings.out)
    best = best_epoch(history)
    weights = _best_weights(out, best)
    try:
        model.load_weights(str(weights))
    except (OSError, ValueError) as error:
        raise _damaged(weights, error) from error
    test_loss, test_accuracy = model.evaluate(*_whole(data, data.test), batch_size=_EVALUATION_BATCH, verbose=0)
    exported = networks.exported(model, data.scale if settings.byte_input else None, settings.variant)
    result = TrainResult(
        settings=settings,
        history=tuple(history),
        best_epoch=best,
        validation_accuracy=history[best - 1].validation_accuracy,
        test_loss=test_loss,
        test_accuracy=test_accuracy,
        stopped_early=len(history) < settings.epochs,
        parameters=int(exported.count_params()),
        seconds=sum(epoch.seconds for epoch in history),
        model=exported,
    )
    _write_files(result)
    for path in _checkpoint(out).glob(_best_weights(out, "*").name):
        if path != weights:
            path.unlink()
    return result


def _write_files(result: TrainResult) -> None:
    """Write FILES, each atomically, history.json last."""
    out = result.settings.out
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns that .h5 is a legacy format
        for suffix in ("keras", "h5"):
            temporary = out / f"unfinished.{suffix}"
            result.model.save(temporary)
            os.replace(temporary, out / f"model.{suffix}")
    drawing.curve(result.to_json(), out / "curve.png")
    tf, _, larq = _tf.load()
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "tensorflow": tf.__version__,
        "larq": getattr(larq, "__version__", "unknown"),
    }
    _write(out / "history.json", json.dumps({**result.to_json(), "versions": versions}, indent=2, default=str) + "\n")
