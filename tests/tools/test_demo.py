# SPDX-License-Identifier: Apache-2.0
"""The demo as a newcomer runs it, and the example in the README."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

if not importlib.util.find_spec("larq"):
    pytest.skip("the demo needs TensorFlow and Larq", allow_module_level=True)
ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
sys.path.insert(0, str(TOOLS))

import demo  # noqa: E402
from demonstration import picture, steps  # noqa: E402
from training import datasets  # noqa: E402


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder that does not hold the package."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def read_png(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    return imread(path)


def assert_drawn(path: Path) -> None:
    """The picture has the right size, and is neither blank nor a blot."""
    image = read_png(path)
    height, width = image.shape[:2]
    assert 1200 <= width <= 2000 and 600 <= height <= 1200
    background = float(np.mean(image[..., :3].min(axis=-1) > 0.99))
    assert 0.4 < background < 0.95
    for left, right in ((0, width // 2), (2 * width // 3, width)):  # the images, and the bars
        assert np.unique(image[:, left:right, :3].reshape(-1, 3), axis=0).shape[0] > 20


@pytest.mark.slow
def test_demo(tmp_path: Path) -> None:
    run = python(tmp_path, str(TOOLS / "demo.py"), "--epochs", "2")
    assert run.returncode == 0, run.stderr
    out = tmp_path / "runs" / "demo-digits"
    assert {p.name for p in out.iterdir()} == {"demo.json", "demo.png", "model.bnn", "training"}
    rows = {cells[0]: cells[1:] for line in run.stdout.splitlines() if (cells := line.strip("| ").split("|"))}
    rows = {name.strip(): [cell.strip() for cell in cells] for name, cells in rows.items()}
    assert rows["test accuracy"][2] == "equal"
    assert rows["images whose class differs"][1] == "0 of 355"
    for layer in ("conv2", "conv3", "logits"):
        bits, bits_different, sums, sums_different = rows[layer]
        assert bits_different == sums_different == "0"
        assert int(bits.replace(",", "")) > 50_000 and int(sums.replace(",", "")) >= 3550
    assert "The compiled network equals Keras in all 355 classes" in run.stdout
    assert "epoch 2/2" in run.stderr
    assert "\x1b" not in run.stdout + run.stderr  # not a terminal: plain text
    assert all(line == line.rstrip() for line in run.stdout.splitlines())
    assert_drawn(out / "demo.png")
    figures = json.loads((out / "demo.json").read_text())
    assert figures["ok"] and figures["accuracy"]["keras"] == figures["accuracy"]["bnn"] > 0.6
    assert figures["bytes"]["bnn_file"] == (out / "model.bnn").stat().st_size < figures["bytes"]["float32"] / 10


def made_up(different: int) -> steps.Result:
    """A result without training: random probabilities."""
    data = datasets.load("digits")
    rng = np.random.default_rng(7)
    keras = rng.dirichlet(np.ones(10), len(data.test)).astype(np.float32)
    compiled = keras.copy()
    compiled[:different] = np.roll(compiled[:different], 1, axis=1)
    layers = (steps.LayerBits("conv2", 1000, different, 500, 0),)
    return steps.Result(
        data=data,
        check=steps.Check(keras, compiled, layers, ok=not different),
        sizes=steps.Sizes(float32=400_000, keras_file=500_000, bnn_file=20_000),
        latencies=(steps.Latency(1, 0.01, 0.001, 1e-5), steps.Latency(256, 0.2, 0.1, 0.002)),
        times=(steps.LayerTime("conv1", 0.0, 1e-6), steps.LayerTime("conv2", 2e-6, 1e-7)),
        kernels="scalar",
    )


def test_a_difference_is_said_and_is_exit_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "run", lambda *arguments: made_up(different=3))
    with pytest.raises(SystemExit) as stop:
        demo.main(["--out", str(tmp_path)])
    assert stop.value.code == 1
    shown = capsys.readouterr().out
    assert "DIFFERS from Keras: 3 classes, 3 of 1,500 bits and sums" in shown
    with pytest.raises(SystemExit) as stop:
        demo.main(["--out", str(tmp_path), "--json"])
    assert stop.value.code == 1
    assert json.loads(capsys.readouterr().out)["classes_different"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("case", ["different", "flawless"])
def test_picture(case: str, tmp_path: Path) -> None:
    result = made_up(different=3)
    if case == "flawless":
        right = np.eye(10, dtype=np.float32)[result.data.test.labels]
        check = dataclasses.replace(result.check, keras=right, compiled=right, ok=True)
        result = dataclasses.replace(result, check=check)
    picture.draw(result, tmp_path / "demo.png")
    assert_drawn(tmp_path / "demo.png")
    assert [p.name for p in tmp_path.iterdir()] == ["demo.png"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(9.57e-6, "9.57 us"), (5.26e-4, "526 us"), (9.996e-4, "1.00 ms"), (0.2174, "217 ms"), (2, "2.00 s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert steps.duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(1.26, "1.3"), (9.96, "10"), (74.4, "74"), (1096, "1,100")])
def test_ratios(value: float, text: str) -> None:
    assert steps.ratio(value) == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "fashion-mnist", "--data", "nowhere"], "Fashion-MNIST not found; searched: nowhere"),
        (["--data", "nowhere"], "comes with scikit-learn; it takes no data folder"),
        (["--dataset", "cats"], "'cats' is not one of 'digits', 'fashion-mnist'"),
        (["--epochs", "2", "--model", __file__], "--model takes a trained network"),
        (["--epochs", "0"], "epochs is 0, expected at least 1"),
        (["--out", __file__], "is a file"),
    ],
)
def test_wrong_use(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        demo.main(arguments)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("demo: error: ") and message in captured.err
    assert not list(tmp_path.iterdir())
