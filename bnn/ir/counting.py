# SPDX-License-Identifier: Apache-2.0
"""Binary numbers as counted bits: a plane per threshold, all with equal weights.

A neuron compares a sum with a threshold, but bit p of a number is not such a comparison.  The compiled network holds an
activation as a binary number n, and its convolutions weight bit p by 2^p.  Here n is counted instead: of 2^P - 1 bits,
for P binary digits, n are set.  With s and t for the signs (+-1) of digits and counted bits, the sum of 2^p s_p is the
sum of t_i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import UnsupportedOpError
from .graph import DType, Graph, Node
from .ops import ConvAttrs, DequantizeAttrs, SliceAttrs, constant, conv_attrs, make
from .rewrite import remade, with_inputs

MOST_NEURONS = 15  # for one activation: four bits
MOST_INPUTS = 32  # of one concatenation
Limits = tuple[float, ...]
Memo = dict[tuple[Node, object], Node]  # nodes already made, shared by all users


def counted(graph: Graph) -> tuple[Graph, dict[Node, Node]]:
    """(the graph with every binary number counted, the new node for each old one); the graph itself if it has none.

    Raises :class:`UnsupportedOpError` if an activation would be more than fifteen neurons; names the layer.
    """
    new: dict[Node, Node] = {}
    memo: Memo = {}
    for node in graph.nodes():
        operands = tuple(new[i] for i in node.inputs)
        if node.op == "binarize_levels":
            new[node] = _planes(node, operands[0], memo)
        elif isinstance(node.attrs, ConvAttrs) and node.attrs.planes > 1:
            new[node] = _convolution(node, operands, memo)
        elif isinstance(node.attrs, DequantizeAttrs) and node.attrs.channels:
            table = node.inputs[1].value
            missing = 2 ** (len(table) - 1).bit_length() - len(table)
            table = np.concatenate([table, np.repeat(table[-1:], missing)])
            new[node] = remade(node, "dequantize", operands[0], constant(table), attrs=DequantizeAttrs())
        else:
            new[node] = _one_sum(with_inputs(node, operands), memo)
    if all(old is made for old, made in new.items()):
        return graph, new
    return graph.mapped(new), new


def _planes(node: Node, x: Node, memo: Memo) -> Node:
    """A bit per threshold, then bits that are never set, until there are 2^P - 1 for some P."""
    thresholds = node.inputs[1].value
    count = 2 ** len(thresholds).bit_length() - 1
    if count > MOST_NEURONS:
        raise UnsupportedOpError(
            f"layer '{node.name}': its activations of {len(thresholds) + 1} levels would be {count} neurons each, at "
            f"most {MOST_NEURONS} are made; train it with four bits or fewer, or run it with the C runtime"
        )
    limits = (*thresholds.tolist(), *[np.inf] * (count - len(thresholds)))
    if x.op not in ("concat", "slice"):
        return _side_by_side(x, limits, node.name, memo)
    return concatenated(_by_threshold(x, limits, node.name, memo), node.name)


def _by_threshold(x: Node, limits: Limits, name: str, memo: Memo) -> list[Node]:
    """A tensor of bits per threshold.  Convolutions that are concatenated, or split into groups, are handled
    separately, so that each becomes one layer of neurons."""
    if x.op == "concat":
        parts = [_by_threshold(i, limits, name, memo) for i in x.inputs]
        return [concatenated(bits, name) for bits in zip(*parts, strict=True)]
    if isinstance(x.attrs, SliceAttrs):
        whole = _by_threshold(x.inputs[0], limits, name, memo)
        return [make("slice", bits, attrs=x.attrs, name=name) for bits in whole]
    return cut(_side_by_side(x, limits, name, memo), len(limits), name)


def _side_by_side(x: Node, limits: Limits, name: str, memo: Memo) -> Node:
    """The bits of all thresholds in one tensor, a plane per threshold; groups that read the same numbers share it."""
    if (x, limits) not in memo:
        channels = x.type.shape[-1]
        never = constant(np.full(channels, -1), DType.b1)
        bits = [make("binarize", x, constant(np.full(channels, t, np.float32)), never, name=name) for t in limits]
        memo[x, limits] = concatenated(bits, name)
    return memo[x, limits]


def cut(x: Node, parts: int, name: str) -> list[Node]:
    """Slices of equal width; x itself if there is only one."""
    if parts == 1:
        return [x]
    width = x.type.shape[-1] // parts
    ends = [SliceAttrs(i * width, (i + 1) * width) for i in range(parts)]
    return [make("slice", x, attrs=attrs, name=name) for attrs in ends]


def _convolution(node: Node, operands: Sequence[Node], memo: Memo) -> Node:
    a = conv_attrs(node)
    planes = 2**a.planes - 1
    x = operands[0]
    if a.groups > 1:
        x = _by_group(x, a.groups, planes, node.name, memo)
    weight = constant(np.concatenate([node.inputs[1].value] * planes, axis=3), DType.b1)
    return _one_sum(remade(node, node.op, x, weight, *operands[2:], attrs=replace(a, planes=1)), memo)


def _by_group(x: Node, groups: int, planes: int, name: str, memo: Memo) -> Node:
    """Bring together the channels that a group reads from every plane."""
    key = x, ("by group", groups)
    if key not in memo:
        cuts = [cut(plane, groups, name) for plane in cut(x, planes, name)]
        memo[key] = concatenated([concatenated(group, name) for group in zip(*cuts, strict=True)], name)
    return memo[key]


def _repeated(x: Node, times: int, groups: int, name: str, memo: Memo) -> Node:
    """Repeat the channels that a group reads."""
    key = x, ("repeated", times, groups)
    if key not in memo:
        memo[key] = concatenated([bits for group in cut(x, groups, name) for bits in [group] * times], name)
    return memo[key]


def _one_sum(node: Node, memo: Memo) -> Node:
    """Sums of convolutions of the same bits (weights of three or more values) become one convolution of the repeated
    bits."""
    a, parts = node.attrs, node.inputs
    slots: tuple[str, ...] = ()
    rest: tuple[Node, ...] = ()
    if node.op == "add" and _sums(parts[0], ()):
        first, second = parts
    elif isinstance(a, ConvAttrs) and a.slots[:1] == ("residual",) and _sums(node, a.slots):
        first, second, slots, rest = node, parts[2], a.slots[1:], parts[3:]
    else:
        return node
    if not _sums(second, ()) or _window(first) != _window(second):
        return node
    # Either may be several joined convolutions already; it then reads the other's bits, repeated.
    few, many = sorted((first, second), key=lambda conv: conv.inputs[1].type.shape[3])
    attrs = conv_attrs(first)
    x, groups = few.inputs[0], attrs.groups
    times, left = divmod(many.inputs[1].type.shape[3], few.inputs[1].type.shape[3])
    if left or many.inputs[0] is not (x if times == 1 else _repeated(x, times, groups, node.name, memo)):
        return node
    weight = np.concatenate([many.inputs[1].value, few.inputs[1].value], axis=3)
    x = _repeated(x, times + 1, groups, node.name, memo)
    new = replace(attrs, slots=slots, layer_slots=())
    return remade(node, "bconv2d", x, constant(weight, DType.b1), *rest, attrs=new)


def _sums(node: Node, slots: tuple[str, ...]) -> bool:
    """Whether it is a convolution of bits to floats with exactly these slots."""
    a = node.attrs
    return isinstance(a, ConvAttrs) and node.op == "bconv2d" and node.type.dtype is DType.f32 and a.slots == slots


def _window(node: Node) -> tuple[object, ...]:
    """The part of the image that a filter sees."""
    a = conv_attrs(node)
    return a.stride, a.dilation, a.pads, a.pad_value, a.groups, node.inputs[1].type.shape[:3]


def concatenated(parts: Sequence[Node], name: str) -> Node:
    """Channels side by side: a single part itself; nested concatenations if one cannot hold all parts."""
    while len(parts) > 1:
        chunks = [parts[i : i + MOST_INPUTS] for i in range(0, len(parts), MOST_INPUTS)]
        parts = [chunk[0] if len(chunk) == 1 else make("concat", *chunk, name=name) for chunk in chunks]
    return parts[0]
