# SPDX-License-Identifier: Apache-2.0
"""Time whole networks before and after `bnn calibrate`.

One image, one thread; networks have random weights, because time depends only on shapes, and both take turns.  Medians
are shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import click
import numpy as np

import bnn
from bench import document, networks
from bench.runner import Bench, Found, case
from bnn.runtime import summary

_IMAGES = 8
NAMES = ("QuickNetSmall", "QuickNet", "BiRealNet", "RealToBinaryNet", "BinaryDenseNet28", "MeliusNet22")
HEADER = ["network", "float layers", "int8 layers", "before, ms", "after, ms", "faster", "file before, MB", "after, MB"]


class Row(NamedTuple):
    """A network: its layers of floats, how many of them are int8 after, milliseconds, and bytes of its file."""

    network: str
    layers: int
    int8: int
    before: float
    after: float
    bytes_before: int
    bytes_after: int

    def cells(self) -> list[str]:
        times = [f"{self.before:.2f}", f"{self.after:.2f}", f"{self.before / self.after:.2f}x"]
        sizes = [f"{size / 1e6:.2f}" for size in (self.bytes_before, self.bytes_after)]
        return [self.network, str(self.layers), str(self.int8), *times, *sizes]


def measured(names: Sequence[str], bench: Bench) -> list[Row]:
    rng = np.random.default_rng(bench.seed)
    runs, found = [], []
    for name in names:
        model = bnn.compile(networks.build(name, bench.seed))
        images = rng.normal(size=(_IMAGES, *model.input_shape)).astype(np.float32)
        made = bnn.calibrate(model, images)
        found.append((name, made, model.nbytes))
        runs += [partial(net, images[:1]) for net in (model, made.model)]
    times = [timing.median / 1000 for timing in bench.measure(runs)]
    return [
        Row(name, len(made.layers), sum(not x.why for x in made.layers), before, after, size, made.model.nbytes)
        for (name, made, size), before, after in zip(found, times[::2], times[1::2], strict=True)
    ]


@case(rounds=31, slice_ms=10.0, clock="cpu", seed=0, docs=None)
@click.option("--network", "names", multiple=True, type=click.Choice(NAMES), help="Only these (repeat it).")
def calibration(bench: Bench, names: tuple[str, ...]) -> Found:
    rows = measured(names or NAMES, bench)
    lines = [row.cells() for row in rows]
    bench.say(summary.table(HEADER, lines, HEADER[:1]))
    return Found({"rows": [row._asdict() for row in rows]}, {"calibration": document.table(HEADER, lines)})
