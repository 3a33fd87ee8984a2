# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite's operators of floats: each in a file of its own, compared with TensorFlow Lite's kernels."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bnn
from bnn._types import Array
from bnn.errors import CompileError
from bnn.importers import open_source
from bnn.importers.tflite.file import OPERATORS
from bnn.importers.tflite.model import SUPPORTED
from bnn.ir import interpret

from .build import NONE, RELU, RELU6, RELU_N1_TO_1, SAME, VALID, Net, in_tensorflow_lite

IMAGES = 4
Make = Callable[[Net, np.random.Generator], object]


def whole(rng: np.random.Generator, *shape: int) -> Array:
    """Whole numbers: all sums of products are exact, in any order."""
    return rng.integers(-4, 5, shape).astype(np.float32)


def conv(
    filters: tuple[int, ...], image: tuple[int, ...], out: tuple[int, ...], depthwise: bool = False, **options: int,
) -> Make:  # fmt: skip
    def make(net: Net, rng: np.random.Generator) -> None:
        operands = [net.input(*image), net.constant(whole(rng, *filters)), net.constant(whole(rng, out[-1]))]
        op, table = ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions") if depthwise else ("CONV_2D", "Conv2DOptions")
        own = {"StrideH": 1, "StrideW": 1, "Padding": SAME, "DilationHFactor": 1, "DilationWFactor": 1} | options
        if depthwise:
            own["DepthMultiplier"] = out[-1] // image[-1]
        net.op(op, operands, 1, *out, table=table, **own)

    return make


def pool(op: str, image: tuple[int, ...], out: tuple[int, ...], **options: int) -> Make:
    own = {"StrideH": 2, "StrideW": 1, "Padding": SAME, "FilterHeight": 3, "FilterWidth": 2} | options
    return lambda net, rng: net.op(op, [net.input(*image)], 1, *out, table="Pool2DOptions", **own)


def dense(image: tuple[int, ...], out: tuple[int, ...], bias: bool = True, **options: Any) -> Make:
    def make(net: Net, rng: np.random.Generator) -> None:
        operands = [net.input(*image), net.constant(whole(rng, out[-1], int(np.prod(image))))]
        operands.append(net.constant(whole(rng, out[-1])) if bias else -1)
        net.op("FULLY_CONNECTED", operands, 1, *out, table="FullyConnectedOptions", **options)

    return make


def plain(op: str, image: tuple[int, ...] = (3, 4, 5), table: str = "", **options: Any) -> Make:
    return lambda net, rng: net.op(op, [net.input(*image)], 1, *image, table=table, **options)


TABLES = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions"}


def pair(op: str, first: tuple[int, ...] | None, second: tuple[int, ...] | None, activation: int = NONE) -> Make:
    """``first`` and ``second``: the shape of a constant, the batch included; None: the data."""

    def make(net: Net, rng: np.random.Generator) -> None:
        x = net.input(3, 4, 5)

        def operand(shape: tuple[int, ...] | None) -> int:
            return x if shape is None else net.constant(whole(rng, *shape) + np.float32(0.5))

        options = {"FusedActivationFunction": activation} if op in TABLES else {}
        net.op(op, [operand(first), operand(second)], 1, 3, 4, 5, table=TABLES.get(op, ""), **options)

    return make


def two_inputs(net: Net, rng: np.random.Generator) -> None:
    net.op("SUB", [net.input(3, 4, 5), net.input(3, 4, 5)], 1, 3, 4, 5, table="SubOptions")


def scale_per_image(net: Net, rng: np.random.Generator) -> None:
    """As in real-to-binary networks: a vector of an image scales its channels."""
    net.op("MUL", [net.input(3, 4, 5), net.input(5)], 1, 3, 4, 5, table="MulOptions")


def prelu(*shape: int) -> Make:
    return lambda net, rng: net.op("PRELU", [net.input(3, 4, 5), net.constant(whole(rng, *shape))], 1, 3, 4, 5)


def mean(axes: Sequence[int], out: tuple[int, ...], keep: bool) -> Make:
    def make(net: Net, rng: np.random.Generator) -> None:
        operands = [net.input(4, 8, 5), net.constant(np.array(axes, np.int32))]
        net.op("MEAN", operands, 1, *out, table="ReducerOptions", KeepDims=keep)

    return make


