# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: options, turns, the description of the machine, and where results go."""

from __future__ import annotations

import functools
import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

import bnn
from bench import document
from bench.timing import CLOCKS, Timing, measure


@dataclass(frozen=True)
class Bench:
    """The shared options; a case has some of them: see :func:`case`."""

    as_json: bool = False
    rounds: int = 1
    slice_ms: float = 30.0
    clock: str = "wall"
    seed: int = 0
    cc: str = "cc"
    docs: Path | None = None

    def say(self, text: str = "") -> None:
        """Print it, unless the result is one JSON object."""
        if not self.as_json:
            print(text, flush=True)

    def measure(
        self, runs: Sequence[Callable[[], object]], advance: Callable[[int], None] = lambda steps: None, **how: Any
    ) -> list[Timing]:
        return measure(runs, self.rounds, self.slice_ms, self.clock, advance, **how)


@dataclass(frozen=True)
class Found:
    """What a case has measured: for JSON, and for blocks of a document.  ``failed``: the exit status is 1."""

    data: Mapping[str, Any]
    blocks: Mapping[str, str] = field(default_factory=dict)
    failed: bool = False


_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "rounds": ("--rounds", {"type": click.IntRange(1, 1000), "help": "Turns of each."}),
    "slice_ms": ("--slice", {"type": click.FloatRange(0.01, 10_000), "help": "Milliseconds of a turn, at least."}),
    "clock": ("--clock", {"type": click.Choice(list(CLOCKS)),
                          "help": "cpu: processor time of all threads, for a machine that does other work."}),
    "seed": ("--seed", {"type": int, "help": "Of weights and images."}),
    "cc": ("--cc", {"envvar": "CC", "show_envvar": True, "help": "The C compiler."}),
    "docs": ("--docs", {"type": click.Path(exists=True, dir_okay=False, path_type=Path),
                        "help": "A document whose blocks are replaced by what was measured."}),
}  # fmt: skip


def case(**defaults: Any) -> Callable[[Callable[..., Found]], click.Command]:
    """Make a command of a function (Bench, its own options) -> Found; ``defaults``: of the shared options it has."""

    def decorate(function: Callable[..., Found]) -> click.Command:
        @functools.wraps(function)
        def command(as_json: bool, **given: Any) -> None:
            bench = Bench(as_json, **{name: given.pop(name) for name in defaults})
            found = function(bench, **given)
            if bench.docs is not None:
                document.update(bench.docs, found.blocks)
            shared = {name: getattr(bench, name) for name in defaults if name != "docs"}
            if as_json:
                print(json.dumps({**machine(), **shared, **found.data}, indent=1, default=asdict))
            elif "rounds" in defaults:
                clock = f"{bench.clock} clock; " if "clock" in defaults else ""
                print(f"{document.processor()}; {clock}medians of {bench.rounds} turns")
            sys.exit(found.failed)

        for name in reversed(defaults):
            flag, how = _OPTIONS[name]
            command = click.option(flag, name, default=defaults[name], show_default=True, **how)(command)
        command = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")(
            command
        )
        return click.command(help=sys.modules[function.__module__].__doc__)(command)

    return decorate


def machine() -> dict[str, str]:
    versions = {"python": platform.python_version(), "numpy": np.__version__, "bnn": bnn.__version__}
    return {"processor": document.processor(), "machine": platform.machine(), **versions}


def numbers(context: click.Context, option: click.Parameter, text: str) -> list[int]:
    """The numbers of an option like 1,2,4."""
    try:
        return [int(part) for part in text.split(",") if part]
    except ValueError:
        raise click.BadParameter(f"found '{text}', expected numbers like 1,2,4") from None
