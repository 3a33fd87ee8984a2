# SPDX-License-Identifier: Apache-2.0
"""Every code block of the documentation, run."""

from __future__ import annotations

import codeop
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bnn.errors import CompileWarning

from .blocks import PAGES, ROOT, RUN, Block, blocks, calls, furnish, missing, name, ours, run

# What is installed under another name, or by another package.
OTHERWISE = {"PIL": "pillow", "sklearn": "scikit-learn", "cc": "gcc", "arm-none-eabi-gcc": "gcc-arm-none-eabi",
             "nirtorch": "norse"}  # fmt: skip
_LONG = re.compile(r"\b(larq|keras|tensorflow|torch|cmake|train\w*|cluster)\b|--plot")


def cases() -> list[Any]:
    """Pages with blocks that run; those with a framework, or pictures, take long.  ``needs``: something of its own."""
    made = []
    for page in PAGES:
        text = "".join(b.text for b in blocks(page) if ours(b))
        if text:
            marks = [pytest.mark.slow] if _LONG.search(text) else []
            marks += [pytest.mark.needs] if any("needs" in b.markers for b in blocks(page)) else []
            made.append(pytest.param(page, id=name(page), marks=marks))
    return made


def with_missing(page: Path) -> Iterator[tuple[Block, list[str]]]:
    """Blocks, and what each needs that is not here."""
    needed = ""
    for block in blocks(page):
        needed = block.markers.get("needs", needed)
        yield block, missing(needed)


@pytest.mark.parametrize("page", cases())
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment, namespace = furnish(tmp_path), {"__name__": "__main__"}
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    done, absent = 0, set[str]()
    for block, lacking in with_missing(page):
        absent |= set(lacking)
        if not lacking and (block.title or ours(block)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CompileWarning)
                run(block, tmp_path, environment, namespace)
            done += ours(block)
    if absent:
        pytest.skip(f"{done} blocks were run; the others need {', '.join(sorted(absent))}")


def test_every_block_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    counts, needed = Counter[str](), set[str]()
    for page in PAGES:
        for block, lacking in with_missing(page):
            needed |= set(block.markers.get("needs", "").split())
            if block.language in RUN and not block.title:
                others = "calls of pip, read by a test" if block.installs else "run by other tests"
                counts[others if not ours(block) else "needing what is not here" if lacking else "run"] += 1
    known = "\n".join((ROOT / path).read_text(encoding="utf-8") for path in ("pyproject.toml", "Makefile", ".ci/run"))
    # (taskset is on every Linux.)
    unknown = [
        each for each in needed - {"taskset"} if not re.search(rf"\b{re.escape(OTHERWISE.get(each, each))}\b", known)
    ]
    assert counts["run"] and not unknown, f"no environment has {unknown}"
    with capsys.disabled():
        print("\ncode blocks of the documentation: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()))


def test_what_others_run_is_named_there() -> None:
    for block in (block for page in PAGES for block in blocks(page) if "run by" in block.markers):
        files = [ROOT / path for path in block.markers["run by"].split()]
        text = "\n".join(file.name + "\n" + file.read_text(encoding="utf-8") for file in files)
        absent = [call for call in calls(block.text) if not re.search(call, text)]
        assert not absent, f"{block.place}: {block.markers['run by']} does not have {absent}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_python_can_be_pasted(page: Path) -> None:
    """Into `python` before 3.13, where an empty line ends a compound statement, and nothing else does."""
    for block in (block for block in blocks(page) if block.language == "python" and not block.title):
        entered: list[str] = []
        for line in [*block.text.splitlines(), ""]:
            entered.append(line)
            try:
                whole = codeop.compile_command("\n".join(entered), symbol="single")
            except SyntaxError as error:
                pytest.fail(f"{block.place}: {error}: {entered}")
            entered = entered if whole is None else []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_code_is_in_fences(page: Path) -> None:
    """Where a test finds it: four columns make a block, too."""
    text = re.sub(r"```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    assert not re.findall(r"(?:\A|\n\n) {4,}\S.*", text)
