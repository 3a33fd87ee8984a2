# SPDX-License-Identifier: Apache-2.0
"""Run the part of a command that loads a model file in a separate process, ``child.py``.

A file can always make TensorFlow use too much memory or hang, and libhdf5 crash.  A separate process can be ended when
it exceeds its memory or time, without affecting anything else.
"""

from __future__ import annotations

import fcntl
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

import click

from .. import errors
from .._text import printable_lines
from ..errors import BnnError, CompileError, InputError
from ..runtime.arrays import machine_memory
from ..runtime.summary import quantity
from .common import parse_size, size_text

# Set the path first: files in the current folder may come from the model's author.  sys is built in.
_START = "import sys; sys.path[:] = sys.argv[2:]; from bnn.cli.child import main; main(sys.argv[1])"
# Twice what the largest network of larq_zoo needs (62 million parameters).
_MOST_MEMORY = 16 * 2**30
_MOST_SECONDS = 600
_LINGERS = 5.0  # seconds: a process of the process may keep its pipes
_FOREVER = 10**8  # seconds; every timer accepts this number

Handlers = Mapping[str, Callable[[Any], object]]


@dataclass(frozen=True)
class Limits:
    """Limits of the process: bytes of memory, and seconds between its answers; 0: no limit."""

    memory: int
    seconds: int


class _Remote(Exception):
    """The traceback of an error in the other process."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options --max-memory and --timeout, passed on as one argument ``limits``."""

    @functools.wraps(command)
    def gathered(*args: Any, max_memory: int, timeout: int, **options: Any) -> Any:
        return command(*args, limits=Limits(max_memory, min(timeout, _FOREVER)), **options)

    memory = click.option("--max-memory", metavar="SIZE", callback=_parse_size,
                          help="Stop if loading the file needs more memory than this (Linux only): 512M, 8G; 0: no "
                               "limit.  Default: 16G, or the machine's memory if that is less.")  # fmt: skip
    seconds = click.option("--timeout", metavar="SECONDS", type=click.IntRange(0), default=_MOST_SECONDS,
                           help=f"Stop after this time without progress; 0: no limit.  Default: {_MOST_SECONDS}."
                           )  # fmt: skip
    return memory(seconds(gathered))


def _default_memory() -> int:
    return min(_MOST_MEMORY, machine_memory())


def _parse_size(_: click.Context, __: click.Parameter, text: str | None) -> int:
    """A size in bytes, with an optional unit K, M, G or T; None: the default."""
    if text is None:
        return _default_memory()
    size = parse_size(text, "512M or 8G; 0: no limit")
    if size and sys.platform != "linux":
        raise InputError("--max-memory: only Linux can limit a process's memory; leave it out")
    return size


def run_apart(name: str, model: str, limits: Limits, handlers: Handlers, **arguments: Any) -> Any:
    """Run one of the tasks of ``child.py`` on a model file and return its result.

    ``handlers`` receive the values of the other kinds of answers.  The task's errors are raised here with the same
    class.

    Raises CompileError if the process reaches a limit, crashes or is killed.
    """
    with tempfile.TemporaryDirectory(prefix="bnn-", ignore_cleanup_errors=True) as folder:
        process, answers = _started(name, {"model": model, **arguments}, limits, folder)
        with answers, _watched(process):
            for line in answers:
                if not line.endswith(b"\n"):  # the process ended while it was writing
                    break
                kind, value = json.loads(line)
                if kind in ("result", "error"):
                    return outcome(model, limits, kind, value)  # the process need not clean up
                handlers[kind](value)
            raise _ended(model, limits, process.wait())


def outcome(model: str, limits: Limits, kind: str, value: Any) -> Any:
    """The result that a process sent as its last answer.  Its error is raised."""
    if kind == "error":
        raise _error(model, limits, value)
    return value


