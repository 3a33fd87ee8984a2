# SPDX-License-Identifier: Apache-2.0
"""Padding: of windows, and as an op of its own."""

from __future__ import annotations

from ..._types import Array
from ...ir.graph import Node
from ...ir.ops import PadAttrs, PadChannelsAttrs, ReshapeAttrs
from .layer import SourceOp


def same_pads(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's SAME: ceil(size / stride) outputs; an odd pixel of padding goes after."""
    out = -(-size // stride)
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def pad(s: SourceOp, x: Node, pads: Array, value: float) -> Node:
    """``pads``: (before, after) for every dimension, the batch included."""
    rank = len(pads)
    if pads[0].any() or rank not in (2, 3, 4):
        raise s.unsupported(f"padding {pads.tolist()}; only height, width and channels can be padded")
    before, after = (int(p) for p in pads[-1])
    channels = PadChannelsAttrs(before, after, value)
    (top, bottom), (left, right) = [[0, 0], [0, 0], *pads[1:-1].tolist()][-2:]
    if not (top or bottom or left or right):
        return s.make("pad_channels", x, attrs=channels)
    final = rank == 4 and not (before or after)
    x = s.make("pad", as_image(s, x), attrs=PadAttrs((top, left, bottom, right), value), final=final)
    if rank == 3:
        x = s.make("reshape", x, attrs=ReshapeAttrs(x.type.shape[1:]), final=not (before or after))
    return s.make("pad_channels", x, attrs=channels) if before or after else x


def as_image(s: SourceOp, x: Node) -> Node:
    """(W, C) as an image of one row."""
    one_row = ReshapeAttrs((1, *x.type.shape))
    return s.make("reshape", x, attrs=one_row, final=False) if len(x.type.shape) == 2 else x
