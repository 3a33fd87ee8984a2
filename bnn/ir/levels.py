# SPDX-License-Identifier: Apache-2.0
"""Counted bits as numbers: for neurons that have several levels, instead of several neurons with two.

The compiled network has activations of three levels, and a few symmetric ones, as bits that are counted: of m bits, n
are set.  A neuron with a level is a number n, as binarize_levels gives it; with m + 1 levels, a sum over the signs of m
counted bits, 2 n - m, is that over the signs of binary digits, 2 n - top, and (top - m) times the sum of the weights.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np

from .._types import Array
from .graph import DType, Graph, Node
from .ops import ClampAttrs, ConvAttrs, constant, conv_attrs, make
from .ops.conv import conv_accumulate
from .rewrite import remade, with_inputs

_STEPS = {"pre_mul": "mul", "pre_add": "add", "sub": "sub", "mul": "mul", "add": "add", "residual": "add"}
Memo = dict[Node, Node]  # counted bits -> the same as numbers


def numbered(graph: Graph) -> tuple[Graph, dict[Node, Node]]:
    """(the graph in which convolutions read numbers instead of counted bits, the new node for each old one); the graph
    itself if none does.

    Bits that something else moves or reads stay bits.
    """
    new: dict[Node, Node] = {}
    memo: Memo = {}
    for node in graph.nodes():
        new[node] = _read_as_numbers(with_inputs(node, tuple(new[i] for i in node.inputs)), memo)
    if all(old is made for old, made in new.items()):
        return graph, new
    return graph.mapped(new), new


def _read_as_numbers(node: Node, memo: Memo) -> Node:
    """A convolution of counted bits, each plane with the same weights; any other node is itself."""
    a = node.attrs
    if not isinstance(a, ConvAttrs) or node.op != "bconv2d" or a.planes > 1 or a.groups > 1:
        return node
    bits, repeats = _once(node.inputs[0])
    thresholds = _thresholds(bits)
    if thresholds is None:
        return node
    planes, w = len(thresholds), node.inputs[1].value
    parts = np.moveaxis(w.reshape(*w.shape[:3], repeats, planes, -1), 3, 0)
    if (parts != parts[..., :1, :]).any():
        return node
    if bits not in memo:
        memo[bits] = make("binarize_levels", bits.inputs[0].inputs[0], constant(thresholds), name=bits.name)
    return _after(node, _sum(node, memo[bits], [part[..., 0, :] for part in parts], planes))


def _once(bits: Node) -> tuple[Node, int]:
    """(what is repeated, how often), as weights of several values read it."""
    if bits.op == "concat" and len(set(bits.inputs)) == 1:
        return bits.inputs[0], len(bits.inputs)
    return bits, 1


def _thresholds(bits: Node) -> Array | None:
    """The rising thresholds of one float, equal in all channels, that bits are counted by."""
    if bits.op != "concat" or any(i.op != "binarize" or len(i.inputs) != 3 for i in bits.inputs):
        return None
    if len({i.inputs[0] for i in bits.inputs}) > 1 or any((i.inputs[2].value > 0).any() for i in bits.inputs):
        return None
    limits = np.stack([i.inputs[1].value for i in bits.inputs])
    alike = (limits == limits[:, :1]).all() and (limits[1:] >= limits[:-1]).all()  # none is NaN
    return np.asarray(limits[:, 0]) if alike else None


def _sum(node: Node, x: Node, weights: list[Array], counted: int) -> Node:
    """The accumulators of the convolution of counted bits, from numbers: one convolution for each part of the
    weights."""
    a = conv_attrs(node)
    own = ConvAttrs(a.stride, a.dilation, a.pads, a.pad_value, planes=counted.bit_length())
    more = 2**own.planes - 1 - counted
    ones = np.ones((1, *x.inputs[0].type.shape), np.float32)
    inside = replace(own, planes=1, pad_value=-a.pad_value)  # counted bits outside are as many as those inside
    missing = more * sum(conv_accumulate(ones, w, inside)[0] for w in weights)

    def add(total: Node | None, w: Array) -> Node:
        residual = () if total is None else (total,)
        attrs = replace(own, slots=("residual",) * len(residual), layer_slots=("residual",) * len(residual))
        return make("bconv2d", x, constant(w, DType.b1), *residual, attrs=attrs, name=node.name)

    return reduce(add, weights[1:], add(constant(missing) if np.any(missing) else None, weights[0]))


def _after(node: Node, total: Node) -> Node:
    """What the convolution does with its accumulators, one operation after another."""
    a, operands = conv_attrs(node), iter(node.inputs[2:])
    if "threshold" in a.slots:
        never = constant(np.full(len(node.inputs[1].value), -1), DType.b1)
        return remade(node, "binarize", total, constant(next(operands).value), never)
    for slot in a.slots:
        if slot in _STEPS:
            total = make(_STEPS[slot], total, next(operands), name=node.name)
        else:
            total = make(
                "clamp", total, attrs=ClampAttrs(*(a.clamp0 if slot == "clamp0" else a.clamp1)), name=node.name
            )
    if a.out is DType.b1:
        return remade(node, "binarize", total)
    return remade(node, total.op, *total.inputs, attrs=total.attrs)
