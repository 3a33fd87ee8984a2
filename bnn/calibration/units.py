# SPDX-License-Identifier: Apache-2.0
"""What a network of floats consists of, as integers see it: values that are bytes, and what computes each from others.

A clamp joins the sum, the product or the batch norm before it.  So does the rounding that training quantized a value
by: its levels are bytes already.  Other functions of one number become one table each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from .._types import Array
from ..ir.graph import DType, Graph, Node, topological
from ..ir.monotone import function, regions, staircase
from ..ir.ops import CONVOLUTIONS, INF, OPS, ClampAttrs, PadAttrs, PadChannelsAttrs, PoolAttrs, conv_attrs
from ..ir.quantization import Bytes

_CLAMPED = ("conv2d", "bconv2d", "affine", "add", "sub", "mul", "div", "sum_pool")  # which a clamp can join
_SAME_SCALE = ("max_pool", "reshape", "slice", "gather", "copy")
_MOST_OFF = 1e-3  # of a level, by which a threshold may be beside the middle between two
Limits = tuple[float, float]


class Rounding(NamedTuple):
    """To the nearest of the levels from the lowest to the highest of ``limits``, which are these bytes.  ``results``:
    what the same bytes stand for behind it, if other numbers than the levels, as numbers of levels are."""

    bytes: Bytes
    limits: Limits
    results: Bytes | None = None


@dataclass(frozen=True)
class Units:
    """Which values of a graph get bytes of their own.

    ``base``: the value that a node is computed from number by number, so that a table can do it, or the node itself;
    ``joined``: the op that a clamp or a rounding is part of; ``rounded``: the levels of each rounding; ``numbered``:
    the bytes of what a rounding gives instead of its levels; ``order``: the values that get bytes, operands first.
    """

    base: Mapping[Node, Node]
    joined: Mapping[Node, Node]
    rounded: Mapping[Node, Rounding]
    numbered: Mapping[Node, Bytes]
    order: tuple[Node, ...]

    def core(self, node: Node) -> Node:
        """The op that computes a value, before its clamp or rounding."""
        return self.joined.get(node, node)

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
        if node in self.rounded:
            return self.rounded[node].limits
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
        if node in self.rounded or node in self.numbered:
            return True
        known = node.op in (*_SAME_SCALE, "softmax", "unpack") or node.op == "cast" and line(node) is not None
        return self.base[node] is node and (known or node.op == "avg_pool" and not is_mean(node))


def units(graph: Graph) -> Units:
    uses, base, joined = graph.use_counts(), dict[Node, Node](), dict[Node, Node]()
    for node in graph.nodes():
        base[node] = node
        x = node.inputs[0] if node.op == "clamp" else node
        if x is not node and x.op in _CLAMPED and uses[x] == 1 and base[x] is x:
            joined[node] = x
        elif is_pointwise(node):
            found = {base[x] for x in node.data}
            base[node] = found.pop() if len(found) == 1 else node

    def ordered(rounded: Mapping[Node, Rounding], numbered: Mapping[Node, Bytes]) -> Units:
        made = Units(base, joined, rounded, numbered, ())
        return replace(made, order=tuple(topological(graph.outputs, made.operands)))

    rounded, numbered = _rounded(ordered({}, {}), uses), dict[Node, Bytes]()
    for node, rounding in list(rounded.items()):
        if rounding.results is not None:  # a table of numbers behind the levels
            rounded[base[node]], numbered[node] = rounded.pop(node), rounding.results
        elif base[node].op != "input":
            joined[node], base[node] = joined.get(base[node], base[node]), node
    return ordered(rounded, numbered)


def _rounded(units: Units, uses: Mapping[Node, int]) -> dict[Node, Rounding]:
    """The functions that round a sum, a mean, a product, a batch norm or an input which nothing else reads."""
    functions = dict[Node, list[Node]]()
    for node in units.order:
        if (base := units.base[node]) is not node:
            functions.setdefault(base, []).append(node)
    found = dict[Node, Rounding]()
    for base, nodes in functions.items():
        core = units.core(base)
        can_round = core.op in (*_CLAMPED, *CONVOLUTIONS, "input") or core.op == "avg_pool" and is_mean(core)
        if can_round and uses[base] == 1 and len(nodes) == 1:
            rounding = _rounding(nodes[0], base, units.limits(base))
            found |= {nodes[0]: rounding} if rounding else {}
    return found


def _rounding(node: Node, base: Node, limits: Limits) -> Rounding | None:
    """What a function of a number between limits rounds to, if it does so to the nearest of evenly spaced levels, 0 and
    three others among them; or the numbers of these levels, as ONNX's QuantizeLinear gives."""
    data = node.inputs[0] if node.op == "quantize" else node
    if data is not base and base not in regions(data):
        return None
    f = function(node, base)
    found = staircase(lambda x: np.asarray(f(np.clip(x, *limits)[:, None])[:, 0], np.float32), 255)
    if found is None or len(found[1]) < 3:
        return None
    values, thresholds = (a.astype(np.float64) for a in found)
    numbers = np.arange(len(values)) - int(np.searchsorted(thresholds, 0.0, side="right"))
    scale = float(np.float32((thresholds[-1] - thresholds[0]) / (len(thresholds) - 1)))
    zero, unit = (float(values[numbers == 0][0]), 1.0) if node.op == "quantize" else (0.0, scale)
    even = np.abs(thresholds / scale - (numbers[1:] - 0.5)).max() <= _MOST_OFF
    if not even:
        return None
    levels = Bytes(scale, int(zero) if node.op == "quantize" else -int(numbers[0]))
    rounding = Rounding(levels, (float(numbers[0] * scale), float(numbers[-1] * scale)))
    if np.abs((values - zero) / unit - numbers).max() <= _MOST_OFF:
        return rounding
    if node.op == "quantize" or base.op == "input" or (np.diff(values) != 1).any() or not -255 <= values[0] <= 0:
        return None
    return rounding._replace(results=Bytes(1.0, -int(values[0])))  # the first number is byte 0 here, too


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
