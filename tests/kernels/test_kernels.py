# SPDX-License-Identifier: Apache-2.0
"""Every kernel family against a naive computation: tester.c, which takes the families from kernels.inc."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from bnn.runtime import build as extension
from sanitized import call
from seed import SEED, numbers
from targets import TARGETS
from targets import build as build_for

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [*sorted((ROOT / "tests/kernels").glob("*.c")), *(ROOT / path for path in extension.sources("kernels"))]
FLAGS = ["-std=c11", "-O2", "-ffp-contract=off"]
# Guard pages take the place of the address sanitizer; the checks left out here make compiling the tile slow.
SANITIZE = [
    "-O1",
    "-fsanitize=undefined",
    "-fno-sanitize=null,pointer-overflow,object-size",
    "-fno-sanitize-recover=all",
]
LACKS_IT = 77

# Rows stand under guards for the instruction set: a family that is not compiled in is skipped like one that cannot run.
ROWS = re.findall(r"^BNN_KERNEL\((\w+)\)", (ROOT / "kernels/kernels.inc").read_text(encoding="utf-8"), re.M)
FAMILIES = [*ROWS, "portable"]


# The families of another architecture run in an emulator: Debian's gcc-aarch64-linux-gnu and qemu-user.
CROSS = ["aarch64-linux-gnu-gcc", "-static"]
EMULATOR = "qemu-aarch64"
EMULATED = 100  # random cases of each kernel


def build(folder: Path, flags: list[str], compiler: list[str] | None = None) -> Path:
    program = folder / "tester"
    compiler = compiler or shlex.split(os.environ.get("CC", "cc"))
    call(*compiler, *FLAGS, *flags, *map(str, SOURCES), "-lm", "-o", str(program))
    return program


@pytest.fixture(scope="session")
def tester(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("kernels"), [])


@pytest.fixture(scope="session")
def sanitized_tester(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("kernels_sanitized"), SANITIZE)


@pytest.fixture(scope="session")
def arm_tester(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [name for name in (CROSS[0], EMULATOR) if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; on Debian: gcc-aarch64-linux-gnu, qemu-user")
    return build(tmp_path_factory.mktemp("kernels_arm"), [], CROSS)


def run(command: list[str], family: str, cases: int) -> None:
    done = subprocess.run([*command, family, str(SEED), str(cases)], capture_output=True, text=True, check=False)
    print(f"BNN_TEST_SEED={SEED}\n{done.stdout}{done.stderr}")
    if done.returncode == LACKS_IT:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, f"{family}, seed {SEED}: exit status {done.returncode}\n{done.stdout}{done.stderr}"


def test_scalar_is_the_last_resort() -> None:
    assert ROWS[-1] == "scalar"


@pytest.mark.drawn
@pytest.mark.parametrize("family", FAMILIES)
def test_family(tester: Path, family: str) -> None:
    """A crash is an access outside a guarded buffer."""
    run([str(tester)], family, len(numbers(600)))


@pytest.mark.drawn
@pytest.mark.parametrize("family", FAMILIES)
def test_family_has_no_undefined_behaviour(sanitized_tester: Path, family: str) -> None:
    run([str(sanitized_tester)], family, len(numbers(100)))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["neon", "scalar", "portable"])
def test_family_on_arm(arm_tester: Path, family: str) -> None:
    run([EMULATOR, str(arm_tester)], family, EMULATED)


@pytest.fixture(scope="session")
def wasm_tester(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_for(TARGETS["wasm32-simd"], SOURCES, FLAGS, folder=tmp_path_factory.mktemp("kernels_wasm"))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["simd128", "scalar", "portable"])
def test_family_in_webassembly(wasm_tester: Path, family: str) -> None:
    run([*TARGETS["wasm32-simd"].emulator, str(wasm_tester)], family, EMULATED)
