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
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from training import fit
from training.console import ConsoleProgress, minutes, run
from training.fit import Settings
from training.workers import Workers


def _settings(context: click.Context, options: dict[str, Any]) -> Settings:
    """Settings from the options; when resuming, those not given come from the checkpoint."""
    if not context.params["resume"]:
        for name in ("dataset", "network"):
            if options[name] is None:
                raise click.UsageError(f"Missing option '--{name}'.")
        return Settings(**options)
    stored = dataclasses.asdict(fit.stored_settings(options["out"]))
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


def _setting_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for every setting."""
    folder = click.Path(file_okay=False, path_type=Path)
    for field in reversed(dataclasses.fields(Settings)):
        choices = field.metadata.get("choices")
        default = None if field.default is dataclasses.MISSING else field.default
        command = click.option(
            "--" + field.name.replace("_", "-"),
            type=click.Choice(choices) if choices else folder if "Path" in str(field.type) else None,
            default=default,
            show_default=not isinstance(default, bool | None),
            is_flag=isinstance(default, bool),
            required=field.name == "out",
            help=field.metadata.get("help"),
        )(command)
    return command


@click.command(help="Train a binarized network and export it for the compiler.")
@_setting_options
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out, with its settings.")
@click.option("--overwrite", is_flag=True, help="Replace the run in --out.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout.")
@click.pass_context
def _command(context: click.Context, /, resume: bool, overwrite: bool, as_json: bool, **options: Any) -> None:
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other.")
    started = time.perf_counter()
    if Workers.from_environment().number:
        return fit.follow(_settings(context, options), resume=resume, overwrite=overwrite)
    try:
        with ConsoleProgress(Console(stderr=True)) as progress:
            result = fit.train(_settings(context, options), progress, resume=resume, overwrite=overwrite)
    except KeyboardInterrupt:
        print(f"\ntrain: interrupted{_how_to_go_on(options['out'])}", file=sys.stderr)
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0, 2 (wrong use or bad input) or 130 (interrupted)."""
    run(_command, "train", arguments)


if __name__ == "__main__":
    main()
