# SPDX-License-Identifier: Apache-2.0
"""bnn bench: time a .bnn file on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click
import numpy as np

from .._types import Array
from ..runtime import MOST_THREADS, Model, load
from ..runtime.progress import live, progress
from ..runtime.summary import quantity, table
from .common import json_option, net_argument, print_json, print_line
from .inputs import random_arrays

_SECONDS = 2.0  # a measurement that takes longer stops before all repeats


def _counts(most: int) -> Any:
    def parse(_: click.Context, __: click.Parameter, text: str) -> list[int]:
        parts = text.split(",")
        if not all(part.strip().isdecimal() and 1 <= int(part) <= most for part in parts):
            raise click.BadParameter(f"found '{text}', expected numbers from 1 to {most} like 1,8")
        return [int(part) for part in parts]

    return parse


@click.command(short_help="Time a .bnn file on this machine.")
@net_argument
@click.option("--batch", "batches", default="1,32", show_default=True, callback=_counts(2**20), help="Batch sizes.")
@click.option("--threads", default="1", show_default=True, callback=_counts(MOST_THREADS), help="Numbers of threads.")
@click.option("--repeats", type=click.IntRange(3), default=100, show_default=True, help="Maximum runs of each.")
@click.option("--kernels", metavar="NAME", help="Kernel family.  Default: BNN_KERNELS, or the fastest.")
@click.option("--layers/--no-layers", default=True, show_default=True, help="Time every layer, too.")
@json_option
def bench(
    net: str,
    batches: Sequence[int],
    threads: Sequence[int],
    repeats: int,
    kernels: str | None,
    layers: bool,
    as_json: bool,
) -> None:
    """Time NET.bnn on random images: the median and quartiles of many runs.

    The layers' times are those of C alone; a call from Python adds some microseconds.
    If the third quartile is far above the median, the machine was doing other work.
    """
    model = load(net, kernels=kernels)
    results = []
    profiles = []
    with progress("bench", len(batches) * (len(threads) + layers), live()) as advance:
        for batch in batches:
            x = random_arrays(model, batch, seed=0)
            for count in threads:
                results.append(_measure(model, x, count, repeats))
                advance(1)
            if layers:
                profiles.append(model.profile(x, repeats=max(3, min(repeats, results[-1]["runs"]))))
                advance(1)
    if as_json:
        records = [
            {"batch": p.images, "layers": [{"layer": r.layer, "op": r.op, "kind": r.kind, "us": r.nanoseconds / 1e3,
                                            "share": r.share} for r in p]}
            for p in profiles
        ]  # fmt: skip
        print_json({"file": net, "kernels": model.kernels, "runs": results, "profiles": records})
        return
    header = ["batch", "threads", "median us", "first quartile", "third quartile", "best", "us per image", "images/s"]
    names = ("median_us", "first_quartile_us", "third_quartile_us", "best_us", "us_per_image")
    rows = [
        [str(r["batch"]), str(r["threads"]), *(f"{r[n]:.1f}" for n in names), f"{r['images_per_second']:,.0f}"]
        for r in results
    ]
    print_line(f"{net}, kernels: {model.kernels}")
    print(f"\n{table(header, rows, ())}")
    for profile in profiles:
        print(f"\nLayers, {quantity(profile.images, 'image')}\n\n{profile}")


def _measure(model: Model, x: list[Array], threads: int, repeats: int) -> dict[str, Any]:
    batch = len(x[0])
    out = [np.empty((batch, *shape), np.float32) for shape in model.output_shapes]
    begin = time.perf_counter()
    times: list[int] = []
    for run in range(repeats + 2):
        before = time.perf_counter_ns()
        model.predict(x, threads=threads, out=out)
        if run >= 2:  # the first two warm caches and start threads
            times.append(time.perf_counter_ns() - before)
        if len(times) >= 3 and time.perf_counter() - begin > _SECONDS:
            break
    first, median, third = (float(q) / 1e3 for q in np.percentile(times, (25, 50, 75)))
    return {
        "batch": batch,
        "threads": threads,
        "runs": len(times),
        "median_us": median,
        "first_quartile_us": first,
        "third_quartile_us": third,
        "best_us": min(times) / 1e3,
        "us_per_image": median / batch,
        "images_per_second": batch / median * 1e6,
    }
