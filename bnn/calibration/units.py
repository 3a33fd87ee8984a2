# SPDX-License-Identifier: Apache-2.0
"""What a network of floats consists of, as integers see it: values that are bytes, and what computes each from others.

A clamp joins the sum, the product or the batch norm before it, and functions of one number become one table each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .._types import Array
from ..ir.graph import DType, Graph, Node, topological
from ..ir.ops import CONVOLUTIONS, INF, OPS, ClampAttrs, PadAttrs, PadChannelsAttrs, PoolAttrs, conv_attrs
from ..ir.quantization import Bytes

_CLAMPED = ("conv2d", "bconv2d", "affine", "add", "sub", "mul", "div", "sum_pool")  # which a clamp can join
_SAME_SCALE = ("max_pool", "reshape", "slice", "gather", "copy")
Limits = tuple[float, float]


@dataclass(frozen=True)
class Units:
    """Which values of a graph get bytes of their own.

    ``base``: the value that a node is computed from number by number, so that a table can do it, or the node itself;
    ``joined``: the clamps that are part of the op before them; ``order``: the values that get bytes, operands first.
    """

    base: Mapping[Node, Node]
    joined: frozenset[Node]
    order: tuple[Node, ...]

    def core(self, node: Node) -> Node:
        """The op that computes a value, before its clamp."""
        return node.inputs[0] if node in self.joined else node

    def operands(self, node: Node) -> tuple[Node, ...]:
        """The values from which a value is computed."""
        return (self.base[node],) if self.base[node] is not node else self.core(node).data

    def readers(self) -> dict[Node, list[Node]]:
        """The values that are computed from each."""
        found: dict[Node, list[Node]] = {node: [] for node in self.order}
        for node in self.order:
            for x in self.operands(node):
                found[x].append(node)
        return found

    def limits(self, node: Node) -> Limits:
        """The lowest and the highest number that a value can have, by the clamps in its op and behind it."""
        low, high = -INF, INF
        core = self.core(node)
        found: list[Limits] = []
        if core.op in CONVOLUTIONS:
            attrs = conv_attrs(core)
            found += [getattr(attrs, slot) for slot in attrs.slots if slot in ("clamp0", "clamp1")]
        for clamp in (core, node) if node is not core else (core,):
            if isinstance(clamp.attrs, ClampAttrs):
                found.append((clamp.attrs.lo, clamp.attrs.hi))
        for lo, hi in found:
            low, high = (float(np.clip(v, lo, hi)) for v in (low, high))
        return low, high

    def measured(self) -> list[Node]:
        """The values whose range comes from the images."""
        return [node for node in self.order if node.type.dtype is DType.f32 and not self._scale_is_known(node)]

    def _scale_is_known(self, node: Node) -> bool:
        if node.op in ("pad", "pad_channels"):
            assert isinstance(node.attrs, PadAttrs | PadChannelsAttrs)
            return node.attrs.value == 0
        known = node.op in (*_SAME_SCALE, "softmax", "unpack") or node.op == "cast" and line(node) is not None
        return self.base[node] is node and (known or node.op == "avg_pool" and not is_mean(node))


def units(graph: Graph) -> Units:
    uses, base, joined = graph.use_counts(), dict[Node, Node](), set[Node]()
    for node in graph.nodes():
        base[node] = node
        x = node.inputs[0] if node.op == "clamp" else node
        if x is not node and x.op in _CLAMPED and uses[x] == 1 and base[x] is x:
            joined.add(node)
        elif is_pointwise(node):
            found = {base[x] for x in node.data}
            base[node] = found.pop() if len(found) == 1 else node

    made = Units(base, frozenset(joined), ())
    return replace(made, order=tuple(topological(graph.outputs, made.operands)))


def is_pointwise(node: Node) -> bool:
    """Whether every number of the result depends on one of each operand, alike for all."""
    if not (OPS[node.op].elementwise or node.op == "quantize") or any(
        x.type.shape != node.type.shape for x in node.data
    ):
        return False
    return node.op == "quantize" or all((i.value == i.value.reshape(-1)[0]).all() for i in node.inputs if i.is_constant)


def is_mean(pool: Node) -> bool:
    """Whether an average is over the whole image."""
    assert isinstance(pool.attrs, PoolAttrs)
    return pool.type.shape[:2] == (1, 1) and not any(pool.attrs.pads)


def line(cast: Node) -> Bytes | None:
    """What bytes stand for whose values are evenly spaced around a byte of value 0."""
    values = cast.inputs[1].value.astype(np.float64) if len(cast.inputs) > 1 else np.arange(256.0)
    scale = float(np.float32((values[255] - values[0]) / 255))
    if not np.isfinite(scale) or scale <= 0 or not 0 <= -values[0] / scale <= 255:
        return None
    found = Bytes(scale, int(np.rint(-values[0] / scale)))
    close = np.abs(found.numbers * scale - values).max() <= scale / 1000
    return found if close and np.array_equal(found.of(values), np.arange(256)) else None


def linear(conv: Node) -> tuple[Array, Array]:
    """Factors and terms (O), float64, of what follows a convolution's sums: v * factor + term."""
    attrs = conv_attrs(conv)
    factor, term = np.ones(conv.type.shape[-1]), np.zeros(conv.type.shape[-1])
    for slot, operand in zip(attrs.operands, conv.inputs[2:], strict=True):
        number = operand.value.astype(np.float64) if operand.is_constant else np.zeros(1)
        if slot in ("pre_mul", "mul"):
            factor, term = factor * number, term * number
        elif slot in ("pre_add", "add"):
            term = term + number
        elif slot == "sub":
            term = term - number
    return factor, term
