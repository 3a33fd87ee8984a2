# SPDX-License-Identifier: Apache-2.0
"""Two layers that learn online: what a run leaves, that both layers learn, what the user is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn.snn

for package in ("sklearn", "click", "rich"):
    pytest.importorskip(package)
TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

import train_online as cli  # noqa: E402
from training import datasets, online  # noqa: E402

RUN = ["--dataset", "digits", "--images", "240", "--every", "120", "--hidden", "60"]


def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It learns; the model in its folder is the one that was tested; the same seed gives the same bits."""
    found = []
    for name in ("one", "other"):
        cli.main(["--out", str(tmp_path / name), "--json", *RUN])
        found.append(json.loads(capsys.readouterr().out))
    result = found[0]
    assert result["accuracy"] == found[1]["accuracy"] > 0.5  # a guess: 0.1
    assert [x["images"] for x in result["history"]] == [120, 240]
    assert json.loads((tmp_path / "one/history.json").read_text())["accuracy"] == result["accuracy"]
    assert (tmp_path / "one/model.snn").read_bytes() == (tmp_path / "other/model.snn").read_bytes()

    data = datasets.load("digits")
    settings = online.Settings("digits", tmp_path, hidden=60)
    model = bnn.snn.load(tmp_path / "one/model.snn")
    x = online.given(data, data.test.images, settings)
    run = model.run(x, record=["answer", "signal"])
    right = run.output[-1].argmax(axis=1) == data.test.labels
    assert right.mean() == result["accuracy"]
    assert not run.recorded["answer"].any() and not run.recorded["signal"].any()  # without a target nothing is taught
    begun = bnn.snn.build(online.network(128, 10, settings, 0.0))
    for name in online.LEARNED:
        assert not np.array_equal(model.weights(name), begun.weights(name))


def test_contrast_becomes_spikes() -> None:
    """One spike for each pixel that differs from its surroundings, in the channel of its sign, the largest first."""
    image = np.zeros((1, 28, 28, 1), np.uint8)
    image[0, 10, 10], image[0, 20, 20] = 255, 100
    x = online.encode(image, 256, 20)[:, 0].reshape(20, 2, 28, 28)
    moments = x.argmax(axis=0)
    assert x.sum() == 2 and x[:, 0].sum() == 2
    assert moments[0, 10, 10] == 0 and moments[0, 20, 20] == int((1 - 2 * 100 / 256 * 48 / 49) * 20)
    around = online.encode(255 - image, 256, 20)[:, 0].reshape(20, 2, 28, 28)
    assert around[:, 1, 10, 10].sum() == 1 and not around[:, 0, 10, 10].any()


def error_of(capsys: Any, *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    return str(capsys.readouterr().err)


def test_wrong_calls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path)]
    assert "found 21 steps that teach, expected 1 to 20" in error_of(capsys, *RUN, *out, "--taught", "21")
    (tmp_path / "model.snn").write_bytes(b"")
    assert "holds a run already; --overwrite it" in error_of(capsys, *RUN, *out)


def test_interrupted(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was finished is in whole files."""
    learned, seen = online._learned, []

    def counted(*arguments: Any) -> float:
        seen.append(arguments)
        if len(seen) == 150:
            raise KeyboardInterrupt
        return learned(*arguments)

    monkeypatch.setattr(online, "_learned", counted)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--out", str(tmp_path), *RUN])
    assert stopped.value.code == 130 and "finished intervals are in" in capsys.readouterr().err
    assert [x["images"] for x in json.loads((tmp_path / "history.json").read_text())["history"]] == [120]
    bnn.snn.load(tmp_path / "model.snn")
