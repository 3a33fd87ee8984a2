# SPDX-License-Identifier: Apache-2.0
"""Local learning on images: what a run leaves, how a broken-off one goes on, what the user is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn.snn

for package in ("sklearn", "matplotlib", "click", "rich"):
    pytest.importorskip(package)
TOOLS = Path(__file__).resolve().parents[2] / "tools"
sys.path.insert(0, str(TOOLS))

import cluster as cli  # noqa: E402
from training import clustering, datasets  # noqa: E402

RUN = ["--dataset", "digits", "--images", "240", "--every", "80", "--steps", "100", "--neurons", "20"]


def run(capsys: Any, out: Path, *arguments: str) -> dict[str, Any]:
    cli.main(["--out", str(out), "--json", *arguments])
    return dict(json.loads(capsys.readouterr().out))


def error_of(capsys: Any, *arguments: str, status: int = 2) -> str:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == status
    return str(capsys.readouterr().err)


@pytest.mark.slow
def test_a_run_and_one_that_is_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds clusters; Ctrl-C leaves whole files; going on gives the same bits as not having stopped."""
    whole = run(capsys, tmp_path / "whole", *RUN)
    assert whole["accuracy"] > 0.4  # a guess: 0.1
    assert [x["images"] for x in whole["history"]] == [80, 160, 240]
    assert json.loads((tmp_path / "whole/history.json").read_text())["accuracy"] == whole["accuracy"]
    from matplotlib.image import imread

    assert len(np.unique(imread(tmp_path / "whole/fields.png").reshape(-1, 4), axis=0)) > 50  # not a blank sheet

    learned, out = clustering._learned, tmp_path / "broken"

    def interrupted(run: Any, data: Any, image: int, number: int) -> Any:
        if number == 200:
            raise KeyboardInterrupt
        return learned(run, data, image, number)

    monkeypatch.setattr(clustering, "_learned", interrupted)
    message = error_of(capsys, "--out", str(out), *RUN, status=130)
    assert "interrupted; finished intervals are saved, go on with: python" in message and "--resume" in message
    assert sorted(x.name for x in out.iterdir()) == [clustering.CHECKPOINT]
    assert clustering.Run.load(out).done == 160
    monkeypatch.undo()

    resumed = run(capsys, out, "--resume")
    for found in (whole, resumed):
        for interval in found["history"]:
            del interval["milliseconds"]
        del found["settings"]
    assert resumed == whole
    assert (out / "model.snn").read_bytes() == (tmp_path / "whole/model.snn").read_bytes()
    model = bnn.snn.load(out / "model.snn")
    assert model.thresholds("excitatory").any() and np.allclose(model.weights("weights").sum(axis=0), 78.4)

    assert "holds a run already; go on with --resume, or --overwrite it" in error_of(capsys, "--out", str(out), *RUN)
    changed = error_of(capsys, "--out", str(out), "--resume", "--neurons", "9")
    assert "it was started with neurons 20, not 9" in changed
    assert "it has seen 240 images, not 100" in error_of(capsys, "--out", str(out), "--resume", "--images", "100")
    checkpoint = out / clustering.CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[:3000])
    assert "is damaged" in error_of(capsys, "--out", str(out), "--resume")


def test_wrong_use_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "none")
    assert "nothing to resume" in error_of(capsys, "--out", out, "--resume")
    assert "Missing option '--dataset'" in error_of(capsys, "--out", out)
    assert "exclude each other" in error_of(capsys, "--out", out, "--resume", "--overwrite")


def test_spikes_have_the_rates_of_the_pixels() -> None:
    """And depend on nothing but seed and number."""
    settings = clustering.Settings("digits", Path("unused"), steps=20000, intensity=200.0)
    image = np.array([0, 4, 8, 16], np.uint8)
    spikes = clustering.encode(image, 16, settings, 3)
    assert np.array_equal(spikes, clustering.encode(image, 16, settings, 3))
    assert not np.array_equal(spikes, clustering.encode(image, 16, settings, 4))
    expected = np.array([0, 0.05, 0.1, 0.2])
    assert np.abs(spikes.mean(axis=0) - expected).max() < 5 * np.sqrt(0.2 * 0.8 / 20000)


def test_votes() -> None:
    responses = np.array([[4, 0], [2, 0], [0, 3], [1, 1]], np.float32)
    labels = np.array([0, 0, 1, 1], np.int32)
    found = clustering.shares(responses, labels, 3)
    assert np.allclose(found, [[3 / 3.5, 0.5 / 3.5, 0], [0, 1, 0]])
    assert clustering.guesses(np.array([[1, 0], [1, 1]], np.float32), found).tolist() == [0, 1]


def test_small_images_drive_the_neurons_as_large_ones_do() -> None:
    data = datasets.load("digits")
    net = clustering.network(64, clustering.Settings("digits", Path("unused")))
    assert net.projections[0].learning is not None and net.projections[0].learning.norm == pytest.approx(78.4)
    assert data.train.images[0].size * net.projections[0].weights.mean() == pytest.approx(784 * 0.15, rel=0.02)
