# SPDX-License-Identifier: Apache-2.0
"""bnn verify --nir: compare a NIR file, run in the simulators that import it, with the C runtime."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import click

from ..errors import InputError
from ..verification.nir import IMPORTERS, NirReport
from .common import print_json, was_given


@dataclass(frozen=True)
class NirOptions:
    """How a NIR file is verified."""

    importer: str
    stream: bool


def nir_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options --nir, --importer and --stream, passed on as one argument ``nir``: None without --nir."""

    @functools.wraps(command)
    def gathered(*args: Any, nir: bool, importer: str, stream: bool, **options: Any) -> Any:
        if not nir:
            given = [name for name in ("importer", "stream") if was_given(name)]
            if given:
                raise click.UsageError(f"--{given[0]} is for NIR files; add --nir, or leave it out")
        return command(*args, nir=NirOptions(importer, stream) if nir else None, **options)

    stream = click.option("--stream", is_flag=True, help="With --nir: do not reset the neurons between batches.")
    importer = click.option("--importer", type=click.Choice([*IMPORTERS, "all"]), default="all", show_default=True,
                            help="With --nir: the simulator to run the file in.")  # fmt: skip
    nir = click.option("--nir", is_flag=True, help="MODEL is a NIR file: run it in importers, compare every spike.")
    return nir(importer(stream(gathered)))


def check_kinds(model: str, net: str, nir: NirOptions | None) -> None:
    """Check that the files' names match the options."""
    if nir is None and model.endswith(".nir"):
        raise InputError(f"{model}: to run a NIR file, add --nir")
    if net.endswith(".nir"):
        raise InputError(f"{net}: is a NIR file; expected: bnn verify --nir MODEL.nir NET.bnn")


def print_nir_report(report: NirReport, as_json: bool) -> int:
    """Print the report.  Returns the exit status: 0 if it is ok, else 1."""
    if as_json:
        print_json(_record(report))
    else:
        print(f"{report}\n{'OK' if report.ok else 'DIFFERENT'}")
    return 0 if report.ok else 1


def _record(report: NirReport) -> dict[str, Any]:
    runs = [{"ok": run.ok, "mismatched": run.mismatched, "outside": run.outside, **asdict(run)} for run in report.runs]
    return {"ok": report.ok, "changes": report.changes, "runs": runs}
