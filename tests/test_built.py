# SPDX-License-Identifier: Apache-2.0
"""What compilers made is taken from the last time, unless anything that they read differs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

import built
from sanitized import run_command


def test_what_is_made_again(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    made: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> None:
        made.append(command)
        run_command(*command)

    source, header, program = tmp_path / "a.c", tmp_path / "a.h", tmp_path / "a"
    header.write_text("#define NUMBER 3\n")
    source.write_text('#include "a.h"\nint main(void) { return NUMBER - 3; }\n')
    command = ["cc", str(source), "-o", str(program)]

    def again(*flags: str, target: Path = program) -> int:
        before = len(made)
        built.built([*command[:-1], str(target), *flags], run, cache)
        assert target.stat().st_mode & 0o100
        run_command(str(target))
        return len(made) - before

    assert again() == 1 and again() == 0
    program.unlink()
    assert again() == 0 and again(target=tmp_path / "b") == 0
    assert again("-O1") == 1 and again("-O1") == 0
    header.write_text("#define NUMBER 1 + 2\n")
    assert again() == 1
    source.write_text(source.read_text() + "\n")
    assert again() == 1 and again() == 0
    source.write_text("int main(void) {")
    with pytest.raises(AssertionError):
        again()
    with pytest.raises(AssertionError):  # what failed is not kept
        again()
    built.prune(cache)
    assert len([p for p in cache.iterdir() if p.suffix != ".lock"]) == 4


def test_the_folder_stays_small(tmp_path: Path) -> None:
    cache = tmp_path
    for number in range(5):
        (cache / str(number)).write_bytes(bytes(100))
        os.utime(cache / str(number), (number, number))
    built.prune(cache, 250)
    assert sorted(p.name for p in cache.iterdir()) == ["3", "4"]
