# SPDX-License-Identifier: Apache-2.0
"""Let spiking neurons sort images by themselves: Diehl & Cook's network, trained by STDP in the C engine.

    python tools/cluster.py --dataset fashion-mnist --out runs/cluster
    python tools/cluster.py --out runs/cluster --resume --images 12000

No label is used for learning; labels name the neurons at the end, and each interval's accuracy is that of names from
the interval before.  Writes to the folder given by --out: model.snn (it can go on learning), history.json (settings and
figures), fields.png (what each neuron has learned to see), and checkpoint.npz, from which --resume goes on.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from training import clustering, datasets
from training.clustering import Interval, Settings
from training.console import run

DEFAULTS = {x.name: x.default for x in dataclasses.fields(Settings)}


def _settings(context: click.Context, options: dict[str, Any]) -> Settings:
    """Settings from the options; when resuming, those not given come from the checkpoint."""
    if not context.params["resume"]:
        if options["dataset"] is None:
            raise click.UsageError("Missing option '--dataset'.")
        return Settings(**options)
    stored = dataclasses.asdict(clustering.Run.load(options["out"]).settings)
    default = click.core.ParameterSource.DEFAULT
    given = {name: value for name, value in options.items() if context.get_parameter_source(name) != default}
    return Settings.from_json({**stored, **given})


def _tell(images: int) -> Callable[[Interval], None]:
    def tell(interval: Interval) -> None:
        accuracy = "no labels yet" if interval.accuracy is None else f"accuracy {interval.accuracy:.1%}"
        print(
            f"images {interval.images}/{images}  {accuracy}  {interval.spikes:.1f} spikes and "
            f"{interval.milliseconds:.2f} ms an image",
            file=sys.stderr,
        )

    return tell


def _how_to_go_on(out: Path) -> str:
    if not (out / clustering.CHECKPOINT).is_file():
        return " before anything was saved"
    command = shlex.join(["python", sys.argv[0], "--out", str(out), "--resume"])
    return f"; finished intervals are saved, go on with: {command}"


Option = Callable[[Callable[..., None]], Callable[..., None]]


def _number(name: str, kind: Any, help: str) -> Option:
    return click.option(f"--{name}", type=kind, default=DEFAULTS[name], show_default=True, help=help)


FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(help="Let spiking neurons sort images by themselves, by local learning without labels.")
@click.option("--dataset", type=click.Choice(list(datasets.DATASETS)), help="What to look at.")
@click.option("--out", type=FOLDER, required=True, help="Folder for the files.")
@click.option("--data", type=FOLDER, help="Folder with the data set's files, if unusual.")
@_number("neurons", click.IntRange(1, 10000), "That learn; as many inhibit them.")
@_number("images", click.IntRange(min=1), "To learn from.")
@_number("steps", click.IntRange(min=1), "Milliseconds that an image is shown for.")
@_number("intensity", click.FloatRange(0, 1000, min_open=True), "Spikes per second of the brightest pixels.")
@_number("inhibition", click.FloatRange(0), "Millivolts that a spike takes from the other neurons.")
@_number("every", click.IntRange(min=1), "Images between two checkpoints.")
@_number("seed", click.IntRange(0, 2**32 - 1), "Of weights, order and spikes.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out, with its settings.")
@click.option("--overwrite", is_flag=True, help="Replace the run in --out.")
@click.option("--json", "as_json", is_flag=True, help="End with one line of JSON on stdout.")
@click.pass_context
def _command(context: click.Context, /, resume: bool, overwrite: bool, as_json: bool, **options: Any) -> None:
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other.")
    try:
        settings = _settings(context, options)
        result = clustering.learn(settings, resume, overwrite, _tell(settings.images))
    except KeyboardInterrupt:
        print(f"\ncluster: interrupted{_how_to_go_on(options['out'])}", file=sys.stderr)
        sys.exit(130)
    if as_json:
        print(json.dumps(result.to_json(), default=str))
        return
    print(
        f"accuracy {result.accuracy:.2%} of {result.tested:,} test images after {settings.images:,} images without "
        f"labels; written to {settings.out}: {', '.join(clustering.FILES)}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exits with 0, 2 (wrong use or bad input) or 130 (interrupted)."""
    run(_command, "cluster", arguments)


if __name__ == "__main__":
    main()
