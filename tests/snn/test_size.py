# SPDX-License-Identifier: Apache-2.0
"""What the engine for spikes over time takes of a small device, and what it calls."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bnn.runtime.build import INCLUDE_FLAGS, ROOT, sources

MOST = 16 * 1024  # bytes of code
ENGINE = [path for path in sources("core") if path.startswith("csrc/snn/")]
SCALAR = "kernels/scalar/scalar.c"
# Of the C library; the others are the runtime's own, and a compiler's own for arithmetic.
CALLS = {"memcpy", "memset", "memcmp"}


def built(folder: Path, compiler: str, *flags: str) -> tuple[int, set[str]]:
    """(bytes of code and constants, undefined symbols)"""
    objects = []
    for path in ENGINE:
        objects.append(folder / f"{Path(path).stem}.o")
        command = [compiler, "-std=c11", "-Os", "-ffp-contract=off", *flags, *INCLUDE_FLAGS, "-c", path, "-o"]
        subprocess.run([*command, objects[-1]], cwd=ROOT, check=True)
    prefix = compiler.removesuffix("gcc")
    sizes = subprocess.run([f"{prefix}size", "-t", *objects], check=True, capture_output=True, text=True).stdout
    names = subprocess.run([f"{prefix}nm", *objects], check=True, capture_output=True, text=True).stdout
    defined = set(re.findall(r" [A-TV-Z] (\w+)$", names, re.M))
    return int(sizes.splitlines()[-1].split()[0]), set(re.findall(r" U (\w+)$", names, re.M)) - defined


def kernel_names() -> set[str]:
    """Those of the part bnn_kernels_scalar_spikes of the portable family, which a linker keeps."""
    part = re.search(r"struct bnn_spike_kernels spikes = {(.*?)}", (ROOT / SCALAR).read_text(), re.S)
    assert part is not None
    return set(re.findall(r"= (\w+)", part[1]))


def test_engine_calls_nothing_else(tmp_path: Path) -> None:
    """No allocation, no function of the mathematical library."""
    _, undefined = built(tmp_path, "gcc", "-fno-stack-protector")
    assert {name for name in undefined if not name.startswith("bnn_")} <= CALLS


def test_engine_on_a_microcontroller(tmp_path: Path) -> None:
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed: apt-get install gcc-arm-none-eabi")
    flags = ("-mcpu=cortex-m4", "-mthumb", "-DBNN_NO_MESSAGES")
    size, undefined = built(tmp_path, "arm-none-eabi-gcc", *flags)
    scalar = tmp_path / "scalar.o"
    command = ["arm-none-eabi-gcc", "-std=c11", "-Os", "-ffp-contract=off", *flags, *INCLUDE_FLAGS, "-c"]
    subprocess.run([*command, SCALAR, "-o", scalar], cwd=ROOT, check=True)
    names = subprocess.run(["arm-none-eabi-nm", "-S", scalar], check=True, capture_output=True, text=True).stdout
    sizes = {x[3].split(".")[0]: int(x[1], 16) for x in map(str.split, names.splitlines()) if len(x) == 4}
    # Small functions are parts of others, and then have no name of their own.
    kernels = [n for name, n in sizes.items() if name in kernel_names() or name.startswith(("neurons_", "add_four"))]
    assert len(kernels) >= 5
    print(f"{size} bytes, and {sum(kernels)} of kernels")
    size += sum(kernels)
    assert size <= MOST
    assert {name for name in undefined if not name.startswith(("bnn_", "__aeabi_"))} <= CALLS
