# SPDX-License-Identifier: Apache-2.0
"""What every op means, in NumPy.  This is the oracle: slow, plain, and the final word.

Activations carry the batch first, (N, H, W, C) or (N, C); constants do not.  f32 is float32, b1 is int8 of +1 and -1,
i32 is int32, u8 is uint8.  Sums of binary products are integers below 2**24, so float32 matrix products of them are
exact.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

Array = np.ndarray[Any, Any]

# TensorFlow runs with denormals flushed to zero, so to its comparisons a negative denormal is zero: the step lies just
# above the negative normal float that is nearest to zero.
SMALLEST_NORMAL = np.finfo(np.float32).tiny
LOWEST = np.finfo(np.float32).min


def pad_spatial(x: Array, pads: tuple[int, int, int, int], value: float) -> Array:
    """Pad H and W of (N, H, W, C) by (top, left, bottom, right)."""
    top, left, bottom, right = pads
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def pad_channels(x: Array, a: Any) -> Array:
    """Add channels of one value before and after those of (N, ..., C)."""
    return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(a.before, a.after)], constant_values=a.value)


def conv_accumulate(x: Array, w: Array, a: Any) -> Array:
    """Convolution (cross-correlation) of (N, H, W, C) or (N, C) by OHWI filters, float32 sums.

    The order of the float sums is not part of the meaning; integer-valued sums are exact in any order.
    """
    if a.planes > 1:
        x = level_sums(x, a.planes, w.shape[3] * a.groups)
    flat = x.ndim == 2
    if flat:
        x = x[:, None, None, :]
    x = pad_spatial(x.astype(np.float32), a.pads, float(a.pad_value * (2**a.planes - 1)))
    w = w.astype(np.float32)
    out_c, kh, kw, in_g = w.shape
    sh, sw = a.stride
    dh, dw = a.dilation
    oh = (x.shape[1] - (kh - 1) * dh - 1) // sh + 1
    ow = (x.shape[2] - (kw - 1) * dw - 1) // sw + 1
    y = np.zeros((x.shape[0], oh, ow, out_c), np.float32)
    per_group = out_c // a.groups
    with np.errstate(invalid="ignore", over="ignore"):
        for ky in range(kh):
            for kx in range(kw):
                tap = x[:, ky * dh : ky * dh + (oh - 1) * sh + 1 : sh, kx * dw : kx * dw + (ow - 1) * sw + 1 : sw]
                if in_g == 1:  # depthwise
                    y += np.repeat(tap, per_group, axis=3) * w[:, ky, kx, 0]
                    continue
                for g in range(a.groups):
                    rows = slice(g * per_group, (g + 1) * per_group)
                    y[..., rows] += tap[..., g * in_g : (g + 1) * in_g] @ w[rows, ky, kx].T
    return y[:, 0, 0, :] if flat else y


def byte_accumulate(x: Array, w: Array, zeros: Array, a: Any) -> Array:
    """The same for uint8 x: of x - zeros (C), which is zero outside the image.

    The filters (O, kh, kw, n C) are n planes of signs, of which a weight is the mean.
    """
    weights = w.reshape(*w.shape[:3], -1, x.shape[-1]).mean(axis=3, dtype=np.float32)
    return conv_accumulate(x.astype(np.float32) - zeros, weights, a)


def epilogue(acc: Array, a: Any, operands: tuple[Array, ...]) -> Array:
    """Apply a convolution's fused slots in their fixed order, each one float32 operation (no fused multiply-add)."""
    v = acc.astype(np.float32)
    rest = list(operands)
    with np.errstate(invalid="ignore", over="ignore"):
        for slot in a.slots:
            if slot == "zeros":  # the accumulator's
                rest.pop(0)
            elif slot == "clamp0":
                v = clamp(v, *a.clamp0)
            elif slot == "clamp1":
                v = clamp(v, *a.clamp1)
            elif slot == "threshold":
                return np.where(v >= rest.pop(0), np.int8(1), np.int8(-1))
            elif slot in ("pre_mul", "mul"):
                v = v * rest.pop(0)
            elif slot == "sub":
                v = v - rest.pop(0)
            else:  # pre_add, add, residual
                v = v + rest.pop(0)
    return v


def binarize(x: Array, threshold: Array | None = None, flip: Array | None = None) -> Array:
    """The step: +1 where x >= 0 (so sign(0) = sign(-0) = +1), else -1; negative denormals count as zero.

    With a threshold and a flip per channel: +1 where x >= threshold[c], the other way round where flip[c] is +1.
    Not a number is reported by the runtime.
    """
    if threshold is None or flip is None:
        return np.where(x > -SMALLEST_NORMAL, np.int8(1), np.int8(-1))
    return np.where((x >= threshold) != (flip > 0), np.int8(1), np.int8(-1))


