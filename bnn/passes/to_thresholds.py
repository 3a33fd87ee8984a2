# SPDX-License-Identifier: Apache-2.0
"""Move quantizers into the convolution before them, as exact integer thresholds if it is binary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from .._types import Array
from ..ir.graph import DType, Graph, Node
from ..ir.monotone import integer_thresholds
from ..ir.ops import CONVOLUTIONS, conv_attrs
from ..ir.ops.bits import binarize
from ..ir.ops.conv import epilogue, with_threshold
from ..ir.rewrite import Rewrite, fused, rewrite


def to_thresholds(graph: Graph) -> Graph:
    """binarize(bconv2d(...)) -> bconv2d whose bits are accumulator >= threshold[o], likewise iconv2d; other
    convolutions give v >= 0.

    Precondition: epilogues are fused.  Postcondition: no binarize follows a convolution that has no other user.

    The threshold of a filter is found by evaluating its epilogue, float32 operation by operation, at every integer that
    an accumulator can reach (-K to K; for bytes 255 times as far).  It is right only if the bit changes once; this is
    checked, not assumed (except for K > 2^15, where it is found by bisection).  If the bit falls (a negative gamma),
    the filter's weights are negated, so that the accumulator changes sign and every comparison has the same direction:
    acc <= t is -acc >= -t; the slot "negated" records which.  A filter whose bit never changes (gamma 0) gets an
    unreachable threshold.
    """
    return rewrite(graph, [Rewrite(_fuse, ("binarize",))])


def _fuse(node: Node, uses: Mapping[Node, int]) -> Node | None:
    conv = node.inputs[0]
    if conv.op not in CONVOLUTIONS or uses.get(conv, 1) != 1:
        return None
    attrs = conv_attrs(conv)
    if conv.op not in ("conv2d", "qconv2d") and "residual" not in attrs.slots:
        step = thresholds(conv, node)
        if step is not None:
            x, filters = conv.inputs[:2]
            return with_threshold(conv, x, filters, *step, tap=node.tap or node.name, origin=node.origin)
    if len(node.inputs) > 1:  # a separate threshold on floats stays in place
        return None
    return fused(conv, node, conv.op, *conv.inputs, attrs=replace(attrs, out=DType.b1))


def reach(conv: Node) -> int | None:
    """The largest magnitude of an accumulator; None if it is not always an integer."""
    attrs = conv_attrs(conv)
    _, height, width, channels = conv.inputs[1].type.shape
    if conv.op != "iconv2d":
        return height * width * channels * ((1 << attrs.planes) - 1)
    zeros = conv.inputs[2].value
    if (zeros != np.rint(zeros)).any():
        return None
    return int(height * width * np.maximum(np.abs(zeros), np.abs(255 - zeros)).sum())


def thresholds(conv: Node, quantizer: Node) -> tuple[Array, Array] | None:
    """(The threshold, whether the bit falls with the accumulator), per filter; if it falls, the threshold is that of
    the negated filter.  None if some filter's bit changes more than once.

    Every slot rounds a monotone function, so between the ends a bit changes at most once.
    """
    attrs, most = conv_attrs(conv), reach(conv)
    if most is None:
        return None
    operands = [i.value for i in conv.inputs[2:]]

    def bits(sums: Array, part: slice) -> Array | None:
        value = epilogue(sums, attrs, tuple(o[part] for o in operands))
        if np.isnan(value).any():
            return None
        return binarize(value, *(i.value[part] for i in quantizer.inputs[1:])) > 0

    return integer_thresholds(bits, conv.type.shape[-1], most, monotone=True)
