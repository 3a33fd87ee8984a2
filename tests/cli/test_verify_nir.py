# SPDX-License-Identifier: Apache-2.0
"""bnn verify --nir: what it is given and what it says, without any importer: tests/verification/simulators has them."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bnn.cli.verify import check_kinds
from bnn.errors import InputError
from bnn.verification.nir import ImporterReport, NirLayerCheck, NirReport


def test_which_files_are_which() -> None:
    """By their names; other names may be of anything."""
    for model, net, nir, words in (
        ("a.keras", "b.bnn", False, ""),
        ("a.nir", "b.bnn", False, "a.nir: to run a NIR file, add --nir"),
        ("a.nir", "b.bnn", True, ""),
        ("a.h5", "b.bnn", True, ""),
        ("a.keras", "b.nir", False, "b.nir: is a NIR file"),
        ("a.nir", "b.nir", True, "b.nir: is a NIR file"),
    ):
        with pytest.raises(InputError, match=words) if words else nullcontext():
            check_kinds(model, net, nir)


RUNS = [
    ImporterReport(
        "norse", "1.0", "if", 7, [NirLayerCheck("a", "spikes", 5, fired=2), NirLayerCheck("b", "sums", 3, 1, 0, "at 0")]
    ),
    ImporterReport("snntorch", "", "if", skipped="not installed"),
]


@pytest.mark.parametrize("ok", [True, False])
@pytest.mark.parametrize("importer", ["all", "norse"])
@pytest.mark.parametrize("as_json", [True, False])
def test_reports(
    call: Any, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ok: bool, importer: str, as_json: bool
) -> None:
    """Status, verdict and how much there is to do, of the report that the task gives."""
    (tmp_path / "x.nir").touch()
    monkeypatch.chdir(tmp_path)
    report = NirReport(RUNS[:1] if not ok else [ImporterReport("norse", "1.0", "if", 7, RUNS[0].layers[:1])])

    def compared(model: str, compiled: Any, arrays: Any, progress: Any, **options: Any) -> NirReport:
        assert model == "x.nir" and len(arrays[0]) == 7
        assert (options["importer"], options["batch_size"], options["stream"]) == (importer, 4, True)
        progress(7)
        return report

    monkeypatch.setattr("bnn.verification.nir.verify_nir", compared)
    options = ["--nir", "x.nir", net, "--importer", importer, "--batch-size", 4, "--stream", "--random", 7]
    done = call("verify", *options, *(["--json"] if as_json else []))
    assert done.status == (not ok), done.err
    if not as_json:
        assert done.out == f"{report}\n" and done.out.endswith("\nOK\n" if ok else "\nDIFFERENT\n")
        return
    (run,) = report.runs
    counts = {"ok": ok, "mismatched": int(not ok), "outside": 0}
    facts = {"ok": ok, "verdict": "OK" if ok else "DIFFERENT", "silent": [], "allow_silent": False, "changes": []}
    assert done.json == {**facts, "runs": [counts | asdict(run)]}
