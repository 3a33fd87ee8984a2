# SPDX-License-Identifier: Apache-2.0
"""What a file says of its use: names of classes, preprocessing, metadata; of strangers' files, too."""

from __future__ import annotations

import hashlib
import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._native import ffi, lib
from bnn.errors import InputError, ModelFormatError
from bnn.file.read import decode
from bnn.file.write import encode
from bnn.ir.graph import DType
from bnn.runtime import Model
from bnn.runtime.use import PRESETS, check_preprocessing
from file.reader import File
from uses import graph, using

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits.bnn"
FULL = {
    "labels": ["кот", "dog\x1b[31m"],
    "metadata": {"author": "É", "": ""},
    "preprocessing": {"scale": 255.0, "mean": [0.5, 0.25, 0.125], "std": [2, 3, 4], "order": "BGR", "fit": "crop",
                      "shorter": 7, "filter": "bicubic"},
}  # fmt: skip


def test_a_file_without_a_use_is_what_it_was() -> None:
    before = encode(replace(decode(EXAMPLE.read_bytes()), use=""))
    assert len(before) == 10_880 and not any(before[108:128])
    assert hashlib.sha256(before).hexdigest() == "3bb121b65e1ca63d48f9d0a86f1d5baaf8cae476a5b925afc275f3138c0d3b63"
    model = Model.from_bytes(before)
    assert (model.labels, model.preprocessing, model.metadata) == (None, None, {})
    plain, said = encode(graph()), encode(replace(graph(), use="{}"))
    assert len(said) == len(plain) and Model.from_bytes(said).metadata == {}  # two more bytes of text


def test_what_a_file_says() -> None:
    model = using(FULL)
    data = model.to_bytes()
    assert model.labels == FULL["labels"] and model.metadata == FULL["metadata"] and model.input_shape == (4, 5, 3)
    made = model.preprocessing
    assert made is not None and (made.scale, made.mean, made.order) == (255, (0.5, 0.25, 0.125), "BGR")
    assert made.record() == {**FULL["preprocessing"], "std": [2.0, 3.0, 4.0]}  # type: ignore[dict-item]
    assert json.loads(File(data).use) == FULL and encode(decode(data)) == data
    assert model.with_kernels("portable").labels == model.labels
    length = ffi.new("size_t *")
    assert bytes(ffi.buffer(lib.bnn_model_use(model._open().pointer, length), length[0])).decode() == File(data).use
    with pytest.raises(InputError, match="has 2 inputs"):
        _ = using({}, inputs=2).input_shape


@pytest.mark.parametrize(
    ("use", "options", "message"),
    [
        ("{", {}, "Expecting property name"),
        ("[" * 100_000, {}, "recursion|nest|Expecting"),
        ('{"metadata":{"a":"b","a":"c"}}', {}, "a key stands twice"),
        ('{"preprocessing":{"scale":NaN}}', {}, "found NaN, expected a finite number"),
        ('{"preprocessing":{"scale":1e999}}', {}, "scale: found inf"),
        ('{"metadata":{"a":"\\ud800"}}', {}, "expected text in Unicode"),
        ("1" * 5000, {}, "limit|found a huge number"),
        ([], {}, "use: found list, expected an object with labels, preprocessing, metadata"),
        ({"label": []}, {}, "use: found 'label'"),
        ({"labels": "ab"}, {}, "labels: found 'ab', expected a list"),
        ({"labels": ["a", 1]}, {}, "labels: number 1: found 1, expected a text"),
        ({"labels": ["a"]}, {}, "labels: found 1, expected one for each of 2 classes"),
        ({"metadata": {"a": 1}}, {}, "metadata: 'a': found 1"),
        ({"metadata": None}, {}, "metadata: found None"),
        ({"preprocessing": None}, {}, "preprocessing: found None, expected an object"),
        ({"preprocessing": {}}, {}, "found no scale"),
        ({"preprocessing": {"scale": 1, "gamma": 2}}, {}, "found 'gamma'"),
        ({"preprocessing": {"scale": True}}, {}, "scale: found True, expected a number"),
        ({"preprocessing": {"scale": 0}}, {}, "scale: found 0"),
        ({"preprocessing": {"scale": 1e-60}}, {}, "scale: found 1e-60, expected a float32 that is not 0"),
        ({"preprocessing": {"scale": 1, "mean": [1, 2]}}, {}, "mean: found 2 numbers, expected one for each of 3"),
        ({"preprocessing": {"scale": 1, "mean": 1e39}}, {}, "mean: found 1e.39, expected a finite float32"),
        ({"preprocessing": {"scale": 1, "std": [1, 0, 1]}}, {}, "std: found 0, expected a float32 that is not 0"),
        ({"preprocessing": {"scale": 1, "order": "GBR"}}, {}, "order: found 'GBR', expected one of RGB, BGR"),
        ({"preprocessing": {"scale": 1, "order": "BGR"}}, {"shape": (4, 5, 1)}, "has no three colours"),
        ({"preprocessing": {"scale": 1, "fit": ["crop"]}}, {}, "fit: found list, expected one of exact"),
        ({"preprocessing": {"scale": 1, "fit": "pad"}}, {"shape": (4, 5, 2)}, "is no picture"),
        ({"preprocessing": {"scale": 1, "fit": "crop", "shorter": 4}}, {}, "shorter: found 4, expected 5 to"),
        ({"preprocessing": {"scale": 1, "shorter": 9}}, {}, "shorter: expected only with the fit 'crop'"),
        ({"preprocessing": {"scale": 1, "fit": "pad", "fill": [0, 256, 0]}}, {}, "fill: found 256, expected 0 to 255"),
        ({"preprocessing": {"scale": 1, "filter": "sinc"}}, {}, "filter: found 'sinc'"),
        ({"preprocessing": {"scale": 1}}, {"dtype": DType.u8}, "found scale, but the network reads bytes"),
        ({"preprocessing": {"scale": 1}}, {"inputs": 2}, "the network has 2 inputs"),
    ],
)  # fmt: skip
def test_what_a_strangers_file_may_not_say(use: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelFormatError, match=f"^model in memory: what the file is used for: .*({message})"):
        using(use, **options)


