# SPDX-License-Identifier: Apache-2.0
"""Weights and thresholds of integer sums: helpers of nir_network.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..._types import Array
from ...ir.graph import Node
from ...ir.monotone import function, integer_thresholds
from ...ir.ops.bits import binarize
from ...ir.ops.conv import epilogue
from ...ir.rewrite import is_elementwise

_SHORTCUT = "a real-valued shortcut is added to scaled sums"


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


def fits_channels(node: Node) -> bool:
    """Whether an elementwise op's constants are one number, or one a channel."""
    return all(i.value.size in (1, node.type.shape[-1]) for i in node.inputs if i.is_constant)


def steps(start: Node, end: Node, reach: Array) -> tuple[Array, Array] | None:
    """Per channel (threshold, whether the bit falls as the sum grows; the threshold is then that of the negated sum) of
    the bits that ``start``'s own epilogue and what follows up to ``end`` make of an integer sum; None where a bit
    changes twice."""
    follow = function(end, start)
    own = start.op == "bconv2d" and "residual" not in start.attrs.slots  # type: ignore[attr-defined]

    def bits(sums: Array, part: slice) -> Array:
        if own:
            sums = epilogue(sums, start.attrs, tuple(i.value[part] for i in start.inputs[2:]))
        value = follow(sums, part)
        return (binarize(value) if value.dtype == np.float32 else value) > 0

    return integer_thresholds(bits, len(reach), int(reach.max()), monotone=False)


def why_real(x: Node) -> str:
    """Why a value between two layers of bits is no sum of whole numbers."""
    slots = getattr(x.attrs, "slots", ())
    data = [i for i in x.inputs if not i.is_constant]
    if x.op == "conv2d":
        return f"it is a float layer ({x.note})" if x.note else "it is a float layer"
    if "residual" in slots:
        return _SHORTCUT
    if x.op == "dequantize":
        return "an activation of several levels is added, averaged or scaled as a number"
    if x.op == "concat":
        others = (why_real(i) for i in data if i.op != "bconv2d")
        return next(others, "sums are concatenated as real numbers, which something else reads too")
    if is_elementwise(x) and (len(data) > 1 or not fits_channels(x)):
        body, ends = _operations(x)
        if len(ends) == 1:
            return _why_no_step(body, ends[0])
        return "two real values are multiplied (a gate)" if x.op == "mul" else _SHORTCUT
    return f"'{x.op}' gives real numbers"


def _operations(x: Node) -> tuple[list[Node], list[Node]]:
    """(the operations on single elements that make a value, what they make it of)"""
    body: dict[Node, None] = {}
    ends: dict[Node, None] = {}
    stack = [x]
    while stack:
        node = stack.pop()
        if not is_elementwise(node) and node.op != "affine":
            ends[node] = None
        elif node not in body:
            body[node] = None
            stack += [i for i in node.inputs if not i.is_constant]
    return list(body), list(ends)


def _why_no_step(body: Sequence[Node], of: Node) -> str:
    """Why a function of one value, as PReLU is written, is not a threshold on it."""
    if not all(fits_channels(node) for node in body):
        return (
            "an activation has a constant for every pixel, and neurons have one for a channel (a PReLU shares its "
            "slopes by shared_axes=[1, 2])"
        )
    if of.op == "bconv2d" and "residual" not in of.attrs.slots:  # type: ignore[attr-defined]
        return "an activation falls as well as rises (a PReLU with slopes below 0)"
    return why_real(of)
