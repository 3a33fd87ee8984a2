# SPDX-License-Identifier: Apache-2.0
"""Event cameras: file formats, and the rules by which events become bits."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.events import EventEngine
from bnn.events.rules import Rule, frames
from bnn.streams import recordings
from bnn.streams.grid import place
from events.spiking import mismatches, random_model


def recording(rng: np.random.Generator, count: int = 200, size: int = 8, until: int = 50_000) -> Array:
    t = np.sort(rng.integers(0, until, count))
    x, y = rng.integers(0, size, (2, count))
    return recordings.from_fields(x, y, rng.integers(0, 2, count), t)


def same(a: Array, b: Array) -> bool:
    return all(np.array_equal(a[name], b[name]) for name in "xypt")


# -- files ------------------------------------------------------------------------------------------------------------


def test_nmnist(rng: np.random.Generator, tmp_path: Path) -> None:
    events = recording(rng, size=34, until=300_000)
    path = tmp_path / "00001.bin"
    path.write_bytes(recordings.encode_nmnist(events))
    assert same(recordings.read(path), events)


def test_nmnist_by_hand() -> None:
    """x, y, polarity and 23 bits of time; y = 240 adds 2**13 us to what follows."""
    data = bytes([3, 7, 0x80, 0, 5]) + bytes([0, 240, 0, 0, 0]) + bytes([1, 2, 0x01, 0x02, 0x03])
    events = recordings.decode_nmnist(data)
    assert [tuple(map(int, e)) for e in events] == [(3, 7, 1, 5), (1, 2, 0, 0x010203 + 8192)]


def test_nmnist_truncated() -> None:
    with pytest.raises(bnn.InputError, match="7 bytes, expected a multiple of 5"):
        recordings.decode_nmnist(bytes(7))


def test_numpy_files(rng: np.random.Generator, tmp_path: Path) -> None:
    events = recording(rng)
    np.save(tmp_path / "a.npy", events)
    np.savez(tmp_path / "b.npz", **{name: events[name] for name in "xypt"})
    tonic = np.empty(len(events), np.dtype([("x", int), ("y", int), ("t", int), ("p", int)]))
    for name in "xypt":
        tonic[name] = events[name]
    np.save(tmp_path / "c.npy", tonic[::-1])
    for name in ("a.npy", "b.npz"):
        assert same(recordings.read(tmp_path / name), events)
    assert np.array_equal(recordings.read(tmp_path / "c.npy")["t"], events["t"])  # sorted
    np.save(tmp_path / "d.npy", np.zeros(3))
    with pytest.raises(TypeError, match="structured array with fields x, y, p, t"):
        recordings.read(tmp_path / "d.npy")
    (tmp_path / "e.npy").write_bytes(b"\x93NUMPY\x01\x00garbage")
    with pytest.raises(bnn.InputError, match="not a NumPy file"):
        recordings.read(tmp_path / "e.npy")


def aedat3(events: Array, per_packet: int = 64) -> bytes:
    """As the specification has it: 28 bytes of header, then eight bytes an event."""
    out = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
    for first in range(0, len(events), per_packet):
        part = events[first : first + per_packet]
        out += struct.pack("<hhiiiiii", 0, 1, 4, 0, 0, 1, 1, 1) + bytes(4)  # a packet of another kind
        out += struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, len(part), len(part), len(part))
        for x, y, p, t in part:
            out += struct.pack("<II", int(x) << 17 | int(y) << 2 | int(p) << 1 | 1, int(t))
    return out


def test_aedat3(rng: np.random.Generator, tmp_path: Path) -> None:
    events = recording(rng, size=128)
    path = tmp_path / "user01.aedat"
    path.write_bytes(aedat3(events))
    assert same(recordings.read(path), events)
    path.write_bytes(aedat3(events)[:-3])
    with pytest.raises(bnn.InputError, match="claims 8 events|claims 64 events"):
        recordings.read(path)


@pytest.mark.parametrize(("encoding", "until"), [("dat", 50_000), ("evt2", 50_000), ("evt3", 4_000)])
def test_prophesee(rng: np.random.Generator, tmp_path: Path, encoding: str, until: int) -> None:
    """Files written by expelliarmus itself; its writer of EVT 3 forgets the upper bits of the time, so stay below."""
    expelliarmus = pytest.importorskip("expelliarmus")
    events = recording(rng, size=120, until=until)
    array = np.zeros(len(events), np.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1")]))
    for name in "xypt":
        array[name] = events[name]
    path = tmp_path / ("x.dat" if encoding == "dat" else "x.raw")
    expelliarmus.Wizard(encoding=encoding).save(fpath=path, arr=array)
    read = recordings.read(path)
    assert len(read) == len(events)
    assert same(read, events)


@pytest.mark.parametrize(("encoding", "ending", "word"), [("dat", "dat", 8), ("evt2", "raw", 4), ("evt3", "raw", 2)])
def test_truncated_prophesee(rng: np.random.Generator, tmp_path: Path, encoding: str, ending: str, word: int) -> None:
    """expelliarmus reads what is whole and says nothing of the rest."""
    expelliarmus = pytest.importorskip("expelliarmus")
    events = recording(rng, size=120, until=4_000)
    array = np.zeros(len(events), np.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1")]))
    for name in "xypt":
        array[name] = events[name]
    path = tmp_path / f"x.{ending}"
    expelliarmus.Wizard(encoding=encoding).save(fpath=path, arr=array)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(bnn.InputError, match=f"bytes of events, expected a multiple of {word}; copy it again"):
        recordings.read(path)


@pytest.mark.parametrize(
    ("version", "words", "time"),
    [
        (2, np.array([0x80000025, 0x10000000 | 5 << 22 | 3 << 11 | 37], "<u4"), 0x25 << 6 | 5),  # the time first
        (3, np.array([0x8025, 0x6005, 37, 0x2803], "<u2"), 0x25 << 12 | 5),
        (3, np.array([37, 0x8000, 0x6005, 0x2803], "<u2"), 5),  # the row first
    ],
)
def test_prophesee_body_that_begins_as_its_header(tmp_path: Path, version: int, words: Array, time: int) -> None:
    """The first byte of the first word is the % that lines of the header begin with."""
    pytest.importorskip("expelliarmus")
    path = tmp_path / "x.raw"
    path.write_bytes(f"% date 2020-01-01 00:00:00\n% evt {version}.0\n".encode() + words.tobytes())
    assert recordings.read(path).tolist() == [(3, 37, 1, time)]


def test_dat_whose_first_event_begins_as_its_header(tmp_path: Path) -> None:
    """In .dat files the events stand behind two bytes, so nothing is mistaken for a line of the header ..."""
    pytest.importorskip("expelliarmus")
    path = tmp_path / "x.dat"
    event = (37 | ((1 << 28) | (3 << 14) | 2) << 32).to_bytes(8, "little")
    path.write_bytes(b"% Data file\n% Version 2\n\x0c\x08" + event)
    assert event[:1] == b"%" and recordings.read(path).tolist() == [(2, 3, 1, 37)]
    # ... but the first of these two, with which expelliarmus would look for a line's end for ever.
    path.write_bytes(b"% Data file\n%\x08" + event)
    with pytest.raises(bnn.InputError, match=r"x\.dat: events of type 0x25, expected one of Prophesee's: damaged"):
        recordings.read(path)


def changed(name: str, value: Any) -> dict[str, Any]:
    """Four events as columns, one of them another."""
    return {"x": [1, 2, 3, 4], "y": [1, 1, 2, 2], "p": [0, 1, 0, 1], "t": [0, 10, 20, 30]} | {name: value}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            changed("t", [0.0, 0.00025, 0.0005, 0.1]),
            "t: found 0.00025 at event 1, expected whole microseconds; if they",
        ),
        (changed("t", [0.0, 1.0, np.nan, 3.0]), "t: found nan at event 2"),
        (changed("t", np.array([0, 1, 2, 2**63], np.uint64)), "t: found 9223372036854775808 at event 3"),
        (changed("x", [1, 2, 65536, 4]), "x: found 65536 at event 2, expected whole numbers from 0 to 32767"),
        (changed("y", [1, -1, 2, 2]), "y: found -1 at event 1"),
        (changed("x", [1.5, 2, 3, 4]), "x: found 1.5 at event 0"),
        (changed("x", ["1", "2", "3", "4"]), "x: found dtype <U1, expected whole numbers"),
        (changed("p", [0, 1, 2, 1]), "p: found 2 at event 2, expected 0 or 1"),
        (changed("t", [0, 1, 2]), "expected four of one length"),
    ],
)
def test_columns_that_are_no_events(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Nothing is rounded or wrapped: not from arrays, not from a file, not in a structured array."""
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    with pytest.raises(bnn.InputError, match=message):
        recordings.from_fields(**arrays)
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(bnn.InputError, match=f"a.npz: .*{message}"):
        recordings.read(tmp_path / "a.npz")
    if len(columns["t"]) == 4:
        events = np.empty(4, [(name, a.dtype) for name, a in arrays.items()])
        for name, a in arrays.items():
            events[name] = a
        with pytest.raises(bnn.InputError, match=message):
            place(events, (8, 8, 1), (0, 0), 1)


