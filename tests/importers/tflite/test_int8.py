# SPDX-License-Identifier: Apache-2.0
"""Operators on 8-bit tensors: each with random scales on all 256 numbers, against TensorFlow Lite's reference kernels,
every byte; and scales and zero points that no file should have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.errors import CompileError
from bnn.importers import open_source
from bnn.importers.tflite.types import INTEGER
from bnn.ir import interpret
from bnn.ir.ops.requantize import multiply
from seed import SEED, numbers

from .build import NONE, RELU, RELU6, RELU_N1_TO_1, Net, in_tensorflow_lite
from .test_larq import size

H, W, C = 13, 10, 8  # two images have room for 256 numbers in each channel
IMAGES = 3
ACTIVATED = {"ADD": "AddOptions", "MUL": "MulOptions", "SUB": "SubOptions"}
UNARY = ("HARD_SWISH", "LOGISTIC", "RELU", "RELU6", "RELU_N1_TO_1", "TANH")


class Drawn:
    """Operators that read one input; the result of each is an output of the network."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.net, self.outputs = rng, Net(), dict[str, int]()
        self.scale = self.some_scale(2 ** rng.uniform(-6, 0))
        self.x = self.net.input(H, W, C, dtype="INT8", scale=self.scale)

    def some_scale(self, about: float = 1.0) -> tuple[np.float32, int]:
        """A scale of that order, or a power of two near it, which makes ties; and any zero point."""
        if self.rng.random() < 0.4:
            about = 2 ** np.round(np.log2(about))
            return np.float32(about * 2.0 ** self.rng.integers(-3, 4)), int(self.rng.integers(-128, 128))
        zero = int(self.rng.choice([-128, 0, 127, self.rng.integers(-128, 128)]))
        return np.float32(about * 2 ** self.rng.uniform(-3, 3)), zero

    def add(self, op: str, inputs: list[int], *shape: int, **options: Any) -> int:
        name = f"{op} {len(self.outputs)}"
        self.outputs[name] = self.net.op(op, inputs, *shape, **options)
        return self.outputs[name]

    def activation(self) -> int:
        return int(self.rng.choice([NONE, NONE, RELU, RELU6, RELU_N1_TO_1]))

    def int8(self, *shape: int, **more: Any) -> int:
        return self.net.constant(self.rng.integers(-128, 128, shape).astype(np.int8), **more)

    def filters(self) -> None:
        """A convolution: a scale per filter or for all; a depthwise one with a bias or without."""
        rng = self.rng
        depthwise = bool(rng.random() < 0.5)
        count = C * int(rng.integers(1, 3)) if depthwise else int(rng.integers(1, 20))
        kh, kw, stride, dilation, padding = (int(n) for n in rng.integers((1, 1, 1, 1, 0), (4, 4, 3, 3, 2)))
        shape, axis = ((1, kh, kw, count), 3) if depthwise else ((count, kh, kw, C), 0)
        h, w = (size(n, k, stride, dilation, padding)[0] for n, k in ((H, kh), (W, kw)))
        options = {
            "Padding": padding, "StrideH": stride, "StrideW": stride, "DilationHFactor": dilation,
            "DilationWFactor": dilation, "FusedActivationFunction": self.activation(),
        }  # fmt: skip
        if depthwise:
            options["DepthMultiplier"] = count // C
        op, table = ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions") if depthwise else ("CONV_2D", "Conv2DOptions")
        operands = [self.x, *self.weights(shape, axis, count, kh * kw * (1 if depthwise else C))]
        self.add(op, operands, 1, h, w, count, table=table, scale=self.some_scale(self.after), **options)

    def weights(self, shape: tuple[int, ...], axis: int, count: int, products: int) -> list[int]:
        powers = self.rng.uniform(-9, -5, count if self.rng.random() < 0.7 else 1)
        scales = 2.0 ** (powers if self.rng.random() < 0.6 else np.round(powers))
        self.after = float(self.scale[0]) * scales.mean() * np.sqrt(products) * 64
        operands = [self.int8(*shape, scale=(scales, np.zeros(len(scales)), axis))]
        bias = self.rng.integers(-(2**14), 2**14, count).astype(np.int32)
        return operands if axis == 3 and self.rng.random() < 0.5 else [*operands, self.net.constant(bias)]

    def dense(self) -> None:
        count = int(self.rng.integers(1, 20))
        operands = [self.x, *self.weights((count, H * W * C), 0, count, H * W * C)]
        options = {"table": "FullyConnectedOptions", "FusedActivationFunction": self.activation()}
        self.add("FULLY_CONNECTED", operands, 1, count, scale=self.some_scale(self.after), **options)

    def pairs(self) -> None:
        """Sums and products with a constant, or with other data."""
        for op, table in ACTIVATED.items():
            other = self.some_scale(float(self.scale[0]))
            shape = [(1, H, W, C), (C,), (1, 1, 1, C), (1,)][int(self.rng.integers(4))]
            y = self.int8(*shape, scale=other)
            if self.rng.random() < 0.5:
                y = self.net.op("QUANTIZE", [self.x], 1, H, W, C, scale=other)
            operands = [self.x, y] if self.rng.random() < 0.5 else [y, self.x]
            about = float(self.scale[0]) * (float(other[0]) * 32 if op == "MUL" else 1)
            options = {"table": table, "FusedActivationFunction": self.activation()}
            self.add(op, operands, 1, H, W, C, scale=self.some_scale(about), **options)

    def unary(self) -> None:
        for op in UNARY:
            scale = self.some_scale(float(self.scale[0]))
            if op == "LOGISTIC":
                scale = np.float32(1 / 256), -128
            elif op == "TANH":
                scale = np.float32(1 / 128), 0
            self.add(op, [self.x], 1, H, W, C, scale=scale)
        for alpha in (self.rng.uniform(0, 1.5), -self.rng.uniform(0, 1.5)):
            scale, table = self.some_scale(float(self.scale[0])), "LeakyReluOptions"
            self.add("LEAKY_RELU", [self.x], 1, H, W, C, scale=scale, table=table, Alpha=float(alpha))
        scale, beta = (np.float32(1 / 256), -128), float(self.rng.choice([1, self.rng.uniform(0.1, 2)]))
        self.add("SOFTMAX", [self.x], 1, H, W, C, scale=scale, table="SoftmaxOptions", Beta=beta)
        for op in ("MAXIMUM", "MINIMUM"):
            self.add(op, [self.x, self.int8(scale=self.scale)], 1, H, W, C, scale=self.scale)

    def quantizers(self) -> None:
        """Between all types of numbers, also at the network's ends."""
        near, image = float(self.scale[0]), (1, H, W, C)
        self.add("QUANTIZE", [self.x], *image, scale=self.some_scale(near))
        scale, zero = self.some_scale(near)
        self.add("QUANTIZE", [self.x], *image, dtype="UINT8", scale=(scale, zero + 128))
        y = self.add("DEQUANTIZE", [self.x], *image)
        self.add("QUANTIZE", [y], *image, scale=self.some_scale(near))
        u = self.net.op("QUANTIZE", [y], *image, dtype="UINT8", scale=(scale, zero + 128))
        self.add("DEQUANTIZE", [u], *image)
        self.add("QUANTIZE", [u], *image, scale=self.some_scale(near))

    def pools(self) -> None:
        kh, kw, stride, padding = (int(n) for n in self.rng.integers((1, 1, 1, 0), (5, 5, 3, 2)))
        h, w = (size(n, k, stride, 1, padding)[0] for n, k in ((H, kh), (W, kw)))
        for op in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
            self.add(
                op, [self.x], 1, h, w, C, scale=self.scale, table="Pool2DOptions", FilterHeight=kh, FilterWidth=kw,
                StrideH=stride, StrideW=stride, Padding=padding, FusedActivationFunction=self.activation(),
            )  # fmt: skip
        keep, axes = bool(self.rng.random() < 0.5), self.net.constant(np.int32([1, 2]))
        shape, scale = (1, 1, 1, C) if keep else (1, C), self.some_scale(float(self.scale[0]) / 4)
        self.add("MEAN", [self.x, axes], *shape, scale=scale, table="ReducerOptions", KeepDims=keep)

    def moves(self) -> None:
        rng, scale = self.rng, self.scale
        pads = np.int32([[0, 0], *rng.integers(0, 3, (2, 2)), [0, 0]])
        shape = np.int32([1, H, W, C]) + pads.sum(axis=1)
        self.add("PAD", [self.x, self.net.constant(pads)], *shape, scale=scale)
        operands = [self.x, self.net.constant(pads), self.int8(scale=scale)]
        self.add("PADV2", operands, *shape, scale=scale)
        self.add("RESHAPE", [self.x, self.net.constant(np.int32([1, H * W * C]))], 1, H * W * C, scale=scale)
        both = {"scale": scale, "table": "ConcatenationOptions", "Axis": 3}
        self.add("CONCATENATION", [self.x, self.x], 1, H, W, 2 * C, **both)
        axis = self.net.constant(np.int32(3))
        self.add("SPLIT", [axis, self.x], 1, H, W, C // 2, outputs=2, scale=scale, table="SplitOptions", NumSplits=2)
        begin, step = rng.integers(0, 3, 2), rng.integers(1, 3, 2)
        end = np.int32([H, W]) - rng.integers(0, 3, 2)
        corners = [np.int32([0, *n, c]) for n, c in ((begin, 0), (end, C), (step, 1))]
        corners[2][0] = 1
        taken = [len(range(*n)) for n in zip(begin, end, step, strict=True)]
        operands = [self.x, *map(self.net.constant, corners)]
        masks = {"BeginMask": 9, "EndMask": 9}  # the batch, and the channels
        self.add("STRIDED_SLICE", operands, 1, *taken, C, scale=scale, table="StridedSliceOptions", **masks)

    def draw(self) -> bytes:
        pieces = (self.dense, self.pairs, self.unary, self.quantizers, self.pools, self.moves)
        for piece in (*[self.filters] * 4, *pieces):
            piece()
        return self.net.to_bytes(*self.outputs.values())


def every_number(rng: np.random.Generator) -> Array:
    """Images whose channels each hold all 256 numbers, in random order; and one of extremes."""
    images = rng.integers(-128, 128, (IMAGES, H, W, C)).astype(np.int8)
    images.reshape(-1)[: 256 * C] = np.stack([rng.permutation(256) - 128 for _ in range(C)], axis=-1).reshape(-1)
    images[-1] = rng.choice([-128, 127], (H, W, C))
    return images


@pytest.mark.drawn
@pytest.mark.parametrize("number", numbers(8))
def test_operators(number: int, tmp_path: Path) -> None:
    """The evaluator, the graph and the compiled network give TensorFlow Lite's bytes."""
    print(f"repeat with BNN_TEST_SEED={SEED}")
    rng = np.random.default_rng([SEED, number])
    drawn, images, path = Drawn(rng), every_number(rng), tmp_path / "net.tflite"
    path.write_bytes(drawn.draw())
    assert {o["op"] for o in drawn.net.operators} >= INTEGER - {"LceQuantize", "CONV_2D", "DEPTHWISE_CONV_2D"}
    expected = in_tensorflow_lite(path.read_bytes(), [images], [*drawn.outputs.values()], "BUILTIN_REF")
    source, model = open_source(path), bnn.compile(path)
    evaluated = source.evaluate([images], source.outputs)
    everything = {
        "evaluator": [evaluated[name] for name in source.outputs],
        "graph": interpret.outputs(source.graph(), [images]),
        "network": model(images),
    }
    for what, found in everything.items():
        for name, ours, theirs in zip(drawn.outputs, found, expected, strict=True):
            assert ours.shape == theirs.shape and np.array_equal(ours, theirs), (what, name)
    report = bnn.verify(path, model, images)
    assert report.ok and report.different_bytes == 0 and report.verdict.startswith("EQUAL: all bytes")


def test_dense_layers_round_once(rng: np.random.Generator, tmp_path: Path) -> None:
    """Sums that two roundings, as of convolutions, would make other numbers."""
    net, path, image = Net(), tmp_path / "net.tflite", np.zeros((1, 1), np.int8)
    sums, bits, found = np.arange(-(2**19), 2**19), 44, np.zeros(0, np.int64)
    while not found.size:
        m = int(rng.integers(2**30, 2**31))
        found = sums[(sums * m + 2 ** (bits - 1)) >> bits != multiply(sums, m, 31 - bits)]
    weights = net.constant(np.ones((len(found), 1), np.int8), scale=HALF)
    operands = [net.input(1, dtype="INT8", scale=HALF), weights, net.constant(found.astype(np.int32))]
    scale = np.float32(0.25 * 2.0**bits / m)
    net.op("FULLY_CONNECTED", operands, 1, len(found), table="FullyConnectedOptions", scale=(scale, 0))
    path.write_bytes(net.to_bytes())
    (expected,) = in_tensorflow_lite(path.read_bytes(), [image], net.outputs, "BUILTIN_REF")
    assert np.array_equal(bnn.compile(path)(image), expected)


def test_precision_of_scales(rng: np.random.Generator, tmp_path: Path) -> None:
    """A convolution multiplies its scales in float64: sums for which float32 would make another number.  And a product
    so near a power of two that its multiplier of 31 bits is one."""
    sums, found = np.arange(2**20, dtype=np.int64), np.zeros(0, np.int64)
    while not found.size:
        x, w = rng.uniform(0.001, 0.01, 2).astype(np.float32)
        y = np.float32(x * w * 2**20 / 100)
        both = (float(x * w) / float(y), float(x) * float(w) / float(y))
        one, other = (multiply(sums, round(m * 2**44), -13) for m in both)
        found = np.flatnonzero(one != other)
    cases = [(x, w, y, found), (*np.float32([1 + 2.0**-17, 1 - 2.0**-17, 1]), np.arange(-140, 140))]
    path, image = tmp_path / "net.tflite", np.zeros((1, 1, 1, 1), np.int8)
    for before, weight, after, biases in cases:
        count, net = len(biases), Net()
        weights = net.constant(np.ones((count, 1, 1, 1), np.int8), scale=(weight, 0))
        operands = [net.input(1, 1, 1, dtype="INT8", scale=(before, 0)), weights, net.constant(biases.astype(np.int32))]
        options = {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}
        net.op("CONV_2D", operands, 1, 1, 1, count, table="Conv2DOptions", scale=(after, 0), **options)
        path.write_bytes(net.to_bytes())
        (expected,) = in_tensorflow_lite(path.read_bytes(), [image], net.outputs, "BUILTIN_REF")
        assert np.array_equal(bnn.compile(path)(image), expected)


def test_every_number_at_chosen_scales(tmp_path: Path) -> None:
    """Where -1 and 1 are whole numbers of steps and a half: limits are rounded away from zero.  And fine results of
    hard-swish, whose products below zero are rounded up."""
    net, path, image = Net(), tmp_path / "net.tflite", np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16, 1)
    x = net.input(16, 16, 1, dtype="INT8", scale=(0.25, 0))
    options = {"table": "AddOptions", "FusedActivationFunction": RELU_N1_TO_1}
    ends = [net.op("RELU_N1_TO_1", [x], 1, 16, 16, 1, scale=(np.float32(s), 5)) for s in (2, 2 / 3, 0.4)]
    ends += [net.op("ADD", [x, x], 1, 16, 16, 1, scale=(np.float32(s), 5), **options) for s in (2, 2 / 3, 0.4)]
    ends += [net.op("HARD_SWISH", [x], 1, 16, 16, 1, scale=(np.float32(0.25 / fine), 5)) for fine in (3, 20, 50, 120)]
    path.write_bytes(net.to_bytes(*ends))
    expected = in_tensorflow_lite(path.read_bytes(), [image], ends, "BUILTIN_REF")
    for ours, theirs in zip(bnn.compile(path)(image), expected, strict=True):
        assert np.array_equal(ours, theirs)