def pad(pads: Sequence[Sequence[int]], image: tuple[int, ...], value: float | None = None) -> Make:
    out = [1 + sum(pads[0])] + [d + sum(p) for d, p in zip(image, pads[1:], strict=True)]

    def make(net: Net, rng: np.random.Generator) -> None:
        operands = [net.input(*image), net.constant(np.array(pads, np.int32))]
        if value is not None:
            operands.append(net.constant([value]))
        net.op("PAD" if value is None else "PADV2", operands, *out)

    return make


def concatenation(axis: int, activation: int = NONE) -> Make:
    def make(net: Net, rng: np.random.Generator) -> None:
        operands = [net.input(3, 4, 2), net.input(3, 4, 5)]
        options = {"Axis": axis, "FusedActivationFunction": activation}
        net.op("CONCATENATION", operands, 1, 3, 4, 7, table="ConcatenationOptions", **options)

    return make


def split(axis: int) -> Make:
    def make(net: Net, rng: np.random.Generator) -> None:
        operands = [net.constant(np.array(axis, np.int32)), net.input(3, 4, 6)]
        first = net.op("SPLIT", operands, 1, 3, 4, 2, table="SplitOptions", NumSplits=3, outputs=3)
        net.outputs = [first, first + 1, first + 2]

    return make


def sliced(begin: Sequence[int], end: Sequence[int], steps: Sequence[int], out: tuple[int, ...]) -> Make:
    def make(net: Net, rng: np.random.Generator) -> None:
        operands = [net.input(3, 4, 5), *(net.constant(np.array(n, np.int32)) for n in (begin, end, steps))]
        net.op("STRIDED_SLICE", operands, 1, *out, table="StridedSliceOptions")

    return make


def shape_of_the_batch(net: Net, rng: np.random.Generator) -> None:
    """A shape that the file computes, as it does where the batch was dynamic."""
    x = net.input(3, 4, 5)
    shape = net.op("SHAPE", [x], 4, table="ShapeOptions", dtype="INT32", OutType=2)
    ends = [net.constant(np.int32([n])) for n in (0, 1, 1)]
    batch = net.op("STRIDED_SLICE", [shape, *ends], table="StridedSliceOptions", dtype="INT32", ShrinkAxisMask=1)
    packed = net.op("PACK", [batch, net.constant(np.int32(60))], 2, table="PackOptions", dtype="INT32", ValuesCount=2)
    net.op("RESHAPE", [x, packed], 1, 60)


def reshape(image: tuple[int, ...], *out: int) -> Make:
    def make(net: Net, rng: np.random.Generator) -> None:
        net.op("RESHAPE", [net.input(*image), net.constant(np.array([1, *out], np.int32))], 1, *out)

    return make


def computed_weights(net: Net, rng: np.random.Generator) -> None:
    """Weights that the file computes from constants, as it does those of XNOR-Net."""
    w = net.constant(whole(rng, 3, 2, 5, 8))
    clipped = net.op("RELU_N1_TO_1", [w], 3, 2, 5, 8)
    size = net.op("ABS", [clipped], 3, 2, 5, 8)
    factors = net.op("MEAN", [size, net.constant(np.int32([3]))], 3, 2, 5, 1, table="ReducerOptions", KeepDims=True)
    scaled = net.op("MUL", [factors, clipped], 3, 2, 5, 8, table="MulOptions")
    ohwi = net.op("TRANSPOSE", [scaled, net.constant(np.int32([3, 0, 1, 2]))], 8, 3, 2, 5)
    options = {"StrideH": 1, "StrideW": 1, "Padding": VALID, "DilationHFactor": 1, "DilationWFactor": 1}
    operands = [net.input(3, 4, 5), ohwi, net.constant(whole(rng, 8))]
    net.op("CONV_2D", operands, 1, 1, 3, 8, table="Conv2DOptions", **options)


