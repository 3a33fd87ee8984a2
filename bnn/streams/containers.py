# SPDX-License-Identifier: Apache-2.0
"""Events in files that hold any kind of data: HDF5, MATLAB's, text, and arrays without names; and in AEDAT 4."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._arguments import check_choice, shown
from .._distribution import install
from .._types import Array
from ..errors import BnnError, InputError, InputTypeError, SetupError
from ..runtime.numpy_files import most_unpacked

#: Accepted names of the fields.
FIELDS = (("x",), ("y",), ("p", "polarity", "pol", "on"), ("t", "timestamp", "ts"))
#: Seconds of a unit, times a million.
UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "ns": 1e-3}

_WAYS = "say their order: columns='txyp' (--columns txyp), for example"


@dataclass(frozen=True)
class Told:
    """What a file does not say.  ``part``: the number, or name, of a recording among several.  ``columns``: the letters
    x, y, p, t in their order.  ``unit``: of times, a key of UNITS; None: as the kind of file has it."""

    part: int | str | None = None
    columns: str | None = None
    unit: str | None = None

    def check(self, kind: str, takes: Mapping[str, Sequence[str]]) -> Told:
        """Raise InputError for what says nothing of a kind of file; ``takes``: the kinds that each is for."""
        for name, kinds in takes.items():
            if getattr(self, name) is not None and kind not in kinds:
                raise InputError(f"{name}: found {shown(getattr(self, name))} for a file of the format {kind}, which "
                                 f"leaves nothing open there; it is for {', '.join(kinds)}; leave it out")  # fmt: skip
        if self.part is not None and (isinstance(self.part, bool) or not isinstance(self.part, (int, str, np.integer))):
            raise InputTypeError(f"part: found {shown(self.part)}, expected a number or a name")
        if self.columns is not None and (not isinstance(self.columns, str) or sorted(self.columns) != list("ptxy")):
            raise InputError(f"columns: found {shown(self.columns)}, expected the letters x, y, p, t in their order, "
                             "such as 'xypt' or 'txyp'")  # fmt: skip
        if self.unit is not None:
            check_choice(self.unit, "unit", tuple(UNITS))
        return self

    def named(self, rows: Array, source: str) -> list[Array]:
        """x, y, p and t of (N, 4) numbers."""
        if rows.ndim != 2 or rows.shape[1] != 4 or self.columns is None:
            known = f"; {_WAYS}" if rows.ndim == 2 and rows.shape[1] == 4 else ", expected (events, 4)"
            raise InputError(f"{source}: found an array of the shape {rows.shape}, whose columns have no names{known}")
        return self._timed([rows[:, self.columns.index(name)] for name in "xypt"])

    def timed(self, columns: list[Any]) -> list[Any]:
        """Columns that the file names, with times in microseconds."""
        self.check_open()
        return self._timed(columns)

    def check_open(self) -> None:
        """Raise InputError for an order of columns where the file leaves none open."""
        if self.columns is not None:
            raise InputError(f"columns: found {shown(self.columns)} for a recording whose file says what its numbers "
                             "are; leave it out")  # fmt: skip

    def _timed(self, columns: list[Any]) -> list[Any]:
        """Rounded if the times were in another unit."""
        if self.unit in (None, "us"):
            return columns
        times = np.asarray(columns[3], np.float64) * UNITS[self.unit or "us"]
        return [*columns[:3], np.rint(times)]


def fields(names: Sequence[str]) -> list[str]:
    """The names of x, y, p and t among these; "" for one that is missing."""
    return [next((c for c in choices if c in names), "") for choices in FIELDS]


def read_container(path: Path, kind: str, told: Told) -> list[Any]:
    """x, y, p and t of a file of the kind "hdf5", "mat", "text" or "aedat4".

    Raises InputError: it is damaged, or holds no events, or several recordings; SetupError: what reads it is missing.
    """
    readers: dict[str, Callable[[Path, Told], list[Any]]] = {
        "hdf5": _hdf5, "mat": _mat, "text": _text, "aedat4": _aedat4,
    }  # fmt: skip
    try:
        return readers[kind](path, told)
    except (BnnError, MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # these libraries raise many kinds; that of Rust's panics is no Exception
        text = (str(error).splitlines() or [""])[0][:200]
        raise InputError(f"{path}: cannot be read as {kind} ({type(error).__name__}: {text}): damaged, or of another "
                         "format; copy it again, or say its format") from None  # fmt: skip


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SetupError(
            f"such files are read by {name.partition('.')[0]} ({error}): {install('recordings')}"
        ) from None


def _chosen(path: Path, found: Mapping[Any, Any], part: int | str | None, what: str) -> Any:
    """Of several recordings, by name, the one that is asked for."""
    if part is None and len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise InputError(f"{path}: found no events, expected {what}")
    if part not in found:
        asked = "several recordings" if part is None else f"no recording {shown(part)}"
        some = ", ".join(map(repr, list(found)[:8])) + (", ..." if len(found) > 8 else "")
        raise InputError(f"{path}: found {asked}; say one of {some}: part= (--part)")
    return found[part]


# -- HDF5 -------------------------------------------------------------------------------------------------------------


def _hdf5(path: Path, told: Told) -> list[Any]:
    """Arrays x, y, p, t in a group; a table of them; (N, 4) numbers; or seconds, and the units that fired: SHD's and
    SSC's spikes/times and spikes/units, N-TIDIGITS' train_timestamps/NAME and train_addresses/NAME."""
    h5py = _library("h5py")
    with suppress(ImportError):  # filters that some data sets are compressed with
        importlib.import_module("hdf5plugin")
    with h5py.File(path, "r") as file:
        groups: dict[str, dict[str, Any]] = {}

        def visit(name: str, found: Any) -> None:  # links, also to other files, are not followed
            if isinstance(found, h5py.Dataset):
                if found.external or found.is_virtual:
                    raise InputError(f"{path}: '{name}' is stored in another file; write all into one")
                parent, _, child = name.rpartition("/")
                groups.setdefault(parent, {})[child] = found

        file.visititems(visit)
        units = groups.get("spikes", {})
        if {"times", "units"} <= set(units):
            return _sample(path, units["times"], units["units"], told)
        tables: dict[Any, Any] = {}
        for parent, children in groups.items():
            if "" not in (names := fields(list(children))):
                tables[parent or "/"] = [children[name] for name in names]
            for child, found in children.items():
                named = "" not in fields(found.dtype.names or ())
                if named or (found.ndim == 2 and found.shape[1] == 4 and not found.dtype.names):
                    tables[f"{parent}/{child}".lstrip("/")] = found
                split = parent.removesuffix("_addresses")
                if split != parent and child in (times := groups.get(f"{split}_timestamps", {})):
                    tables[f"{split}/{child}"] = times[child], found
        part = told.part.strip("/") or "/" if isinstance(told.part, str) else told.part
        chosen = _chosen(path, tables, part, "arrays x, y, p and t, or spikes/times and spikes/units")
        if isinstance(chosen, tuple):
            return _units(np.asarray(chosen[0]), np.asarray(chosen[1]), told)
        parts = chosen if isinstance(chosen, list) else [chosen]
        _check_size(path, sum(math.prod(d.shape) * d.dtype.itemsize for d in parts))
        offset = groups[""]["t_offset"][()] if "t_offset" in groups.get("", {}) else 0
        read = [d[()] for d in parts]
    if not isinstance(chosen, list):
        if read[0].dtype.names is None:
            return told.named(read[0], str(path))
        read = [read[0][name] for name in fields(read[0].dtype.names)]
    columns = told.timed([np.reshape(column, -1) for column in read])
    return [*columns[:3], columns[3] + offset] if np.any(offset) else columns


def _check_size(path: Path, claimed: int) -> None:
    size = path.stat().st_size
    if claimed > (most := most_unpacked(size)):
        raise InputError(f"{path}: {size:,} bytes that unpack to {claimed:,}, expected at most {most:,}; if you trust "
                         "it, store it without compression")  # fmt: skip


def _sample(path: Path, times: Any, units: Any, told: Told) -> list[Any]:
    """One of several."""
    count, part = len(times), told.part
    if part is None and count == 1:
        part = 0
    if isinstance(part, str) and part.isdecimal():
        part = int(part)
    if not isinstance(part, (int, np.integer)) or not 0 <= part < count:
        found = "several recordings" if part is None else f"no recording {shown(part)}"
        raise InputError(f"{path}: found {found}; say one of 0 to {count - 1}: part= (--part)")
    return _units(np.asarray(times[part]), np.asarray(units[part]), told)


def _units(times: Array, units: Array, told: Told, width: int = 0, polarity: Any = 1) -> list[Any]:
    """Unit i is pixel x = i of a row, or of rows of ``width``; times are cut to microseconds, as tonic does."""
    told.check_open()
    x, y = (units, 0 * units) if not width else (units % width, units // width)
    t = np.trunc(np.asarray(times, np.float64) * UNITS[told.unit or "s"])
    return [x, y, np.resize(polarity, len(units)) if len(units) else units, t]


# -- others -----------------------------------------------------------------------------------------------------------


def _mat(path: Path, told: Told) -> list[Any]:
    """Variables x, y, p, t, a structure of them, (N, 4) numbers, or ST-MNIST's spiketrain: in each column the signs of
    what 10 x 10 taxels sent, and last its time in seconds."""
    with path.open("rb") as file:
        if b"\x89HDF\r\n\x1a\n" in file.read(1024):  # from version 7.3 on
            return _hdf5(path, told)
    io = _library("scipy.io")
    shapes = {name: (shape, kind) for name, shape, kind in io.whosmat(path)}
    sizes = {name: 8 * math.prod(shape) for name, (shape, _) in shapes.items()}
    if "" not in (names := fields(list(shapes))):
        _check_size(path, sum(sizes[name] for name in names))
        read = io.loadmat(path, variable_names=names)
        return told.timed([read[name].reshape(-1) for name in names])
    if shapes.get("spiketrain", ((), ""))[0][:1] == (101,) and told.part in (None, "spiketrain"):
        _check_size(path, sizes["spiketrain"])
        train = io.loadmat(path, variable_names=["spiketrain"])["spiketrain"]
        column, taxel = np.nonzero(train[:-1].T)
        return _units(train[-1][column], taxel, told, 10, train[taxel, column] > 0)
    tables = {
        name: name for name, (shape, kind) in shapes.items()
        if kind == "struct" or (len(shape) == 2 and shape[1] == 4 and kind not in ("cell", "char", "object"))
    }  # fmt: skip
    name = _chosen(
        path, tables, told.part, f"x, y, p and t, or a structure of them, not {', '.join(shapes) or 'nothing'}"
    )
    _check_size(path, sizes[name])
    value = io.loadmat(path, variable_names=[name])[name]
    if value.dtype.names is None:
        return told.named(value, f"{path}: {name}")
    names = fields(value.dtype.names)
    if "" in names or value.size != 1:
        raise InputError(f"{path}: {name}: found {value.size} structures of {', '.join(value.dtype.names)}, expected "
                         "one with x, y, p and t")  # fmt: skip
    return told.timed([np.reshape(value[name].item(), -1) for name in names])


def _text(path: Path, told: Told) -> list[Any]:
    """Lines of numbers between commas, semicolons or blanks; the first may name the columns; # begins a comment."""
    with path.open(encoding="utf-8") as file:
        skip, first = 0, ""
        for line in file:
            if first := line.partition("#")[0].strip():
                break
            skip += 1
    if not first:
        return [np.zeros(0)] * 4
    delimiter = next((mark for mark in ",;" if mark in first), None)
    head = [word.strip(" \"'").lower() for word in first.split(delimiter)]
    numbers = all(_is_number(word) for word in head)
    columns: Any = None
    if not numbers:
        if "" in (names := fields(head)):
            raise InputError(f"{path}: found the columns {', '.join(head)[:200]}, expected x, y, p and t among them")
        columns = [head.index(name) for name in names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no data
        rows: Array = np.loadtxt(path, delimiter=delimiter, skiprows=skip + (not numbers), usecols=columns, ndmin=2)
    if columns is None:
        return told.named(rows, str(path))
    return told.timed(list(rows.reshape(-1, 4).T))


def _is_number(word: str) -> bool:
    with suppress(ValueError):
        float(word)
        return True
    return False


def _aedat4(path: Path, told: Told) -> list[Any]:
    """The events of one stream, by default the first that has some."""
    decoder = _library("aedat").Decoder(str(path))
    streams = {int(number): number for number, s in decoder.id_to_stream().items() if s["type"] == "events"}
    part = int(told.part) if isinstance(told.part, str) and told.part.isdecimal() else told.part
    number = _chosen(path, streams, min(streams, default=None) if part is None else part, "a stream of events")
    packets = [packet["events"] for packet in decoder if packet["stream_id"] == number]
    if not packets:
        return [np.zeros(0)] * 4
    events = np.concatenate(packets)
    return [events[name] for name in ("x", "y", "on", "t")]
