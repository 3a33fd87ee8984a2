# SPDX-License-Identifier: Apache-2.0
"""Options that several benchmarks have."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench.timing import CLOCKS

docs = click.option(
    "--docs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A document whose blocks are replaced by what was measured.",
)
json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
compiler = click.option("--cc", default=lambda: os.environ.get("CC", "cc"), help="The C compiler; default: CC, or cc.")
slice_ms = click.option(
    "--slice",
    "slice_ms",
    type=click.FloatRange(0.01, 10_000),
    default=30.0,
    show_default=True,
    help="Milliseconds of a turn, at least.",
)
clock = click.option(
    "--clock",
    type=click.Choice(list(CLOCKS)),
    default="wall",
    show_default=True,
    help="cpu: processor time of all threads, for a machine that does other work.",
)


def rounds(default: int) -> Callable[[Any], Any]:
    return click.option(
        "--rounds", type=click.IntRange(1, 1000), default=default, show_default=True, help="Turns of each."
    )
