# SPDX-License-Identifier: Apache-2.0
"""The type of every op's result, from its operands' types and its attributes; what contradicts itself is refused.

The column ``infer`` of the op table.  Every function raises :class:`CompileError` on a contradiction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import CompileError
from ..graph import DType, TensorType
from . import reference as ref
from .attributes import (
    SLOTS,
    BatchSizeAttrs,
    ConstantAttrs,
    ConvAttrs,
    DequantizeAttrs,
    InputAttrs,
    PadAttrs,
    PadChannelsAttrs,
    PoolAttrs,
    ReshapeAttrs,
    ResizeAttrs,
    RoundAttrs,
    SliceAttrs,
)

Types = tuple[TensorType, ...]
Infer = Callable[[Types, Any], TensorType]

MOST_PLANES = 8  # of bits that are one number


def _want(condition: bool, message: str) -> None:
    if not condition:
        raise CompileError(message)


def same(types: Types, _: Any) -> TensorType:
    _want(types[0].dtype is DType.f32, f"expected f32, found {types[0]}")
    return types[0]


def round(types: Types, a: RoundAttrs) -> TensorType:
    _want(a.direction in (-1, 0, 1), f"cannot round in direction {a.direction}")
    return same(types, a)


def broadcast(types: Types, _: Any) -> TensorType:
    a, b = types
    _want(a.dtype is DType.f32 and b.dtype is DType.f32, f"expected two f32 operands, found {a} and {b}")
    try:
        return TensorType(tuple(int(d) for d in np.broadcast_shapes(a.shape, b.shape)), DType.f32)
    except ValueError:
        raise CompileError(f"shapes {a} and {b} do not broadcast") from None


def input(_: Types, a: InputAttrs) -> TensorType:
    return TensorType(a.shape, a.dtype)


def constant(_: Types, a: ConstantAttrs) -> TensorType:
    array = a.value.array
    _want(array.dtype == a.dtype.numpy, f"a constant of {a.dtype.name} holds {array.dtype}")
    if a.dtype is DType.b1:
        _want(bool(np.all(np.abs(array) == 1)), "a b1 constant must hold +1 and -1 only")
    return TensorType(tuple(array.shape), a.dtype)


def conv_output(size: int, kernel: int, stride: int, dilation: int, before: int, after: int) -> int:
    """Output length of one spatial axis."""
    return (size + before + after - (kernel - 1) * dilation - 1) // stride + 1


# Of a sum of bytes: it, and what is subtracted for the byte that stands for zero, are exact in float32 together.
MOST_BYTE_PRODUCTS = (2**24 - 1) // (2 * 255)


def conv(data: DType) -> Infer:
    """For data of f32, b1 or u8; the filters of the latter two are b1."""
    binary, integers = data is DType.b1, data is DType.u8

    def infer(types: Types, a: ConvAttrs) -> TensorType:
        x, w = types[:2]
        kind = DType.f32 if data is DType.f32 else DType.b1
        right = x.dtype is data and w.dtype is kind
        _want(right, f"expected {data.name} data and {kind.name} filters, found {x} and {w}")
        _want(len(w.shape) == 4, f"filters must be (O, kh, kw, I), found {w}")
        _want(len(x.shape) in (1, 3), f"data must be (H, W, C) or (C), found {x}")
        out_c, kh, kw, in_g = w.shape
        if integers:
            _want(in_g in (x.shape[-1], 2 * x.shape[-1]), f"{w} are not one or two planes of signs for {x}")
            in_g = x.shape[-1]
            _want(kh * kw * in_g <= MOST_BYTE_PRODUCTS, f"{kh * kw * in_g} products; at most {MOST_BYTE_PRODUCTS}")
        _planes(x, in_g, kh * kw, a, binary)
        _want(out_c % a.groups == 0, f"{out_c} filters do not divide into {a.groups} groups")
        _want(min(a.stride + a.dilation) >= 1 and min(a.pads) >= 0, f"bad stride, dilation or padding in {a}")
        pads = (-1, 0, 1) if binary else (0,)
        _want(a.pad_value in pads, f"cannot pad with {a.pad_value}")
        shape: tuple[int, ...]
        if len(x.shape) == 1:
            _want((kh, kw) == (1, 1) and not any(a.pads), f"a dense layer needs 1x1 filters, found {w}")
            shape = (out_c,)
        else:
            oh = conv_output(x.shape[0], kh, a.stride[0], a.dilation[0], a.pads[0], a.pads[2])
            ow = conv_output(x.shape[1], kw, a.stride[1], a.dilation[1], a.pads[1], a.pads[3])
            _want(oh > 0 and ow > 0, f"the {kh}x{kw} kernel is larger than the padded image {x}")
            shape = (oh, ow, out_c)
        _want(("zeros" in a.slots) == integers, f"{'no' if integers else 'found'} operand of zeros for {x}")
        _slots(types[2:], a, x.shape[-1:], shape, binary or integers)
        return TensorType(shape, a.out)

    return infer


def _planes(x: TensorType, in_g: int, taps: int, a: ConvAttrs, binary: bool) -> None:
    """The data's channels, and that every sum is exact in float32; what borders add to sums of several planes as well,
    which is less than the sums themselves."""
    channels = in_g * a.groups
    _want(1 <= a.planes <= (MOST_PLANES if binary else 1), f"cannot read {a.planes} planes")
    wanted, whose = channels, f"{in_g} x {a.groups} channels of filters of {taps} taps"
    if a.planes > 1:
        wanted, whose = a.planes * ref.plane_channels(channels), f"channels of {a.planes} planes of {in_g} x {a.groups}"
    _want(x.shape[-1] == wanted, f"{x} has not the {whose}")
    if a.planes > 1:
        _want(a.groups == 1 or in_g == ref.plane_channels(in_g), f"groups of {in_g} channels are not whole words")
    largest = taps * in_g * (1 if a.planes == 1 else 2 * (2**a.planes - 1))
    _want(largest < 2**24, f"sums up to {largest}; at most 2**24 - 1 are exact in float32")


def _slots(types: Types, a: ConvAttrs, channels: tuple[int, ...], shape: tuple[int, ...], exact: bool) -> None:
    _want(list(a.slots) == [s for s in SLOTS if s in a.slots], f"slots out of order: {a.slots}")
    takers = [s for s in a.slots if SLOTS[s]]
    _want(len(takers) == len(types), f"slots {a.slots} take {len(takers)} operands, found {len(types)}")
    for slot, t in zip(takers, types, strict=True):
        dtype = {"threshold": DType.i32, "negated": DType.b1}.get(slot, DType.f32)
        want = TensorType({"zeros": channels, "residual": shape}.get(slot, shape[-1:]), dtype)
        _want(t == want, f"slot {slot} expects {want}, found {t}")
    if "threshold" in a.slots or "negated" in a.slots:
        alone = {*a.slots} <= {"zeros", "threshold", "negated"} and "threshold" in a.slots
        _want(exact and alone and a.out is DType.b1, "a threshold stands alone and gives b1")
    _want(a.out is not DType.i32, "a convolution gives f32 or b1")


def pool(types: Types, a: PoolAttrs) -> TensorType:
    x = types[0]
    _want(len(x.shape) == 3, f"pooling expects (H, W, C), found {x}")
    if len(types) == 2:
        _want(types[1] == TensorType((x.shape[2],), DType.b1) and x.dtype is DType.b1, f"bad pooling mask {types[1]}")
    _want(min(a.kernel + a.stride) >= 1 and min(a.pads) >= 0, f"bad kernel, stride or padding in {a}")
    inside = max(a.pads[0], a.pads[2]) < a.kernel[0] and max(a.pads[1], a.pads[3]) < a.kernel[1]
    _want(inside, f"the padding in {a} covers a whole window")
    oh = conv_output(x.shape[0], a.kernel[0], a.stride[0], 1, a.pads[0], a.pads[2])
    ow = conv_output(x.shape[1], a.kernel[1], a.stride[1], 1, a.pads[1], a.pads[3])
    _want(oh > 0 and ow > 0, f"the {a.kernel} window is larger than the padded image {x}")
    return TensorType((oh, ow, x.shape[2]), x.dtype)


def avg_pool(types: Types, a: PoolAttrs) -> TensorType:
    _want(types[0].dtype is DType.f32, f"average pooling expects f32, found {types[0]}")
    return pool(types, a)


def resize_bilinear(types: Types, a: ResizeAttrs) -> TensorType:
    x = types[0]
    _want(x.dtype is DType.f32 and len(x.shape) == 3, f"expected f32 (H, W, C), found {x}")
    _want(min(a.size) >= 1 and {a.align_corners, a.half_pixels} <= {0, 1}, f"cannot resize with {a}")
    return TensorType((*a.size, x.shape[2]), DType.f32)


def batch_sum(types: Types, _: Any) -> TensorType:
    x = types[0]
    _want(x.dtype is DType.f32, f"expected f32, found {x}")
    return TensorType(x.shape[-1:], DType.f32)


def batch_size(types: Types, a: BatchSizeAttrs) -> TensorType:
    _want(types[0].dtype is DType.f32, f"expected f32, found {types[0]}")
    _want(1 <= a.per_image < 2**31, f"cannot count {a.per_image} an image")
    return TensorType((1,), DType.f32)


def pad(types: Types, a: PadAttrs) -> TensorType:
    x = types[0]
    _want(len(x.shape) == 3 and min(a.pads) >= 0, f"padding expects (H, W, C) and pads >= 0, found {x}, {a}")
    _want(x.dtype is DType.f32 or a.value in (-1.0, 1.0), f"bits can be padded with +1 or -1, not {a.value}")
    top, left, bottom, right = a.pads
    return TensorType((x.shape[0] + top + bottom, x.shape[1] + left + right, x.shape[2]), x.dtype)


def reshape(types: Types, a: ReshapeAttrs) -> TensorType:
    x = types[0]
    _want(int(np.prod(x.shape)) == int(np.prod(a.shape)), f"cannot reshape {x} to {a.shape}")
    return TensorType(a.shape, x.dtype)


def concat(types: Types, _: Any) -> TensorType:
    first = types[0]
    for t in types:
        _want(t.shape[:-1] == first.shape[:-1] and t.dtype is first.dtype, f"cannot concatenate {first} and {t}")
    return TensorType(first.shape[:-1] + (sum(t.shape[-1] for t in types),), first.dtype)


def slice(types: Types, a: SliceAttrs) -> TensorType:
    x = types[0]
    _want(0 <= a.begin < a.end <= x.shape[-1], f"channels {a.begin} to {a.end} of {x}")
    return TensorType(x.shape[:-1] + (a.end - a.begin,), x.dtype)


def pad_channels(types: Types, a: PadChannelsAttrs) -> TensorType:
    x = types[0]
    _want(x.dtype is DType.f32, f"expected f32, found {x}")
    _want(min(a.before, a.after) >= 0, f"{a.before} channels before and {a.after} after")
    return TensorType(x.shape[:-1] + (x.shape[-1] + a.before + a.after,), x.dtype)


def gather(types: Types, _: Any) -> TensorType:
    x, index = types
    _want(x.dtype is not DType.i32, f"expected f32 or b1, found {x}")
    _want(index.dtype is DType.i32 and 1 <= len(index.shape) <= 3, f"expected indices of an output, found {index}")
    return TensorType(index.shape, x.dtype)


def prelu(types: Types, _: Any) -> TensorType:
    x, slope = types
    _want(x.dtype is DType.f32, f"expected f32, found {x}")
    _want(slope == TensorType(x.shape[-1:], DType.f32), f"expected one slope a channel of {x}, found {slope}")
    return x


def affine(types: Types, _: Any) -> TensorType:
    x = types[0]
    _want(x.dtype is DType.f32, f"expected f32, found {x}")
    operand = TensorType(x.shape[-1:], DType.f32)
    _want(types[1:] == (operand,) * 3, f"expected three operands {operand}, found {types[1:]}")
    return x


def cast(types: Types, _: Any) -> TensorType:
    x = types[0]
    _want(x.dtype is DType.u8, f"expected u8, found {x}")
    _want(types[1:] in ((), (TensorType((256,), DType.f32),)), f"expected a table of 256 f32, found {types[1:]}")
    return TensorType(x.shape, DType.f32)


def excess_128(types: Types, _: Any) -> TensorType:
    x = types[0]
    _want(x.dtype is DType.i8, f"expected i8, found {x}")
    return TensorType(x.shape, DType.u8)


def copy(types: Types, _: Any) -> TensorType:
    return types[0]


def binarize(types: Types, _: Any) -> TensorType:
    x = types[0]
    _want(x.dtype is DType.f32, f"expected f32, found {x}")
    if len(types) != 1:
        channels = x.shape[-1:]
        wanted = (TensorType(channels, DType.f32), TensorType(channels, DType.b1))
        _want(types[1:] == wanted, f"expected thresholds and flips {wanted}, found {types[1:]}")
    return TensorType(x.shape, DType.b1)


def binarize_levels(types: Types, _: Any) -> TensorType:
    x, thresholds = types
    _want(x.dtype is DType.f32 and thresholds.dtype is DType.f32, f"expected two f32 operands, found {x}, {thresholds}")
    steps = thresholds.shape[0] if len(thresholds.shape) == 1 else 0
    _want(2 <= steps < 2**MOST_PLANES, f"expected 2 to {2**MOST_PLANES - 1} thresholds, found {thresholds}")
    return TensorType(x.shape[:-1] + (steps.bit_length() * ref.plane_channels(x.shape[-1]),), DType.b1)


def dequantize(types: Types, a: DequantizeAttrs) -> TensorType:
    x, table = types
    _want(x.dtype is DType.b1 and table.dtype is DType.f32, f"expected bits and a table of f32, found {x} and {table}")
    _want(len(table.shape) == 1 and table.shape[0] >= 2, f"expected a table of two values or more, found {table}")
    if a.channels:
        planes = (table.shape[0] - 1).bit_length()
        wanted = planes * ref.plane_channels(a.channels)
        _want(2 <= planes <= MOST_PLANES, f"expected 3 to {2**MOST_PLANES} values, found {table}")
        _want(a.channels > 0, f"cannot give {a.channels} channels")
        _want(x.shape[-1] == wanted, f"{x} has not the {wanted} channels of {planes} planes of {a.channels}")
        return TensorType(x.shape[:-1] + (a.channels,), DType.f32)
    planes = table.shape[0] - 1
    _want(x.shape[-1] % planes == 0, f"the channels of {x} are not {planes} planes")
    return TensorType(x.shape[:-1] + (x.shape[-1] // planes,), DType.f32)


def to(dtype: DType, source: DType) -> Infer:
    def infer(types: Types, _: Any) -> TensorType:
        _want(types[0].dtype is source, f"expected {source.name}, found {types[0]}")
        return TensorType(types[0].shape, dtype)

    return infer
