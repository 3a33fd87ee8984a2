# SPDX-License-Identifier: Apache-2.0
"""The runtime is plain C11: tcc, a small compiler without extensions, builds it, and the digits come out the same."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bnn.events import EventEngine
from bnn.runtime import Model, build
from events.spiking import populations

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples/digits.bnn"


@pytest.mark.slow
def test_tcc_builds_a_runtime_with_the_same_answers(tmp_path: Path) -> None:
    if shutil.which("tcc") is None:
        pytest.skip("tcc is not installed; on Debian: apt-get install tcc")
    datasets = pytest.importorskip("sklearn.datasets")
    files = [*build.sources("core", "kernels"), "tests/runtime/small.c"]
    program = tmp_path / "small"
    command = ["tcc", "-std=c11", "-Wall", "-Werror", *build.INCLUDE_FLAGS, *files, "-lm", "-o", str(program)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (built.returncode, built.stderr) == (0, "")

    network = tmp_path / "digits.snn"
    network.write_bytes(populations(DIGITS.read_bytes()))
    images = datasets.load_digits().images[:200, ..., None].astype(np.float32) / 16
    done = subprocess.run([program, DIGITS, "64", "10", network], input=images.tobytes(), capture_output=True)
    assert done.returncode == 0, done.stderr
    model = Model.from_bytes(DIGITS.read_bytes(), kernels="scalar")
    engine = EventEngine(model)
    expected = [answer for x in np.split(images, 200) for answer in (model(x)[0], engine.step(x))]
    assert done.stdout == np.array(expected, np.float32).tobytes()