EXACT: dict[str, Make] = {
    "conv": conv((6, 3, 2, 5), (6, 7, 5), (6, 7, 6)),
    "conv, valid, stride": conv((6, 3, 2, 5), (6, 7, 5), (2, 3, 6), Padding=VALID, StrideH=2, StrideW=2),
    "conv, same, stride": conv((6, 3, 2, 5), (6, 7, 5), (3, 3, 6), StrideH=2, StrideW=3),
    "conv, dilation": conv((6, 3, 2, 5), (6, 7, 5), (2, 4, 6), Padding=VALID, DilationHFactor=2, DilationWFactor=3),
    "conv, relu6": conv((6, 1, 1, 5), (3, 4, 5), (3, 4, 6), FusedActivationFunction=RELU6),
    "conv, groups": conv((6, 3, 3, 4), (5, 5, 8), (5, 5, 6)),
    "depthwise": conv((1, 3, 2, 5), (6, 7, 5), (6, 7, 5), depthwise=True),
    "depthwise, multiplier, stride": conv((1, 3, 3, 10), (6, 7, 5), (3, 4, 10), depthwise=True, StrideH=2, StrideW=2),
    "dense": dense((12,), (7,)),
    "dense, image": dense((2, 3, 4), (7,), FusedActivationFunction=RELU),
    "dense, no bias, image out": dense((1, 1, 12), (1, 1, 7), bias=False, KeepNumDims=True),
    "max pool": pool("MAX_POOL_2D", (6, 7, 5), (3, 7, 5)),
    "max pool, valid, relu": pool(
        "MAX_POOL_2D", (6, 7, 5), (2, 6, 5), Padding=VALID, FusedActivationFunction=RELU,
    ),
    "add": pair("ADD", None, (5,)),
    "add, constant first": pair("ADD", (1, 1, 1, 5), None),
    "add, image": pair("ADD", None, (1, 3, 4, 5), RELU),
    "add, number": pair("ADD", None, ()),
    "add to itself": pair("ADD", None, None, RELU6),
    "sub": pair("SUB", (5,), None, RELU_N1_TO_1),
    "sub, two inputs": two_inputs,
    "mul": pair("MUL", None, (4, 1)),
    "div": pair("DIV", None, (5,)),
    "maximum": pair("MAXIMUM", None, (5,)),
    "minimum": pair("MINIMUM", (1,), None),
    "scale per image": scale_per_image,
    "abs": plain("ABS"),
    "relu": plain("RELU"),
    "relu, vector": plain("RELU", (7,)),
    "relu6": plain("RELU6"),
    "relu n1 to 1": plain("RELU_N1_TO_1"),
    "leaky relu": plain("LEAKY_RELU", table="LeakyReluOptions", Alpha=0.3),
    "prelu": prelu(1, 1, 5),
    "prelu, one slope": prelu(1, 1, 1),
    "mean": mean([1, 2], (5,), False),
    "mean, kept": mean([-2, 1], (1, 1, 5), True),
    "mean, columns": mean([2], (4, 5), False),
    "pad": pad([[0, 0], [1, 2], [0, 3], [0, 0]], (3, 4, 5)),
    "pad channels": pad([[0, 0], [0, 0], [0, 0], [2, 3]], (3, 4, 5)),
    "pad, value": pad([[0, 0], [1, 0], [0, 0], [1, 0]], (3, 4, 5), 2.5),
    "concatenation": concatenation(3),
    "concatenation, from the end": concatenation(-1),
    "split": split(3),
    "split, from the end": split(-1),
    "rows and columns": sliced([0, 1, 0, 0], [1, 3, 4, 5], [1, 1, 2, 1], (2, 2, 5)),
    "channels": sliced([0, 0, 0, 1], [1, 3, 4, 9], [1, 1, 1, 1], (3, 4, 4)),
    "all of it": sliced([0, 0, 0, 0], [1, 3, 4, 5], [1, 1, 1, 1], (3, 4, 5)),
    "reshape": reshape((3, 4, 5), 60),
    "reshape to an image": reshape((60,), 5, 6, 2),
    "reshape to what is computed": shape_of_the_batch,
    "computed weights": computed_weights,
}  # fmt: skip
ROUNDED: dict[str, Make] = {
    "average pool": pool("AVERAGE_POOL_2D", (6, 7, 5), (3, 7, 5)),
    "average pool, relu": pool("AVERAGE_POOL_2D", (6, 7, 5), (2, 6, 5), Padding=VALID, FusedActivationFunction=RELU),
    "mean of five": mean([3], (4, 8), False),
    "hard swish": plain("HARD_SWISH"),
    "logistic": plain("LOGISTIC"),
    "tanh": plain("TANH"),
    "softmax": plain("SOFTMAX", (7,), "SoftmaxOptions", Beta=1.0),
    "softmax, beta": plain("SOFTMAX", (7,), "SoftmaxOptions", Beta=0.5),
}  # fmt: skip


