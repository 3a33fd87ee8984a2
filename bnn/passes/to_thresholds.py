# SPDX-License-Identifier: Apache-2.0
"""Quantizers join the convolution before them: as exact integer thresholds where it is binary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from .._types import Array
from ..ir.graph import DType, Graph, Node
from ..ir.ops import CONVOLUTIONS, ConvAttrs, constant, make
from ..ir.ops.bits import binarize
from ..ir.ops.conv import epilogue
from ..ir.rewrite import Match, Pattern, Rule, rewrite

_CHUNK = 64  # channels evaluated at once, to bound the memory
_MOST_EVALUATED = 2**15  # the largest accumulator of which all below are evaluated


def to_thresholds(graph: Graph) -> Graph:
    """binarize(bconv2d(...)) -> bconv2d whose bits are accumulator >= threshold[o], and so iconv2d; other convolutions
    give v >= 0.

    Precondition: epilogues are fused.  Postcondition: no binarize follows a convolution that has no other user.

    The threshold of a filter is found by evaluating its epilogue, float32 operation by operation, at every integer an
    accumulator can reach (-K to K; of bytes 255 times as far), and is right only if the bit changes once: that is
    checked, not assumed (but for K > 2^15, where it is found by bisection).  Where it falls (a negative gamma) the
    filter's weights are negated, so that the accumulator changes sign and the comparison is the same everywhere:
    acc <= t is -acc >= -t; the slot "negated" remembers which.  A filter whose bit never changes (gamma 0) gets a
    threshold out of reach.
    """
    return rewrite(graph, [Rule(Pattern(("binarize",)), _fuse)])


def _fuse(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    conv = node.inputs[0]
    if conv.op not in CONVOLUTIONS or uses.get(conv, 1) != 1:
        return None
    attrs = conv.attrs
    assert isinstance(attrs, ConvAttrs)
    names = {"name": conv.name, "tap": node.tap or node.name, "origin": node.origin, "note": conv.note}
    if conv.op != "conv2d" and "residual" not in attrs.slots:
        found_thresholds = thresholds(conv, node)
        if found_thresholds is not None:
            limit, falling = found_thresholds
            w = conv.inputs[1]
            zeros = int("zeros" in attrs.slots)
            slots: tuple[str, ...] = (*attrs.slots[:zeros], "threshold")
            operands = [*conv.inputs[2 : 2 + zeros], constant(limit, DType.i32)]
            if falling.any():
                slots += ("negated",)
                operands.append(constant(np.where(falling, 1, -1), DType.b1))
                signs = np.where(falling[:, None, None, None], -w.value, w.value)
                w = constant(signs, DType.b1, w.name)
            new = replace(
                attrs, slots=slots, layer_slots=slots[:zeros], clamp0=ConvAttrs.clamp0, clamp1=ConvAttrs.clamp1
            )
            new = replace(new, out=DType.b1)
            return make(conv.op, conv.inputs[0], w, *operands, attrs=new, **names)
    if len(node.inputs) > 1:  # a threshold of its own on floats stays where it is
        return None
    return make(conv.op, *conv.inputs, attrs=replace(attrs, out=DType.b1), **names)


def reach(conv: Node) -> int | None:
    """The largest magnitude of an accumulator; None where it is not always a whole number."""
    attrs = conv.attrs
    assert isinstance(attrs, ConvAttrs)
    _, height, width, channels = conv.inputs[1].type.shape
    if conv.op != "iconv2d":
        return height * width * channels * ((1 << attrs.planes) - 1)
    zeros = conv.inputs[2].value
    if (zeros != np.rint(zeros)).any():
        return None
    return int(height * width * np.maximum(np.abs(zeros), np.abs(255 - zeros)).sum())


def thresholds(conv: Node, quantizer: Node) -> tuple[Array, Array] | None:
    """Per filter: the threshold (int32), and whether the bit falls with the accumulator, the threshold then being
    that of the negated filter.  None where some filter's bit changes more than once."""
    attrs = conv.attrs
    assert isinstance(attrs, ConvAttrs)
    filters, most = conv.inputs[1].type.shape[0], reach(conv)
    if most is None:
        return None
    operands = [i.value for i in conv.inputs[2:]]
    limit = np.empty(filters, np.int32)
    falling = np.zeros(filters, bool)
    for start in range(0, filters, _CHUNK):
        part = slice(start, min(start + _CHUNK, filters))

        def bits(acc: Array, part: slice = part) -> Array | None:
            """Of accumulators (n, filters of the part)."""
            value = epilogue(acc, attrs, tuple(o[part] for o in operands))
            if np.isnan(value).any():
                return None
            return binarize(value, *(i.value[part] for i in quantizer.inputs[1:])) > 0

        find = _evaluate if most <= _MOST_EVALUATED else _bisect
        found = find(bits, most, part.stop - start)
        if found is None:
            return None
        limit[part], falling[part] = found
    return limit, falling


Bits = Callable[[Array], "Array | None"]


def _evaluate(bits_of: Bits, reach: int, filters: int) -> tuple[Array, Array] | None:
    acc = np.arange(-reach, reach + 1, dtype=np.float32)[:, None]
    bits = bits_of(np.broadcast_to(acc, (len(acc), filters)))
    if bits is None:
        return None
    changes = np.diff(bits.astype(np.int8), axis=0)
    if (np.abs(changes).sum(axis=0) > 1).any():
        return None
    down = (changes == -1).any(axis=0)
    # rising: bits from the first +1 on; falling: up to the last +1, acc <= t, that is -acc >= -t
    ones = bits.sum(axis=0)
    return np.where(down, -(ones - 1 - reach), reach + 1 - ones), down


def _bisect(bits_of: Bits, reach: int, filters: int) -> tuple[Array, Array] | None:
    """The same where there are too many accumulators to look at them all: every slot rounds a monotone function, so
    the bit changes once at most, and only what overflows is no number, first at an end."""
    low, high = np.full(filters, -reach), np.full(filters, reach)
    ends = bits_of(np.stack([low, high]).astype(np.float32))
    if ends is None:
        return None
    first, last = ends
    while (high - low > 1).any():  # the bit is `first` at low, and `last` at high
        middle = (low + high) // 2
        bits = bits_of(middle[None].astype(np.float32))
        assert bits is not None
        high, low = np.where(bits[0] == last, middle, high), np.where(bits[0] == last, low, middle)
    changing = np.where(first, 1 - high, high)  # falling: acc < high, that is -acc >= 1 - high
    return np.where(first != last, changing, np.where(last, -reach, reach + 1)), first & ~last