def _started(name: str, arguments: Mapping[str, Any], limits: Limits, folder: str) -> tuple[Any, BinaryIO]:
    """The process, and the pipe of its answers.  Its temporary files are in ``folder``."""
    receive, low = os.pipe()
    send = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 3)  # not 0 to 2, which may be free if a standard stream is closed
    os.close(low)
    task = {
        "name": name, "arguments": arguments, "pipe": send, "parent": os.getpid(), "max_memory": limits.memory,
        "timeout": limits.seconds,
    }  # fmt: skip
    command = [sys.executable, *_interpreter_flags(), "-c", _START, json.dumps(task), *map(str, sys.path)]
    # Ctrl-C reaches both processes.  This one ends the other, which inherits the blocked signal.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=_stream(sys.stdout), stderr=_stream(sys.stderr),
            pass_fds=[send], env={**os.environ, "TMPDIR": folder},
        )  # fmt: skip
    except BaseException:
        os.close(receive)
        raise
    finally:
        os.close(send)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process, open(receive, "rb")


def _stream(ours: object) -> int:
    """Where the process prints; if our stream is closed, no newly opened file may take its number."""
    return subprocess.PIPE if ours is not None else subprocess.DEVNULL


@contextmanager
def _watched(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Print what the process prints: a framework's messages have names from the file, too.  End it with the block."""
    pipes = {"stdout": process.stdout, "stderr": process.stderr}
    threads = [threading.Thread(target=_print, args=(p, name), daemon=True) for name, p in pipes.items() if p]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        process.kill()
        process.wait()
        for thread in threads:
            thread.join(_LINGERS)


def _print(pipe: BinaryIO, stream: str) -> None:
    with pipe:
        for line in pipe:  # to the end, so that the process never waits, even if nobody reads what we print
            with suppress(Exception):
                text = printable_lines(line.decode(errors="backslashreplace"))
                print(text, end="", file=getattr(sys, stream), flush=True)


def _interpreter_flags() -> list[str]:
    """This interpreter's flags that change imports or warnings."""
    flags = [f"-W{option}" for option in sys.warnoptions]
    flags += ["-I"] if sys.flags.isolated else []
    flags += ["-E"] if sys.flags.ignore_environment and not sys.flags.isolated else []
    flags += ["-s"] if sys.flags.no_user_site and not sys.flags.isolated else []
    return flags + (["-S"] if sys.flags.no_site else [])


def _error(model: str, limits: Limits, found: Mapping[str, Any]) -> Exception:
    """An error from the other process, with the same class as there."""
    error: Exception
    if found["memory"]:
        error = CompileError(f"{model}: {_memory(limits)}")
    elif found["class"]:
        error = getattr(errors, found["class"])(found["text"])
        if isinstance(error, OSError):
            error.errno = found["errno"]
    elif "errno" in found:
        error = OSError(found["errno"], found["strerror"], found["filename"])
    else:
        error = RuntimeError(found["text"])  # unforeseen: a bug
    error.__cause__ = _Remote(found["traceback"])
    return error


def _memory(limits: Limits) -> str:
    if not limits.memory or sys.platform != "linux":
        return "loading it needs more memory than is available"
    return (
        f"loading it needs more than the allowed {size_text(limits.memory)} of memory; such a file may be malicious: "
        "if you trust it, allow more with --max-memory"
    )


def _ended(model: str, limits: Limits, status: int) -> BnnError:
    """The error for a process that ended without a result."""
    if status == -signal.SIGALRM:
        return CompileError(
            f"{model}: loading it made no progress for {quantity(limits.seconds, 'second')} and was stopped; "
            "such a file may be malicious: if you trust it, allow more with --timeout"
        )
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    how = f"ended (status {status}) without a result" if status >= 0 else f"was ended by {name}"
    cause = "the file may be damaged or malicious"
    if status == -signal.SIGKILL:
        cause = "the machine may have run out of memory: close other programs, or lower --max-memory to find out"
    elif limits.memory and sys.platform == "linux":
        cause += (
            f"; or loading it needed more than the allowed {size_text(limits.memory)} of memory: if you trust the "
            "file, allow more with --max-memory"
        )
    return CompileError(f"{model}: the process that loads it {how}; {cause}")
