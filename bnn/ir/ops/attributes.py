# SPDX-License-Identifier: Apache-2.0
"""The attributes of the ops: frozen, with every default declared.  How they stand in the file is in fields.py."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..graph import Attrs, DType, Value

INF = float("inf")

# A convolution's fused work around its accumulator, in this fixed order; each slot is one float32 operation, and those
# that name an operand take one more input, in this order.  The bit of a slot in the file is its position here.
SLOTS: dict[str, bool] = {
    "zeros": True,  # before it, of bytes (iconv2d, always): operand[channel of the data] stands for zero
    "pre_mul": True,  # v * operand[c]      weight scale
    "pre_add": True,  # v + operand[c]      bias
    "clamp0": False,  # min(max(v, lo), hi) activation before batch norm
    "sub": True,  # v - operand[c]          batch norm, in TensorFlow's own order of operations:
    "mul": True,  # v * operand[c]          (x - mean) * (rsqrt(variance + eps) * gamma) + beta
    "add": True,  # v + operand[c]
    "residual": True,  # v + operand[h, w, c]
    "clamp1": False,  # activation after it
    "threshold": True,  # bit = accumulator >= operand[c]; alone, or not at all
    "negated": True,  # beside a threshold: the filters (+1) whose weights the compiler negated; only for reports
}


@dataclass(frozen=True)
class NoAttrs(Attrs):
    pass


@dataclass(frozen=True)
class InputAttrs(Attrs):
    label: str = "input"
    shape: tuple[int, ...] = ()
    dtype: DType = DType.f32


@dataclass(frozen=True)
class ConstantAttrs(Attrs):
    value: Value = field(default_factory=lambda: Value(np.zeros(1, np.float32)))
    dtype: DType = DType.f32


@dataclass(frozen=True)
class ConvAttrs(Attrs):
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    pad_value: int = 0  # of bits
    groups: int = 1
    slots: tuple[str, ...] = ()
    layer_slots: tuple[str, ...] = ()  # those that belong to the source layer itself (its bias)
    clamp0: tuple[float, float] = (-INF, INF)
    clamp1: tuple[float, float] = (-INF, INF)
    out: DType = DType.f32  # b1: the bits v >= 0, or the threshold's
    planes: int = 1  # of the data's bits: accumulators are sums of 2**p times those of plane p

    def operand(self, slot: str) -> int:
        """The number of the input that is the operand of one of ``slots``."""
        return 2 + sum(SLOTS[s] for s in self.slots[: self.slots.index(slot)])


@dataclass(frozen=True)
class PoolAttrs(Attrs):
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True)
class ResizeAttrs(Attrs):
    size: tuple[int, int] = (1, 1)
    align_corners: int = 0  # 1: the corners' pixels keep their values
    half_pixels: int = 0  # 1: a pixel's place is its middle


@dataclass(frozen=True)
class PadAttrs(Attrs):
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    value: float = 0.0


@dataclass(frozen=True)
class ClampAttrs(Attrs):
    lo: float = 0.0
    hi: float = INF


@dataclass(frozen=True)
class RoundAttrs(Attrs):
    direction: int = 0  # 0: to the nearest whole number, of two the even one; -1: down; 1: up


@dataclass(frozen=True)
class PowAttrs(Attrs):
    exponent: float = 1.0


@dataclass(frozen=True)
class BatchSizeAttrs(Attrs):
    per_image: int = 1


@dataclass(frozen=True)
class ReshapeAttrs(Attrs):
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class SliceAttrs(Attrs):
    begin: int = 0  # channels begin to end, end not included
    end: int = 1


@dataclass(frozen=True)
class DequantizeAttrs(Attrs):
    channels: int = 0  # 0: values are counts of set planes; else so many channels of numbers in binary


@dataclass(frozen=True)
class PadChannelsAttrs(Attrs):
    before: int = 0
    after: int = 0
    value: float = 0.0
