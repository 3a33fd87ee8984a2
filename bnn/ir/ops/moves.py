# SPDX-License-Identifier: Apache-2.0
"""Ops that move their operands' values, and padding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..._types import Array
from ..graph import Attrs, DType, Node, TensorType
from .record import Level, NoAttrs, Op, Rng, Types, least_of_data, make, plain, stored, want
from .rounding import moved
from .sources import constant, plain_maker


@dataclass(frozen=True)
class PadAttrs(Attrs):
    pads: tuple[int, int, int, int] = stored((0,) * 4, "pad_top", "pad_left", "pad_bottom", "pad_right")
    value: float = stored(0.0, "value")


@dataclass(frozen=True)
class ReshapeAttrs(Attrs):
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class SliceAttrs(Attrs):
    begin: int = stored(0, "begin")  # channels begin to end, end not included
    end: int = stored(1, "end")


@dataclass(frozen=True)
class PadChannelsAttrs(Attrs):
    before: int = stored(0, "before")
    after: int = stored(0, "after")
    value: float = stored(0.0, "value")


def copy_type(types: Types, _: Attrs) -> TensorType:
    (x,) = types
    return x


def concat_type(types: Types, _: Attrs) -> TensorType:
    first = types[0]
    for t in types:
        want(t.shape[:-1] == first.shape[:-1] and t.dtype is first.dtype, f"cannot concatenate {first} and {t}")
    return TensorType(first.shape[:-1] + (sum(t.shape[-1] for t in types),), first.dtype)


def pad_type(types: Types, a: PadAttrs) -> TensorType:
    (x,) = types
    want(len(x.shape) == 3 and min(a.pads) >= 0, f"padding expects (H, W, C) and pads >= 0, found {x}, {a}")
    want(x.dtype is not DType.b1 or a.value in (-1.0, 1.0), f"bits can be padded with +1 or -1, not {a.value}")
    want(x.dtype is not DType.u8 or a.value in range(256), f"bytes can be padded with 0 to 255, not {a.value}")
    top, left, bottom, right = a.pads
    return TensorType((x.shape[0] + top + bottom, x.shape[1] + left + right, x.shape[2]), x.dtype)


def reshape_type(types: Types, a: ReshapeAttrs) -> TensorType:
    (x,) = types
    want(int(np.prod(x.shape)) == int(np.prod(a.shape)), f"cannot reshape {x} to {a.shape}")
    return TensorType(a.shape, x.dtype)


def slice_type(types: Types, a: SliceAttrs) -> TensorType:
    (x,) = types
    want(0 <= a.begin < a.end <= x.shape[-1], f"channels {a.begin} to {a.end} of {x}")
    return TensorType(x.shape[:-1] + (a.end - a.begin,), x.dtype)


def gather_type(types: Types, _: Attrs) -> TensorType:
    x, index = types
    want(x.dtype is not DType.i32, f"expected f32 or b1, found {x}")
    want(index.dtype is DType.i32 and 1 <= len(index.shape) <= 3, f"expected indices of an output, found {index}")
    return TensorType(index.shape, x.dtype)


def pad_channels_type(types: Types, a: PadChannelsAttrs) -> TensorType:
    (x,) = types
    want(x.dtype in (DType.f32, DType.u8), f"expected f32 or u8, found {x}")
    want(x.dtype is not DType.u8 or a.value in range(256), f"bytes can be padded with 0 to 255, not {a.value}")
    want(min(a.before, a.after) >= 0, f"{a.before} channels before and {a.after} after")
    return TensorType(x.shape[:-1] + (x.shape[-1] + a.before + a.after,), x.dtype)


def pad_spatial(x: Array, pads: tuple[int, int, int, int], value: float) -> Array:
    """Pad H and W of (N, H, W, C) by (top, left, bottom, right)."""
    top, left, bottom, right = pads
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def gather(x: Array, index: Array) -> Array:
    """For every element of the output, the element of (N, ...) at its index in row-major order."""
    return np.asarray(x.reshape(len(x), -1)[:, index])


def pad_channels(x: Array, a: PadChannelsAttrs) -> Array:
    """Add channels of one value before and after those of (N, ..., C)."""
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(a.before, a.after)], constant_values=a.value)


def concat(*operands: Array, a: Attrs) -> Array:
    return np.concatenate(operands, axis=-1)


def pad(x: Array, a: PadAttrs) -> Array:
    return pad_spatial(x, a.pads, a.value).astype(x.dtype)


def _make_concat(rng: Rng, x: Node) -> Node:
    """Two parts, or three, one of them a concatenation."""
    mirror = make("maximum", x, constant([0.0])) if x.type.dtype is DType.f32 else x
    wider = make("concat", x, mirror)
    return make("concat", x, wider, x) if rng.random() < 0.5 else wider


def _make_pad(rng: Rng, x: Node) -> Node:
    values = {DType.b1: [-1.0, 1.0], DType.u8: [0.0, 128.0, 255.0]}.get(x.type.dtype, [0.0, 2.5, -np.inf])
    top, left, bottom, right = rng.integers(0, 3, 4).tolist()
    return make("pad", x, attrs=PadAttrs((top, left, bottom, right), float(rng.choice(values))))


def _make_reshape(rng: Rng, x: Node) -> Node:
    h, w, c = x.type.shape
    shapes = [(h * w * c,), (w, h, c), (1, h * w, c), (c, h, w), (h, 1, w * c), (h * w, c)]
    return make("reshape", x, attrs=ReshapeAttrs(shapes[int(rng.integers(len(shapes)))]))


def _make_slice(rng: Rng, x: Node) -> Node:
    begin = int(rng.integers(0, x.type.shape[-1]))
    return make("slice", x, attrs=SliceAttrs(begin, int(rng.integers(begin, x.type.shape[-1])) + 1))


def _make_gather(rng: Rng, x: Node) -> Node:
    """Any elements, in another shape."""
    shape = [int(n) for n in rng.integers(1, 6, 2)] + [int(rng.choice([1, 3, 31, 32, 33, 40]))]
    index = rng.integers(0, int(np.prod(x.type.shape)), shape)
    return make("gather", x, constant(index, DType.i32))


def _make_pad_channels(rng: Rng, x: Node) -> Node:
    before, after = rng.integers(0, 5, 2).tolist()
    return make("pad_channels", x, attrs=PadChannelsAttrs(before, after, 1.5 if x.type.dtype is DType.f32 else 200))


RECORDS = (
    Op(
        "concat", 16, NoAttrs, concat_type, concat, moves=True, bound=moved, rearranges=True,
        least=lambda a, of: min(of), maker=_make_concat, takes=(DType.f32, DType.b1, DType.u8, DType.i16),
        gives_bytes=True, by_rows=True,
    ),
    Op(
        "pad", 17, PadAttrs, pad_type, pad, moves=True, bound=moved, maker=_make_pad, gives_bytes=True,
        takes=(DType.f32, DType.b1, DType.u8), by_rows=True,
    ),
    Op(
        "reshape", 18, ReshapeAttrs, reshape_type, lambda x, a: x.reshape((-1,) + a.shape), moves=True, bound=moved,
        rearranges=True, gives_bytes=True, least=least_of_data, maker=_make_reshape,
        takes=(DType.f32, DType.b1, DType.u8),
    ),
    Op(
        "copy", 19, NoAttrs, copy_type, lambda x, a: x, Level.RUNTIME, moves=True, bound=moved,
        rearranges=True, gives_bytes=True, least=least_of_data, maker=plain_maker("copy"),
        takes=(DType.f32, DType.b1, DType.u8), by_rows=True,
    ),
    Op(
        "slice", 20, SliceAttrs, slice_type, lambda x, a: x[..., a.begin : a.end], moves=True, bound=moved,
        rearranges=True, gives_bytes=True, least=least_of_data, maker=_make_slice,
        takes=(DType.f32, DType.b1, DType.u8), by_rows=True,
    ),
    Op(
        "gather", 26, NoAttrs, gather_type, plain(gather), moves=True, bound=moved, rearranges=True,
        least=least_of_data, maker=_make_gather, takes=(DType.f32, DType.b1),
    ),
    Op(
        "pad_channels", 24, PadChannelsAttrs, pad_channels_type, lambda x, a: pad_channels(x, a), moves=True,
        bound=moved, maker=_make_pad_channels, gives_bytes=True, takes=(DType.f32, DType.u8), by_rows=True,
    ),
)  # fmt: skip
