# SPDX-License-Identifier: Apache-2.0
"""Train a binarized network and export it for the compiler.

    python tools/train.py --dataset digits --network digits --epochs 30 --out runs/digits
    python tools/train.py --dataset fashion-mnist --network fashion --flip --out runs/fashion
    python tools/train.py --out runs/fashion --resume

Writes to the folder given by --out: model.keras and model.h5 (the best weights), history.json (settings and figures),
history.csv, curve.png, and the folder checkpoint, from which --resume goes on after the last finished epoch.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from training import datasets, fit, networks
from training.console import ConsoleProgress, run
from training.fit import Settings


def _minutes(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


class TrainingProgress(ConsoleProgress):
    """One line per epoch."""

    def started(self, settings: Settings, parameters: int, done: int) -> None:
        where = f"from epoch {done + 1}" if done else "from the beginning"
        self.say(
            f"{settings.network} on {settings.dataset}: {parameters:,} parameters, {settings.epochs} epochs, {where}"
        )
        super().started(settings, parameters, done)

    def epoch(self, epoch: fit.Epoch, best_epoch: int) -> None:
        best = "best so far" if best_epoch == epoch.epoch else f"best: epoch {best_epoch}"
        self.say(
            f"epoch {epoch.epoch}/{self.epochs}  loss {epoch.loss:.4f}  "
            f"acc {epoch.accuracy:.2%}  val acc {epoch.validation_accuracy:.2%} ({best})  "
            f"{epoch.seconds:.1f} s  ETA {_minutes((self.epochs - epoch.epoch) * epoch.seconds)}"
        )


def _settings(context: click.Context, options: dict[str, Any]) -> Settings:
    """Settings from the options; when resuming, those not given come from the checkpoint."""
    if not context.params["resume"]:
        for name in ("dataset", "network"):
            if options[name] is None:
                raise click.UsageError(f"Missing option '--{name}'.")
        return Settings(**options)
    stored = fit.stored_settings(options["out"]).to_json()
    source = click.core.ParameterSource
    given = {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) not in (source.DEFAULT, source.DEFAULT_MAP)
    }
    return Settings.from_json({**stored, **given})


def _how_to_go_on(out: Path) -> str:
    if not fit.can_resume(out):
        return " before anything was saved"
    command = shlex.join(["python", sys.argv[0], "--out", str(out), "--resume"])
    return f"; finished epochs are saved, go on with: {command}"


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
    help="Stop after this many epochs without a better validation accuracy; 0: never.",
)
@click.option(
    "--shift",
    type=int,
    default=Settings.shift,
    show_default=True,
    help="Augment: move images by up to this many pixels.",
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
    started = time.perf_counter()
    try:
        with TrainingProgress(Console(stderr=True)) as progress:
            result = fit.train(_settings(context, options), progress, resume=resume, overwrite=overwrite)
    except KeyboardInterrupt:
        print(f"\ntrain: interrupted{_how_to_go_on(options['out'])}", file=sys.stderr)
        sys.exit(130)
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
    run(_command, "train", arguments)


if __name__ == "__main__":
    main()
