# SPDX-License-Identifier: Apache-2.0
"""Turn batch norm before a quantizer of floats into one comparison per channel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .._types import Array
from ..ir.graph import DType, Graph, Node
from ..ir.monotone import LARGEST, first_change, floats, function, order
from ..ir.ops import constant, make
from ..ir.rewrite import Rewrite, remade, rewrite
from .one_pixel import wasted_words
from .sink_sign import channel_operations


def threshold_floats(graph: Graph) -> Graph:
    """binarize(f(x)) -> binarize(x, threshold, flip), f a chain of per-channel affine operations and clamps.

    Precondition: ops that could join a convolution did.  Postcondition: such chains with one user are gone, and x
    is read once, not once per operation; floats are reshaped before they become bits, where bits would move inside
    words.

    Each operation of f rounds a monotone function, so f is monotone in every channel and its bit changes at most once:
    the threshold is found by bisection over the finite floats in their order, evaluating f operation by operation.
    """
    return rewrite(graph, RULES)


def _fuse(node: Node, uses: Mapping[Node, int]) -> Node | None:
    chain, x = channel_operations(node.inputs[0], uses)
    result = float_thresholds(node, x) if chain else None
    if result is None:
        return None
    threshold, flip = result
    return remade(node, "binarize", x, constant(threshold), constant(np.where(flip, 1, -1), DType.b1))


def _binarize_one_pixel(node: Node, uses: Mapping[Node, int]) -> Node | None:
    """reshape(binarize(x)) -> binarize(reshape(x)) where bits would move inside words, which floats never do."""
    bits = node.inputs[0]
    if len(bits.inputs) > 1 or uses.get(bits, 1) > 1 or not wasted_words(bits.type.shape):
        return None
    return remade(node, "binarize", make("reshape", bits.inputs[0], attrs=node.attrs, name=node.name))


def float_thresholds(quantizer: Node, x: Node) -> tuple[Array, Array] | None:
    """For a binarize of a function of x: per channel the smallest float at which the bit has its final value, and
    whether that value is -1.  None if a finite input gives NaN.

    If gamma is 0, the bit is the same for every finite input, and infinite inputs give NaN: such a channel has a NaN
    threshold, which tells the runtime so, and the bit itself as its flip.
    """
    channels = quantizer.type.shape[-1]
    before, after = function(quantizer.inputs[0], x), function(quantizer, x)

    def bits(numbers: Array) -> Array | None:
        of = floats(numbers)
        return None if np.isnan(before(of)).any() else after(of) > 0

    ends = np.full((2, channels), [[-np.inf], [np.inf]], np.float32)
    infinite, other = np.isnan(before(ends))
    low, high = (np.full((1, channels), order(np.float32(end))) for end in (-LARGEST, LARGEST))
    found = first_change(bits, low, high)
    if found is None or (infinite != other).any():
        return None
    first, last, at = (part[0] for part in found)
    threshold = np.where(infinite, np.nan, np.where(first == last, -np.inf, floats(at)))
    return threshold.astype(np.float32), np.where(infinite, last, ~last)


RULES = (
    Rewrite(_fuse, ("binarize",)),
    Rewrite(_binarize_one_pixel, ("reshape",), of=("binarize",)),
)
