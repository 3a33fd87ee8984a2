# SPDX-License-Identifier: Apache-2.0
"""What reading a stranger's file must not do, beside crash: write, connect, start programs, run or import code, read
other files, use much memory.

Python's audit events tell what Python code does: a forbidden act is prevented and reported.  Native code has no such
events; what it leaves in the working folder, the home folder or the folder for temporary files is found afterwards, so
a hostile text names relative paths.
"""

from __future__ import annotations

import contextlib
import encodings
import faulthandler  # noqa: F401  (atheris imports it when an input takes long)
import importlib
import os
import pkgutil
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Python imports the module of an encoding when it is first used, which is no import of the file's.
for _codec in pkgutil.iter_modules(encodings.__path__):
    with contextlib.suppress(ImportError):  # of other systems
        importlib.import_module(f"encodings.{_codec.name}")

MOST_MEMORY = 3 * 2**29  # 1.5 GiB, the imported framework included
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# Acts that no reader of files needs.  "open" and "compile" depend on what is opened and compiled.
_FORBIDDEN = (
    "ctypes.dlopen", "exec", "fcntl.", "ftplib.", "glob.", "http.", "import", "marshal.", "mmap.", "os.chmod",
    "os.chown", "os.exec", "os.fork", "os.forkpty", "os.kill", "os.link", "os.mkdir", "os.posix_spawn",
    "os.remove", "os.rename", "os.rmdir", "os.spawn", "os.symlink", "os.system", "os.truncate",
    "os.utime", "pickle.", "pty.", "resource.", "shutil.", "signal.", "smtplib.", "socket.",
    "sqlite3.", "subprocess.", "tempfile.", "urllib.", "webbrowser.",
)  # fmt: skip
_HEARD = ("open", "compile", *_FORBIDDEN)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Broken(AssertionError):
    """A file made its reader do what it must not."""


class Watch:
    """``with watch: ...`` raises :class:`Broken` where something forbidden happened.

    ``folder`` holds the file that may be read.  The working folder, HOME and TMPDIR become empty folders in it.
    ``copies``: whether there may be files and folders in TMPDIR, until the reading ends.
    """

    def __init__(self, folder: Path, copies: bool = False) -> None:
        self.on = False
        self.found: list[str] = []
        self.memory = _CLEAR.exists()
        was = tempfile.gettempdir()  # where frameworks may have put what they read again
        self.empty = [folder / name for name in ("cwd", "home", "tmp")]
        for path in self.empty:
            path.mkdir()
        os.chdir(self.empty[0])
        os.environ.update(HOME=str(self.empty[1]), TMPDIR=str(self.empty[2]))
        self.copies = str(self.empty[2]) if copies else None
        tempfile.tempdir = None  # so that TMPDIR is looked at again
        own = (str(folder), was, "/proc/meminfo")  # Keras asks psutil, where that is installed, how much memory is free
        self.readable = tuple({*own, sys.prefix, sys.base_prefix, *filter(os.path.isabs, sys.path)})
        sys.addaudithook(self._heard)  # for good: there is no way to remove one

    def __enter__(self) -> None:
        self.found.clear()
        if self.memory:
            _CLEAR.write_text("5")  # the highest use so far is now
        self.on = True

    def __exit__(self, *error: object) -> None:
        self.on = False
        if self.memory and (used := memory("VmHWM")) > MOST_MEMORY:
            self.found.append(f"{used / 2**20:,.0f} MiB of memory were in use")
        for path in self.empty:
            for name in os.listdir(path):
                self.found.append(f"{path.name}/{name} was written")
                shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink()
        if self.found:
            raise Broken("; ".join(self.found))

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """Within ``with watch``: what the harness itself does."""
        was, self.on = self.on, False
        try:
            yield
        finally:
            self.on = was

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or not event.startswith(_HEARD):
            return
        try:
            wrong = self._wrong(event, arguments)
        except RecursionError:  # the reader's: it is about to end, and this act with it
            return
        if wrong:
            what = f"{event} {arguments!r:.300}"
            self.found.append(what)
            raise Broken(what)

    def _wrong(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "compile":  # a text; ast.parse, which runs nothing, names no file
            return arguments[1] not in ("<unknown>", b"<unknown>")
        path = arguments[0] if arguments else None
        where = os.path.abspath(os.fsdecode(path)) if isinstance(path, (str, bytes, os.PathLike)) else ""
        if event in ("os.remove", "os.rmdir") and arguments[1] >= 0:  # in an open folder, as shutil.rmtree does it
            where = os.path.realpath(f"/proc/self/fd/{arguments[1]}")
        if event.startswith(("open", "os.", "shutil.", "tempfile.")) and self.copies and where.startswith(self.copies):
            return False
        if event == "open":
            return bool(where) and (not where.startswith(self.readable) or bool(arguments[2] & _WRITING))
        return True


def memory(what: str) -> int:
    """Bytes that the process uses (VmRSS), or has used at most (VmHWM)."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024
