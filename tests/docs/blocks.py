# SPDX-License-Identifier: Apache-2.0
"""The fenced code blocks of a page, and what runs them.

The blocks of a page run in their order, in one new folder that has the repository's files.  Python blocks share one
namespace; bash blocks are run by sh, with `bnn` and `python` of this installation.  A block with a title is written to
the file of that name.  Comments before a block say more:

    <!-- not run: needs a board -->    shown only, for this reason
    <!-- run by: tests/test_x.py -->   this test runs it
    <!-- needs: torch cmake -->        this block and the page's later ones need these modules or programs
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
RUN = ("python", "bash")
SHOWN = ("text", "json", "js")  # output, files, and what tests of browsers run
FILES = ("c", "cmake", "python", "yaml", "toml")  # with a title
_FENCE = re.compile(r"^ *```")
_OPENING = re.compile(r'^```(\w+)(?: title="([^"]+)")?$')
_MARKER = re.compile(r"^<!-- (not run|run by|needs): (.+) -->$")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int  # of its first line
    language: str
    title: str
    text: str
    marker: str = ""  # "not run", "run by", "needs"
    reason: str = ""

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def name(page: Path) -> str:
    return page.relative_to(ROOT / "docs").as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """Those of a page.  A block in a list or a quote, of an unknown language, and a marker before none are errors."""
    lines = page.read_text(encoding="utf-8").splitlines()
    marker, number = ("", ""), 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if found := _MARKER.match(line):
            marker = (found[1], found[2])
        elif _FENCE.match(line):
            opening = _OPENING.match(line)
            assert opening, f"{page.name}:{number}: a fence begins a line, and names its language: {line}"
            language, title = opening[1], opening[2] or ""
            allowed = FILES if title else (*RUN, *SHOWN)
            assert language in allowed or "run" in marker[0], f"{page.name}:{number}: nothing runs {language}"
            assert marker[0] != "run by" or (ROOT / marker[1]).is_file(), f"{page.name}:{number}: no test {marker[1]}"
            end = lines.index("```", number)
            yield Block(page, number + 1, language, title, "\n".join(lines[number:end]) + "\n", *marker)
            marker, number = ("", ""), end + 1
        else:
            assert not marker[0] or not line, f"{page.name}:{number}: no block follows the comment"


def ours(block: Block) -> bool:
    """Whether it is run here."""
    return block.language in RUN and not block.title and block.marker not in ("not run", "run by")


def missing(needed: str) -> list[str]:
    """Of modules and programs, those that are not here."""
    return [each for each in needed.split() if not (shutil.which(each) or importlib.util.find_spec(each))]


def furnish(folder: Path) -> dict[str, str]:
    """Files of the repository in a folder, beside `bnn` and `python`; the environment of programs that run there."""
    for each in ("bnn", "csrc", "examples", "kernels", "tests", "tools"):
        (folder / each).symlink_to(ROOT / each)
    programs = folder / ".programs"
    programs.mkdir()
    for program, command in (("python", ""), ("bnn", " -m bnn")):
        (programs / program).write_text(f'#!/bin/sh\nexec "{sys.executable}"{command} "$@"\n', encoding="utf-8")
        (programs / program).chmod(0o755)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(paths)}


def run(block: Block, folder: Path, environment: dict[str, str], namespace: dict[str, Any]) -> None:
    """In ``folder``, which is the current one."""
    if block.title:
        path = (folder / block.title).resolve()
        assert path.is_relative_to(folder.resolve()), f"{block.place}: {block.title} is a file of the repository"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
    elif block.language == "python":
        code = "\n" * (block.line - 1) + block.text  # so that errors name the page's lines
        exec(compile(code, str(block.page), "exec"), namespace)
    elif block.language == "bash":
        done = subprocess.run(
            ["sh", "-ec", block.text], env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, f"{block.place}\n{block.text}{done.stdout[-3000:]}{done.stderr[-3000:]}"
