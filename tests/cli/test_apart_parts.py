# SPDX-License-Identifier: Apache-2.0
"""The parts of the process that loads a model file, each alone: limits, answers, flags, and what is said of its end."""

from __future__ import annotations

import base64
import ctypes
import errno
import importlib
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

import bnn
from bnn.cli import apart, child
from bnn.cli.apart import Limits

compile_module = importlib.import_module("bnn.cli.compile")


@pytest.mark.parametrize(("text", "size"), [
    ("9" * 18, 10**18 - 1), ("5B", 5), ("1k", 2**10), ("1m", 2**20), ("3T", 3 * 2**40), ("3tib", 3 * 2**40), ("00", 0),
    ("4194303T", 4194303 * 2**40), ("4194304T", 2**62), ("4194305T", 2**62), ("9" * 18 + "T", 2**62),
    ("9" * 19, None), ("1i", None), ("1KK", None), ("1P", None), ("1 ", None), (" 1", None),
])  # fmt: skip
def test_sizes(text: str, size: int | None) -> None:
    if size is None:
        with pytest.raises(click.BadParameter):
            apart._parse_size(None, None, text)  # type: ignore[arg-type]
    else:
        assert apart._parse_size(None, None, text) == size  # type: ignore[arg-type]
    assert apart._parse_size(None, None, None) == apart._default_memory()  # type: ignore[arg-type]


def test_sizes_as_texts() -> None:
    texts = {
        0: "0",
        1: "1",
        1023: "1023",
        1024: "1K",
        1536: "1536",
        2**20: "1M",
        2**40: "1T",
        2**50: "1024T",
        3 * 2**30: "3G",
    }
    assert {size: apart.size_text(size) for size in texts} == texts


def limits(*arguments: str) -> Limits:
    found: list[Limits] = []
    command = click.command()(apart.limit_options(lambda limits: found.append(limits)))
    command.main(list(arguments), standalone_mode=False)
    return found[0]


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_default_memory", lambda: 77)
    assert limits() == Limits(77, 600)
    assert limits("--max-memory", "0", "--timeout", "0") == Limits(0, 0)
    assert limits("--max-memory", "1K", "--timeout", str(10**8)) == Limits(1024, 10**8)
    assert limits("--timeout", str(10**8 + 1)) == Limits(77, 10**8)
    with pytest.raises(click.BadParameter):
        limits("--timeout", "-1")
    monkeypatch.setattr(apart.sys, "platform", "darwin")
    assert limits("--max-memory", "0") == Limits(0, 600) and limits() == Limits(77, 600)
    with pytest.raises(bnn.InputError, match="only Linux"):
        limits("--max-memory", "1")


