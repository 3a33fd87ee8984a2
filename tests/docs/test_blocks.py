# SPDX-License-Identifier: Apache-2.0
"""Every code block of the documentation, run."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bnn.errors import CompileWarning

from .blocks import PAGES, RUN, blocks, furnish, missing, name, ours, run

_LONG = re.compile(r"\b(larq|keras|tensorflow|torch|cmake|train)\b|--plot")


def cases() -> list[Any]:
    """Pages with blocks that run; those with a framework, or pictures, take long."""
    made = []
    for page in PAGES:
        text = "".join(b.text for b in blocks(page) if ours(b))
        if text:
            marks = pytest.mark.slow if _LONG.search(text) else ()
            made.append(pytest.param(page, id=name(page), marks=marks))
    return made


@pytest.mark.parametrize("page", cases())
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment, namespace = furnish(tmp_path), {"__name__": "__main__"}
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    done = 0
    for block in blocks(page):
        absent = missing(block.reason) if block.marker == "needs" else []
        if absent:
            pytest.skip(f"{done} blocks were run; the others need {', '.join(absent)}")
        if block.title or ours(block):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CompileWarning)
                run(block, tmp_path, environment, namespace)
            done += ours(block)


def test_what_is_not_run_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    counts, lines = Counter[str](), []
    for page in PAGES:
        absent: list[str] = []
        for block in blocks(page):
            absent += missing(block.reason) if block.marker == "needs" else []
            if block.language in RUN and not block.title:
                kind = ("needing what is not here" if absent else "run") if ours(block) else block.marker
                counts[{"run by": "run by other tests"}.get(kind, kind)] += 1
                if block.marker == "not run":
                    lines.append(f"  {block.place}: {block.reason}")
    assert counts["not run"] == len(lines) < sum(counts.values()) / 2
    with capsys.disabled():
        print("\ncode blocks of the documentation: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()))
        print("\n".join(lines))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_code_is_in_fences(page: Path) -> None:
    """Where a test finds it: four columns make a block, too."""
    text = re.sub(r"```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    assert not re.findall(r"(?:\A|\n\n) {4,}\S.*", text)
