# SPDX-License-Identifier: Apache-2.0
"""Whatever names the simulators names those of the table, and no others (BindsNET reads no NIR)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import bnn
import bnn.snn
from bnn._distribution import COPYLEFT, install

pytest.importorskip("click", reason=f"click is not installed: {install('cli')}")
from bnn.cli.snn_compile import snn_compile
from bnn.cli.verify import verify
from bnn.snn.simulators import IMPORTERS, SIMULATORS

ROOT = Path(__file__).resolve().parents[2]
TITLES = {name: record.title.split()[0] for name, record in (SIMULATORS | IMPORTERS).items()}


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def quoted(words: str) -> set[str]:
    return set(re.findall(r'"(\w+)"', words))


def test_the_commands() -> None:
    options = {o.name: o.type for command in (snn_compile, verify) for o in command.params}
    assert options["simulator"].choices == (*SIMULATORS, "nengo") and options["importer"].choices == (*IMPORTERS, "all")


def test_the_docstrings() -> None:
    for function, option, names in (
        (bnn.snn.compile, "simulator", SIMULATORS),
        (bnn.verify_nir, "importer", IMPORTERS),
    ):
        line = re.search(rf"^ *{option}: (.*?)(?:installed|that which)", function.__doc__ or "", re.M | re.S)
        assert line and quoted(line[1]) - {"all"} == set(names), function
    calls = re.findall(r"^    - (\w+): ", bnn.verify_snn.__doc__ or "", re.M)
    assert set(calls) == {TITLES[name] for name in SIMULATORS}


def test_what_is_installed() -> None:
    """Each package of the extra is torch or in the table, at a version of what was measured; sinabs: by hand."""
    project = text("pyproject.toml")
    extra = re.search(r"^spiking = \[(.*?)^\]", project, re.M | re.S)
    assert extra
    asked = dict(re.findall(r'"(\w+)>=([\d.]+),', extra[1]))
    assert asked.keys() - {"torch"} == set(IMPORTERS) and COPYLEFT["spiking"].keys() <= set(IMPORTERS)
    for name, record in IMPORTERS.items():
        assert asked[name] == record.title.split()[1]
    for name in TITLES:
        assert f'"{name}.*"' in project


def test_the_documentation() -> None:
    page = text("docs/spikes/simulators.md")
    assert "| | " + " | ".join(record.title for record in SIMULATORS.values()) + " |" in page
    assert "| node | " + " | ".join(TITLES[name] for name in SIMULATORS) + " |" in page
    needed = re.search(r"`verify` needs torch, nirtorch and the simulator: (.*)\.", page)
    assert needed and re.split(", | or ", needed[1]) == list(SIMULATORS)
    rows = re.findall(r"^\| (\S+) ([\d.]+) \| `", text("docs/spikes/rules.md"), re.M)
    assert {" ".join(row) for row in rows} == {record.title for record in SIMULATORS.values()} | {
        "BindsNET 0.3",
        "[Nengo](nengo.md) 4.1",
    }
    matrix = re.search(r"^\| network \| profile \| (.*) \| frames", text("docs/spikes/nir.md"), re.M)
    assert matrix and [cell.split()[0] for cell in matrix[1].split(" | ")] == list(IMPORTERS)
