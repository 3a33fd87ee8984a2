# SPDX-License-Identifier: Apache-2.0
"""Saving that is killed, interrupted, refused or done twice at once: the file is the old one or the new one, alone."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn import errors
from bnn.runtime.files import replacing

SIZE = 600_000
# Saves one letter after the other, each in many small writes, and says when it has begun.
SAVER = """
import sys
from bnn.runtime.files import replacing
print("begun", flush=True)
while True:
    for letter in b"ABC":
        with replacing(sys.argv[1]) as file:
            for _ in range(60):
                file.write(bytes([letter]) * 10_000)
"""

MODEL_SAVER = """
import sys
import bnn
model = bnn.load(sys.argv[1])
print("begun", flush=True)
while True:
    model.save(sys.argv[1])
"""


def saver(path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", SAVER, str(path)], stdout=subprocess.PIPE, cwd=Path(bnn.__file__).parents[1]
    )
    assert process.stdout is not None and process.stdout.readline() == b"begun\n"
    return process


def whole(path: Path) -> bool:
    data = path.read_bytes()
    return data == b"old" or len(data) == SIZE and len(set(data)) == 1


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def save(path: Path, data: bytes = b"new") -> None:
    with replacing(str(path)) as file:
        file.write(data)


def test_killed_in_the_middle(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "net.bnn"
    path.write_bytes(b"old")
    left = 0
    for _ in range(8):
        process = saver(path)
        looks = int(rng.integers(20))
        while looks > 0:
            assert whole(path)
            looks -= len(names(tmp_path)) > 1  # it writes
        process.kill()
        process.wait()
        assert whole(path)
        left = max(left, len(names(tmp_path)) - 1)
        if rng.random() < 0.3:  # else the next saver removes it
            save(path, b"old")
            assert names(tmp_path) == ["net.bnn"]
    # A saver makes its own file before it removes an abandoned one: killed between the two, it leaves both.
    assert 1 <= left <= 3, "no saver was killed in the middle, or what one left was not removed by the next"
    save(path)
    assert path.read_bytes() == b"new" and names(tmp_path) == ["net.bnn"]


@pytest.mark.slow
def test_two_at_once(tmp_path: Path) -> None:
    """Neither takes the other's file for one that was left behind."""
    path = tmp_path / "net.bnn"
    path.write_bytes(b"old")
    savers = [saver(path) for _ in range(2)]
    seen = set()
    looks = 0
    while looks < 50 or not seen >= {b"A", b"B", b"C"}:
        assert whole(path)
        seen.add(path.read_bytes()[:1])
        looks += 1
        assert all(process.poll() is None for process in savers)
    for process in savers:
        process.kill()
        process.wait()
    save(path)
    assert path.read_bytes() == b"new" and names(tmp_path) == ["net.bnn"]


def test_threads_at_once(tmp_path: Path) -> None:
    path = tmp_path / "net.bnn"
    failed: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(100):
                save(path)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and names(tmp_path) == ["net.bnn"]


def test_what_is_not_removed(tmp_path: Path) -> None:
    """Another target's, one that is locked, and what only looks alike."""
    path = tmp_path / "net.bnn"
    with replacing(str(path)) as file:
        (live,) = names(tmp_path)
        save(path)  # a second writer, to the same name
        assert names(tmp_path) == [live, "net.bnn"]
        file.write(b"last")
    assert path.read_bytes() == b"last" and names(tmp_path) == ["net.bnn"]
    prefix = live[: live.rindex("-") + 1]
    other = tmp_path / ".bnn-0123456789ab-0123456789abcdef.tmp"
    other.write_bytes(b"")
    (tmp_path / f"{prefix}folder.tmp").mkdir()
    (tmp_path / f"{prefix}link.tmp").symlink_to(other)
    os.mkfifo(tmp_path / f"{prefix}pipe.tmp")
    stale = tmp_path / f"{prefix}0.tmp"
    stale.write_bytes(b"left behind")
    stale.chmod(0o444)
    save(path)
    assert not stale.exists() and other.exists() and len(names(tmp_path)) == 4  # an unlocked pipe goes too


@pytest.fixture
def locked_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, int], None]], None]:
    """locked_by(function): what locks files from now on."""
    return lambda function: monkeypatch.setattr(fcntl, "flock", function)


def test_taken_for_abandoned_before_it_is_locked(tmp_path: Path, locked_by: Any) -> None:
    path, real, times = tmp_path / "net.bnn", fcntl.flock, []

    def late(number: int, how: int) -> None:
        if not times:
            times.append(number)
            (mine,) = tmp_path.iterdir()
            save(path, b"another")  # which removes what is not locked
            assert not mine.exists()
        real(number, how)

    locked_by(late)
    save(path)
    assert path.read_bytes() == b"new" and names(tmp_path) == ["net.bnn"]


def test_where_there_are_no_locks(tmp_path: Path, locked_by: Any) -> None:
    path = tmp_path / "net.bnn"
    with replacing(str(path)) as file:
        file.write(b"new")

        def refuse(number: int, how: int) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        locked_by(refuse)
        save(path, b"other")
    assert path.read_bytes() == b"new" and names(tmp_path) == ["net.bnn"]


def test_a_model(small: Any, tmp_path: Path) -> None:
    """Whatever a process that saves one is killed at, the file is a model."""
    path = tmp_path / "net.bnn"
    path.write_bytes(small.data)
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", MODEL_SAVER, str(path)], stdout=subprocess.PIPE, cwd=Path(bnn.__file__).parents[1]
        )
        assert process.stdout is not None and process.stdout.readline() == b"begun\n"
        time.sleep(0.01)
        process.kill()
        process.wait()
        assert path.read_bytes() == small.data
    bnn.load(path).save(path)
    assert names(tmp_path) == ["net.bnn"] and path.read_bytes() == small.data


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Nor may pytest's own output grow meanwhile, where that is a file: what it reports, it reports later."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "net.bnn"
    path.write_bytes(b"old")
    for size in (8193, 10**6):
        with (
            no_file_beyond(8192),
            pytest.raises(errors.ModelFileError, match="net.bnn: cannot be written: File too large"),
        ):
            save(path, bytes(size))
        assert path.read_bytes() == b"old" and names(tmp_path) == ["net.bnn"]
    with no_file_beyond(8192):
        save(path, bytes(8192))


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A folder on a disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("cannot mount a disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts disks")
def test_a_full_disk(small_disk: Path, small: Any) -> None:
    path = small_disk / "net.bnn"
    path.write_bytes(b"old")
    for _ in range(3):
        with pytest.raises(
            errors.ModelFileError, match="net.bnn: cannot be written: No space left on device"
        ) as caught:
            save(path, bytes(10**6))
        assert caught.value.errno == errno.ENOSPC
        assert path.read_bytes() == b"old" and names(small_disk) == ["net.bnn"]
    with pytest.raises(errors.ModelFileError, match="No space left"):  # as the last bytes are flushed
        save(path, bytes(65536 - 4096 + 1))
    save(path, bytes(40000))
    assert names(small_disk) == ["net.bnn"]
