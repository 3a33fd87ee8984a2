# SPDX-License-Identifier: Apache-2.0
"""Single ops at values and sizes that random ones do not meet: (input, result, images) of each.

The cases of a kind have as many images, and an input the same ones wherever it stands."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

from bnn._types import Array
from bnn.ir.graph import Attrs, DType, Node
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

Rng = np.random.Generator
Cases = Iterator[tuple[Node, Node, Array]]
NORMAL = np.finfo(np.float32).tiny
LINE = np.float32([
    -np.inf, -(2.0**23) - 1, -(2.0**23) + 0.5, -2.5, -1, -0.5, -NORMAL, -NORMAL / 2, -0.0, 0, NORMAL / 2, NORMAL, 0.5,
    1, 1.5, 2.5, 2.0**22 + 0.5, 2.0**23 - 0.5, 2.0**23, 2.0**23 + 1, 2.0**24 + 2, np.inf, np.nan,
])  # fmt: skip
LIMITS = ((-1.0, np.inf), (-np.inf, 1.0), (-1.0, 1.0), (-np.inf, np.inf), (0.5, 0.5))


def functions_of_one_float(rng: Rng) -> Cases:
    x = input_node("x", (len(LINE),))
    attrs: list[tuple[str, Attrs | None]] = [("round", RoundAttrs(direction)) for direction in (-1, 0, 1)]
    for op, a in (*attrs, *(("clamp", ClampAttrs(*limits)) for limits in LIMITS), ("sign", None)):
        yield x, make(op, x, attrs=a), LINE[None]


def slopes(rng: Rng) -> Cases:
    x, data = input_node("x", (17,)), np.resize(np.float32([-np.inf, -1, -0.0, 0, 1, NORMAL, -NORMAL]), (3, 17))
    for slope in (0.25, -3.0, 0.0):
        yield x, make("prelu", x, constant(np.full(17, slope))), data


def affine_limits(rng: Rng) -> Cases:
    """One limit is a limit; what is no number stays."""
    x, data = input_node("x", (19,)), np.resize(np.float32([-9, -1, 0, 1, 9, np.nan, np.inf]), (4, 19))
    operands = [constant(np.full(19, value)) for value in (1.0, -2.0, 0.5)]
    for limits in LIMITS[:4]:
        yield x, make("affine", x, *operands, attrs=ClampAttrs(*limits)), data


def sums_over_a_batch(rng: Rng) -> Cases:
    """Counts above 32 bits; sums that are rounded once."""
    one, two = input_node("x", (1,)), input_node("x", (2,))
    yield one, make("batch_size", one, attrs=BatchSizeAttrs(2**31 - 1)), np.zeros((5, 1), np.float32)
    yield two, make("batch_sum", two), np.float32([[2**25, 1], [1, -(2.0**25)], [-(2**25), 2**25], [1, 1]])


def infinite_sums(rng: Rng) -> Cases:
    """They are numbers; those of filters that do not exist, whose weights are zeros, are none, and do not count."""
    for filters, infinite in itertools.product((1, 5, 17, 32, 33, 65), (-np.inf, np.inf)):
        x = input_node("x", (2, 2, 3))
        w = constant(rng.choice([-1.0, 2.0], (filters, 1, 1, 3)))
        data = rng.integers(-9, 10, (3, 2, 2, 3)).astype(np.float32)
        data[1, 1, 0, 2] = infinite
        yield x, make("unpack", make("conv2d", x, w, attrs=ConvAttrs(out=DType.b1))), data


def levels_of_any_float(rng: Rng) -> Cases:
    """Infinity has the last level, even where the bits could hold a higher number."""
    x = input_node("x", (len(LINE) - 1,))
    for steps in (2, 3, 5, 7, 8):
        numbers = make("binarize_levels", x, constant(np.linspace(-3, 3, steps)))
        table = constant(rng.permutation(steps + 1) + 0.5)
        yield x, make("dequantize", numbers, table, attrs=DequantizeAttrs(len(LINE) - 1)), LINE[None, :-1]
        w = constant(rng.choice([-1, 1], (5, 1, 1, len(LINE) - 1)), DType.b1)
        yield x, make("bconv2d", numbers, w, attrs=ConvAttrs(planes=steps.bit_length())), LINE[None, :-1]


def numbers_above_the_last_value(rng: Rng) -> Cases:
    """Bits may hold a number above the last entry of the table."""
    x, data = input_node("x", (2, 3, 64)), rng.choice([-1.0, 1.0], (9, 2, 3, 64)).astype(np.float32)
    for values in (3, 4):
        table = constant(np.arange(values) * 2.0)
        yield x, make("dequantize", make("binarize", x), table, attrs=DequantizeAttrs(32)), data


def padded_bits(rng: Rng) -> Cases:
    """Those of each channel, and none past the last: a layer counts whole words."""
    for channels, value in itertools.product((1, 5, 31, 32, 33, 63, 64, 65), (-1.0, 1.0)):
        x, data = input_node("x", (2, 3, channels)), rng.normal(size=(3, 2, 3, channels)).astype(np.float32)
        padded = make("pad", make("binarize", x), attrs=PadAttrs((1, 0, 2, 1), value))
        yield x, make("unpack", padded), data
        yield x, make("bconv2d", padded, constant(rng.choice([-1, 1], (7, 2, 2, channels)), DType.b1)), data


def bits_cut_out_of_words(rng: Rng) -> Cases:
    """None of their neighbours come along, which a layer would count; so where they are put beside each other."""
    x, data = input_node("x", (2, 2, 64)), rng.normal(size=(3, 2, 2, 64)).astype(np.float32)
    for begin, width in itertools.product((0, 1, 5, 31), (1, 30, 31, 32, 33)):
        part = make("slice", make("binarize", x), attrs=SliceAttrs(begin, begin + width))
        for bits in (part, make("concat", part, part)):
            w = constant(rng.choice([-1, 1], (5, 1, 1, bits.type.shape[-1])), DType.b1)
            yield x, make("bconv2d", bits, w), data


def bits_in_another_shape(rng: Rng) -> Cases:
    for before, after in (
        ((2, 4, 48), (4, 3, 32)), ((4, 3, 32), (2, 4, 48)), ((3, 2, 64), (6, 2, 32)), ((1, 6, 32), (192,)),
        ((5, 1, 32), (1, 4, 40)),
    ):  # fmt: skip
        x = input_node("x", before)
        y = make("unpack", make("reshape", make("binarize", x), attrs=ReshapeAttrs(after)))
        yield x, y, rng.normal(size=(3, *before)).astype(np.float32)


def windows_wider_than_the_image(rng: Rng) -> Cases:
    for op in ("max_pool", "sum_pool"):
        for width, kernel, stride, left, right in (
            (1, 3, 1, 2, 0), (1, 3, 1, 0, 2), (1, 4, 3, 3, 3), (2, 3, 1, 1, 0), (3, 3, 2, 2, 2), (3, 3, 1, 0, 0),
        ):  # fmt: skip
            x = input_node("x", (2, width, 3))
            y = make(op, x, attrs=PoolAttrs((1, kernel), (1, stride), (0, left, 0, right)))
            yield x, y, rng.integers(-9, 10, (2, 2, width, 3)).astype(np.float32)


def columns_at_the_border_of_a_pool(rng: Rng) -> Cases:
    """Values rise along one row and fall along the other: what a window took beyond its end would be larger."""
    x, columns = input_node("x", (2, 9, 3)), np.arange(9.0)[:, None] - 100
    data = np.ascontiguousarray(np.broadcast_to(np.stack([columns, columns[::-1]]), (2, 2, 9, 3)), np.float32)
    for stride, left in itertools.product((1, 2, 3), (0, 1, 2)):
        yield x, make("max_pool", x, attrs=PoolAttrs((1, 3), (1, stride), (0, left, 0, 0))), data


def images_of_one_row_or_column(rng: Rng) -> Cases:
    """Corners are not aligned along an axis with one pixel, where they are the same."""
    x, data = input_node("x", (5, 4, 3)), rng.integers(-9, 10, (2, 5, 4, 3)).astype(np.float32)
    for size, aligned in itertools.product(((1, 1), (1, 4), (4, 1), (2, 2)), (0, 1)):
        yield x, make("resize_bilinear", x, attrs=ResizeAttrs(size, aligned)), data


KINDS: tuple[Callable[[Rng], Cases], ...] = (
    functions_of_one_float, slopes, affine_limits, sums_over_a_batch, infinite_sums, levels_of_any_float,
    numbers_above_the_last_value, padded_bits, bits_cut_out_of_words, bits_in_another_shape,
    windows_wider_than_the_image, columns_at_the_border_of_a_pool, images_of_one_row_or_column,
)  # fmt: skip
