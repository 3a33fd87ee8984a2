# SPDX-License-Identifier: Apache-2.0
"""The targets themselves: programs run on them, and costs are counted to the instruction."""

from __future__ import annotations

import unittest
from pathlib import Path

import pytest

from targets import HERE, ROOT, TARGETS, Failed, Target, build, execute, missing, run

STRICT = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
SELFTEST = [HERE / "selftest.c"]


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> Target:
    return TARGETS[request.param]


@pytest.mark.slow
def test_a_program_runs_and_is_measured(target: Target, tmp_path: Path) -> None:
    program = build(target, SELFTEST, STRICT, folder=tmp_path)
    output = execute(target, program)
    lines = [line.split() for line in output.splitlines()]
    values = dict(lines)
    assert values["data"] == ("0102030400000005" if target.big_endian else "0403020105000000")
    assert (values["zeros"], values["root"], values["large"]) == ("0" * 16, "1414213", str(2**64 - 1))

    loops = [int(value) for name, value in lines if name == "loop"]
    assert loops == ([2 * turns + 2 for turns in (1, 2, 3, 1000, 1001, 3000000)] if target.counts else [0] * 6)
    stack = int(values["deep"])
    assert 800 <= stack <= 832 if target.bare else stack == 0
    assert execute(target, program) == output


@pytest.mark.slow
def test_an_exit_status_is_a_failure(target: Target, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"exit status 7\n"):
        run(target, SELFTEST, ["-DSTATUS=7"], folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if target.bare])
def test_a_fault_ends_a_program(name: str, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"exit status 125\n(.*\n)*fault [1-9]"):
        run(TARGETS[name], SELFTEST, ["-DCRASH"], folder=tmp_path, timeout=20)


@pytest.mark.parametrize("name", ["cortex-m4", "riscv32-bare"])
def test_too_much_stack_ends_a_program(name: str, tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"exit status 125\n(.*\n)*stack overflow"):
        run(TARGETS[name], SELFTEST, ["-DWRITTEN=66000"], folder=tmp_path)


def test_a_program_that_hangs_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="stopped after 1 s"):
        run(TARGETS["cortex-m4"], SELFTEST, ["-DHANG"], folder=tmp_path, timeout=1)


def test_what_does_not_compile_says_why(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="STATUS"):
        run(TARGETS["host-gcc"], SELFTEST, ["-DSTATUS=nonsense"], folder=tmp_path)


def test_a_missing_tool_names_its_packages() -> None:
    target = Target("none", ("no-such-gcc",), ("no-such-qemu",), ("gcc-none", "qemu-none"), python=("no_such_module",))
    text = missing(target)
    assert text.startswith("none: not installed: no-such-gcc, no-such-qemu, no_such_module; ")
    assert text.endswith("on Debian: gcc-none qemu-none; from the Python index: no_such_module")


def test_a_test_without_its_tools_is_skipped(tmp_path: Path) -> None:
    with pytest.raises(unittest.SkipTest, match="no-such-gcc"):
        run(Target("none", ("no-such-gcc",), (), ("gcc-none",)), SELFTEST, folder=tmp_path)


def test_the_checks_before_a_change_install_all_packages() -> None:
    words = set((ROOT / ".ci/run").read_text(encoding="utf-8").replace("\\", " ").split())
    assert {package for target in TARGETS.values() for package in target.packages} <= words
