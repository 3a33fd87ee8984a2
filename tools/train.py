# SPDX-License-Identifier: Apache-2.0
"""Train a binarized network and export it for the compiler.

    python tools/train.py --dataset digits --network digits --epochs 30 --out runs/digits
    python tools/train.py --dataset fashion-mnist --network fashion --flip --out runs/fashion
    python tools/train.py --out runs/fashion --resume

Writes to the folder given by --out: model.keras and model.h5 (the best weights), history.json (all
settings and figures), curve.png, and checkpoint.npz from which --resume goes on.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from training import _tf, checkpoint, datasets, fit, networks
from training.fit import Settings, TrainResult, train

__all__ = ["ConsoleProgress", "Settings", "TrainResult", "main", "train"]

# What the user can put right, each with a message that says how.
USER_ERRORS = (
    fit.TrainingError,
    checkpoint.CheckpointError,
    datasets.DatasetError,
    networks.NetworkError,
    _tf.TensorFlowSetupError,
)


def _minutes(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


class ConsoleProgress(fit.Progress):
    """Shows training on a terminal as a bar with figures, elsewhere as one line per epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._epochs = 0
        self._validation = "-"

    def started(self, settings: Settings, model: Any, history: Sequence[fit.Epoch]) -> None:
        self._epochs = settings.epochs
        where = f"from epoch {len(history) + 1}" if history else "from the beginning"
        self._line(
            f"{settings.network} on {settings.dataset}: {model.count_params():,} parameters, "
            f"{settings.epochs} epochs, {where}"
        )
        if not self._console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=None),
            TextColumn("loss {task.fields[loss]}  acc {task.fields[accuracy]}  val acc {task.fields[validation]}  ETA"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self._console,
            transient=True,
        )
        fields: dict[str, Any] = dict.fromkeys(("loss", "accuracy", "validation"), "-")
        self._task = self._bar.add_task(
            "",
            total=settings.epochs,
            completed=len(history),
            epoch=len(history) + 1,
            epochs=settings.epochs,
            **fields,
        )
        self._bar.start()

    def batch(self, epoch: int, done: int, batches: int, loss: float, accuracy: float) -> None:
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=epoch - 1 + done / batches,
                epoch=epoch,
                loss=f"{loss:.4f}",
                accuracy=f"{accuracy:.2%}",
                validation=self._validation,
            )

    def epoch(self, epoch: fit.Epoch, best_epoch: int) -> None:
        self._validation = f"{epoch.validation_accuracy:.2%}"
        best = "best so far" if best_epoch == epoch.epoch else f"best: epoch {best_epoch}"
        left = (self._epochs - epoch.epoch) * epoch.seconds
        self._line(
            f"epoch {epoch.epoch}/{self._epochs}  loss {epoch.loss:.4f}  "
            f"acc {epoch.accuracy:.2%}  val acc {self._validation} ({best})  "
            f"{epoch.seconds:.1f} s  ETA {_minutes(left)}"
        )

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


def _fail(message: str) -> NoReturn:
    print("train: error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)


def _settings(context: click.Context, options: dict[str, Any]) -> Settings:
    """Settings from the options; when resuming, those not given come from the checkpoint."""
    if not context.params["resume"]:
        for name in ("dataset", "network"):
            if options[name] is None:
                raise click.UsageError(f"Missing option '--{name}'.")
        return Settings(**options)
    stored = Settings.from_json(checkpoint.load(options["out"]).settings).to_json()
    source = click.core.ParameterSource
    given = {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) not in (source.DEFAULT, source.DEFAULT_MAP)
    }
    return Settings.from_json({**stored, **given})


def _how_to_go_on(out: Path) -> str:
    if not checkpoint.exists(out):
        return " before anything was saved"
    epochs = len(checkpoint.load(out).history)
    command = shlex.join(["python", sys.argv[0], "--out", str(out), "--resume"])
    return f"; {epochs} finished epochs are saved, go on with: {command}"


@click.command(help="Train a binarized network and export it for the compiler.")
@click.option("--dataset", type=click.Choice(list(datasets.DATASETS)), help="What to learn.")
@click.option("--network", type=click.Choice(list(networks.NETWORKS)), help="What is to learn it.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for the model, the history and the checkpoint.",
)
@click.option("--data", type=click.Path(path_type=Path), help="Folder with the data set's files, if unusual.")
@click.option("--epochs", type=int, default=Settings.epochs, show_default=True)
@click.option("--batch-size", type=int, default=Settings.batch_size, show_default=True)
@click.option(
    "--learning-rate",
    type=float,
    default=Settings.learning_rate,
    show_default=True,
    help="Adam's, at the start.",
)
@click.option(
    "--schedule",
    type=click.Choice(fit.SCHEDULES),
    default=Settings.schedule,
    show_default=True,
    help="How the learning rate falls.",
)
@click.option(
    "--patience",
    type=int,
    default=Settings.patience,
    show_default=True,
    help="Stop after so many epochs without a better validation accuracy; 0: never.",
)
@click.option(
    "--shift",
    type=int,
    default=Settings.shift,
    show_default=True,
    help="Augment: move images by up to so many pixels.",
)
@click.option("--flip", is_flag=True, help="Augment: mirror half of the images, left to right.")
@click.option("--seed", type=int, default=Settings.seed, show_default=True)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on from the checkpoint in --out, with its settings.",
)
@click.option("--overwrite", is_flag=True, help="Replace the run in --out.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout.")
@click.pass_context
def _command(context: click.Context, /, resume: bool, overwrite: bool, as_json: bool, **options: Any) -> None:
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other.")
    console = Console(stderr=True)
    progress = ConsoleProgress(console)
    started = time.perf_counter()
    try:
        result = train(_settings(context, options), progress, resume=resume, overwrite=overwrite)
    except KeyboardInterrupt:
        progress.close()
        print(f"\ntrain: interrupted{_how_to_go_on(options['out'])}", file=sys.stderr)
        sys.exit(130)
    finally:
        progress.close()
    seconds = time.perf_counter() - started
    if as_json:
        summary = {k: v for k, v in result.to_json().items() if k != "history"}
        print(json.dumps({**summary, "epochs": len(result.history), "wall_seconds": seconds}))
        return
    why = f", stopped early after epoch {len(result.history)}" if result.stopped_early else ""
    print(
        f"test accuracy {result.test_accuracy:.2%} with the weights of epoch {result.best_epoch} "
        f"(validation {result.validation_accuracy:.2%}){why}\n"
        f"training took {_minutes(result.seconds)} min, this call {_minutes(seconds)} min; "
        f"written to {result.out}: {', '.join(fit.FILES)}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0, 2 (wrong use or bad input) or 130 (interrupted)."""
    try:
        _command.main(arguments, prog_name="train", standalone_mode=False)
    except click.ClickException as error:
        _fail(error.format_message())
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except USER_ERRORS as error:
        _fail(str(error))
    except OSError as error:  # a full disk, for one
        _fail(f"{error.filename or 'writing failed'}: {error.strerror or error}")


if __name__ == "__main__":
    main()
