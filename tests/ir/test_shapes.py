# SPDX-License-Identifier: Apache-2.0
"""The last size that each op takes, and the first that it refuses: from types alone, without data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bnn.errors import CompileError
from bnn.ir.graph import DType, TensorType
from bnn.ir.ops import OPS

THRESHOLD = {"slots": ("threshold",), "out": DType.b1}


def f32(*shape: int) -> TensorType:
    return TensorType(shape, DType.f32)


def b1(*shape: int) -> TensorType:
    return TensorType(shape, DType.b1)


def u8(*shape: int) -> TensorType:
    return TensorType(shape, DType.u8)


def i32(*shape: int) -> TensorType:
    return TensorType(shape, DType.i32)


def infer(op: str, *types: TensorType, **attrs: Any) -> TensorType:
    return OPS[op].infer(types, OPS[op].attrs(**attrs))


def words(channels: int) -> int:
    return (channels + 31) // 32 * 32


IMAGE, BITS = f32(4, 5, 3), b1(4, 5, 3)
# (the type by one number, the last that is taken, the first that is not, what is said of it)
Limit = tuple[Callable[[int], TensorType], int, int, str]
CONVOLUTIONS: dict[str, Limit] = {
    "products": (lambda n: infer("conv2d", f32(n), f32(1, 1, 1, n)), 2**24 - 1, 2**24, "exact in float32"),
    "products of bits": (lambda n: infer("bconv2d", b1(n), b1(1, 1, 1, n)), 2**24 - 1, 2**24, "exact in float32"),
    "products of planes": (
        lambda n: infer("bconv2d", b1(8 * words(n)), b1(1, 1, 1, n), planes=8), 32896, 32897, "exact in float32",
    ),
    "products of bytes": (
        lambda n: infer("iconv2d", u8(n), b1(1, 1, 1, n), f32(n), slots=("zeros",)), 32896, 32897, "products; at most",
    ),
    "planes of signs for bytes": (
        lambda n: infer("iconv2d", u8(4), b1(1, 1, 1, 4 * n), f32(4), slots=("zeros",)), 2, 3, "one or two planes",
    ),
    "planes": (lambda n: infer("bconv2d", b1(32 * n), b1(1, 1, 1, 32), planes=n), 8, 9, "cannot read 9 planes"),
    "no plane": (lambda n: infer("bconv2d", b1(32 * n), b1(1, 1, 1, 32), planes=n), 1, 0, "cannot read 0 planes"),
    "planes of floats": (lambda n: infer("conv2d", f32(32 * n), f32(1, 1, 1, 32), planes=n), 1, 2, "cannot read 2"),
    "groups of planes": (
        lambda n: infer("bconv2d", b1(2 * words(2 * n)), b1(2, 1, 1, n), planes=2, groups=2), 32, 16, "not whole words",
    ),
    "rows of a kernel": (lambda n: infer("conv2d", IMAGE, f32(2, n, 1, 3)), 4, 5, "5x1 kernel is larger than"),
    "columns of a kernel": (lambda n: infer("conv2d", IMAGE, f32(2, 1, n, 3)), 5, 6, "1x6 kernel is larger than"),
    "rows of a dilated kernel": (
        lambda n: infer("conv2d", IMAGE, f32(2, 2, 1, 3), dilation=(n, 1)), 3, 4, "2x1 kernel is larger than",
    ),
    "stride": (lambda n: infer("conv2d", IMAGE, f32(2, 1, 1, 3), stride=(1, n)), 1, 0, "bad stride"),
    "dilation": (lambda n: infer("conv2d", IMAGE, f32(2, 1, 1, 3), dilation=(n, 1)), 1, 0, "bad stride, dilation"),
    "padding": (lambda n: infer("conv2d", IMAGE, f32(2, 1, 1, 3), pads=(1, 1, 1, n)), 0, -1, "or padding"),
    "padding of a dense layer": (lambda n: infer("conv2d", f32(3), f32(2, 1, 1, 3), pads=(0, 0, 0, n)), 0, 1, "dense"),
    "what bits are padded with": (
        lambda n: infer("bconv2d", BITS, b1(2, 1, 1, 3), pad_value=n), 1, 2, "cannot pad with 2",
    ),
    "zeros of bytes": (
        lambda n: infer("iconv2d", u8(3), b1(2, 1, 1, 3), *[f32(3)] * n, slots=("zeros",) * n), 1, 0, "no operand of",
    ),
    "zeros of floats": (
        lambda n: infer("conv2d", f32(3), f32(2, 1, 1, 3), *[f32(3)] * n, slots=("zeros",) * n), 0, 1, "found operand",
    ),
    "threshold of sums of floats": (
        lambda n: infer(("bconv2d", "conv2d")[n], (b1, f32)[n](3), (b1, f32)[n](2, 1, 1, 3), i32(2), **THRESHOLD),
        0, 1, "a threshold stands alone",
    ),
}  # fmt: skip
WINDOWS: dict[str, Limit] = {
    "rows of a window": (lambda n: infer("max_pool", IMAGE, kernel=(n, 1)), 4, 5, r"\(5, 1\) window is larger"),
    "columns of a window": (lambda n: infer("max_pool", IMAGE, kernel=(1, n)), 5, 6, r"\(1, 6\) window is larger"),
    "stride of a window": (lambda n: infer("max_pool", IMAGE, stride=(n, 1)), 1, 0, "bad kernel, stride"),
    "padding of a window": (lambda n: infer("max_pool", IMAGE, kernel=(2, 2), pads=(0, n, 0, 0)), 0, -1, "or padding"),
    "rows above a window": (lambda n: infer("max_pool", IMAGE, kernel=(2, 3), pads=(n, 0, 0, 0)), 1, 2, "covers"),
    "columns left of it": (lambda n: infer("max_pool", IMAGE, kernel=(3, 2), pads=(0, n, 0, 0)), 1, 2, "covers"),
    "rows below it": (lambda n: infer("max_pool", IMAGE, kernel=(2, 3), pads=(0, 0, n, 0)), 1, 2, "covers a whole"),
    "columns right of it": (lambda n: infer("max_pool", IMAGE, kernel=(3, 2), pads=(0, 0, 0, n)), 1, 2, "covers"),
    "mask of floats": (lambda n: infer("max_pool", (BITS, IMAGE)[n], b1(3)), 0, 1, "bad pooling mask"),
}
OTHERS: dict[str, Limit] = {
    "begin of a slice": (lambda n: infer("slice", IMAGE, begin=n, end=2), 0, -1, "channels -1 to 2"),
    "width of a slice": (lambda n: infer("slice", IMAGE, begin=1, end=1 + n), 1, 0, "channels 1 to 1"),
    "end of a slice": (lambda n: infer("slice", IMAGE, begin=1, end=n), 3, 4, "channels 1 to 4"),
    "few thresholds": (lambda n: infer("binarize_levels", IMAGE, f32(n)), 2, 1, "expected 2 to 255 thresholds"),
    "many thresholds": (lambda n: infer("binarize_levels", IMAGE, f32(n)), 255, 256, "expected 2 to 255 thresholds"),
    "few values in binary": (
        lambda n: infer("dequantize", b1(32 * (n - 1)), f32(n), channels=3), 3, 2, "expected 3 to 256 values",
    ),
    "many values in binary": (
        lambda n: infer("dequantize", b1(32 * (n - 1).bit_length()), f32(n), channels=3), 256, 257, "3 to 256 values",
    ),
    "counted planes": (lambda n: infer("dequantize", b1(6), f32(n)), 4, 5, "are not 4 planes"),
    "one value": (lambda n: infer("dequantize", b1(6), f32(n)), 2, 1, "two values or more"),
    "padding of an image": (lambda n: infer("pad", IMAGE, pads=(0, 0, n, 0)), 0, -1, "pads >= 0"),
    "channels before": (lambda n: infer("pad_channels", IMAGE, before=n, after=9), 0, -1, "-1 channels before"),
    "channels after": (lambda n: infer("pad_channels", IMAGE, before=9, after=n), 0, -1, "-1 after"),
    "few elements an image": (lambda n: infer("batch_size", IMAGE, per_image=n), 1, 0, "cannot count 0"),
    "many elements an image": (lambda n: infer("batch_size", IMAGE, per_image=n), 2**31 - 1, 2**31, "cannot count"),
    "dimensions of indices": (lambda n: infer("gather", IMAGE, i32(*[1] * n)), 3, 4, "expected indices"),
    "no dimension of indices": (lambda n: infer("gather", IMAGE, i32(*[1] * n)), 1, 0, "expected indices"),
    "rows of a resized image": (lambda n: infer("resize_bilinear", IMAGE, size=(n, 3)), 1, 0, "cannot resize"),
    "flags of a resized image": (
        lambda n: infer("resize_bilinear", IMAGE, size=(3, 3), half_pixels=n), 1, 2, "cannot resize",
    ),
    "rounding up": (lambda n: infer("round", IMAGE, direction=n), 1, 2, "direction 2"),
    "rounding down": (lambda n: infer("round", IMAGE, direction=n), -1, -2, "direction -2"),
    "rows side by side": (lambda n: infer("concat", IMAGE, f32(n, 5, 3)), 4, 3, "cannot concatenate"),
    "columns side by side": (lambda n: infer("concat", IMAGE, f32(4, n, 3)), 5, 6, "cannot concatenate"),
    "values of a table": (lambda n: infer("cast", u8(4), f32(n)), 256, 255, "a table of 256 f32"),
}  # fmt: skip
LIMITS = {**CONVOLUTIONS, **WINDOWS, **OTHERS}


@pytest.mark.parametrize("name", LIMITS)
def test_the_last_that_is_taken(name: str) -> None:
    make, last, first_refused, message = LIMITS[name]
    make(last)
    with pytest.raises(CompileError, match=message):
        make(first_refused)
