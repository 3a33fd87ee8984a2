# SPDX-License-Identifier: Apache-2.0
"""Read event-camera recordings into the structured array that `tonic` uses: x, y, p, t (microseconds).

    events = bnn.streams.recordings.read("00002.bin")
    run = bnn.events.EventEngine(model).run_events(events, "window", window=20000)

Arrays (.npy, .npz), text, N-MNIST's .bin, AEDAT 2 and 3.1 need only NumPy; HDF5, MATLAB's .mat and AEDAT 4 the extra
`recordings`; Prophesee's .dat and .raw (EVT 2 and 3) the package expelliarmus (GPLv2): pip install -e '.[prophesee]'.
"""

from __future__ import annotations

import importlib
import os
import re
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .._arguments import check_choice, shown
from .._distribution import install
from .._types import Array
from ..errors import BnnError, InputError, InputTypeError, ModelNotFoundError, SetupError
from ..runtime.arrays import as_array, as_bytes
from ..runtime.files import path_text
from ..runtime.numpy_files import load
from .containers import FIELDS, UNITS, Told, fields, read_container

__all__ = [
    "EVENT", "FIELDS", "FORMATS", "UNITS", "decode_aedat2", "decode_aedat3", "decode_nmnist", "encode_nmnist",
    "from_fields", "read", "structured_columns", "whole_columns",
]  # fmt: skip

#: Fields of a recording: pixel column and row, polarity (1: brighter, 0: darker), time in microseconds.
EVENT = np.dtype([("x", "<i2"), ("y", "<i2"), ("p", "u1"), ("t", "<i8")])
FORMATS = (
    "nmnist", "numpy", "text", "hdf5", "mat", "aedat2-dvs128", "aedat2-davis", "aedat3", "aedat4", "dat", "evt2",
    "evt3",
)  # fmt: skip
# The formats that take each option.
_TAKES = {"part": ("hdf5", "mat", "aedat4"), **dict.fromkeys(("columns", "unit"), ("numpy", "text", "hdf5", "mat"))}
_SUFFIXES = {
    **dict.fromkeys((".npy", ".npz"), "numpy"), ".bin": "nmnist", **dict.fromkeys((".h5", ".hdf5"), "hdf5"),
    ".mat": "mat", **dict.fromkeys((".csv", ".txt"), "text"),
}  # fmt: skip
_ENDINGS = ".npy, .npz, .csv, .txt, .h5, .mat, .bin (N-MNIST), .aedat, .aedat4, .dat or .raw (Prophesee)"

# The range of a field: EVENT's x and y have 16 bits, and the difference of two times must fit into 64.
_RANGES = {"x": (0, 2**15 - 1), "y": (0, 2**15 - 1), "p": (-1, 1), "t": (-(2**62), 2**62)}
_MEANINGS = {"p": "0 or 1 (or -1 and 1)", "t": "whole microseconds; if they are seconds, multiply by 1e6 and round"}

_NMNIST_BYTES = 5
_NMNIST_OVERFLOW_ROW = 240
_NMNIST_OVERFLOW = 2**13
_AEDAT3_HEADER = struct.Struct("<hhiiiiii")  # type, source, size, timestamp offset, overflow, capacity, number, valid
_AEDAT3_POLARITY = 1
# The size of a Prophesee file's body is a multiple of these bytes.
_PROPHESEE_WORDS = {"dat": 8, "evt2": 4, "evt3": 2}
# How a line of its header begins.  expelliarmus looks only at the first byte, which one body in 256 also begins with:
# such a body is passed on after an added time of 0, which the body's first time replaces.
_COMMENT = b"% "
_NO_TIME = {"evt2": bytes.fromhex("00000080"), "evt3": bytes.fromhex("0080")}


