# SPDX-License-Identifier: Apache-2.0
"""Pooling, and resizing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..._types import Array
from ..graph import Attrs, DType, Node, TensorType
from .conv import conv_output
from .moves import ReshapeAttrs, pad_spatial
from .record import OPS, Maker, Op, Operands, Rng, Types, least_of_data, make, not_negative_like_it, stored, want
from .rounding import NOTHING, UNIT, gamma, magnitude
from .sources import signs

# Of a mean, so that their sums fit into 32 bits.
_MOST = {DType.u8: 2**23, DType.i16: 2**15}
LOWEST = np.finfo(np.float32).min


@dataclass(frozen=True)
class PoolAttrs(Attrs):
    kernel: tuple[int, int] = stored((1, 1), "kernel_h", "kernel_w")
    stride: tuple[int, int] = stored((1, 1), "stride_h", "stride_w")
    pads: tuple[int, int, int, int] = stored((0,) * 4, "pad_top", "pad_left", "pad_bottom", "pad_right")


@dataclass(frozen=True)
class ResizeAttrs(Attrs):
    size: tuple[int, int] = stored((1, 1), "size_h", "size_w")
    align_corners: int = stored(0, "align_corners")  # 1: the corners' pixels keep their values
    half_pixels: int = stored(0, "half_pixels")  # 1: a pixel's position is its centre


def pool_type(types: Types, a: PoolAttrs) -> TensorType:
    x, *masks = types
    want(len(x.shape) == 3, f"pooling expects (H, W, C), found {x}")
    if masks:
        own = masks == [TensorType((x.shape[2],), DType.b1)] and x.dtype is DType.b1
        want(own, f"bad pooling mask {', '.join(map(str, masks))}")
    want(min(a.kernel + a.stride) >= 1 and min(a.pads) >= 0, f"bad kernel, stride or padding in {a}")
    inside = max(a.pads[0], a.pads[2]) < a.kernel[0] and max(a.pads[1], a.pads[3]) < a.kernel[1]
    want(inside, f"the padding in {a} covers a whole window")
    oh = conv_output(x.shape[0], a.kernel[0], a.stride[0], 1, a.pads[0], a.pads[2])
    ow = conv_output(x.shape[1], a.kernel[1], a.stride[1], 1, a.pads[1], a.pads[3])
    want(oh > 0 and ow > 0, f"the {a.kernel} window is larger than the padded image {x}")
    return TensorType((oh, ow, x.shape[2]), x.dtype)


def avg_pool_type(types: Types, a: PoolAttrs) -> TensorType:
    (x,) = types
    want(x.dtype in (DType.f32, *_MOST), f"average pooling expects f32, u8 or i16, found {x}")
    result = pool_type(types, a)
    taps = min(a.kernel[0], x.shape[0]) * min(a.kernel[1], x.shape[1])
    want(taps <= _MOST.get(x.dtype, taps), f"a mean of {taps} numbers of {x}; at most {_MOST.get(x.dtype)}")
    return result


def sum_pool_type(types: Types, a: PoolAttrs) -> TensorType:
    want(types[0].dtype is DType.f32, f"sums of pixels expect f32, found {types[0]}")
    return pool_type(types, a)


def resize_bilinear_type(types: Types, a: ResizeAttrs) -> TensorType:
    (x,) = types
    want(x.dtype is DType.f32 and len(x.shape) == 3, f"expected f32 (H, W, C), found {x}")
    want(min(a.size) >= 1 and {a.align_corners, a.half_pixels} <= {0, 1}, f"cannot resize with {a}")
    return TensorType((*a.size, x.shape[2]), DType.f32)


def windows(x: Array, a: PoolAttrs, fill: float) -> Array:
    """All pooling windows of (N, H, W, C) as (N, OH, OW, C, kh, kw), padding filled with ``fill``."""
    x = pad_spatial(x, a.pads, fill)
    axes: Any = (1, 2)  # NumPy 1's types know one
    view = sliding_window_view(x, a.kernel, axis=axes)
    return np.asarray(view[:, :: a.stride[0], :: a.stride[1]])


def max_pool(x: Array, a: PoolAttrs, mask: Array | None = None) -> Array:
    """Maximum over the taps inside the image; like TensorFlow's, it starts at the lowest finite float and skips NaN.

    Bits: +1 if any tap is +1 (OR); channels whose mask is +1 take the minimum instead (AND): they hold the complement
    of a decreasing threshold.
    """
    if x.dtype == np.float32:
        return np.asarray(np.fmax.reduce(windows(x, a, float(LOWEST)), axis=(4, 5), initial=LOWEST))
    if x.dtype in (np.uint8, np.int16):
        return np.asarray(windows(x, a, np.iinfo(x.dtype).min).max(axis=(4, 5)))
    high = windows(x, a, -1).max(axis=(4, 5))
    if mask is None:
        return np.asarray(high)
    return np.where(mask > 0, windows(x, a, 1).min(axis=(4, 5)), high)


def sum_pool(x: Array, a: PoolAttrs) -> Array:
    """Sum of the taps inside the image."""
    return np.asarray(windows(x, a, 0.0).sum(axis=(4, 5), dtype=np.float32))


def avg_pool(x: Array, a: PoolAttrs) -> Array:
    """Mean over the taps inside the image (TensorFlow's SAME does not count padding).  The mean of bytes, which are
    numbers in excess 128, or of int16 is rounded to the nearest, halves away from zero, as in TensorFlow Lite."""
    if np.issubdtype(x.dtype, np.integer):
        zero = 128 if x.dtype == np.uint8 else 0
        sums = windows(x.astype(np.int64) - zero, a, 0).sum(axis=(4, 5))
        counts = windows(np.ones((1, *x.shape[1:3], 1), np.int64), a, 0).sum(axis=(4, 5))
        return (np.sign(sums) * ((np.abs(sums) + counts // 2) // counts) + zero).astype(x.dtype)
    return np.asarray(sum_pool(x, a) / sum_pool(np.ones_like(x[:1, :, :, :1]), a))


def _places(size: int, out: int, a: ResizeAttrs) -> tuple[Array, Array, Array]:
    """The pixels before and after every position along an axis of a resized image, and its place between them."""
    aligned = a.align_corners and out > 1
    scale = np.float32(size - 1) / np.float32(out - 1) if aligned else np.float32(size) / np.float32(out)
    half = np.float32(0.5 * a.half_pixels)
    place = (np.arange(out, dtype=np.float32) + half) * scale - half
    low = np.floor(place)
    return np.maximum(low, 0).astype(int), np.minimum(np.ceil(place), size - 1).astype(int), place - low


def resize_bilinear(x: Array, a: ResizeAttrs) -> Array:
    """Interpolate between the four nearest pixels of (N, H, W, C): along the rows, then between rows; each step is one
    float32 operation, as in TensorFlow's ResizeBilinear."""
    top, bottom, down = _places(x.shape[1], a.size[0], a)
    left, right, along = _places(x.shape[2], a.size[1], a)
    rows = x[:, :, left] + (x[:, :, right] - x[:, :, left]) * along[:, None]
    return np.asarray(rows[:, top] + (rows[:, bottom] - rows[:, top]) * down[:, None, None])


def _max_pool_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    assert isinstance(node.attrs, PoolAttrs)
    return np.asarray(windows(errors[0], node.attrs, 0.0).max(axis=(4, 5)))


def _pooled_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    attrs = node.attrs
    assert isinstance(attrs, PoolAttrs)
    if np.issubdtype(operands[0].dtype, np.integer):
        off = windows(np.broadcast_to(errors[0], operands[0].shape), attrs, 0.0).max(axis=(4, 5))
        return np.where(off > 0, np.ceil(off) + 1, 0.0)
    g = gamma(int(np.prod(attrs.kernel)) + 1)
    size, passed = (
        OPS[node.op].reference(x, a=attrs) if x.any() else NOTHING for x in (magnitude(operands[0]), errors[0])
    )
    return (1 + 2 * g) * (2 * g * size + (1 + g) * passed)


def _resize_bound(node: Node, operands: Operands, errors: Operands) -> Array:
    """Four pixels, with weights from 0 to 1 whose sum is 1; three steps, two roundings each."""
    assert isinstance(node.attrs, ResizeAttrs)
    if not errors[0].any():
        return NOTHING
    size, passed = (resize_bilinear(x, node.attrs) for x in (magnitude(operands[0]), errors[0]))
    return np.asarray((1 + 8 * UNIT) * passed + 16 * UNIT * (size + passed))


def _random_attrs(rng: Rng, x: Node) -> PoolAttrs:
    """Windows that fit; padding is smaller than the window."""
    kh, kw = (int(rng.integers(1, min(4, size) + 1)) for size in x.type.shape[:2])
    top, left, bottom, right = (int(rng.integers(0, size)) for size in (kh, kw, kh, kw))
    sh, sw = rng.integers(1, 4, 2).tolist()
    return PoolAttrs((kh, kw), (sh, sw), (top, left, bottom, right))


def _make_max_pool(rng: Rng, x: Node) -> Node:
    masked = x.type.dtype is DType.b1 and rng.random() < 0.5
    operands = (x, signs(rng, x.type.shape[2:])) if masked else (x,)
    return make("max_pool", *operands, attrs=_random_attrs(rng, x))


def _make_pool(op: str) -> Maker:
    """One in four, but of int16, is of channels that became columns: a mean over groups of channels."""

    def maker(rng: Rng, x: Node) -> Node:
        if x.type.dtype is DType.i16 or rng.random() < 0.75:
            return make(op, x, attrs=_random_attrs(rng, x))
        h, w, c = x.type.shape
        columns = make("reshape", x, attrs=ReshapeAttrs((h, w * c, 1)))
        together = int(rng.choice([k for k in range(1, 5) if w * c % k == 0]))
        return make(op, columns, attrs=PoolAttrs((1, together), (1, together)))

    return maker


def _make_resize(rng: Rng, x: Node) -> Node:
    h, w = rng.integers(1, 12, 2).tolist()
    aligned = int(rng.integers(0, 2))
    return make("resize_bilinear", x, attrs=ResizeAttrs((h, w), aligned, int(rng.integers(0, 2 - aligned))))


RECORDS = (
    Op(
        "max_pool", 3, PoolAttrs, pool_type, lambda *x, a: max_pool(x[0], a, *x[1:]), moves=True, bound=_max_pool_bound,
        least=least_of_data, maker=_make_max_pool, takes=(DType.f32, DType.b1, DType.u8, DType.i16),
        gives_bytes=True,
        by_rows=True,
    ),
    Op(
        "avg_pool", 4, PoolAttrs, avg_pool_type, lambda x, a: avg_pool(x, a), bound=_pooled_bound, scales=True,
        least=least_of_data, maker=_make_pool("avg_pool"), sums=True, takes=(DType.f32, DType.u8, DType.i16),
        gives_bytes=True, by_rows=True,
    ),
    Op(
        "resize_bilinear", 36, ResizeAttrs, resize_bilinear_type, lambda x, a: resize_bilinear(x, a),
        bound=_resize_bound, scales=True, least=least_of_data, maker=_make_resize,
    ),
    Op(
        "sum_pool", 37, PoolAttrs, sum_pool_type, lambda x, a: sum_pool(x, a), bound=_pooled_bound, scales=True,
        least=not_negative_like_it, maker=_make_pool("sum_pool"), sums=True, by_rows=True,
    ),
)  # fmt: skip
