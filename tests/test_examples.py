# SPDX-License-Identifier: Apache-2.0
"""The programs of examples/ in Python, as users start them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_hello(tmp_path: Path) -> None:
    """A picture and its class, by NumPy and the runtime alone."""
    alone = "import sys, runpy; runpy.run_path(sys.argv[1]); print(*sorted({m.split('.')[0] for m in sys.modules}))"
    command = [sys.executable, "-c", alone, str(EXAMPLES / "hello.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=True)
    *rows, _, answer, modules = done.stdout.splitlines()
    assert [len(row) for row in rows] == [16] * 8 and rows[1] == "    ++####++    "
    assert answer.startswith("class 7, ")
    assert not {"tensorflow", "torch", "onnx", "PIL", "click"} & {*modules.split()}
