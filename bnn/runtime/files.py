# SPDX-License-Identifier: Apache-2.0
"""Files: paths as text, errors that say what to do, and the one writer.

A file is replaced atomically.  The writer writes to a temporary file in the same folder and keeps it locked.  A killed
writer leaves that file unlocked; the next save to the same name removes it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import BinaryIO

from ..errors import InputTypeError, ModelFileError, ModelNotFoundError


def path_text(path: str | bytes | os.PathLike[str] | os.PathLike[bytes], what: str = "path") -> str:
    """A path as text; raises InputTypeError if it is not a path, ModelNotFoundError if no file can have that name."""
    try:
        name = os.fsdecode(path)
        if b"\0" in os.fsencode(name):
            raise ValueError("a path cannot contain a null character")
    except TypeError:
        raise InputTypeError(f"{what}: found {type(path).__name__}, expected a string or an os.PathLike") from None
    except ValueError as error:
        shown = repr(path) if len(os.fspath(path)) <= 200 else f"{os.fspath(path)[:40]!r}..."
        hint = "; if these are the contents of a file, use from_bytes" if isinstance(path, bytes) else ""
        raise ModelNotFoundError(f"{shown}: {error}{hint}") from None
    return name


def file_error(path: str, number: int, done: str, reason: str = "", hint: str = "") -> ModelFileError:
    """The exception for a file that could not be ``done`` (opened, written) because of this errno, or for a reason."""
    reason = reason or os.strerror(number)
    hint = hint or ("" if done == "opened" else "give another path")
    kind = ModelNotFoundError if number == errno.ENOENT else ModelFileError
    error = kind(f"{path or repr(path)}: cannot be {done}: {reason}{f'; {hint}' if hint else ''}")
    error.errno = number
    return error


def no_folder(path: str, folder: str) -> ModelFileError:
    """The error for a file whose folder does not exist."""
    return file_error(path, errno.ENOENT, "written", f"there is no folder {folder}", "make it, or give another path")


def special(path: str) -> str:
    """The kind of an existing path that is neither a file nor a folder; otherwise ""."""
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    try:
        kind = kinds.get(stat.S_IFMT(os.stat(path).st_mode))
    except OSError:
        return ""
    return f"not a regular file but {kind}" if kind else ""


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A file to write to.  It replaces the file at ``path`` once it is complete; until then the old file stays.

    For a link, the target is replaced.  The new file keeps the old one's owner and permissions.  A pipe or a character
    device (/dev/stdout, /dev/null) gets the bytes directly: renaming would replace it with a file.

    Raises ModelFileError (an OSError) if it cannot be written, whatever the reason.
    """
    try:
        try:
            there = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            there = None
            folder = os.path.dirname(os.path.realpath(path))
            if not os.path.isdir(folder):
                raise no_folder(path, folder) from None
        if there is None or stat.S_ISREG(there.st_mode):
            with _replaced(path, there) as file:
                yield file
        elif stat.S_ISCHR(there.st_mode) or stat.S_ISFIFO(there.st_mode):
            with open(path, "wb") as file:
                yield file
        else:
            raise file_error(path, errno.EISDIR if stat.S_ISDIR(there.st_mode) else 0, "written", special(path))
    except ModelFileError:
        raise
    except OSError as error:
        raise file_error(path, error.errno or 0, "written", error.strerror or str(error)) from None


def replace_all(contents: Mapping[str, bytes]) -> None:
    """Write files that belong together, by their paths; if one cannot be written, none is.  The first is put in its
    place last.  Raises like :func:`replacing`.
    """
    with ExitStack() as files:
        for path, data in contents.items():
            file = files.enter_context(replacing(path))
            file.write(data)
            file.flush()  # fail before any file is put in its place


@contextmanager
def _replaced(path: str, there: os.stat_result | None) -> Iterator[BinaryIO]:
    """A temporary file that replaces ``path``; ``there`` describes the file that exists now; raises OSError."""
    import hashlib  # not imported when only running networks

    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    if not os.path.basename(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))  # "folder/", which does not exist
    prefix = f".bnn-{hashlib.blake2s(os.fsencode(name), digest_size=6).hexdigest()}-"
    # Not accessible to others until it has the old permissions.
    temporary, number = _created(os.path.join(folder, prefix), 0o666 if there is None else 0o600)
    try:
        with open(number, "wb") as file:
            _remove_abandoned(folder, prefix)
            yield file
            file.flush()
            if there is not None:
                with suppress(OSError):  # only root can give files away
                    os.fchown(number, there.st_uid, there.st_gid)
                os.fchmod(number, stat.S_IMODE(there.st_mode) & 0o777)
            os.fsync(number)
            os.replace(temporary, target)  # while it is locked
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _created(prefix: str, mode: int) -> tuple[str, int]:
    """A new locked file, in the folder of the file that it will replace, so that renaming cannot fail halfway."""
    import secrets

    while True:
        path = f"{prefix}{secrets.token_hex(8)}.tmp"
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with suppress(OSError):  # without locks, no other process removes the file either
            fcntl.flock(number, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.lstat(path), os.fstat(number)):
                return path, number
        os.close(number)  # another writer removed it as abandoned before it was locked


def _remove_abandoned(folder: str, prefix: str) -> None:
    with suppress(OSError), os.scandir(folder or ".") as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(".tmp"):
                _remove_unlocked(entry.path)


def _remove_unlocked(path: str) -> None:
    with suppress(OSError):
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while its writer is at work
            os.unlink(path)  # it no longer exists if it was renamed
        finally:
            os.close(number)
