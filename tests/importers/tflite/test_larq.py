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
from bnn.ir import interpret

from .build import ACTIVATIONS, NONE, RELU, RELU6, SAME, VALID, Net, in_larq, packed

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
    """Tap by tap, as Larq counts, with a padding of ones: (the products that are -1, the sum of the weights outside the
    image), for bits x (N, H, W, C) and w (O, kh, kw, C / groups)."""
    images, height, width, channels = x.shape
    filters, kh, kw, inside = w.shape
    dh, dw = options["dilation_height_factor"], options["dilation_width_factor"]
    sh, sw = options["stride_height"], options["stride_width"]
    oh, top = size(height, kh, sh, dh, options["padding"])
    ow, left = size(width, kw, sw, dw, options["padding"])
    first = np.arange(filters) // (filters // (channels // inside)) * inside
    own = first[:, None] + np.arange(inside)  # the channels that a filter sees
    count, outside = np.zeros((images, oh, ow, filters), int), np.zeros((oh, ow, filters), int)
    for y, z, i, j in np.ndindex(oh, ow, kh, kw):
        row, column = y * sh - top + i * dh, z * sw - left + j * dw
        in_image = 0 <= row < height and 0 <= column < width
        data = x[:, row, column][:, own] if in_image else np.ones((images, filters, inside))
        count[:, y, z] += (data != w[:, i, j]).sum(axis=-1)
        outside[y, z] += 0 if in_image else w[:, i, j].sum(axis=-1).astype(int)
    return count, outside


