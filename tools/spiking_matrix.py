# SPDX-License-Identifier: Apache-2.0
"""Measure which importer runs which profile of emitted spiking networks, and write the matrix of docs/spikes/nir.md.

    python tools/spiking_matrix.py --net digits.bnn digits --net mlp.bnn digits
    python tools/spiking_matrix.py --net ... --write docs/spikes/nir.md

Needs the extra `spiking` and scikit-learn; no TensorFlow.  Exit status 1: a combination that should run gave a spike
that the C runtime does not, or could not be run.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import numpy as np

from bench import document
from bnn import BnnError, Model, emit_nir
from bnn.emit.nir.write import PROFILES
from bnn.snn.simulators import IMPORTERS
from bnn.verification.nir import ImporterReport, verify_nir
from training import datasets

SIDE_BY_SIDE = 50


@dataclass
class Row:
    """One network in one profile: the run of each importer, and for "lif" also the run without a reset.  ``refused``:
    why it could not be emitted."""

    network: str
    profile: str
    runs: list[ImporterReport]
    streams: list[ImporterReport]
    refused: str = ""

    @property
    def ok(self) -> bool:
        """Whether every run that should succeed did, without a wrong spike."""
        good = [run.ok for run in self.runs if run.profile in IMPORTERS[run.importer].profiles]
        return bool(self.refused) or all([*good, *(run.ok for run in self.streams)])


def measure(net: Path, dataset: str, folder: str | None, images: int) -> list[Row]:
    """Every profile of one network in every importer."""
    model = Model.from_file(net)
    data = datasets.load(dataset, folder)
    found = np.concatenate([data.test.images, data.validation.images, data.train.images])[:images]
    x = datasets.to_input(found, data.scale)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for profile in PROFILES:
            row = Row(net.stem, profile, [], [])
            rows.append(row)
            path = Path(place) / f"{profile}.nir"
            try:
                emit_nir(model, path, profile=profile)
            except BnnError as error:
                row.refused = str(error)
                continue
            for importer in IMPORTERS.values():
                report = verify_nir(path, model, x, importer.name)
                print(report, file=sys.stderr)
                row.runs += report.runs
                if profile == "lif" and profile in importer.profiles:
                    options: dict[str, Any] = {"batch_size": SIDE_BY_SIDE, "stream": True}
                    report = verify_nir(path, model, x, importer.name, **options)
                    print(f"without a reset:\n{report}", file=sys.stderr)
                    row.streams += report.runs
    return rows


def table(rows: Sequence[Row]) -> str:
    """A Markdown table: mismatched values out of all that were compared."""
    made = (
        f"nir {metadata.version('nir')}, torch {metadata.version('torch')}, "
        f"Python {sys.version_info.major}.{sys.version_info.minor}; wrong values of all compared:"
    )
    header = ["network", "profile", *(f"{i.name} {i.version()}" for i in IMPORTERS.values()), "frames without a reset"]
    lines, notes = [], []
    for row in rows:
        found = [cell(run) for run in row.runs]
        if row.refused:
            notes.append(f"`{row.profile}` of {row.network} is refused: {row.refused}.")
            found = ["-"] * len(IMPORTERS)
        stream = "-"
        if row.streams:
            stream = f"{sum(r.mismatched for r in row.streams):,} of {sum(r.compared for r in row.streams):,}"
        lines.append([row.network, f"`{row.profile}`", *found, stream])
    for importer in IMPORTERS.values():
        if importer.why_not:
            others = ", ".join(f"`{p}`" for p in PROFILES if p not in importer.profiles)
            notes.append(f"{importer.name} cannot run {others}: {importer.why_not}.")
    return "\n".join([made, "", document.table(header, lines, numbers=False), "", *notes])


def cell(run: ImporterReport) -> str:
    """One run as a cell of the table."""
    if run.error:
        return "cannot run it"
    classes = f", {run.classes_different} classes" if run.classes_different else ""
    return f"{run.mismatched:,} of {run.compared:,}{classes}"


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--net", "nets", nargs=2, multiple=True, required=True, metavar="NET.bnn DATASET",
              help="A compiled network and the data set it reads; may be repeated.")  # fmt: skip
@click.option("--data", "folder", metavar="FOLDER", help="Folder with the data set's files, if unusual.")
@click.option("--images", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--write", "target", metavar="FILE", type=click.Path(exists=True, path_type=Path),
              help="Put the matrix into this file, between its markers.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def main(nets: list[tuple[str, str]], folder: str | None, images: int, target: Path | None, as_json: bool) -> None:
    try:
        rows = [row for net, dataset in nets for row in measure(Path(net), dataset, folder, images)]
    except (BnnError, datasets.DatasetError) as error:
        raise click.UsageError(str(error)) from None
    text = table(rows)
    print(json.dumps([{**asdict(row), "ok": row.ok} for row in rows], indent=1) if as_json else text)
    if target is not None:
        document.update(target, {"matrix": text}, "generated")
    sys.exit(0 if all(row.ok for row in rows) else 1)


if __name__ == "__main__":
    main()