def clamp(x: Array, lo: float, hi: float) -> Array:
    """min(max(x, lo), hi) in float32; not-a-number stays."""
    return np.minimum(np.maximum(x, np.float32(lo)), np.float32(hi))


def windows(x: Array, a: Any, fill: float) -> Array:
    """All pooling windows of (N, H, W, C) as (N, OH, OW, C, kh, kw), padding filled with ``fill``."""
    x = pad_spatial(x, a.pads, fill)
    view = sliding_window_view(x, a.kernel, axis=(1, 2))  # type: ignore[call-overload]
    return np.asarray(view[:, :: a.stride[0], :: a.stride[1]])


def max_pool(x: Array, a: Any, mask: Array | None = None) -> Array:
    """Maximum over the taps inside the image; as TensorFlow's, it starts from the lowest finite float and skips
    not-a-number.

    Bits: +1 if any tap is +1 (OR); channels whose mask is +1 take the minimum instead (AND): they carry the
    complement of a decreasing threshold.
    """
    if x.dtype == np.float32:
        return np.asarray(np.fmax.reduce(windows(x, a, float(LOWEST)), axis=(4, 5), initial=LOWEST))
    high = windows(x, a, -1).max(axis=(4, 5))
    if mask is None:
        return np.asarray(high)
    return np.where(mask > 0, windows(x, a, 1).min(axis=(4, 5)), high)


def sum_pool(x: Array, a: Any) -> Array:
    """Sum of the taps inside the image."""
    return np.asarray(windows(x, a, 0.0).sum(axis=(4, 5), dtype=np.float32))


def avg_pool(x: Array, a: Any) -> Array:
    """Mean over the taps inside the image (TensorFlow's SAME does not count padding)."""
    return np.asarray(sum_pool(x, a) / sum_pool(np.ones_like(x[:1, :, :, :1]), a))


def _places(size: int, out: int, a: Any) -> tuple[Array, Array, Array]:
    """For every position along an axis of a resized image: the pixel before it, the one after it, how far it is."""
    aligned = a.align_corners and out > 1
    scale = np.float32(size - 1) / np.float32(out - 1) if aligned else np.float32(size) / np.float32(out)
    half = np.float32(0.5 * a.half_pixels)
    place = (np.arange(out, dtype=np.float32) + half) * scale - half
    low = np.floor(place)
    return np.maximum(low, 0).astype(int), np.minimum(np.ceil(place), size - 1).astype(int), place - low


def resize_bilinear(x: Array, a: Any) -> Array:
    """Between the four nearest pixels of (N, H, W, C): along the rows, then between rows; each step one float32
    operation, as in TensorFlow's ResizeBilinear."""
    top, bottom, down = _places(x.shape[1], a.size[0], a)
    left, right, along = _places(x.shape[2], a.size[1], a)
    rows = x[:, :, left] + (x[:, :, right] - x[:, :, left]) * along[:, None]
    return np.asarray(rows[:, top] + (rows[:, bottom] - rows[:, top]) * down[:, None, None])


def batch_sum(x: Array) -> Array:
    """The sum of (N, ..., C) over all but the channels, the batch included, for every image: (N, C).

    Summed in float64, image by image and row by row, and rounded once.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.cumsum(x.reshape(-1, x.shape[-1]), axis=0, dtype=np.float64)[-1].astype(np.float32)
    return np.repeat(total[None], len(x), axis=0)


def batch_size(x: Array, per_image: int) -> Array:
    """The number of images times ``per_image``, for every image: (N, 1)."""
    return np.full((len(x), 1), len(x) * per_image, np.float32)


def softmax(x: Array) -> Array:
    """Over the last axis, shifted by the maximum."""
    with np.errstate(invalid="ignore"):
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return np.asarray(e / e.sum(axis=-1, keepdims=True))


def sign(x: Array) -> Array:
    """TensorFlow's sign: -1, 0 or +1; zeros of either sign, and denormals, give 0."""
    return np.asarray(np.where(np.abs(x) < SMALLEST_NORMAL, np.float32(0), np.sign(x)))


def round(x: Array, direction: int) -> Array:
    """To the nearest whole number, halves to the even one (0); down (-1); up (1).  Denormals count as zero."""
    x = np.where(np.abs(x) < SMALLEST_NORMAL, np.copysign(np.float32(0), x), x)
    return np.asarray(np.rint(x) if direction == 0 else np.floor(x) if direction < 0 else np.ceil(x))