def network(
    rng: np.random.Generator, shape: tuple[int, ...], w: Array, bits: bool, options: dict[str, int], limits: Any = None
) -> Net:
    """LceQuantize, LceBconv2d, and LceDequantize if the convolution gives ``bits``, for which ``limits`` are."""
    net, filters = Net(), len(w)
    x = net.input(*shape)
    q = net.larq("LceQuantize", [x], 1, *shape[:-1], -(-shape[-1] // 32))
    oh, _ = size(shape[0], w.shape[1], options["stride_height"], options["dilation_height_factor"], options["padding"])
    ow, _ = size(shape[1], w.shape[2], options["stride_width"], options["dilation_width_factor"], options["padding"])
    weights, reach = net.constant(packed(w)), int(np.prod(w.shape[1:]))
    if bits:
        limits = rng.integers(-2, reach + 2, filters) if limits is None else limits
        thresholds = net.constant(np.asarray(limits, np.int32))
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
    "zero padding": ((6, 7, 40), (7, 3, 2, 40), False, {"pad_values": 0, "channels_in": 40, "stride_width": 3}),
    "relu": ((5, 5, 3), (9, 3, 3, 3), False, {"channels_in": 3, "fused_activation_function": RELU}),
    "dilations": (
        (9, 8, 33), (5, 3, 2, 33), False,
        {"dilation_height_factor": 2, "dilation_width_factor": 3, "padding": VALID, "channels_in": 33},
    ),
    "groups": ((4, 4, 64), (6, 3, 3, 32), False, {"channels_in": 64}),
    "bits": ((5, 6, 70), (40, 3, 3, 70), True, {"channels_in": 70}),
    "bits, groups": ((4, 4, 96), (66, 1, 3, 32), True, {"channels_in": 96}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_binary_convolutions(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    """Larq Compute Engine's own interpreter, where it is installed, gives the same numbers, but where it corrects
    rounded sums for padding with zeros: there it rounds twice more."""
    shape, filters, bits, own = CASES[name]
    options, w = CONV | own, signs(rng, *filters)
    net = network(rng, shape, w, bits, options)
    x = rng.normal(size=(IMAGES, *shape)).astype(np.float32)
    x[:, 0, 0, :3] = [0.0, -0.0, -1e-40]
    data = net.to_bytes()
    found = compiled(data, tmp_path, x)
    assert np.array_equal(found, expected(net, np.where(np.abs(x) < 1e-38, 0, x), w, options))
    try:
        (theirs,) = in_larq(data, [x], use_indirect_bgemm="groups" in name)  # its only kernel that has them
    except pytest.skip.Exception:
        return
    outside = counted(x[:1], w, options)[1] if options["pad_values"] == 0 else np.zeros(1)
    same = found == theirs
    assert same.all(where=outside == 0) and np.abs(found - theirs).max() < 1e-5 * np.abs(theirs).max()


ENDS = np.iinfo(np.int32).min, np.iinfo(np.int32).max


@pytest.mark.parametrize("channels", [1, 5, 32, 33])
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
def test_every_sum(channels: int, activation: int | None, rng: np.random.Generator, tmp_path: Path) -> None:
    """Images from no product of -1 to nothing else: thresholds that never and always fire and those beside them, the
    ends of activations."""
    n = np.arange(channels + 1)
    x = np.where(np.arange(channels) < n[:, None], np.float32(-1), np.float32(1))[:, None, None]
    limits = [*ENDS, -2, -1, 0, 1, channels // 2, channels - 1, channels, channels + 1]
    w = np.repeat(np.float32([1, -1]), len(limits))[:, None, None, None] * np.ones((1, 1, 1, channels), np.float32)
    options = CONV | {"channels_in": channels, "fused_activation_function": activation or NONE}
    net = network(rng, (1, 1, channels), w, activation is None, options, limits * 2)
    if activation is not None:  # sums as they are, of all filters, or of one; one of the numbers that this needs
        multiplier, bias = (net.tensors[i]["value"] for i in (3, 4))
        for values, value in {NONE: [(multiplier, 1), (bias, 0)], RELU: [(multiplier, 1)],
                              RELU6: [(multiplier, 2), (bias, -channels)]}.get(activation, []):  # fmt: skip
            values[:] = value
        multiplier[0], bias[0] = 1, 0
    found = compiled(net.to_bytes(), tmp_path, x)
    assert np.array_equal(found, expected(net, x, w, options))
    if activation is None:
        count = np.stack([n] * len(limits) + [channels - n] * len(limits), axis=1)
        assert np.array_equal(found[:, 0, 0], np.where(count > limits * 2, -1, 1))


def opened(net: Net, path: Path, x: Array) -> list[Array]:
    """What the graph gives, and the file's own evaluation."""
    path.write_bytes(net.to_bytes())
    source = open_source(path)
    return [*interpret.outputs(source.graph(), [x]), *source.evaluate([x], source.outputs).values()]


def test_windows(rng: np.random.Generator, tmp_path: Path) -> None:
    """Small images, so that some are smaller than the filter with its holes.  Larq's converter refuses to pad bits and
    activations with zeros, and its interpreter pads an image that is smaller than the filter with ones instead."""
    refused = 0
    for _ in range(120):
        h, w, kh, kw, oh, ow, dh, dw = (int(n) for n in rng.integers(1, (6, 6, 4, 4, 3, 3, 4, 4)))
        groups, padding, zeros, bits = int(rng.choice([1, 1, 2])), *(int(n) for n in rng.integers(0, 2, 3))
        spans = [(h, (kh - 1) * dh + 1, oh), (w, (kw - 1) * dw + 1, ow)]
        if padding == VALID and any(n < span for n, span, _ in spans):
            continue
        options = CONV | {
            "channels_in": 32 * groups if groups > 1 else int(rng.choice([3, 32, 40])), "padding": padding,
            "pad_values": 1 - zeros, "stride_height": oh, "stride_width": ow, "dilation_height_factor": dh,
            "dilation_width_factor": dw, "fused_activation_function": int(rng.choice([NONE, NONE, *ACTIVATIONS])),
        }  # fmt: skip
        channels, activation = options["channels_in"], options["fused_activation_function"]
        filters = signs(rng, 2 * groups, kh, kw, channels // groups)
        net = network(rng, (h, w, channels), filters, bool(bits), options)
        x = signs(rng, 2, h, w, channels)
        padded = padding == SAME and any((-(-n // s) - 1) * s + span > n for n, span, s in spans)
        message = ""
        if zeros and padded and (bits or activation):
            message = "which Larq Compute Engine refuses"
        elif zeros and padded and any(n < span for n, span, _ in spans):
            message = "image smaller than the filter"
        if message:
            refused += 1
            with pytest.raises(UnsupportedOpError, match=message):
                opened(net, tmp_path / "net.tflite", x)
        else:
            for found in opened(net, tmp_path / "net.tflite", x):
                assert np.array_equal(found, expected(net, x, filters, options)), options
    assert refused > 5


def test_pools_of_bits(rng: np.random.Generator, tmp_path: Path) -> None:
    """Taps outside the image are not there."""
    for k in range(40):
        h, w, kh, kw, sh, sw = (int(n) for n in rng.integers(1, (7, 7, 4, 4, 4, 4)))
        padding = int(rng.integers(0, 2))
        if padding == VALID and (kh > h or kw > w):
            continue
        net, channels = Net(), int(rng.choice([3, 40]))
        q = net.larq("LceQuantize", [net.input(h, w, channels)], 1, h, w, -(-channels // 32))
        (oh, top), (ow, left) = size(h, kh, sh, 1, padding), size(w, kw, sw, 1, padding)
        options = {"filter_height": kh, "filter_width": kw, "stride_height": sh, "stride_width": sw, "padding": padding}
        p = net.larq("LceBMaxPool2d", [q], 1, oh, ow, -(-channels // 32), **options)
        net.larq("LceDequantize", [p], 1, oh, ow, channels, dtype="FLOAT32")
        x = signs(rng, 2, h, w, channels)
        around = np.pad(x, [(0, 0), (top, kh), (left, kw), (0, 0)], constant_values=-1)
        wanted = np.stack([
            np.stack([around[:, y * sh : y * sh + kh, z * sw : z * sw + kw].max((1, 2)) for z in range(ow)], 1)
            for y in range(oh)
        ], 1)  # fmt: skip
        found = opened(net, tmp_path / "net.tflite", x) + ([compiled(net.to_bytes(), tmp_path, x)] if k < 3 else [])
        assert all(np.array_equal(f, wanted) for f in found), options


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
    """A binary convolution, with other options; ``tensor``: a change of one of its tensors; ``made``: its image and
    filters; ``custom``: all of its options."""
    custom = changes.pop("custom", None)
    tensor, (shape, filters) = changes.pop("tensor", {}), changes.pop("made", ((5, 6, 32), (7, 3, 3, 32)))
    net = network(rng, shape, signs(rng, *filters), changes.pop("bits", False), CONV)
    options = CONV | {"channels_in": shape[-1]} | changes
    net.operators[1]["custom"] = bytes(flexbuffers.Dumps(options)) if custom is None else custom
    for number, own in tensor.items():
        net.tensors[number].update(own)
    return net


def many_options() -> bytes:
    """A map that claims to have more than the bytes it is in."""
    some = bytes(flexbuffers.Dumps({f"{i}": 0 for i in range(300)}))
    assert len(some) <= 2**12
    return some.replace((300).to_bytes(2, "little"), b"\xff\xff")


BROKEN: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "channels": ({"channels_in": 65}, UnsupportedOpError, r"filters of shape \(7, 3, 3, 1\) do not fit 65 channels"),
    "no channels": ({"channels_in": 0}, UnsupportedOpError, "do not fit 0 channels"),
    "negative channels": ({"channels_in": -32}, UnsupportedOpError, "do not fit -32 channels"),
    "words": ({"channels_in": 64, "made": ((5, 6, 32), (7, 3, 3, 64))}, UnsupportedOpError, "do not fit 64 channels"),
    "groups of half words": ({"made": ((5, 6, 40), (6, 3, 3, 20))}, UnsupportedOpError, "do not fit 40 channels"),
    "filters for three groups": ({"made": ((5, 6, 96), (7, 3, 3, 32))}, UnsupportedOpError, "do not fit 96 channels"),
    "filters of three dimensions": (
        {"tensor": {2: {"shape": (7, 3, 3), "value": np.zeros((7, 3, 3), np.int32)}}}, UnsupportedOpError,
        r"operand 1, 'net/t2/x', has shape \(7, 3, 3\); expected 4 dimensions",
    ),
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
    "too many biases": (
        {"tensor": {4: {"shape": (8,), "value": np.ones(8, np.float32)}}}, UnsupportedOpError,
        r"operand 3 has shape \(8,\); expected one number for each of 7 filters",
    ),
    "one threshold": (
        {"bits": True, "tensor": {3: {"shape": (1,), "value": np.ones(1, np.int32)}}}, UnsupportedOpError,
        r"operand 4 has shape \(1,\); expected one number for each of 7 filters",
    ),
    "multipliers of whole numbers": (
        {"tensor": {3: {"dtype": "INT32", "value": np.ones(7, np.int32)}}}, UnsupportedOpError,
        "'net/t3/x' is INT32; expected FLOAT32",
    ),
    "output of 8 bits": (
        {"tensor": {5: {"dtype": "INT8"}}}, UnsupportedOpError, "'net/t5/x' is INT8; expected FLOAT32 or INT32;",
    ),
    "zeros around a small image": ({"made": ((2, 6, 32), (7, 3, 3, 32)), "pad_values": 0}, UnsupportedOpError, "small"),
    "zeros around an image lower than a filter with holes": (
        {"made": ((4, 6, 32), (7, 3, 3, 32)), "pad_values": 0, "dilation_height_factor": 2}, UnsupportedOpError,
        "image smaller than the filter",
    ),
    "zeros around an image narrower than a filter with holes": (
        {"made": ((6, 4, 32), (7, 3, 3, 32)), "pad_values": 0, "dilation_width_factor": 2}, UnsupportedOpError,
        "image smaller than the filter",
    ),
    **{
        f"no {name}": (
            {"custom": bytes(flexbuffers.Dumps({k: v for k, v in CONV.items() if k != name}))}, CompileError,
            f"has no option {name}: an old version",
        ) for name in CONV if name not in ("pad_values", "fused_activation_function")
    },
    "a text": ({"padding": "SAME"}, CompileError, "option padding of .* is not a whole number"),
    "no map": ({"custom": bytes(flexbuffers.Dumps([1, 2]))}, CompileError, "options .* are not a map"),
    "no options": ({"custom": b""}, CompileError, "has 0 bytes of options"),
    "bytes of options": ({"custom": bytes(4097)}, CompileError, "has 4,097 bytes of options; expected 1 to 4,096"),
    "many options": ({"custom": many_options()}, CompileError, "has 65,535 options"),
    "output of another size": (
        {"tensor": {5: {"shape": (1, 5, 5, 7)}}}, CompileError, r"read as \(5, 6, 7\), but the model has \(5, 5, 7\)",
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
