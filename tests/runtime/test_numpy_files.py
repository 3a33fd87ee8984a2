# SPDX-License-Identifier: Apache-2.0
"""Hostile .npy and .npz files: refused by name before memory is taken, by recordings and by commands alike."""

from __future__ import annotations

import functools
import io
import os
import re
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.runtime import numpy_files
from bnn.streams import recordings
from seed import some


def everything(names: list[str]) -> list[str]:
    return names


def npy(array: Array) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, allow_pickle=True)
    return out.getvalue()


def claiming(shape: Any, descr: Any = "<f4", data: bytes = bytes(16), version: int = 1, order: bool = False) -> bytes:
    """A .npy file whose header says so."""
    header = repr({"descr": descr, "fortran_order": order, "shape": shape}).encode()
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header + data


def npz(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def patched(data: bytes, mark: bytes, at: int, value: bytes) -> bytes:
    """The last record of a zip file that begins with ``mark``, changed at an offset in it."""
    begin = data.rindex(mark) + at
    return data[:begin] + value + data[begin + len(value) :]


WHOLE = npz({"x.npy": npy(np.arange(40.0))})
CENTRAL, END = b"PK\x01\x02", b"PK\x05\x06"

HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not a NumPy file"),
    "other magic": (b"hello world", "not a NumPy file"),
    "a pickle": (b"\x80\x04N.", "not a NumPy file"),
    "cut in the magic": (b"\x93NUM", "not a NumPy file"),
    "cut in the header": (claiming((4,))[:30], "not a NumPy file"),
    "other version": (b"\x93NUMPY\x09\x00" + claiming((4,))[8:], "not a NumPy file"),
    "header of no length": (b"\x93NUMPY\x01\x00\x00\x00", "not a NumPy file"),
    "huge header": (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b" " * 99, "not a NumPy file"),
    "deep header": (b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"(" * 9000, "not a NumPy file"),
    "no dictionary": (b"\x93NUMPY\x01\x00\x04\x00" + b"1234", "not a NumPy file"),
    "code for a header": (b"\x93NUMPY\x01\x00\x0e\x00__import__('x'", "not a NumPy file"),
    "huge shape": (claiming((2**40,)), r"4,398,046,511,104 bytes are claimed by shape \(1099511627776,\)"),
    "2 huge sizes": (claiming((2**40, 2**40)), "bytes are claimed"),
    "too large for 64 bits": (claiming((2**70,)), "bytes are claimed"),
    "one more than there is": (claiming((5,)), "20 bytes are claimed .*, found 16"),
    "version 2": (claiming((5,), version=2), "20 bytes are claimed"),
    "version 3": (claiming((5,), version=3), "20 bytes are claimed"),
    "Fortran's order": (claiming((5, 7), order=True), "140 bytes are claimed"),
    "negative": (claiming((-1,)), "which no array can have"),
    "two negatives": (claiming((-2, -2)), "which no array can have"),
    "none and too many": (claiming((0, 2**70)), "damaged"),
    "100 dimensions": (claiming((1,) * 100, data=bytes(4)), "damaged"),
    "sizes that are no numbers": (claiming(("a",)), "not a NumPy file"),
    "no type": (claiming((1,), "zz"), "not a NumPy file"),
    "elements of no bytes": (claiming((2**40,), "|S0"), "which no array can have"),
    "fields of no bytes": (claiming((2**40,), [("x", "|V0")]), "which no array can have"),
    "large elements": (claiming((1,), f"|V{2**30}"), "bytes are claimed"),
    "objects": (npy(np.array([{}, None], object)), "contains Python objects"),
    "an object in a field": (claiming((1,), [("x", "<i4"), ("y", "|O")]), "contains Python objects"),
    "an archive of nothing": (npz({}), r"contains .*expected|states no"),
    "an archive, cut": (WHOLE[:-30], "not a NumPy file"),
    "an archive, an array cut": (npz({"x.npy": npy(np.arange(40.0))[:-8]}), "320 bytes are claimed .*, found 312"),
    "no archive": (b"PK\x03\x04" + bytes(100), "not a NumPy file"),
    "no array inside": (npz({"x.npy": b"hello"}), "not a NumPy file"),
    "objects inside": (npz({"x.npy": npy(np.array([None]))}), "contains Python objects"),
    "huge shape inside": (npz({"x.npy": claiming((2**40,))}), "bytes are claimed"),
    "packed, huge shape": (npz({"x.npy": claiming((2**40,))}, zipfile.ZIP_DEFLATED), "bytes are claimed"),
    "bomb": (b"", "that unpack to"),  # takes seconds to make: see contents
    "packed by bzip2": (npz({"x.npy": claiming((999,), "|u1", bytes(999))}, zipfile.ZIP_BZIP2), "by method 12"),
    "packed by lzma": (npz({"x.npy": claiming((999,), "|u1", bytes(999))}, zipfile.ZIP_LZMA), "by method 14"),
    "claims 4 GB": (patched(WHOLE, CENTRAL, 24, b"\xff\xff\xff\xfe"), "that unpack to"),
    "claims 200 MB": (
        patched(npz({"x.npy": claiming((2**27,), "|u1")}), CENTRAL, 24, struct.pack("<I", 2**27 + 500)), "damaged",
    ),
    "wrong checksum": (patched(WHOLE, CENTRAL, 16, b"\0\0\0\0"), "Bad CRC-32"),
    "encrypted": (patched(WHOLE, CENTRAL, 8, b"\x01\x00"), "not a NumPy file"),
    "array elsewhere": (patched(WHOLE, CENTRAL, 42, b"\xff\xff\xff\x7f"), "not a NumPy file"),
    "array in another's name": (patched(WHOLE, CENTRAL, 46, b"z"), "not a NumPy file"),
    "directory elsewhere": (patched(WHOLE, END, 16, b"\xff\xff\xff\x7f"), "not a NumPy file"),
    "directory of 4 GB": (patched(WHOLE, END, 12, b"\xff\xff\xff\xfe"), "not a NumPy file"),
}  # fmt: skip


