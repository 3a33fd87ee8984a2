# SPDX-License-Identifier: Apache-2.0
"""What fuzz targets in Python watch for is seen, and prevented where Python does it.

The acts happen in a process of their own, this file run as a program: an audit hook cannot be removed.
"""

from __future__ import annotations

import ast
import contextlib
import json
import marshal
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from fuzz import watch as watching

ROOM = 2**26  # bytes that an act may use


def _caught() -> None:
    with contextlib.suppress(Exception):
        os.mkdir("made")


def _touched(watch: watching.Watch) -> None:
    """A file whose writing Python knows nothing about."""
    with watch.off():
        Path("written").touch()


def _removed(watch: watching.Watch) -> None:
    with watch.off():
        Path("copy").touch()
    descriptor = os.open(".", os.O_RDONLY)
    try:
        os.remove("copy", dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _copied() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "copy").write_text("x")


# What is done, and what is said about it; nothing, where it is allowed.
ACTS: dict[str, tuple[Any, str]] = {
    "reading the file": (lambda w: Path(w.empty[0].parent, "given").read_text(), ""),
    "reading a package": (lambda w: Path(ast.__file__).read_text(), ""),
    "asking what is free": (lambda w: Path("/proc/meminfo").read_text(), ""),
    "parsing a text": (lambda w: ast.literal_eval("[1]"), ""),
    "little memory": (lambda w: bytearray(b"x" * (ROOM // 8)), ""),
    "much memory": (lambda w: bytearray(b"x" * (ROOM * 2)), "MiB of memory were in use"),
    "writing a file": (lambda w: Path("written").write_text("x"), "open ('written'"),
    "writing the file": (lambda w: Path(w.empty[0].parent, "given").write_text("x"), "open ("),
    "a copy that goes": (lambda w: tempfile.TemporaryDirectory().cleanup(), "/tmp/"),
    "writing by native code": (_touched, "cwd/written was written"),
    "reading another file": (lambda w: Path("/etc/hostname").read_text(), "open ('/etc/hostname'"),
    "making a folder": (lambda w: os.mkdir("made"), "os.mkdir ('made'"),
    "an error that is caught": (lambda w: _caught(), "os.mkdir ('made'"),
    "a socket": (lambda w: socket.socket(), "socket.__new__"),
    "looking up a host": (lambda w: socket.getaddrinfo(b"localhost", 80), "socket.getaddrinfo"),
    "a command": (lambda w: os.system("true"), "os.system (b'true',)"),
    "a program": (lambda w: subprocess.run(["true"]), "subprocess.Popen"),
    "a process": (lambda w: os.fork(), "os.fork"),
    "an import": (lambda w: __import__("this"), "import ('this'"),
    "evaluating a text": (lambda w: eval("1 + 1"), "compile"),
    "running code": (lambda w: exec(CODE), "exec"),
    "marshalled code": (lambda w: marshal.loads(b"N"), "marshal.loads"),
}
CODE = compile("1 + 1", "text", "eval")


# Where copies are allowed.
COPIES: dict[str, tuple[Any, str]] = {
    "with copies: one that goes": ACTS["a copy that goes"][:1] + ("",),
    "with copies: a file in one": (lambda w: _copied(), ""),
    "with copies: a file elsewhere, by its folder": (lambda w: _removed(w), "os.remove ('copy'"),
    "with copies: one that stays": (lambda w: tempfile.mkdtemp(), "was written"),
    "with copies: a file": ACTS["writing a file"],
}


def main(folder: Path, copies: bool) -> None:
    """Print what was seen of each act, as JSON."""
    (folder / "given").write_text("given")
    watch, seen = watching.Watch(folder, copies), dict[str, str]()
    for name, (act, _) in (COPIES if copies else ACTS).items():
        watching.MOST_MEMORY = watching.memory("VmRSS") + ROOM
        try:
            with watch:
                act(watch)
            seen[name] = ""
        except watching.Broken as error:
            seen[name] = str(error)
    print(json.dumps(seen))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    tests, found = Path(__file__).resolve().parents[1], dict[str, str]()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    for copies in ("", "copies"):
        command = [sys.executable, __file__, tmp_path_factory.mktemp("watch"), copies]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found |= json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", [*ACTS, *COPIES])
def test_acts(name: str, seen: dict[str, str]) -> None:
    said = (ACTS | COPIES)[name][1]
    if "memory" in name and not Path("/proc/self/clear_refs").exists():
        pytest.skip("the system does not say how much memory was in use at most")
    assert said in seen[name] and bool(said) == bool(seen[name]), seen[name]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "copies")
