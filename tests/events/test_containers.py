# SPDX-License-Identifier: Apache-2.0
"""Recordings in files of other libraries, judged by tonic's readers, or written by those libraries."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.streams import recordings
from events.test_recordings import recording, same


def judge(name: str) -> Any:
    """Somebody else's reader or writer, or a skip."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        package = {"dv_processing": "dv-processing"}.get(name, name.partition(".")[0])
        pytest.skip(f"{error}: pip install {package}")


def rows(events: Array, order: str = "xypt") -> Any:
    return np.stack([events[name].astype(np.int64) for name in order], axis=1)


# -- AEDAT 2 and 4 ----------------------------------------------------------------------------------------------------

HEADER = b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.DAVIS240C\r\n#End Of ASCII Header\r\n"


def aedat2(address: Array, t: Array, header: bytes = HEADER) -> bytes:
    return header + np.stack([address, t], axis=1).astype(">u4").tobytes()


def test_aedat2_of_davis(rng: np.random.Generator, tmp_path: Path) -> None:
    """Frames and external signals are left out, as dv's reader does."""
    events = recording(rng, size=180)
    address = (
        events["y"].astype(np.int64) << 22 | events["x"].astype(np.int64) << 12 | events["p"].astype(np.int64) << 11
    )
    others = rng.random(len(events)) < 0.2
    address = np.where(others, address | rng.choice([1 << 31, 1 << 10], len(events)), address)
    path = tmp_path / "a.aedat"
    path.write_bytes(aedat2(address, events["t"]))
    read = recordings.read(path)
    assert same(read, events[~others])
    dv = judge("dv")
    with dv.LegacyAedatFile(str(path)) as file:
        theirs = [(e.x, e.y, int(e.polarity), e.timestamp) for e in file]
    kept = [e for e in theirs if e in set(map(tuple, rows(read)))]  # it takes external signals for darker pixels
    assert rows(read).tolist() == [list(e) for e in kept]


def test_aedat2_of_dvs128(rng: np.random.Generator, tmp_path: Path) -> None:
    """The first words look like lines of the header; times wrap."""
    events = recording(rng, size=128)
    address = events["y"].astype(np.int64) << 8 | events["x"].astype(np.int64) << 1 | 1 - events["p"].astype(np.int64)
    header = b"#!AER-DAT2.0\r\n# Camera DVS128\r\n"
    path = tmp_path / "a.aedat"
    path.write_bytes(aedat2(address, events["t"], header))
    assert same(recordings.read(path), events)
    late = (events["t"] + 2**32 - 20_000) % 2**32
    path.write_bytes(aedat2(address, late, header))
    assert np.array_equal(np.diff(recordings.read(path)["t"]), np.diff(events["t"]))
    hash_mark = int.from_bytes(b"#\n#\n", "big")
    path.write_bytes(aedat2(np.array([hash_mark] * 3), np.array([hash_mark] * 3)))
    assert len(recordings.read(path, "aedat2-davis")) == 3
    loader = judge("spikingjelly.datasets.cifar10_dvs")
    path.write_bytes(aedat2(address, events["t"], header))
    theirs = loader._load_origin_data(path)  # turned as CIFAR10-DVS' camera was
    assert all(np.array_equal(theirs[k], v) for k, v in (
        ("x", 127 - events["y"]), ("y", 127 - events["x"]), ("p", events["p"]), ("t", events["t"])))  # fmt: skip


def test_aedat4(rng: np.random.Generator, tmp_path: Path) -> None:
    """Written by its camera's library."""
    pytest.importorskip("aedat")
    dv = judge("dv_processing")
    events, path = recording(rng, count=5000, size=480), tmp_path / "a.aedat4"
    store = dv.EventStore()
    for x, y, p, t in rows(events).tolist():
        store.push_back(1_600_000_000_000_000 + t, x, y, bool(p))
    config = dv.io.MonoCameraWriter.Config("DVXplorer_sample")
    config.addEventStream((640, 480))
    config.addTriggerStream()
    writer = dv.io.MonoCameraWriter(str(path), config)
    writer.writeEvents(store)
    del writer
    events["t"] += 1_600_000_000_000_000
    for given in (None, 0, "0"):
        assert same(recordings.read(path, part=given), events)
    with pytest.raises(bnn.InputError, match="found no recording 7; say one of 0: part="):
        recordings.read(path, part=7)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(bnn.InputError, match="cannot be read as aedat4"):
        recordings.read(path)


