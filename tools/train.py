# SPDX-License-Identifier: Apache-2.0
"""Train a binarized network and export it for the compiler.

    python tools/train.py --dataset digits --network digits --epochs 30 --out runs/digits
    python tools/train.py --dataset fashion-mnist --network fashion --flip --out runs/fashion
    python tools/train.py --dataset fashion-mnist --network plain16 --activation qcfs --levels 16 --out runs/levels
    python tools/train.py --out runs/fashion --resume

Several processes train together if TF_CONFIG in the environment of each names them all, as TensorFlow has it; they
share the folder given by --out.  If one ends, start all of them again with --resume.

Writes to the folder given by --out: model.keras and model.h5 (the best weights), history.json (settings and figures),
history.csv, curve.png, and the folder checkpoint, from which --resume goes on after the last finished epoch.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click
from rich.console import Console

from training import fit
from training.console import FOLDER, JSON, OVERWRITE, RESUME, ConsoleProgress, how_to_go_on, minutes, run, settings_of
from training.fit import Settings
from training.workers import Workers


def _setting_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for every setting."""
    for field in reversed(dataclasses.fields(Settings)):
        choices = field.metadata.get("choices")
        default = None if field.default is dataclasses.MISSING else field.default
        command = click.option(
            "--" + field.name.replace("_", "-"),
            type=click.Choice(choices) if choices else FOLDER if "Path" in str(field.type) else None,
            default=default,
            show_default=not isinstance(default, bool | None),
            is_flag=isinstance(default, bool),
            required=field.name == "out",
            help=field.metadata.get("help"),
        )(command)
    return command


@click.command(help="Train a binarized network and export it for the compiler.")
@_setting_options
@RESUME
@OVERWRITE
@JSON
@click.pass_context
def _command(context: click.Context, /, resume: bool, overwrite: bool, as_json: bool, **_: Any) -> None:
    settings = settings_of(context, fit.stored_settings, Settings, "dataset", "network")
    started = time.perf_counter()
    if Workers.from_environment().number:
        return fit.follow(settings, resume=resume, overwrite=overwrite)
    try:
        with ConsoleProgress(Console(stderr=True)) as progress:
            result = fit.train(settings, progress, resume=resume, overwrite=overwrite)
    except KeyboardInterrupt:
        saved = fit.can_resume(settings.out)
        print(f"\ntrain: interrupted{how_to_go_on(settings.out, 'epochs', saved)}", file=sys.stderr)
        sys.exit(130)
    seconds = time.perf_counter() - started
    if as_json:
        summary = {k: v for k, v in result.to_json().items() if k != "history"}
        print(json.dumps({**summary, "epochs": len(result.history), "wall_seconds": seconds}, default=str))
        return
    why = f", stopped early after epoch {len(result.history)}" if result.stopped_early else ""
    print(
        f"test accuracy {result.test_accuracy:.2%} with the weights of epoch {result.best_epoch} "
        f"(validation {result.validation_accuracy:.2%}){why}\n"
        f"training took {minutes(result.seconds)} min, this call {minutes(seconds)} min; "
        f"written to {result.settings.out}: {', '.join(fit.FILES)}"
    )


main = partial(run, _command, "train")


if __name__ == "__main__":
    main()
