# SPDX-License-Identifier: Apache-2.0
"""Where a model is saved: links, devices, pipes, permissions, and what is no path at all."""

from __future__ import annotations

import os
import socket
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

import bnn
from bnn import errors
from bnn.runtime import Model
from bnn.runtime.files import replace_all, replacing


@pytest.fixture
def model(small: Any) -> Model:
    return Model.from_bytes(small.data)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_link_stays_a_link(small: Any, model: Model, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link, new = tmp_path / "real" / "net.bnn", tmp_path / "link.bnn", tmp_path / "new.bnn"
    target.write_bytes(b"old")
    link.symlink_to("real/net.bnn")
    new.symlink_to("real/absent.bnn")  # to nothing yet
    for path in (link, new):
        model.save(path)
        assert path.is_symlink() and path.read_bytes() == small.data
    assert target.read_bytes() == small.data
    assert {p.name for p in (tmp_path / "real").iterdir()} == {"net.bnn", "absent.bnn"}
    loop = tmp_path / "loop.bnn"
    loop.symlink_to("loop.bnn")
    with pytest.raises(errors.ModelFileError, match="loop.bnn: cannot be written"):
        model.save(loop)


@pytest.mark.parametrize("special", [stat.S_ISUID, stat.S_ISGID, stat.S_ISVTX])
def test_a_saved_file_runs_as_nobody_else(model: Model, tmp_path: Path, special: int) -> None:
    """Permissions to read, write and execute are handed on; what makes a program of the owner's is not."""
    path = tmp_path / "net.bnn"
    path.touch()
    path.chmod(0o755 | special)
    assert mode(path) == 0o755 | special
    model.save(path)
    assert mode(path) == 0o755


def test_permissions_stay(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "net.bnn"
    for wanted in (0o600, 0o640, 0o444, 0o755):
        path.touch()
        path.chmod(wanted)
        model.save(path)
        assert mode(path) == wanted
        path.unlink()
    before = os.umask(0o027)
    try:
        model.save(path)
    finally:
        os.umask(before)
    assert mode(path) == 0o640  # a new file's: as the user's mask says


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_stays(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "net.bnn"
    path.touch(0o600)
    os.chown(path, 12345, 54321)
    model.save(path)
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (12345, 54321, 0o600)


@pytest.mark.parametrize(("before", "while_written"), [(None, 0o666), (0o600, 0o600), (0o666, 0o600)])
def test_nobody_reads_along(tmp_path: Path, before: int | None, while_written: int) -> None:
    """A new file is as the mask says from the start; one that replaces another is closed until it has its mode."""
    path, mask = tmp_path / "net.bnn", os.umask(0)
    try:
        if before is not None:
            path.touch()
            path.chmod(before)
        with replacing(str(path)):
            (temporary,) = (p for p in tmp_path.iterdir() if p != path)
            assert mode(temporary) == while_written
    finally:
        os.umask(mask)
    assert mode(path) == (0o666 if before is None else before)


def test_all_bytes_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "net.bnn", []

    def fsync(number: int) -> None:
        synced.append((os.fstat(number).st_size, path.exists()))

    monkeypatch.setattr("bnn.runtime.files.os.fsync", fsync)
    with replacing(str(path)) as file:
        file.write(b"new")
    assert synced == [(3, False)] and path.read_bytes() == b"new"


def test_a_name_that_is_taken_is_not_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a link that somebody has laid, say."""
    monkeypatch.setattr("secrets.token_hex", lambda count: "0" * 2 * count)
    path, other = tmp_path / "net.bnn", tmp_path / "other"
    other.write_bytes(b"other")
    with replacing(str(path)):
        (temporary,) = (p for p in tmp_path.iterdir() if p.suffix == ".tmp")
    temporary.symlink_to(other)
    with pytest.raises(errors.ModelFileError, match="cannot be written: File exists"), replacing(str(path)) as file:
        file.write(b"new")
    assert other.read_bytes() == b"other"


def test_a_device_stays_a_device(model: Model, tmp_path: Path) -> None:
    """A node like /dev/null, of the test's own: replacing the real one would harm the machine."""
    null = tmp_path / "null"
    try:
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        null.write_bytes(b"")
    except OSError as error:
        pytest.skip(f"cannot make a device: {error}")
    model.save(null)
    assert stat.S_ISCHR(null.stat().st_mode) and [p.name for p in tmp_path.iterdir()] == ["null"]
    (tmp_path / "link").symlink_to(null)
    model.save(tmp_path / "link")
    assert stat.S_ISCHR(null.stat().st_mode)


def test_a_pipe_is_written_to(small: Any, model: Model, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    model.save(pipe)
    reader.join(60)
    assert received == [small.data] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_socket_is_refused(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(errors.ModelFileError, match="socket: cannot be written: not a regular file but a socket"):
            model.save("socket")
        assert stat.S_ISSOCK(os.stat("socket").st_mode)


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "net.bnn"
    path.write_bytes(b"old")
    for error in (KeyboardInterrupt(), OSError(28, "No space left on device")):
        with pytest.raises((KeyboardInterrupt, errors.ModelFileError)), replacing(str(path)) as file:
            file.write(b"half")
            raise error
        assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["net.bnn"]


def test_names_that_are_folders_or_nothing(model: Model, tmp_path: Path) -> None:
    for name in (str(tmp_path), f"{tmp_path}/absent/", "", "net\0.bnn"):
        with pytest.raises(errors.ModelFileError):
            model.save(name)
    assert not list(tmp_path.iterdir())
    longest = tmp_path / ("n" * 255)
    model.save(longest)
    assert bnn.load(os.fsencode(longest)).nbytes == model.nbytes  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [None, 3, 1.5, [], object()])
def test_what_is_no_path(model: Model, path: Any) -> None:
    for use in (bnn.load, model.save):
        with pytest.raises(errors.InputTypeError, match="path: found .*expected a string or an os.PathLike") as caught:
            use(path)
        assert isinstance(caught.value, TypeError)


def test_what_is_no_family_of_kernels(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for kernels in (3, b"scalar", ["scalar"]):
        with pytest.raises(errors.InputTypeError, match="kernels: found .*scalar"):
            Model.from_bytes(small.data, kernels=kernels)  # type: ignore[arg-type]
    for kernels in ("scalar\0", "\udc80", ""):
        with pytest.raises(errors.InputError, match="kernels: found"):
            Model.from_bytes(small.data, kernels=kernels)
    monkeypatch.setenv("BNN_KERNELS", "\udcff")  # a byte that is no UTF-8
    with pytest.raises(errors.EnvironmentVariableError):
        Model.from_bytes(small.data)


def test_pipes_are_no_models(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(errors.ModelFileError, match="not a regular file but a pipe; .*to a file"):
        bnn.load(tmp_path / "pipe")


def test_files_that_belong_together(tmp_path: Path) -> None:
    """All are written, or nothing is left of any: what was there stays."""
    first, second, third = (str(tmp_path / name) for name in ("a", "b", "c"))
    Path(first).write_bytes(b"old")
    with pytest.raises(TypeError):
        replace_all({first: b"new", second: "no bytes", third: b"new"})  # type: ignore[dict-item]
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"old")]
    Path(second).mkdir()
    with pytest.raises(errors.ModelFileError, match="b: cannot be written: Is a directory"):
        replace_all({first: b"new", second: b"new"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"] and Path(first).read_bytes() == b"old"
    replace_all({first: b"new", third: b"new"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"] and Path(first).read_bytes() == b"new"
