# SPDX-License-Identifier: Apache-2.0
"""bnn calibrate, and bnn compile --calibrate."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import bnn
from bnn.cli import main

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits.bnn"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """One number is above the others: a method clips it, another does not."""
    rng = np.random.default_rng(0)
    found = rng.random((500, 8, 8, 1), np.float32)
    found[0, 0, 0] = 1.03
    np.save(tmp_path / "images.npy", found)
    np.save(tmp_path / "classes.npy", rng.integers(0, 10, 500))
    return tmp_path / "images.npy"


def test_the_command_writes_what_the_function_makes(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.bnn"
    assert main(["calibrate", str(DIGITS), str(images), "-o", str(out), "--method", "minmax"]) == 0
    found = bnn.calibrate(str(DIGITS), np.load(images), method="minmax")
    assert out.read_bytes() == found.model.to_bytes()
    assert capsys.readouterr().out == f"{found}\nwrote {out}: {out.stat().st_size:,} bytes (before: 11,136)\n"
    assert str(found).startswith("1 of 1 float layer became int8; ")
    assert str(bnn.calibrate(found.model, np.load(images))).startswith("there is no convolution or dense layer")
    other = bnn.calibrate(str(DIGITS), np.load(images), np.load(images.parent / "classes.npy"))
    assert other.layers != found.layers
    more = ["--targets", str(images.parent / "classes.npy"), "--json"]
    assert main(["calibrate", str(DIGITS), str(images), "-o", str(out), *more]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["accuracy"] == list(other.accuracy or ()) and record["bytes"] == out.stat().st_size != 11136
    assert record["layers"] == [asdict(layer) for layer in other.layers]
    assert (record["images"], record["same_class"]) == (500, other.same)
    assert main(["calibrate", str(DIGITS), str(images), "-o", str(out), "--keep-float", "conv1"]) == 0
    assert "'conv1': float: asked for" in capsys.readouterr().out and out.read_bytes() == DIGITS.read_bytes()


def test_few_images(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "few.npy", np.load(images)[:1])
    arguments = [str(DIGITS), str(tmp_path / "few.npy"), "-o", str(tmp_path / "out.bnn"), "--integer-only"]
    assert main(["calibrate", *arguments]) == 0
    said = capsys.readouterr()
    assert "bnn: note: 1 image; ranges of a hundred or more, of all classes, hold better" in said.err
    assert "'logits': binary, its sums become bytes" in said.out and "ops of floats: 0" in said.out


def test_wrong_calls(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        ([str(images), "-o", str(DIGITS)], f"would overwrite the input {DIGITS}"),
        ([str(images), "-o", "out.txt"], "expected a name ending in .bnn"),
        (["none.npy", "-o", "out.bnn"], "none.npy"),
        (
            [str(images), "-o", str(tmp_path / "out.bnn"), "--keep-float", "dense"],
            "found 'dense', expected float layers",
        ),
        ([str(images), "-o", "out.bnn", "--targets", "y.txt"], "--targets y.txt: expected a .npy file"),
        ([str(images), "-o", "out.bnn", "--targets", str(images)], "--targets: found shape (500, 8, 8, 1)"),
    ):
        assert main(["calibrate", str(DIGITS), *arguments]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out.bnn").exists()


def test_compiled_and_calibrated_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    rng = np.random.default_rng(0)
    weights = onnx.numpy_helper.from_array(rng.normal(size=(16, 3, 3, 3)).astype(np.float32), "w")
    x, y = (
        helper.make_tensor_value_info(name, 1, ["N", c, size, size]) for name, c, size in (("x", 3, 9), ("y", 16, 7))
    )
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"], name="conv")], "g", [x], [y], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "m.onnx")
    images = rng.normal(size=(20, 3, 9, 9)).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    out = tmp_path / "net.bnn"
    arguments = [str(tmp_path / "m.onnx"), "-o", str(out), "--calibrate", str(tmp_path / "x.npy")]
    assert main(["compile", *arguments]) == 0
    assert "int8 after training" in capsys.readouterr().out
    assert out.read_bytes() == bnn.compile(str(tmp_path / "m.onnx"), calibrate=images).to_bytes()
    assert main(["compile", *arguments, "--integer-only"]) == 0
    whole = bnn.compile(str(tmp_path / "m.onnx"), calibrate=images, integer_only=True)
    assert out.read_bytes() == whole.to_bytes() and [op.op for op in whole.ops] == ["quantize", "qconv2d", "cast"]
    assert (
        main(["calibrate", str(out), str(tmp_path / "x.npy"), "-o", str(tmp_path / "again.bnn"), "--integer-only"]) == 0
    )
    assert "ops of floats: 0" in capsys.readouterr().out
    assert main(["compile", *arguments[:-2], "--integer-only"]) == 2
    assert "--integer-only: needs --calibrate IMAGES" in capsys.readouterr().err
