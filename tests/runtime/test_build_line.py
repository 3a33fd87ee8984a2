# SPDX-License-Identifier: Apache-2.0
"""The line by which docs/maintainers/runtime.md builds a program with the whole runtime in it, as it stands."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bnn.runtime import Model
from events.spiking import populations

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_line_of_the_docs_builds_a_program(small: Any, tmp_path: Path) -> None:
    page = (ROOT / "docs/maintainers/runtime.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^cc (.*)$", page, flags=re.M)
    for folder in ("csrc", "kernels"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    shutil.copy(Path(__file__).with_name("program.c"), tmp_path)
    built = subprocess.run(f"cc {line}", shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (built.returncode, built.stderr) == (0, "")

    x = small.inputs(1)[0]
    (tmp_path / "net.bnn").write_bytes(small.data)
    (tmp_path / "net.snn").write_bytes(populations(small.data))
    command = [tmp_path / "program", "net.bnn", "net.snn", "10"]
    done = subprocess.run(command, cwd=tmp_path, input=x.astype(np.float32).tobytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = Model.from_bytes(small.data)(x)[0].tolist()
    printed = [[float.fromhex(word) for word in row.split()] for row in done.stdout.decode().splitlines()]
    assert printed == [expected, expected]