def cast(x: Array, table: Array | None = None) -> Array:
    """Bytes as floats; with a table (256), table[x]."""
    return x.astype(np.float32) if table is None else np.asarray(table[x])


def excess_128(x: Array) -> Array:
    """int8 as the uint8 of its value plus 128 ("excess 128"): its bits with the highest one flipped."""
    return (x.astype(np.int16) + 128).astype(np.uint8)


def plane_channels(channels: int) -> int:
    """Channels of one plane of numbers in binary: planes begin on words of 32."""
    return -(-channels // 32) * 32


def binarize_levels(x: Array, thresholds: Array) -> Array:
    """The number of thresholds that are <= x, in binary: plane p, which begins at channel p * plane_channels(C), holds
    bit p of every channel's number; what is left of a plane is -1.  Thresholds rise; one for all channels each."""
    level = (x[..., None] >= thresholds).sum(axis=-1)
    planes = [np.where(level >> p & 1, np.int8(1), np.int8(-1)) for p in range(len(thresholds).bit_length())]
    fill = [(0, 0)] * (x.ndim - 1) + [(0, -x.shape[-1] % 32)]
    return np.concatenate([np.pad(p, fill, constant_values=-1) for p in planes], axis=-1)


def level_sums(bits: Array, planes: int, channels: int) -> Array:
    """The sum of 2**p times plane p's +1 or -1, as float32: 2 * number - (2**planes - 1)."""
    apart = bits.reshape(*bits.shape[:-1], planes, -1)[..., :channels].astype(np.float32)
    return np.asarray(np.tensordot(2.0 ** np.arange(planes), apart, (0, apart.ndim - 2)), dtype=np.float32)


def dequantize(bits: Array, table: Array, channels: int = 0) -> Array:
    """table[number of set bits] over the planes of every channel: plane p holds channels p * C to (p + 1) * C - 1.

    With ``channels``: table[number in binary], as :func:`binarize_levels` gives it; past the table its last value.
    """
    if channels:
        planes = (len(table) - 1).bit_length()
        level = (level_sums(bits, planes, channels) + (2**planes - 1)).astype(int) // 2
        return np.asarray(table[np.minimum(level, len(table) - 1)])
    planes = len(table) - 1
    count = (bits.reshape(*bits.shape[:-1], planes, -1) > 0).sum(axis=-2)
    return np.asarray(table[count])


def gather(x: Array, index: Array) -> Array:
    """For every element of the output, the element of (N, ...) at its index in row-major order."""
    return np.asarray(x.reshape(len(x), -1)[:, index])


def prelu(x: Array, slope: Array) -> Array:
    """x where x >= 0, else x * slope[c]."""
    return np.asarray(np.where(x < 0, x * slope, x))


def affine(x: Array, sub: Array, mul: Array, add: Array) -> Array:
    """(x - sub[c]) * mul[c] + add[c], each step one float32 operation."""
    return np.asarray((x - sub) * mul + add)


def elu(x: Array) -> Array:
    """exp(x) - 1 where x < 0, else x."""
    return np.asarray(np.where(x < 0, np.exp(np.minimum(x, np.float32(0))) - np.float32(1), x))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    with np.errstate(over="ignore"):
        return np.asarray(np.float32(1) / (np.float32(1) + np.exp(-x)))


def exp(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(x))


def log1p(x: Array) -> Array:
    """log(1 + x), not-a-number below -1."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.log1p(x))


def erf(x: Array) -> Array:
    """The error function."""
    return np.asarray(np.vectorize(math.erf, otypes=[x.dtype])(x))


def erfc(x: Array) -> Array:
    """1 - erf(x), the complementary error function."""
    return np.asarray(np.vectorize(math.erfc, otypes=[x.dtype])(x))


def _flushed(x: Array) -> Array:
    """Denormals as zeros, as TensorFlow takes them."""
    return np.where(np.abs(x) < SMALLEST_NORMAL, x * 0, x)


def sqrt(x: Array) -> Array:
    """The square root; denormals count as zero, here and in the powers below, which take them far from it."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(_flushed(x)))


def rsqrt(x: Array) -> Array:
    """1 / sqrt(x)."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.float32(1) / sqrt(x))


def pow(x: Array, exponent: float) -> Array:
    """x ** exponent."""
    with np.errstate(all="ignore"):
        return np.asarray(_flushed(x) ** np.float32(exponent))
