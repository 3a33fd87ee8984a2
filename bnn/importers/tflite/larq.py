# SPDX-License-Identifier: Apache-2.0
"""Larq Compute Engine's own operators: packed bits, and binary convolutions.

Packed bits are INT32: channel c is bit c % 32 of word c / 32; a set bit is -1, a clear one +1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..._types import Array
from ..common.limits import MOST_BYTES
from .step import Step, Window

_WORD = 32


def words(channels: int) -> int:
    return -(-channels // _WORD)


def unpacked(packed: Array, channels: int) -> Array:
    """Packed bits (..., words) as float32 +1 and -1 (..., channels)."""
    octets = np.ascontiguousarray(packed, "<i4").view(np.uint8)
    bits = np.unpackbits(octets, axis=-1, count=channels, bitorder="little")
    return np.where(bits, np.float32(-1), np.float32(1))


@dataclass(frozen=True)
class BinaryConvolution:
    """LceBconv2d.  With s, the sum of ``reach`` products of +1 and -1, it gives

        clamp(s) * multiplier + bias,   computed as   (clamp(s) - reach) * multiplier + (bias + reach * multiplier)

    where the difference is exact, the sum in parentheses is rounded once from float64, and the product and the outer
    sum are float32 operations.  (Larq counts the n products of -1, and computes 2 n * -multiplier + that sum.)  Or it
    gives bits: +1 where s is at least a threshold, which Larq stores as the largest n.
    """

    filters: Array  # (O, kh, kw, I / groups), float32
    groups: int
    window: Window
    pad_value: int  # 0: taps outside the image do not count
    clamp: tuple[float, float]
    reach: int
    result: (
        Array | tuple[Array, Array]
    )  # the least s of every filter whose bit is +1; or multiplier, sum in parentheses


def binary_convolution(s: Step) -> BinaryConvolution:
    channels, packed = s.option("channels_in"), s.constant(1, rank=4)
    count, kh, kw, width = packed.shape
    groups = words(channels) // width if 0 < width <= words(channels) else 0
    inside = channels // groups if groups else 0
    whole = groups == 1 or groups and channels == groups * inside and inside % _WORD == 0 and count % groups == 0
    if not whole or words(inside) != width or s.input(0).shape[-1:] != (words(channels),):
        raise s.unsupported(
            f"filters of shape {packed.shape} do not fit {channels} channels in {s.input(0).shape[-1:]} words"
        )
    if packed.size * _WORD * 4 > MOST_BYTES:
        raise s.unsupported(f"{packed.size * _WORD:,} weights, which are more than are read")
    reach, window = kh * kw * inside, s.window((kh, kw))
    pad_value = s.option("pad_values")
    if pad_value not in (0, 1):
        raise s.unsupported(f"padding with {pad_value}; expected 0 or 1")
    clamp, bits = s.clamp(), s.output().dtype == "INT32"
    if any(window.pads) and pad_value == 0:
        _check_zeros(s, window, bits or clamp != (-np.inf, np.inf))
    filters = unpacked(packed, inside)
    if bits:
        threshold = np.clip(s.per_filter(4, count).astype(np.int64), -1, reach)
        return BinaryConvolution(filters, groups, window, pad_value, clamp, reach, reach - 2 * threshold)
    multiplier, bias = s.per_filter(2, count), s.per_filter(3, count)
    with np.errstate(all="ignore"):
        offset = (bias.astype(np.float64) + reach * multiplier.astype(np.float64)).astype(np.float32)
    return BinaryConvolution(filters, groups, window, pad_value, clamp, reach, (multiplier, offset))


def _check_zeros(s: Step, window: Window, more: bool) -> None:
    """Larq pads with ones and corrects the float sums, so it refuses activations and thresholds, and corrects nothing
    in an image that is smaller than the filter."""
    if more:
        raise s.unsupported("zero padding with a fused activation or packed output, which Larq Compute Engine refuses")
    for size, taps, dilation in zip(s.input(0).shape[1:3], window.kernel, window.dilation, strict=True):
        if size < (taps - 1) * dilation + 1:
            raise s.unsupported(
                f"zero padding of an image smaller than the filter, {s.input(0).shape[1:3]}: Larq Compute Engine pads "
                "it with ones instead",
                "train the model with pad_values=1",
            )
