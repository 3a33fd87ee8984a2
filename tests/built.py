# SPDX-License-Identifier: Apache-2.0
"""What compilers made, kept from run to run in build/tests by the contents of all that they read.

The name of an artefact is a digest of the compiler, its arguments, the sources and objects among them and all headers
of the repository that these can include: a change of any of them is another name.  Headers of the system are not.
Of several processes that want one artefact, one makes it and the others wait.  ``make clean`` empties the folder.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "tests"
MOST_KEPT = 2 * 2**30  # bytes; beyond, what was not used for the longest time goes
_HEADERS = (".h", ".hpp", ".inc")


def built(command: Sequence[str], run: Callable[[Sequence[str]], object], cache: Path = CACHE) -> None:
    """Do what ``run(command)`` does: make the file after "-o", from the root of the repository."""
    target = Path(command[list(command).index("-o") + 1])
    kept = cache / _name(command, target)
    cache.mkdir(parents=True, exist_ok=True)
    with open(f"{kept}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept.exists():
            os.utime(kept)
        else:
            run(command)
            shutil.copy(ROOT / target, f"{kept}.part")
            Path(f"{kept}.part").rename(kept)
            return
    shutil.copy(kept, ROOT / target)


def once(folder: Path, make: Callable[[Path], object]) -> Path:
    """A folder that one process of a run of the tests makes, by ``make(folder beside it)``, and the others wait for."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{folder}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            partial = folder.with_name(f"{folder.name}.part")
            shutil.rmtree(partial, ignore_errors=True)
            make(partial)
            partial.rename(folder)
    return folder


def prune(cache: Path = CACHE, most: int = MOST_KEPT) -> None:
    """Keep the folder below its size."""
    found = sorted((p for p in cache.glob("*") if p.suffix != ".lock"), key=lambda p: p.stat().st_mtime, reverse=True)
    size = 0
    for path in found:
        size += path.stat().st_size
        if size > most:
            path.unlink()


def _name(command: Sequence[str], target: Path) -> str:
    digest = hashlib.sha256()
    folders = dict.fromkeys([ROOT / "csrc", ROOT / "kernels"])
    compiler = Path(shutil.which(command[0]) or command[0]).resolve()
    for argument in (str(compiler), str(compiler.stat().st_mtime_ns), *command[1:]):
        path = ROOT / argument.removeprefix("-I")
        if argument == str(target):
            digest.update(b"target")
        elif os.path.isfile(path) and path != compiler:  # an argument may be too long for a name
            digest.update(path.name.encode() + _contents(path))
            if path.suffix not in (".o", ".a"):
                folders[path.parent] = None
        elif argument.startswith("-I") and os.path.isdir(path):
            folders[path] = None
        else:
            digest.update(argument.encode() + b"\0")
    for folder in folders:
        digest.update(_headers(folder) if ROOT in folder.parents else _digest(_headers_in(folder)))
    return digest.hexdigest()


def _contents(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()


def _headers_in(folder: Path) -> Iterable[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix in _HEADERS)


def _digest(paths: Iterable[Path]) -> bytes:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + _contents(path))
    return digest.digest()


@functools.cache
def _headers(folder: Path) -> bytes:
    """Those of the repository do not change while tests run."""
    return _digest(_headers_in(folder))
