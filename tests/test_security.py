# SPDX-License-Identifier: Apache-2.0
"""SECURITY.md names a test beside each promise: these tests exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.partition("## How it is checked")[2].partition("\n## ")[0].splitlines()
    if line.startswith("|") and not line.startswith(("| promise", "|---"))
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_a_promise_has_tests(row: list[str]) -> None:
    promise, tests = row
    named = re.findall(r"`([^`]+)`", tests)
    assert promise and named
    for reference in named:
        if reference.startswith("make "):
            assert re.search(rf"^{reference.split()[1]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
            continue
        path, _, function = reference.partition("::")
        where = ROOT / "tests" / path
        assert where.exists(), reference
        if function:
            found = {
                n.name for n in ast.walk(ast.parse(where.read_text(encoding="utf-8"))) if isinstance(n, ast.FunctionDef)
            }
            assert function in found, reference


def test_there_are_promises() -> None:
    assert len(ROWS) > 20