def read(
    path: str | os.PathLike[str], format: str | None = None, *, part: int | str | None = None,
    columns: str | None = None, unit: str | None = None,
) -> Array:  # fmt: skip
    """A recording as a structured array (x, y, p, t), sorted by t.

    Args:
        path: the file.
        format: one of FORMATS; None: determined by the file's name and first bytes.
        part: of a file with several recordings, the number of one (SHD, SSC; a stream of AEDAT 4) or its name (a group
            or array of HDF5, a variable of .mat).
        columns: the order of x, y, p and t in numbers without names, (N, 4) arrays or text, such as "txyp".
        unit: of the times: "us" (the default; of SHD and SSC "s"), "ms", "s" or "ns"; times are then rounded to
            microseconds.

    Raises:
        ModelNotFoundError (a FileNotFoundError): there is no such file.
        InputError: the file does not have that format, is damaged, or claims more than it contains; says where.  A .npz
            file may unpack to 100 times its size, or 256 MiB.
        SetupError: the package that reads it is not installed.
    """
    name = Path(path_text(path))
    if not os.path.isfile(name):
        found = "is a folder" if os.path.isdir(name) else "there is no such recording"
        raise ModelNotFoundError(f"{name}: {found}; give the file: {_ENDINGS}")
    if format is not None:
        check_choice(format, "format", FORMATS)
    told = Told(part, columns, unit)
    try:
        kind = format or _guess(name)
        events = _read(name, kind, told.check(kind, _TAKES))
    except MemoryError:
        raise InputError(
            f"{name}: its events need more memory than is available; expected a shorter recording"
        ) from None
    except OSError as error:
        if isinstance(error, BnnError):
            raise
        raise InputError(f"{name}: cannot be read: {error.strerror or error}; expected a recording") from None
    order = np.argsort(events["t"], kind="stable")
    return events if np.array_equal(order, np.arange(len(order))) else events[order]


def _read(path: Path, kind: str, told: Told) -> Array:
    if kind == "numpy":
        return _read_numpy(path, told)
    if kind in ("hdf5", "mat", "text", "aedat4"):
        return from_fields(*read_container(path, kind, told), source=str(path))
    if kind == "nmnist":
        return decode_nmnist(path.read_bytes(), str(path))
    if kind == "aedat3":
        return decode_aedat3(path.read_bytes(), str(path))
    if kind.startswith("aedat2"):
        return decode_aedat2(path.read_bytes(), kind.removeprefix("aedat2-"), str(path))
    return _read_prophesee(path, kind)


def from_fields(x: Any, y: Any, p: Any, t: Any, *, source: str = "events") -> Array:
    """A recording from four arrays of the same length; ``source`` is its name in errors.  See :func:`whole_columns`."""
    x, y, p, t = whole_columns(x, y, p, t, source)
    events = np.empty(len(t), EVENT)
    events["x"], events["y"], events["p"], events["t"] = x, y, p > 0, t
    return events


def whole_columns(x: Any, y: Any, p: Any, t: Any, source: str = "events") -> list[Array]:
    """x, y, p and t as 64-bit integers.

    Raises:
        InputTypeError: a column holds no numbers.
        InputError: the lengths differ; a number is not whole or out of range: x and y from 0 to 32767, p 0 or 1 (or
            -1 and 1), t in microseconds.
    """
    given = zip("xypt", (x, y, p, t), strict=True)
    columns = [as_array(c, f"{source}: {name}", _expected(name)) for name, c in given]
    if len({c.shape for c in columns}) != 1 or columns[0].ndim != 1:
        raise InputError(f"{source}: x, y, p, t have shapes {[c.shape for c in columns]}, expected four of one length")
    return [_whole(f"{source}: {name}", name, column) for name, column in zip("xypt", columns, strict=True)]


def _expected(name: str) -> str:
    low, high = _RANGES[name]
    return _MEANINGS.get(name, f"whole numbers from {low} to {high}")


def _whole(what: str, name: str, values: Array) -> Array:
    (low, high), expected = _RANGES[name], _expected(name)
    if values.dtype.kind not in "biuf":
        raise InputTypeError(f"{what}: found dtype {values.dtype}, expected {expected}")
    if not len(values):
        return np.empty(0, np.int64)
    if values.dtype.kind == "f":
        wrong = np.flatnonzero(~np.isfinite(values) | (values != np.rint(values)))
        if len(wrong):
            raise InputError(f"{what}: found {values[wrong[0]]!s} at event {wrong[0]}, expected {expected}")
    # As Python integers: NumPy compares unsigned with signed 64-bit integers as floats.
    for at in (int(np.argmin(values)), int(np.argmax(values))):
        if not low <= int(values[at]) <= high:
            beyond = "; it is out of range" if name == "t" else ""
            raise InputError(f"{what}: found {int(values[at])} at event {at}, expected {expected}{beyond}")
    return values.astype(np.int64)


