# SPDX-License-Identifier: Apache-2.0
"""The functions of csrc/mcu that firmware calls, against naive computations (tester.c), on hosts and targets."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from bnn.runtime.build import INCLUDE_FLAGS
from seed import SEED
from targets import ROOT, TARGETS, instructions, run

HERE = Path(__file__).resolve().parent
FLAGS = ["-std=c11", "-ffp-contract=off", *INCLUDE_FLAGS]
SANITIZE = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-strict-aliasing"]
CASES = 40  # of every kind; emulators are slow

# A target, or one of its processors with another instruction set.
PROCESSORS = {
    **{name: (name, []) for name in TARGETS if name != "microbit"},  # which has too little memory for the tester
    "riscv32-zbb": ("riscv32-bare", ["-march=rv32imc_zicsr_zbb"]),
    "riscv64-zbb": ("riscv64-bare", ["-march=rv64gc_zbb"]),
}


def case_flags(cases: int) -> list[str]:
    print(f"BNN_TEST_SEED={SEED}")
    return [f"-DSEED={SEED}u", f"-DCASES={cases}"]


@functools.cache
def checksum() -> str:
    """Of what the host computes."""
    with tempfile.TemporaryDirectory() as folder:
        flags = [*FLAGS, "-O2", *case_flags(CASES)]
        return run(TARGETS["host-gcc"], [HERE / "tester.c", *instructions.MCU], flags, folder=Path(folder))


@pytest.mark.parametrize("host", ["host-gcc", pytest.param("host-clang", marks=pytest.mark.slow)])
def test_functions_touch_nothing_else(host: str, tmp_path: Path) -> None:
    """Every array has exactly the size that it must have."""
    flags = [*FLAGS, *SANITIZE, *case_flags(400)]
    assert run(TARGETS[host], [HERE / "tester.c", *instructions.MCU], flags, folder=tmp_path).startswith("checksum ")


@pytest.mark.slow
@pytest.mark.parametrize("name", PROCESSORS)
def test_functions_on_targets(name: str, tmp_path: Path) -> None:
    target, flags = PROCESSORS[name]
    flags = [*flags, *instructions.FLAGS, *case_flags(CASES)]  # whose objects these share
    found = run(TARGETS[target], [HERE / "tester.c", *instructions.MCU], flags, folder=tmp_path, timeout=300)
    assert found == checksum()


def whole(folder: Path) -> Path:
    """All functions as one file."""
    path = folder / "whole.c"
    path.write_text("".join(f'#include "{ROOT / source}"\n' for source in instructions.MCU), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "compiler", [["gcc", "-std=c99"], ["clang-19", "-std=c99"], ["g++", "-x", "c++"], ["tcc"]], ids=lambda c: c[0]
)
def test_all_functions_make_one_file(compiler: list[str], tmp_path: Path) -> None:
    """In C99 and C++: a program for one network has the functions that it calls in one file, beside its own."""
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"not installed: {compiler[0]}")
    warnings = [] if compiler[0] == "tcc" else ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    command = [*compiler, *warnings, *INCLUDE_FLAGS, "-c", whole(tmp_path), "-o", tmp_path / "whole.o"]
    subprocess.run(command, cwd=ROOT, check=True)


def test_functions_need_no_library(tmp_path: Path) -> None:
    """But what compilers call by themselves, and square roots."""
    compiler = TARGETS["cortex-m0"].compiler[0]
    if shutil.which(compiler) is None:
        pytest.skip(f"not installed: {compiler}; on Debian: gcc-arm-none-eabi")
    target = tmp_path / "whole.o"
    command = [compiler, "-mthumb", "-mcpu=cortex-m0", "-Os", *FLAGS, "-c", whole(tmp_path), "-o", target]
    subprocess.run(command, cwd=ROOT, check=True)
    lines = subprocess.run(["arm-none-eabi-nm", "-u", target], check=True, capture_output=True, text=True).stdout
    needed = {name for name in re.findall(r"U (\w+)", lines) if not re.match(r"__aeabi_[fiu]|__gnu_thumb1_case", name)}
    assert needed <= {"__aeabi_lmul", "memcpy", "memset", "sqrtf"}
