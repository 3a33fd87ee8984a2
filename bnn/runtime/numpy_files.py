# SPDX-License-Identifier: Apache-2.0
"""Read untrusted .npy and .npz files.

NumPy allocates what a header claims before it reads.  Here a claim is first compared with the file: an array takes no
more memory than its file has bytes, and an array in an archive no more than :func:`most_unpacked`.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from .._types import Array
from ..errors import BnnError, InputError

_FORMAT: Any = np.lib.format
MOST_TIMES = 100
ALWAYS_ALLOWED = 2**28
# The methods that NumPy writes.  For others the unpacked size cannot be bounded while reading.
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


def most_unpacked(size: int) -> int:
    """The bytes to which a compressed file of ``size`` bytes may unpack: 100 times the size, or 256 MiB if more."""
    return max(MOST_TIMES * size, ALWAYS_ALLOWED)


def load(path: Path, choose: Callable[[list[str]], Sequence[str]]) -> Array | dict[str, Array]:
    """The array of a .npy file, or the arrays of a .npz file by name; nothing is unpickled.

    ``choose`` gets the names of an archive's arrays and returns those to read.

    Raises:
        InputError: it is neither, is damaged, claims more than it contains, or the chosen arrays unpack to more than
            100 times the file's size and more than 256 MiB.
        OSError: it cannot be opened.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise InputError(f"{path}: not a NumPy file: it is empty; write it with np.save or np.savez")
        archive = file.read(2) == b"PK"
    return _archive(path, size, choose) if archive else _array(lambda: path.open("rb"), size, str(path))


def _archive(path: Path, size: int, choose: Callable[[list[str]], Sequence[str]]) -> dict[str, Array]:
    with _told(f"{path}: not a NumPy file"):
        archive = zipfile.ZipFile(path)
    with archive:
        members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
        chosen = {name: members[name] for name in choose(list(members))}
        claimed, most = sum(m.file_size for m in chosen.values()), most_unpacked(size)
        if claimed > most:
            raise InputError(
                f"{path}: {size:,} bytes that unpack to {claimed:,}, expected at most {most:,}; if you trust it, save "
                "it without compression (numpy.savez)"
            )
        return {name: _member(archive, member, f"{path}: array '{name}'") for name, member in chosen.items()}


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, label: str) -> Array:
    if member.compress_type not in _METHODS:
        raise InputError(f"{label}: compressed by method {member.compress_type}, expected one that numpy.savez writes")
    return _array(lambda: archive.open(member), member.file_size, label)


def _array(opened: Callable[[], IO[bytes]], size: int, label: str) -> Array:
    """The array in a file of ``size`` bytes.  It is opened twice, because seeking in an archive disables its
    checksum."""
    with _told(f"{label}: not a NumPy file"), opened() as file:
        _check_header(file, size, label)
    with _told(f"{label}: damaged"), opened() as file:
        array = np.asarray(_FORMAT.read_array(file, allow_pickle=False))
        while file.read(2**20):  # read on, so that the checksum is checked
            pass
        return array


def _check_header(file: IO[bytes], size: int, label: str) -> None:
    version = _FORMAT.read_magic(file)
    # Version 3 is version 2 with more characters allowed in fields' names, which changes no size.
    read = _FORMAT.read_array_header_1_0 if version == (1, 0) else _FORMAT.read_array_header_2_0
    shape, _, dtype = read(file)
    held, claimed = size - file.tell(), math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise InputError(f"{label}: contains Python objects ({dtype}), expected numbers; nothing is unpickled")
    if any(n < 0 for n in shape) or not dtype.itemsize:
        raise InputError(f"{label}: found shape {shape} of {dtype}, which no array can have")
    if claimed > held:
        raise InputError(f"{label}: {claimed:,} bytes are claimed by shape {shape} of {dtype}, found {held:,}")


@contextmanager
def _told(what: str) -> Iterator[None]:
    """NumPy and zipfile may raise anything; the caller wants one kind."""
    try:
        yield
    except BnnError:
        raise
    except MemoryError:
        raise InputError(f"{what}: its arrays need more memory than is available") from None
    except Exception as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{what}: {said or type(error).__name__}; write it with np.save or np.savez") from None
