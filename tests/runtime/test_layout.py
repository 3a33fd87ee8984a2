# SPDX-License-Identifier: Apache-2.0
"""Networks of sources that keep channels first: their arrays are so at the API, and never in the runtime."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bnn
from bnn.errors import InputError, ModelFormatError
from bnn.file.read import decode
from bnn.file.write import encode
from bnn.ir.graph import Graph
from bnn.ir.ops import ConvAttrs, constant, input_node, make
from bnn.passes import lower
from bnn.runtime import Model
from raw_model import with_checksum
from sanitized import call

RNG = np.random.default_rng(0)
X = RNG.integers(-8, 9, (5, 4, 5, 3)).astype(np.float32)  # (N, H, W, C)


def network() -> Graph:
    """An image to an image and to a vector."""
    x = input_node("x", (4, 5, 3))
    filters = constant(RNG.choice([-1.0, 1.0], (2, 3, 3, 3)))
    image = make("conv2d", x, filters, attrs=ConvAttrs(), name="conv")
    pooled = make("conv2d", image, constant(RNG.choice([-1.0, 1.0], (7, 2, 3, 2))), attrs=ConvAttrs(), name="dense")
    return Graph((x,), (image, pooled), ("image", "numbers"))


def both() -> tuple[Model, Model]:
    """The same network from a source with channels last, and from one with channels first."""
    graph = lower(network())
    return tuple(Model.from_bytes(encode(replace(graph, channels_first=f))) for f in (False, True))  # type: ignore[return-value]


def test_arrays_have_the_layout_of_the_source() -> None:
    last, first = both()
    assert (last.layout, first.layout) == ("NHWC", "NCHW")
    assert first.input_shapes == [(3, 4, 5)] and first.output_shapes == [(2, 2, 3), (7, 1, 1)]
    given = np.moveaxis(X, -1, 1)
    for found, expected in zip(first(given), last(X), strict=True):
        assert found.flags.c_contiguous and np.array_equal(found, np.moveaxis(expected, -1, 1))
    for found, expected in zip(first.predict(given, batch_size=2, threads=2), last(X), strict=True):
        assert np.array_equal(found, np.moveaxis(expected, -1, 1))
    taps = last.activations(X)
    for name, values in first.activations(given).items():
        assert np.array_equal(values, np.moveaxis(taps[name], -1, 1))
    assert len(first.profile(given, repeats=1)) == len(first.ops)


def test_the_callers_own_arrays() -> None:
    last, first = both()
    out = [np.empty((5, 2, 2, 3), np.float32), np.empty((5, 7, 1, 1), np.float32)]
    result = first(np.moveaxis(X, -1, 1), out=out)
    assert result[0] is out[0] and np.array_equal(out[0], np.moveaxis(last(X)[0], -1, 1))
    with pytest.raises(InputError, match=r"found shape \(5, 2, 3, 2\), expected \(5, 2, 2, 3\)"):
        first(np.moveaxis(X, -1, 1), out=[np.empty((5, 2, 3, 2), np.float32), out[1]])
    with pytest.raises(InputError, match=r"found shape \(5, 4, 5, 3\), expected \(N, 3, 4, 5\)"):
        first(X)


def test_the_file_says_so(tmp_path: Path) -> None:
    _, first = both()
    first.save(tmp_path / "net.bnn")
    assert bnn.load(tmp_path / "net.bnn").layout == "NCHW"
    data = bytearray(first.to_bytes())
    assert data[104] == 1 and decode(bytes(data)).channels_first and encode(decode(bytes(data))) == bytes(data)
    for place, value in ((104, 2), (107, 1), (116, 1), (120, 1)):
        damaged = bytearray(data)
        damaged[place] = value
        with pytest.raises(ModelFormatError, match="channels first|reserved bytes"):
            Model.from_bytes(with_checksum(damaged))
    data[104] = 3
    with pytest.raises(ModelFormatError, match="found 3, expected 0 or 1"):
        decode(with_checksum(data))


def test_events_take_what_the_model_takes() -> None:
    x = input_node("x", (4, 5, 3))
    signs = make("sign", make("add", make("sign", x), constant([0.5])))
    conv = make("conv2d", signs, constant(RNG.choice([-1.0, 1.0], (2, 3, 3, 3))), attrs=ConvAttrs(), name="conv")
    graph = replace(lower(Graph((x,), (conv,), ("y",))), channels_first=True)
    model = Model.from_bytes(encode(graph))
    engine, video = bnn.events.EventEngine(model), np.moveaxis(X, -1, 1)
    run = engine.run_image(video[0])
    assert np.array_equal(run.outputs[-1], model(video[:1])[0, :, 0, 0])
    assert engine.run_stream(video).wrong == 0
    engine.reset()
    moments = np.zeros(3, [("x", "i4"), ("y", "i4"), ("p", "i4"), ("t", "i8")])
    with pytest.raises(InputError, match=r"the network's is \(4, 5, 3\)"):
        engine.run_events(moments)


def test_emitted_c_keeps_the_order_of_the_runtime(tmp_path: Path) -> None:
    _, first = both()
    arena = bnn.emit_c(first, tmp_path, name="net", vectors=np.moveaxis(X[:2], -1, 1)).arena
    library = tmp_path / "net.so"
    files = [str(tmp_path / name) for name in ("net.c", "net_kernels.c")]
    call("cc", "-O1", "-shared", "-fPIC", *files, "-lm", "-o", str(library))
    memory, image, numbers = (np.empty(n, np.float32) for n in (arena // 4 + 2, 2 * 3 * 2, 7))
    places = (ctypes.c_void_p(a.ctypes.data) for a in (X, image, numbers))
    start = memory.ctypes.data + -memory.ctypes.data % 8
    run = ctypes.CDLL(str(library)).net_run
    assert run(ctypes.c_void_p(start), ctypes.c_size_t(arena), *places) == 0
    expected = [np.moveaxis(y[0], 0, -1) for y in first(np.moveaxis(X[:1], -1, 1))]
    assert np.array_equal(image.reshape(2, 3, 2), expected[0]) and np.array_equal(numbers, expected[1].reshape(-1))
