# SPDX-License-Identifier: Apache-2.0
"""Replace a file as a whole, or not at all.

The writer writes to a temporary file in the same folder and keeps it locked.  A killed writer leaves that file
unlocked; the next save to the same name removes it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO


@contextmanager
def replaced(path: str, there: os.stat_result | None) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of ``path`` once it is whole; ``there``: what is there now.

    Raises OSError where it cannot be written; what was there stays then, and nothing else does.
    """
    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    if not os.path.basename(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))  # "folder/", of which there is none
    prefix = f".bnn-{hashlib.blake2s(os.fsencode(name), digest_size=6).hexdigest()}-"
    # Closed to others until it has the old permissions.
    temporary, number = _created(os.path.join(folder, prefix), 0o666 if there is None else 0o600)
    try:
        with open(number, "wb") as file:
            _remove_abandoned(folder, prefix)
            yield file
            file.flush()
            if there is not None:
                with suppress(OSError):  # only root gives files away
                    os.fchown(number, there.st_uid, there.st_gid)
                os.fchmod(number, stat.S_IMODE(there.st_mode) & 0o777)
            os.fsync(number)
            os.replace(temporary, target)  # while it is locked
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _created(prefix: str, mode: int) -> tuple[str, int]:
    """A new file, locked, in the folder of what it will replace, so that renaming cannot fail half-way."""
    while True:
        path = f"{prefix}{secrets.token_hex(8)}.tmp"
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with suppress(OSError):  # where there are no locks, nobody removes the file either
            fcntl.flock(number, fcntl.LOCK_EX)
        if _is_at(path, number):
            return path, number
        os.close(number)  # it was taken for abandoned before it was locked


def _remove_abandoned(folder: str, prefix: str) -> None:
    with suppress(OSError), os.scandir(folder or ".") as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(".tmp"):
                _remove_unlocked(entry.path)


def _remove_unlocked(path: str) -> None:
    with suppress(OSError):
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where its writer is at work
            os.unlink(path)  # which is not there any more where it has been renamed
        finally:
            os.close(number)


def _is_at(path: str, number: int) -> bool:
    """Whether an open file is what lies at a path."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(number))
    except FileNotFoundError:
        return False
