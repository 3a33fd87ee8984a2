# SPDX-License-Identifier: Apache-2.0
"""Pictures of any size and mode, for a network whose file says what to do with them; Keras and Pillow judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bnn
from bnn._types import Array
from bnn.cli.inputs import InputOptions, read_arrays
from bnn.ir.graph import DType
from bnn.runtime.use import PRESETS
from uses import using

RNG = np.random.default_rng(2)
PLAIN = InputOptions(None, 0.0, False)


def picture(path: Path, size: tuple[int, int], mode: str = "RGB") -> Path:
    """Of this width and height; smooth, so that filters differ."""
    noise = Image.fromarray(RNG.integers(0, 256, (5, 4, 4), np.uint8), "RGBA").resize(size, Image.Resampling.BICUBIC)
    noise.convert("RGB" if mode == "CMYK" else mode).convert(mode).save(path)
    return path


def read(model: bnn.Model, path: Path, reading: InputOptions = PLAIN) -> Array:
    (found,) = read_arrays(model, [str(path)], reading)
    return np.asarray(found[0])


@pytest.mark.parametrize("mode", ["torch", "tf", "caffe"])
@pytest.mark.parametrize("filter", ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"])
def test_stretched_as_keras_loads_pictures(mode: str, filter: str, tmp_path: Path) -> None:
    keras = pytest.importorskip("tf_keras")
    preset = PRESETS["imagenet" if mode == "torch" else mode]
    model = using({"preprocessing": {**preset, "filter": filter}}, shape=(9, 12, 3))
    for size in ((40, 31), (5, 6), (12, 9)):
        path = picture(tmp_path / "a.png", size)
        loaded = keras.utils.img_to_array(keras.utils.load_img(path, target_size=(9, 12), interpolation=filter))
        utils = keras.applications.imagenet_utils
        assert np.array_equal(read(model, path), utils.preprocess_input(loaded[None], mode=mode)[0])


def torchvision(image: Image.Image, shorter: int, size: int) -> Array:
    """Resize(shorter) and CenterCrop(size), as torchvision's sources have them."""
    w, h = image.size
    short, long = (w, h) if w <= h else (h, w)
    new_short, new_long = shorter, int(shorter * long / short)
    image = image.resize((new_short, new_long) if w <= h else (new_long, new_short), Image.Resampling.BILINEAR)
    top, left = int(round((image.height - size) / 2.0)), int(round((image.width - size) / 2.0))
    return np.asarray(image.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("size", [(50, 33), (33, 50), (20, 20), (7, 61), (14, 16), (400, 3)])
def test_cropped_as_torchvision_does(size: tuple[int, int], tmp_path: Path) -> None:
    how = {**PRESETS["torchvision"], "shorter": 16}
    path = picture(tmp_path / "a.png", size)
    pixels = torchvision(Image.open(path), 16, 14)
    mean, std = np.float32(how["mean"]), np.float32(how["std"])
    expected = (pixels.astype(np.float32) / np.float32(255) - mean) / std
    assert np.array_equal(read(using({"preprocessing": how}, shape=(14, 14, 3)), path), expected)


@pytest.mark.parametrize(
    ("fit", "size", "expected"),
    [
        ("crop", (8, 4), "x 1 to 5 of a picture of 6 x 4"),  # cover: the sides in proportion
        ("pad", (8, 2), "1 above, 1 below"),
        ("exact", (4, 4), "as it is"),
    ],
)
def test_geometry(fit: str, size: tuple[int, int], expected: str, tmp_path: Path) -> None:
    fill = {"fill": [9, 8, 7]} if fit == "pad" else {}
    model = using({"preprocessing": {"scale": 1, "fit": fit, "filter": "nearest", **fill}}, shape=(4, 4, 3))
    path = picture(tmp_path / "a.png", size)
    pixels, found = np.asarray(Image.open(path)), read(model, path)
    if fit == "crop":
        assert np.array_equal(found, pixels[:, 2:6])
    elif fit == "pad":
        small = np.asarray(Image.open(path).resize((4, 1), Image.Resampling.NEAREST))
        assert np.array_equal(found[2 if found[1, 0, 0] == 9 else 1], small[0])
        assert (found == (9, 8, 7)).all(axis=-1).sum() == 12
    else:
        assert np.array_equal(found, pixels)
        with pytest.raises(bnn.InputError, match="the image is 5 x 4, the model reads 4 x 4"):
            read(model, picture(tmp_path / "b.png", (5, 4)))


def test_a_crop_for_a_network_that_is_not_square(tmp_path: Path) -> None:
    """10 x 8 covers 8 x 4 (width x height) as 8 x 6, of which one row above and below is cut."""
    model = using({"preprocessing": {"scale": 1, "fit": "crop"}}, shape=(4, 8, 3))
    path = picture(tmp_path / "a.png", (10, 8))
    pixels = np.asarray(Image.open(path).resize((8, 6), Image.Resampling.BILINEAR))
    assert np.array_equal(read(model, path), pixels[1:5])


def test_a_picture_of_one_row_does_not_grow_without_end(tmp_path: Path) -> None:
    Image.new("RGB", (30000, 1)).save(tmp_path / "a.png")
    for shorter, refused in ((14, False), (300, True)):
        model = using({"preprocessing": {"scale": 1, "fit": "crop", "shorter": shorter}}, shape=(14, 14, 3))
        if refused:
            with pytest.raises(bnn.InputError, match="30000 x 1, and 9000000 x 300 when it is resized"):
                read(model, tmp_path / "a.png")
        else:
            assert read(model, tmp_path / "a.png").shape == (14, 14, 3)


def test_options_come_before_the_file(tmp_path: Path) -> None:
    model = using({"preprocessing": {**PRESETS["caffe"], "fit": "exact", "std": 2}}, shape=(4, 4, 3))
    path = picture(tmp_path / "a.png", (4, 4))
    pixels = np.asarray(Image.open(path)).astype(np.float32)[..., ::-1]
    assert np.array_equal(read(model, path, InputOptions(2.0, -1.0, False)), pixels / 2 - 1)
    assert np.array_equal(read(model, path, InputOptions(None, 3.0, False)), pixels + 3)  # the file's scale
    large = picture(tmp_path / "b.png", (9, 7))
    resized = np.asarray(Image.open(large).resize((4, 4), Image.Resampling.BILINEAR)).astype(np.float32)[..., ::-1]
    assert np.array_equal(read(model, large, InputOptions(1.0, 0.0, True)), resized)


def test_arrays(tmp_path: Path) -> None:
    """Integers are pixels in red, green, blue; floats and bytes of the network's own type are its inputs."""
    pixels = RNG.integers(0, 256, (2, 4, 4, 3), np.uint8)
    model = using({"preprocessing": PRESETS["caffe"]}, shape=(4, 4, 3))
    assert model.preprocessing is not None
    np.save(tmp_path / "x.npy", pixels)
    assert np.array_equal(read(model, tmp_path / "x.npy"), model.preprocessing.apply(pixels)[0])
    ready = model.preprocessing.apply(pixels)
    for dtype in (np.float32, np.float64):
        np.save(tmp_path / "x.npy", ready.astype(dtype))
        assert np.array_equal(read(model, tmp_path / "x.npy"), ready[0])
        np.save(tmp_path / "x.npy", pixels.astype(dtype))
        with pytest.raises(bnn.InputTypeError, match="probably pixels, which would not be scaled; save them as uint8"):
            read(model, tmp_path / "x.npy")
        assert np.array_equal(read(model, tmp_path / "x.npy", InputOptions(1.0, 0.0, False)), pixels[0])
    reads_bytes = using({"preprocessing": {"order": "BGR"}}, shape=(4, 4, 3), dtype=DType.u8)
    np.save(tmp_path / "x.npy", pixels)
    assert np.array_equal(read(reads_bytes, tmp_path / "x.npy"), pixels[0])
    Image.fromarray(pixels[0]).save(tmp_path / "a.png")
    assert np.array_equal(read(reads_bytes, tmp_path / "a.png"), pixels[0][..., ::-1])


def test_channels_first(tmp_path: Path) -> None:
    from dataclasses import replace

    from bnn.file.read import decode
    from bnn.file.write import encode

    last = using({"preprocessing": PRESETS["caffe"]}, shape=(4, 5, 3))
    first = bnn.Model.from_bytes(encode(replace(decode(last.to_bytes()), channels_first=True)))
    path = picture(tmp_path / "a.png", (11, 7))
    assert np.array_equal(read(first, path), np.moveaxis(read(last, path), -1, 0))
    pixels = RNG.integers(0, 256, (2, 4, 5, 3), np.uint8)
    np.save(tmp_path / "x.npy", np.moveaxis(pixels, -1, 1))
    assert last.preprocessing is not None
    assert np.array_equal(read(first, tmp_path / "x.npy"), np.moveaxis(last.preprocessing.apply(pixels[0]), -1, 0))


class TestRun:
    MODES = ("RGB", "L", "RGBA", "P", "1", "LA", "CMYK", "RGB")

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Eight pictures of all modes and sizes, one of them in a folder of its own, and what is no picture."""
        (tmp_path / "photos" / "more").mkdir(parents=True)
        for i, mode in enumerate(self.MODES):
            name = f"{i}.{'jpg' if mode == 'CMYK' else 'png'}"
            picture(tmp_path / "photos" / ("more" if i == 7 else "") / name, (11 + 3 * i, 30 - i), mode)
        (tmp_path / "photos" / "notes.txt").write_text("no picture")
        (tmp_path / "photos" / ".hidden.png").write_text("no picture")
        return tmp_path / "photos"

    @pytest.fixture
    def net(self, tmp_path: Path) -> Path:
        path = tmp_path / "net.bnn"
        using({"labels": ["cat", "dog"], "preprocessing": PRESETS["imagenet"]}, shape=(8, 9, 3)).save(path)
        return path

    def test_folders_need_no_options(self, call: Any, net: Path, folder: Path) -> None:
        model, single = bnn.load(net), picture(folder.parent / "single.png", (8, 8))
        done = call("run", net, folder, single, "--json", "--output", folder.parent / "y.npy")
        assert done.status == 0 and "transparency" in done.err, done.err
        files = [folder / f"{i}.{'jpg' if i == 6 else 'png'}" for i in range(7)] + [folder / "more" / "7.png", single]
        assert done.json["files"] == [str(f) for f in files] and done.json["skipped"] == []
        scores = model(np.stack([read(model, f) for f in files]))[:, 0, 0]
        assert np.array_equal(np.load(folder.parent / "y.npy")[:, 0, 0], scores)
        best = [row[0]["label"] for row in done.json["results"][0]["top"]]
        assert best == [("cat", "dog")[i] for i in scores.argmax(1)] and len(set(best)) == 2
        text = call("run", net, folder, "--rows", 3, "--top", 1).out
        assert text.splitlines()[-1] == "... and 5 more: --json, --output or --rows" and f"{folder / '2.png'}" in text
        assert len(text.splitlines()) == 2 + 2 + 3 + 1 and "more:" not in call("run", net, folder).out

    def test_damaged_pictures_are_skipped(self, call: Any, net: Path, folder: Path) -> None:
        whole = (folder / "0.png").read_bytes()
        (folder / "1.png").write_bytes(whole[:-30])
        (folder / "5.png").write_bytes(b"no")
        done = call("run", net, folder)
        assert done.status == 2 and "6 images" in done.out
        lines = [line for line in done.err.splitlines() if "skipped" in line]
        assert f"{folder / '1.png'}: damaged image" in lines[0] and str(folder / "5.png") in lines[1]
        assert lines[2] == "bnn: 2 pictures of 8 skipped"
        record = call("run", net, folder, "--json").json
        assert [s["file"] for s in record["skipped"]] == [str(folder / "1.png"), str(folder / "5.png")]
        assert call("run", net, folder / "5.png").err.endswith(
            "5.png: not an image that Pillow can read, and not .npy or .npz; if it is a picture, save it again\n"
        )

    def test_batches_give_the_same(self, folder: Path, net: Path) -> None:
        from bnn.cli.inputs import read_batches

        model = bnn.load(net)
        for most in (1, 3, 8, 9):
            batches = list(read_batches(model, [str(folder)], PLAIN, most=most))
            assert [len(names) for names, _ in batches] == [most] * (8 // most) + [8 % most] * bool(8 % most)
            assert np.array_equal(
                np.concatenate([x for _, (x,) in batches]), read_arrays(model, [str(folder)], PLAIN)[0]
            )


def test_more_images_than_a_batch(call: Any, tmp_path: Path) -> None:
    model = using({"labels": ["cat", "dog"]}, shape=(1, 1, 2))
    model.save(tmp_path / "net.bnn")
    arrays = [RNG.normal(size=(n, 1, 1, 2)).astype(np.float32) for n in (1100, 7, 1500)]
    for i, array in enumerate(arrays):
        np.save(tmp_path / f"{i}.npy", array)
    files = [tmp_path / f"{i}.npy" for i in range(3)]
    result = call("run", tmp_path / "net.bnn", *files, "--json", "--top", 1, "--output", tmp_path / "y.npy").json
    expected = model(np.concatenate(arrays))[:, 0, 0]
    assert np.array_equal(np.load(tmp_path / "y.npy")[:, 0, 0], expected)
    assert [row[0]["index"] for row in result["results"][0]["top"]] == expected.argmax(1).tolist()
    assert result["results"][0]["shape"] == [2607, 1, 1, 2] and result["files"][1100] == f"{files[1]}[0]"


def test_what_is_no_number_has_no_class(call: Any, tmp_path: Path) -> None:
    using({"labels": ["cat", "dog"]}, shape=(1, 1, 2)).save(tmp_path / "net.bnn")
    np.save(tmp_path / "x.npy", np.float32([[[[1, 2]]], [[[np.nan, 2]]]]))
    done = call("run", tmp_path / "net.bnn", tmp_path / "x.npy")
    assert "not a number" in done.out.splitlines()[-1] and not {"cat", "dog"} & set(done.out.splitlines()[-1].split())
    top = call("run", tmp_path / "net.bnn", tmp_path / "x.npy", "--json").json["results"][0]["top"]
    assert top[0][0]["label"] in ("cat", "dog")
    assert top[1] == [{"index": None, "label": None, "score": None}] * 2
