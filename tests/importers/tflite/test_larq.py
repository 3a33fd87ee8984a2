# SPDX-License-Identifier: Apache-2.0
"""Larq's own operators: packed bits, binary convolutions with every option, pools of bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers

import bnn
from bnn._types import Array
from bnn.errors import CompileError, UnsupportedOpError
from bnn.importers import open_source

from .build import ACTIVATIONS, NONE, RELU, RELU6, RELU_N1_TO_1, SAME, VALID, Net, in_larq, packed

IMAGES = 5
CONV = {
    "channels_in": 32, "dilation_height_factor": 1, "dilation_width_factor": 1, "fused_activation_function": NONE,
    "pad_values": 1, "padding": SAME, "stride_height": 1, "stride_width": 1,
}  # fmt: skip


def signs(rng: np.random.Generator, *shape: int) -> Array:
    return rng.choice(np.float32([-1, 1]), shape)


def compiled(data: bytes, tmp_path: Path, *inputs: Array) -> Array:
    """What the compiled network gives, which verify finds equal to the file's own evaluation in every layer."""
    path = tmp_path / "net.tflite"
    path.write_bytes(data)
    model = bnn.compile(path)
    x = list(inputs) if len(inputs) > 1 else inputs[0]
    report = bnn.verify(path, model, x, allow_silent=True)  # random layers may be dead
    assert report.ok and report.different_bits == report.different_floats == 0, report
    found = model(x)
    assert isinstance(found, np.ndarray)
    return found


