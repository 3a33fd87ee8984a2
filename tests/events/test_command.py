# SPDX-License-Identifier: Apache-2.0
"""bnn events, called as a shell would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn.cli import main
from bnn.streams import recordings

DIGITS = str(Path(__file__).parents[2] / "examples/digits.bnn")


@pytest.fixture
def images(rng: np.random.Generator, tmp_path: Path) -> str:
    path = tmp_path / "x.npy"
    np.save(path, (rng.integers(0, 17, (4, 8, 8, 1)) / 16).astype(np.float32))
    return str(path)


def run(capfd: pytest.CaptureFixture[str], *arguments: object, status: int = 0) -> str:
    capfd.readouterr()
    found = main(["events", DIGITS, *map(str, arguments)])
    out, err = capfd.readouterr()
    assert found == status, err
    assert "Traceback" not in err
    return out if status == 0 else err


def test_an_image(capfd: pytest.CaptureFixture[str], images: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot, page, labels = tmp_path / "run.png", tmp_path / "run.html", tmp_path / "labels.txt"
    labels.write_text("\n".join(f"digit {k}" for k in range(10)))
    files = ("--plot", plot, "--html", page, "--labels", labels)
    out = run(capfd, images, "--image", 2, "--order", "brightest", "--label", 3, *files)
    want = int(bnn.load(DIGITS)(np.load(images)[2:3]).argmax())
    assert f"answer “digit {want}”" in out and "SynOps" in out and "23.6 pJ" in out
    assert plot.stat().st_size > 10_000 and "digit 7" in page.read_text(encoding="utf-8")


def test_json(capfd: pytest.CaptureFixture[str], images: str) -> None:
    result: Any = json.loads(run(capfd, images, "--json", "--order", "random", "--seed", 5))
    assert result["answer"] == int(bnn.load(DIGITS)(np.load(images)[:1]).argmax())
    assert len(result["outputs"]) == len(result["answers"]) == result["events"] + 1
    assert np.argmax(result["outputs"][-1]) == result["answers"][-1] == result["answer"]
    assert result["report"]["synops"] == sum(layer["synops"] for layer in result["report"]["layers"])


def test_a_stream(capfd: pytest.CaptureFixture[str], images: str) -> None:
    assert "3 frames" in (out := run(capfd, images, "--mode", "stream")) and "0 frames differ" in out
    result = json.loads(run(capfd, images, "--mode", "stream", "--json", "--switch", "auto", "--label", "four"))
    assert result["label"] == 4
    want = bnn.load(DIGITS)(np.load(images))
    assert result["wrong"] == 0 and result["label"] == 4
    assert np.array_equal(np.float32(result["outputs"]), want) and result["answers"] == want.argmax(axis=1).tolist()


def test_a_recording(capfd: pytest.CaptureFixture[str], rng: np.random.Generator, tmp_path: Path) -> None:
    t = np.sort(rng.integers(0, 50_000, 300))
    events = recordings.from_fields(rng.integers(0, 34, 300), rng.integers(0, 34, 300), rng.integers(0, 2, 300), t)
    path = tmp_path / "00001.bin"
    path.write_bytes(recordings.encode_nmnist(events))
    out = run(capfd, path, "--mode", "recording", "--shrink", 4, "--window", 20000, "--origin", 1, 1)
    assert "300 camera events" not in out and "camera events" in out and "20,000 us" in out
    result = json.loads(run(capfd, path, "--mode", "recording", "--rule", "decay", "--shrink", 5, "--json"))
    assert result["events"] == 300 and result["dropped"] == 0 and result["label"] is None
    assert len(result["outputs"]) == len(result["answers"]) == len(result["times_us"]) == result["steps"] + 1
    assert result["times_us"][0] == t[0] and result["seen"][-1] == 300
    label = result["answers"][7]
    text = run(capfd, path, "--mode", "recording", "--rule", "decay", "--shrink", 5, "--label", label)
    assert "first right" in text and "of the events" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.npy"], "nothing.npy"),
        (["X", "--image", 9], "--image 9: the input has 4 images"),
        (["X", "--label", 10], "--label 10: the model has 10 classes; give a number, 0 to 9"),
        (["X", "--mode", "stream", "--html", "a.html"], "--html is for --mode image, found --mode stream"),
        (["X", "--tau", 5], "--tau is for --mode recording"),
        (["X", "--origin", 1, 1], "--origin is for --mode recording, found --mode image; leave it out"),
        (["X", "--mode", "recording", "--order", "random"], "--order is for --mode image, found --mode recording"),
        (["X", "--mode", "recording", "--scale", 255], "--scale is for --mode image and --mode stream"),
        (
            ["X", "--mode", "recording", "--rule", "decay", "--window", 5],
            "not for --rule decay, which takes --step, --tau",
        ),
        (
            ["X", "--mode", "recording", "--count", 2, "--rule", "surface"],
            "not for --rule surface, which takes --step;",
        ),
        (["X", "--seed", 3], "--seed is for --order random; leave it out"),
        (["X", "--mode", "stream", "--label", 10], "--label 10: the model has 10 classes; give a number, 0 to 9"),
        (["X", "X", "--mode", "recording"], "one at a time"),
        (["X", "--order", "spiral"], "spiral"),
        (["X", "--plot", "a.xyz"], "a.xyz"),
    ],
)
def test_wrong_use(
    capfd: pytest.CaptureFixture[str], images: str, arguments: list[object], message: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert message in run(capfd, *(images if a == "X" else a for a in arguments), status=2)