def test_whole_numbers_of_any_type() -> None:
    columns = changed("p", [-1, 1, -1, 1])
    want = recordings.from_fields(**columns)
    assert want["p"].tolist() == [0, 1, 0, 1]
    for dtype in ("u8", "i1", "f4", "f8"):
        signed = {n: np.asarray(c, dtype if n != "p" or dtype != "u8" else "i8") for n, c in columns.items()}
        assert same(recordings.from_fields(**signed), want)
    booleans = changed("p", np.array([False, True, False, True]))
    assert same(recordings.from_fields(**booleans), want)


def test_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such recording"):
        recordings.read(tmp_path / "nothing.bin")
    path = tmp_path / "x.aedat4"
    path.write_bytes(b"#!AER-DAT1.0\r\n")
    with pytest.raises(bnn.InputError, match=r"AEDAT 1\.0, expected 2\.0, 3\.1 or 4\.0"):
        recordings.read(path)
    path.write_bytes(b"hello")
    with pytest.raises(bnn.InputError, match="unknown format"):
        recordings.read(path)
    with pytest.raises(bnn.InputError, match="format: found 'avi'"):
        recordings.read(path, "avi")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.dat", b"hello", "has no header"),
        ("x.dat", b"", "has no header"),
        ("x.dat", b"#!AER-DAT2.0\r\n", "its header names no camera that is read; say which layout"),
        ("x.aedat", b"#!AER-DAT2.0\r\n# DVS128\r\n1234", "4 bytes of events, expected a multiple of 8"),
        ("x.raw", bytes(range(1, 200)), "has no header"),
        ("x.raw", b"% evt 2.1\n% geometry 640x480\n", r"EVT 2\.1, expected EVT 2\.0 or 3\.0"),
        ("x.raw", b"% format EVT4;height=720\n", "EVT 4"),
        ("x.raw", b"% date 2020-01-01\n", "states no encoding"),
        ("x.bin", bytes(i * 37 % 239 for i in range(1000)), r"time decreases \d+ times in 200 events"),
    ],
)
def test_files_of_another_kind(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(bnn.InputError, match=message):
        recordings.read(tmp_path / name)


def test_other_names_of_the_fields(rng: np.random.Generator, tmp_path: Path) -> None:
    events = recording(rng)
    other = np.empty(len(events), [("timestamp", "<i8"), ("x", "<i2"), ("y", "<i2"), ("polarity", "?")])
    for name, source in (("timestamp", "t"), ("x", "x"), ("y", "y"), ("polarity", "p")):
        other[name] = events[source]
    np.save(tmp_path / "a.npy", other)
    np.savez(tmp_path / "a.npz", **{name: other[name] for name in other.dtype.names or ()})
    for name in ("a.npy", "a.npz"):
        assert same(recordings.read(tmp_path / name), events)


# -- rules ------------------------------------------------------------------------------------------------------------


def bits_over_time(events: Array, shape: tuple[int, ...], rule: Rule) -> list[tuple[int, Array]]:
    return [(now, bits) for now, _, bits in frames(place(events, shape, (0, 0), 1), shape, rule)]


def by_definition(events: Array, shape: tuple[int, ...], rule: Rule, now: int) -> Array:
    """The rule's own words, event by event."""
    bits = np.zeros(shape, bool)
    for y in range(shape[0]):
        for x in range(shape[1]):
            here = events[(events["x"] == x) & (events["y"] == y) & (events["t"] < now)]
            for c in range(shape[2]):
                mine = here if shape[2] == 1 else here[here["p"] == c]
                if rule.name == "window":
                    bits[y, x, c] = np.count_nonzero(mine["t"] >= now - rule.window) >= rule.count
                elif rule.name == "decay":
                    bits[y, x, c] = np.exp((mine["t"] - now) / rule.tau).sum() >= rule.level
                elif len(here):
                    bits[y, x, c] = here["p"][-1] == (1 if shape[2] == 1 else c)
    return bits


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    "rule",
    [Rule("window", 1000, window=3000), Rule("window", 700, window=9000, count=2), Rule("decay", 1000, tau=4000.0),
     Rule("surface", 900)],
    ids=str,
)  # fmt: skip
def test_rules(rng: np.random.Generator, rule: Rule, channels: int) -> None:
    events = recording(rng, 120, size=4, until=20_000)
    shape = (4, 4, channels)
    steps = bits_over_time(events, shape, rule)
    assert steps
    for now, bits in steps:
        assert np.array_equal(bits, by_definition(events, shape, rule, now)), now
    if rule.name == "window":
        assert not steps[-1][1].any()  # it ends when the last event has left the window