def compared(make: Make, rng: np.random.Generator, tmp_path: Path, tolerance: float) -> None:
    """The SOURCE graph, the evaluator and the compiled network against TensorFlow Lite."""
    net = Net()
    make(net, rng)
    path, data = tmp_path / "net.tflite", net.to_bytes(*net.outputs)
    path.write_bytes(data)
    inputs = [whole(rng, IMAGES, *net.tensors[i]["shape"][1:]) for i in net.inputs]
    expected = in_tensorflow_lite(data, inputs, net.outputs)
    source, model = open_source(path), bnn.compile(path)
    evaluated = source.evaluate(inputs, source.outputs)
    run = model(inputs if len(inputs) > 1 else inputs[0])
    everything = {
        "graph": interpret.outputs(source.graph(), inputs),
        "evaluator": [evaluated[name] for name in source.outputs],
        "network": run if isinstance(run, list) else [run],
    }
    for what, found in everything.items():
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.shape == theirs.shape, what
            assert np.abs(ours - theirs).max() <= tolerance, what
    assert bnn.verify(path, model, inputs if len(inputs) > 1 else inputs[0]).ok


@pytest.mark.parametrize("name", EXACT)
def test_exact(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    compared(EXACT[name], rng, tmp_path, 0)


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    compared(ROUNDED[name], rng, tmp_path, 2e-6)


def test_every_operator_is_tested(rng: np.random.Generator) -> None:
    seen: set[str] = set()
    for make in (*EXACT.values(), *ROUNDED.values()):
        net = Net()
        make(net, rng)
        seen |= {o["op"] for o in net.operators}
    assert seen - {"PACK", "SHAPE"} == {op for op in OPERATORS - {"DEQUANTIZE", "QUANTIZE"} if not op.startswith("Lce")}
    assert {*SUPPORTED} == OPERATORS - {"TRANSPOSE"}  # read as a constant only


def test_documented_operators() -> None:
    """The page lists what is read, and nothing else."""
    page = (Path(__file__).parents[3] / "docs/howto/lce.md").read_text(encoding="utf-8")
    listed = page.partition("<!-- tflite operators -->")[2].partition("<!-- end -->")[0]
    assert re.findall(r"`(\w+)`", listed) == sorted(SUPPORTED)


FILLED: dict[str, tuple[str, dict[str, Any]]] = {
    **{op: (table, {}) for op, table in TABLES.items()}, "CONCATENATION": ("ConcatenationOptions", {"Axis": 1}),
    "CONV_2D": ("Conv2DOptions", {"StrideH": 1, "StrideW": 1}), "FULLY_CONNECTED": ("FullyConnectedOptions", {}),
    "MAX_POOL_2D": ("Pool2DOptions", {"StrideH": 1, "StrideW": 1, "FilterHeight": 1, "FilterWidth": 1}),
    "SPLIT": ("SplitOptions", {"NumSplits": 2}),
}  # fmt: skip


def one(op: str, operands: Sequence[Any], *out: int, **options: Any) -> Make:
    """An operator whose operands are data (a shape, without the batch), constants, left out (None), or made by what
    comes before (a function of the file)."""

    def operand(net: Net, x: Any) -> int:
        if x is None:
            return -1
        return net.input(*x) if isinstance(x, tuple) else x(net) if callable(x) else net.constant(x)

    def make(net: Net, rng: np.random.Generator) -> None:
        table, plain = FILLED.get(op, ("", {}))
        net.op(op, [operand(net, x) for x in operands], *out, **{"table": table, **plain, **options})

    return make


def ints(*values: Any) -> Array:
    return np.array(values, np.int32)


def zeros(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


def given(dtype: str, value: Any = None, *shape: int, **more: Any) -> Callable[[Net], int]:
    """A tensor of another type."""
    return lambda net: net.tensor(*shape, dtype=dtype, value=value, **more)


def summed(op: str, operands: Sequence[Any], *out: int, total: Sequence[int] = (1, 5), **options: Any) -> Make:
    """A sum with what is computed from constants."""

    def make(net: Net) -> int:
        one(op, operands, *out, **options)(net, np.random.default_rng(0))
        return net.operators[-1]["outputs"][0]

    return one("ADD", [tuple(total[1:]), make], *total)


def unpacked(count: int) -> Make:
    """Weights that the file unpacks from ``count`` words."""
    dequantized: Callable[[Net], int] = lambda net: net.larq(  # noqa: E731
        "LceDequantize", [net.constant(np.ones((1, 1, count), np.int32))], 1, 1, 40, dtype="FLOAT32"
    )
    return one("ADD", [(1, 1, 40), dequantized], 1, 1, 1, 40)


def of_batches(make: Make, *shapes: tuple[int, ...]) -> Make:
    """With other shapes of the first tensors."""

    def change(net: Net, rng: np.random.Generator) -> None:
        make(net, rng)
        for number, shape in enumerate(shapes):
            net.tensors[number]["shape"] = shape

    return change


def constant_output(net: Net, rng: np.random.Generator) -> None:
    one("RELU", [zeros(1, 3)], 1, 3)(net, rng)
    net.input(3)
    net.outputs = [1]


REFUSED: dict[str, tuple[Make, str]] = {
    "unknown": (plain("COS"), "uses the TensorFlow Lite op COS .*cut the model before it; supported: conv"),
    "a number above 127": (plain("GELU"), "uses the TensorFlow Lite op GELU"),
    "custom": (plain("Foo"), "uses the TensorFlow Lite op Foo"),
    "transposed data": (one("TRANSPOSE", [(3, 4), ints(0, 2, 1)], 1, 4, 3), "op TRANSPOSE"),
    "dynamic shape": (
        one("RELU", [lambda net: net.input(3, 4, 5, signature=(-1, -1, 4, 5))], 1, 3, 4, 5),
        r"has a dynamic shape, \[-1, -1, 4, 5\]; only the batch may be dynamic",
    ),
    "a sparse tensor": (one("RELU", [lambda net: net.input(5, sparse=True)], 1, 5), "is sparse, which is not"),
    "data outside": (one("RELU", [lambda net: net.input(5, outside=64)], 1, 5), "outside the flatbuffer"),
    "weights of 8 bits": (
        one("CONV_2D", [(3, 4, 5), given("INT8", np.zeros((6, 1, 1, 5), np.int8), 6, 1, 1, 5)], 1, 3, 4, 6),
        "CONV_2D .* is INT8; expected FLOAT32; convert the model to floats",
    ),
    "weights of 16 bits that become floats": (
        summed("DEQUANTIZE", [given("INT16", np.zeros(5, np.int16), 5)], 5), "is INT16; expected INT8 or UINT8;",
    ),
    "half floats": (
        summed("DEQUANTIZE", [given("FLOAT16", np.zeros(5, np.float16), 5)], 5), "is FLOAT16; expected INT8 or UINT8",
    ),
    "words": (unpacked(1), r"constants of shapes .* for a result of \(1, 1, 40\)"),
    "words that are channels": (unpacked(40), "constants of shapes"),
    "constants": (summed("ADD", [zeros(4, 1), zeros(1, 5)], 1, 5), r"constants of shapes .* for a result of \(1, 5\)"),
    "constants that do not broadcast": (summed("ADD", [zeros(4), zeros(5)], 5), "constants of shapes"),
    "order of a constant": (summed("TRANSPOSE", [zeros(5, 5), ints(0, 0)], 5, 5), r"the order \[0, 0\] of 2 dim"),
    "size of a constant": (summed("ABS", [zeros(4)], 5), r"read as \(4,\), but the model has"),
    "texts": (
        one("ADD", [(5,), given("STRING", np.zeros(5, np.int8), 5)], 1, 5), "reads tensor .*, which nothing before it",
    ),
    "an operator of constants": (summed("TANH", [zeros(5)], 5), "does not depend on the data; of such operators"),
    "an input that is a number": (one("RELU", [()], 1), "and more"),
    "an input of nothing": (one("RELU", [(0,)], 1, 0), "and more"),
    "inputs of two batches": (
        of_batches(one("ADD", [(5,), (5,)], 1, 5), (1, 5), (2, 5)), "a batch of another size than the first",
    ),
    "no input": (one("RELU", [zeros(1, 3)], 1, 3), "the network has no input"),
    "output without data": (constant_output, "an output that does not depend on the data"),
    "bits as the result": (lambda net, rng: net.larq("LceQuantize", [net.input(40)], 1, 2), "an output of packed bits"),
    "batch of two": (
        of_batches(one("MUL", [(4, 2, 5), (5,)], 2, 4, 2, 5), (2, 4, 2, 5), (2, 5)),
        "operands with 2 and 4 dimensions in batches of 2 images",
    ),
    "constant of a batch": (pair("ADD", None, (2, 3, 4, 5)), "differs over the batch"),
    "operands that are left out": (one("ADD", [(5,), None], 1, 5), "it has no operand 1"),
    "two results": (one("RELU", [(5,)], 1, 5, outputs=2), "1 operands and 2 results"),
    "data as weights": (one("CONV_2D", [(3, 4, 5), (3, 4, 5)], 1, 3, 4, 1), "operand 1, .*, depends on the data"),
    "no weights": (one("CONV_2D", [(3, 4, 5)], 1, 3, 4, 5), "1 operands and 1 results; expected 2 to 3"),
    "filters": (conv((6, 1, 1, 4), (3, 4, 5), (3, 4, 6)), r"filters of shape \(6, 1, 1, 4\) for 5 channels"),
    "filters of a depthwise convolution": (
        conv((2, 1, 1, 5), (3, 4, 5), (3, 4, 5), depthwise=True), r"\(2, 1, 1, 5\); expected \(1",
    ),
    "filters for two groups": (conv((5, 1, 1, 2), (3, 4, 4), (3, 4, 5)), "for 4 channels"),
    "filters of more channels": (conv((5, 1, 1, 8), (3, 4, 4), (3, 4, 5)), "for 4 channels"),
    "padding": (conv((6, 3, 3, 5), (3, 4, 5), (3, 4, 6), DilationHFactor=2**28), "makes 64,424,509,800 bytes; at most"),
    "activation": (conv((6, 1, 1, 5), (3, 4, 5), (3, 4, 6), FusedActivationFunction=4), "fused activation 4"),
    "declared shape": (conv((6, 1, 1, 5), (3, 4, 5), (3, 5, 6)), r"read as \(3, 4, 6\), but the model has \(3, 5, 6\)"),
    "no options": (one("MAX_POOL_2D", [(3, 4, 5)], 1, 3, 4, 5, table=""), r"\(MAX_POOL_2D\) has options of type 0"),
    "other options": (plain("MAX_POOL_2D", table="AddOptions"), "not Pool2DOptions"),
    "a window of nothing": (one("MAX_POOL_2D", [(4, 4, 2)], 1, 4, 4, 2, FilterHeight=0), r"a window of \(0, 1\)"),
    "a pool of rows": (one("MAX_POOL_2D", [(4, 5)], 1, 4, 5), r"data of shape \(1, 4, 5\); expected images"),
    "weights in another order": (dense((12,), (7,), WeightsFormat=1), "weights in format 1; only the plain"),
    "weights of rows": (
        one("FULLY_CONNECTED", [(3, 4), zeros(7, 4)], 1, 7), r"weights of shape \(7, 4\) for images of \(3, 4\);",
    ),
    "weights of several rows": (
        one("FULLY_CONNECTED", [(3, 4), zeros(2, 4)], 3, 2), r"a result of shape \(3, 2\); expected the batch of 1",
    ),
    "weights of an image": (one("FULLY_CONNECTED", [(4,), zeros(7, 2, 2)], 1, 7), "expected 2 dimensions"),
    "biases of other filters": (
        one("FULLY_CONNECTED", [(4,), zeros(7, 4), zeros(1)], 1, 7), "one number for each of 7 filters",
    ),
    "slopes of pixels": (prelu(3, 4, 5), r"slopes of shape \(3, 4, 5\)"),
    "slopes of columns": (prelu(1, 5, 1), r"slopes of shape \(1, 5, 1\)"),
    "nothing to join": (
        lambda net, rng: one("CONCATENATION", [], 1, net.input(3) + 3)(net, rng), "0 operands and 1 results",
    ),
    "a constant that is joined": (
        one("CONCATENATION", [(3,), zeros(1, 2)], 1, 5), "operand 1, .*, is a constant; it must depend on the data",
    ),
    "rows": (concatenation(1), "dimension 1 of 4; supported: the channels"),
    "rows and an activation": (concatenation(3, RELU), "TensorFlow Lite refuses"),
    "no dimension": (concatenation(4), "dimension 4 of 4"),
    "split rows": (split(1), r"dimensions \[1\] of 4; supported: the channels"),
    "parts that differ": (one("SPLIT", [ints(1)[0], (5,)], 1, 2, outputs=2), r"dimensions \[1\] of 2"),
    "padded batch": (pad([[1, 0], [0, 0]], (5,)), r"of shape \(2, 5\); expected the batch of 1"),
    "negative padding": (pad([[0, 0], [-1, 0]], (5,)), r"padding \[\[0, 0\], \[-1, 0\]\]"),
    "padding of other dimensions": (one("PAD", [(3,), ints([1, 0])], 1, 4), r"padding \[\[1, 0\]\] of \(1, 3\)"),
    "more padding than results": (one("PAD", [(3,), ints([0, 0], [0, 5])], 1, 4), r"padding \[\[0, 0\], \[0, 5\]\]"),
    "several values of padding": (
        one("PADV2", [(3,), ints([0, 0], [1, 0]), zeros(2)], 1, 4), "padding with 2 values",
    ),
    "mean over the batch": (mean([0], (4, 8, 5), False), "over the batch"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, rng: np.random.Generator, tmp_path: Path) -> None:
    make, message = REFUSED[name]
    net, path = Net(), tmp_path / "net.tflite"
    make(net, rng)
    path.write_bytes(net.to_bytes(*net.outputs))
    with pytest.raises(CompileError, match=message):
        open_source(path).graph()


def test_bytes_as_input(rng: np.random.Generator, tmp_path: Path) -> None:
    """The network takes bytes and computes what the file does with floats of the same value."""
    net, path = Net(), tmp_path / "net.tflite"
    conv((6, 3, 3, 5), (4, 4, 5), (4, 4, 6))(net, rng)
    path.write_bytes(net.to_bytes())
    for dtype in (np.uint8, np.int8):
        x = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max + 1, (IMAGES, 4, 4, 5)).astype(dtype)
        model = bnn.compile(path, input_dtype=np.dtype(dtype).name)
        (expected,) = in_tensorflow_lite(path.read_bytes(), [x.astype(np.float32)], net.outputs)
        assert np.array_equal(model(x), expected) and bnn.verify(path, model, x).ok


def test_input_shape(rng: np.random.Generator, tmp_path: Path) -> None:
    net, path = Net(), tmp_path / "net.tflite"
    plain("RELU")(net, rng)
    path.write_bytes(net.to_bytes())
    open_source(path, input_shape=(3, 4, 5))
    with pytest.raises(CompileError, match=r"input_shape: found \(3, 4, 4\), but the file's input .* is \(3, 4, 5\)"):
        open_source(path, input_shape=(3, 4, 4))


def test_batches(rng: np.random.Generator, tmp_path: Path) -> None:
    """A file that was converted for batches of three images takes any number here."""
    net, path = Net(), tmp_path / "net.tflite"
    x = net.input(4, 5)
    net.tensors[x]["shape"] = (3, 4, 5)
    y = net.op("ADD", [x, net.constant(whole(rng, 1, 4, 5))], 3, 4, 5, table="AddOptions")
    net.op("RESHAPE", [y, net.constant(np.int32([3, 20]))], 3, 20)
    path.write_bytes(net.to_bytes())
    model, data = bnn.compile(path), whole(rng, IMAGES, 4, 5)
    assert np.array_equal(model(data), (data + net.tensors[1]["value"]).reshape(IMAGES, 20))
    assert bnn.verify(path, model, data).ok


def test_names_that_several_tensors_have(rng: np.random.Generator, tmp_path: Path) -> None:
    net, path = Net(), tmp_path / "net.tflite"
    x = net.input(3, name="a")
    y = net.op("RELU", [x], 1, 3)
    z = net.op("RELU6", [x], 1, 3)
    for number in (y, z):
        net.tensors[number]["name"] = "a"
    path.write_bytes(net.to_bytes(y, z))
    source = open_source(path)
    assert source.input_names == ["a:0"] and source.outputs == ["a:1", "a:2"]
    data = np.float32([[-1, 5, 9]])
    assert [v.tolist() for v in source.evaluate([data], source.outputs).values()] == [[[0, 5, 9]], [[0, 5, 6]]]
    with pytest.raises(KeyError, match="b"):
        source.evaluate([data], ["b"])


def test_operators_that_no_output_needs(rng: np.random.Generator, tmp_path: Path) -> None:
    net, path = Net(), tmp_path / "net.tflite"
    x = net.input(3)
    net.op("COS", [x], 1, 3)
    path.write_bytes(net.to_bytes(net.op("RELU", [x], 1, 3)))
    assert [o.op for o in bnn.compile(path).ops] == ["clamp"]
