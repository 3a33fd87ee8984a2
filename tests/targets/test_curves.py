# SPDX-License-Identifier: Apache-2.0
"""The table and the picture of accuracy against costs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

if not importlib.util.find_spec("larq"):
    pytest.skip("training needs TensorFlow and Larq", allow_module_level=True)

import bnn
from targets import TARGETS, curves, missing
from training import datasets


@pytest.mark.slow
def test_one_network_of_each_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trained for an epoch on the digits, and not again when it goes on."""
    for name in curves.PROCESSORS:
        if text := missing(TARGETS[name]):
            pytest.skip(text)
    page, picture = tmp_path / "page.md", tmp_path / "curves.png"
    page.write_text("Before.\n<!-- bench: curves -->\n<!-- end -->\nAfter.\n")
    networks = ["plain8", "residual16", "plain8-int8", "mixed8"]
    arguments = [str(tmp_path / "out"), "--dataset", "digits", "--epochs", "1", "--seeds", "2", "--networks", *networks]
    assert curves.main([*arguments, "--docs", str(page), "--picture", str(picture)]) == 0
    files = sorted((tmp_path / "out").glob("*/measured.json"))
    assert len(files) == 8
    times = [file.stat().st_mtime_ns for file in files]
    table = capsys.readouterr().out.strip()
    assert curves.main(arguments) == 0
    assert capsys.readouterr().out.strip() == table
    assert [file.stat().st_mtime_ns for file in files] == times
    assert page.read_text() == f"Before.\n<!-- bench: curves -->\n{table}\n<!-- end -->\nAfter.\n"
    assert [line.split(" | ")[0].strip("| `") for line in table.splitlines()[2:]] == networks
    assert picture.read_bytes().startswith(b"\x89PNG")
    test = datasets.load("digits").test
    for seed in (1, 2):
        folder = tmp_path / "out" / f"plain8-1-{seed}"
        same = bnn.compile(str(folder / "model.keras")).predict(test.images).argmax(axis=-1) == test.labels
        assert json.loads((folder / "measured.json").read_text())["right"] == same.sum()