def size(image: int, kernel: int, stride: int, dilation: int, padding: int) -> tuple[int, int]:
    """(outputs along an axis, padding before)"""
    if padding == VALID:
        return (image - (kernel - 1) * dilation - 1) // stride + 1, 0
    out = -(-image // stride)
    return out, max((out - 1) * stride + (kernel - 1) * dilation + 1 - image, 0) // 2


def counted(x: Array, w: Array, options: dict[str, int]) -> tuple[Array, Array]:
    """Number by number, as Larq counts, with a padding of ones: (the products that are -1, the sum of the weights
    outside the image), for bits x (N, H, W, C) and w (O, kh, kw, C / groups)."""
    images, height, width, channels = x.shape
    filters, kh, kw, inside = w.shape
    dh, dw = options["dilation_height_factor"], options["dilation_width_factor"]
    sh, sw = options["stride_height"], options["stride_width"]
    oh, top = size(height, kh, sh, dh, options["padding"])
    ow, left = size(width, kw, sw, dw, options["padding"])
    count, outside = np.zeros((images, oh, ow, filters), int), np.zeros((oh, ow, filters), int)
    for y in range(oh):
        for z in range(ow):
            for i in range(kh):
                for j in range(kw):
                    row, column = y * sh - top + i * dh, z * sw - left + j * dw
                    in_image = 0 <= row < height and 0 <= column < width
                    for f in range(filters):
                        first = f // (filters // (channels // inside)) * inside
                        data = x[:, row, column, first : first + inside] if in_image else np.ones((images, inside))
                        count[:, y, z, f] += (data != w[f, i, j]).sum(axis=-1)
                        outside[y, z, f] += 0 if in_image else int(w[f, i, j].sum())
    return count, outside


def network(rng: np.random.Generator, shape: tuple[int, ...], w: Array, bits: bool, options: dict[str, int]) -> Net:
    """LceQuantize, LceBconv2d, and LceDequantize if the convolution gives ``bits``."""
    net, filters = Net(), len(w)
    x = net.input(*shape)
    q = net.larq("LceQuantize", [x], 1, *shape[:-1], -(-shape[-1] // 32))
    oh, _ = size(shape[0], w.shape[1], options["stride_height"], options["dilation_height_factor"], options["padding"])
    ow, _ = size(shape[1], w.shape[2], options["stride_width"], options["dilation_width_factor"], options["padding"])
    weights, reach = net.constant(packed(w)), int(np.prod(w.shape[1:]))
    if bits:
        limits = rng.integers(-2, reach + 2, filters)
        limits[:2] = np.iinfo(np.int32).min, np.iinfo(np.int32).max
        thresholds = net.constant(limits.astype(np.int32))
        y = net.larq("LceBconv2d", [q, weights, -1, -1, thresholds], 1, oh, ow, -(-filters // 32), **options)
        net.larq("LceDequantize", [y], 1, oh, ow, filters, dtype="FLOAT32")
        return net
    multiplier = (rng.choice([-1, 1], filters) * rng.uniform(0.01, 2, filters)).astype(np.float32)
    multiplier[0] = 0
    bias = rng.normal(0, 5, filters).astype(np.float32)
    operands = [q, weights, net.constant(multiplier), net.constant(bias), -1]
    net.larq("LceBconv2d", operands, 1, oh, ow, filters, dtype="FLOAT32", **options)
    return net


def expected(net: Net, x: Array, w: Array, options: dict[str, int]) -> Array:
    """By Larq's formulas, one float32 operation after the other."""
    count, outside = counted(np.where(x < 0, -1, 1), w, options)
    reach = int(np.prod(w.shape[1:]))
    constants = [t["value"] for t in net.tensors if t["value"] is not None]
    if len(constants) == 2:
        return np.where(count > constants[1], np.float32(-1), np.float32(1))
    _, multiplier, bias = constants
    lo, hi = ACTIVATIONS[options["fused_activation_function"]]
    if options["pad_values"] == 0:  # the products outside the image do not count: neither do they in 2 n
        count = (2 * count + outside) / 2
    twice = np.minimum(np.maximum(2 * count, reach - hi), reach - lo)
    offset = (bias.astype(np.float64) + reach * multiplier.astype(np.float64)).astype(np.float32)
    return twice.astype(np.float32) * -multiplier + offset


CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], bool, dict[str, int]]] = {
    # image; filters; whether the result is packed; options
    "plain": ((5, 6, 32), (7, 3, 3, 32), False, {}),
    "valid": ((5, 6, 32), (7, 3, 3, 32), False, {"padding": VALID, "pad_values": 0}),
    "zero padding": ((5, 6, 40), (7, 3, 3, 40), False, {"pad_values": 0, "channels_in": 40}),
    "zero padding, stride": (
        (6, 7, 20), (3, 3, 2, 20), False, {"pad_values": 0, "channels_in": 20, "stride_height": 2, "stride_width": 3},
    ),
    "relu": ((5, 5, 3), (9, 3, 3, 3), False, {"channels_in": 3, "fused_activation_function": RELU}),
    "relu6": ((5, 5, 3), (9, 3, 3, 3), False, {"channels_in": 3, "fused_activation_function": RELU6}),
    "relu n1 to 1": ((5, 5, 3), (9, 3, 3, 3), False, {"channels_in": 3, "fused_activation_function": RELU_N1_TO_1}),
    "strides": ((7, 6, 33), (5, 3, 2, 33), False, {"channels_in": 33, "stride_height": 2, "stride_width": 3}),
    "dilations": (
        (9, 8, 32), (5, 3, 2, 32), False, {"dilation_height_factor": 2, "dilation_width_factor": 3, "padding": VALID},
    ),
    "dilations, zero padding": (
        (9, 8, 32), (5, 3, 3, 32), False, {"dilation_height_factor": 2, "dilation_width_factor": 3, "pad_values": 0},
    ),
    "groups": ((4, 4, 64), (6, 3, 3, 32), False, {"channels_in": 64}),
    "bits": ((5, 6, 32), (40, 3, 3, 32), True, {}),
    "bits, valid": ((5, 6, 70), (33, 2, 2, 70), True, {"channels_in": 70, "padding": VALID, "pad_values": 0}),
    "bits, groups": ((4, 4, 96), (66, 1, 3, 32), True, {"channels_in": 96}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_binary_convolutions(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    shape, filters, bits, own = CASES[name]
    options, w = CONV | own, signs(rng, *filters)
    net = network(rng, shape, w, bits, options)
    x = rng.normal(size=(IMAGES, *shape)).astype(np.float32)
    x[:, 0, 0, :3] = [0.0, -0.0, -1e-40]
    found = compiled(net.to_bytes(), tmp_path, x)
    assert np.array_equal(found, expected(net, np.where(np.abs(x) < 1e-38, 0, x), w, options))


@pytest.mark.parametrize("name", CASES)
def test_binary_convolutions_in_larq(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    """Larq Compute Engine's own interpreter gives the same numbers, but where it corrects rounded sums for padding with
    zeros: there it rounds twice more."""
    shape, filters, bits, own = CASES[name]
    options, w = CONV | own, signs(rng, *filters)
    net = network(rng, shape, w, bits, options)
    x = rng.normal(size=(IMAGES, *shape)).astype(np.float32)
    x[:, 0, 0, :3] = [0.0, -0.0, -1e-40]
    data = net.to_bytes()
    (theirs,) = in_larq(data, [x], use_indirect_bgemm="groups" in name)  # its only kernel that has them
    ours = compiled(data, tmp_path, x)
    same = ours == theirs
    if options["pad_values"] or options["padding"] == VALID:
        assert same.all()
    else:
        _, outside = counted(x[:1], w, options)
        assert same[:, outside == 0].all() and np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize("padding", [SAME, VALID])
def test_pools_of_bits(padding: int, rng: np.random.Generator, tmp_path: Path) -> None:
    net = Net()
    x = net.input(5, 7, 40)
    q = net.larq("LceQuantize", [x], 1, 5, 7, 2)
    (oh, _), (ow, _) = size(5, 3, 2, 1, padding), size(7, 2, 2, 1, padding)
    p = net.larq(
        "LceBMaxPool2d", [q], 1, oh, ow, 2, filter_height=3, filter_width=2, stride_height=2, stride_width=2,
        padding=padding,
    )  # fmt: skip
    net.larq("LceDequantize", [p], 1, oh, ow, 40, dtype="FLOAT32")
    images = rng.normal(-1, 1, (IMAGES, 5, 7, 40)).astype(np.float32)
    found = compiled(net.to_bytes(), tmp_path, images)
    _, top = size(5, 3, 2, 1, padding)
    for y in range(oh):
        for z in range(ow):
            first = max(2 * y - top, 0)
            window = images[:, first : 2 * y - top + 3, 2 * z : 2 * z + 2].max(axis=(1, 2))
            assert np.array_equal(found[:, y, z], np.where(window < 0, -1, 1))
    try:
        theirs = in_larq(net.to_bytes(), [images])[0]
    except pytest.skip.Exception:
        return
    assert np.array_equal(found, theirs)


def test_layers_in_a_row_are_binary(rng: np.random.Generator, tmp_path: Path) -> None:
    """Bits pass between convolutions as bits; names are those of the layers."""
    net = Net()
    x = net.input(6, 6, 32, name="serving_default_x:0")
    q = net.larq("LceQuantize", [x], 1, 6, 6, 1)
    net.tensors[q]["name"] = "net/first/sign/Sign;net/first/more"
    thresholds = net.constant(rng.integers(100, 180, 64).astype(np.int32))
    weights = net.constant(packed(signs(rng, 64, 3, 3, 32)))
    y = net.larq("LceBconv2d", [q, weights, -1, -1, thresholds], 1, 6, 6, 2, **CONV)
    net.tensors[y]["name"] = "net/second/sign/Sign"
    ones, zeros = net.constant(np.ones(10)), net.constant(np.zeros(10))
    weights = net.constant(packed(signs(rng, 10, 6, 6, 64)))
    options = CONV | {"channels_in": 64, "padding": VALID}
    z = net.larq("LceBconv2d", [y, weights, ones, zeros, -1], 1, 1, 1, 10, dtype="FLOAT32", **options)
    net.tensors[z]["name"] = "net/norm/FusedBatchNormV3"
    net.signature = {"x": x}, {"scores": z}
    images = rng.normal(size=(IMAGES, 6, 6, 32)).astype(np.float32)
    compiled(net.to_bytes(), tmp_path, images)
    model = bnn.compile(tmp_path / "net.tflite")
    assert [(o.op, o.layer) for o in model.ops] == [
        ("binarize", "first"), ("bconv2d", "first"), ("bconv2d", "second")
    ]  # fmt: skip
    assert model.input_names == ["x"] and model.output_names == ["scores"]
    report = bnn.verify(tmp_path / "net.tflite", model, images)
    assert {(layer.layer, layer.kind) for layer in report.layers} >= {("first", "sums"), ("scores", "floats")}


def test_packed_constants(rng: np.random.Generator, tmp_path: Path) -> None:
    """Weights that a file unpacks, or packs and unpacks, are constants."""
    net, w = Net(), signs(rng, 40)
    x = net.input(40)
    y = net.op("ADD", [x, net.larq("LceDequantize", [net.constant(packed(w))], 40, dtype="FLOAT32")], 1, 40,
               table="AddOptions")  # fmt: skip
    q = net.larq("LceQuantize", [net.constant(w * np.float32(3))], 2)
    net.op("ADD", [y, net.larq("LceDequantize", [q], 40, dtype="FLOAT32")], 1, 40, table="AddOptions")
    images = rng.integers(-9, 9, (IMAGES, 40)).astype(np.float32)
    assert np.array_equal(compiled(net.to_bytes(), tmp_path, images), images + 2 * w)


def test_verify_sees_another_file(rng: np.random.Generator, tmp_path: Path) -> None:
    """Of other weights; of another graph."""
    data = []
    for _ in range(2):
        w = signs(rng, 7, 3, 3, 32)
        data.append(network(rng, (5, 6, 32), w, False, CONV).to_bytes())
    images = rng.normal(size=(IMAGES, 5, 6, 32)).astype(np.float32)
    path = tmp_path / "net.tflite"
    path.write_bytes(data[0])
    model = bnn.compile(path)
    path.write_bytes(data[1])
    report = bnn.verify(path, model, images)
    assert not report.ok and "other weights or thresholds" in report.hint
    net = Net()
    net.op("RELU", [net.input(5, 6, 32)], 1, 5, 6, 32)
    net.tensors[1]["name"] = "another"
    path.write_bytes(net.to_bytes())
    with pytest.raises(bnn.InputError, match="was not compiled from this TensorFlow Lite model"):
        bnn.verify(path, model, images)


def broken(rng: np.random.Generator, **changes: Any) -> Net:
    """A binary convolution, with other options; ``tensor``: a change of one of its tensors."""
    tensor = changes.pop("tensor", {})
    net = network(rng, (5, 6, 32), signs(rng, 7, 3, 3, 32), changes.pop("bits", False), CONV)
    net.operators[1]["custom"] = bytes(flexbuffers.Dumps(CONV | changes))
    for number, own in tensor.items():
        net.tensors[number].update(own)
    return net


BROKEN: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "channels": ({"channels_in": 65}, UnsupportedOpError, r"filters of shape \(7, 3, 3, 1\) do not fit 65 channels"),
    "no channels": ({"channels_in": 0}, UnsupportedOpError, "do not fit 0 channels"),
    "negative channels": ({"channels_in": -32}, UnsupportedOpError, "do not fit -32 channels"),
    "padding": ({"padding": 2}, UnsupportedOpError, "padding 2"),
    "pad values": ({"pad_values": 2}, UnsupportedOpError, "padding with 2; expected 0 or 1"),
    "stride": ({"stride_height": 0}, UnsupportedOpError, r"stride \(0, 1\)"),
    "large stride": ({"stride_height": 2**40}, UnsupportedOpError, r"stride \(1099511627776, 1\)"),
    "activation": ({"fused_activation_function": 4}, UnsupportedOpError, "fused activation 4; supported: none, RELU"),
    "zeros and activation": (
        {"pad_values": 0, "fused_activation_function": RELU}, UnsupportedOpError, "Larq Compute Engine refuses",
    ),
    "zeros and bits": ({"pad_values": 0, "bits": True}, UnsupportedOpError, "Larq Compute Engine refuses"),
    "too few multipliers": (
        {"tensor": {3: {"shape": (6,), "value": np.ones(6, np.float32)}}}, UnsupportedOpError,
        r"operand 2 has shape \(6,\); expected one number for each of 7 filters",
    ),
    "multipliers of whole numbers": (
        {"tensor": {3: {"dtype": "INT32", "value": np.ones(7, np.int32)}}}, UnsupportedOpError,
        "'net/t3/x' is INT32; expected FLOAT32",
    ),
    "output of 8 bits": (
        {"tensor": {5: {"dtype": "INT8"}}}, UnsupportedOpError, "'net/t5/x' is INT8: 8-bit quantized models",
    ),
    "output of another size": (
        {"tensor": {5: {"shape": (1, 5, 5, 7)}}}, CompileError, r"gives \(5, 6, 7\), declared as \(5, 5, 7\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_does_not_fit(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    changes, error, message = BROKEN[name]
    path = tmp_path / "net.tflite"
    path.write_bytes(broken(rng, **changes).to_bytes())
    with pytest.raises(error, match=message) as caught:
        open_source(path).graph()
    assert "LceBconv2d" in str(caught.value)


def test_zero_padding_of_a_small_image(rng: np.random.Generator, tmp_path: Path) -> None:
    """Larq's interpreter pads it with ones instead."""
    options = CONV | {"pad_values": 0}
    path = tmp_path / "net.tflite"
    path.write_bytes(network(rng, (2, 6, 32), signs(rng, 7, 3, 3, 32), False, options).to_bytes())
    with pytest.raises(UnsupportedOpError, match="smaller than the filter"):
        open_source(path).graph()


def test_missing_option(rng: np.random.Generator, tmp_path: Path) -> None:
    path, options = tmp_path / "net.tflite", dict(CONV)
    net = network(rng, (5, 6, 32), signs(rng, 7, 3, 3, 32), False, options)
    for name in CONV:
        net.operators[1]["custom"] = bytes(flexbuffers.Dumps({k: v for k, v in options.items() if k != name}))
        path.write_bytes(net.to_bytes())
        if name in ("pad_values", "fused_activation_function"):
            continue
        with pytest.raises(CompileError, match=f"LceBconv2d.* has no option {name}"):
            open_source(path)
    net.operators[1]["custom"] = bytes(flexbuffers.Dumps(options | {"padding": "SAME"}))
    path.write_bytes(net.to_bytes())
    with pytest.raises(CompileError, match="option padding of .* is not a whole number"):
        open_source(path)
    net.operators[1]["custom"] = bytes(flexbuffers.Dumps([1, 2]))
    path.write_bytes(net.to_bytes())
    with pytest.raises(CompileError, match="are not a map"):
        open_source(path)
    net.operators[1]["custom"] = b""
    path.write_bytes(net.to_bytes())
    with pytest.raises(CompileError, match="has 0 bytes of options"):
        open_source(path)
