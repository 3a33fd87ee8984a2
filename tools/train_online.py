# SPDX-License-Identifier: Apache-2.0
"""Train two layers of spiking neurons image by image, in the C engine, by feedback through fixed random weights.

    python tools/train_online.py --dataset fashion-mnist --out runs/online

Writes to the folder given by --out, after each interval: model.snn (it can go on learning) and history.json (settings
and figures).
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import click

from training import datasets, online
from training.console import FOLDER, JSON, OVERWRITE, number, run
from training.online import Interval, Settings


@click.command(help="Train two layers of spiking neurons image by image, by feedback through random weights.")
@click.option("--dataset", type=click.Choice(list(datasets.DATASETS)), required=True, help="What to learn.")
@click.option("--out", type=FOLDER, required=True, help="Folder for the files.")
@click.option("--data", type=FOLDER, help="Folder with the data set's files, if unusual.")
@number(Settings, "hidden", click.IntRange(1, 10000), "Neurons of the first layer.")
@number(Settings, "images", click.IntRange(min=1), "To learn from, again and again if the data set has fewer.")
@number(Settings, "steps", click.IntRange(min=1), "For which an image is shown.")
@number(Settings, "taught", click.IntRange(min=1), "Of these the last, in which the target is given.")
@number(Settings, "rate", click.FloatRange(0, 1), "Of learning.")
@number(
    Settings, "margin", click.FloatRange(0, 10), "By which the right class must lead, or the image is learned from."
)
@number(Settings, "every", click.IntRange(min=1), "Images between two reports.")
@number(Settings, "seed", click.IntRange(0, 2**32 - 1), "Of weights and order.")
@OVERWRITE
@JSON
def _command(overwrite: bool, as_json: bool, **options: Any) -> None:
    settings = Settings(**options)

    def tell(interval: Interval) -> None:
        print(
            f"images {interval.images}/{settings.images}  accuracy {interval.accuracy:.1%}  "
            f"{interval.milliseconds:.2f} ms to learn from an image",
            file=sys.stderr,
        )

    try:
        result = online.learn(settings, overwrite, tell)
    except KeyboardInterrupt:
        print(f"\ntrain_online: interrupted; finished intervals are in {settings.out}", file=sys.stderr)
        sys.exit(130)
    if as_json:
        print(json.dumps(result.to_json(), default=str))
        return
    print(
        f"accuracy {result.accuracy:.2%} of {result.tested:,} test images after {settings.images:,} images; written to "
        f"{settings.out}: {', '.join(online.FILES)}"
    )


main = partial(run, _command, "train_online")


if __name__ == "__main__":
    main()
