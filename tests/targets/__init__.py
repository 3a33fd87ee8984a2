# SPDX-License-Identifier: Apache-2.0
"""C programs on the processors that networks run on: built by cross compilers, run in emulators.

A target is a row of TARGETS.  A program includes target.h, has ``int main(void)`` and prints lines of names and values:

    output = run(TARGETS["cortex-m4"], ["program.c"], ["-std=c11", "-O2"], folder=tmp_path)

On machines without an operating system examples/board starts it; bare.c passes output and exit status by semihosting.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import subprocess
import sys
import unittest
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from built import built

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BOARD = ROOT / "examples/board"


class Missing(unittest.SkipTest):
    """A tool is not installed; the text names the packages.  A test that does not catch it is skipped."""


class Failed(Exception):
    """A program could not be built, ended with a status other than 0, or took too long; with what was printed."""


@dataclass(frozen=True)
class Target:
    """A processor, and what it takes to build a program for it and run it.

    The program's path follows ``emulator``, which is empty for the host.  ``packages`` are Debian's, ``python`` those
    of the Python index.  ``bare``: there is no operating system, and target.h measures stack.  ``counts``: it counts
    instructions.  ``ram``: bytes for data and stack; 0: plenty.
    """

    name: str
    compiler: tuple[str, ...]
    emulator: tuple[str, ...]
    packages: tuple[str, ...]
    python: tuple[str, ...] = ()
    bare: bool = False
    counts: bool = False
    big_endian: bool = False
    ram: int = 0


def _linux(name: str, prefix: str, architecture: str, *, big_endian: bool = False) -> Target:
    packages = (f"gcc-{prefix}", f"libc6-dev-{architecture}-cross", "qemu-user")
    return Target(name, (f"{prefix}-gcc", "-static"), (f"qemu-{name}",), packages, big_endian=big_endian)


_MIB = 1 << 20
_BARE = ("-DTARGET_BARE", "-ffunction-sections", "-fdata-sections", "-nostartfiles", "-Wl,--gc-sections")
_SEMIHOSTING = ("-semihosting-config", "enable=on,target=native,chardev=out", "-chardev", "stdio,id=out")
_QEMU = (*_SEMIHOSTING, "-display", "none", "-monitor", "none", "-serial", "none")


def _memory(flash: int, flash_size: int, ram: int, ram_size: int) -> tuple[str, ...]:
    """Addresses and sizes for the linker script."""
    symbols = {"flash": flash, "flash_size": flash_size, "ram": ram, "ram_size": ram_size}
    return (f"-T{BOARD / 'board.ld'}", *(f"-Wl,--defsym={name}={value:#x}" for name, value in symbols.items()))


def _cortex_m(name: str, cpu: str, machine: str, flash: int, ram: int, counter: int = 0, hertz: int = 0) -> Target:
    """flash, ram: their addresses; counter: the address of one that counts ``hertz``, from which bare.c computes."""
    flash_size, ram_size = (_MIB // 2, 2 * _MIB) if counter else (_MIB // 4, 16 << 10)
    clock = (f"-DTARGET_COUNTER={counter:#x}", f"-DTARGET_HERTZ={hertz}") if counter else ()
    compiler = ("arm-none-eabi-gcc", "--specs=nano.specs", "-mthumb", *cpu.split(), *clock)
    return Target(
        name,
        (*compiler, *_BARE, *_memory(flash, flash_size, ram, ram_size)),
        ("qemu-system-arm", "-M", machine, *_QEMU, "-icount", "shift=8", "-kernel"),
        ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "qemu-system-arm"),
        bare=True,
        counts=counter != 0,
        ram=ram_size,
    )


def _riscv(name: str, bits: int, isa: str, abi: str) -> Target:
    compiler = ("riscv64-unknown-elf-gcc", "--specs=picolibc.specs", f"-march={isa}", f"-mabi={abi}", "-mcmodel=medany")
    return Target(
        name,
        (*compiler, *_BARE, *_memory(0x80000000, 4 * _MIB, 0x80400000, 2 * _MIB)),
        (f"qemu-system-riscv{bits}", "-M", "virt", "-bios", "none", *_QEMU, "-icount", "shift=0", "-kernel"),
        ("gcc-riscv64-unknown-elf", "picolibc-riscv64-unknown-elf", "qemu-system-riscv"),
        bare=True,
        counts=True,
        ram=2 * _MIB,
    )


def _wasm(name: str, *flags: str) -> Target:
    compiler = ("clang-19", "--target=wasm32-wasi", "--sysroot=/usr", *flags)
    packages = ("clang-19", "lld-19", "wasi-libc", "libclang-rt-19-dev-wasm32")
    return Target(name, compiler, (sys.executable, str(HERE / "wasm.py")), packages, python=("wasmtime",))


# Of Arm's boards MPS2: code, data, and a counter of their FPGA.
_MPS2 = (0, 0x20000000, 0x40028018, 25000000)
_ROWS = (
    Target("host-gcc", ("gcc",), (), ("gcc", "libc6-dev")),
    Target("host-clang", ("clang-19",), (), ("clang-19", "libc6-dev")),
    _linux("aarch64", "aarch64-linux-gnu", "arm64"),
    _linux("riscv64", "riscv64-linux-gnu", "riscv64"),
    _linux("s390x", "s390x-linux-gnu", "s390x", big_endian=True),
    # The first runs the code of a Cortex-M0 on an M3, for its memory and counter; `microbit` is an M0.
    _cortex_m("cortex-m0", "-mcpu=cortex-m0", "mps2-an385", *_MPS2),
    _cortex_m("cortex-m3", "-mcpu=cortex-m3", "mps2-an385", *_MPS2),
    _cortex_m("cortex-m4", "-mcpu=cortex-m4 -mfpu=fpv4-sp-d16 -mfloat-abi=hard", "mps2-an386", *_MPS2),
    _cortex_m("cortex-m7", "-mcpu=cortex-m7 -mfpu=fpv5-sp-d16 -mfloat-abi=hard", "mps2-an500", *_MPS2),
    _cortex_m(
        "cortex-m55", "-mcpu=cortex-m55 -mfloat-abi=hard", "mps3-an547", *(0x10000000, 0x31000000, 0x49302018, 20000000)
    ),
    _cortex_m("microbit", "-mcpu=cortex-m0", "microbit", 0, 0x20000000),
    _riscv("riscv32-bare", 32, "rv32imc_zicsr", "ilp32"),
    _riscv("riscv64-bare", 64, "rv64gc", "lp64d"),
    _wasm("wasm32"),
    _wasm("wasm32-simd", "-msimd128"),
)
TARGETS: Mapping[str, Target] = {target.name: target for target in _ROWS}


@functools.cache
def missing(target: Target) -> str:
    """Empty if all that the target needs is installed, otherwise what is not and which packages have it."""
    tools = [target.compiler[0], *target.emulator[:1]]
    found = [tool for tool in tools if shutil.which(tool) is None]
    found += [name for name in target.python if importlib.util.find_spec(name) is None]
    if not found:
        command = [*target.compiler, "-E", "-"]
        if subprocess.run(command, input="#include <math.h>\n", text=True, capture_output=True).returncode:
            found = ["math.h"]
    if not found:
        return ""
    python = f"; from the Python index: {' '.join(target.python)}" if target.python else ""
    return f"{target.name}: not installed: {', '.join(found)}; on Debian: {' '.join(target.packages)}{python}"


def build(target: Target, sources: Sequence[str | Path], flags: Sequence[str] = (), *, folder: Path) -> Path:
    """Build a program from these C files, given from the root of the repository, with these flags, in ``folder``.

    target.h's functions are in it, compiled with flags of their own.  Raises Missing, and Failed with the compiler's
    messages.
    """
    if text := missing(target):
        raise Missing(text)
    compiler = (*target.compiler, f"-I{HERE}")
    started = (HERE / "target.c", *((HERE / "bare.c", BOARD / "start.c") if target.bare else ()))
    objects = [_object(source, [*compiler, "-std=c11", "-O2"], folder) for source in started]
    files = with_objects(target, sources, flags, folder)
    program = folder / target.name
    compiled([*compiler, *flags, *files, *objects, "-lm", "-o", str(program)])
    return program


def with_objects(target: Target, sources: Sequence[str | Path], flags: Sequence[str], folder: Path) -> list[str]:
    """These files, those of the runtime compiled.

    The runtime sees no file and no macro of a program, and no map of memory, so programs share its objects.
    """
    shared = [f for f in (*target.compiler, *flags) if not re.match(r"-D(?!BNN_)|-T|-Wl,", f) and f != f"-I{folder}"]
    runtime = ("csrc/", "kernels/")
    return [_object(Path(s), shared, folder) if s.startswith(runtime) else s for s in map(str, sources)]


def _object(source: Path, command: Sequence[str], folder: Path) -> str:
    made = folder / f"{'_'.join(source.parts[-3:])}.o"
    compiled([*command, "-c", str(source), "-o", str(made)])
    return str(made)


def compiled(command: Sequence[str]) -> None:
    """Make the file after "-o", or take it from the last time.  Raises Failed with the compiler's messages."""
    built(command, lambda command: _call(command, 600))


def execute(target: Target, program: Path, timeout: float = 120) -> str:
    """What a program built for the target prints.  Raises Failed, also after ``timeout`` seconds."""
    return _call([*target.emulator, str(program)], timeout)


def run(
    target: Target, sources: Sequence[str | Path], flags: Sequence[str] = (), *, folder: Path, timeout: float = 120
) -> str:
    """`build` and `execute`."""
    return execute(target, build(target, sources, flags, folder=folder), timeout)


def _call(command: Sequence[str], timeout: float) -> str:
    where = " ".join(command)[:500]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{where}\nstopped after {timeout} s") from error
    if done.returncode:
        raise Failed(f"{where}\nexit status {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout
