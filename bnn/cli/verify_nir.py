# SPDX-License-Identifier: Apache-2.0
"""bnn verify --nir: a NIR file in the simulators that import it, against the C runtime."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import click

from .._arrays import Floats
from .._progress import live, progress
from ..errors import InputError
from ..runtime import Model
from ..spiking import IMPORTERS, NirReport, verify_nir
from .common import print_json, was_given


@dataclass(frozen=True)
class NirOptions:
    """How a NIR file is verified."""

    importer: str
    stream: bool


def nir_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options --nir, --importer and --stream, handed on as one argument ``nir``: None without --nir."""

    @functools.wraps(command)
    def gathered(*args: Any, nir: bool, importer: str, stream: bool, **options: Any) -> Any:
        if not nir:
            given = [name for name in ("importer", "stream") if was_given(name)]
            if given:
                raise click.UsageError(f"--{given[0]} is about NIR files; add --nir, or leave it out")
        return command(*args, nir=NirOptions(importer, stream) if nir else None, **options)

    stream = click.option("--stream", is_flag=True, help="With --nir: do not reset the neurons from batch to batch.")
    importer = click.option("--importer", type=click.Choice([*IMPORTERS, "all"]), default="all", show_default=True,
                            help="With --nir: the simulator to run the file in.")  # fmt: skip
    nir = click.option("--nir", is_flag=True, help="MODEL is a NIR file: run it in an importer, compare every spike.")
    return nir(importer(stream(gathered)))


def check_kinds(model: str, net: str, nir: NirOptions | None) -> None:
    """What is asked for, against the files' names."""
    if nir is None and model.endswith(".nir"):
        raise InputError(f"{model}: to run a NIR file, add --nir")
    if net.endswith(".nir"):
        raise InputError(f"{net}: is a NIR file; expected: bnn verify --nir MODEL.nir NET.bnn")


def verify_nir_file(
    path: str, model: Model, data: Sequence[Floats], options: NirOptions, batch_size: int, as_json: bool
) -> int:
    """Verify, print, and give the exit status: 1 where a spike, a sum or a class differs, or a tap is no spike."""
    with progress("verify", len(data[0]) * (len(IMPORTERS) if options.importer == "all" else 1), live()) as advance:
        report = verify_nir(
            path, model, data, options.importer, batch_size=batch_size, stream=options.stream, progress=advance
        )
    if as_json:
        print_json(_record(report))
    else:
        print(f"{report}\n{'OK' if report.ok else 'DIFFERENT'}")
    return 0 if report.ok else 1


def _record(report: NirReport) -> dict[str, Any]:
    runs = [{"ok": run.ok, "mismatched": run.mismatched, "outside": run.outside, **asdict(run)} for run in report.runs]
    return {"ok": report.ok, "changes": report.changes, "runs": runs}
