# SPDX-License-Identifier: Apache-2.0
"""Files that commands read: what is said where one is missing, and what is done to numbers and pixels."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bnn.cli import inputs
from bnn.cli.inputs import Reading
from bnn.errors import InputTypeError


@pytest.fixture
def x(net: Path, small: Any) -> Path:
    path = net.with_name("x.npy")
    np.save(path, small.inputs(2)[0])
    return path


class TestMissing:
    @pytest.mark.parametrize("name", ["absent.npy", "absent.npz", "absent.png", "folder", "folder.npy", "folder.npz"])
    def test_inputs(self, call: Any, net: Path, tmp_path: Path, name: str) -> None:
        if name.startswith("folder"):
            (tmp_path / name).mkdir()
        reason = "Is a directory" if name.startswith("folder") else "No such file or directory"
        done = call("run", net, tmp_path / name, "--scale", 256)
        assert done.status == 2 and "[Errno" not in done.err
        expected = "expected an array (.npy, .npz) or an image file"
        assert done.err == f"bnn: error: {tmp_path / name}: cannot be opened: {reason}; {expected}\n"

    @pytest.mark.parametrize("command", ["run", "events"])
    def test_labels(self, call: Any, net: Path, x: Path, tmp_path: Path, command: str) -> None:
        for path, reason in ((tmp_path / "absent.txt", "No such file"), (tmp_path, "Is a directory")):
            done = call(command, net, x, "--labels", path)
            assert done.status == 2 and "[Errno" not in done.err
            assert f"{path}: cannot be opened: {reason}" in done.err and "class names, one per line" in done.err

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_forbidden(self, call: Any, net: Path, x: Path) -> None:
        x.chmod(0)
        assert "x.npy: cannot be opened: Permission denied" in call("run", net, x).err

    def test_what_no_command_foresaw(self, call: Any, net: Path, x: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any) -> Any:
            raise PermissionError(13, "Permission denied", "somewhere")

        monkeypatch.setattr("bnn.cli.run.read_arrays", fail)
        assert call("run", net, x).err == "bnn: error: somewhere: Permission denied\n"


class TestScale:
    @pytest.mark.parametrize(
        "option", ["--scale=0", "--scale=1e-300", "--scale=1e300", "--scale=nan", "--offset=1e39", "--offset=nan"]
    )
    def test_numbers_that_float32_does_not_hold(self, call: Any, net: Path, x: Path, option: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            done = call("run", net, x, option)
        name, _, value = option.partition("=")
        assert done.status == 2 and done.out == ""
        assert name in done.err and f"found {float(value)}, expected a" in done.err

    def test_quotients_that_float32_does_not_hold(self, call: Any, net: Path, x: Path, tmp_path: Path) -> None:
        np.save(tmp_path / "large.npy", np.full((1, 12, 12, 1), 1e300))
        np.save(tmp_path / "bytes.npy", np.full((1, 12, 12, 1), 255, np.uint8))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for arguments in (("large.npy", "--scale", 1), ("bytes.npy", "--scale", "1e-38")):
                done = call("run", net, tmp_path / arguments[0], *arguments[1:])
                assert done.status == 2 and "too large for float32" in done.err and arguments[0] in done.err
            large = np.zeros((1, 12, 12, 1))
            large[0, 3, 4] = -1e300
            np.save(tmp_path / "large.npy", large)
            assert "too large for float32" in call("run", net, tmp_path / "large.npy", "--scale", 1).err
            data = np.load(x)
            data[0, 0, 0] = np.nan
            data[1, 0, 0] = np.inf
            np.save(x, data)
            assert call("run", net, x, "--scale", 2).status == 0  # what was no number in the file is the file's

    def test_float_arrays_are_divided_too(self, call: Any, net: Path, x: Path, tmp_path: Path) -> None:
        np.save(tmp_path / "large.npy", np.load(x) * 255)
        scaled = call("run", net, tmp_path / "large.npy", "--scale", 255, "--json").json
        assert scaled == call("run", net, x, "--json").json
        assert "Divide all inputs by this, including float arrays" in " ".join(call("run", "--help").out.split())


class TestBytes:
    """A model that reads bytes scales them itself."""

    def test_they_are_read_as_they_are(self) -> None:
        data = np.zeros((2, 3), np.uint8)
        assert inputs._fit(data, (3,), data.dtype, "f", Reading(None, 0.0, False)) is data
        for reading in (Reading(255.0, 0.0, False), Reading(None, 0.5, False)):
            with pytest.raises(InputTypeError, match="scales the bytes itself; leave out --scale and --offset"):
                inputs._fit(data, (3,), data.dtype, "f", reading)

    @pytest.mark.parametrize("dtype", [np.complex64, "U3", "M8[s]"])
    def test_what_is_no_number(self, dtype: Any) -> None:
        with pytest.raises(InputTypeError, match="expected numbers"):
            inputs._fit(np.zeros((2, 3), dtype), (3,), np.dtype(np.float32), "f", Reading(1.0, 0.0, False))


class TestWhatImagesLose:
    def note(self, call: Any, net: Path, *files: Path) -> str:
        done = call("run", net, *files, "--scale", 255)
        assert done.status == 0, done.err
        assert "note" not in done.out
        return str(done.err)

    def test_colours(self, call: Any, net: Path, tmp_path: Path, rng: np.random.Generator) -> None:
        pixels = rng.integers(0, 256, (12, 12, 3), np.uint8)
        pixels[0, 0] = 1, 2, 3
        Image.fromarray(pixels).save(tmp_path / "colour.png")
        assert self.note(call, net, tmp_path / "colour.png") == (
            f"bnn: note: {tmp_path / 'colour.png'}: colours become grey because the model reads 1 channel\n"
        )
        pixels[...] = 7
        pixels[5, 5, 2] = 8  # blue alone
        Image.fromarray(pixels).save(tmp_path / "blue.png")
        assert "blue.png: colours become grey" in self.note(call, net, tmp_path / "blue.png")
        assert f"{tmp_path / 'colour.png'} and 1 other: colours" in self.note(call, net, *[tmp_path / "colour.png"] * 2)

    def test_four_channels_lose_nothing(self) -> None:
        image = Image.new("RGBA", (2, 2), (1, 2, 3, 4))
        assert [len(inputs._losses(image, *given)) for given in ((4, 1), (3, 1), (1, 1), (1, 2))] == [0, 1, 2, 3]

    def test_transparency(self, call: Any, net: Path, tmp_path: Path) -> None:
        grey = Image.new("L", (12, 12), 7)
        half = grey.copy()
        half.putalpha(128)
        half.save(tmp_path / "half.png")
        grey.convert("P").save(tmp_path / "palette.png", transparency=7)
        for name in ("half.png", "palette.png"):
            assert f"{name}: transparency is dropped" in self.note(call, net, tmp_path / name), name

    def test_nothing(self, call: Any, net: Path, tmp_path: Path) -> None:
        grey = Image.new("L", (12, 12), 7)
        for mode in ("L", "LA", "RGB", "RGBA", "P", "1"):
            grey.convert(mode).save(tmp_path / f"{mode}.png")
            assert self.note(call, net, tmp_path / f"{mode}.png") == ""
