# SPDX-License-Identifier: Apache-2.0
"""Let spiking neurons sort images by themselves: Diehl & Cook's network, trained by STDP in the C engine.

    python tools/cluster.py --dataset fashion-mnist --out runs/cluster
    python tools/cluster.py --out runs/cluster --resume --images 12000

No label is used for learning; labels name the neurons at the end, and each interval's accuracy is that of names from
the interval before.  Writes to the folder given by --out: model.snn (it can go on learning), history.json (settings and
figures), fields.png (what each neuron has learned to see), and checkpoint.npz, from which --resume goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from training import clustering, datasets
from training.clustering import Interval, Settings
from training.console import FOLDER, JSON, OVERWRITE, RESUME, how_to_go_on, number, run, settings_of


def _tell(images: int) -> Callable[[Interval], None]:
    def tell(interval: Interval) -> None:
        accuracy = "no labels yet" if interval.accuracy is None else f"accuracy {interval.accuracy:.1%}"
        print(
            f"images {interval.images}/{images}  {accuracy}  {interval.spikes:.1f} spikes and "
            f"{interval.milliseconds:.2f} ms an image",
            file=sys.stderr,
        )

    return tell


@click.command(help="Let spiking neurons sort images by themselves, by local learning without labels.")
@click.option("--dataset", type=click.Choice(list(datasets.DATASETS)), help="What to look at.")
@click.option("--out", type=FOLDER, required=True, help="Folder for the files.")
@click.option("--data", type=FOLDER, help="Folder with the data set's files, if unusual.")
@number(Settings, "neurons", click.IntRange(1, 10000), "That learn; as many inhibit them.")
@number(Settings, "images", click.IntRange(min=1), "To learn from.")
@number(Settings, "steps", click.IntRange(min=1), "Milliseconds that an image is shown for.")
@number(Settings, "intensity", click.FloatRange(0, 1000, min_open=True), "Spikes per second of the brightest pixels.")
@number(Settings, "inhibition", click.FloatRange(0), "Millivolts that a spike takes from the other neurons.")
@number(Settings, "every", click.IntRange(min=1), "Images between two checkpoints.")
@number(Settings, "seed", click.IntRange(0, 2**32 - 1), "Of weights, order and spikes.")
@RESUME
@OVERWRITE
@JSON
@click.pass_context
def _command(context: click.Context, /, resume: bool, overwrite: bool, as_json: bool, **_: Any) -> None:
    settings = settings_of(context, lambda out: clustering.Run.load(out).settings, Settings, "dataset")
    try:
        result = clustering.learn(settings, resume, overwrite, _tell(settings.images))
    except KeyboardInterrupt:
        saved = (settings.out / clustering.CHECKPOINT).is_file()
        print(f"\ncluster: interrupted{how_to_go_on(settings.out, 'intervals', saved)}", file=sys.stderr)
        sys.exit(130)
    if as_json:
        print(json.dumps(result.to_json(), default=str))
        return
    print(
        f"accuracy {result.accuracy:.2%} of {result.tested:,} test images after {settings.images:,} images without "
        f"labels; written to {settings.out}: {', '.join(clustering.FILES)}"
    )


main = partial(run, _command, "cluster")


if __name__ == "__main__":
    main()