def test_the_packages_own_aedat4(tmp_path: Path) -> None:
    pytest.importorskip("aedat")
    path = tmp_path / "a.aedat4"
    path.write_bytes(b"#!AER-DAT4.0\r\n")
    with pytest.raises(bnn.InputError, match="cannot be read as aedat4 .RuntimeError: .*damaged, or of another format"):
        recordings.read(path)


# -- HDF5 -------------------------------------------------------------------------------------------------------------


def test_units_of_speech(rng: np.random.Generator, tmp_path: Path) -> None:
    """SHD and SSC: times in seconds, half or single floats; the same events as tonic's."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "shd_test.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("spikes")
        for name, kind in (("times", np.float16), ("units", np.uint16)):
            group.create_dataset(name, (3,), h5py.vlen_dtype(kind))
        for i, n in enumerate((50, 0, 7)):
            group["times"][i] = np.sort(rng.uniform(0, 1.2, n)).astype(np.float16)
            group["units"][i] = rng.integers(0, 700, n)
        file["labels"] = np.arange(3)
        file["extra/keys"] = np.array([b"zero", b"one", b"two"])
        file["extra/speaker"] = np.zeros(3)
    with pytest.raises(bnn.InputError, match=r"found several recordings; say one of 0 to 2: part= \(--part\)"):
        recordings.read(path)
    for wrong in (3, -1, "x"):
        with pytest.raises(bnn.InputError, match="found no recording .* say one of 0 to 2"):
            recordings.read(path, part=wrong)
    assert not len(recordings.read(path, part=1))
    events = recordings.read(path, part="2")
    assert len(events) == 7 and not events["y"].any() and events["p"].all()
    hsd = judge("tonic.datasets.hsd")
    data = hsd.SHD.__new__(hsd.SHD)
    data.location_on_system, data.data_filename, data.transform, data.target_transform = tmp_path, path.name, None, None
    for part in range(3):
        theirs, _ = data[part]
        ours = recordings.read(path, part=part)
        assert np.array_equal(ours["x"], theirs["x"]) and np.array_equal(ours["t"], theirs["t"]), part


def test_units_of_digits(rng: np.random.Generator, tmp_path: Path) -> None:
    """N-TIDIGITS: an array for each sample; the same events as tonic's."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "n-tidigits.hdf5"
    with h5py.File(path, "w") as file:
        for split in ("train", "test"):
            for name in ("man-ae-1", "woman-bd-o"):
                file[f"{split}_timestamps/{name}"] = np.sort(rng.uniform(0, 2, 40)).astype(np.float32)
                file[f"{split}_addresses/{name}"] = rng.integers(0, 64, 40)
    with pytest.raises(
        bnn.InputError, match="several recordings; say one of 'test/man-ae-1', 'test/woman-bd-o', 'train"
    ):
        recordings.read(path)
    ours = recordings.read(path, part="train/woman-bd-o")
    assert len(ours) == 40 and ours["p"].all()
    digits = judge("tonic.datasets.ntidigits18")
    data = digits.NTIDIGITS18.__new__(digits.NTIDIGITS18)
    data.data, data.partition, data._samples = h5py.File(path, "r"), "train", ["woman-bd-o"]
    data.single_digits, data.transform, data.target_transform = False, None, None
    theirs, _ = data[0]
    assert np.array_equal(ours["x"], theirs["x"]) and np.array_equal(ours["t"], theirs["t"])


