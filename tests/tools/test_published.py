# SPDX-License-Identifier: Apache-2.0
"""Networks from clones: what is imported from them, and what is said about them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILE = "IR-Net/CIFAR-10/ResNet20/1w1a/resnet.py"
LAYERS = """
import torch
from torch import nn

class Binary(nn.Conv2d):
    def forward(self, x):
        one = torch.tensor([1.0]).cuda()  # published code moves constants to a GPU
        return self._conv_forward(torch.where(x >= 0, one, -one), torch.sign(self.weight), None)
"""
NETWORK = """
from torch import nn
from layers import Binary

def resnet20_1w1a():
    return nn.Sequential(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), Binary(32, 64, 3), nn.BatchNorm2d(64), nn.Flatten(),
                         nn.Linear(64 * 28 * 28, 10)).cuda()
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/published.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_a_network_of_a_clone(tmp_path: Path) -> None:
    for package in ("torch", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    (tmp_path / FILE).parent.mkdir(parents=True)
    (tmp_path / FILE).write_text(NETWORK)
    (tmp_path / FILE).with_name("layers.py").write_text(LAYERS)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- generated: published -->\n<!-- end -->\nafter\n")
    done = run(str(tmp_path), "--network", "IR-Net-20", "--rounds", "1", "--json", "--write", str(page))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["equal"] and result["classes_different"] == 0 and 0 < result["difference"] < 1e-4
    assert result["bytes"] > 1_000_000
    binary, floats = 28 * 28 * 9 * 32 * 64, 30 * 30 * 27 * 32 + 64 * 28 * 28 * 10
    assert result["binary"] == pytest.approx(binary / (binary + floats))
    assert list(result["milliseconds"]) == ["bnn", "PyTorch", "ONNX Runtime"] and not result["not_compared"]
    assert "| IR-Net-20 | 86.5% |" in page.read_text() and page.read_text().endswith("<!-- end -->\nafter\n")


def test_without_a_clone(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = run(str(tmp_path), "--network", "ReActNet-A")
    assert done.returncode != 0 and "is missing; run: python tools/published.py" in done.stderr
    assert "Traceback" not in done.stderr
