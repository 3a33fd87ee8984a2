# SPDX-License-Identifier: Apache-2.0
"""What a compiled file says of its use: what the caller says, and what the source says for certain."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import bnn
from bnn.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3)).astype(np.float32)


def network(*heads: Any) -> Any:
    """(4, 4, 3) -> 3, with these layers first."""
    keras = pytest.importorskip("tf_keras")
    return keras.Sequential([keras.layers.Input((4, 4, 3)), *heads, keras.layers.Flatten(), keras.layers.Dense(3)])


def layer(name: str, *args: Any, **kwargs: Any) -> Any:
    return getattr(pytest.importorskip("tf_keras").layers, name)(*args, **kwargs)


@pytest.mark.parametrize(
    ("heads", "known"),
    [
        ([], False),
        ([("Rescaling", 1 / 255)], True),
        ([("Rescaling", 1 / 127.5, -1)], True),
        ([("Rescaling", 1 / 16)], False),
    ],
)
def test_a_network_that_scales_pixels_itself(heads: list[tuple[Any, ...]], known: bool) -> None:
    model = network(*(layer(*head) for head in heads))
    compiled = bnn.compile(model)
    assert compiled.preprocessing == (bnn.Preprocessing(scale=1.0) if known else None)
    taken = compiled.preprocessing.apply(PIXELS.astype(np.uint8)) if compiled.preprocessing else PIXELS
    np.testing.assert_allclose(compiled(taken), model(PIXELS).numpy(), rtol=1e-4, atol=1e-4)
    assert bnn.compile(model, input_dtype="uint8").preprocessing is None
    if known:
        with pytest.raises(InputError, match=r"layer 'rescaling\S*' multiplies its input by 0.00"):
            bnn.compile(model, preprocess="imagenet")
    assert bnn.compile(model, preprocess={"scale": 1, "fit": "pad"}).preprocessing.fit == "pad"  # type: ignore[union-attr]


def test_a_normalization_of_pixels_is_not_done_twice() -> None:
    heads = [layer("Normalization", mean=[100.0, 110, 120], variance=[3600.0] * 3)]
    assert bnn.compile(network(*heads)).preprocessing is None
    with pytest.raises(InputError, match="multiplies its input by 0.01667"):
        bnn.compile(network(*heads), preprocess="caffe")
    heads = [layer("Normalization", mean=[0.4] * 3, variance=[0.04] * 3)]  # of numbers from 0 to 1
    assert bnn.compile(network(*heads), preprocess={"scale": 255}).preprocessing == bnn.Preprocessing(scale=255.0)


def test_what_the_caller_says() -> None:
    model = network()
    plain = bnn.compile(model)
    used = bnn.compile(model, labels=["a", "b", "c"], preprocess="torchvision", metadata={"k": "v"})
    assert (used.labels, used.metadata, used.preprocessing.shorter) == (["a", "b", "c"], {"k": "v"}, 4)  # type: ignore[union-attr]
    assert used.nbytes > plain.nbytes and not any(plain.to_bytes()[108:128])
    assert bnn.compile(model, labels=None, preprocess=None, metadata={}).to_bytes() == plain.to_bytes()
    with pytest.raises(InputError, match="labels: found 2, expected one for each of 3 classes"):
        bnn.compile(model, labels=["a", "b"])


@pytest.mark.parametrize(
    ("key", "text", "labels"),
    [
        ("names", "{0: 'a', 1: 'b', 2: \"c's\"}", ["a", "b", "c's"]),  # as Ultralytics writes them
        ("labels", json.dumps(["a", "\U0001f600", "c"]), ["a", "\U0001f600", "c"]),
        ("classes", '{"0": "a", "2": "c", "1": "b"}', ["a", "b", "c"]),
        ("classes", '["a", "b"]', None),
        ("labels", "a,b,c", None),
        ("names", "[" * 10000, None),
        ("author", '["a", "b", "c"]', None),
    ],
)
def test_metadata_of_onnx(key: str, text: str, labels: list[str] | None) -> None:
    pytest.importorskip("onnxruntime")
    from importers.onnx.small import model, node

    proto = model([node("Flatten", "x", "f"), node("MatMul", "f w")], {"w": np.ones((120, 3), np.float32)}, rank=2)
    proto.metadata_props.add(key=key, value=text)
    proto.metadata_props.add(key="b", value="é")
    compiled = bnn.compile(proto, metadata={"c": "d"})
    assert compiled.metadata == {key: text, "b": "é", "c": "d"} and compiled.labels == labels
    assert bnn.compile(proto, labels=["x", "y", "z"]).labels == ["x", "y", "z"]
    proto.metadata_props.add(key="long", value="x" * 65537)
    with pytest.warns(bnn.CompileWarning, match="metadata 'long': found 65,537 characters, more than 65,536"):
        assert bnn.compile(proto).metadata == {key: text, "b": "é"}
