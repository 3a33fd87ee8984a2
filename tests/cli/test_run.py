# SPDX-License-Identifier: Apache-2.0
"""bnn run: arrays and images in, classes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bnn
import op_graphs
from bnn.file.write import encode
from bnn.ir.ops import ConvAttrs, constant, input_node, make
from bnn.runtime import available_kernels


@pytest.fixture
def x(small: Any) -> Any:
    return small.inputs(5)[0]


class TestArrays:
    def test_classes(self, call: Any, net: Path, x: Any, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", x)
        expected = bnn.load(net)(x).argmax(1)
        done = call("run", net, tmp_path / "x.npy")
        assert done.status == 0 and done.err == ""
        rows = [line.split() for line in done.out.splitlines()[-5:]]
        assert [int(row[1]) for row in rows] == expected.tolist()

    def test_json_and_output(self, call: Any, net: Path, x: Any, tmp_path: Path) -> None:
        np.savez(tmp_path / "x.npz", x=x, y=x)
        result = call("run", net, tmp_path / "x.npz", "--json", "--top", 2, "--output", tmp_path / "y.npy").json
        y = np.load(tmp_path / "y.npy")
        np.testing.assert_array_equal(y, bnn.load(net)(x))
        assert result["images"] == 5 and len(result["results"][0]["top"][0]) == 2
        assert result["results"][0]["top"][3][0]["score"] == pytest.approx(y[3].max())

    def test_portable(self, call: Any, tmp_path: Path, rng: np.random.Generator) -> None:
        """The bytes of the scalar kernels, where the fast ones have others."""
        image, taps = input_node("x", (2000,)), constant(rng.normal(size=(50, 1, 1, 2000)))
        net, files = tmp_path / "net.bnn", (tmp_path / "x.npy", tmp_path / "y.npy")
        net.write_bytes(encode(op_graphs.plan([image], [make("conv2d", image, taps, attrs=ConvAttrs())])))
        np.save(files[0], rng.normal(size=(9, 2000)).astype(np.float32))
        for options, kernels in ((["--portable"], "portable"), ([], available_kernels()[0])):
            record = call("run", net, files[0], "--output", files[1], "--json", *options).json
            assert record["kernels"] == kernels
            expected = bnn.load(net, kernels="scalar" if options else kernels)(np.load(files[0]))
            assert np.load(files[1]).tobytes() == expected.tobytes()

    def test_not_a_number_is_null_in_json(self, call: Any, net: Path, x: Any, tmp_path: Path) -> None:
        x[1] = np.nan
        np.save(tmp_path / "x.npy", x)
        top = call("run", net, tmp_path / "x.npy", "--json").json["results"][0]["top"]
        assert top[1][0]["score"] is None and top[0][0]["score"] is not None

    def test_images_that_depend_on_each_other(self, call: Any, tmp_path: Path) -> None:
        x = input_node("x", (4, 4, 2))
        mean = make("batch_sum", x)
        net = tmp_path / "net.bnn"
        net.write_bytes(encode(op_graphs.plan([x], [mean])))
        for count, note in ((1, ""), (3, "these 3 images are one batch")):
            np.save(tmp_path / "x.npy", np.ones((count, 4, 4, 2), np.float32))
            done = call("run", net, tmp_path / "x.npy", "--json")
            assert done.json["results"][0]["top"][0][0]["score"] == 16 * count
            assert note in done.err and bool(done.err) == bool(note)

    def test_labels(self, call: Any, net: Path, x: Any, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", x)
        (tmp_path / "labels.txt").write_text("".join(f"thing {i}\n" for i in range(10)))
        assert "thing " in call("run", net, tmp_path / "x.npy", "--labels", tmp_path / "labels.txt").out
        (tmp_path / "labels.txt").write_text("".join(f"thing {i}\n" for i in range(10)) + "\n\n")
        assert "thing " in call("run", net, tmp_path / "x.npy", "--labels", tmp_path / "labels.txt").out
        (tmp_path / "labels.txt").write_text("one\ntwo\n")
        done = call("run", net, tmp_path / "x.npy", "--labels", tmp_path / "labels.txt")
        assert done.status == 2 and "found 2 labels, the model has 10" in done.err
        (tmp_path / "labels.txt").write_bytes(b"\xff\xfe")
        assert "not a UTF-8 text" in call("run", net, tmp_path / "x.npy", "--labels", tmp_path / "labels.txt").err

    def test_integers_need_a_scale(self, call: Any, net: Path, x: Any, tmp_path: Path) -> None:
        np.save(tmp_path / "bytes.npy", (x * 256).astype(np.uint8))
        np.save(tmp_path / "x.npy", x)
        done = call("run", net, tmp_path / "bytes.npy")
        assert done.status == 2 and "contains uint8" in done.err and "--scale" in done.err
        scaled = call("run", net, tmp_path / "bytes.npy", "--scale", 256, "--json")
        assert scaled.json["results"] == call("run", net, tmp_path / "x.npy", "--json").json["results"]
        np.save(tmp_path / "moved.npy", x - 1)
        moved = call("run", net, tmp_path / "moved.npy", "--offset", 1, "--json")
        assert moved.json["results"] == scaled.json["results"]

    def test_one_image_and_several_files(self, call: Any, net: Path, x: Any, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", x[0])
        np.save(tmp_path / "b.npy", x[1:])
        np.save(tmp_path / "x.npy", x)
        apart = call("run", net, tmp_path / "a.npy", tmp_path / "b.npy", "--json").json
        whole = call("run", net, tmp_path / "x.npy", "--json", "--threads", 2).json
        assert apart["results"] == whole["results"] and apart["files"][1] == f"{tmp_path / 'b.npy'}[0]"

    def test_several_inputs_and_outputs(self, call: Any, pair_net: Path, two_by_two: Any, tmp_path: Path) -> None:
        left, right = two_by_two.inputs(3)
        np.savez(tmp_path / "in.npz", left=left, right=right)
        done = call("run", pair_net, tmp_path / "in.npz", "--output", tmp_path / "out.npz")
        assert done.status == 0 and "(3, 5, 5, 8)" in done.out
        model = bnn.load(pair_net)
        expected = dict(zip(model.output_names, model([left, right]), strict=True))
        for name, value in np.load(tmp_path / "out.npz").items():
            np.testing.assert_array_equal(value, expected[name])
        assert call("run", pair_net, tmp_path / "in.npz", "--output", tmp_path / "out.npy").status == 2
        np.savez(tmp_path / "in.npz", left=left)
        assert "left, right" in call("run", pair_net, tmp_path / "in.npz").err
        np.save(tmp_path / "left.npy", left)
        assert ".npz" in call("run", pair_net, tmp_path / "left.npy").err

    def test_an_empty_batch(self, call: Any, net: Path, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", np.zeros((0, 12, 12, 1), np.float32))
        assert call("run", net, tmp_path / "x.npy").status == 0

    def test_files_that_are_not_arrays(self, call: Any, net: Path, tmp_path: Path) -> None:
        (tmp_path / "x.npy").write_bytes(b"not numpy")
        np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
        np.savez(tmp_path / "cut.npz", x=np.zeros((1, 12, 12, 1), np.float32))
        whole = (tmp_path / "cut.npz").read_bytes()
        (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
        for name in ("x.npy", "objects.npy", "cut.npz", "absent.npy"):
            done = call("run", net, tmp_path / name)
            assert done.status == 2 and name in done.err


class TestImages:
    def picture(self, x: Any, mode: str = "L") -> Image.Image:
        return Image.fromarray((x[0, ..., 0] * 256).astype(np.uint8)).convert(mode)

    def test_grey_and_colour_become_the_models_channels(self, call: Any, net: Path, x: Any, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", x[:1])
        expected = call("run", net, tmp_path / "x.npy", "--json").json["results"]
        for mode in ("L", "RGB", "RGBA", "LA"):
            self.picture(x, mode).save(tmp_path / f"{mode}.png")
            record = call("run", net, tmp_path / f"{mode}.png", "--scale", 256, "--json").json
            assert record["results"] == expected and record["files"] == [str(tmp_path / f"{mode}.png")]

    def test_what_is_no_image(self, call: Any, net: Path, x: Any, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        (tmp_path / "a.png").write_bytes(b"not an image")
        self.picture(x).save(tmp_path / "b.png")
        whole = (tmp_path / "b.png").read_bytes()
        (tmp_path / "b.png").write_bytes(whole[:-30])
        Image.fromarray(np.zeros((12, 12), np.float32)).save(tmp_path / "c.tiff")
        for name in ("a.png", "b.png", "c.tiff", "absent.png", "folder"):
            done = call("run", net, tmp_path / name, "--scale", 256)
            assert done.status == 2 and done.err, name


def test_what_is_no_number_is_noted(call: Any, net: Path, x: Any, tmp_path: Path) -> None:
    images = np.concatenate([x, x])
    images[1] = np.nan
    np.save(tmp_path / "x.npy", images)
    result = call("run", net, tmp_path / "x.npy")
    assert result.status == 0 and "note: 1 image (first 1): outputs that are not finite numbers" in result.err


@pytest.mark.parametrize("head", [b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"])
def test_a_keras_file_is_to_be_compiled_first(call: Any, head: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(head + bytes(100))
    result = call("inspect", path)
    assert result.status == 2 and f"compile it first: bnn compile {path}" in result.err
