# SPDX-License-Identifier: Apache-2.0
"""bnn verify --nir: what it is given and what it says, without any importer: tests/verification/simulators has them."""

from __future__ import annotations

import importlib
import json
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bnn.cli.verify_nir import NirOptions, check_kinds
from bnn.errors import InputError
from bnn.verification.nir import IMPORTERS, ImporterReport, LayerReport, NirReport

verify = importlib.import_module("bnn.cli.verify")  # the command has its module's name


def test_which_files_are_which() -> None:
    """By their names; other names may be of anything."""
    nir = NirOptions("all", False)
    for model, net, options, words in (
        ("a.keras", "b.bnn", None, ""),
        ("a.nir", "b.bnn", None, "a.nir: to run a NIR file, add --nir"),
        ("a.nir", "b.bnn", nir, ""),
        ("a.h5", "b.bnn", nir, ""),
        ("a.keras", "b.nir", None, "b.nir: is a NIR file"),
        ("a.nir", "b.nir", nir, "b.nir: is a NIR file"),
    ):
        with pytest.raises(InputError, match=words) if words else nullcontext():
            check_kinds(model, net, options)


RUNS = [
    ImporterReport("norse", "1.0", "if", 7, [LayerReport("a", "spikes", 5), LayerReport("b", "sums", 3, 1, 0, "at 0")]),
    ImporterReport("snntorch", "", "if", skipped="not installed"),
]


def test_a_report_crosses_as_itself() -> None:
    report = NirReport(RUNS, ["a node"])
    found = NirReport.from_record(json.loads(json.dumps(asdict(report))))
    assert found == report and str(found) == str(report) and found.runs[0].mismatched == 1


@pytest.mark.parametrize("ok", [True, False])
@pytest.mark.parametrize(("importer", "runs"), [("all", len(IMPORTERS)), ("norse", 1)])
@pytest.mark.parametrize("as_json", [True, False])
def test_reports(
    call: Any,
    net: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ok: bool,
    importer: str,
    runs: int,
    as_json: bool,
) -> None:
    """Status, verdict and how much there is to do, of a report that another process gave."""
    (tmp_path / "x.nir").touch()
    monkeypatch.chdir(tmp_path)
    report = NirReport(RUNS[:1] if not ok else [ImporterReport("norse", "1.0", "if", 7, RUNS[0].layers[:1])])
    totals: list[int] = []

    def apart(task: str, model: str, limits: Any, handlers: Any, **arguments: Any) -> tuple[Any, bytes]:
        assert (task, model) == ("verify_nir", "x.nir") and arguments["data"]["net"] == str(net)
        assert (arguments["importer"], arguments["batch_size"], arguments["stream"]) == (importer, 4, True)
        handlers["working"](7)
        handlers["done"](7)
        return json.loads(json.dumps(asdict(report))), b""

    def shown(name: str, total: int, live: bool) -> Any:
        totals.append(total)
        return nullcontext(lambda images: None)

    monkeypatch.setattr(verify, "run_apart", apart)
    monkeypatch.setattr(verify, "progress", shown)
    options = ["--nir", "x.nir", net, "--importer", importer, "--batch-size", 4, "--stream"]
    done = call("verify", *options, *(["--json"] if as_json else []))
    assert done.status == (not ok), done.err
    assert totals == [7 * runs]
    assert done.json["ok"] == ok if as_json else done.out.splitlines()[-1] == ("OK" if ok else "DIFFERENT")
