# SPDX-License-Identifier: Apache-2.0
"""HDF5 files from strangers: only what the file itself stores is read, each object once."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import CompileError
from .limits import check_bytes

_SHORT = 4096
"""Bytes of a text that may be stored once and be read any number of times."""
_MOST_LONG = 64  # longer texts in a file
_MOST_COLLECTIONS = 2**16  # of texts
_MOST_TEXTS = 2**27  # bytes of all texts
_MOST_ATTRIBUTES = 256  # of an object: HDF5 takes time that grows with the square of their number
_MOST_DEPTH = 64  # of groups within groups
_CHUNK = 2**24


def own_objects(where: str | Path, file: Any, again: str, named_once: bool = False) -> Iterator[tuple[str, Any]]:
    """(path, object) of every group and dataset of an open h5py.File, each once.

    Raises CompileError for all links, for values stored in other files, for groups that are nested too deep and, if
    ``named_once``, for an object that has two names, as one in a circle of groups has; ``again`` ends the message: what
    to do.
    """
    import h5py

    waiting, seen = [(str(file.name), file)], dict[Any, str]()
    while waiting:
        at, found = waiting.pop()
        address = h5py.h5o.get_info(found.id).addr
        if address in seen:
            if named_once:
                raise CompileError(f"{where}: '{at}' is the same object as '{seen[address]}'; {again}")
            continue
        seen[address] = at
        if isinstance(found, h5py.Dataset):
            _check_storage(f"{where}: '{at}'", found, again)
        elif isinstance(found, h5py.Group):
            for name in found:
                child = f"{at.rstrip('/')}/{name}"
                try:
                    link = found.get(name, getlink=True)
                except TypeError:  # of a class that HDF5 does not define
                    link = None
                if not isinstance(link, h5py.HardLink):
                    kind = {h5py.ExternalLink: "a link to another file", h5py.SoftLink: "a symbolic link"}
                    target = f"{getattr(link, 'filename', '')}:{getattr(link, 'path', '')}".lstrip(":")
                    raise CompileError(
                        f"{where}: '{child}' is {kind.get(type(link), 'an unknown link')} ('{target}'); {again}"
                    )
                if child.count("/") > _MOST_DEPTH:
                    raise CompileError(
                        f"{where}: has groups {_MOST_DEPTH + 1} deep within each other; expected at most "
                        f"{_MOST_DEPTH}; {again}"
                    )
                waiting.append((child, found[name]))
        yield at, found


def _check_storage(where: str, dataset: Any, again: str) -> None:
    import h5py

    if dataset.external:
        names = ", ".join(f"'{name}'" for name, _, _ in dataset.external)
        raise CompileError(f"{where} is stored in other files ({names}); {again}")
    if dataset.id.get_create_plist().get_layout() == h5py.h5d.VIRTUAL:
        raise CompileError(f"{where} is a virtual dataset, which reads other files; {again}")


def filters(dataset: Any) -> list[str]:
    """The names of the filters that encode a dataset."""
    plist = dataset.id.get_create_plist()
    entries = [plist.get_filter(i) for i in range(plist.get_nfilters())]
    return [entry[3].decode(errors="replace") or str(entry[0]) for entry in entries]


def check_stored(where: str, dataset: Any, again: str) -> int:
    """The declared size of a dataset that is not encoded, in bytes; raises CompileError if less is stored."""
    declared, stored = (dataset.size or 0) * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if stored < declared:
        raise CompileError(f"{where} declares {declared:,} bytes but stores {stored:,}; {again}")
    return int(declared)


def check_attributes(where: str, found: Any, again: str) -> tuple[int, int]:
    """Check the types of an object's attributes, numbers and texts, without reading them.

    Returns (bytes of those of fixed size, number of texts that are stored elsewhere in the file).
    """
    import h5py

    size, texts, number = 0, 0, h5py.h5a.get_num_attrs(found.id)
    if number > _MOST_ATTRIBUTES:
        raise CompileError(f"{where} has {number:,} attributes; expected at most {_MOST_ATTRIBUTES}; {again}")
    for i in range(number):
        attribute = h5py.h5a.open(found.id, index=i)
        kind, count = attribute.get_type(), attribute.get_space().get_simple_extent_npoints()
        text = kind.get_class() == h5py.h5t.STRING
        if not text and kind.get_class() not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM):
            name = attribute.name.decode(errors="replace")
            raise CompileError(f"{where} has an attribute '{name}' that is neither numbers nor texts; {again}")
        if text and kind.is_variable_str():
            texts += count
        else:
            size += count * kind.get_size()
    return size, texts


def check_texts(where: str | Path, file: Any, stored: BinaryIO, texts: int, again: str) -> None:
    """Refuse texts of variable length that would take much more memory than the file: many can share one.

    ``file``: an open h5py.File; ``stored``: its bytes; ``texts``: how many its attributes have.  HDF5 stores such texts
    in collections that begin with "GCOL", and refers to one by the address of its collection and its number (HDF5 File
    Format Specification 3.0, III.E).  A text is read at most as often as its reference is in the file.
    """
    if file.id.get_create_plist().get_sizes() != (8, 8):
        raise CompileError(f"{where}: has addresses that are not of 8 bytes, which h5py does not write; {again}")
    total, long = texts * _SHORT, dict[bytes, int]()
    for address, number, size in _heap_objects(where, stored, again):
        if size > _SHORT:
            reference = struct.pack("<QI", address - file.userblock_size, number)
            long[reference] = max(size, long.get(reference, 0))
    if len(long) > _MOST_LONG:
        raise CompileError(f"{where}: has {len(long)} texts of more than {_SHORT} bytes; at most {_MOST_LONG} are read")
    for reference, size in long.items():
        total += size * sum(1 for _ in _places(stored, reference))
    check_bytes(where, "what its texts may take", total, _MOST_TEXTS)


def _heap_objects(where: str | Path, stored: BinaryIO, again: str) -> Iterator[tuple[int, int, int]]:
    """(address of the collection, number, bytes) of every object in a collection of texts."""
    addresses = [*itertools.islice(_places(stored, b"GCOL"), _MOST_COLLECTIONS + 1)]
    if len(addresses) > _MOST_COLLECTIONS:
        raise CompileError(f"{where}: has more than {_MOST_COLLECTIONS:,} collections of texts; {again}")
    for address in addresses:
        stored.seek(address)
        head = stored.read(16)
        left = struct.unpack("<8xQ", head)[0] - 16 if len(head) == 16 else 0
        while left >= 16 and len(entry := stored.read(16)) == 16:
            number, size = struct.unpack("<H6xQ", entry)
            step = 16 + size + -size % 8 if number else max(size, 16)  # 0: free space, its header included
            if number:
                yield address, number, size
            left -= step
            stored.seek(step - 16 if left >= 16 else 0, 1)


def _places(stored: BinaryIO, pattern: bytes) -> Iterator[int]:
    """Where a file has some bytes."""
    stored.seek(0)
    at, rest = 0, b""
    while chunk := stored.read(_CHUNK):
        data = rest + chunk
        found = data.find(pattern)
        while found >= 0:
            yield at - len(rest) + found
            found = data.find(pattern, found + 1)
        rest, at = data[max(len(data) - len(pattern) + 1, 0) :], at + len(chunk)
