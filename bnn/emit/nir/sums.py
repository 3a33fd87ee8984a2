# SPDX-License-Identifier: Apache-2.0
"""Weights and thresholds of integer sums: helpers of network.py."""

from __future__ import annotations

import numpy as np

from ..._types import Array
from ...ir.graph import Node
from ...ir.monotone import function, integer_thresholds
from ...ir.ops.bits import binarize
from ...ir.ops.conv import conv_attrs, epilogue


def ungroup(weight: Array, groups: int) -> Array:
    """(O, kh, kw, I / groups) -> (O, kh, kw, I), zero between groups."""
    out, kh, kw, inner = weight.shape
    dense = np.zeros((out, kh, kw, inner * groups), np.int64)
    per_group = out // groups
    for g in range(groups):
        rows = slice(g * per_group, (g + 1) * per_group)
        dense[rows, :, :, g * inner : (g + 1) * inner] = weight[rows]
    return dense


def dilate(weight: Array, dilation: tuple[int, int]) -> Array:
    """The same taps as a kernel of dilation 1."""
    out, kh, kw, inner = weight.shape
    dh, dw = dilation
    dense = np.zeros((out, (kh - 1) * dh + 1, (kw - 1) * dw + 1, inner), np.int64)
    dense[:, ::dh, ::dw] = weight
    return dense


def steps(start: Node, end: Node, reach: Array) -> tuple[Array, Array] | None:
    """Per channel (threshold, whether the bit falls as the sum grows; the threshold is then that of the negated sum) of
    the bits that ``start``'s own epilogue and what follows up to ``end`` make of an integer sum; None where a bit
    changes twice."""
    follow = function(end, start)
    own = start.op == "bconv2d" and "residual" not in conv_attrs(start).slots

    def bits(sums: Array, part: slice) -> Array:
        if own:
            sums = epilogue(sums, start.attrs, tuple(i.value[part] for i in start.inputs[2:]))
        value = follow(sums, part)
        return (binarize(value) if value.dtype == np.float32 else value) > 0

    return integer_thresholds(bits, len(reach), int(reach.max()), monotone=False)
