# SPDX-License-Identifier: Apache-2.0
"""The fenced code blocks of a page, and what runs them.

The blocks of a page run in their order, in one new folder that has the repository's files.  Python blocks share one
namespace; bash blocks are run by sh, with `bnn` and `python` of this installation.  A block with a title is written to
the file of that name.  One that calls pip and nothing else is read by tests/docs/test_pages.py.  Comments before a
block say more:

    <!-- needs: torch cmake -->   up to the next such comment, blocks need these modules or programs
    <!-- run with: --epochs 9 => --epochs 1, OLD => NEW -->   run with these replacements: the whole takes long
    <!-- run by: tests/test_x.py .ci/run -->   these run it; what it calls is named in them
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
RUN = ("python", "bash")
SHOWN = ("text", "json", "js")  # output, files, and what tests of browsers run
FILES = ("c", "cmake", "python", "yaml", "toml")  # with a title
_FENCE = re.compile(r"^ *```")
_OPENING = re.compile(r'^```(\w+)(?: title="([^"]+)")?$')
_MARKER = re.compile(r"^<!-- (run with|run by|needs): (.+) -->$")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int  # of its first line
    language: str
    title: str
    text: str
    markers: dict[str, str] = field(default_factory=dict)  # of "run with", "run by", "needs"

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def installs(self) -> bool:
        return all(line.startswith("pip install ") for line in self.text.splitlines())


def name(page: Path) -> str:
    return page.relative_to(ROOT / "docs").as_posix()


def calls(text: str) -> Iterator[str]:
    """How a test names what each line of a shell calls: Python files, subcommands of bnn, otherwise the first word."""
    for line in text.splitlines():
        files = [rf"\b{each}\.py\b|\bimport .*\b{each}\b" for each in re.findall(r"(\w+)\.py\b", line)]
        commands = [rf'"{each}"|\bbnn[ .]{each}\b' for each in re.findall(r"(?<![.\w])bnn (\w+)", line)]
        yield from files + commands or [rf"\b{each}\b" for each in re.findall(r"^\W*(\w+)\b(?!=)", line)]


def replaced(text: str, pairs: str) -> str:
    """With all `OLD => NEW, OLD => NEW`."""
    for pair in filter(None, pairs.split(", ")):
        old, new = pair.split(" => ")
        assert old in text, f"there is no {old} in\n{text}"
        text = text.replace(old, new)
    return text


def blocks(page: Path) -> Iterator[Block]:
    """Those of a page.  A block in a list or a quote, of an unknown language, and a marker before none are errors."""
    lines = page.read_text(encoding="utf-8").splitlines()
    markers: dict[str, str] = {}
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if found := _MARKER.match(line):
            markers[found[1]] = found[2]
        elif _FENCE.match(line):
            opening = _OPENING.match(line)
            assert opening, f"{page.name}:{number}: a fence begins a line, and names its language: {line}"
            language, title = opening[1], opening[2] or ""
            allowed = FILES if title else (*RUN, *SHOWN)
            assert language in allowed, f"{page.name}:{number}: nothing runs {language}"
            end = lines.index("```", number)
            text = replaced("\n".join(lines[number:end]) + "\n", markers.get("run with", ""))
            yield Block(page, number + 1, language, title, text, markers)
            markers, number = {}, end + 1
        else:
            assert not markers or not line, f"{page.name}:{number}: no block follows the comment"


def ours(block: Block) -> bool:
    """Whether it is run here."""
    return block.language in RUN and not block.title and not block.installs and "run by" not in block.markers


def missing(needed: str) -> list[str]:
    """Of modules and programs, those that are not here."""
    return [each for each in needed.split() if not (shutil.which(each) or importlib.util.find_spec(each))]


def furnish(folder: Path) -> dict[str, str]:
    """Files of the repository in a folder, beside `bnn` and `python`; the environment of programs that run there."""
    for each in ("bnn", "csrc", "examples", "kernels", "tests", "tools"):
        (folder / each).symlink_to(ROOT / each)
    shutil.copytree(ROOT / "docs", folder / "docs")  # tools write figures into pages
    programs = folder / ".programs"
    programs.mkdir()
    for program, command in (("python", ""), ("bnn", " -m bnn")):
        (programs / program).write_text(f'#!/bin/sh\nexec "{sys.executable}"{command} "$@"\n', encoding="utf-8")
        (programs / program).chmod(0o755)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(paths)}
    # Keras is a reader's: the one that TensorFlow takes by itself, unless the page says otherwise.
    return {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"} | own


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
