# SPDX-License-Identifier: Apache-2.0
"""The commands on an ONNX file: its layout, its options, and wrong files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the package onnx is not installed: pip install -e '.[onnx]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install -e '.[onnx]'")

import onnx
from PIL import Image

import bnn
from importers.onnx.small import by_onnx_runtime, model, node

RNG = np.random.default_rng(0)
WEIGHTS = RNG.choice([-1.0, 1.0], (4, 3, 2, 2)).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Colour images of 6 x 5 pixels; a sign that is 0 at 0."""
    path = tmp_path / "net.onnx"
    proto = model(
        [node("Sign", "x", "a"), node("Conv", "a w", "b"), node("GlobalMaxPool", "b", "c"),
         node("Flatten", "c")],
        {"w": WEIGHTS}, ("N", 3, 6, 5), rank=2,
    )  # fmt: skip
    onnx.save(proto, path)
    return path


@pytest.mark.child
def test_each_in_a_process_of_its_own(call: Any, file: Path, tmp_path: Path) -> None:
    """Also where standard streams are closed, whose numbers pipes then take."""
    net = tmp_path / "net.bnn"
    text = f"exec '{sys.executable}' -m bnn compile {file} -o {net} <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", text], cwd=Path(bnn.__file__).parents[1]).returncode == 0
    assert bnn.load(net).layout == "NCHW"
    done = call("verify", file, net)
    assert done.status == 0 and not done.err and done.out.splitlines()[-1].startswith("EQUAL: all bits")


def test_compile_verify_run(call: Any, file: Path, tmp_path: Path) -> None:
    net = tmp_path / "net.bnn"
    done = call("compile", file, "-o", net)
    assert done.status == 0 and "a sign that is 0 at 0" in done.out, done.err
    assert bnn.load(net).layout == "NCHW"
    np.save(tmp_path / "x.npy", RNG.normal(size=(9, 3, 6, 5)).astype(np.float32))
    assert call("verify", file, net).status == 0
    swapped = call("verify", net, file)
    assert swapped.status == 2 and "net.bnn: is a compiled network; expected: bnn verify MODEL NET.bnn" in swapped.err
    one = tmp_path / "one.bnn"
    assert call("compile", file, "-o", one, "--zero", "1").status == 0
    assert call("verify", file, one, "--zero", "1").status == 0
    positive = np.abs(np.load(tmp_path / "x.npy")) + np.float32(1)
    np.save(tmp_path / "positive.npy", positive)
    data = ("--zero", "1", "--data", tmp_path / "positive.npy")
    done = call("verify", file, one, *data)
    assert done.status == 1 and "\nno bit of '" in done.out and "\nSILENT: " in done.out, done.out + done.err
    assert call("verify", file, one, *data, "--allow-silent").status == 0
    pixels = RNG.integers(0, 256, (6, 5, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    np.save(tmp_path / "image.npy", pixels.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255))
    expected = by_onnx_runtime(onnx.load(file), np.load(tmp_path / "image.npy"))
    for name, scale in (("image.png", ["--scale", "255"]), ("image.npy", [])):
        done = call("run", net, tmp_path / name, "--output", tmp_path / "y.npy", *scale)
        assert done.status == 0 and np.array_equal(np.load(tmp_path / "y.npy"), expected), done.err


def test_metadata_that_are_too_long(call: Any, file: Path, tmp_path: Path) -> None:
    proto = onnx.load(file)
    proto.metadata_props.add(key="k", value="x" * 65537)
    onnx.save(proto, file)
    done = call("compile", file, "-o", tmp_path / "net.bnn")
    assert done.status == 0 and done.err.startswith(
        "bnn: note: metadata 'k': found 65,537 characters, more than 65,536"
    )
    assert done.err.count("\n") == 1 and bnn.load(tmp_path / "net.bnn").metadata == {}


def test_wrong_files(call: Any, file: Path, tmp_path: Path) -> None:
    for content in (b"", b"not a model", file.read_bytes()[:-40]):
        (tmp_path / "bad.onnx").write_bytes(content)
        done = call("compile", tmp_path / "bad.onnx", "-o", tmp_path / "bad.bnn")
        assert done.status == 2 and "bad.onnx: " in done.err and "ONNX model" in done.err
        assert not (tmp_path / "bad.bnn").exists()