def test_no_text_does_more_than_be_refused() -> None:
    draw = random.Random(1)
    text, opened = json.dumps(FULL, ensure_ascii=False).encode(), 0
    plain = Model.from_bytes(encode(graph()))
    inputs, outputs = ([t for t in plain.tensors if t.storage == kind] for kind in ("input", "output"))
    for _ in range(3000):
        changed = bytearray(text)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(changed))
            changed[at : at + draw.randint(0, 3)] = draw.choice(
                [b'"', b"0", b"9", b"-", b"null", b"[", b"}", b"\xff", b""]
            )
        try:
            bnn.runtime.use.from_file(bytes(changed), "net", inputs, outputs)
            opened += 1
        except ModelFormatError as error:
            assert str(error).startswith("net: what the file is used for: ")
    assert opened > 50


def test_a_text_that_is_too_long() -> None:
    text = json.dumps({"metadata": {"a": "x" * (2**20 - 21)}}, separators=(",", ":"))
    assert len(text) == 2**20 and len(using(text).metadata["a"]) == 2**20 - 21
    what = "header: bytes of the use (at most)"
    with pytest.raises(ModelFormatError, match=re.escape(f"{what}: found 1048577, expected 1048576")):
        using(text + " ")


MODES = [("torch", "imagenet"), ("torch", "torchvision"), ("tf", "tf"), ("caffe", "caffe")]


@pytest.mark.parametrize(("mode", "preset"), MODES)
def test_pixels_become_what_keras_makes_of_them(mode: str, preset: str) -> None:
    utils = pytest.importorskip("tf_keras.applications.imagenet_utils")
    pixels = np.arange(3 * 256 * 4, dtype=np.uint8).reshape(4, 16, 16, 3)
    plain = Model.from_bytes(encode(graph(shape=(16, 16, 3))))
    made = check_preprocessing(preset, [t for t in plain.tensors if t.storage == "input"])
    expected = utils.preprocess_input(pixels.copy(), data_format="channels_last", mode=mode)
    assert np.array_equal(made.apply(pixels), expected) and expected.dtype == np.float32
    assert made.shorter == (18 if preset == "torchvision" else None)


def test_pixels_of_a_network_of_bytes() -> None:
    model = using({"preprocessing": {"order": "BGR", "fit": "stretch"}}, dtype=DType.u8)
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    assert model.preprocessing is not None
    assert np.array_equal(model.preprocessing.apply(pixels), pixels[..., ::-1])
    named = check_preprocessing("torchvision", [model.tensors[0]])
    assert named == replace(named, scale=None, mean=(), std=(), fit="crop", shorter=5) and set(PRESETS) > {"imagenet"}
