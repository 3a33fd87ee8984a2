# SPDX-License-Identifier: Apache-2.0
"""Recordings: the last value and the last byte that each format takes, and one more."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.streams import recordings
from bnn.streams.recordings import decode_aedat3, decode_nmnist, encode_nmnist, from_fields


def one(**changed: Any) -> Array:
    """One event, of which some fields are other than 0."""
    return from_fields(**{name: [changed.get(name, 0)] for name in "xypt"})


# -- columns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "lowest", "highest"), [("x", 0, 2**15 - 1), ("y", 0, 2**15 - 1), ("p", -1, 1), ("t", -(2**62), 2**62)]
)
def test_what_a_field_holds(name: str, lowest: int, highest: int) -> None:
    for value in (lowest, highest):
        assert one(**{name: value})[name][0] == (value > 0 if name == "p" else value)
    for value in (lowest - 1, highest + 1):
        with pytest.raises(bnn.InputError, match=f"events: {name}: found {value} at event 0, expected"):
            one(**{name: value})
    assert one(p=0)["p"] == one(p=-1)["p"] == 0


@pytest.mark.parametrize("dtype", ["c16", "O", "S1", "U1", "M8[us]", "m8[us]", "V2"])
def test_what_is_no_number(dtype: str) -> None:
    with pytest.raises(bnn.InputTypeError, match="x: found dtype"):
        from_fields(np.zeros(1, dtype), [0], [0], [0])


def test_columns_are_of_one_length_and_one_dimension() -> None:
    for shape in ((1, 1), ()):
        with pytest.raises(bnn.InputError, match="expected four of one length"):
            from_fields(*[np.zeros(shape, int)] * 4)
    assert len(from_fields([], [], [], [])) == 0


def test_events_of_one_time_stay_in_order(tmp_path: Path, rng: np.random.Generator) -> None:
    t = rng.integers(0, 3, 200)
    np.save(tmp_path / "a.npy", from_fields(np.arange(200), np.zeros(200, int), np.zeros(200, int), t))
    assert recordings.read(tmp_path / "a.npy")["x"].tolist() == sorted(range(200), key=lambda i: int(t[i]))


# -- N-MNIST ----------------------------------------------------------------------------------------------------------


def nmnist(times: list[int]) -> bytes:
    return b"".join(bytes([0, 0]) + t.to_bytes(3, "big") for t in times)


@pytest.mark.parametrize(("count", "falls"), [(5, 1), (100, 2), (200, 3)])
def test_times_may_fall_once_and_in_one_event_of_a_hundred(count: int, falls: int) -> None:
    times = list(range(100, 100 + count))
    for i in range(falls):
        times[2 * i + 1] = 0
    assert len(decode_nmnist(nmnist(times))) == count
    times[2 * falls + 1] = 0
    with pytest.raises(bnn.InputError, match=f"time decreases {falls + 1} times in {count} events"):
        decode_nmnist(nmnist(times))


def test_which_row_is_no_event() -> None:
    data = b"".join(bytes([1, row, 0, 0, 0]) for row in (239, 240, 241))
    assert [(e["y"], e["t"]) for e in decode_nmnist(data)] == [(239, 0), (241, 2**13)]


@pytest.mark.parametrize(("name", "last"), [("x", 255), ("y", 239), ("t", 2**23 - 1)])
def test_what_nmnist_holds(name: str, last: int) -> None:
    event = one(**{name: last})
    assert decode_nmnist(encode_nmnist(event)) == event
    for value in (last + 1, -1):
        event[name] = value
        with pytest.raises(
            bnn.InputError, match="x below 256, y below 240 and times below|found -1 at event 0, expected whole"
        ):
            encode_nmnist(event)
    assert encode_nmnist(event[:0]) == b""


# -- AEDAT ------------------------------------------------------------------------------------------------------------


def packet(
    *events: tuple[int, int], kind: int = 1, size: int = 8, overflow: int = 0, number: int | None = None
) -> bytes:
    """Of (address, time) each."""
    count = len(events) if number is None else number
    data = b"".join(struct.pack("<II", *e) for e in events)
    return struct.pack("<hhiiiiii", kind, 1, size, 4, overflow, count, count, count) + data


HEAD = b"#!AER-DAT3.1\n#!END-HEADER\n"


def test_all_bits_of_an_address() -> None:
    """15 of column and row each, polarity, and whether the event is valid; times go on after 2^31."""
    first = packet((2**32 - 1, 7), (2**32 - 2, 8), (0x4000 << 17 | 1, 9))
    events = decode_aedat3(HEAD + first + packet((3, 1), overflow=1))
    assert events.tolist() == [(2**15 - 1, 2**15 - 1, 1, 7), (2**14, 0, 0, 9), (0, 0, 1, 2**31 + 1)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_header_ends_where_it_says(end: bytes) -> None:
    """A packet of kind 35 begins as a line of the header does."""
    other = packet((3, 1), kind=ord("#"))
    assert decode_aedat3(b"#!AER-DAT3.1" + end + b"#!END-HEADER" + end + other + packet((1, 5)))["t"].tolist() == [5]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (packet((1, 5))[:-1], "claims 1 events of 8 bytes: damaged"),
        (packet((1, 5)) + packet()[:-1], "a packet's header is cut off at byte 62"),
        (packet((1, 5), number=2), "claims 2 events of 8 bytes"),
        (packet((1, 5), number=-1), "claims -1 events"),
        (packet((1, 5), (1, 6), size=7, number=1), "polarity events of 7 bytes before byte 54, expected 8"),
        (packet((1, 5), (1, 6), size=9, number=1), "polarity events of 9 bytes before byte 54, expected 8"),
        (packet((1, 5), size=0), "claims 1 events of 0 bytes"),
        (packet(size=0), "claims 0 events of 0 bytes"),
    ],
)
def test_packets_that_contradict_themselves(data: bytes, message: str) -> None:
    with pytest.raises(bnn.InputError, match=message):
        decode_aedat3(HEAD + data)


def test_packets_of_nothing() -> None:
    """At the end, or of another kind with events of any size."""
    data = HEAD + packet(kind=0, size=4) + packet((1, 5), kind=2, size=4, number=2) + packet((1, 5)) + packet(size=9)
    assert decode_aedat3(data)["t"].tolist() == [5] and len(decode_aedat3(HEAD)) == len(decode_aedat3(b"")) == 0
    with pytest.raises(bnn.InputError, match="the header does not end"):
        decode_aedat3(HEAD[:-1])


# -- Prophesee --------------------------------------------------------------------------------------------------------


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes]]:
    """What expelliarmus is given: the encoding, and the file."""
    found: list[tuple[str, bytes]] = []

    class Wizard:
        def __init__(self, encoding: str) -> None:
            self.encoding = encoding

        def read(self, path: Path) -> dict[str, list[int]]:
            found.append((self.encoding, path.read_bytes()))
            return {name: [0] for name in "xypt"}

    monkeypatch.setitem(sys.modules, "expelliarmus", SimpleNamespace(Wizard=Wizard))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("encoding", "data", "expected"),
    [
        ("evt2", b"% a\n" + bytes(8), 4), ("evt3", b"% a\n" + bytes(2), 4), ("evt2", b"", 0), ("evt3", b"%a", 0),
        ("evt2", b"% a\n% end\n% b\n", 10), ("evt2", b"% a\n%\x00\x00\x00", 4), ("dat", b"% a\n\x00\x08", 6),
        ("dat", b"% a\n\x00\x08" + bytes(8), 6), ("dat", b"% END \n\x00\x08", 9),
        ("dat", b"% a\n\x00", "ends after its header"), ("dat", b"% a\n", "ends after its header"),
        ("dat", b"% a\n\x00\x07", "events of 7 bytes, expected 8"), ("dat", b"% a\n\x00\x09", "events of 9 bytes"),
        ("dat", b"% a\n%\x08", "events of type 0x25"), ("dat", b"% a\n\x00\x08" + bytes(7), "a multiple of 8"),
        ("evt2", b"% a\n" + bytes(6), "6 bytes of events, expected a multiple of 4"),
        ("evt3", b"% a\n" + bytes(3), "a multiple of 2"), ("evt2", b"% a", "the header does not end"),
    ],
)  # fmt: skip
def test_where_events_begin(
    encoding: str, data: bytes, expected: int | str, tmp_path: Path, handed: list[tuple[str, bytes]]
) -> None:
    """What is handed on begins there with an event of its own, where the first looks like a line of the header."""
    path = tmp_path / "x"
    path.write_bytes(data)
    if isinstance(expected, int):
        recordings.read(path, encoding)
        ((kind, found),) = handed
        more = len(found) - len(data)
        assert kind == encoding and found[:expected] + found[expected + more :] == data
        assert (more > 0) == (encoding != "dat" and data[expected : expected + 1] == b"%")
    else:
        with pytest.raises(bnn.InputError, match=f"^{path}: .*{expected}"):
            recordings.read(path, encoding)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"% evt 2.0", "evt2"), (b"% evt 3.0", "evt3"), (b"% EVT 3.1", "evt3"), (b"% format EVT2;x", "evt2"),
        (b"% format EVT3", "evt3"), (b"% evt 2.1", "EVT 2.1, expected"), (b"% evt 1.0", "EVT 1.0"),
        (b"% evt 4.0", "EVT 4.0"), (b"% evt x", "states no encoding"), (b"evt 2.0", "has no header"),
    ],
)  # fmt: skip
def test_which_encoding_a_header_names(
    line: bytes, found: str, tmp_path: Path, handed: list[tuple[str, bytes]]
) -> None:
    path = tmp_path / "x.raw"
    path.write_bytes(b"% date\n" * (b"%" in line) + line + b"\n")
    if found.startswith("evt"):
        recordings.read(path)
        assert handed == [(found, path.read_bytes())]
    else:
        with pytest.raises(bnn.InputError, match=found):
            recordings.read(path)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda path: None, "damaged; copy it again, or say its format"),
        (lambda path: 1 / 0, "as evt2: division by zero"),
    ],
)
def test_a_reader_that_fails(tmp_path: Path, read: Any, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.raw"
    path.write_bytes(b"% evt 2.0\n")
    reader = SimpleNamespace(Wizard=lambda encoding: SimpleNamespace(read=read))
    monkeypatch.setitem(sys.modules, "expelliarmus", reader)  # type: ignore[arg-type]
    with pytest.raises(bnn.InputError, match=f"expelliarmus cannot read it .*{message}"):
        recordings.read(path)
    monkeypatch.setitem(sys.modules, "expelliarmus", None)  # type: ignore[arg-type]
    with pytest.raises(bnn.SetupError, match=r"pip install 'expelliarmus<2,>=1.1' .expelliarmus: GPLv2"):
        recordings.read(path)


# -- any file ---------------------------------------------------------------------------------------------------------


def test_files_are_known_by_their_endings(tmp_path: Path) -> None:
    """In any letters; what is in an archive by the names of its arrays."""
    events = from_fields([3], [2], [1], [5])
    for name in ("a.npy", "A.NPY"):
        with open(tmp_path / name, "wb") as file:
            np.save(file, events)
    for name in ("b.npz", "B.NPZ"):
        with open(tmp_path / name, "wb") as file:
            np.savez(file, anything=events)
    for name in ("c.bin", "C.BIN"):
        (tmp_path / name).write_bytes(encode_nmnist(events))
    for path in tmp_path.iterdir():
        assert recordings.read(path).tolist() == events.tolist(), path
    np.savez(tmp_path / "two.npz", a=events, b=events)
    with pytest.raises(bnn.InputError, match="contains a, b, expected x, y, p, t or one structured array"):
        recordings.read(tmp_path / "two.npz")
    with pytest.raises(bnn.ModelNotFoundError, match="is a folder; give the file"):
        recordings.read(tmp_path)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (MemoryError(), bnn.InputError, "need more memory than is available"),
        (PermissionError(13, "Permission denied"), bnn.InputError, "cannot be read: Permission denied"),
        (OSError("odd"), bnn.InputError, "cannot be read: odd; expected a recording"),
        (bnn.errors.ModelFileError("as it was"), bnn.errors.ModelFileError, "^as it was$"),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, error: Exception, kind: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is raised where they are read, here before expelliarmus begins."""

    def fail(encoding: str) -> Any:
        raise error

    (tmp_path / "a.raw").write_bytes(b"% evt 2.0\n")
    monkeypatch.setitem(sys.modules, "expelliarmus", SimpleNamespace(Wizard=fail))  # type: ignore[arg-type]
    with pytest.raises(kind, match=message) as caught:
        recordings.read(tmp_path / "a.raw")
    assert type(caught.value) is kind
