# SPDX-License-Identifier: Apache-2.0
"""Files that commands read: what is said where one is missing, and what is done to numbers and pixels."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bnn
from bnn._types import Array
from bnn.cli import inputs
from bnn.cli.inputs import InputOptions

PLAIN = InputOptions(None, 0.0, False)
U8, I8, F32 = np.dtype(np.uint8), np.dtype(np.int8), np.dtype(np.float32)


def model(shape: tuple[int, ...], dtype: np.dtype[Any] = F32) -> Any:
    """What of a network its files are read for."""
    return SimpleNamespace(input_names=["x"], input_shapes=[shape], input_dtypes=[dtype], layout="NHWC")


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
        done = call("run", net, tmp_path / name, "--scale", 256)
        assert done.status == 2 and "[Errno" not in done.err
        expected = "cannot be opened: No such file or directory; expected an array (.npy, .npz) or an image file"
        if name.startswith("folder"):
            expected = "found no picture in this folder, expected files such as .png or .jpg"
        assert done.err == f"bnn: error: {tmp_path / name}: {expected}\n"

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


def test_a_size_and_a_scale_are_asked_for_at_once(tmp_path: Path) -> None:
    """But not the scale that was given, and none of a network that reads bytes."""
    Image.new("L", (30, 20)).save(tmp_path / "a.png")
    for dtype, reading, end in (
        (F32, PLAIN, ", and --scale DIVISOR, .*"), (F32, InputOptions(255.0, 0.0, False), ""), (U8, PLAIN, ""),
    ):  # fmt: skip
        with pytest.raises(bnn.InputError, match=f"give --resize to resize it{end}$"):
            inputs.read_arrays(model((12, 12, 1), dtype), [str(tmp_path / "a.png")], reading)


class TestScale:
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
        assert scaled["results"] == call("run", net, x, "--json").json["results"]
        assert "Divide all inputs by this, including float arrays" in " ".join(call("run", "--help").out.split())


@pytest.mark.parametrize(
    ("array", "dtype", "reading", "found"),
    [
        (np.float32([[1, 2]]), F32, PLAIN, [[1, 2]]), (np.float32([1, 2]), F32, PLAIN, [[1, 2]]),
        (np.uint8([[1, 2]]), F32, InputOptions(2.0, 0.0, False), [[0.5, 1]]),
        (np.array([[1, 2]], ">i2"), F32, InputOptions(2.0, 0.0, False), [[0.5, 1]]),
        (np.array([[True, False]]), F32, InputOptions(1.0, 0.5, False), [[1.5, 0.5]]),
        (np.float32([[1, 2]]), F32, InputOptions(None, 1.0, False), [[2, 3]]),
        (np.float32([[np.inf, 2]]), F32, InputOptions(2.0, 0.0, False), [[np.inf, 1]]),
        (np.int8([1, -2]), I8, PLAIN, [[1, -2]]), (np.uint8([[1, 200]]), U8, PLAIN, [[1, 200]]),
        (np.zeros((1, 3), np.float32), F32, PLAIN, "found shape (1, 3), expected (N, 2) or one image (2,)"),
        (np.array([[0, 0.1]]), F32, PLAIN, [[0, float(np.float32(0.1))]]),
        (np.array([[1.0, np.nan]]), F32, PLAIN, None),
        (np.array([[0, 7.0]]), F32, PLAIN, "contains float64, whole numbers like pixels, but the model reads float32"),
        (np.array([[True, False]]), F32, PLAIN, "contains bool but the model reads float32; give --scale"),
        (np.zeros((1, 2), np.uint8), I8, PLAIN, "give a .npy file of int8: of a .tflite file, round(x"),
        (np.zeros((1, 2), np.int8), U8, PLAIN, "the type of image files"),
        *((np.zeros((1, 2), dtype), dtype, reading, "scales the bytes itself; leave out --scale and --offset")
          for dtype in (U8, I8) for reading in (InputOptions(1.0, 0.0, False), InputOptions(None, 1.0, False))),
        *((np.zeros((1, 2), dtype), F32, InputOptions(1.0, 0.0, False), "expected numbers")
          for dtype in (np.complex64, "U3", "M8[s]")),
        (np.float32([[3e38, 2]]), F32, InputOptions(0.5, 0.0, False), "too large for float32 when divided by 0.5"),
    ],
)  # fmt: skip
def test_arrays_that_fit(array: Array, dtype: np.dtype[Any], reading: InputOptions, found: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    if not isinstance(found, str):
        (fitted,) = inputs.read_arrays(model((2,), dtype), [str(tmp_path / "x.npy")], reading)
        assert fitted.tolist() == found or found is None
        assert fitted.dtype == dtype
    else:
        with pytest.raises(bnn.InputError) as caught:
            inputs.read_arrays(model((2,), dtype), [str(tmp_path / "x.npy")], reading)
        assert found in str(caught.value)


def test_random_arrays_have_both_ends() -> None:
    dtypes = [F32, U8, I8]
    three: Any = SimpleNamespace(input_shapes=[(30, 30)] * 3, input_dtypes=dtypes)
    arrays = inputs.random_arrays(three, 5, 0)
    assert [(a.min(), a.max(), a.dtype, len(a)) for a in arrays] == [
        (-1, 1, dtypes[0], 5), (0, 255, dtypes[1], 5), (-128, 127, dtypes[2], 5),
    ]  # fmt: skip
    assert np.array_equal(arrays[0] * 256, np.rint(arrays[0] * 256))
    assert all(np.array_equal(a, b) for a, b in zip(arrays, inputs.random_arrays(three, 5, 0), strict=True))


def test_labels_are_as_many_as_classes(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("a\nb\n\n")
    assert inputs.read_labels(str(path), {2, 5}) == ["a", "b"]
    for classes, words in (({1, 3}, "found 2 labels, the model has 1 or 3 classes"), (set[int](), "no class output")):
        with pytest.raises(bnn.InputError, match=words):
            inputs.read_labels(str(path), classes)


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


# -- images ------------------------------------------------------------------------------------------


@pytest.fixture
def picture(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Any:
    """An image (3 high, 2 wide) as a file, and what is read of it; notes of what is lost."""

    def read(image: Image.Image, shape: tuple[int, ...] = (3, 2, 1), resize: bool = False, **options: Any) -> Any:
        image.save(tmp_path / "a.png", **options)
        found = inputs.read_arrays(model(shape), [str(tmp_path / "a.png")], InputOptions(1.0, 0.0, resize))
        return found[0][0], capfd.readouterr().err.splitlines()

    return read


GREY = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(3, 2))


def test_images_are_turned_upright(picture: Any) -> None:
    """As their camera was held; the size is then that of what is seen."""
    assert picture(GREY)[0][..., 0].tolist() == [[0, 1], [2, 3], [4, 5]]
    turned = Image.Exif()
    turned[0x0112] = 6
    assert picture(GREY, (2, 3, 1), exif=turned)[0][..., 0].tolist() == [[4, 2, 0], [5, 3, 1]]
    with pytest.raises(bnn.InputError, match="the image is 3 x 2, the model reads 2 x 3"):
        picture(GREY, exif=turned)
    for shape, words in (
        ((2, 3, 1), "the image is 2 x 3, the model reads 3 x 2"), ((3, 3, 1), "reads 3 x 3"), ((6,), "is not an image"),
        ((3, 2, 2), "is not an image"), ((3, 2), "is not an image"),
    ):  # fmt: skip
        with pytest.raises(bnn.InputError, match=words):
            picture(GREY, shape)
    assert picture(GREY, (5, 4, 3), resize=True)[0].shape == (5, 4, 3)


def test_pixels_of_more_bits(picture: Any, tmp_path: Path) -> None:
    pixels, notes = picture(Image.fromarray(np.array([[0, 255], [256, 0x7FFF], [0xFF00, 0xFFFF]], np.uint16)))
    assert pixels[..., 0].tolist() == [[0, 0], [1, 127], [255, 255]] and "the upper 8 of 16 bits are read" in notes[0]
    with pytest.raises(bnn.InputError, match="has mode I; convert it to 8 bits"):
        Image.fromarray(np.zeros((3, 2), np.int32)).save(tmp_path / "a.tiff")
        inputs.read_arrays(model((3, 2, 1)), [str(tmp_path / "a.tiff")], InputOptions(1.0, 0.0, False))


@pytest.mark.parametrize(("channels", "loss"), [(1, 1), (3, 1), (4, 0)])
def test_what_transparency_loses(picture: Any, channels: int, loss: int) -> None:
    for mode in ("LA", "RGBA"):
        clear = GREY.convert(mode)
        assert picture(clear, (3, 2, channels))[1] == []
        clear.putalpha(254)
        assert len(picture(clear, (3, 2, channels))[1]) == loss
    with_alpha = Image.fromarray(np.full((3, 2, 4), (7, 7, 7, 254), np.uint8), "RGBA")
    found = picture(with_alpha, (3, 2, channels), save_all=True, append_images=[with_alpha.copy(), GREY])[1]
    assert len(found) == loss + 1 and any("only the first of several pictures" in line for line in found)


def test_how_far_an_image_may_unpack(tmp_path: Path) -> None:
    """256 MiB, or 100 times the file's size: what its header says is compared before a pixel is decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    path = tmp_path / "a.png"
    for height, width, colour, padding, words in (
        (2**13, 2**13, 6, 0, "damaged image"), (2**13, 2**14, 4, 0, "damaged image"),
        (2**13, 2**13 + 1, 6, 2**22, "damaged image"),
        (2**13, 2**13 + 1, 6, 0, "bytes that unpack to 268,468,224, expected at most 268,435,456; give a smaller"),
        (2**13, 2**14, 2, 0, "bytes that unpack to 402,653,184, expected at most 268,435,456; give a smaller"),
    ):  # fmt: skip
        header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
        body = chunk(b"IHDR", header) + chunk(b"tEXt", bytes(padding)) * bool(padding) + chunk(b"IDAT", b"no")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
        with pytest.raises(bnn.InputError, match=words):
            inputs.read_arrays(model((3, 2, 1)), [str(path)], InputOptions(1.0, 0.0, True))