@functools.cache
def contents(name: str) -> bytes:
    """Of a hostile file."""
    if name != "bomb":
        return HOSTILE[name][0]
    return npz({"x.npy": claiming((2**29,), "|u1", bytes(2**29))}, zipfile.ZIP_DEFLATED)


@pytest.fixture
def limited() -> Any:
    """With 1.5 GB of memory more than there is now: an array of 4 GB could not be made."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    held = re.search(r"VmData:\s+(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert held is not None
    resource.setrlimit(resource.RLIMIT_DATA, (int(held[1]) * 1024 + 3 * 2**29, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, before)


def check(read: Callable[[Path], Any], path: Path, message: str) -> None:
    with pytest.raises(bnn.InputError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory")
@pytest.mark.parametrize("name", HOSTILE)
def test_recordings(tmp_path: Path, name: str, limited: Any) -> None:
    data, message = contents(name), HOSTILE[name][1]
    for suffix in ("npz", "npy"):
        path = tmp_path / f"recording.{suffix}"
        path.write_bytes(data)
        check(recordings.read, path, message)


@pytest.mark.parametrize("name", [n for n in HOSTILE if n != "an archive of nothing"])
def test_any_array(tmp_path: Path, name: str) -> None:
    data, message = contents(name), HOSTILE[name][1]
    path = tmp_path / "x.npz"
    path.write_bytes(data)
    check(lambda p: numpy_files.load(p, everything), path, message)


def test_flipped_bits_and_cuts(tmp_path: Path) -> None:
    """An array, or an error of one kind."""
    path = tmp_path / "x.npz"
    packed = npz({"x.npy": npy(np.arange(3, dtype=np.int16))}, zipfile.ZIP_DEFLATED)
    whole = npy(np.arange(3, dtype=np.int16))
    for data in (packed, whole):
        changes = [data[:n] for n in range(len(data))]
        for bit in range(0, 8 * len(data), 3):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            changes.append(bytes(changed))
        for change in changes:
            path.write_bytes(change)
            try:
                found = numpy_files.load(path, everything)
            except bnn.InputError as error:
                assert str(error).startswith(f"{path}: ")
            else:
                assert isinstance(found, (dict, np.ndarray))


@pytest.mark.parametrize("array", [
    np.arange(24.0).reshape(2, 3, 4), np.asfortranarray(np.arange(24).reshape(4, 6)), np.array(7),
    np.arange(5, dtype=">i4"), np.zeros((0, 5)), np.zeros(3, [("x", "<i2"), ("t", ">i8")]),
    np.zeros(3, [("\u6f22", "i4")]), np.array(["a", "bc"]),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:Stored array in format 3.0")
def test_honest_ones(tmp_path: Path, array: Array) -> None:
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", a=array, b=array[None])
    np.savez_compressed(tmp_path / "y.npz", a=array)
    found = numpy_files.load(tmp_path / "x.npy", everything)
    assert isinstance(found, np.ndarray) and found.dtype == array.dtype and np.array_equal(found, array)
    for name, names in (("x.npz", ["a"]), ("x.npz", ["b", "a"]), ("y.npz", ["a"])):
        several = numpy_files.load(tmp_path / name, lambda _, names=names: names)
        assert isinstance(several, dict) and list(several) == names
        assert np.array_equal(several[names[0]].reshape(array.shape), array)


def test_how_far_an_archive_may_unpack(tmp_path: Path) -> None:
    """256 MiB always; more where it is at most a hundred times the file.  What is chosen counts together."""
    assert numpy_files.most_unpacked(0) == 2**28 and numpy_files.most_unpacked(10**7) == 10**9
    path, array, half = tmp_path / "x.npz", npy(np.arange(4.0)), 2**27
    with zipfile.ZipFile(path, "w") as archive:
        for name, size in (("a", half), ("b", half), ("c", len(array)), ("d", half + 1)):
            archive.writestr(f"{name}.npy", array)
            archive.getinfo(f"{name}.npy").file_size = size  # as the directory says, which is written last
    for chosen in (["a", "b"], ["c"], ["d", "c"]):
        assert list(numpy_files.load(path, lambda names, chosen=chosen: chosen)) == chosen  # type: ignore[misc]
    for chosen, size in (["a", "d"], 2**28 + 1), (["b", "a", "c"], 2**28 + len(array)):
        message = f"that unpack to {size:,}, expected at most {2**28:,}; if you trust it"
        check(lambda p, chosen=chosen: numpy_files.load(p, lambda names: chosen), path, message)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "damaged: its arrays need more memory than is available"),
        (ValueError(), "damaged: ValueError"),
        (ValueError("odd"), "damaged: odd"), (OSError(5, "Input/output error"), "damaged: Input/output error"),
        (bnn.InputError("as it was"), "as it was"),
    ],
)  # fmt: skip
def test_what_numpy_raises(tmp_path: Path, error: Exception, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: Any, allow_pickle: bool) -> Array:
        raise error

    np.save(tmp_path / "x.npy", np.arange(3))
    monkeypatch.setattr("numpy.lib.format.read_array", fail)
    with pytest.raises(bnn.InputError) as caught:
        numpy_files.load(tmp_path / "x.npy", everything)
    found = str(caught.value).removesuffix("; write it with np.save or np.savez")
    assert found.removeprefix(f"{tmp_path / 'x.npy'}: ") == said


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        numpy_files.load(path, everything)


def aedat(*packets: tuple[tuple[int, ...], bytes]) -> bytes:
    return b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + b"".join(struct.pack("<hhiiiiii", *h) + d for h, d in packets)


RECORDINGS: dict[str, tuple[bytes, str]] = {
    "a.aedat": (aedat(((1, 0, 8, 4, 0, 2**31 - 1, 2**31 - 1, 1), bytes(8))), "claims 2147483647 events of 8 bytes"),
    "b.aedat": (aedat(((1, 0, 2**31 - 1, 4, 0, 1, 1, 1), bytes(8))), "claims 1 events of 2147483647 bytes"),
    "c.aedat": (aedat(((1, 0, 8, 4, 0, 1, -1, 1), bytes(8))), "claims -1 events"),
    "d.aedat": (aedat(((1, 0, -8, 4, 0, 1, 1, 1), bytes(8))), "events of -8 bytes"),
    "e.aedat": (aedat(((1, 0, 0, 4, 0, 1, 1, 1), bytes(8))), "events of 0 bytes"),
    "f.aedat": (aedat(((1, 0, 4, 4, 0, 1, 1, 1), bytes(8))), "polarity events of 4 bytes"),
    "g.aedat": (b"#!AER-DAT3.1" + bytes(99), "the header does not end"),
    "h.aedat": (b"#!AER-DAT\xff\xff\xff\n", "expected 2.0, 3.1 or 4.0"),
    "a.dat": (b"% end\n\x00\xff" + bytes(64), "events of 255 bytes, expected 8"),
    "b.dat": (b"% end\n", "ends after its header"),
    "c.dat": (b"% no end", "the header does not end"),
    "a.raw": (b"% evt 9\xff\xff\n" + bytes(64), "expected EVT 2.0 or 3.0"),
    "b.raw": (b"% evt 2.0\n% end\n" + bytes(3), "expected a multiple of 4"),
    "c.raw": (b"% evt 3.0\n% end\n" + bytes(3), "expected a multiple of 2"),
    "a.bin": (bytes(6), "expected a multiple of 5"),
}  # fmt: skip


@pytest.mark.parametrize("name", RECORDINGS)
def test_other_recordings(tmp_path: Path, name: str) -> None:
    if name.endswith((".dat", ".raw")):
        pytest.importorskip("expelliarmus")
    data, message = RECORDINGS[name]
    path = tmp_path / name
    path.write_bytes(data)
    check(recordings.read, path, message)


def test_many_empty_packets_take_no_memory() -> None:
    data = aedat(*[((1, 0, 8, 4, 0, 0, 0, 0), b"")] * 1000)
    assert len(recordings.decode_aedat3(data)) == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_recording_that_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(b"")
    path.chmod(0)
    check(recordings.read, path, "cannot be read: Permission denied")


def png(width: int, height: int) -> bytes:
    """An image that is all in its header."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