def decode_nmnist(data: bytes, source: str = "N-MNIST data") -> Array:
    """N-MNIST's .bin: five bytes per event, most significant bit first: x (8 bits), y (8), polarity (1), time (23).

    y = 240 is not an event: all later times are 2**13 us later.
    """
    data = bytes(as_bytes(data, f"the bytes of {source}"))
    if len(data) % _NMNIST_BYTES:
        raise InputError(f"{source}: {len(data)} bytes, expected a multiple of {_NMNIST_BYTES}; copy it again")
    raw = np.frombuffer(data, np.uint8).reshape(-1, _NMNIST_BYTES).astype(np.int64)
    t = (raw[:, 2] & 0x7F) << 16 | raw[:, 3] << 8 | raw[:, 4]
    overflow = raw[:, 1] == _NMNIST_OVERFLOW_ROW
    t += np.cumsum(overflow) * _NMNIST_OVERFLOW
    falls = int(np.count_nonzero(np.diff(t) < 0))
    if falls > 0.01 * len(t) + 1:
        raise InputError(
            f"{source}: time decreases {falls} times in {len(t)} events: damaged, or not N-MNIST; copy it again"
        )
    keep = ~overflow
    return from_fields(raw[keep, 0], raw[keep, 1], raw[keep, 2] >> 7, t[keep], source=source)


def encode_nmnist(events: Array) -> bytes:
    """The inverse of :func:`decode_nmnist`, for times below 2**23 us."""
    x, y, p, t = whole_columns(*structured_columns(events, "events"))
    p = (p > 0).astype(np.int64)
    if len(t) and (t.min() < 0 or t.max() >= 2**23 or x.min() < 0 or x.max() > 255 or y.min() < 0 or y.max() >= 240):
        raise InputError("N-MNIST's format stores x below 256, y below 240 and times below 2**23 us")
    columns = (x, y, p << 7 | t >> 16, t >> 8 & 0xFF, t & 0xFF)
    return bytes(np.stack(columns, axis=1).astype(np.uint8).tobytes())


def decode_aedat2(data: bytes, camera: str, source: str = "AEDAT data") -> Array:
    """AEDAT 2: lines beginning with #, then addresses and times of 32 bits, most significant byte first.

    ``camera``: "dvs128": bit 0 is 0 if it became brighter, x is bits 1 to 7, y bits 8 to 14.  "davis" (DAVIS240,
    DAVIS346): bit 11 is 1 if it became brighter, x is bits 12 to 21, y bits 22 to 30.  Other signals are skipped.
    Rows are counted as in the file, where a camera may begin at the bottom.
    """
    check_choice(camera, "camera", ("dvs128", "davis"))
    data = bytes(as_bytes(data, f"the bytes of {source}"))
    at = (
        re.match(rb"(?s)(?:#[\t -\xff]*\r?\n)*?(?i:#\s*end of ascii header)\r?\n|(?:#[\t -~]*\r?\n)*", data) or [b""]
    )[0]
    if (len(data) - len(at)) % 8:
        raise InputError(f"{source}: {len(data) - len(at):,} bytes of events, expected a multiple of 8; copy it again")
    address, t = np.frombuffer(data, ">u4", offset=len(at)).reshape(-1, 2).astype(np.int64).T
    t = t + np.cumsum(np.diff(t, prepend=t[:1]) < -(2**31)) * 2**32
    if camera == "dvs128":
        keep, fields_ = address >> 15 == 0, (address >> 1 & 0x7F, address >> 8 & 0x7F, 1 - (address & 1))
    else:
        keep = (address >> 31 == 0) & (address >> 10 & 1 == 0)
        fields_ = (address >> 12 & 0x3FF, address >> 22 & 0x1FF, address >> 11 & 1)
    return from_fields(*(column[keep] for column in (*fields_, t)), source=source)


