# SPDX-License-Identifier: Apache-2.0
"""Batch norm before a quantizer of floats becomes one comparison a channel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .._types import Array
from ..ir.graph import DType, Graph, Node
from ..ir.interpret import evaluate
from ..ir.ops import constant, make
from ..ir.rewrite import Match, Pattern, Rule, remade, rewrite
from .one_pixel import wasted_words
from .sink_sign import is_channel_operation
from .steps import LARGEST, floats, order


def threshold_floats(graph: Graph) -> Graph:
    """binarize(f(x)) -> binarize(x, threshold, flip), f a chain of per-channel affine operations and clamps.

    Precondition: what could join a convolution has done so.  Postcondition: such chains with one user are gone, and x
    is read once instead of once an operation; floats are reshaped before they become bits, where bits would move inside
    words.

    Each operation of f rounds a monotone function, so f is monotone in every channel and its bit changes at most once:
    the threshold is found by bisection over the finite floats in their order, evaluating f operation by operation.
    """
    return rewrite(graph, RULES)


def _fuse(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    chain: list[Node] = [node]
    x = node.inputs[0]
    while is_channel_operation(x) and uses.get(x, 1) == 1:
        chain.append(x)
        x = x.inputs[0]
    if len(chain) == 1:
        return None
    result = float_thresholds(chain, node.type.shape[-1])
    if result is None:
        return None
    threshold, flip = result
    return remade(node, "binarize", x, constant(threshold), constant(np.where(flip, 1, -1), DType.b1))


def _binarize_one_pixel(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    """reshape(binarize(x)) -> binarize(reshape(x)) where bits would move inside words, which floats never do."""
    bits = found["bits"]
    if len(bits.inputs) > 1 or uses.get(bits, 1) > 1 or not wasted_words(bits.type.shape):
        return None
    return remade(node, "binarize", make("reshape", bits.inputs[0], attrs=node.attrs, name=node.name))


def float_thresholds(chain: list[Node], channels: int) -> tuple[Array, Array] | None:
    """For a binarize and what stands before it (last operation first): per channel the smallest float at which the bit
    has its final value, and whether that value is -1.  None where a finite input gives not-a-number.

    Where gamma is 0 the bit is the same for every finite input, and infinite ones give not-a-number: such a channel has
    no threshold but not-a-number, of which the runtime knows this, and the bit itself as its flip.
    """
    ends = [_value(chain, np.full(channels, end, np.float32)) for end in (-np.inf, np.inf)]
    low = np.full(channels, order(-LARGEST))
    high = np.full(channels, order(LARGEST))
    first, last = _bits(chain, floats(low)), _bits(chain, floats(high))
    if first is None or last is None:
        return None
    infinite = np.isnan(ends[0])
    if (infinite != np.isnan(ends[1])).any():
        return None
    while True:  # the bit is `first` at low and `last` at high
        middle = (low + high) // 2
        if np.array_equal(middle, low):
            break
        bits = _bits(chain, floats(middle))
        assert bits is not None  # what overflows does so at an end first
        at_end = bits == last
        high = np.where(at_end, middle, high)
        low = np.where(at_end, low, middle)
    threshold = np.where(first == last, np.float32(-np.inf), floats(high))
    threshold = np.where(infinite, np.float32(np.nan), threshold)
    return threshold.astype(np.float32), np.where(infinite, last, ~last)


def _value(chain: list[Node], x: Array) -> Array:
    """What is binarized, for a value of each channel."""
    value = x[None]
    for node in reversed(chain[1:]):
        value = evaluate(node, [value, *(i.value for i in node.inputs[1:])])
    return np.asarray(value[0])


def _bits(chain: list[Node], x: Array) -> Array | None:
    value = _value(chain, x)
    if np.isnan(value).any():
        return None
    binarize = chain[0]
    return np.asarray(evaluate(binarize, [value[None], *(i.value for i in binarize.inputs[1:])])[0] > 0)


RULES = (
    Rule(Pattern(("binarize",)), _fuse),
    Rule(Pattern(("reshape",), (Pattern(("binarize",), capture="bits"),)), _binarize_one_pixel),
)
