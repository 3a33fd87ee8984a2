# SPDX-License-Identifier: Apache-2.0
"""bnn emit c: what it prints, and what it refuses; tests/emit/c tests what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

DIGITS = Path(__file__).parents[2] / "examples" / "digits.bnn"
FILES = {"README.md", "digits.c", "digits.h", "digits_kernels.c", "digits_kernels.h", "digits_vectors.h", "main.c"}


def test_files_and_figures(call: Any, tmp_path: Path) -> None:
    done = call("emit", "c", DIGITS, "-o", tmp_path / "new" / "folder", "--target", "cortex-m4", "--fast")
    assert done.status == 0 and "is float" in done.err and "bytes of RAM" in done.out
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == FILES
    again = call("emit", "c", DIGITS, "-o", tmp_path / "new" / "folder", "--name", "digits", "--json")
    assert again.status == 0 and set(again.json["files"]) == FILES
    layers = again.json["layers"]
    assert again.json["flash"] == sum(layer["flash"] for layer in layers) > 0
    assert {layer["kind"] for layer in layers} <= {"bits", "bytes", "floats", ""}


def test_one_file(call: Any, tmp_path: Path) -> None:
    done = call("emit", "c", DIGITS, "-o", tmp_path, "--single-file", "--output", "class")
    assert done.status == 0
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "digits.h", "digits_vectors.h", "main.c"}


def test_the_names_of_files_become_identifiers(call: Any, tmp_path: Path) -> None:
    net = tmp_path / "My Net-2.bnn"
    net.write_bytes(DIGITS.read_bytes())
    assert call("emit", "c", net, "-o", tmp_path / "out").status == 0
    assert (tmp_path / "out" / "my_net_2.h").exists()


def test_vectors(call: Any, tmp_path: Path) -> None:
    images = tmp_path / "x.npy"
    np.save(images, np.zeros((3, 8, 8, 1), np.float32))
    assert call("emit", "c", DIGITS, "-o", tmp_path / "out", "--vectors", images).status == 0
    assert "DIGITS_VECTORS = 3" in (tmp_path / "out" / "digits_vectors.h").read_text(encoding="utf-8")


def test_files_of_others_are_kept(call: Any, tmp_path: Path) -> None:
    mine = tmp_path / "main.c"
    mine.write_text("int main(void) { return 0; }\n")
    done = call("emit", "c", DIGITS, "-o", tmp_path)
    assert done.status == 2 and f"{mine}: exists and was not written by bnn; give another folder" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["main.c"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["{file}"], "-o"),
        (["{file}", "-o", "{file}"], "cannot be created as a folder"),
        (["{file}", "-o", "{folder}", "--name", "Net"], "name: found 'Net', expected a C identifier in lower case"),
        (["{folder}/none.bnn", "-o", "{folder}"], "none.bnn: cannot be opened"),
    ],
)
def test_refused(arguments: list[str], text: str, call: Any, tmp_path: Path) -> None:
    places = {"file": DIGITS, "folder": tmp_path / "out"}
    done = call("emit", "c", *(argument.format(**places) for argument in arguments))
    assert done.status == 2 and text in done.err
    assert not (tmp_path / "out").exists()
