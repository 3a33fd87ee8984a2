# SPDX-License-Identifier: Apache-2.0
"""A program that opens models with selected ops and kernels contains those and no others, and gets the same results."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bnn.ir.ops import OPS
from bnn.runtime import Model
from bnn.runtime.build import INCLUDE_FLAGS, sources
from sanitized import call

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "examples/digits.bnn"
SOURCE = ROOT / "tests/runtime/selected.c"
SELECTED = {"copy", "conv2d", "bconv2d", "max_pool", "reshape", "softmax"}
PARTS = {"_binary", "_floats"}
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Werror")
FLAGS = ("-std=c11", "-Os", "-ffp-contract=off", "-ffunction-sections", "-fdata-sections", *INCLUDE_FLAGS)


@dataclass(frozen=True)
class Target:
    """A compiler, its tools' prefix, and the flags of a program."""

    compiler: str
    tools: str = ""
    flags: tuple[str, ...] = ()
    link: tuple[str, ...] = ()


SMALL = ("-DBNN_SMALL", "-DBNN_NO_MESSAGES")
HOST = Target("cc", flags=SMALL)
CORTEX_M4 = Target(
    "arm-none-eabi-gcc",
    "arm-none-eabi-",
    ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", *SMALL),
    ("--specs=nano.specs", "--specs=nosys.specs", "-Wl,--no-warnings"),
)


def array(kind: str, name: str, values: Iterable[object]) -> str:
    return f"const _Alignas(64) {kind} {name}[] = {{{', '.join(map(str, values))}}};\n"


def embedded(image: np.ndarray, answer: np.ndarray) -> str:
    """The model, an image and its answer as C."""
    file = DIGITS.read_bytes()
    numbers = {"image": image.ravel(), "answer": answer.ravel()}
    return (
        "#include <stddef.h>\n"
        + array("unsigned char", "model_file", file)
        + f"const size_t model_size = {len(file)};\n"
        + "".join(array("float", name, (f"{float(v).hex()}f" for v in values)) for name, values in numbers.items())
    )


def programs(target: Target, folder: Path, image: np.ndarray, answer: np.ndarray) -> tuple[Path, Path]:
    """(with the selection, with every op)"""
    data = folder / "data.c"
    data.write_text(embedded(image, answer))
    flags = (*FLAGS, *target.flags)
    objects = []
    for source in [*sources("core", "kernels"), str(data)]:
        objects.append(str(folder / (source.replace("/", "_") + ".o")))
        warnings = WARNINGS if source.startswith("csrc/") else ()
        call(target.compiler, *flags, *warnings, "-c", source, "-o", objects[-1])
    made = folder / "selected", folder / "every"
    for program, define in zip(made, ((), ("-DEVERY_OP",)), strict=True):
        link = ("-Wl,--gc-sections", *target.link, "-lm", "-o", str(program))
        call(target.compiler, *flags, *define, str(SOURCE), *objects, *link)
    return made


def symbols(target: Target, program: Path) -> set[str]:
    return {line.split()[-1] for line in call(f"{target.tools}nm", str(program)).splitlines()}


def named(found: set[str], prefix: str) -> set[str]:
    return {name.removeprefix(prefix) for name in found if name.startswith(prefix)}


def doubles(found: set[str]) -> set[str]:
    """Functions that emulate arithmetic with doubles."""
    return {name for name in found if re.match(r"__aeabi_(d|[a-z]+2d)|__\w+df\d", name)}


def code_bytes(target: Target, program: Path) -> int:
    """Flash without the model."""
    text, data = call(f"{target.tools}size", str(program)).splitlines()[1].split()[:2]
    return int(text) + int(data) - DIGITS.stat().st_size


@pytest.mark.parametrize("target", [HOST, CORTEX_M4], ids=["host", "cortex-m4"])
def test_a_program_has_what_it_selects(target: Target, tmp_path: Path) -> None:
    if shutil.which(target.compiler) is None:
        pytest.skip(f"{target.compiler} is not installed; on Debian: gcc-arm-none-eabi and libnewlib-arm-none-eabi")
    image = np.random.default_rng(1).integers(0, 17, (1, 8, 8, 1)).astype(np.float32) / 16
    answer = Model.from_bytes(DIGITS.read_bytes(), kernels="scalar")(image)
    selected, every = programs(target, tmp_path, image, answer)

    found, control = symbols(target, selected), symbols(target, every)
    ops = {op.name for op in OPS.values() if op.opcode is not None}
    assert named(found, "bnn_op_row_") == SELECTED
    assert named(control, "bnn_op_row_") == ops | {"bconv2d_flash", "iconv2d_flash"}
    assert named(found, "bnn_kernels_scalar") == PARTS and "" in named(control, "bnn_kernels_scalar")
    # Parts of other ops, of other kernels, and of the list of all families.
    others = {"levels_row", "gather_row", "run_sum", "byte_values", "add_rows", "bnn_kernel_families"}
    assert not found & others and control >= others
    assert not named(found | control, "bnn_events_")
    texts = {line for line in selected.read_bytes().split(b"\0") if b"number of inputs" in line}
    assert (not texts) == ("-DBNN_NO_MESSAGES" in target.flags)
    if target is CORTEX_M4:  # whose unit for floats has no doubles: none are emulated
        assert not doubles(found) and doubles(control)
        assert not found & {"__udivmoddi4", "__aeabi_ldivmod", "__aeabi_uldivmod"}  # of 64 bits
        assert code_bytes(target, selected) < 28_700 < code_bytes(target, every)
    else:
        for program in (selected, every):
            assert subprocess.run([program], timeout=60).returncode == 0


def test_the_small_checksum_is_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    library = tmp_path / "crc.so"
    call("cc", *FLAGS, *SMALL, "-fPIC", "-shared", "csrc/model/crc32.c", "-o", str(library))
    crc = ctypes.CDLL(str(library)).bnn_crc32
    crc.restype, crc.argtypes = ctypes.c_uint32, (ctypes.c_uint32, ctypes.c_char_p, ctypes.c_size_t)
    for size in [*range(20), *rng.integers(20, 5000, 50).tolist()]:
        data = rng.bytes(size)
        cut = int(rng.integers(size + 1))
        assert crc(0, data, size) == crc(crc(0, data[:cut], cut), data[cut:], size - cut) == zlib.crc32(data)
