"""Batch norm before a quantizer of floats becomes one comparison a channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..interpret import evaluate
from ..ir import DType, Graph, Node
from ..ops import constant, make
from ..rewrite import Match, Pattern, Rule, rewrite
from .sink_sign import is_channel_operation

Array = np.ndarray[Any, Any]
_LARGEST = np.finfo(np.float32).max


def threshold_floats(graph: Graph) -> Graph:
    """binarize(f(x)) -> binarize(x, threshold, flip), f a chain of per-channel affine operations and clamps.

    Precondition: what could join a convolution has done so.  Postcondition: such chains with one user are gone, and x
    is read once instead of once an operation.

    Each operation of f rounds a monotone function, so f is monotone in every channel and its bit changes at most once:
    the threshold is found by bisection over the finite floats in their order, evaluating f operation by operation.
    """
    return rewrite(graph, [Rule(Pattern(("binarize",)), _fuse)])


def _fuse(node: Node, found: Match, uses: Mapping[Node, int]) -> Node | None:
    if len(node.inputs) != 1:
        return None
    chain: list[Node] = []
    x = node.inputs[0]
    while is_channel_operation(x) and uses.get(x, 1) == 1:
        chain.append(x)
        x = x.inputs[0]
    if not chain:
        return None
    result = float_thresholds(chain, node.type.shape[-1])
    if result is None:
        return None
    threshold, flip = result
    operands = (constant(threshold), constant(np.where(flip, 1, -1), DType.b1))
    return make("binarize", x, *operands, name=node.name, origin=node.origin, tap=node.tap)


def float_thresholds(chain: list[Node], channels: int) -> tuple[Array, Array] | None:
    """Per channel the smallest float at which the chain's bit (its result first in ``chain``) has its final value, and
    whether that value is -1.  None where a finite input gives not-a-number."""
    low = np.full(channels, _order(-_LARGEST), np.int64)
    high = np.full(channels, _order(_LARGEST), np.int64)
    first, last = _bits(chain, _floats(low)), _bits(chain, _floats(high))
    if first is None or last is None:
        return None
    constant_bit = first == last
    while True:  # the bit is `first` at low and `last` at high
        middle = (low + high) // 2
        if np.array_equal(middle, low):
            break
        bits = _bits(chain, _floats(middle))
        if bits is None:
            return None
        at_end = bits == last
        high = np.where(at_end, middle, high)
        low = np.where(at_end, low, middle)
    threshold = np.where(constant_bit, np.float32(-np.inf), _floats(high))
    return threshold.astype(np.float32), ~last


def _order(value: Any) -> Any:
    """Floats as integers in the same order."""
    bits = np.asarray(value, np.float32).view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF) - 1, bits)


def _floats(order: Array) -> Array:
    bits = np.where(order < 0, (-order - 1) | 0x80000000, order)
    return bits.astype(np.uint32).view(np.float32)


def _bits(chain: list[Node], x: Array) -> Array | None:
    value = x[None]
    for node in reversed(chain):
        value = evaluate(node, [value, *(i.value for i in node.inputs[1:])])
    if np.isnan(value).any():
        return None
    return np.asarray(value[0] > -np.finfo(np.float32).tiny)