@pytest.mark.parametrize(("pages", "size"), [(2**10, 2**22), (2**22, 2**34), (2**22 + 1, 2**34), (None, 2**34)])
def test_memory_by_default(pages: int | None, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def sysconf(name: str) -> int:
        if pages is None:
            raise ValueError
        return {"SC_PAGE_SIZE": 2**12, "SC_PHYS_PAGES": pages}[name]

    monkeypatch.setattr(apart.os, "sysconf", sysconf)
    assert apart._default_memory() == size


FLAGS = {"isolated": 0, "ignore_environment": 0, "no_user_site": 0, "no_site": 0}


@pytest.mark.parametrize(("flags", "options", "expected"), [
    ({}, [], []), ({}, ["error", "ignore::x"], ["-Werror", "-Wignore::x"]), ({"no_site": 1}, [], ["-S"]),
    ({"isolated": 1, "ignore_environment": 1, "no_user_site": 1}, [], ["-I"]), ({"ignore_environment": 1}, [], ["-E"]),
    ({"no_user_site": 1}, [], ["-s"]),
    ({"ignore_environment": 1, "no_user_site": 1, "no_site": 1}, ["x"], ["-Wx", "-E", "-s", "-S"]),
])  # fmt: skip
def test_flags_of_the_interpreter(
    flags: dict[str, int], options: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = SimpleNamespace(flags=SimpleNamespace(**{**FLAGS, **flags}), warnoptions=options)
    monkeypatch.setattr(apart, "sys", given)
    assert apart._interpreter_flags() == expected


@pytest.mark.parametrize("closed", [False, True])
def test_how_it_is_started(closed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No stream of its own is a standard one, the interrupt is blocked only meanwhile, and its files lie apart."""
    seen: dict[str, Any] = {}

    def popen(command: list[str], **options: Any) -> str:
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        seen.update(options, command=command, blocked=signal.SIGINT in blocked, open=os.fstat(options["pass_fds"][0]))
        return "process"

    monkeypatch.setattr(apart.subprocess, "Popen", popen)
    kept = [os.dup(stream) for stream in range(3)]
    try:
        if closed:
            os.closerange(0, 3)
            monkeypatch.setattr(apart.sys, "stdout", None)
        process, answers = apart._started("compile", {"a": 1}, Limits(5, 6), str(tmp_path))
        ended = answers.read() == b""  # this side's end of the other is closed
        answers.close()
    finally:
        for stream, copy in enumerate(kept):
            os.dup2(copy, stream)
            os.close(copy)
    assert process == "process" and ended
    assert seen["pass_fds"][0] >= 3 and seen["stdin"] is subprocess.DEVNULL and seen["stderr"] is subprocess.PIPE
    assert seen["stdout"] is (subprocess.DEVNULL if closed else subprocess.PIPE)
    assert seen["env"] == {**os.environ, "TMPDIR": str(tmp_path)}
    assert seen["blocked"] and signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert seen["command"][0] == sys.executable and seen["command"][-len(sys.path) :] == list(map(str, sys.path))
    at = seen["command"].index("-c")
    assert seen["command"][at + 1].startswith("import sys; sys.path[:] = sys.argv[2:]; from bnn.cli.child import main")
    task = json.loads(seen["command"][at + 2])
    assert (task["name"], task["arguments"], task["parent"]) == ("compile", {"a": 1}, os.getpid())
    assert (task["max_memory"], task["timeout"], task["pipe"]) == (5, 6, seen["pass_fds"][0])


def test_a_process_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def popen(command: list[str], **options: Any) -> str:
        raise OSError(errno.ENOMEM, "no memory")

    monkeypatch.setattr(apart.subprocess, "Popen", popen)
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    with pytest.raises(OSError, match="no memory"):
        apart._started("compile", {}, Limits(0, 0), str(tmp_path))
    assert sys.platform != "linux" or len(os.listdir("/proc/self/fd")) == before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


MORE, CRASH = "than the allowed 1K of memory", "the file may be damaged or malicious"


@pytest.mark.parametrize(("status", "memory", "platform", "words", "others"), [
    (-signal.SIGALRM, 0, "linux", ["made no progress for 9 seconds", "--timeout"], ["--max-memory"]),
    (0, 0, "linux", ["ended (status 0) without"], ["malicious"]),
    (3, 0, "linux", ["ended (status 3) without"], ["malicious"]),
    (signal.SIGALRM, 0, "linux", ["ended (status 14) without"], ["--timeout"]),
    (-signal.SIGKILL, 1024, "linux", ["ended by SIGKILL; the machine may have run out of memory"], [MORE]),
    (-signal.SIGSEGV, 0, "linux", [f"ended by SIGSEGV; {CRASH}"], ["--max-memory"]),
    (-signal.SIGSEGV, 1024, "linux", [f"ended by SIGSEGV; {CRASH}", MORE, "--max-memory"], []),
    (-signal.SIGABRT, 1024, "darwin", [f"ended by SIGABRT; {CRASH}"], ["--max-memory"]),
    (-99, 0, "linux", ["ended by signal 99; "], []),
])  # fmt: skip
def test_ends(
    status: int, memory: int, platform: str, words: list[str], others: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart.sys, "platform", platform)
    error = apart._ended("net.h5", Limits(memory, 9), status)
    assert type(error) is bnn.CompileError and str(error).startswith("net.h5: ")
    assert all(word in str(error) for word in words) and not any(word in str(error) for word in others), str(error)


@pytest.mark.parametrize(
    ("memory", "platform", "known"), [(1024, "linux", True), (0, "linux", False), (1024, "x", False)]
)
def test_memory_that_is_refused(memory: int, platform: str, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart.sys, "platform", platform)
    sent = {"memory": True, "class": "", "text": "", "traceback": "", "errno": 1}
    error = apart._error("net.h5", Limits(memory, 9), sent)
    assert type(error) is bnn.CompileError and str(error).startswith("net.h5: loading it needs more ")
    assert (MORE in str(error)) == known and ("is available" in str(error)) != known


def test_errors_of_files() -> None:
    sent = {"memory": False, "class": "ModelNotFoundError", "text": "gone", "traceback": "line 1", "errno": 2}
    error = apart._error("net.h5", Limits(0, 0), sent)
    assert type(error) is bnn.ModelNotFoundError and error.errno == 2 and str(error.__cause__) == "\nline 1"


def caused(error: BaseException, cause: BaseException | None = None, context: BaseException | None = None) -> Any:
    error.__cause__, error.__context__ = cause, context
    return error


class ResourceExhaustedError(Exception):
    """As TensorFlow calls its own."""


@pytest.mark.parametrize(("error", "expected"), [
    (None, False), (ValueError(), False), (MemoryError(), True), (ResourceExhaustedError(), True),
    (caused(ValueError(), MemoryError()), True), (caused(ValueError(), None, MemoryError()), True),
    (caused(ValueError(), caused(KeyError(), None, ResourceExhaustedError())), True), (caused(ValueError(),
    KeyError()), False),
    (caused(ValueError(), MemoryError(), KeyError()), True),
])  # fmt: skip
def test_errors_of_memory(error: BaseException | None, expected: bool) -> None:
    assert child._is_of_memory(error) == expected


def test_described() -> None:
    found = child._described(PermissionError(13, "no", b"\xff"))
    assert (found["class"], found["errno"], found["strerror"], found["filename"]) == ("", 13, "no", "\udcff")
    assert child._described(OSError(5, "io"))["filename"] is None and "errno" not in child._described(KeyError("a"))
    assert child._described(bnn.ModelNotFoundError("a"))["class"] == "ModelNotFoundError"


def test_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines, and a timer that does not run while they are sent."""
    receive, send = os.pipe()
    os.set_inheritable(send, True)
    seen: list[tuple[int, float]] = []
    monkeypatch.setattr(child.signal, "setitimer", lambda which, seconds: seen.append((which, seconds)))
    answers = child.Answers(send, 7)
    assert seen == [(signal.ITIMER_REAL, 7)] and not os.get_inheritable(send)
    answers.send("dump", "\u00e9")
    answers.send("result", ["two\nlines"])
    assert seen[1:] == [(signal.ITIMER_REAL, 0), (signal.ITIMER_REAL, 7)] * 2
    answers._pipe.close()
    with open(receive, "rb") as pipe:
        assert [json.loads(line) for line in pipe] == [["dump", "\u00e9"], ["result", ["two\nlines"]]]


WHOLE = b'["dump", 1]\n["result", 2]\n'


@pytest.mark.parametrize("size", range(len(WHOLE) + 1))
def test_answers_that_are_cut_off(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process that ends while it writes: no part of an answer is read as one."""
    process = SimpleNamespace(wait=lambda: -9, kill=lambda: None, stdout=io.BytesIO(b"\x1b"), stderr=None)
    monkeypatch.setattr(apart, "_started", lambda *arguments: (process, io.BytesIO(WHOLE[:size])))
    seen: list[int] = []
    with nullcontext() if size == len(WHOLE) else pytest.raises(bnn.CompileError, match="ended by SIGKILL"):
        assert apart.run_apart("compile", "net.h5", Limits(0, 0), {"dump": seen.append}) == 2
    assert seen == [1] * (size >= WHOLE.index(b"\n") + 1)


@pytest.mark.parametrize(("size", "hard", "platform", "expected"), [
    (0, 9, "linux", None), (5, 9, "darwin", None), (5, 9, "linux", 5), (9, 9, "linux", 9), (10, 9, "linux", 9),
    (10, -1, "linux", 10),
])  # fmt: skip
def test_limit_of_memory(
    size: int, hard: int, platform: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    seen: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(child.sys, "platform", platform)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1, hard))
    monkeypatch.setattr(resource, "setrlimit", seen.__setitem__)
    child._limit_memory(size)
    kinds = {resource.RLIMIT_DATA: (expected, hard), resource.RLIMIT_CORE: (0, hard)}
    assert seen == ({} if expected is None else kinds)


@pytest.mark.parametrize(
    ("parent", "platform", "ended"), [(7, "linux", False), (1, "linux", True), (1, "darwin", False)]
)
def test_a_parent_that_is_gone(parent: int, platform: str, ended: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(child.sys, "platform", platform)
    monkeypatch.setattr(child.os, "getppid", lambda: parent)
    monkeypatch.setattr(child.os, "_exit", seen.append)
    library = SimpleNamespace(prctl=lambda *arguments: seen.append(arguments))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    child._end_with(7)
    assert seen == ([(1, signal.SIGKILL)] if platform == "linux" else []) + ([1] if ended else [])


class Ended(BaseException):
    """Instead of the process's end."""


@pytest.mark.parametrize("error", [None, SystemExit("out"), KeyboardInterrupt(), ValueError("no")])
def test_a_task(error: BaseException | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its result or error is sent whatever it is, also where nobody reads what it prints."""
    seen: list[Any] = []

    class Closed:
        def flush(self) -> None:
            seen.append("flushed")
            raise BrokenPipeError

    def task(answers: Any, **arguments: Any) -> Any:
        if error is not None:
            raise error
        return arguments

    def end(status: int) -> None:
        seen.append(status)
        raise Ended

    answers = SimpleNamespace(send=lambda *answer: seen.append(answer))
    monkeypatch.setattr(child, "_end_with", seen.append)
    monkeypatch.setattr(child, "_limit_memory", seen.append)
    monkeypatch.setattr(child, "Answers", lambda *arguments: seen.append(arguments) or answers)
    monkeypatch.setattr(child.signal, "signal", lambda *arguments: seen.append(arguments))
    monkeypatch.setattr(child.os, "_exit", end)
    monkeypatch.setitem(child._TASKS, "own", task)
    monkeypatch.setattr(child.sys, "stdout", Closed())
    monkeypatch.setattr(child.sys, "stderr", Closed())
    todo = {"name": "own", "arguments": {"a": 1}, "pipe": 5, "parent": 7, "max_memory": 9, "timeout": 11}
    with pytest.raises(Ended):
        child.main(json.dumps(todo))
    *before, first, second, answer, status = seen
    assert before == [7, 9, (signal.SIGALRM, signal.SIG_DFL), (5, 11)] and [first, second, status] == [
        "flushed"
    ] * 2 + [0]
    if error is None:
        assert answer == ("result", {"a": 1})
    else:
        assert (
            answer[0] == "error" and answer[1]["text"] == str(error) and type(error).__name__ in answer[1]["traceback"]
        )


def test_quiet(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    with child._quiet():
        os.write(2, b"native")
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
    monkeypatch.setattr(child.sys, "stderr", None)
    with child._quiet():
        os.write(2, b"as it is")
    assert capfd.readouterr().err == "as it is"


def op(layer: str, note: str = "", float_macs: int = 0, byte_macs: int = 0) -> Any:
    return SimpleNamespace(layer=layer, note=note, float_macs=float_macs, byte_macs=byte_macs)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `bnn compile` asks of the other process, which answers without loading anything."""
    seen: dict[str, Any] = {}
    made = SimpleNamespace(
        ops=[op("a", "why", 1), op("b", "", 5), op("d", "of bytes", 0, 3), op("e")], nbytes=1234,
        summary=lambda warnings: f"summary {warnings}", save=lambda path: seen.update(saved=path),
        warnings=["warning: 'c': hinted", "warning: 'e': hinted"],
    )  # fmt: skip

    def run(name: str, model: str, limits: Limits, handlers: Any, **options: Any) -> str:
        seen.update(name=name, model=model, limits=limits, options=options)
        handlers["working"](None)
        handlers["dump"]("a graph")
        return base64.b64encode(b"data").decode()

    monkeypatch.setattr(compile_module, "run_apart", run)
    monkeypatch.setattr(compile_module.Model, "from_bytes", lambda data: made if data == b"data" else None)
    monkeypatch.setattr(compile_module, "model_record", lambda model: {"bytes": model.nbytes})
    return seen


def test_compile_hands_on_what_it_was_given(
    call: Any, compiled: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved").mkdir()
    done = call("compile", "saved/")
    assert (done.status, done.err) == (0, "") and compiled["saved"] == "saved.bnn" and compiled["model"] == "saved/"
    assert done.out.splitlines() == [
        "a graph", "summary False", "float: 'a': why", "float: 'b': no reason recorded", "integer: 'd': of bytes",
        "wrote saved.bnn: 1,234 bytes", "warning: 'c': hinted", "warning: 'e': hinted",
    ]  # fmt: skip
    plain = {"input_shape": None, "input_dtype": None, "require_binary": False, "unsafe": False, "dump_after": None}
    assert compiled["options"] == {**plain, "zero": 0} and compiled["name"] == "compile"
    done = call(
        "compile", "saved", "-o", "o.bnn", "--json", "--input-shape", "8,9x3", "--input-dtype", "int8", "--unsafe",
        "--require-binary", "--dump-after", "all", "--timeout", 3, "--max-memory", "1K", "--zero", "-1",
    )  # fmt: skip
    assert done.json == {"model": "saved", "output": "o.bnn", "bytes": 1234} and "a graph" in done.err
    options = {"input_shape": (8, 9, 3), "input_dtype": "int8", "require_binary": True, "unsafe": True}
    assert compiled["options"] == {**options, "dump_after": "all", "zero": -1} and compiled["limits"] == Limits(1024, 3)


def test_compile_refuses_before_it_starts(
    call: Any, compiled: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("net.bnn", "net.h5"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "other.bnn").mkdir()
    for arguments, words in (
        (["net.bnn"], "net.bnn: has the name of a compiled network"), (["net.h5", "-o", "net.h5"],
        "would overwrite the input"),
        (["net.h5", "-o", "no/net.bnn"], "there is no folder"), (["net.h5", "--input-dtype", "int16"], "int16"),
        (["net.h5", "--input-shape", "8,0,3"], "expected something like 32,32,3"), (["absent.h5"], "absent.h5"),
    ):  # fmt: skip
        done = call("compile", *arguments)
        assert done.status == 2 and words in done.err and not compiled, arguments
    assert call("compile", "net.h5").status == 0 and compiled["saved"] == "net.bnn"
    assert call("compile", "other.bnn", "-o", "own.bnn").status == 0 and compiled["model"] == "other.bnn"
