# SPDX-License-Identifier: Apache-2.0
"""The process in which `bnn compile` and `bnn verify` load a file of a stranger, with limits on its memory and time.

``apart.py`` starts it, with a task as JSON, and reads what it answers: frames of a kind, a value as JSON and bytes, of
which the last is "result" or "error".  Nothing is unpickled: whoever reads the answers need not trust them.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any

from .. import errors

FRAME = struct.Struct("<IQ")  # bytes of JSON, and of what follows it
_PR_SET_PDEATHSIG = 1


class Answers:
    """The pipe to the process that started this one, whose patience each answer renews.

    The kernel ends this process when that runs out, whatever holds Python up.
    """

    def __init__(self, pipe: int, timeout: int) -> None:
        os.set_inheritable(pipe, False)
        self._pipe, self._timeout = os.fdopen(pipe, "wb"), timeout
        signal.setitimer(signal.ITIMER_REAL, timeout)

    def send(self, kind: str, value: Any = None, data: bytes = b"") -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)  # whoever reads may take all the time: a pager, for example
        text = json.dumps([kind, value]).encode()
        self._pipe.write(FRAME.pack(len(text), len(data)) + text)
        self._pipe.write(data)
        self._pipe.flush()
        signal.setitimer(signal.ITIMER_REAL, self._timeout)


def main(task: str) -> None:
    """Do what a task says, answer, and end the process without waiting for TensorFlow to tidy up."""
    todo = json.loads(task)
    _end_with(todo["parent"])
    _limit_memory(todo["max_memory"])
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    answers = Answers(todo["pipe"], todo["timeout"])
    answer: tuple[Any, ...]
    try:
        answer = ("result", *_TASKS[todo["name"]](answers, **todo["arguments"]))
    except BaseException as error:
        answer = ("error", _described(error))
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or nobody reads
            stream.flush()
    answers.send(*answer)
    os._exit(0)


def _end_with(parent: int) -> None:
    """End where the process that waits for an answer is gone; elsewhere than on Linux the time limit does."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was gone before
            os._exit(1)


def _limit_memory(size: int) -> None:
    """Refuse memory beyond ``size`` bytes; 0: none is refused.

    What is counted is what the process may write to (RLIMIT_DATA): TensorFlow's libraries take gigabytes of addresses
    that cost no memory.
    """
    if sys.platform != "linux" or not size:
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (size if most == resource.RLIM_INFINITY else min(size, most), most))
    # Where memory is refused, native code aborts: that is an answer, and needs no file of all that was in memory.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _described(error: BaseException) -> dict[str, Any]:
    """An error as JSON: its class is the first of this package's among its own, or "" for the others."""
    known = next((c.__name__ for c in type(error).__mro__ if c.__module__ == errors.__name__), "")
    found: dict[str, Any] = {
        "class": known, "text": str(error), "memory": _is_of_memory(error), "traceback": traceback.format_exc(),
    }  # fmt: skip
    if isinstance(error, OSError):
        name = None if error.filename is None else os.fsdecode(error.filename)
        found |= {"errno": error.errno, "strerror": error.strerror, "filename": name}
    return found


def _is_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, or an error because of that became this one."""
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes that TensorFlow's native code prints on stderr whatever it is told."""
    if sys.stderr is None:
        yield
        return
    sys.stderr.flush()
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _load_tensorflow() -> None:
    from ..importers.tensorflow.load import tensorflow

    with _quiet():
        tensorflow().config.list_physical_devices()  # where there is none, it says so once, here


def _compile(answers: Answers, model: str, **options: Any) -> tuple[None, bytes]:
    from ..compiler import compile_bytes

    _load_tensorflow()
    answers.send("working")
    return None, compile_bytes(model, dump=lambda text: answers.send("dump", text), **options)


def _network_and_data(net: str, files: list[str], reading: dict[str, Any], count: int, seed: int) -> tuple[Any, Any]:
    from ..runtime import load
    from .inputs import Reading, random_arrays, read_arrays

    compiled = load(net)
    return compiled, read_arrays(compiled, files, Reading(**reading)) if files else random_arrays(compiled, count, seed)


def _verify(answers: Answers, model: str, data: dict[str, Any], **options: Any) -> tuple[dict[str, Any]]:
    from ..importers import round_plainly
    from ..verification.layers import verify

    round_plainly()  # which is chosen when TensorFlow is imported
    _load_tensorflow()
    compiled, arrays = _network_and_data(**data)
    answers.send("working", len(arrays[0]))
    report = verify(model, compiled, arrays, progress=lambda images: answers.send("done", images), **options)
    return (asdict(report),)


def _verify_nir(answers: Answers, model: str, data: dict[str, Any], **options: Any) -> tuple[dict[str, Any]]:
    from ..verification.nir import verify_nir

    compiled, arrays = _network_and_data(**data)
    answers.send("working", len(arrays[0]))
    report = verify_nir(model, compiled, arrays, progress=lambda images: answers.send("done", images), **options)
    return (asdict(report),)


_TASKS: dict[str, Callable[..., tuple[Any, ...]]] = {"compile": _compile, "verify": _verify, "verify_nir": _verify_nir}
