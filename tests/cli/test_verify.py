# SPDX-License-Identifier: Apache-2.0
"""bnn verify: what it prints, and with which status it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn

tf = pytest.importorskip("tensorflow")
lq = pytest.importorskip("larq")


def save(path: Path, size: int | None = 8, beta: float = 0.0, turned: bool = False) -> Path:
    """(8, 8, 2) -> 3; all of them with the same names."""
    tf.keras.backend.clear_session()
    layers = tf.keras.layers
    quantized = {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip", "use_bias": False}
    model = tf.keras.Sequential(
        name="network",
        layers=[
            layers.Input((size, size, 2), name="image"),
            lq.layers.QuantConv2D(16, 3, name="stem", **quantized),
            layers.BatchNormalization(name="norm_1"),
            lq.layers.QuantConv2D(3, 3, input_quantizer="ste_sign", name="conv", **quantized),
            layers.GlobalAveragePooling2D(name="mean"),
            layers.BatchNormalization(name="norm_2"),
            layers.Softmax(name="softmax"),
        ],
    )
    rng = np.random.default_rng(5)
    draw = {True: lambda shape: rng.uniform(0.5, 2, shape), False: lambda shape: rng.normal(0, 1, shape)}
    values = [draw["variance" in w.name](w.shape) for w in model.weights]
    last_beta = next(i for i, w in enumerate(model.weights) if w.name.startswith("norm_2/beta"))
    values[last_beta] = np.array([beta, 0, 0])
    if turned:
        kernel = next(i for i, w in enumerate(model.weights) if w.name.startswith("stem/kernel"))
        values[kernel] = -values[kernel]
    model.set_weights(values)
    model.save(path)
    return path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A Keras model and what it compiles to."""
    folder = tmp_path_factory.mktemp("pair")
    keras = save(folder / "network.keras")
    bnn.compile(keras).save(folder / "net.bnn")
    return keras, folder / "net.bnn"


def test_counts(call: Any, pair: tuple[Path, Path]) -> None:
    done = call("verify", *pair, "--random", 20)
    assert done.status == 0, done.out + done.err
    assert "images without a different bit, whose outputs are judged: 20\n" in done.out
    assert done.out.endswith("\nEQUAL: all bits, and all floats up to rounding\n")
    record = call("verify", *pair, "--random", 20, "--json").json
    assert record["ok"] and record["different_floats"] == record["images_with_nan"] == 0 and record["hint"] == ""
    assert record["end_to_end"]["images_judged"] == 20 and record["end_to_end"]["outputs_beyond_rounding"] == 0
    assert all(layer["beyond"] == 0 for layer in (*record["layers"], *record["end_to_end"]["layers"]))


def test_other_classes_are_a_difference(call: Any, pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = save(tmp_path / "other.keras", beta=-50.0)
    done = call("verify", other, pair[1], "--random", 20)
    assert done.status == 1 and "\nDIFFERENT: 0 bits and " in done.out, done.out + done.err
    assert "was the file compiled from this model" in done.out and "'norm_2'" in done.out
    record = call("verify", other, pair[1], "--random", 20, "--json")
    end = record.json["end_to_end"]
    assert record.status == 1 and not record.json["ok"] and record.json["different_bits"] == 0
    assert record.json["different_floats"] > 0 and end["images_judged"] == end["outputs_beyond_rounding"] == 20
    assert 0 < end["classes_beyond_rounding"] == end["classes_different"]


def test_other_bits_are_a_difference(call: Any, pair: tuple[Path, Path], net: Path, tmp_path: Path) -> None:
    done = call("verify", save(tmp_path / "other.keras", turned=True), pair[1], "--random", 8, "--json")
    assert done.status == 1 and done.json["ok"] is False and done.json["different_bits"] > 0
    done = call("verify", pair[0], net)  # another network
    assert done.status == 2 and done.err


def test_given_data(call: Any, pair: tuple[Path, Path], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(1).integers(0, 256, (9, 8, 8, 2), np.uint8))
    done = call("verify", *pair, "--data", tmp_path / "x.npy", "--scale", 256)
    assert done.status == 0 and "9 images" in done.out
    assert "--scale" in call("verify", *pair, "--data", tmp_path / "x.npy").err


def test_not_a_number(call: Any, pair: tuple[Path, Path], tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(0, 1, (6, 8, 8, 2)).astype(np.float32)
    x[4, 3, 3, 0] = np.nan
    np.save(tmp_path / "x.npy", x)
    done = call("verify", *pair, "--data", tmp_path / "x.npy")
    assert done.status == 0 and "5 images" in done.out
    assert "images in which NaN reaches a quantizer, not compared: 1" in done.out
    assert call("verify", *pair, "--data", tmp_path / "x.npy", "--json").json["images_with_nan"] == 1


def test_input_shape(call: Any, tmp_path: Path) -> None:
    keras, net = save(tmp_path / "open.keras", size=None), tmp_path / "net.bnn"
    assert call("compile", keras, "-o", net, "--input-shape", "9,7,2").status == 0
    assert call("verify", keras, net, "--random", 4, "--input-shape", "9x7x2").status == 0
    assert call("verify", keras, net, "--random", 4).status == 2
    done = call("verify", keras, net, "--random", 4, "--input-shape", "8,8,2")
    assert done.status == 2 and "(8, 8, 2)" in done.err and "(9, 7, 2)" in done.err
    assert call("verify", keras, net, "--input-shape", "9,x").status == 2


@pytest.mark.parametrize(("given", "expected"), [(None, "0"), ("1", "1")])
@pytest.mark.child
def test_onednn_is_off_unless_asked_for(
    call: Any, net: Path, given: str | None, expected: str, when_loading: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is chosen while TensorFlow is imported: what the environment says then counts."""
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    if given:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", given)
    when_loading("import os, bnn; raise bnn.InputError(os.environ.get('TF_ENABLE_ONEDNN_OPTS'))")
    net.with_name("model.keras").touch()
    assert call("verify", net.with_name("model.keras"), net).err == f"bnn: error: {expected}\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--importer", "norse"], "--importer is for NIR files"),
        (["--stream"], "--stream is for NIR files"),
        (["--data", "x.npy", "--seed", "0"], "--seed is for random images"),
        (["--data", "x.npy", "--random", "256"], "--random is for random images"),
    ],
)
def test_options_that_would_be_ignored(call: Any, net: Path, options: list[str], words: str) -> None:
    model = net.with_name("model.keras")
    model.touch()
    result = call("verify", model, net, *options)
    assert result.status == 2 and words in result.err
