# SPDX-License-Identifier: Apache-2.0
"""Check the contents of the containers of Keras files, zip and HDF5, before Keras opens them.

Both formats can refer to other files, which would be read into the network, and can unpack to far more than their size.
Keras writes nothing of that kind.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import CompileError
from .limits import PERMISSION, check_bytes

# What Keras writes; model.weights.h5 was called variables.h5 once.
_CONFIG = frozenset({"config.json", "metadata.json"})
_WEIGHTS = frozenset({"model.weights.h5", "variables.h5"})
_AGAIN = f"save the model again with model.save(...), or, {PERMISSION}"
_MOST_TEXT = 2**26


def check_zip(path: Path, archive: zipfile.ZipFile) -> None:
    """Refuse a .keras file with other members than Keras' own, or with those of ``check_hdf5``."""
    seen = set()
    total = 0
    for member in archive.infolist():
        name = member.filename
        if name not in _CONFIG | _WEIGHTS:
            raise CompileError(f"{path}: contains a file '{name}', which no network of numbers needs; {_AGAIN}")
        if name in seen:
            raise CompileError(f"{path}: contains '{name}' twice; {_AGAIN}")
        seen.add(name)
        total += member.file_size
        if name in _CONFIG and member.file_size > _MOST_TEXT:
            raise CompileError(f"{path}: '{name}' is {member.file_size:,} bytes; at most {_MOST_TEXT:,} are read")
    check_bytes(path, "what is packed in it", total)
    import h5py

    for name in sorted(seen & _WEIGHTS):
        with h5py.File(io.BytesIO(archive.read(name)), "r") as file:
            check_hdf5(f"{path}: '{name}'", file)


def check_hdf5(where: str | Path, file: Any) -> None:
    """Refuse links to other files and within the file, values that stand in other files, and those that are larger than
    what is stored of them; ``file``: an open h5py.File."""
    import h5py

    total = 0
    waiting, seen = [(str(file.name), file)], set()
    while waiting:
        at, found = waiting.pop()
        address = h5py.h5o.get_info(found.id).addr
        if address in seen:
            continue
        seen.add(address)
        if isinstance(found, h5py.Dataset):
            total += _checked_dataset(f"{where}: '{at}'", found)
        elif isinstance(found, h5py.Group):
            total += _named_again(found)
            for name in found:
                link = found.get(name, getlink=True)
                child = f"{at.rstrip('/')}/{name}"
                if not isinstance(link, h5py.HardLink):
                    kind = {h5py.ExternalLink: "a link to another file", h5py.SoftLink: "a symbolic link"}
                    target = f"{getattr(link, 'filename', '')}:{getattr(link, 'path', '')}".lstrip(":")
                    raise CompileError(
                        f"{where}: '{child}' is {kind.get(type(link), 'a link of its own kind')} ('{target}'); {_AGAIN}"
                    )
                waiting.append((child, found[name]))
    check_bytes(where, "what its datasets declare", total)


def _named_again(group: Any) -> int:
    """Bytes that Keras would read of the datasets that a list of weights names more than once; each it keeps."""
    import h5py

    names = [name for key in group.attrs if key.startswith("weight_names") for name in np.ravel(group.attrs[key])]
    seen, total = set(), 0
    for name in names:
        found = group.get(name)  # text or bytes
        if isinstance(found, h5py.Dataset):
            address = h5py.h5o.get_info(found.id).addr
            total += found.nbytes if address in seen else 0
            seen.add(address)
    return total


def _checked_dataset(where: str, dataset: Any) -> int:
    """Its size in bytes."""
    import h5py

    plist = dataset.id.get_create_plist()
    if dataset.external:
        names = ", ".join(f"'{name}'" for name, _, _ in dataset.external)
        raise CompileError(f"{where} stands in other files ({names}); {_AGAIN}")
    if plist.get_layout() == h5py.h5d.VIRTUAL:
        raise CompileError(f"{where} is a virtual dataset, made of other files; {_AGAIN}")
    if plist.get_nfilters():
        name = plist.get_filter(0)[3].decode(errors="replace") or plist.get_filter(0)[0]
        raise CompileError(f"{where} is packed (filter '{name}'), which Keras does not do; {_AGAIN}")
    if dataset.dtype.hasobject:  # each could be the same long one, of which the file has one
        raise CompileError(f"{where} holds texts or other elements of any length, not numbers; {_AGAIN}")
    declared, stored = (dataset.size or 0) * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if stored < declared:
        raise CompileError(f"{where} declares {declared:,} bytes and stores {stored:,} of them; {_AGAIN}")
    return int(declared)