def test_floats_that_are_no_numbers(tmp_path: Path) -> None:
    """For `verify` and in the network.  TensorFlow Lite converts them without a check, which C does not define."""
    net, path, x = Net(), tmp_path / "net.tflite", np.array([[np.nan, np.inf, -np.inf, 1.0]], np.float32)
    net.op("QUANTIZE", [net.input(4)], 1, 4, scale=(0.5, 3))
    path.write_bytes(net.to_bytes())
    source, model = open_source(path), bnn.compile(path)
    for found in (source.evaluate([x], source.outputs)[source.outputs[0]], model(x)):
        assert found.tolist() == [[-128, 127, -128, 5]]


Make = Callable[[Net, np.random.Generator], object]
HALF = (0.5, 0)  # a scale and a zero point


def one(op: str, operands: list[Any], *out: int, scale: Any = HALF, **options: Any) -> Make:
    """An operator whose operands are data (a shape, without the batch), constants, or tensors with other scales."""
    table = ACTIVATED.get(op, options.pop("table", ""))

    def operand(net: Net, x: Any) -> int:
        if isinstance(x, tuple):
            return net.input(*x, dtype="INT8", scale=HALF)
        return x(net) if callable(x) else net.constant(x, scale=HALF if x.dtype == np.int8 else None)

    def make(net: Net, rng: np.random.Generator) -> None:
        net.op(op, [operand(net, x) for x in operands], *out, table=table, scale=scale, **options)

    return make


