# SPDX-License-Identifier: Apache-2.0
"""Saved models: .keras, .h5 and SavedModel, whole and damaged, with and without code in them."""

from __future__ import annotations

import json
import math
import shutil
import zipfile
from pathlib import Path
from typing import Any

import keras as keras3
import larq as lq
import pytest
import tensorflow as tf

import bnn
from bnn.errors import CompileError
from bnn.file.write import encode
from bnn.passes import lower

from .models import check, import_model, needs_keras3, scramble

keras = tf.keras
layers = tf.keras.layers
BINARY = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}


@pytest.fixture(scope="module")
def model() -> Any:
    return scramble(
        keras.Sequential(
            [
                layers.Input((8, 8, 1)),
                lq.layers.QuantConv2D(32, 3, kernel_quantizer="ste_sign", use_bias=False),
                layers.BatchNormalization(),
                lq.layers.QuantConv2D(40, 3, padding="same", pad_values=1.0, **BINARY),
                layers.Flatten(),
                lq.layers.QuantDense(5, **BINARY),
                layers.Softmax(),
            ]
        )
    )


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("models")
    model.save(folder / "net.keras")
    model.save(folder / "net.h5")
    model.save(folder / "saved")
    model.export(folder / "exported")
    model.save_weights(folder / "weights.h5")
    return folder


@pytest.mark.parametrize("name", ["net.keras", "net.h5", "saved", "exported"])
def test_files_give_what_the_model_gives(name: str, model: Any, folder: Path) -> None:
    check(str(folder / name), call=model)
    if name.startswith("net"):
        assert encode(lower(import_model(folder / name))) == encode(lower(import_model(model)))


@needs_keras3
@pytest.mark.parametrize("name", ["net.keras", "exported"])
def test_keras3_files(name: str, tmp_path: Path) -> None:
    of = keras3.layers
    stack = [of.Input((8, 8, 2)), of.Conv2D(4, 3), of.BatchNormalization(), of.Flatten(), of.Dense(3)]
    model = scramble(keras3.Sequential(stack))
    path = tmp_path / name
    if name == "exported":
        model.export(path, verbose=False)
    else:
        model.save(path)
    check(str(path), call=model)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("version", ["keras 2", "keras 3"])
def test_code_in_a_file_needs_permission(version: str, suffix: str, tmp_path: Path) -> None:
    of = layers if version == "keras 2" else keras3.layers
    sequential = keras.Sequential if version == "keras 2" else keras3.Sequential
    inner = sequential([of.Input((4,)), of.Lambda(lambda x: x * 2, output_shape=(4,))])
    model = sequential([of.Input((4,)), inner, of.Dense(3)])
    check(model)
    path = tmp_path / f"net{suffix}"
    model.save(path)
    with pytest.raises(CompileError, match=r"net.*contains a Lambda layer.*unsafe=True") as refused:
        import_model(path)
    assert str(path) in str(refused.value)
    check(str(path), call=model, unsafe=True)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_functions_that_the_program_registered(suffix: str, tmp_path: Path) -> None:
    """Quantizers and initializers, as in XNOR-Net and QuickNet of larq_zoo."""

    def scaled(x: Any) -> Any:
        return lq.math.sign(x) * 2

    def ramp(shape: Any, dtype: Any = None) -> Any:
        return tf.reshape(tf.range(math.prod(shape), dtype=dtype or tf.float32), shape) - 5

    with keras.utils.custom_object_scope({"scaled": scaled, "ramp": ramp}):
        dense = lq.layers.QuantDense(
            3,
            input_quantizer="ste_sign",
            kernel_quantizer=scaled,
            kernel_initializer=ramp,
            kernel_constraint=lq.constraints.WeightClip(),
        )
        model = keras.Sequential([layers.Input((4,)), dense])
        path = tmp_path / f"net{suffix}"
        model.save(path)
        check(str(path), call=model)
    refused(path, "'scaled'" if suffix == ".h5" else "scaled")


def refused(path: Path, *words: str) -> None:
    with pytest.raises(CompileError) as error:
        import_model(path)
    for word in (str(path), *words):
        assert word in str(error.value)


def test_missing_and_foreign_files(folder: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nothing.keras", "no such file", "SavedModel folder")
    refused(tmp_path, "without saved_model.pb")
    refused(folder / "weights.h5", "contains only weights", "model.save")
    text = tmp_path / "text.keras"
    text.write_text("hello")
    refused(text, "neither a .keras (zip) nor an .h5 (HDF5) file")
    empty = tmp_path / "empty.h5"
    empty.write_bytes(b"")
    refused(empty, "neither")
    archive = tmp_path / "other.keras"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("readme", "hello")
    refused(archive, "not one written by Keras")
    refused(archive.rename(tmp_path / "other.h5"), "is a .keras file (zip) by another name; rename it to other.keras")


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_truncated_files(name: str, share: float, folder: Path, tmp_path: Path) -> None:
    raw = (folder / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(raw[: int(len(raw) * share)])
    refused(path)


def test_damaged_archives(folder: Path, tmp_path: Path) -> None:
    for content in ("{", json.dumps({"class_name": "Nothing"}), "[" * 10**5 + "]" * 10**5, "null"):
        path = tmp_path / "net.keras"
        with zipfile.ZipFile(folder / "net.keras") as old, zipfile.ZipFile(path, "w") as new:
            for item in old.infolist():
                new.writestr(item, content if item.filename == "config.json" else old.read(item))
        refused(path)
    with zipfile.ZipFile(path, "w") as new:
        new.writestr("metadata.json", "[]")
        new.writestr("config.json", "{}")
    refused(path, "cannot be read")


def test_damaged_saved_model(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "exported", tmp_path / "exported")
    (tmp_path / "exported" / "saved_model.pb").write_bytes(b"\x0a\xffnot a graph")
    refused(tmp_path / "exported", "cannot load the SavedModel")


def test_saved_model_without_signature(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(CompileError, match="no signature"):
        import_model(tmp_path)


def test_keras3_layers_keep_their_names() -> None:
    x = keras3.Input((6, 6, 2))
    y = keras3.layers.Conv2D(3, 3, name="part")(x)
    y = keras3.layers.Conv2D(3, 3, name="part_1")(y)
    compiled = bnn.compile(keras3.Model(x, keras3.layers.Dense(2, name="part_2")(keras3.layers.Flatten()(y))))
    assert [op.layer for op in compiled.ops if op.op == "conv2d"] == ["part", "part_1", "part_2"]


def test_outputs_are_called_as_the_model_has_them() -> None:
    x = layers.Input((4,))
    y = layers.Dense(3, name="y")(x)
    assert bnn.compile(keras.Model(x, [y, layers.ReLU(name="z")(y), y])).output_names == ["y", "z", "y_1"]
    assert bnn.compile(keras.Model(x, {"q": y, "p": layers.ReLU(name="z")(y)})).output_names == ["p", "q"]
