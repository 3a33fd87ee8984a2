"""Inputs of bytes: what becomes a table, what becomes integer sums, and that no bit changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnn import interpret, spec
from bnn.emit.model import encode
from bnn.errors import VerifierError
from bnn.ir import DType, Graph, Node
from bnn.ops import ClampAttrs, ConvAttrs, Level, PoolAttrs, ReshapeAttrs, constant, input_node, make
from bnn.passes import PIPELINE, lower
from bnn.passes.read_bytes import read_bytes, spacing
from bnn.runtime import Model, available_kernels

from .build import bn, conv, dense, graph, quantizer

Array = np.ndarray[Any, Any]
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
    ("scale", "offset", "wanted"),
    [
        (1.0, 0.0, (1.0, 0)),
        (1 / 128, -1.0, (1 / 128, 128)),
        (-1 / 256, 255 / 256, (-1 / 256, 255)),
        (0.75, 0.0, (0.75, 0)),
        (1 / 255, 0.0, None),  # rounded
        (1 / 127.5, -1.0, None),
        (1 / 128, -3.0, None),  # zero would be byte 384
        (1 / 128, 0.5, None),
        (1 / 128, -1 / 256, None),  # or half a byte
        (0.0, 1.0, None),
    ],
)
def test_spacing(scale: float, offset: float, wanted: tuple[float, int] | None) -> None:
    x = rescaled(image(4), scale, offset)
    (result,) = read_bytes(graph(x)).outputs
    assert result.op == "cast" and result.origin == "scale:0"
    table = result.inputs[1].value
    assert np.array_equal(table, BYTES.astype(np.float32) * np.float32(scale) + np.float32(offset))
    assert spacing(table) == wanted


def test_any_function_of_a_byte_is_a_table() -> None:
    x = image(2, 3, 4)
    y = make("clamp", make("mul", make("sub", x, constant(7)), x), attrs=ClampAttrs(-3.0, 900.0))
    before = graph(make("round", make("div", y, constant(3))))
    after = read_bytes(before)
    assert ops(after) == ["cast"]
    data = np.resize(BYTES.astype(np.uint8), (11, 2, 3, 4))
    assert np.array_equal(*(interpret.outputs(g, [data])[0] for g in (before, after)))


def test_bytes_take_another_shape(rng: np.random.Generator) -> None:
    """As of images without a channel, before a dense layer or a convolution."""
    x = rescaled(image(6, 7), 1 / 128, -1.0)
    square = make("reshape", x, attrs=ReshapeAttrs((6, 7, 1)), name="reshape")
    for end in (dense(x, 5), conv(square, 33, 3, pads=(1, 1, 1, 1))):
        before = graph(end)
        after = lower(before)
        assert "iconv2d" in ops(after) and "cast" not in ops(after)
        data = every_byte((6, 7), rng)
        expected = interpret.outputs(before, [data])[0]
        assert np.array_equal(interpret.outputs(after, [data])[0], expected)
        for family in available_kernels():
            assert np.array_equal(Model.from_bytes(encode(after), kernels=family)(data), expected), family


def test_what_differs_by_channel_stays() -> None:
    assert ops(read_bytes(graph(make("mul", image(2, 3, 4), constant([1, 2, 3, 4]))))) == ["cast", "mul"]


@pytest.mark.parametrize(
    ("make_layer", "reason"),
    [
        (lambda x: conv(rescaled(x, 1 / 255, 0), 4, 3), "not evenly spaced"),
        (lambda x: conv(x, 2, 3, alpha=[0.1, 1.0]), "scale makes float sums round"),
        (lambda x: conv(x, 2, 3, alpha=[1.0, 2.0**-130]), "scale makes float sums round"),
        (lambda x: make("conv2d", x, constant(np.arange(36.0).reshape(2, 3, 3, 2))), "weights take 36 values"),
        (lambda x: make("conv2d", x, constant(np.ones((4, 3, 3, 1))), attrs=ConvAttrs(groups=2)), "in groups"),
    ],
)
def test_what_is_not_exact_stays_float(make_layer: Any, reason: str) -> None:
    (result,) = read_bytes(graph(make_layer(image(6, 5, 2)))).outputs
    assert result.op == "conv2d" and reason in result.note, result.note


def test_the_bound_on_products() -> None:
    for size, op in ((32896, "iconv2d"), (32897, "conv2d")):
        assert ops(read_bytes(graph(make("conv2d", image(size), constant(np.ones((1, 1, 1, size)))))))[-1] == op
    # 255 * 257 is 2**16 - 1: a scale of 8 bits leaves room for 256 products
    wide = [make("conv2d", image(n), constant(np.full((1, 1, 1, n), 255.0))) for n in (257, 259)]
    assert [ops(read_bytes(graph(x)))[-1] for x in wide] == ["mul", "conv2d"]


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
        assert first.note == f"integer input, {weights} weights"
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


def test_what_reads_bytes() -> None:
    x = input_node("x", (4, 4, 2), DType.u8)
    bad = make("max_pool", x, attrs=PoolAttrs((2, 2), (2, 2)))
    with pytest.raises(VerifierError, match="bytes are inputs"):
        spec.verify(graph(make("cast", bad)), Level.BINARY, "test")
