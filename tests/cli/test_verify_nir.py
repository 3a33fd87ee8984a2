# SPDX-License-Identifier: Apache-2.0
"""bnn verify --nir: what it is given and what it says, without any importer; tests/spiking has those."""

from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from bnn.cli import verify_nir
from bnn.cli.verify_nir import NirOptions, check_kinds, verify_nir_file
from bnn.errors import InputError
from bnn.spiking import IMPORTERS


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


@pytest.mark.parametrize("ok", [True, False])
@pytest.mark.parametrize(("importer", "runs"), [("all", len(IMPORTERS)), ("norse", 1)])
@pytest.mark.parametrize("as_json", [True, False])
def test_reports(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ok: bool,
    importer: str,
    runs: int,
    as_json: bool,
) -> None:
    """Status, verdict and how much there is to do, of a report that is made up."""
    report, totals = SimpleNamespace(ok=ok, changes=[], runs=[]), []
    monkeypatch.setattr(verify_nir, "verify_nir", lambda *_, **__: report)
    monkeypatch.setattr(
        verify_nir, "progress", lambda name, total, live: totals.append(total) or nullcontext(lambda n: None)
    )
    data = [np.zeros((7, 3), np.float32)]
    options = NirOptions(importer, False)
    assert verify_nir_file("x.nir", cast("Any", None), data, options, 4, as_json) == (not ok)
    assert totals == [7 * runs]
    out = capsys.readouterr().out
    assert json.loads(out)["ok"] == ok if as_json else out.splitlines()[-1] == ("OK" if ok else "DIFFERENT")