@pytest.mark.parametrize("binary_input", [False, True])
def test_a_recording_runs(rng: np.random.Generator, binary_input: bool) -> None:
    """After every step the network is where the synchronous one is on the accumulated frame."""
    model = random_model(rng, binary_input)
    while model.input_shapes[0][2] > 2:
        model = random_model(rng, binary_input)
    shape = model.input_shapes[0]
    events = recording(rng, 300, size=10)
    engine = EventEngine(model)
    rule = Rule("window", step=2000, window=4000)
    run = engine.run_events(events, rule)
    assert run.dropped == np.count_nonzero((events["x"] >= shape[1]) | (events["y"] >= shape[0]))
    assert run.dropped + run.events == len(events) and run.seen[-1] == run.events
    levels = np.array([engine.blank, 1.0], np.float32)
    accumulated = [levels[b.astype(int)] for _, _, b in frames(place(events, shape, (0, 0), 1), shape, rule)]
    want = model(np.stack(accumulated))
    assert np.array_equal(run.outputs[1:], want.reshape(len(want), -1, want.shape[-1])[:, 0])
    assert mismatches(engine, accumulated[-1]) == {}
    assert str(rule) in str(run) and run.as_dict()["steps"] == len(run.times)


@pytest.mark.parametrize("first", [-(2**40), 2**60])
def test_times_count_from_the_first(rng: np.random.Generator, first: int) -> None:
    """A clock may start anywhere, even below 0."""
    model = random_model(rng)
    while model.input_shapes[0][2] > 2:
        model = random_model(rng)
    events = recording(rng, 50, size=3)
    later = events.copy()
    later["t"] += first
    engine = EventEngine(model)
    runs = [engine.run_events(e, step=5000) for e in (events, later)]
    assert np.array_equal(runs[0].outputs, runs[1].outputs)
    assert np.array_equal(runs[1].times - first, runs[0].times)


