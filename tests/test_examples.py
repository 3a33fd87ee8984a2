# SPDX-License-Identifier: Apache-2.0
"""The programs of examples/ in Python, and the one of the README, as users start them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


def test_hello(tmp_path: Path) -> None:
    """A picture and its class, by NumPy and the runtime alone."""
    alone = "import sys, runpy; runpy.run_path(sys.argv[1]); print(*sorted({m.split('.')[0] for m in sys.modules}))"
    command = [sys.executable, "-c", alone, str(EXAMPLES / "hello.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=True)
    *rows, _, answer, modules = done.stdout.splitlines()
    assert [len(row) for row in rows] == [16] * 8 and rows[1] == "    ++####++    "
    assert answer.startswith("class 7, ")
    assert not {"tensorflow", "torch", "onnx", "PIL", "click"} & {*modules.split()}


def test_the_readme() -> None:
    """Short, with code before its 40th line, and with a way to every page."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    before, example = re.findall(r"(.*?)```python\n(.*?)```", readme, flags=re.DOTALL)[0]
    done = subprocess.run([sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "seven\n" and before.count("\n") < 40 and len(readme.split()) <= 900
    pages = {page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert pages <= set(re.findall(r"\]\(([^)#]*)", readme))