def decode_aedat3(data: bytes, source: str = "AEDAT data") -> Array:
    """AEDAT 3.1: text lines beginning with #, then packets; those of polarity events are read, others skipped."""
    data = bytes(as_bytes(data, f"the bytes of {source}"))
    at = _after_header(data, b"#", b"#!end-header", source)
    parts = []
    while at < len(data):
        if at + _AEDAT3_HEADER.size > len(data):
            raise InputError(f"{source}: a packet's header is cut off at byte {at}: truncated")
        kind, _, size, _, overflow, _, number, _ = _AEDAT3_HEADER.unpack_from(data, at)
        at += _AEDAT3_HEADER.size
        if size <= 0 or number < 0 or at + size * number > len(data):
            raise InputError(
                f"{source}: the packet before byte {at} claims {number} events of {size} bytes: damaged; copy it again"
            )
        if kind == _AEDAT3_POLARITY and number:
            if size != 8:
                raise InputError(
                    f"{source}: polarity events of {size} bytes before byte {at}, expected 8: damaged; copy it again"
                )
            words = np.frombuffer(data, "<u4", 2 * number, at).reshape(-1, 2).astype(np.int64)
            words = words[words[:, 0] & 1 == 1]  # valid ones
            address, t = words[:, 0], words[:, 1] + overflow * 2**31
            x, y, p = address >> 17 & 0x7FFF, address >> 2 & 0x7FFF, address >> 1 & 1
            parts.append(from_fields(x, y, p, t, source=source))
        at += size * number
    return np.concatenate(parts) if parts else np.empty(0, EVENT)


def _after_header(data: bytes, mark: bytes, last: bytes, source: str) -> int:
    """Where a header of lines that begin with ``mark`` ends: after the line ``last`` (in lower case), if it has one."""
    at = 0
    while data[at : at + len(mark)] == mark:
        end = data.find(b"\n", at)
        if end < 0:
            raise InputError(f"{source}: the header does not end: truncated")
        line, at = data[at:end].strip().lower(), end + 1
        if line == last:
            break
    return at