def test_a_wrong_time_does_not_make_a_run_endless(rng: np.random.Generator) -> None:
    model = random_model(rng)
    while model.input_shapes[0][2] > 2:
        model = random_model(rng)
    events = recording(rng, 50, size=3)
    events["t"][-1] = 10**12
    with pytest.raises(
        bnn.InputError, match=r"steps of 1,000 us, expected at most 1,000,000; .*event 48 is followed by"
    ):
        EventEngine(model).run_events(events)
    with pytest.raises(bnn.InputError, match="expected at most 1,000,000"):
        EventEngine(model).run_events(events[:1], step=1, window=2**39)


def test_a_rule_has_its_own_parameters() -> None:
    assert (Rule().window, Rule(step=25_000).window, Rule().count) == (10_000, 25_000, 1)
    decay = Rule("decay")
    assert (decay.tau, decay.level, decay.window, decay.count) == (10_000, 0.5, None, None)
    assert Rule("surface").window is None


def test_place() -> None:
    events = recordings.from_fields([10, 11, 12, 30], [20, 20, 23, 20], [0, 1, 1, 0], [1, 2, 3, 4])
    placed = place(events, (2, 2, 1), (20, 10), 2)
    assert placed.pixel.tolist() == [0, 0, 3] and placed.polarity.tolist() == [0, 1, 1] and placed.dropped == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "median"}, "rule: found 'median', expected one of window, decay, surface"),
        ({"step": 0}, "step: found 0"),
        ({"window": 10, "step": 100}, "at least one step"),
        ({"tao": 3}, "options: found tao"),
        ({"shrink": 0}, "shrink: found 0"),
        ({"origin": (1.5, 0)}, r"origin: found \(1.5, 0\), expected \(y, x\)"),
        ({"step": 2500.5}, "step: found 2500.5, expected a whole number"),
        ({"step": 0.5}, "step: found 0.5, expected a whole number"),
        ({"count": True}, "count: found True"),
        ({"rule": "decay", "tau": float("nan")}, "tau: found nan"),
        ({"rule": "decay", "tau": float("inf")}, "tau: found inf"),
        ({"rule": "decay", "level": "0.5"}, "level: found '0.5', expected a number"),
        (
            {"rule": "decay", "window": 20_000},
            "window: found 20000, but rule decay takes step, tau, level; leave it out",
        ),
        ({"rule": "surface", "count": 2}, "count: found 2, but rule surface takes step; leave it out"),
        ({"rule": Rule("decay"), "step": 3, "tau": 7}, "options: found step, tau together with a Rule"),
        ({"on": float("nan")}, "on: found nan, expected a finite"),
        ({"off": "low"}, "off: found 'low', expected a number"),
        ({"on": 1.0, "off": 1.0}, "on, off: found 1.0 and 1.0"),
    ],
)
def test_bad_rules(rng: np.random.Generator, small: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(bnn.InputError, match=message):
        EventEngine(bnn.Model.from_bytes(small.data)).run_events(recording(rng), **change)


def test_bad_recordings(rng: np.random.Generator) -> None:
    events = recording(rng)
    shape = (8, 8, 1)
    with pytest.raises(bnn.InputError, match="time decreases at event"):
        place(events[::-1], shape, (0, 0), 1)
    with pytest.raises(TypeError, match="expected a structured array"):
        place(np.zeros((4, 4)), shape, (0, 0), 1)
    with pytest.raises(TypeError, match="'t' is missing"):
        place(events[["x", "y", "p"]], shape, (0, 0), 1)
    with pytest.raises(bnn.InputError, match=r"\(H, W, 1\), \(H, W, 2\) or \(units,\)"):
        place(events, (8, 8, 3), (0, 0), 1)
    with pytest.raises(bnn.InputError, match=r"none of the \d+ events lies on the network's 8 x 8 pixels: x is"):
        place(events, shape, (500, 0), 1)
    empty = list(frames(place(events[:0], shape, (0, 0), 1), shape, Rule()))
    assert empty == []
