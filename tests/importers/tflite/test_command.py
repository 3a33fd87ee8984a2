# SPDX-License-Identifier: Apache-2.0
"""The command: it compiles and verifies .tflite files in a process of its own, without TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bnn

from .build import Net
from .test_larq import CONV, network, signs

pytest.importorskip("click")
RUN = "import sys; sys.path.insert(0, sys.argv[1]); from bnn.cli import main; sys.exit(main(sys.argv[2:]))"


@pytest.fixture
def folder(rng: np.random.Generator, tmp_path: Path) -> Path:
    """With a file, and a package tensorflow that cannot be imported."""
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('imported TensorFlow')\n")
    (tmp_path / "net.tflite").write_bytes(network(rng, (5, 6, 32), signs(rng, 7, 3, 3, 32), False, CONV).to_bytes())
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, str(folder), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_compile_and_verify(folder: Path) -> None:
    done = run(folder, "compile", "net.tflite", "-o", "net.bnn", "--json")
    assert done.returncode == 0, done.stderr
    assert [layer["kind"] for layer in json.loads(done.stdout)["layers"]] == ["float", "binary"]
    assert "reading net.tflite" in done.stderr or not done.stderr
    done = run(folder, "verify", "net.tflite", "net.bnn", "--random", "8")
    assert done.returncode == 0 and "\nEQUAL: all bits" in done.stdout, done.stdout + done.stderr
    net = Net()
    net.op("RELU", [net.input(5, 6, 32)], 1, 5, 6, 32)
    (folder / "other.tflite").write_bytes(net.to_bytes())
    done = run(folder, "verify", "other.tflite", "net.bnn")
    assert done.returncode == 2 and "was not compiled from this TensorFlow Lite model" in done.stderr


def test_errors(folder: Path) -> None:
    (folder / "damaged.TFLITE").write_bytes((folder / "net.tflite").read_bytes()[:200])
    done = run(folder, "compile", "damaged.TFLITE")
    assert done.returncode == 2 and "damaged.TFLITE: damaged" in done.stderr and not done.stdout
    done = run(folder, "compile", "net.tflite", "--input-shape", "3,3,3")
    assert done.returncode == 2 and "leave out input_shape" in done.stderr
    done = run(folder, "compile", "net.tflite", "--max-memory", "1M")
    assert done.returncode == 2 and "memory" in done.stderr
    assert not (folder / "damaged.bnn").exists() and not (folder / "net.bnn").exists()


def test_compiling_imports_only_what_it_needs(folder: Path) -> None:
    """Importing bnn imports neither package; compiling a .tflite file no framework."""
    code = (
        "import sys, bnn; loaded = {'tflite', 'flatbuffers'} & {*sys.modules}; "
        "bnn.compile('net.tflite'); print(loaded, {'tensorflow', 'keras', 'larq'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.stdout.split("\n")[0] == "set() set()", done.stderr


def test_dump(folder: Path) -> None:
    texts: list[str] = []
    bnn.compile(folder / "net.tflite", dump_after="import", dump=texts.append)
    assert len(texts) == 1 and "conv2d" in texts[0]
