# SPDX-License-Identifier: Apache-2.0
"""Single ops at values and sizes that random ones do not meet: the runtime against the oracle, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnn._types import Array
from bnn.file.write import encode
from bnn.ir import interpret
from bnn.ir.graph import DType, Node
from bnn.ir.ops import (
    BatchSizeAttrs,
    ClampAttrs,
    ConvAttrs,
    DequantizeAttrs,
    PadAttrs,
    PoolAttrs,
    ReshapeAttrs,
    ResizeAttrs,
    RoundAttrs,
    SliceAttrs,
    constant,
    input_node,
    make,
)
from bnn.runtime import Model, available_kernels
from op_graphs import plan

NORMAL = np.finfo(np.float32).tiny
LINE = np.float32([
    -np.inf, -(2.0**23) - 1, -(2.0**23) + 0.5, -2.5, -1, -0.5, -NORMAL, -NORMAL / 2, -0.0, 0, NORMAL / 2, NORMAL, 0.5,
    1, 1.5, 2.5, 2.0**22 + 0.5, 2.0**23 - 0.5, 2.0**23, 2.0**23 + 1, 2.0**24 + 2, np.inf, np.nan,
])  # fmt: skip


def check(x: Node, y: Node, data: Array) -> None:
    """With every family of kernels."""
    graph = plan([x], [y])
    with np.errstate(all="ignore"):
        expected = interpret.outputs(graph, [data])[0]
    for family in available_kernels():
        found = Model.from_bytes(encode(graph), kernels=family)(data)
        np.testing.assert_array_equal(found, expected, err_msg=family)


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        *(("round", RoundAttrs(direction)) for direction in (-1, 0, 1)),
        *(("clamp", ClampAttrs(*ends)) for ends in ((-1.0, np.inf), (-np.inf, 1.0), (-np.inf, np.inf), (0.5, 0.5))),
        ("sign", None),
    ],
    ids=str,
)
def test_functions_of_one_float(op: str, attrs: Any) -> None:
    x = input_node("x", (len(LINE),))
    check(x, make(op, x, attrs=attrs), LINE[None])


@pytest.mark.parametrize("slope", [0.25, -3.0, 0.0])
def test_slopes(slope: float) -> None:
    x = input_node("x", (17,))
    data = np.resize(np.float32([-np.inf, -1, -0.0, 0, 1, NORMAL, -NORMAL]), (3, 17))
    check(x, make("prelu", x, constant(np.full(17, slope))), data)


@pytest.mark.parametrize("limits", [(-1.0, np.inf), (-np.inf, 1.0), (-1.0, 1.0), (-np.inf, np.inf)])
def test_affine_limits(limits: tuple[float, float]) -> None:
    """One limit is a limit; what is no number stays."""
    x = input_node("x", (19,))
    operands = [constant(np.full(19, value)) for value in (1.0, -2.0, 0.5)]
    data = np.resize(np.float32([-9, -1, 0, 1, 9, np.nan, np.inf]), (4, 19))
    check(x, make("affine", x, *operands, attrs=ClampAttrs(*limits)), data)


def test_counts_above_32_bits() -> None:
    x = input_node("x", (1,))
    check(x, make("batch_size", x, attrs=BatchSizeAttrs(2**31 - 1)), np.zeros((5, 1), np.float32))


def test_sums_over_a_batch_are_rounded_once() -> None:
    x = input_node("x", (2,))
    check(x, make("batch_sum", x), np.float32([[2**25, 1], [1, -(2.0**25)], [-(2**25), 2**25], [1, 1]]))


@pytest.mark.parametrize("filters", [1, 5, 17, 32, 33, 65])
@pytest.mark.parametrize("infinite", [-np.inf, np.inf])
def test_infinite_sums_are_numbers(infinite: float, filters: int, rng: np.random.Generator) -> None:
    """Those of filters that do not exist, whose weights are zeros, are none, and count for nothing."""
    x = input_node("x", (2, 2, 3))
    w = constant(rng.choice([-1.0, 2.0], (filters, 1, 1, 3)))
    data = rng.integers(-9, 10, (3, 2, 2, 3)).astype(np.float32)
    data[1, 1, 0, 2] = infinite
    check(x, make("unpack", make("conv2d", x, w, attrs=ConvAttrs(out=DType.b1))), data)


@pytest.mark.parametrize("infinite", [-np.inf, np.inf])
def test_thresholds_that_are_none(infinite: float) -> None:
    """A channel whose scale is zero has the bit of its flip; infinity makes its image no number."""
    x = input_node("x", (3,))
    flips = constant([1, -1, -1], DType.b1)
    y = make("unpack", make("binarize", x, constant(np.float32([np.nan, np.nan, 1])), flips))
    data = np.float32([[-1, 5, infinite], [infinite, 0, 0], [0, infinite, 2], [0, 0, 1]])
    expected = np.float32([[1, -1, np.sign(infinite)], [np.nan] * 3, [np.nan] * 3, [1, -1, 1]])
    for family in available_kernels():
        np.testing.assert_array_equal(Model.from_bytes(encode(plan([x], [y])), kernels=family)(data), expected)


@pytest.mark.parametrize("values", [3, 4])
def test_numbers_above_the_last_value(values: int, rng: np.random.Generator) -> None:
    """Bits need not come from a quantizer of so many levels."""
    x = input_node("x", (64,))
    table = constant(np.arange(values) * 2.0)
    y = make("dequantize", make("binarize", x), table, attrs=DequantizeAttrs(32))
    check(x, y, rng.choice([-1.0, 1.0], (9, 64)).astype(np.float32))


@pytest.mark.parametrize("value", [-1.0, 1.0])
@pytest.mark.parametrize("channels", [1, 5, 31, 32, 33, 63, 64, 65])
def test_padded_bits(channels: int, value: float, rng: np.random.Generator) -> None:
    """Those of each channel, and none past the last: a layer counts whole words."""
    x = input_node("x", (2, 3, channels))
    padded = make("pad", make("binarize", x), attrs=PadAttrs((1, 0, 2, 1), value))
    data = rng.normal(size=(3, 2, 3, channels)).astype(np.float32)
    check(x, make("unpack", padded), data)
    w = constant(rng.choice([-1, 1], (7, 2, 2, channels)), DType.b1)
    check(x, make("bconv2d", padded, w, attrs=ConvAttrs()), data)


@pytest.mark.parametrize("width", [1, 30, 31, 32, 33])
@pytest.mark.parametrize("begin", [0, 1, 5, 31])
def test_bits_cut_out_of_words(begin: int, width: int, rng: np.random.Generator) -> None:
    """None of their neighbours come along, which a layer would count; so where they are put beside each other."""
    x = input_node("x", (2, 2, 64))
    part = make("slice", make("binarize", x), attrs=SliceAttrs(begin, begin + width))
    data = rng.normal(size=(3, 2, 2, 64)).astype(np.float32)
    for bits in (part, make("concat", part, part)):
        w = constant(rng.choice([-1, 1], (5, 1, 1, bits.type.shape[-1])), DType.b1)
        check(x, make("bconv2d", bits, w, attrs=ConvAttrs()), data)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((2, 4, 48), (4, 3, 32)),
        ((4, 3, 32), (2, 4, 48)),
        ((3, 2, 64), (6, 2, 32)),
        ((1, 6, 32), (192,)),
        ((5, 1, 32), (1, 4, 40)),
    ],
)
def test_bits_in_another_shape(before: tuple[int, ...], after: tuple[int, ...], rng: np.random.Generator) -> None:
    x = input_node("x", before)
    y = make("unpack", make("reshape", make("binarize", x), attrs=ReshapeAttrs(after)))
    check(x, y, rng.normal(size=(3, *before)).astype(np.float32))


@pytest.mark.parametrize("op", ["max_pool", "avg_pool"])
@pytest.mark.parametrize(
    ("width", "kernel", "stride", "left", "right"),
    [(1, 3, 1, 2, 0), (1, 3, 1, 0, 2), (1, 4, 3, 3, 3), (2, 3, 1, 1, 0), (3, 3, 2, 2, 2), (3, 3, 1, 0, 0)],
)
def test_windows_wider_than_the_image(
    op: str, width: int, kernel: int, stride: int, left: int, right: int, rng: np.random.Generator
) -> None:
    """No column of the output is written that does not exist: what stands behind it in the caller's memory stays."""
    x = input_node("x", (2, width, 3))
    y = make(op, x, attrs=PoolAttrs((1, kernel), (1, stride), (0, left, 0, right)))
    data = rng.integers(-9, 10, (2, 2, width, 3)).astype(np.float32)
    graph = plan([x], [y])
    expected = interpret.outputs(graph, [data])[0]
    memory = np.full(expected.size + 64, 7, np.float32)
    out = memory[: expected.size].reshape(expected.shape)
    for family in available_kernels():
        Model.from_bytes(encode(graph), kernels=family)(data, out=out)
        np.testing.assert_allclose(out, expected, rtol=1e-6)
        assert (memory[expected.size :] == 7).all()


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("left", [0, 1, 2])
def test_the_columns_at_the_border_of_a_pool(left: int, stride: int) -> None:
    """Values rise along one row and fall along the other: what a window took beyond its end would be larger."""
    x = input_node("x", (2, 9, 3))
    y = make("max_pool", x, attrs=PoolAttrs((1, 3), (1, stride), (0, left, 0, 0)))
    columns = np.arange(9.0)[:, None] - 100
    data = np.ascontiguousarray(np.broadcast_to(np.stack([columns, columns[::-1]]), (2, 2, 9, 3)), np.float32)
    check(x, y, data)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (4, 1), (2, 2)])
@pytest.mark.parametrize("aligned", [0, 1])
def test_images_of_one_row_or_column(size: tuple[int, int], aligned: int, rng: np.random.Generator) -> None:
    """Corners are not aligned along an axis with one pixel, where they are the same."""
    x = input_node("x", (5, 4, 3))
    y = make("resize_bilinear", x, attrs=ResizeAttrs(size, aligned))
    check(x, y, rng.integers(-9, 10, (2, 5, 4, 3)).astype(np.float32))
