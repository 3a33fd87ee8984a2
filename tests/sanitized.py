# SPDX-License-Identifier: Apache-2.0
"""C programs built from the runtime with one set of flags: whichever tests link it, each file is compiled once."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bnn.runtime import build
from built import built

ROOT = Path(__file__).resolve().parents[1]
BASE_FLAGS = ("-std=c11", "-ffp-contract=off", *build.INCLUDE_FLAGS)
# Small ops are spread over threads, too, and cut in many pieces where a poll is asked; spikes are delivered a few at a
# time.
EAGER = ("-DBNN_WORTH_SPREADING=1", "-DBNN_PIECE=50", "-DBNN_EVENTS_SLICE=4000")
SANITIZE = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
ENVIRONMENT = {
    **os.environ,
    # Leak detection needs ptrace, which containers often forbid; the drivers' own blocks are not what is tested.
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


def call(*command: str) -> str:
    """What a command prints; its errors where it fails.  What a compiler makes is kept (built.py), and
    its messages are not returned."""
    if "-o" in command:
        built(command, lambda command: run_command(*command))
        return ""
    return run_command(*command)


def run_command(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)[:300]}\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def symbols(objects: Sequence[Path]) -> dict[Path, list[tuple[str, str]]]:
    """(kind, name) of each symbol of each object file, as nm tells them."""
    found: dict[Path, list[tuple[str, str]]] = {path: [] for path in objects}
    for line in call("nm", "-A", *map(str, objects)).splitlines():
        path, _, symbol = line.partition(":")
        *_, kind, name = symbol.split()
        found[Path(path)].append((kind, name))
    return found


def sources() -> list[Path]:
    """The runtime's, the hosts' part of it included."""
    return [Path(path) for path in build.sources()]


def is_kernel(source: Path) -> bool:
    return "kernels" in source.parts


@dataclass(frozen=True)
class Build:
    """Objects and programs in ``folder``, of which processes that run tests side by side share one.

    ``flags`` are those of a source file, beside BASE_FLAGS; ``link`` those of the programs.  What is older than its
    source file or any header is made again.
    """

    folder: Path
    flags: Callable[[Path], Sequence[str]]
    link: Sequence[str]
    compiler: str = os.environ.get("CC", "cc")

    def object_file(self, source: Path) -> Path:
        return self.folder / ("_".join(source.parts) + ".o")

    def program(self, name: str, files: Sequence[Path], *link: str) -> Path:
        """The program ``name`` of the runtime and these files, given from the root of the repository."""
        program = self.folder / name
        files = [*sources(), *files]
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            stale = [f for f in files if _age(self.object_file(f)) < max(_age(ROOT / f), _newest_header(f))]
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                # Those that take long are among the kernels.
                list(pool.map(self._compile, sorted(stale, key=is_kernel, reverse=True)))
            objects = [self.object_file(f) for f in files]
            if _age(program) < max(map(_age, objects)):  # which another program's build may have made
                call(
                    self.compiler, *self.link, *link, "-o", f"{program}.linking", *map(str, objects), "-lm", "-pthread"
                )
                Path(f"{program}.linking").rename(program)
        return program

    def _compile(self, source: Path) -> None:
        # By another name until it is whole: a build that is stopped must not leave half of one.
        target = self.object_file(source)
        call(self.compiler, *BASE_FLAGS, *self.flags(source), "-c", str(source), "-o", f"{target}.part")
        Path(f"{target}.part").rename(target)


def _age(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _newest_header(source: Path) -> float:
    """Of those that a file may include: the runtime does not see the tests'."""
    folders = ("csrc", "kernels") if source.parts[0] != "tests" else ("csrc", "kernels", "tests")
    found = (p for folder in folders for ending in ("*.h", "*.inc") for p in (ROOT / folder).rglob(ending))
    return max(map(_age, found))


def plain_flags(*flags: str) -> Callable[[Path], Sequence[str]]:
    """The same for all files."""
    return lambda source: ("-O1", *flags)


def sanitizing_flags(*flags: str) -> Callable[[Path], Sequence[str]]:
    """The unrolled tiles of vector kernels take the sanitizers minutes to optimize, and none at -O0."""
    return lambda source: ("-O0" if source.parent.name in ("simd", "x86") else "-O1", *flags)