def data(*shape: int, scale: Any = HALF, dtype: str = "INT8") -> Callable[[Net], int]:
    return lambda net: net.input(*shape, dtype=dtype, scale=scale)


def fixed(*shape: int, scale: Any = HALF) -> Callable[[Net], int]:
    return lambda net: net.constant(np.ones(shape, np.int8), scale=scale)


def ints(*values: Any) -> Array:
    return np.array(values, np.int32)


def dense(weights: Callable[[Net], int], *more: Any, scale: Any = HALF) -> Make:
    return one("FULLY_CONNECTED", [(4,), weights, *more], 1, 3, table="FullyConnectedOptions", scale=scale)


def sliced(begin: Any, end: Any, steps: Any, *out: int, **options: int) -> Make:
    operands = [(6, 6, 4), *map(np.int32, (begin, end, steps))]
    return one("STRIDED_SLICE", operands, 1, *out, table="StridedSliceOptions", **options)


REFUSED: dict[str, tuple[Make, str]] = {
    "a scale of zero": (one("TANH", [data(3, scale=(0, 0))], 1, 3), "tensor .* has a scale of 0; expected finite"),
    "a scale below zero": (one("TANH", [data(3, scale=(-1, 0))], 1, 3), "has a scale of -1; expected"),
    "a scale of NaN": (dense(fixed(3, 4, scale=([1, np.nan, 1], [0] * 3))), "has a scale of nan"),
    "an infinite scale": (one("TANH", [data(3)], 1, 3, scale=(np.inf, 0)), "has a scale of inf"),
    "a large zero point": (one("TANH", [data(3, scale=(1, 128))], 1, 3), "a zero point of 128; expected -128 to 127"),
    "a zero point below": (
        one("QUANTIZE", [data(3, scale=(1, -1), dtype="UINT8")], 1, 3), "a zero point of -1; expected 0 to 255 for",
    ),
    "few scales": (dense(fixed(3, 4, scale=([1, 1], [0, 0]))), r"\[3, 4\] has 2 scales and 2 zero points along dim"),
    "few zero points": (dense(fixed(3, 4, scale=([1, 1, 1], [0]))), "has 3 scales and 1 zero points"),
    "scales of no dimension": (dense(fixed(3, 4, scale=([1] * 3, [0] * 3, 2))), "3 zero points along dimension 2"),
    "no scale": (one("TANH", [data(3, scale=None)], 1, 3), "'net/t0/x' has no scale; expected a scale and a zero"),
    "scales of channels of data": (
        one("TANH", [data(3, scale=([1] * 3, [0] * 3, 1))], 1, 3), "has 3 scales; only weights may have one per",
    ),
    "weights without a scale": (dense(fixed(3, 4, scale=None)), "has no scale; expected one, or one per filter"),
    "weights with a zero point": (dense(fixed(3, 4, scale=([1] * 3, [0, 0, 5]))), "have zero points 0, 0, 5; expected"),
    "scales of inputs": (dense(fixed(3, 4, scale=([1] * 4, [0] * 4, 1))), "have 4 scales along dimension 1; expected"),
    "a large multiplier": (dense(fixed(3, 4, scale=(1e30, 0))), r"make a multiplier of 1e\+30; at most 2\*\*29"),
    "a multiplier beyond floats": (
        one("MUL", [data(3, scale=(3e38, 0)), fixed(3, scale=(3e38, 0))], 1, 3), "a multiplier of inf; at most",
    ),
    "a large bias": (dense(fixed(3, 4), ints(0, -(2**31), 0)), "a bias of -2,147,483,648; at most"),
    "an operand of other types": (one("ADD", [(3,), np.ones(3, np.float32)], 1, 3), "is FLOAT32; expected INT8"),
    "16 bits": (one("TANH", [data(3, dtype="INT16")], 1, 3), "an input that is INT16; expected FLOAT32 or INT8"),
    "8 bits without a sign": (one("TANH", [data(3, dtype="UINT8")], 1, 3), "'net/t0/x' is UINT8; expected INT8;"),
    "slopes of 8 bits": (one("PRELU", [(3,), np.ones(3, np.int8)], 1, 3), "is INT8; expected FLOAT32; convert"),
    "another zero point of a part": (
        one("CONCATENATION", [(3,), data(3, scale=(0.5, 7))], 1, 6, table="ConcatenationOptions", Axis=1),
        "operand 1 has scale 0.5 and zero point 7, the result 0.5 and 0; expected the same",
    ),
    "scales of channels of weights": (
        one("CONV_2D", [(4, 4, 3), fixed(3, 1, 1, 3, scale=([1] * 3, [0] * 3, 3))], 1, 4, 4, 3, table="Conv2DOptions",
            StrideH=1, StrideW=1, DilationHFactor=1, DilationWFactor=1),
        "have 3 scales along dimension 3; expected one, or one for each of 3 filters, along dimension 0",
    ),
    "another scale of a pool": (
        one("MAX_POOL_2D", [(4, 4, 2)], 1, 4, 4, 2, scale=(0.25, 0), table="Pool2DOptions", FilterHeight=1,
            FilterWidth=1,
            StrideH=1, StrideW=1),
        "operand 0 has scale 0.5 and zero point 0, the result 0.25 and 0; expected the same",
    ),
    "the result of a logistic function": (one("LOGISTIC", [(3,)], 1, 3), "a result of scale 0.5 and zero point 0;"),
    "the result of softmax": (
        one("SOFTMAX", [(3,)], 1, 3, table="SoftmaxOptions", Beta=1.0), "a result of scale 0.5 and zero point 0;",
    ),
    "softmax of nothing": (
        one("SOFTMAX", [(3,)], 1, 3, scale=(1 / 256, -128), table="SoftmaxOptions", Beta=0.0), "beta 0; expected",
    ),
    "softmax of small numbers": (
        one("SOFTMAX", [(3,)], 1, 3, scale=(1 / 256, -128), table="SoftmaxOptions", Beta=1e-9), "less than 2\\*\\*-26",
    ),
    "a finer result of hard-swish": (one("HARD_SWISH", [(3,)], 1, 3, scale=(1e-4, 0)), "is less than 1/128 of 0.5"),
    "the larger of two data": (one("MAXIMUM", [(3,), (3,)], 1, 3), "both depend on the data, or several constants"),
    "the smaller of several": (one("MINIMUM", [(3,), np.ones(3, np.int8)], 1, 3), "or several constants; expected one"),
    "rows of a sum": (one("ADD", [(4, 5, 3), np.ones((5, 1), np.int8)], 1, 4, 5, 3), "or one pixel, or one number"),
    "mean of columns": (one("MEAN", [(4, 5, 3), ints(2)], 1, 4, 3, table="ReducerOptions"), r"dimensions \[2\] of"),
    "slices of a batch": (sliced([1] * 4, [6] * 4, [1] * 4, 5, 5, 3), r"of the batch of \(1, 6, 6, 4\); only the"),
    "slices backwards": (sliced([0] * 4, [6] * 4, [1, -1, 1, 1], 6, 6, 4), "a step above 0 for each dimension"),
    "slices that lose a dimension": (
        sliced([0] * 4, [6] * 4, [1] * 4, 6, 6, 4, ShrinkAxisMask=2), "with shrink_axis_mask; expected a start",
    ),
    "slices of pixels and channels": (
        sliced([0, 1, 0, 1], [6] * 4, [1] * 4, 5, 6, 3), "supported: of rows and columns, or of channels",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    net, path = Net(), tmp_path / "net.tflite"
    make(net, rng)
    path.write_bytes(net.to_bytes())
    with pytest.raises(CompileError, match=message):
        open_source(path).graph()


def test_types_of_inputs(tmp_path: Path) -> None:
    """The network takes what the file takes."""
    net, path = Net(), tmp_path / "net.tflite"
    one("TANH", [(3,)], 1, 3)(net, np.random.default_rng(0))
    path.write_bytes(net.to_bytes())
    model = bnn.compile(path)
    assert [d.name for d in model.input_dtypes] == ["int8"]
    for dtype in ("float32", "uint8"):
        with pytest.raises(CompileError, match="is int8 in the (file|model), which .*; leave out its input_dtype"):
            bnn.compile(path, input_dtype=dtype)
    other = Net()
    one("TANH", [data(3, scale=(0.25, 3))], 1, 3)(other, np.random.default_rng(0))
    path.write_bytes(other.to_bytes())
    every = (np.arange(768) % 256 - 128).reshape(256, 3).astype(np.int8)
    report = bnn.verify(path, model, every)
    assert report.different_bytes == 24 and report.verdict.startswith("DIFFERENT: 0 bits, 24 bytes and 0 floats")