def _guess(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in _SUFFIXES:
        return _SUFFIXES[suffix]
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith(b"#!AER-DAT3"):
        return "aedat3"
    if head.startswith(b"#!AER-DAT4"):
        return "aedat4"
    if head.startswith(b"#!AER-DAT2"):
        cameras = {name for name in ("dvs128", "davis") if name.encode() in head.lower()}
        if len(cameras) != 1:
            raise InputError(f"{path}: its header names no camera that is read; say which layout its addresses have: "
                             "aedat2-dvs128 or aedat2-davis (--format)")  # fmt: skip
        return f"aedat2-{cameras.pop()}"
    if head.startswith(b"#!AER-DAT"):
        version = head[9:12].decode("ascii", "replace")
        raise InputError(f"{path}: AEDAT {version.strip()}, expected 2.0, 3.1 or 4.0; convert it (dv-processing, jAER) "
                         "or pass a structured array x, y, p, t to run_events")  # fmt: skip
    if head.startswith(b"\x89HDF"):
        return "hdf5"
    if suffix in (".dat", ".raw"):
        return _prophesee(path, suffix, head)
    raise InputError(f"{path}: unknown format; expected {_ENDINGS}, or give its format: {', '.join(FORMATS)}")


def _prophesee(path: Path, suffix: str, head: bytes) -> str:
    """The encoding of a Prophesee file by its header, lines that begin with %."""
    if re.search(rb"^%", head, re.MULTILINE) is None:
        raise InputError(f"{path}: has no header (lines that begin with %), as Prophesee's {suffix} files have")
    if suffix == ".dat":
        return "dat"
    stated = re.search(rb"^%.*?(?:evt |format evt)(\d.{0,2})", head.lower(), re.MULTILINE)
    if stated is None:
        raise InputError(f"{path}: its header states no encoding (% evt 2.0 or % evt 3.0)")
    version = stated[1].decode("ascii", "replace")
    if version == "2.1" or version[0] not in "23":
        raise InputError(f"{path}: EVT {version}, expected EVT 2.0 or 3.0; convert it")
    return f"evt{version[0]}"


def _read_numpy(path: Path, told: Told) -> Array:
    def choose(names: list[str]) -> list[str]:
        found = fields(names)
        if "" in found and len(names) != 1:
            raise InputError(f"{path}: contains {', '.join(names)}, expected x, y, p, t or one structured array")
        return names if "" in found else found

    loaded = load(path, choose)
    if isinstance(loaded, dict):
        if len(loaded) > 1:
            return from_fields(*told.timed(list(loaded.values())), source=str(path))
        (loaded,) = loaded.values()
    if loaded.dtype.names is None and (told.columns is not None or (loaded.ndim == 2 and loaded.shape[1] == 4)):
        return from_fields(*told.named(loaded, str(path)), source=str(path))
    return from_fields(*told.timed(structured_columns(loaded, str(path))), source=str(path))


def structured_columns(events: Any, source: str) -> list[Any]:
    """x, y, p and t of a structured array; raises InputTypeError if it is none, or has no such fields."""
    if isinstance(events, np.ndarray):
        events = as_array(events, source)
    dtype = getattr(events, "dtype", shown(events))
    found = fields(getattr(dtype, "names", None) or ())
    if "" in found:
        missing = FIELDS[found.index("")][0]
        expected = f"a structured array with fields x, y, p, t; '{missing}' is missing"
        hint = "bnn.streams.recordings has read(path) and from_fields(x, y, p, t)"
        if isinstance(events, np.ndarray):
            hint += "; frames or spikes over time are not a recording: run_stream (bnn snn run --data)"
        raise InputTypeError(f"{source}: found {dtype}, expected {expected}; {hint}")
    return [events[name] for name in found]


_OTHERWISE = "copy it again, or say its format"


def _read_prophesee(path: Path, encoding: str) -> Array:
    try:
        wizard: Any = importlib.import_module("expelliarmus").Wizard(encoding=encoding)
    except ImportError as error:
        raise SetupError(f"Prophesee files are read by expelliarmus ({error}): {install('prophesee')}") from None
    data = path.read_bytes()
    at = _body(path, data, encoding)
    try:
        if encoding in _NO_TIME and data[at : at + 1] == _COMMENT[:1]:
            events = _read_copy(wizard, data[:at] + _NO_TIME[encoding] + data[at:], path.suffix)
        else:
            events = wizard.read(path)
    except Exception as error:  # expelliarmus may raise anything; the caller wants one kind
        raise InputError(f"{path}: expelliarmus cannot read it as {encoding}: {error}; {_OTHERWISE}") from None
    if events is None:
        raise InputError(f"{path}: expelliarmus cannot read it as {encoding}: damaged; {_OTHERWISE}")
    return from_fields(*(events[n] for n in "xypt"), source=str(path))


def _read_copy(wizard: Any, data: bytes, suffix: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"copy{suffix}"
        copy.write_bytes(data)
        return wizard.read(copy)


def _body(path: Path, data: bytes, encoding: str) -> int:
    """Where a file's events begin.  expelliarmus drops bytes after the last whole event; that is refused here."""
    at = _after_header(data, _COMMENT, b"% end", str(path))
    if encoding == "dat":
        if len(data) < at + 2:
            raise InputError(f"{path}: ends after its header: truncated")
        kind, size, at = data[at], data[at + 1], at + 2
        if kind == _COMMENT[0]:  # expelliarmus would take it for an endless header
            raise InputError(f"{path}: events of type {kind:#x}, expected one of Prophesee's: damaged; copy it again")
        if size != _PROPHESEE_WORDS["dat"]:
            raise InputError(
                f"{path}: events of {size} bytes, expected {_PROPHESEE_WORDS['dat']}: damaged; copy it again"
            )
    if (len(data) - at) % _PROPHESEE_WORDS[encoding]:
        found = f"{len(data) - at:,} bytes of events"
        raise InputError(f"{path}: {found}, expected a multiple of {_PROPHESEE_WORDS[encoding]}; copy it again")
    return at
