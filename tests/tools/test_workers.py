# SPDX-License-Identifier: Apache-2.0
"""Training by two processes: one is killed, all go on, and what they learn is what one process learns."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow")
pytest.importorskip("larq", reason="needs Larq")
pytest.importorskip("sklearn", reason="needs scikit-learn")

from training import UserError
from training.workers import Workers

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 6


def started(out: Path, config: str, *more: str) -> subprocess.Popen[str]:
    options = ["--dataset", "digits", "--network", "digits", "--activation", "relu", "--weights", "float"]
    command = [
        sys.executable,
        str(ROOT / "tools/train.py"),
        *options,
        "--epochs",
        str(EPOCHS),
        "--out",
        str(out),
        *more,
    ]
    environment = {**os.environ, "TF_CONFIG": config, "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def two(out: Path, *more: str) -> list[subprocess.Popen[str]]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(2)]
    addresses = [f"localhost:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    tasks = [{"cluster": {"worker": addresses}, "task": {"type": "worker", "index": i}} for i in range(2)]
    return [started(out, json.dumps(task), *more) for task in tasks]


def epochs(out: Path) -> list[int]:
    try:
        with open(out / "history.csv", encoding="utf-8", newline="") as file:
            return [int(row["epoch"]) for row in csv.DictReader(file)]
    except OSError:
        return []


@pytest.mark.slow
def test_a_killed_worker(tmp_path: Path) -> None:
    assert started(tmp_path / "one", "").wait(600) == 0
    together = tmp_path / "two"
    first, second = two(together)
    while len(epochs(together)) < 2:
        assert first.poll() is second.poll() is None
        time.sleep(0.1)
    second.kill()
    _, said = first.communicate(timeout=600)
    assert first.returncode == 2 and "the workers lost each other" in said and "again with --resume" in said
    done = len(epochs(together))
    assert 2 <= done < EPOCHS
    assert [process.wait(600) for process in two(together, "--resume")] == [0, 0]
    assert epochs(together) == [*range(EPOCHS)]
    alone, both = (json.loads((out / "history.json").read_text()) for out in (tmp_path / "one", together))
    print(f"test accuracy {alone['test_accuracy']:.2%} alone, {both['test_accuracy']:.2%} together")
    assert abs(alone["test_accuracy"] - both["test_accuracy"]) < 0.01  # three images
    for a, b in zip(alone["history"], both["history"], strict=True):  # an image of a batch may be left out
        assert a["loss"] == pytest.approx(b["loss"], rel=0.02)


def test_which_worker_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for cluster, task, found in (
        ({"worker": ["a:1", "b:1"]}, ("worker", 0), (2, 0)),
        ({"worker": ["a:1", "b:1"]}, ("worker", 1), (2, 1)),
        ({"chief": ["a:1"], "worker": ["b:1", "c:1"]}, ("chief", 0), (3, 0)),
        ({"chief": ["a:1"], "worker": ["b:1", "c:1"]}, ("worker", 1), (3, 2)),
    ):
        config = {"cluster": cluster, "task": dict(zip(("type", "index"), task, strict=True))}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        workers = Workers.from_environment()
        assert (workers.count, workers.number) == found
    for text in (
        "{",
        "[]",
        '{"cluster": {}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
    ):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(UserError, match="TF_CONFIG: found"):
            Workers.from_environment()
    monkeypatch.delenv("TF_CONFIG")
    assert Workers.from_environment() == Workers()
