# SPDX-License-Identifier: Apache-2.0
"""HDF5 files from strangers: only what the file itself stores is read, each object once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import CompileError


def own_objects(where: str | Path, file: Any, again: str) -> Iterator[tuple[str, Any]]:
    """(path, object) of every group and dataset of an open h5py.File, each once.

    Raises CompileError for all links and for values stored in other files; ``again`` ends the message: what to do.
    """
    import h5py

    waiting, seen = [(str(file.name), file)], set()
    while waiting:
        at, found = waiting.pop()
        address = h5py.h5o.get_info(found.id).addr
        if address in seen:
            continue
        seen.add(address)
        if isinstance(found, h5py.Dataset):
            _check_storage(f"{where}: '{at}'", found, again)
        elif isinstance(found, h5py.Group):
            for name in found:
                link = found.get(name, getlink=True)
                child = f"{at.rstrip('/')}/{name}"
                if not isinstance(link, h5py.HardLink):
                    kind = {h5py.ExternalLink: "a link to another file", h5py.SoftLink: "a symbolic link"}
                    target = f"{getattr(link, 'filename', '')}:{getattr(link, 'path', '')}".lstrip(":")
                    raise CompileError(
                        f"{where}: '{child}' is {kind.get(type(link), 'an unknown link')} ('{target}'); {again}"
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
