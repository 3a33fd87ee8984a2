# SPDX-License-Identifier: Apache-2.0
"""Training in PyTorch: what is exported, and what the user is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def test_without_pytorch_it_says_what_to_install() -> None:
    """Also where PyTorch is installed: here it cannot be imported."""
    code = f"import runpy, sys; sys.modules['torch'] = None; runpy.run_path({str(TOOLS / 'train_torch.py')!r})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=TOOLS)
    assert found.returncode == 2
    assert found.stderr.startswith("train_torch: error: ") and "pip install torch onnxscript" in found.stderr
    assert len(found.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def cli() -> Any:
    for package in ("torch", "onnxscript", "onnxruntime", "sklearn"):
        pytest.importorskip(package)
    sys.path.insert(0, str(TOOLS))
    import train_torch

    return train_torch


def test_the_sign_is_plus_one_at_zero_and_has_the_gradient_of_a_clip(cli: Any) -> None:
    x = cli.torch.tensor([-2.0, -1.0, -0.0, 0.0, 0.5, 1.5], requires_grad=True)
    y = cli.Sign.apply(x)
    y.sum().backward()
    assert y.tolist() == [-1, -1, 1, 1, 1, 1]
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 0]


def test_a_run(cli: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The two files are the network whose accuracy is printed; a second run does not replace them unasked."""
    import onnxruntime

    arguments = ["--out", str(tmp_path / "run"), "--epochs", "4", "--json"]
    cli.main(arguments)
    summary = json.loads(capsys.readouterr().out)
    assert summary["test_accuracy"] > 0.95
    weights, exported = map(Path, summary["files"])

    data = cli.datasets.load("digits")
    images, labels = cli.tensors(data.test, data.scale)
    module = cli.network()
    module.load_state_dict(cli.torch.load(weights))
    assert cli.accuracy(module, images, labels) == summary["test_accuracy"]

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(exported), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    logits = np.concatenate([session.run(None, {name: image})[0] for image in images.numpy()[:, None]])
    assert np.mean(logits.argmax(1) == labels.numpy()) == pytest.approx(summary["test_accuracy"], abs=2 / len(labels))

    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