def test_units_are_pixels_of_a_row(rng: np.random.Generator) -> None:
    from bnn.snn.network import Network, Population, Projection
    from bnn.snn.rules import RULES, Dynamics, Reset

    one = {
        "threshold": np.full(1, 0.5, np.float32),
        "reset": np.zeros(1, np.float32),
        "initial": np.zeros(1, np.float32),
    }
    network = Network([Population("input", (700,)), Population("out", (700,), Dynamics(RULES["relay"], Reset.NONE), one,
                                                               output=True)],
                      [Projection(0, 1, "diagonal", np.ones(1, np.float32))], dt=1e-3)  # fmt: skip
    events = recordings.from_fields(rng.integers(0, 700, 90), np.zeros(90, int), np.ones(90, int), np.arange(90) * 100)
    run = bnn.snn.build(network).run_events(events)
    steps = np.zeros((9, 700), bool)
    steps[np.arange(90) // 10, events["x"]] = True
    assert np.array_equal(run.outputs[1:], np.cumsum(steps, axis=0)) and run.dropped == 0


def test_hdf5(rng: np.random.Generator, tmp_path: Path) -> None:
    """Arrays in a group, with an offset of times (DSEC); tables; numbers without names; MATLAB's from 7.3 on."""
    h5py = pytest.importorskip("h5py")
    events, path = recording(rng), tmp_path / "events.h5"
    with h5py.File(path, "w") as file:
        for name in "xypt":
            file.create_dataset(f"events/{name}", data=events[name], compression="gzip")
        file["t_offset"] = 1000
        file["ms_to_idx"] = np.arange(5)
    moved = events.copy()
    moved["t"] += 1000
    assert same(recordings.read(path), moved)
    with h5py.File(path, "w") as file:
        file["davis/left/events"] = rows(events, "xytp") / np.array([1, 1, 1e6, 1])
        file["davis/right/events"] = rows(events, "txyp")[:5]
        file["table"] = events[:9]
    assert same(recordings.read(path, part="/davis/left/events", columns="xytp", unit="s"), events)
    assert same(recordings.read(path, part="davis/right/events", columns="txyp"), events[:5])
    assert same(recordings.read(path, part="table"), events[:9])
    for options, message in (
        ({}, "found several recordings; say one of 'davis/left/events', 'davis/right/events', 'table'"),
        ({"part": "nothing"}, "found no recording 'nothing'"),
        ({"part": "davis/right/events"}, r"\(5, 4\), whose columns have no names; say their order: columns='txyp'"),
        ({"part": "table", "columns": "xyt"}, "columns: found 'xyt', expected the letters x, y, p, t"),
        ({"part": 1.5}, "part: found 1.5"), ({"unit": "min"}, "unit: found 'min'"),
    ):  # fmt: skip
        with pytest.raises(bnn.InputError, match=message):
            recordings.read(path, **options)
    with h5py.File(path, "w") as file:
        file["other"] = file["t_offset"] = h5py.ExternalLink("secret.h5", "/events")
    with pytest.raises(bnn.InputError, match="found no events, expected arrays x, y, p and t"):
        recordings.read(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("events/x", (4,), "i4", external=[("secret.bin", 0, 16)])
    with pytest.raises(bnn.InputError, match="'events/x' is stored in another file"):
        recordings.read(path)
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout((4,), "i4")
        layout[:] = h5py.VirtualSource("secret.h5", "x", (4,), "i4")
        file.create_virtual_dataset("events/x", layout)
    with pytest.raises(bnn.InputError, match="'events/x' is stored in another file"):
        recordings.read(path)
    with h5py.File(path, "w") as file:
        for name in "xypt":
            file.create_dataset(name, (10**10,), "i8", chunks=(2**20,), compression="gzip")
    with pytest.raises(bnn.InputError, match=r"bytes that unpack to 320,000,000,000, expected at most"):
        recordings.read(path)
    path.write_bytes(path.read_bytes()[:800])
    with pytest.raises(bnn.InputError, match="cannot be read as hdf5"):
        recordings.read(path)
    mat = tmp_path / "new.mat"
    with h5py.File(mat, "w", userblock_size=512) as file:  # EBSSA
        for name, field in zip(("x", "y", "p", "ts"), "xypt", strict=True):
            file[f"TD/{name}"] = events[field].astype(np.float64)[None]
    mat.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + mat.read_bytes()[512:])
    assert same(recordings.read(mat), events)


# -- MATLAB, text, numbers --------------------------------------------------------------------------------------------


def test_mat(rng: np.random.Generator, tmp_path: Path) -> None:
    """Variables (ASL-DVS), a structure (TD of event-Python), and numbers without names."""
    io = pytest.importorskip("scipy.io")
    events, path = recording(rng), tmp_path / "a.mat"
    columns = {name: events[field].astype(np.float64)[:, None] for name, field in
               zip(("x", "y", "pol", "ts"), "xypt", strict=True)}  # fmt: skip
    for compressed in (False, True):
        io.savemat(path, columns, do_compression=compressed)
        assert same(recordings.read(path), events)
    io.savemat(path, {"TD": {"x": events["x"], "y": events["y"], "p": events["p"], "ts": events["t"]}, "Obj": {"a": 1}})
    assert same(recordings.read(path, part="TD"), events)
    with pytest.raises(bnn.InputError, match="Obj: found 1 structures of a, expected one with x, y, p and t"):
        recordings.read(path, part="Obj")
    io.savemat(path, {"events": rows(events, "txyp")})
    assert same(recordings.read(path, columns="txyp"), events)
    train = rng.choice([-1.0, 0, 1], (101, 60), p=[0.01, 0.98, 0.01])  # ST-MNIST
    train[-1] = np.sort(rng.uniform(0, 2, 60))
    io.savemat(path, {"spiketrain": train})
    want = [(i % 10, i // 10, int(train[i, k] > 0), int(train[-1, k] * 1e6)) for k in range(60) for i in range(100)
            if train[i, k]]  # fmt: skip
    assert recordings.read(path).tolist() == want
    io.savemat(path, {"spiketrain": np.zeros((100, 7))})
    with pytest.raises(bnn.InputError, match="found no events, expected x, y, p and t, .* not spiketrain"):
        recordings.read(path)
    path.write_bytes(b"hello")
    with pytest.raises(bnn.InputError, match="cannot be read as mat"):
        recordings.read(path)


def test_text_and_numbers(rng: np.random.Generator, tmp_path: Path) -> None:
    events, path = recording(rng), tmp_path / "events.csv"
    path.write_text("# a comment\nt,p,y,x,more\n" + "".join(f"{t},{p},{y},{x},0.5\n" for x, y, p, t in events))
    assert same(recordings.read(path), events)
    text = tmp_path / "events.txt"  # of the Event Camera Dataset
    text.write_text("".join(f"{t / 1e6:.9f} {x} {y} {p}\n" for x, y, p, t in events))
    assert same(recordings.read(text, columns="txyp", unit="s"), events)
    late = rows(events, "txyp") * [1000, 1, 1, 1]
    np.savetxt(path, late + [600, 0, 0, 0], fmt="%d", delimiter=";")
    assert np.array_equal(recordings.read(path, columns="txyp", unit="ns")["t"], events["t"] + 1)
    with pytest.raises(bnn.InputError, match=r"t: found .* at event \d+, expected whole microseconds"):
        recordings.read(text, columns="txyp")
    with pytest.raises(bnn.InputError, match=r"shape \(200, 4\), whose columns have no names; say their order"):
        recordings.read(text)
    np.save(tmp_path / "a.npy", rows(events, "txyp"))  # POKER-DVS, as tonic keeps it
    assert same(recordings.read(tmp_path / "a.npy", columns="txyp"), events)
    with pytest.raises(bnn.InputError, match=r"shape \(200, 4\), whose columns have no names; say their order"):
        recordings.read(tmp_path / "a.npy")
    for content, message in (
        ("x,y,p\n1,2,1\n", "found the columns x, y, p, expected x, y, p and t among them"),
        ("x,y,p,t\n1,2,1\n", "cannot be read as text"), ("1 2 3\n", r"found an array of the shape \(1, 3\)"),
        ("x,y,p,t\n1,2,one,3\n", "cannot be read as text .ValueError"),
    ):  # fmt: skip
        path.write_text(content)
        with pytest.raises(bnn.InputError, match=message):
            recordings.read(path)
    path.write_text("\n# nothing\n")
    assert not len(recordings.read(path))
    path.write_text("x,y,p,t\n")
    assert not len(recordings.read(path))


def test_what_says_nothing_of_a_file_is_refused(rng: np.random.Generator, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(recordings.encode_nmnist(recording(rng)))
    for name, value in (("part", 1), ("columns", "xypt"), ("unit", "s")):
        with pytest.raises(bnn.InputError, match=f"{name}: found .* for a file of the format nmnist, .*leave it out"):
            recordings.read(tmp_path / "a.bin", **{name: value})
