# SPDX-License-Identifier: Apache-2.0
"""Time networks without a binary layer: as floats, calibrated, calibrated with integers only, and as TensorFlow Lite's
int8 by XNNPACK.

One image, one thread; networks have random weights, because time depends only on shapes, and all take turns.  Medians
are shown.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import click
import numpy as np

import bnn
from bench import document, networks, peers
from bench.runner import Bench, Found, case
from bnn.runtime import summary

_IMAGES = 8
NAMES = tuple(networks.FLOAT)
HEADER = ["network", "floats, ms", "int8, ms", "integers, ms", "XNNPACK int8, ms", "file of floats, MB", "integers, MB"]


class Row(NamedTuple):
    """A network: milliseconds of each form, and bytes of two files."""

    network: str
    floats: float
    int8: float
    integers: float
    xnnpack: float
    bytes_floats: int
    bytes_integers: int

    def cells(self) -> list[str]:
        times = [f"{self.floats:.2f}", f"{self.int8:.2f}", f"{self.integers:.2f}", f"{self.xnnpack:.2f}"]
        return [self.network, *times, *(f"{size / 1e6:.2f}" for size in (self.bytes_floats, self.bytes_integers))]


def measured(name: str, bench: Bench) -> Row:
    rng = np.random.default_rng(bench.seed)
    source = networks.build(name, bench.seed)
    model = bnn.compile(source)
    images = rng.normal(size=(_IMAGES, *model.input_shape)).astype(np.float32)
    int8, integers = (bnn.calibrate(model, images, integer_only=only).model for only in (False, True))
    (xnnpack,) = (c for c in peers.xnnpack(source, images[:1]) if c.setting == "int8")
    runs: list[Callable[[], object]] = [partial(net, images[:1]) for net in (model, int8, integers)]
    runs.append(xnnpack.run)
    times = [timing.median / 1000 for timing in bench.measure(runs)]
    return Row(name, times[0], times[1], times[2], times[3], model.nbytes, integers.nbytes)


@case(rounds=31, slice_ms=30.0, clock="cpu", seed=0, docs=None)
@click.option("--network", "names", multiple=True, type=click.Choice(NAMES), help="Only these (repeat it).")
def integers(bench: Bench, names: tuple[str, ...]) -> Found:
    peers.one_thread()
    rows = [measured(name, bench) for name in names or NAMES]
    lines = [row.cells() for row in rows]
    bench.say(summary.table(HEADER, lines, HEADER[:1]))
    return Found({"rows": [row._asdict() for row in rows]}, {"integers": document.table(HEADER, lines)})
