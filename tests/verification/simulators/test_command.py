# SPDX-License-Identifier: Apache-2.0
"""bnn emit nir and bnn verify --nir."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn._distribution import install

pytest.importorskip("click", reason=f"click is not installed: {install('cli')}")
from bnn import Model
from bnn.cli import main
from bnn.snn.simulators import IMPORTERS


@pytest.fixture
def folder(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where net.bnn and images.npy are; also the current folder."""
    model.save(tmp_path / "net.bnn")
    images = np.random.default_rng(0).integers(0, 256, (9, *model.input_shapes[0])) / 256
    np.save(tmp_path / "images.npy", images.astype(np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_emit_and_verify(folder: Path, capsys: Any) -> None:
    assert main(["emit", "nir", "net.bnn", "--profile", "lif", "--proof", "images.npy"]) == 0
    text = capsys.readouterr().out
    assert "net.nir: profile 'lif'" in text and "encoder, outside the file: conv_a" in text
    assert {p.name for p in folder.iterdir()} >= {"net.nir", "net.proof.npz", "net.proof.json"}
    assert main(["verify", "--nir", "net.nir", "net.bnn", "--data", "images.npy"]) == 0
    text = capsys.readouterr().out
    assert text.endswith("OK\n") and re.search(r" lif +9 +0 +[\d,]+ +0 +0$", text, re.M)


def test_a_difference_is_exit_status_1(folder: Path, capsys: Any) -> None:
    import nir

    assert main(["emit", "nir", "net.bnn", "other.nir", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"][-1]["neurons"] == 0
    graph = nir.read("other.nir")
    graph.nodes["conv_b"].weight[:, 0] *= -1
    nir.write("other.nir", graph)
    importer = next(name for name, i in IMPORTERS.items() if i.version() is not None and "if" in i.profiles)
    options = ["--importer", importer, "--random", "20"]
    assert main(["verify", "--nir", "other.nir", "net.bnn", *options]) == 1
    assert capsys.readouterr().out.endswith("DIFFERENT\n")
    assert main(["verify", "--nir", "other.nir", "net.bnn", "--json", *options]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["changes"] and report["runs"][0]["mismatched"] > 0 and not report["ok"]


def test_an_edge_that_is_missing_is_exit_status_1(folder: Path, capsys: Any) -> None:
    """In text and at once: importers would never come back."""
    import nir

    assert main(["emit", "nir", "net.bnn", "other.nir"]) == 0
    graph = nir.read("other.nir")
    del graph.edges[2]
    nir.write("other.nir", graph)
    capsys.readouterr()
    assert main(["verify", "--nir", "other.nir", "net.bnn", "--random", "2"]) == 1
    text = capsys.readouterr().out
    assert "is missing" in text and text.endswith("DIFFERENT\n") and "images" not in text


def test_the_model_is_not_overwritten(folder: Path, capsys: Any) -> None:
    before = (folder / "net.bnn").read_bytes()
    (folder / "link.nir").symlink_to("net.bnn")
    for out in ("net.bnn", "./net.bnn", "link.nir"):
        assert main(["emit", "nir", "net.bnn", out]) == 2
        assert "would overwrite" in capsys.readouterr().err
    assert (folder / "net.bnn").read_bytes() == before


def test_bad_input_is_exit_status_2(folder: Path, capsys: Any) -> None:
    assert main(["emit", "nir", "net.bnn", "nowhere/net.nir"]) == 2
    assert "there is no folder" in capsys.readouterr().err
    (folder / "net.nir").write_bytes(b"")
    assert main(["verify", "net.nir", "net.bnn"]) == 2
    assert "add --nir" in capsys.readouterr().err
    assert main(["verify", "--nir", "net.bnn", "net.nir"]) == 2
    assert "bnn verify --nir MODEL.nir NET.bnn" in capsys.readouterr().err
    assert main(["verify", "--nir", "net.bnn", "net.bnn"]) == 2
    assert "is a compiled network; give the NIR file" in capsys.readouterr().err
    (folder / "folder.nir").mkdir()
    assert main(["verify", "--nir", "folder.nir", "net.bnn"]) == 2
    assert "is a folder; expected a NIR file" in capsys.readouterr().err
    assert main(["emit", "nir", "missing.bnn"]) == 2
    assert main(["emit", "nir", "net.bnn", "--profile", "spikes"]) == 2
    assert "spikes" in capsys.readouterr().err
