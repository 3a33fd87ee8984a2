# SPDX-License-Identifier: Apache-2.0
"""Numbered cases in a process of their own, so that a signal, memory and time are seen and belong to a case.

A worker is a module below tests/ with ``prepare()``, which imports the framework, and ``case(number)``, which makes the
case of this number and runs it: it returns a word for what happened, or raises a ``BnnError``, which is a refusal.
Findings are another exception, a signal, and a refusal that took too much time or memory, or that came from a failed
allocation: then nobody knew the size before.

    python tests/single_ops.py importers.onnx.random_ops 0 100000    # many
    python tests/single_ops.py importers.onnx.random_ops 123         # one again
"""

from __future__ import annotations

import collections
import importlib
import os
import re
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).resolve().parent
MOST_MEMORY = 2**28
"""Bytes that a refused case may take beyond those of the process before it."""
MOST_SECONDS = 10.0  # of a processor, of all threads: the machine may be busy
_LIMIT = 3 * 2**30  # bytes beyond the import, for any case
_HANGS = 120.0  # seconds without a word; among them the import of a framework
_TEXT = 1500
_ALLOCATION = re.compile(r"bad[_ ]?alloc|allocat|out of memory|OOM|MemoryError|too large to", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """``what``: "error", "signal", "memory", "time" or "hang"."""

    case: int
    what: str
    text: str

    def __str__(self) -> str:
        return f"case {self.case}: {self.what}: {self.text}"


@dataclass
class Tally:
    """What happened to the cases: how many per word, and findings."""

    counts: collections.Counter[str] = field(default_factory=collections.Counter)
    findings: list[Finding] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = collections.Counter(f.what for f in self.findings)
        lines = [f"{n:9,} {word}" for word, n in self.counts.most_common()]
        lines += [f"{n:9,} findings: {what}" for what, n in kinds.most_common()]
        return "\n".join([*lines, *map(str, self.findings[:40])])


def watch(worker: str, first: int, count: int = 1, most_findings: int = 200) -> Tally:
    """Run cases ``first`` to ``first + count - 1``.  After a signal or a hang, a new process goes on with the next."""
    tally, end = Tally(), first + count
    while first < end and len(tally.findings) < most_findings:
        first = _process(worker, first, end, tally)
    return tally


def _process(worker: str, first: int, end: int, tally: Tally) -> int:
    """Run cases in one process until it ends; returns the case to go on with."""
    reading, writing = os.pipe()
    path = os.pathsep.join(filter(None, [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, __file__, "--child", worker, str(first), str(end), str(writing)]
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            command, pass_fds=[writing], env={**os.environ, "PYTHONPATH": path}, stdout=said, stderr=said
        )
        os.close(writing)
        try:
            ended, begun = _listen(reading, tally)
        finally:
            os.close(reading)
            child.kill()
            status = child.wait()
        said.seek(max(said.seek(0, os.SEEK_END) - _TEXT, 0))
        text = said.read().decode(errors="replace").strip()
    if begun is None:
        if ended is None:
            raise RuntimeError(f"{worker}: no case began: status {status}: {text}")
        return ended + 1
    what = "hang" if status == -9 else "signal"
    tally.findings.append(Finding(begun, what, f"status {status}: {text}"))
    return begun + 1


def _listen(reading: int, tally: Tally) -> tuple[int | None, int | None]:
    """Count what a process reports until it says no more: the last case that ended, and one that did not."""
    ended = begun = None
    rest = b""
    while select.select([reading], [], [], _HANGS)[0]:
        data = os.read(reading, 1 << 16)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            word, number, *more = line.decode(errors="replace").split(" ", 2)
            if word == "begin":
                begun = int(number)
                continue
            ended, begun = int(number), None
            if word in ("error", "memory", "time"):
                tally.findings.append(Finding(ended, word, more[0]))
            else:
                tally.counts[word] += 1
    return ended, begun


# -- in the child ----------------------------------------------------------------------------------------------------


def _status(name: str) -> int:
    """Bytes of this process: VmRSS, VmHWM, VmData."""
    text = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def _child(worker: str, first: int, end: int, writing: int) -> None:
    module = importlib.import_module(worker)
    module.prepare()
    most = _status("VmData") + _LIMIT
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    for number in range(first, end):
        os.write(writing, f"begin {number}\n".encode())
        word, text = _judged(module, number)
        line = " ".join(text.split())[:_TEXT]
        os.write(writing, f"{word} {number} {line}\n".encode())


def _judged(module: object, number: int) -> tuple[str, str]:
    """What happened to a case, and what to say of it."""
    from bnn.errors import BnnError, VerifierError

    before, began = _status("VmRSS"), time.process_time()
    word, text = "", ""
    try:
        word = module.case(number)  # type: ignore[attr-defined]
    except VerifierError as error:
        return "error", f"{type(error).__name__}: {error}"
    except BnnError as error:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # whatever it is: a finding
        return "error", traceback.format_exc()[-_TEXT:]
    seconds, more = time.process_time() - began, _status("VmHWM") - before
    if more > MOST_MEMORY:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak counts from here
    if word:
        return word, text
    if seconds > MOST_SECONDS:
        return "time", f"{seconds:.1f} s: {text}"
    if more > MOST_MEMORY:
        return "memory", f"{more:,} bytes: {text}"
    if _ALLOCATION.search(text):
        return "memory", f"an allocation failed: {text}"
    return "refused", text


def main(arguments: Sequence[str]) -> int:
    if arguments[0] == "--child":
        _child(arguments[1], int(arguments[2]), int(arguments[3]), int(arguments[4]))
        return 0
    began = time.monotonic()
    tally = watch(arguments[0], *map(int, arguments[1:]))
    print(f"{tally}\n{time.monotonic() - began:.0f} s")
    return 1 if tally.findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