MOST_MEMORY = """
import re, sys
from bnn.cli import main
status = main(sys.argv[1:])
print(status, int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    some([
        ("a.png", png(12000, 12000), [], "the image is 12000 x 12000, the model reads 12 x 12"),
        ("b.png", png(12000, 12000), ["--resize"], "that unpack to 576,000,000, expected at most 268,435,456"),
        ("c.png", png(2**31 - 1, 2**31 - 1), ["--resize"], "exceeds limit"),
        ("d.png", png(12, 12)[:60], [], "damaged image"),
        ("e.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 12 12\n%%EndComments\n", [], "format EPS, expected"),
        ("a.npy", claiming((2**40, 12, 12, 1)), [], "bytes are claimed"),
        ("b.npz", b"bomb", [], "that unpack to"),
        ("c.npy", WHOLE, [], "an archive of arrays, not one array; rename it to .npz"),
        ("d.npz", claiming((4,)), [], "one array, not an archive of arrays; rename it to .npy"),
        ("e.npy", npy(np.array(3.0)), [], r"found shape \(\)"),
    ]),
    ids=lambda value: value if isinstance(value, str) and value[1:2] == "." else "",
)  # fmt: skip
def test_commands(small: Any, tmp_path: Path, name: str, content: bytes, options: list[str], message: str) -> None:
    """An error, status 2, and the memory of a program that has read nothing."""
    pytest.importorskip("click")
    net, path = tmp_path / "net.bnn", tmp_path / name
    net.write_bytes(small.data)
    path.write_bytes(contents("bomb") if content == b"bomb" else content)
    command = [sys.executable, "-c", MOST_MEMORY, "run", str(net), str(path), "--scale", "1", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(bnn.__file__).parents[1])
    assert done.returncode == 0, done.stderr
    status, megabytes = map(int, done.stdout.split())
    assert status == 2 and megabytes < 200
    assert done.stderr.startswith(f"bnn: error: {path}: ")
    assert re.search(message, done.stderr), done.stderr


def test_numbers_in_another_order_of_bytes(small: Any, tmp_path: Path) -> None:
    pytest.importorskip("click")
    from bnn.cli.inputs import InputOptions, read_arrays

    model = bnn.Model.from_bytes(small.data)
    x = small.inputs(3)[0]
    for name, array in (("a", x.astype(">f4")), ("b", np.asfortranarray(x)), ("c", x)):
        np.save(tmp_path / f"{name}.npy", array)
        (found,) = read_arrays(model, [str(tmp_path / f"{name}.npy")], InputOptions(None, 0.0, False))
        assert found.dtype == np.float32 and found.flags.c_contiguous and np.array_equal(found, x)
