# SPDX-License-Identifier: Apache-2.0
"""Inputs of bytes: what becomes a table, what becomes integer sums, and that no bit changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnn._types import Array
from bnn.file.write import encode
from bnn.ir import interpret, spec
from bnn.ir.graph import DType, Graph, Node
from bnn.ir.ops import (
    ClampAttrs,
    ConvAttrs,
    PadAttrs,
    PoolAttrs,
    ReshapeAttrs,
    SliceAttrs,
    constant,
    input_node,
    make,
)
from bnn.passes import PIPELINE, lower
from bnn.passes.explain import explain
from bnn.passes.read_bytes import read_bytes
from bnn.runtime import Model, available_kernels

from .build import bn, conv, dense, graph, quantizer

BYTES = np.arange(256)


def image(*shape: int) -> Node:
    return make("cast", input_node("x", shape, DType.u8), name="x")


def rescaled(x: Node, scale: float, offset: float) -> Node:
    return make("add", make("mul", x, constant(scale), name="scale"), constant(offset), name="scale", origin="scale:0")


def ops(result: Graph) -> list[str]:
    return [n.op for n in result.nodes() if n.op not in ("input", "constant")]


def every_byte(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return rng.integers(0, 256, (9, *shape), np.uint8)


@pytest.mark.parametrize(
    ("scale", "offset", "padded", "byte"),
    [
        (1.0, 0.0, 0.0, 0),
        (1 / 128, -1.0, 0.0, 128),
        (1 / 128, -1.0, -1.0, 0),
        (1 / 64, -1.0, 1.0, 128),
        (-1 / 256, 255 / 256, 0.0, 255),
        (0.75, 0.0, 0.0, 0),
        (1 / 128, -3.0, -2.0, 128),
        (1 / 128, -1.0, 1.0, 256),
        (1 / 128, -3.0, 0.0, 384),
        (1 / 128, 0.5, 0.0, -64),
        (1 / 128, -1 / 256, 0.0, 0.5),
        (1 / 128, -127.5 / 128, 0.0, 127.5),
        (1.0, -4096.0, 0.0, 4096),
        (1.0, -4097.0, 0.0, None),  # too far
        (1 / 128, -(2.0**-16), 0.0, None),  # 1/512
    ],
)
def test_padding_stands_for_zero(
    scale: float, offset: float, padded: float, byte: float | None, rng: np.random.Generator
) -> None:
    x = rescaled(image(4, 5, 3), scale, offset)
    around = make("pad", x, attrs=PadAttrs((1, 0, 2, 1), padded), name="pad")
    before = graph(conv(around, 5, 3, alpha=[0.5, 1, 1, 2, 4]))
    after = lower(before)
    (first,) = (n for n in after.nodes() if n.op in ("conv2d", "iconv2d"))
    if byte is None:
        assert first.op == "conv2d" and f"padded with {padded:g}, which is too far" in first.note
    else:
        assert first.op == "iconv2d" and first.inputs[2].value.tolist() == [byte] * 3
    check(before, after, (4, 5, 3), rng)


@pytest.mark.parametrize(("scale", "offset"), [(1 / 255, 0.0), (1 / 127.5, -1.0), (0.0, 1.0)])
def test_what_is_not_evenly_spaced(scale: float, offset: float) -> None:
    """1/255 is rounded, and so are its multiples."""
    x = rescaled(image(4), scale, offset)
    (result,) = read_bytes(graph(x)).outputs
    assert result.op == "cast" and result.origin == "scale:0"
    assert np.array_equal(result.inputs[1].value, BYTES.astype(np.float32) * np.float32(scale) + np.float32(offset))
    (layer,) = explain(read_bytes(graph(dense(x, 3)))).outputs
    assert layer.op == "conv2d" and "not evenly spaced" in layer.note


OWN = {
    "offsets": (1 / 64, [-1.0, -2.0, -0.5]),
    "offsets of no byte": (1 / 64, [7.0, -9.0, 1 / 256]),
    "signs": ([1 / 128, -1 / 128, 1 / 128], [-1.0, 1.0, 0.0]),
    "halves of bytes": (1 / 64, [-1.0, -127.5 / 64, -0.5]),
    "far": (1 / 64, [-40.0, 30.0, -50.0]),
}


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 0, 2, 1)])
@pytest.mark.parametrize("weights", ["binary", "ternary"])
@pytest.mark.parametrize("name", OWN)
def test_channels_of_their_own(
    name: str, weights: str, pads: tuple[int, int, int, int], rng: np.random.Generator
) -> None:
    """What stands for zero differs by channel; without padding, where no byte does, a constant a filter is added."""
    scale, offset = (constant(c) for c in OWN[name])
    x = make("add", make("mul", image(5, 4, 3), scale, name="s"), offset, name="s")
    w = rng.choice([-1.0, 1.0] if weights == "binary" else [-1.0, 0.0, 1.0], (40, 3, 3, 3))
    w *= rng.choice([0.25, 1.0], (40, 1, 1, 1))
    layer = make("conv2d", x, constant(w), attrs=ConvAttrs(pads=pads), name="conv", origin="conv:0")
    met = interpret.outputs(graph(layer), [every_byte((5, 4, 3), rng)])[0][0, 0, 0]  # sums, so that some are ties
    normed = bn(layer, met, rng.normal(size=40), rng.choice([0.0, 0.25, -0.25], 40))
    for end in (layer, normed, dense(quantizer(normed), 3)):
        before = graph(end)
        after = lower(before)
        assert "iconv2d" in ops(after) and not {"conv2d", "cast", "affine"} & set(ops(after)), ops(after)
        first = next(n for n in after.nodes() if n.op == "iconv2d")
        whole = not any(pads) or name in ("offsets", "signs", "far")
        assert ("threshold" in first.attrs.slots) == (end.type.shape == (3,) and whole)  # type: ignore[attr-defined]
        check(before, after, (5, 4, 3), rng)


def test_channels_that_agree_on_the_padding(rng: np.random.Generator) -> None:
    """0 is byte 64 whichever way a channel runs."""
    scale, offset = constant([1 / 64, -1 / 64]), constant([-1.0, 1.0])
    before = graph(conv(make("add", make("mul", image(4, 4, 2), scale), offset), 5, 3, pads=(1, 1, 1, 1)))
    after = lower(before)
    assert ops(after) == ["iconv2d"] or ops(after) == ["copy", "iconv2d"]
    check(before, after, (4, 4, 2), rng)


def test_padding_before_the_scale(rng: np.random.Generator) -> None:
    before = graph(conv(rescaled(make("pad", image(4, 4, 2), attrs=PadAttrs((1, 1, 1, 1), 3.0)), 1 / 8, -5.0), 5, 3))
    after = lower(before)
    (first,) = (n for n in after.nodes() if n.op == "iconv2d")
    assert first.inputs[2].value.tolist() == [3, 3] and first.attrs.pads == (1, 1, 1, 1)  # type: ignore[attr-defined]
    check(before, after, (4, 4, 2), rng)


def check(before: Graph, after: Graph, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    """The same outputs of the oracle, and of every kernel family."""
    data = every_byte(shape, rng)
    expected = interpret.outputs(before, [data])[0]
    assert np.array_equal(interpret.outputs(after, [data])[0], expected)
    for family in available_kernels():
        assert np.array_equal(Model.from_bytes(encode(after), kernels=family)(data), expected), family


def test_any_function_of_a_byte_is_a_table() -> None:
    x = image(2, 3, 4)
    y = make("clamp", make("mul", make("sub", x, constant(7)), x), attrs=ClampAttrs(-3.0, 900.0))
    before = graph(make("round", make("div", y, constant(3))))
    after = read_bytes(before)
    assert ops(after) == ["cast"]
    data = np.resize(BYTES.astype(np.uint8), (11, 2, 3, 4))
    assert np.array_equal(*(interpret.outputs(g, [data])[0] for g in (before, after)))


def test_two_padded_images_stay(rng: np.random.Generator) -> None:
    """Of two values at once the padding would be another."""
    rims = [make("pad", rescaled(image(2, 3, 4), 0.5, c), attrs=PadAttrs((1, 1, 1, 1), c + 2)) for c in (1.0, 4.0)]
    before = graph(make("mul", *rims))
    data = every_byte((2, 3, 4), rng)
    arrays = [data] * len(before.inputs)
    assert np.array_equal(*(interpret.outputs(g, arrays)[0] for g in (before, read_bytes(before))))


def test_channels_become_pixels(rng: np.random.Generator) -> None:
    """Then a constant for each of them is none any more."""
    by_channel = make("add", image(2, 3, 4), constant([0, 1, 2, 3]))
    square = make("reshape", by_channel, attrs=ReshapeAttrs((4, 3, 2)))
    before = graph(conv(square, 5, 2))
    after = lower(before)
    assert "iconv2d" not in ops(after)
    check(before, after, (2, 3, 4), rng)


def test_bytes_take_another_shape(rng: np.random.Generator) -> None:
    """As of images without a channel, before a dense layer or a convolution."""
    x = rescaled(image(6, 7), 1 / 128, -1.0)
    square = make("reshape", x, attrs=ReshapeAttrs((6, 7, 1)), name="reshape")
    for end in (dense(x, 5), conv(square, 33, 3, pads=(1, 1, 1, 1))):
        before = graph(end)
        after = lower(before)
        assert "iconv2d" in ops(after) and "cast" not in ops(after)
        check(before, after, (6, 7), rng)


def test_what_differs_by_channel_stays() -> None:
    assert ops(read_bytes(graph(make("mul", image(2, 3, 4), constant([1, 2, 3, 4]))))) == ["cast", "mul"]


@pytest.mark.parametrize(
    ("make_layer", "reason"),
    [
        (lambda x: conv(make("mul", x, constant([1.0, 2.0])), 4, 3), "scaled differently in its channels"),
        (
            lambda x: conv(make("add", x, constant([1.0, 2.0**13])), 4, 3, pads=(1, 1, 1, 1)),
            "padded with 0, which is too far from all bytes' values",
        ),
        (lambda x: conv(make("max_pool", x, attrs=PoolAttrs((2, 2))), 4, 3), "the max_pool before it works on floats"),
        (lambda x: conv(make("slice", rescaled(x, 0.5, 0), attrs=SliceAttrs(0, 1)), 4, 3), "the slice before it works"),
        (lambda x: conv(make("add", x, constant(np.ones((6, 5, 2)))), 4, 3), "the add before it works on floats"),
        (lambda x: conv(make("pad", x, attrs=PadAttrs((1, 1, 1, 1), 9)), 4, 3, pads=(1, 0, 0, 0)), "the pad before it"),
        (lambda x: conv(x, 2, 3, alpha=[0.1, 1.0]), "float sums round at their scale"),
        (lambda x: conv(x, 2, 3, alpha=[1.0, 2.0**-130]), "float sums round at their scale"),
        (lambda x: make("conv2d", x, constant(np.arange(36.0).reshape(2, 3, 3, 2))), "weights take 36 values"),
        (lambda x: make("conv2d", x, constant(np.ones((4, 3, 3, 1))), attrs=ConvAttrs(groups=2)), "in groups"),
    ],
)
def test_what_is_not_exact_stays_float(make_layer: Any, reason: str) -> None:
    (result,) = explain(read_bytes(graph(make_layer(image(6, 5, 2))))).outputs
    assert result.op == "conv2d" and reason in result.note, result.note


def test_the_bound_on_products() -> None:
    for size, op in ((32896, "iconv2d"), (32897, "conv2d")):
        assert ops(read_bytes(graph(make("conv2d", image(size), constant(np.ones((1, 1, 1, size)))))))[-1] == op
    # 255 * 257 is 2**16 - 1: a scale of 8 bits leaves room for 256 products
    wide = [make("conv2d", image(n), constant(np.full((1, 1, 1, n), 255.0))) for n in (257, 259)]
    assert [ops(read_bytes(graph(x)))[-1] for x in wide] == ["mul", "conv2d"]


def kept_float(size: int, scale: float, offset: float, alpha: float, padded: float | None = None) -> bool:
    """Whether a layer of one filter stays as it is."""
    x = rescaled(image(1, 1, size), scale, offset)
    around = x if padded is None else make("pad", x, attrs=PadAttrs((0, 0, 0, 1), padded))
    (layer,) = read_bytes(graph(make("conv2d", around, constant(np.full((1, 1, 1, size), alpha))))).outputs
    return layer.op == "conv2d"


def test_the_bounds_on_numbers() -> None:
    """The last that is read as bytes, and the first that is not."""
    tiny = 2.0**-126
    for last, first in (
        # sums of bytes, and of what stands for zero: 255 + 257 is 2**9
        ((32767, 1.0, -257.0, 1.0, 0.0), (32768, 1.0, -257.0, 1.0, 0.0)),
        # sums of floats: 256 in halves, because of the padding, is 2**9 too
        ((32768, 1.0, -255.5, 1.0, 0.5), (32769, 1.0, -255.5, 1.0, 0.5)),
        # denormal weights, and denormal products
        ((2, 1024.0, 0.0, tiny), (2, 1024.0, 0.0, tiny / 2)),
        ((2, 2.0**-26, 0.0, 2.0**-100), (2, 2.0**-26, 0.0, 2.0**-101)),
        # infinite sums: 2 * 255 is below 2**9
        ((2, 1.0, 0.0, 2.0**119), (2, 1.0, 0.0, 2.0**120)),
    ):
        assert not kept_float(*last) and kept_float(*first), (last, first)


def test_a_filter_of_zeros(rng: np.random.Generator) -> None:
    """It has no scale, so none that is too small."""
    w = rng.choice([-1.0, 0.0, 1.0], (3, 2, 2, 3)) * np.reshape([1.0, 0.0, 0.5], (3, 1, 1, 1))
    before = graph(make("conv2d", rescaled(image(4, 5, 3), 0.25, 0.0), constant(w), name="conv"))
    after = lower(before)
    assert "iconv2d" in ops(after)
    check(before, after, (4, 5, 3), rng)


def test_a_layer_of_zeros(rng: np.random.Generator) -> None:
    before = graph(make("conv2d", rescaled(image(4, 5, 3), 0.25, 0.0), constant(np.zeros((3, 2, 2, 3))), name="conv"))
    check(before, lower(before), (4, 5, 3), rng)


@pytest.mark.parametrize("weights", ["binary", "ternary"])
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1 / 128, -1.0), (-1 / 32, 2.0)])
def test_a_layer_is_integer_and_equal(weights: str, scale: float, offset: float, rng: np.random.Generator) -> None:
    x = rescaled(image(6, 5, 2), scale, offset)
    values = [-1.0, 1.0] if weights == "binary" else [-1.0, 0.0, 1.0]
    w = rng.choice(values, (40, 3, 3, 2)) * 2.0 ** rng.integers(-2, 3, (40, 1, 1, 1))
    w[0, 0, 0] = 0.0 if weights == "ternary" else w[0, 0, 0]
    layer = make("conv2d", x, constant(w), attrs=ConvAttrs(stride=(2, 1), pads=(1, 0, 2, 1)), name="conv")
    gamma = rng.normal(size=40)
    gamma[:3] = 0.0
    normed = bn(layer, rng.normal(size=40) * 99 * abs(scale), gamma, rng.normal(size=40))
    for end in (layer, normed, dense(quantizer(normed), 3)):
        before = graph(end)
        data = every_byte((6, 5, 2), rng)
        expected = interpret.outputs(before, [data])[0]
        result = before
        for function, level in PIPELINE:
            result = function(result)
            spec.verify(result, level, function.__name__)
            assert np.array_equal(interpret.outputs(result, [data])[0], expected), function.__name__
        assert "iconv2d" in ops(result) and "conv2d" not in ops(result)
        first = next(n for n in result.nodes() if n.op == "iconv2d")
        assert next(n for n in explain(result).nodes() if n.op == "iconv2d").note == f"integer input, {weights} weights"
        assert ("threshold" in first.attrs.slots) == (end.type.shape == (3,))  # type: ignore[attr-defined]
        for family in available_kernels():
            assert np.array_equal(Model.from_bytes(encode(result), kernels=family)(data), expected), family


def test_a_pooled_layer_keeps_its_bits(rng: np.random.Generator) -> None:
    x = bn(conv(image(8, 8, 3), 33, 3), [40.0] * 33, rng.normal(size=33).tolist(), [0.1] * 33)
    pooled = make("max_pool", x, attrs=PoolAttrs((2, 2), (2, 2)))
    before = graph(dense(quantizer(pooled), 5))
    after = lower(before)
    data = every_byte((8, 8, 3), rng)
    assert np.array_equal(*(interpret.outputs(g, [data])[0] for g in (before, after)))
    assert next(n for n in after.nodes() if n.op == "iconv2d").type.dtype is DType.b1


def test_ternary_weights_at_the_bound(rng: np.random.Generator) -> None:
    """Twice what stands for zero, times all channels, is more than a float holds."""
    x = rescaled(image(3, 3, 15), 1.0, -(4096 - 1 / 256))
    w = np.ones((4, 1, 1, 15))
    w[1, 0, 0, 0], w[2, 0, 0, 3:5], w[3, 0, 0, :2] = 0, 0, (0, -1)
    before = graph(make("conv2d", x, constant(w), attrs=ConvAttrs(pads=(1, 1, 1, 1))))
    after = lower(before)
    assert "iconv2d" in ops(after)
    check(before, after, (3, 3, 15), rng)


def test_channels_in_one_dimension(rng: np.random.Generator) -> None:
    """A reshape that keeps the channels stands between the bytes' own offsets and the convolution."""
    scale, offset = constant([1 / 64, -1 / 64, 1 / 64]), constant([-1.0, 1.5, 0.25])
    x = make("add", make("mul", image(7, 3), scale), offset)
    before = graph(conv(make("reshape", x, attrs=ReshapeAttrs((1, 7, 3))), 5, 3, pads=(1, 1, 1, 1)))
    after = lower(before)
    assert "iconv2d" in ops(after) and "conv2d" not in ops(after)
    check(before, after, (7, 3), rng)
